"""What a release promises: versions that agree, files that are named, contents that are checked."""

from __future__ import annotations

import importlib
import re
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hires.version import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("release")


def test_version_changelog_and_citation_agree(script: ModuleType) -> None:
    assert script.version() == __version__
    script.check_sources()


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("CHANGELOG.md", f"## [{__version__}] - 2", f"## [{__version__}] - then 2", "no dated"),
        ("CITATION.cff", f"version: {__version__}", "version: 0.0.1", "CITATION.cff: there is no"),
        ("CITATION.cff", 'date-released: "2', 'date-released: "1', "CITATION.cff: there is no"),
    ],
)
def test_what_differs_is_told(
    file: str,
    old: str,
    new: str,
    said: str,
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "hires").mkdir()
    for name in ("CHANGELOG.md", "CITATION.cff", "hires/version.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        changed = text.replace(old, new) if name == file else text
        assert (changed != text) is (name == file)
        (tmp_path / name).write_text(changed, encoding="utf-8")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    with pytest.raises(script.ReleaseError, match=said):
        script.check_sources()


METADATA = f"Version: {__version__}\nLicense-Expression: Apache-2.0\nLicense-File: NOTICE\n"


def wheel(folder: Path, names: list[str], metadata: str = METADATA) -> Path:
    path = folder / "hires.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
        archive.writestr(f"hires-{__version__}.dist-info/METADATA", metadata)
    return path


def test_contents_of_a_wheel(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = [*script.NEEDED]
    script.check_contents(wheel(tmp_path, needed))
    cases: list[tuple[list[str], str, str]] = [
        (needed[1:], METADATA, "lacks hires/py.typed"),
        ([*needed, "tests/test_x.py"], METADATA, "holds tests/test_x.py"),
        (needed, METADATA.replace("NOTICE", "LICENCE"), "lack License-File"),
    ]
    for names, metadata, said in cases:
        with pytest.raises(script.ReleaseError, match=said):
            script.check_contents(wheel(tmp_path, names, metadata))
    monkeypatch.setattr(script, "LARGEST", 10)
    with pytest.raises(script.ReleaseError, match="more than 10"):
        script.check_contents(wheel(tmp_path, needed))


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return found["project"]  # type: ignore[no-any-return]


def test_every_needed_file_is_there_and_of_the_package(script: ModuleType) -> None:
    built = "hires/serve/static/vendor/"
    assert [
        name for name in script.NEEDED if not name.startswith(built) and not (ROOT / name).is_file()
    ] == []


def test_pythons_are_those_of_the_metadata(script: ModuleType) -> None:
    told = [line.rpartition(" :: ")[2] for line in project()["classifiers"]]
    assert [*script.PYTHONS] == [version for version in told if re.fullmatch(r"3\.\d+", version)]
    assert project()["requires-python"] == f">={script.PYTHONS[0]}"


def test_the_development_extra_holds_what_tests_need() -> None:
    extras = project()["optional-dependencies"]
    assert {*extras["notebooks"], *extras["bench"], *extras["web"]} <= {*extras["dev"]}
    assert all(len(set(extra)) == len(extra) for extra in extras.values())
