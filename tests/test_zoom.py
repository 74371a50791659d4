"""Deep zoom over HTTP: what is found, waited for, cached and refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from conftest import random_image
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

import hires
from hires.image import pyramid as module
from hires.image.pyramid import Pyramid
from hires.serve import zoom as served
from hires.serve.zoom import FOLDER, Zoom, zoom_routes


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture of more levels than are kept in memory: 10 of 11, the last 1033x611."""
    monkeypatch.setattr(module, "_BASE_SIDE", 600)
    y, x = np.mgrid[0:611, 0:1033]
    planes = [255 * y / 611, 255 * x / 1033, 0 * x + 90]
    Image.fromarray(np.stack(planes, -1).astype(np.uint8)).save(tmp_path / "large.png")
    return tmp_path / "large.png"


@pytest.fixture
def zoom(tmp_path: Path) -> Iterator[Zoom]:
    made = Zoom(lambda key: tmp_path / f"{key}.png" if key.isalpha() else None)
    yield made
    made.close()


@pytest.fixture
def client(zoom: Zoom) -> TestClient:
    return TestClient(Starlette(routes=list(zoom.routes())))


def test_descriptor_and_tiles(client: TestClient, large: Path) -> None:
    descriptor = client.get("/zoom/large.dzi")
    assert descriptor.headers["content-type"].startswith("application/xml")
    assert re.findall(r'(\w+)="(\w+)"', descriptor.text)[-2:] == [
        ("Width", "1033"),
        ("Height", "611"),
    ]
    tile = client.get("/zoom/large_files/11/2_1.jpg")
    assert (tile.status_code, tile.headers["content-type"]) == (200, "image/jpeg")
    with Image.open(BytesIO(tile.content)) as shown:
        assert shown.size == (1033 - 2 * 510 + 1, 611 - 510 + 1)
    assert client.get("/zoom/large_files/9/0_0.jpg").status_code == 200
    assert [path.suffix for path in (large.parent / FOLDER).iterdir()] == [".zip"]


def test_what_is_known_is_not_sent_again(client: TestClient, large: Path) -> None:
    first = client.get("/zoom/large_files/11/0_0.jpg")
    again = client.get(
        "/zoom/large_files/11/0_0.jpg", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    hires.save_image(random_image(700, 1200).float(), large)
    changed = client.get(
        "/zoom/large_files/11/0_0.jpg", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert changed.status_code == 200
    assert changed.content != first.content


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    "path",
    [
        "missing.dzi",
        "..%2Flarge.dzi",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd.dzi",
        "large%00.dzi",
        "large_files/11/3_0.jpg",
        "large_files/11/0_2.jpg",
        "large_files/12/0_0.jpg",
        "large_files/-1/0_0.jpg",
        "large_files/11/0_0.png",
        "large_files/11/0_0.jpg%2f..",
        "large_files/11/-1_0.jpg",
        "large_files/11/a_b.jpg",
        "large_files/11/%D9%A1_0.jpg",
        f"large_files/11/{'9' * 5000}_0.jpg",
        f"large_files/{'9' * 5000}/0_0.jpg",
        f"{'a' * 5000}.dzi",
    ],
)
def test_what_there_is_not_is_not_found(path: str, client: TestClient) -> None:
    assert client.get(f"/zoom/{path}").status_code == 404
    assert client.get("/zoom/large.dzi").status_code == 200


def test_one_that_cannot_be_read_is_told(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    answer = client.get("/zoom/text.dzi")
    assert answer.status_code == 422
    assert "text.png" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_preview_is_shown_while_the_rest_is_made(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = Event()
    base, archive = Pyramid.make_base, Pyramid.make_archive

    def slow_base(self: Pyramid, preview: Path | None = None) -> None:
        if preview is None:
            go.wait(20)
        base(self, preview)

    monkeypatch.setattr(Pyramid, "make_base", slow_base)
    monkeypatch.setattr(Pyramid, "make_archive", lambda self: (go.wait(20), archive(self)))
    monkeypatch.setattr(served, "_PATIENCE", 0.05)
    small = large.with_name("small.jpg")
    with Image.open(large) as whole:
        whole.resize((400, 237)).save(small)
    zoom = Zoom(lambda _: large, lambda _: small)
    with TestClient(Starlette(routes=list(zoom.routes()))) as client:
        assert client.get("/zoom/x_files/9/0_0.jpg").status_code == 200
        late = client.get("/zoom/x_files/11/0_0.jpg")
        assert (late.status_code, late.headers["Retry-After"]) == (503, "1")
        go.set()
        monkeypatch.setattr(served, "_PATIENCE", 20.0)
        assert client.get("/zoom/x_files/11/0_0.jpg").status_code == 200
    zoom.close()


def test_few_pictures_are_open_at_a_time(
    zoom: Zoom, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "_MOST_OPEN", 2)
    for letter in "abcd":
        hires.save_image(random_image(20, 30).float(), tmp_path / f"{letter}.png")
        assert client.get(f"/zoom/{letter}_files/5/0_0.jpg").status_code == 200
    assert [*zoom._open] == ["c", "d"]


def test_where_nothing_can_be_written_it_goes_elsewhere(
    large: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "is_writable", lambda _: False)
    assert client.get("/zoom/large_files/11/0_0.jpg").status_code == 200
    assert [*(large.parent / FOLDER).iterdir()] == []


def test_routes_alone(large: Path) -> None:
    app = Starlette(routes=list(zoom_routes(lambda key: large if key == "a" else None)))
    with TestClient(app) as client:
        assert client.get("/zoom/a.dzi").status_code == 200
        assert client.get("/zoom/b.dzi").status_code == 404


def test_tiles_can_be_made_before_anybody_asks(zoom: Zoom, large: Path) -> None:
    zoom.warm("large")
    zoom.warm("missing")
    archive = zoom._open["large"].archive
    assert archive is not None
    archive.result(20)
    assert [path.suffix for path in (large.parent / FOLDER).iterdir()] == [".zip"]
    zoom.close()
    zoom.close()
