"""Pages of the documentation site that are made from other files. mkdocs.yml names this file.

The start page is README.md, so that there is one; the changes are CHANGELOG.md; every option is
told by the commands themselves.
"""

from __future__ import annotations

import os
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from hires.cli import main as cli
from hires.cli.arguments.table import COMMANDS

ROOT = Path(__file__).parents[1]
# [docs/page.md](docs/page.md#part) of README.md
_PAGE = re.compile(r"\[docs/(?P<name>[\w/]+\.md)\]\(docs/(?P=name)(?P<part>#[\w-]+)?\)")
# What leads into docs/ otherwise, in Markdown or HTML.
_INTO_DOCS = re.compile(r"""(\]\(|(?:src|srcset|href)=["'])docs/""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file in docs/ holds."""
    made = {
        "index.md": start_page(),
        "changelog.md": read("CHANGELOG.md"),
        "commands.md": commands(),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def read(name: str) -> str:
    """A text of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def start_page() -> str:
    """README.md with its links as they are seen from docs/; what lies elsewhere is not linked."""
    page = _PAGE.sub(
        lambda found: f"[{title(found['name'])}]({found[1]}{found[2] or ''})", read("README.md")
    )
    page = _INTO_DOCS.sub(r"\1", page)
    return re.sub(r"\[([\w.]+)\]\(\1\)", r"`\1`", page)


def title(name: str) -> str:
    """What a page of docs/ is called."""
    return read(f"docs/{name}").partition("\n")[0].removeprefix("# ")


def commands() -> str:
    """The help of every command."""
    os.environ["COLUMNS"] = "88"
    parts = [f"## hires {name}\n\n```text\n{told(name)}\n```\n" for name in COMMANDS]
    return "\n".join(["# Every command and option\n", *parts])


def told(name: str) -> str:
    """All that a command says of its options."""
    with redirect_stdout(StringIO()) as out:
        cli.main([name, "--help-all"])
    return out.getvalue().strip()
