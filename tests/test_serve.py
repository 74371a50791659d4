"""The server of the page: what it takes, what it refuses, what it keeps on the disk."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("starlette")
from starlette.testclient import TestClient

from hires.cli.typed import words_typed
from hires.serve import runs as runs_module
from hires.serve.app import MOST_JSON, Page, make_app

HEADERS = {"X-Hires": "1"}
HOSTS = ("127.0.0.1", "localhost")
NO_ID = "0" * 16


def client_of(folder: Path, token: str | None = None) -> TestClient:
    """A server whose queue stands still."""
    page = Page(folder, words_typed)
    app = make_app(page, hosts=() if token else HOSTS, token=token)
    return TestClient(app, base_url="http://127.0.0.1", headers=HEADERS)


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return client_of(tmp_path)


def upload(client: TestClient, kind: str, name: str = "a.png") -> Any:
    """Send a small picture."""
    data = io.BytesIO()
    Image.effect_noise((96, 96), 90).convert("RGB").save(data, "PNG")
    sent = client.post(
        "/api/pictures", data={"kind": kind}, files={"file": (name, data.getvalue())}
    )
    assert sent.status_code == 200, sent.text
    return sent.json()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pictures have been uploaded to: each takes a process."""
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="module")
def job(studio: Path) -> dict[str, Any]:
    client = client_of(studio)
    content, style = upload(client, "content"), upload(client, "style")
    options = {"size": 96, "min_size": 96, "iterations": 2}
    return {"content": content["id"], "styles": [style["id"]], "options": options}


def test_names_of_uploads_never_become_paths(client: TestClient, tmp_path: Path) -> None:
    told = upload(client, "content", "../../../etc/<b>passwd.png")
    assert told["name"] == "<b>passwd.png"
    assert (told["width"], told["height"]) == (96, 96)
    assert client.get(told["preview"]).headers["content-type"] == "image/jpeg"
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"picture", "preview.jpg", "about.json"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Hires": "0"}, 403),
        ({"Content-Length": str(MOST_JSON + 1)}, 413),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_other_sites_cannot_drive_it(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    refused = client.post("/api/runs", content=b"{}", headers={**HEADERS, **headers})
    assert refused.status_code == status
    assert "\n" not in refused.json()["error"]
    assert refused.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"content": "../../etc/passwd"}, "content"),
        ({"content": NO_ID}, "content"),
        ({"styles": []}, "styles"),
        ({"options": {"features": "/etc/passwd"}}, "options"),
        ({"options": {"size": 10**9}}, "size"),
        ({"options": {"size": -1}}, "size"),
        ({"options": {"content_weight": "--help"}}, "content_weight"),
        ({"mode": "apply", "model": "../x.safetensors"}, "model"),
        ({"format": "exe"}, "format"),
        ({"unknown": 1}, "job"),
    ],
)
def test_what_a_job_may_not_be(
    studio: Path, job: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    client = client_of(studio)
    refused = client.post("/api/runs", json={**job, **change})
    assert refused.status_code == 400
    assert field in refused.json()["error"] or refused.json()["field"] == field
    assert client.get("/api/runs").json() == {"runs": []}


def test_a_run_waits_on_the_disk(
    studio: Path, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = client_of(studio).post("/api/runs", json=job).json()["run"]
    again = client_of(studio)  # Another server of the folder.
    told = again.get(f"/api/runs/{key}").json()
    assert (told["state"], told["downloads"]) == ("queued", [])
    assert told["command"].startswith("hires stylize .hires-serve/pictures/")
    monkeypatch.setattr(runs_module, "MOST_QUEUED", 1)
    assert "wait" in again.post("/api/runs", json=job).json()["error"]
    assert again.post(f"/api/runs/{key}/remove", json={}).status_code == 200
    assert again.get(f"/api/runs/{key}").status_code == 404


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/api/runs/..", "/zoom/..%2Fx.dzi", "/x"]
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    client = client_of(tmp_path, token="abc")
    assert client.get("/api/form").status_code == 401
    assert client.get("/?token=abd").status_code == 401
    cookie = client.get("/?token=abc", follow_redirects=False).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert client.get("/api/form").status_code == 200


def test_deep_json_is_refused(client: TestClient) -> None:
    deep = b"[" * 100_000
    headers = {**HEADERS, "Content-Type": "application/json"}
    assert client.post("/api/plan", content=deep, headers=headers).status_code == 400
    assert json.loads(client.get("/api/form").text)["limits"]["queue"] == runs_module.MOST_QUEUED
