"""The imports of the package, held to the table of layers in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hires"
IMAGING = {"pyvips", "PIL", "cv2", "imageio", "tifffile", "skimage"}


@dataclass(frozen=True)
class Row:
    """One row of the table: modules that belong together."""

    layer: int
    modules: tuple[str, ...]
    knows: str


def read_table() -> list[Row]:
    rows = []
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        found = re.fullmatch(r"\| (\d+) \| (.*?) \| (.*) \|", line)
        if found:
            names = re.findall(r"`(\w+)(?:\.py|/)`", found[2])
            rows.append(Row(int(found[1]), tuple(names), found[3]))
    return rows


TABLE = read_table()
HOMES = {module: row for row in TABLE for module in row.modules}
FILES = {
    path.relative_to(PACKAGE).as_posix(): path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(file: str) -> Iterator[tuple[str, ast.stmt]]:
    """Full names of all that a file imports, wherever in it, and the statements."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            if node.module == "hires":
                yield from ((f"hires.{alias.name}", node) for alias in node.names)
            else:
                yield str(node.module), node


# They know what is typed, or are read by people who type.
TYPED = {"arguments", "parsing", "settings", "forward_arguments", "presets", "provenance"}


@pytest.mark.parametrize("file", [file for file in FILES if HOMES[FILES[file]].layer < 4])
def test_messages_speak_of_fields_not_of_flags(file: str) -> None:
    """Docstrings may speak of flags: help is made of them."""
    if FILES[file] in TYPED:
        return
    nodes = [*ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8")))]
    notes = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and id(node) not in notes:
            assert not re.search(r"(^|\s)--[a-z]", str(node.value)), (
                f"{file}:{node.lineno}: name the field, as `size` or `size=64`: exits.tell makes a"
                " flag of it"
            )


def test_the_table_lists_every_module_once() -> None:
    listed = Counter(module for row in TABLE for module in row.modules)
    assert set(listed) == set(FILES.values())
    assert max(listed.values()) == 1


def test_the_table_is_in_order() -> None:
    layers = [row.layer for row in TABLE]
    assert layers == sorted(layers)
    assert set(layers) == set(range(max(layers) + 1))


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down(file: str) -> None:
    home = HOMES[FILES[file]]
    for name, node in imports(file):
        if not name.startswith("hires."):
            continue
        other = HOMES.get(name.split(".")[1])
        assert other is not None, (
            f"{file}:{node.lineno}: {name} is no module: import it by its home"
        )
        allowed = other is home or other.layer < home.layer
        assert allowed, f"{file}:{node.lineno}: layer {home.layer} imports {name}, {other.layer}"


@pytest.mark.parametrize("file", FILES)
def test_nobody_imports_through_the_front_door(file: str) -> None:
    for name, node in imports(file):
        assert name != "hires", f"{file}:{node.lineno}: import hires"
        by_module = isinstance(node, ast.Import) and name.startswith("hires.")
        assert not by_module, f"{file}:{node.lineno}: write from {name} import ..."


@pytest.mark.parametrize("file", FILES)
def test_only_images_knows_imaging_libraries(file: str) -> None:
    if "images" not in HOMES[FILES[file]].modules:
        assert not {name.split(".")[0] for name, _ in imports(file)} & IMAGING


TORCHLESS = [
    module for row in TABLE if re.search(r"\bNo torch\.", row.knows) for module in row.modules
]


def test_config_and_ladder_are_promised_to_need_no_torch() -> None:
    assert {"config", "ladder", "tiling"} <= set(TORCHLESS)


@pytest.mark.parametrize("module", TORCHLESS)
def test_what_says_no_torch_imports_none(module: str) -> None:
    for name, node in imports(f"{module}.py"):
        top, *rest = name.split(".")
        assert top not in {"torch", "torchvision", "kornia"}, f"{module}.py:{node.lineno}"
        if top == "hires":
            assert rest[0] in TORCHLESS, f"{module}.py:{node.lineno}: {name} needs torch"
