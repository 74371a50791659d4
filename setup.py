"""Fetches the viewer of the page while hires is built; all else stands in pyproject.toml."""

from __future__ import annotations

import functools
import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# By its path: hires itself cannot be imported while it is built.
VENDOR = runpy.run_path(str(Path(__file__).parent / "hires" / "serve" / "vendor.py"))


@functools.cache
def problem() -> str | None:
    """Fetch it; if that fails, what to tell: the build goes on."""
    try:
        VENDOR["fetch"]()
    except (VENDOR["FetchError"], OSError) as error:
        return f"{error}; built without it: {VENDOR['missing']()}"
    return None


class BuildWithViewer(build_py):
    """Of wheels, source archives and editable installs, whose files then lie in the source tree."""

    def finalize_options(self) -> None:
        """Before the files of the package are listed."""
        told = problem()
        if told is not None:
            self.warn(told)
        super().finalize_options()


setup(cmdclass={"build_py": BuildWithViewer})
