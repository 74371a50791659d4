"""docs/notebooks: they run, what is kept in them is small and of their own code."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 600_000  # bytes of all of them


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def code(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code"]


def test_they_are_small() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        *("first_painting", "resolution_study", "write_a_loss")
    ]
    assert sum(path.stat().st_size for path in NOTEBOOKS) < LARGEST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_kept(path: Path) -> None:
    """Outputs of a run from the first cell to the last, with pictures, without errors or paths."""
    run = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in run] == [*range(1, len(run) + 1)]
    outputs = [output for cell in run for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {
        *("display_data", "execute_result", "stream")
    }
    assert any("image/jpeg" in output.get("data", {}) for output in outputs)
    text = json.dumps([output.get("text", output.get("data", {})) for output in outputs])
    assert not re.search(r"/(home|root|tmp|work|usr)/", text)
    assert "stderr" not in {output.get("name") for output in outputs}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_their_links_lead_somewhere(path: Path) -> None:
    for cell in cells(path):
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^)#]+)", "".join(cell["source"])):
                assert (path.parent / link).is_file(), link


def test_the_loss_is_that_of_the_page() -> None:
    page = (ROOT / "docs" / "add_a_loss.md").read_text(encoding="utf-8")
    loss = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0].strip()
    assert loss in code(ROOT / "docs" / "notebooks" / "write_a_loss.ipynb")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run_notebooks = importlib.import_module("run_notebooks")
    folder = tmp_path / "docs" / "notebooks"
    folder.mkdir(parents=True)
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    shutil.copy(path, folder)
    notebook = run_notebooks.executed(folder / path.name, folder)
    kept = [output for cell in cells(path) for output in cell.get("outputs", ())]
    made = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [sorted(output.get("data", {})) for output in made] == [
        sorted(output.get("data", {})) for output in kept
    ]
