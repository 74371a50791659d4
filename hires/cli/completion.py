"""Words that a shell completes: a script for it, made from the options of every command. No torch.

shtab writes the script, which then asks nobody: it needs neither hires nor Python when it is used.
"""

from __future__ import annotations

import inspect
import re
from argparse import ArgumentParser
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from hires.cli.arguments.table import COMMANDS, DESCRIPTION
from hires.cli.help import in_short
from hires.cli.options import Option, UsageError, options_of, parts_of
from hires.config.documented import documented
from hires.config.paper import PAPERS
from hires.config.presets import PRESETS
from hires.config.values import STYLE_LOSSES
from hires.errors import ConfigError
from hires.feedforward.models import built_in_models

# Words that are no choice in a type: anything else may be typed there, too.
_WORDS = {
    "name": tuple(PRESETS),
    "paper": tuple(name.upper() if len(name) == 2 else name for name in PAPERS),
    "features": ("compact", "vgg19", "vgg16"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "icc": ("srgb", "adobe-rgb"),
    "style_loss": STYLE_LOSSES,
    "model": built_in_models(),
    "start": built_in_models(),
}
# Where a file's path may be typed in place of such a word.
_OR_FILES = ("features", "icc", "model", "start")
# What stands for a value that is a file.
_FILES = r"PATH|FILE|MODEL|MAP|MASK|LABELS|STYLE|PICTURE|PROFILE|PAINTING|PHOTO|\.[a-z]+"

# For bash. After an option of any number of files shtab completes nothing but files; these go on
# with options, too. They see what shtab's own function has found: current_option_strings.
_BASH = """
_hires_or_options() {
  local word="${COMP_WORDS[COMP_CWORD]}"
  if [[ "$word" == -* ]]; then
    compgen -W "${current_option_strings[*]}" -- "$word"
  else
    compgen "$1" -- "$word"
  fi
}
_hires_files() { _hires_or_options -f; }
_hires_dirs() { _hires_or_options -d; }
"""


def completion(*shells: str) -> str:
    """The script that completes ``hires`` in a shell.

    Raises:
        UsageError: if it is not one shell that is known.
        ConfigError: if shtab is not there.
    """
    if find_spec("shtab") is None:
        raise ConfigError("completion needs one more package: pip install shtab")
    import shtab

    known = list(shtab.SUPPORTED_SHELLS)
    if len(shells) != 1 or shells[0] not in known:
        raise UsageError(f"--print-completion: name one shell of {', '.join(known)}")
    preamble = {"bash": _BASH + _either("bash"), "zsh": _either("zsh")}.get(shells[0], "")
    return str(shtab.complete(_parser(shtab), shells[0], preamble=preamble))


def _either(shell: str) -> str:
    """Functions for a shell that complete the words of an option and files, by its name."""
    bodies = {
        "bash": 'compgen -W "{}" -- "${{COMP_WORDS[COMP_CWORD]}}"; _hires_files;',
        "zsh": "_alternative 'words:word:({})' 'files:file:_files'",
    }
    return "".join(
        f"_hires_files_or_{name}() {{ {bodies[shell].format(' '.join(_WORDS[name]))} }}\n"
        for name in _OR_FILES
    )


def _parser(shtab: ModuleType) -> ArgumentParser:
    """All commands and options for argparse, to be read by shtab; nothing is parsed with it."""
    parser = ArgumentParser("hires", description=DESCRIPTION)
    parser.add_argument("--help-all", action="store_true", help="exit codes, files, environment")
    parser.add_argument("--version", action="store_true", help="the version")
    shells = parser.add_argument("--print-completion", help="a script for a shell")
    shells.choices = shtab.SUPPORTED_SHELLS
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        about = _plain((inspect.getdoc(command) or "").split("\n")[0])
        part = commands.add_parser(name, help=about, description=about)
        part.add_argument("--help-all", action="store_true", help="every option")
        strings = {group: documented(kind) for group, kind in parts_of(command).items()}
        for option in options_of(command):
            text = strings[option.key[0]].get(option.key[1], "")
            _add(part, option, _plain(text), shtab)
    return parser


def _plain(text: str) -> str:
    """The first clause; % is a sign of argparse's own."""
    return in_short(text).replace("%", "%%")


def _add(parser: ArgumentParser, option: Option, about: str, shtab: ModuleType) -> None:
    """One option: its flags, its words or the files that it takes."""
    if option.is_switch:
        parser.add_argument(option.usage, action="store_true", help=about)
        return
    nargs = "*" if option.is_many else "?" if option.typed.positional else None
    names = [option.field.name] if option.typed.positional else option.flags
    added: Any = parser.add_argument(*names, nargs=nargs, help=about)
    words, name, metavar = _words(option), option.field.name, option.typed.metavar or ""
    if words and name in _OR_FILES:
        function = f"_hires_files_or_{name}"
        fish = " ".join((*words, shtab.FILE.get("fish", "")))
        added.complete = {**shtab.FILE, "bash": function, "zsh": function, "fish": fish}
    elif words:
        added.choices = words
    elif metavar.startswith("DIR") or name == "folder":
        added.complete = {**shtab.DIRECTORY, "bash": "_hires_dirs"}
    elif option.typed.positional or re.search(_FILES, metavar):
        added.complete = {**shtab.FILE, "bash": "_hires_files"}


def _words(option: Option) -> tuple[str, ...]:
    choices = [
        word for kind in option.kinds if get_origin(kind) is Literal for word in get_args(kind)
    ]
    return tuple(map(str, choices)) or _WORDS.get(option.field.name, ())
