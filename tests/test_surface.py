"""What programs and people rely on changes on purpose only: tests/golden/surface.

`HIRES_GOLDEN=write` writes the files anew.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import COMPACT_SHAPE, random_image, random_weights
from golden_text import golden

import hires
from hires.cli import main as cli
from hires.features.checkpoints import write_checkpoint

COMMANDS = (
    *("stylize", "resume", "plan", "papers", "inspect", "doctor", "bench", "presets", "train"),
    *("deliver", "texture", "variations", "morph", "batch", "compare", "apply", "export", "serve"),
)


_TYPES = {int: "number", float: "number", str: "string", type(None): "null"}


def check(name: str, lines: Iterator[str]) -> None:
    text = "\n".join(lines) + "\n"
    assert text == golden(f"surface/{name}.txt", text)


def test_names_of_python() -> None:
    check("python", described())


def described() -> Iterator[str]:
    """Every public name; of functions what they take, of classes what they have."""
    for name in sorted(hires.__all__):
        value = getattr(hires, name)
        if not callable(value):
            yield name
        elif inspect.isclass(value):
            bases = ", ".join(base.__name__ for base in value.__bases__)
            yield f"{name}({bases})"
            yield from members(value)
        else:
            yield f"{name}({', '.join(parameters(value))})"


def parameters(function: Any) -> Iterator[str]:
    for parameter in inspect.signature(function).parameters.values():
        star = "*, " if parameter.kind is parameter.KEYWORD_ONLY else ""
        optional = "" if parameter.default is parameter.empty else "=..."
        yield f"{star}{parameter.name}{optional}"


def members(kind: type) -> Iterator[str]:
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else []
    names += [name for name in vars(kind) if name not in names]
    for name in sorted(name for name in names if not name.startswith("_")):
        value = inspect.getattr_static(kind, name, None)
        called = f"({', '.join(parameters(value))})" if inspect.isfunction(value) else ""
        yield f"    {name}{called}"


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.usefixtures("wide")
def test_options_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    def lines() -> Iterator[str]:
        for command in COMMANDS:
            assert cli.main([command, "--help-all"]) == 0
            yield command
            yield from (f"    {option}" for option in options(capsys.readouterr().out))

    check("options", lines())


def options(text: str) -> Iterator[str]:
    """``--size INT|STR (default: 1024)`` of every option that a help page lists."""
    blocks: list[str] = []
    for line in text.splitlines():
        row = line.removeprefix("│").removesuffix("│").rstrip()
        if re.match(r" {1,2}(--?[a-z]|[A-Z]{2,})", row):
            blocks.append(row.strip())
        elif blocks and re.match(r" {9}", row):
            blocks[-1] += "  " + row.strip()
    for block in blocks:
        usage, _, about = block.partition("  ")
        default = re.search(r"\((required|default: [^()]*)\)$", about.strip())
        yield " ".join(f"{usage} {default[0] if default else ''}".split())


class TestJson:
    @pytest.fixture
    def files(self, tmp_path: Path) -> list[str]:
        paths = []
        for seed, name in enumerate(("content", "style")):
            hires.save_image(random_image(64, 80, seed).float(), tmp_path / f"{name}.png")
            paths.append(str(tmp_path / f"{name}.png"))
        return paths

    def printed(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
        capsys.readouterr()
        assert cli.main(argv) == 0
        return json.loads(capsys.readouterr().out)

    def test_printed(
        self, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        network = tmp_path / "tiny.safetensors"
        write_checkpoint(network, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
        small = ["--size", "64", "--min-size", "64", "--iterations", "2"]
        out = tmp_path / "out.png"
        run = [*files, "-o", str(out), "--features", str(network), *small]
        assert cli.main(["stylize", *run, "--quiet"]) == 0
        report = tmp_path / "bench.json"
        sizes = ["--sizes", "64", "--repeats", "1", "--features", str(network)]
        assert cli.main(["bench", *sizes, "-o", str(report)]) == 0
        directory = tmp_path / "out.run"
        contents = {
            "papers --json": self.printed(["papers", "--json"], capsys),
            "presets --json": self.printed(["presets", "d2l", "--json"], capsys),
            "inspect --json": self.printed(["inspect", str(out), "--json"], capsys),
            "doctor --json": self.printed(["doctor", "--json"], capsys),
            "plan --json": self.printed(["plan", *run, "--json"], capsys),
            "bench": json.loads(report.read_text(encoding="utf-8")),
            "settings.json": json.loads((directory / "settings.json").read_text(encoding="utf-8")),
            "state.json": json.loads((directory / "state.json").read_text(encoding="utf-8")),
            "trace.jsonl": json.loads(
                (directory / "trace.jsonl").read_text(encoding="utf-8").splitlines()[0]
            ),
        }

        def lines() -> Iterator[str]:
            for name, content in contents.items():
                yield name
                found = {line.replace(str(tmp_path), "FOLDER") for line in leaves(content)}
                yield from (f"    {line}" for line in sorted(found))

        check("json", lines())


def leaves(content: Any, path: str = "") -> Iterator[str]:
    """Where each value stands, and its type; of a list what its elements have."""
    if isinstance(content, dict):
        for name, value in content.items():
            key = "PRECISION" if name in ("fp32", "bf16", "fp16") else name
            yield from leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(content, list) and content:
        for value in content:
            yield from leaves(value, f"{path}[]")
    else:
        yield f"{path}: {_TYPES.get(type(content), type(content).__name__)}"
