"""The installed package, in the environment that the tests run in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hires.version import __version__


def test_a_clone_called_hires_does_not_hide_the_package(tmp_path: Path) -> None:
    # Python looks first in the folder that it is started in; there, this is a namespace package.
    (tmp_path / "hires" / "hires").mkdir(parents=True)
    (tmp_path / "hires" / "hires" / "__init__.py").touch()
    script = "import hires; print(hires.Config.__module__, hires.__version__)"
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["hires.config.run", __version__], done.stderr
