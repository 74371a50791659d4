# Sourced by scripts/demo and scripts/test: makes .venv and installs hires into it, once.
# usage: setup_environment EXTRAS   (for example "" or "[dev]"); leaves the interpreter in $python

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "hires needs Python 3.11 or later: install it, or name it with PYTHON=/path/to/python3" >&2
    return 1
}

setup_environment() {
    local extras=$1 stamp base
    python=.venv/bin/python
    stamp=".venv/installed$extras"
    if [ -f "$stamp" ] && cmp -s pyproject.toml "$stamp" && "$python" -c '' 2>/dev/null; then
        return
    fi
    base=$(find_python) || return 2
    echo "Setting up .venv (once; a few minutes, most of it downloading PyTorch) ..."
    "$base" -m venv .venv || return 2
    "$python" -m pip install --quiet --disable-pip-version-check --editable ".$extras" || return 2
    cp pyproject.toml "$stamp"
}
