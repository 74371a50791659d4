#!/usr/bin/env python3
"""Run the notebooks of docs/notebooks from their first cell to their last, and keep what they show.

    scripts/run_notebooks.py [NOTEBOOK ...]     # all of them, if none is named

Each runs in its own folder, in a new process of Python, with what is installed here (the extra
``notebooks``). Outputs replace those in the file; what differs from run to run is left out: times
of cells, versions, ids.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
# Seconds that Python may take to start, or a cell.
_PATIENCE = 600


def executed(path: Path, folder: Path) -> Any:
    """A notebook with its outputs.

    Args:
        path: the notebook.
        folder: in which it runs.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook,
        timeout=_PATIENCE,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        startup_timeout=_PATIENCE,
        extra_arguments=["--IPKernelApp.log_level=40"],
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("metadata", {}).clear()
            # A figure's own description, and an address in memory.
            if {"image/png", "image/jpeg"} & set(output.get("data", {})):
                output["data"].pop("text/plain", None)
    return notebook


def main() -> int:
    """Run what is named, and save it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    for path in parser.parse_args().notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        started = time.perf_counter()
        notebook = executed(path, path.parent)
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
        took = time.perf_counter() - started
        print(f"{path.name}: {took:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
