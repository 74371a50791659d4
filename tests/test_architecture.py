"""The imports of the package, held to the table of rooms in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hires"
IMAGING = {"pyvips", "PIL", "pikepdf", "cv2", "imageio", "tifffile", "skimage"}
TORCH = {"torch", "torchvision", "kornia"}
COMMAND_LINE = {"rich", "argparse"}
LONGEST_MODULE, LONGEST_FUNCTION = 350, 50


@dataclass(frozen=True)
class Room:
    """A row of the table: a package, or modules at the top."""

    names: tuple[str, ...]
    knows: str


def read_table() -> list[Room]:
    """Rooms from the lowest to the highest, rooms inside of rooms after their dots."""
    rows = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"\| ((?:`[\w./]+`(?:, )?)+) \| (.*) \|", row) for row in rows]
    return [
        Room(tuple(map(module_name, re.findall(r"`(.*?)`", row[1]))), row[2])
        for row in found
        if row
    ]


def module_name(path: str) -> str:
    """``image.bands`` for ``image/bands.py``, ``image`` for ``image/``."""
    return path.strip("/").removesuffix(".py").replace("/", ".")


TABLE = read_table()
ROOMS = {name: level for level, room in enumerate(TABLE) for name in room.names}
FILES = {
    path.relative_to(PACKAGE)
    .with_suffix("")
    .as_posix()
    .replace("/", ".")
    .removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room_of(module: str) -> str:
    """The innermost room that a module lies in."""
    parts = module.split(".")
    names = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((name for name in names if name in ROOMS), "")


def imports(module: str) -> Iterator[tuple[str, ast.stmt]]:
    """Full names of all that a module imports, wherever in it, and the statements."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []  # Not imported when it runs.
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                known = inner.removeprefix("hires.") in FILES
                yield (inner if known else str(node.module)), node


def own(module: str) -> Iterator[tuple[str, ast.stmt]]:
    """What a module imports of this package, without the package's name."""
    for name, node in imports(module):
        if name.startswith("hires."):
            yield name.removeprefix("hires."), node


def test_every_module_has_a_room() -> None:
    assert [module for module in FILES if module != "__init__" and not room_of(module)] == []
    assert [name for name in ROOMS if not any(room_of(module) == name for module in FILES)] == []


@pytest.mark.parametrize("module", [module for module in FILES if module != "__init__"])
def test_imports_point_down(module: str) -> None:
    level = ROOMS[room_of(module)]
    for name, node in own(module):
        other = ROOMS[room_of(name)]
        place = f"{module}:{node.lineno}"
        assert other <= level, f"{place}: {room_of(module)} imports {name}, which lies above it"


def test_modules_import_in_no_circle() -> None:
    graph = {module: {name for name, _ in own(module)} & set(FILES) for module in FILES}
    done: set[str] = set()

    def visit(module: str, path: Sequence[str]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in graph[module]:
                visit(other, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])


@pytest.mark.parametrize("module", FILES)
def test_nobody_imports_through_the_front_door(module: str) -> None:
    for name, node in imports(module):
        assert name != "hires", f"{module}:{node.lineno}: import hires"
        by_module = isinstance(node, ast.Import) and name.startswith("hires.")
        assert not by_module, f"{module}:{node.lineno}: write from {name} import ..."


# They are read by people who type, or type themselves (git).
TYPED = {"config.settings", "config.presets", "image.metadata.provenance", "bench.report"}


@pytest.mark.parametrize("module", [module for module in FILES if not module.startswith("cli")])
def test_messages_speak_of_fields_not_of_flags(module: str) -> None:
    """Docstrings may speak of flags: help is made of them."""
    if module in TYPED:
        return
    nodes = [*ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8")))]
    notes = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and id(node) not in notes:
            assert not re.search(r"(^|\s)--[a-z]", str(node.value)), (
                f"{module}:{node.lineno}: name the field, as `size` or `size=64`: exits.tell makes"
                " a flag of it"
            )


def tops(module: str) -> set[str]:
    return {name.split(".")[0] for name, _ in imports(module)}


@pytest.mark.parametrize("module", FILES)
def test_only_one_room_knows_a_kind_of_library(module: str) -> None:
    if not module.startswith("image."):
        assert not tops(module) & IMAGING, "imaging libraries belong to image/"
    if not module.startswith("cli."):
        assert not tops(module) & COMMAND_LINE, "the command line belongs to cli/"


def without_torch() -> set[str]:
    """Modules that the table promises to need none."""
    promised = [name for room in TABLE if "No torch." in room.knows for name in room.names]
    return {
        module
        for module in FILES
        if any(module == name or module.startswith(f"{name}.") for name in promised)
        or room_of(module) in promised
    }


def needs_torch(module: str) -> bool:
    """Whether importing a module imports torch."""
    reached, todo = set(), [module]
    while todo:
        current = todo.pop()
        if current in reached:
            continue
        reached.add(current)
        if tops(current) & TORCH:
            return True
        todo += [name for name, _ in own(current) if name in FILES]
    return False


def test_what_is_asked_for_is_promised_to_need_no_torch() -> None:
    assert {"config.run", "utils.memory", "engine.ladder", "runs.trace"} <= without_torch()


@pytest.mark.parametrize("module", sorted(without_torch()))
def test_what_says_no_torch_needs_none(module: str) -> None:
    assert not needs_torch(module)


@pytest.mark.parametrize("module", FILES)
def test_modules_and_functions_are_short(module: str) -> None:
    text = FILES[module].read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name}: {length} lines"


def test_few_files_lie_at_the_top() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= 6
