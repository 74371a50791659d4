"""The page's viewer: fetched as npm is told to, pinned, and missed with a line."""

from __future__ import annotations

import base64
import hashlib
import io
import runpy
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hires.serve import vendor
from hires.serve.vendor import FILES, FetchError, fetch, missing, registry


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("registry", "userconfig", "cafile"):
        monkeypatch.delenv(f"npm_config_{name}", raising=False)
        monkeypatch.delenv(f"NPM_CONFIG_{name.upper()}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("shutil.which", lambda _: None)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """As npm packs it, with other contents."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for member, name in FILES.items():
            info = tarfile.TarInfo(member)
            info.size = len(name)
            file.addfile(info, io.BytesIO(name.encode()))
    digest = base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()
    monkeypatch.setattr(vendor, "INTEGRITY", f"sha512-{digest}")
    return packed.getvalue()


@pytest.fixture
def served(archive: bytes) -> Iterator[tuple[str, list[str]]]:
    """The address of a registry that has it, and what it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(archive)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/npm/", asked
        server.shutdown()
        thread.join()


def test_fetched_once_from_where_npm_is_told(
    served: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = served
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", address)
    folder = tmp_path / "vendor"
    assert missing(folder) is not None
    assert fetch(folder)
    assert missing(folder) is None
    assert not fetch(folder)
    assert asked == [f"/npm/openseadragon/-/openseadragon-{vendor.VERSION}.tgz"]
    assert {name: (folder / name).read_text() for name in FILES.values()} == {
        name: name for name in FILES.values()
    }


def test_other_bytes_are_refused(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(archive + b"\0")
    with pytest.raises(FetchError, match="not what was expected"):
        fetch(tmp_path / "vendor", tmp_path / "a.tgz")
    assert not (tmp_path / "vendor").exists()


def test_a_newer_pin_is_fetched_anew(
    archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tgz").write_bytes(archive)
    fetch(tmp_path / "vendor", tmp_path / "a.tgz")
    monkeypatch.setattr(vendor, "INTEGRITY", "sha512-other")
    assert "python -m hires.serve.vendor fetches it" in str(missing(tmp_path / "vendor"))


def test_without_a_network_it_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    with pytest.raises(FetchError, match="cannot be fetched") as caught:
        fetch(tmp_path / "vendor")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "vendor").exists()


def test_the_registry_is_that_of_npms_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FetchError, match="install npm, or set npm_config_registry"):
        registry()
    (tmp_path / ".npmrc").write_text("; mine\nregistry = https://npm.example/\nother=1\n")
    assert registry() == "https://npm.example"
    monkeypatch.setenv("npm_config_registry", "https://other.example/npm")
    assert registry() == "https://other.example/npm"
    monkeypatch.setenv("npm_config_registry", "file:///etc")
    with pytest.raises(FetchError):
        registry()


def test_it_is_fetched_without_hires(tmp_path: Path) -> None:
    """As setup.py does it: by its path."""
    names = runpy.run_path(str(Path(vendor.__file__)))
    assert names["missing"](tmp_path)
    text = Path(vendor.__file__).read_text(encoding="utf-8")
    assert "import hires" not in text
    assert "from hires" not in text
