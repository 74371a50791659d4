#!/usr/bin/env bash
# Installs Chromium from Debian's packages, for the tests marked browser.
set -euo pipefail
if command -v chromium >/dev/null; then
    echo "Chromium is installed: $(command -v chromium)"
    exit 0
fi
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core
