"""What --help shows first, and what shells complete."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from hires.cli import main as cli
from hires.cli.arguments.manual import EXAMPLES, FIRST, examples_of, first_of
from hires.cli.arguments.table import COMMANDS
from hires.cli.completion import completion
from hires.cli.help import in_short
from hires.cli.options import options_of
from hires.cli.parsing import parse

ROOT = Path(__file__).parents[1]
LARGE = [name for name, command in COMMANDS.items() if len(options_of(command)) > 20]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("name", LARGE)
def test_ten_options_come_first(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = COMMANDS[name]
    flags = {option.field.name: option.flags[-1] for option in options_of(command)}
    assert len(first_of(command)) == 10
    assert cli.main([name, "--help"]) == 0
    told = capsys.readouterr().out
    shown = re.findall(r"^  (?:-\w \S+, )?(--[\w-]+)", told, re.MULTILINE)
    needed = [option.flags[-1] for option in options_of(command) if option.is_required]
    assert [flag for flag in shown if flag not in needed] == [
        flags[field] for field in first_of(command) if flags[field] not in needed
    ]
    assert f"hires {name} --help-all shows all {len(flags)} options." in told
    rows, _, _ = told.partition("examples:")
    assert max(map(len, rows.splitlines()[1:])) <= 80
    assert told.count("\n") <= 42


def test_small_commands_show_all() -> None:
    assert {name for name, command in COMMANDS.items() if first_of(command)} == set(LARGE)
    known = {base.__name__ for command in COMMANDS.values() for base in command.__mro__}
    assert {*FIRST, *EXAMPLES} <= known


def test_the_readme_names_the_same() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("What most people change first")[2].partition("\n\n|")[2]
    rows = re.findall(r"^\| `(--[\w-]+)", table.partition("\n\n")[0], re.MULTILINE)
    flags = {option.field.name: option.flags[-1] for option in options_of(COMMANDS["stylize"])}
    assert rows == [flags[field] for field in first_of(COMMANDS["stylize"])]


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_understood(name: str) -> None:
    examples = examples_of(COMMANDS[name])
    assert examples
    for line in examples:
        words = shlex.split(line)
        assert words[:2] == ["hires", name]
        if "--from" not in words:
            parse(COMMANDS[name], words[2:], prog=name)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Whose colours: the style's; or others.", "Whose colours"),
        ("exact: as if whole; thumbnail: faster.", "exact: as if whole"),
        ("Where to save, as .jpg or .pdf. Ctrl-C saves.", "Where to save, as .jpg or .pdf"),
        ("", ""),
    ],
)
def test_the_first_clause(text: str, short: str) -> None:
    assert in_short(text) == short


def test_all_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    short = capsys.readouterr().out
    assert cli.main(["--help-all"]) == 0
    full = capsys.readouterr().out
    assert full.startswith(short)
    assert "exit codes:" in full
    assert "SOURCE_DATE_EPOCH" in full


COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_shtab_hires hires "${COMP_WORDS[COMP_CWORD]}" ""
echo "${COMPREPLY[*]}"
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hires sty", "stylize"),
        ("hires stylize photo.jpg painting.jpg --col", "--color --color-match"),
        ("hires stylize photo.jpg --color ", "style content luminance match palette"),
        ("hires stylize pho", "photo.jpg"),
        ("hires stylize photo.jpg painting.jpg --print A2", "A2"),
        ("hires presets ke", "keras"),
        ("hires serve --folder pai", "painted"),
        ("hires stylize photo.jpg painting.jpg --mask photo.jpg --content-we", "--content-weight"),
        ("hires stylize photo.jpg painting.jpg --mask pho", "photo.jpg"),
        ("hires stylize a.jpg b.jpg --labels a.png b.png --content-we", "--content-weight"),
        ("hires batch photos --styles a.jpg --recu", "--recursive"),
        ("hires train a.jpg --images pai", "painted"),
        ("hires train a.jpg --images painted --save", "--save-every"),
        ("hires stylize a.jpg b.jpg --style-loss w", "wasserstein"),
        ("hires stylize a.jpg b.jpg --style-loss gram --seed", "--seed"),
        ("hires stylize a.jpg b.jpg --features c", "compact"),
        ("hires stylize a.jpg b.jpg --features pho", "photo.jpg"),
        ("hires apply imp", "impasto"),
        ("hires apply pho", "photo.jpg"),
        ("hires apply impasto pho", "photo.jpg"),
        ("hires export imp", "impasto"),
        ("hires train a.jpg --start imp", "impasto"),
    ],
)
def test_bash_completes(line: str, expected: str, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    (tmp_path / "script").write_text(completion("bash"), encoding="utf-8")
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "painted").mkdir()
    argv = [bash, "--norc", "-c", COMPLETE, "bash", "./script", *line.split(" ")]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (expected, "")


@pytest.mark.parametrize("words", [["ksh"], [], ["bash", "zsh"]])
def test_one_known_shell(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--print-completion", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("hires: --print-completion: name one shell of bash, zsh")
    assert told.count("\n") == 1
