"""The page's server: what it answers, what it refuses, and runs that outlive it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pictures import encoded
from PIL import Image

import hires

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from hires.cli.typed import TypedWords
from hires.config.serve import Serve
from hires.errors import ConfigError
from hires.serve.app import Page, make_app
from hires.serve.runs import MOST_QUEUED

OURS = {"X-Hires": "1"}
SMALL = {"size": 64, "min_size": 64, "iterations": [4], "device": "cpu"}


def client_of(folder: Path, token: str | None = None) -> TestClient:
    hosts = ("127.0.0.1", "localhost") if token is None else ()
    app = make_app(Page(folder, TypedWords()), hosts=hosts, token=token)
    return TestClient(app, base_url="http://127.0.0.1", headers=OURS)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a server whose queue stands still: nothing is painted."""
    made = client_of(tmp_path)
    yield made
    made.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a server that paints."""
    with client_of(tmp_path) as made:
        yield made


def upload(client: TestClient, data: bytes, kind: str = "content", name: str = "a.png") -> Any:
    return client.post("/api/pictures", content=data, params={"kind": kind, "name": name})


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[str, str]:
    made = client_of(tmp_path)
    content, style = (upload(made, encoded(), kind).json()["id"] for kind in ("content", "style"))
    return content, style


def job_of(pictures: tuple[str, str], **changed: Any) -> dict[str, Any]:
    return {"content": pictures[0], "styles": [pictures[1]], "options": dict(SMALL), **changed}


def wait(client: TestClient, path: str, until: Callable[[Any], bool], seconds: float = 90) -> Any:
    for _ in range(round(seconds / 0.1)):
        found = client.get(path).json()
        if until(found):
            return found
        time.sleep(0.1)
    pytest.fail(f"{path}: {found}")


def test_the_server_needs_no_torch() -> None:
    told = "import sys, hires.serve.server, hires.cli.commands.serve; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from hires.cli.commands import serve

    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(ConfigError, match=r"pip install starlette uvicorn"):
        serve.run(Serve(folder=str(tmp_path)))


def test_which_hosts_need_a_token() -> None:
    local = ("127.0.0.1", "localhost", "::1", "127.0.0.2")
    assert all(Serve(host=host).is_local for host in local)
    assert not any(Serve(host=host).is_local for host in ("0.0.0.0", "::", "10.0.0.1", "studio"))
    with pytest.raises(ConfigError, match="port"):
        Serve(port=70_000)


def test_the_form_is_that_of_the_options(client: TestClient) -> None:
    form = client.get("/api/form").json()
    fields = {field["name"]: field for field in form["fields"]}
    assert fields["content_weight"]["default"] == hires.Config().content_weight
    assert fields["content_weight"]["kind"] == "number"
    assert fields["color"]["choices"] == ["style", "content", "luminance", "match", "palette"]
    assert fields["paper"]["group"] == "print"
    assert fields["style_loss"]["kind"] == "losses"
    assert all(field["help"] and "--" not in field["help"] for field in fields.values())
    # None is a path, or could name one.
    assert not {"features", "init", "icc", "finish", "output", "run_dir"} & set(fields)
    assert "A2" in [paper if isinstance(paper, str) else paper["name"] for paper in form["papers"]]


def test_pictures_are_kept_under_names_of_our_own(client: TestClient, tmp_path: Path) -> None:
    for name in ("../../evil.png", "/etc/passwd", "..\\evil.png", "-o.png", "con\n.png", "\0.png"):
        told = upload(client, encoded(), name=name).json()
        assert len(told["id"]) == 16
        assert not set("/\\\n\0") & set(told["name"])
        shown = client.get(told["preview"])
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
        assert (told["width"], told["height"]) == (96, 80)
    kept = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    ours = r"\.hires-serve/pictures/[0-9a-f]{16}/(preview\.jpg|about\.json)"
    ours += r"|uploads/[a-z0-9-]{1,32}-[0-9a-f]{8}\.png"
    assert [path for path in kept if not re.fullmatch(ours, path)] == []


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04K\x01.", b"<svg/>", encoded()[:200], b"PK\x03\x04" + bytes(99)]
)
def test_what_is_no_picture_is_refused(client: TestClient, tmp_path: Path, data: bytes) -> None:
    told = upload(client, data)
    assert told.status_code == 400
    assert len(told.json()["error"]) < 300
    assert str(tmp_path) not in told.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(tmp_path, TypedWords())
    monkeypatch.setattr(page.pictures, "_most", 96 * 80 - 1)
    made = TestClient(make_app(page, hosts=(), token=None), headers=OURS)
    told = upload(made, encoded())
    assert told.status_code == 400
    assert "96x80" in told.json()["error"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"content": "../../etc"}, "content"),
        ({"content": "0" * 16}, "content"),
        ({"content": ["a"]}, "content"),
        ({"styles": []}, "styles"),
        ({"styles": ["x"] * 99}, "styles"),
        ({"weights": ["1"]}, "weights"),
        ({"command": "rm"}, "command"),
        ({"mode": "exec"}, "mode"),
        ({"mode": "apply", "model": "../model.pth"}, "model"),
        ({"format": "../../a.png"}, "format"),
        ({"deliver": "lab", "format": "png"}, "format"),
        ({"options": {"features": "evil.pth"}}, "features"),
        ({"options": {"init": "/etc/passwd"}}, "init"),
        ({"options": {"size": 10**9}}, "size"),
        ({"options": {"size": "-o"}}, "size"),
        ({"options": {"size": "--run-dir=x"}}, "size"),
        ({"options": {"size": 60_000}}, "megapixels"),
        ({"options": {"content_weight": 1e300}}, "content_weight"),
        ({"options": {"content_weight": {"a": 1}}}, "content_weight"),
        ({"options": {"iterations": [1] * 999}}, "iterations"),
        ({"options": {"iterations": [10**9]}}, "iterations"),
        ({"options": {"device": "cuda:0; rm"}}, "device"),
        ({"options": {"memory": "x" * 999}}, "memory"),
        ({"options": {"style_loss": ["--help"]}}, "style_loss"),
        ({"options": {"seed": -1}}, "seed"),
        ({"print": {"paper": "90x90cm", "dpi": 2400}, "options": {}}, "megapixels"),
        ({"print": {"paper": "/etc/passwd"}, "options": {}}, "paper"),
        ({"print": {"bleed": "3mm"}}, "bleed"),
        ({"masks": [{"mask": "x", "style": 1}]}, "masks"),
        ({"masks": [{"path": "x"}]}, "path"),
    ],
)
def test_jobs_that_are_refused(
    client: TestClient, pictures: tuple[str, str], changed: dict[str, Any], told: str
) -> None:
    for path in ("/api/runs", "/api/plan", "/api/variations"):
        answer = client.post(path, json=job_of(pictures, **changed))
        assert answer.status_code == 400, answer.text
        assert told in answer.json()["error"]
    assert client.get("/api/runs").json() == {"runs": []}


@pytest.mark.parametrize("body", ["", "[", "[]", "null", '"a"', "[" * 100_000, '{"content": NaN}'])
def test_what_is_no_job_is_refused(client: TestClient, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/runs", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_bodies_are_bounded(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    assert client.post("/api/runs", content=b"[" * 2**20, headers=headers).status_code == 413
    # One that does not say how long it is.
    parts = (b"[" * 2**16 for _ in range(64))
    assert client.post("/api/runs", content=parts, headers=headers).status_code == 413
    for length in ("9" * 30, "-1", "1e9"):
        bad = {**headers, "Content-Length": length}
        assert client.post("/api/runs", content=b"{}", headers=bad).status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"X-Hires": "0"}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_pages_of_others_are_refused(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.post("/api/runs", content=b"{}", headers=headers).status_code == status
    if status != 415 and "X-Hires" not in headers:
        assert client.get("/api/runs", headers=headers).status_code == status


def test_what_every_answer_tells_the_browser(client: TestClient) -> None:
    for path in ("/api/form", "/nothing", "/static/zoom.js"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_no_file_of_elsewhere(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    paths = ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/secret.txt"]
    paths += ["/api/pictures/..%2f..%2fsecret.txt/preview.jpg", "/zoom/..%2fsecret.txt.dzi"]
    paths += ["/api/variations/../../1.jpg", "/api/runs/..%2f/preview.jpg", "//etc/passwd"]
    for path in paths:
        answer = client.get(path)
        assert answer.status_code in (404, 405), path
        assert "secret" not in answer.text.replace("secret.txt", "")


def test_another_host_asks_for_the_token(tmp_path: Path) -> None:
    made = client_of(tmp_path, token="right")
    assert made.get("/api/form").status_code == 401
    assert made.get("/?token=wrong").status_code == 401
    assert made.get("/api/form?token=right").status_code == 401
    answer = made.get("/?token=right", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    told = answer.headers["set-cookie"].lower()
    assert "httponly" in told
    assert "samesite=strict" in told
    assert made.get("/api/form").status_code == 200


def test_the_queue_has_an_end(
    client: TestClient, pictures: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_QUEUED <= 100
    monkeypatch.setattr("hires.serve.runs.MOST_QUEUED", 3)
    keys = [client.post("/api/runs", json=job_of(pictures)).json()["run"] for _ in range(3)]
    answer = client.post("/api/runs", json=job_of(pictures))
    assert answer.status_code in (400, 429)
    assert "3 runs" in answer.json()["error"]
    assert client.post(f"/api/runs/{keys[0]}/stop", json={"after": "now"}).status_code == 400
    assert client.post(f"/api/runs/{keys[0]}/remove").status_code == 200
    assert client.post("/api/runs", json=job_of(pictures)).status_code == 200
    assert client.post("/api/runs/0123456789abcdef/remove").status_code == 404


def test_a_run_from_the_upload_to_the_lab_file(
    running: TestClient, pictures: tuple[str, str], tmp_path: Path
) -> None:
    """Stopped, by another server gone on with, finished, looked at, taken away."""
    options = {**SMALL, "size": 192, "min_size": 96, "iterations": [12, 2000]}
    job = job_of(pictures, options=options)
    key = running.post("/api/runs", json=job).json()["run"]
    url = f"/api/runs/{key}"
    # The second size is far from over: what is stopped is one that has begun.
    told = wait(running, url, lambda told: told["rung"] == 2 and told["preview"])
    assert told["state"] == "running"
    assert [rung["steps"] for rung in told["rungs"]] == [12, 2000]
    assert 0 < told["progress"] < 1
    assert running.get(told["preview"]).headers["content-type"] == "image/jpeg"
    assert running.post(f"{url}/stop", json={"after": "now"}).status_code == 200
    told = wait(running, url, lambda told: told["state"] == "stopped")
    # What was painted can be walked up to, at the size that it had.
    assert told["picture"]["width"] == told["rungs"][1]["size"] == 192
    assert running.get(f"/zoom/{key}.dzi").status_code == 200
    assert told["trace"][-1]["terms"]["style"] > 0
    assert told["trace"][-1]["step"] == told["step"]
    assert "hires stylize" in told["command"]
    with client_of(tmp_path) as after:
        assert after.get(url).json()["state"] == "stopped"
        assert after.post(f"{url}/resume").status_code == 200
        wait(after, url, lambda now: now["state"] == "running" and now["step"] != told["step"])
        assert after.post(f"{url}/stop", json={"after": "now"}).status_code == 200
        wait(after, url, lambda now: now["state"] == "stopped")
    assert (tmp_path / f"a-{key[:8]}.png").is_file()


def test_a_finished_run_and_what_is_taken_of_it(tmp_path: Path, pictures: tuple[str, str]) -> None:
    with client_of(tmp_path) as first:
        key = first.post("/api/runs", json=job_of(pictures, print={"dpi": 200})).json()["run"]
        wait(first, f"/api/runs/{key}", lambda told: told["state"] == "running")
    # The server is gone, the run is not.
    with client_of(tmp_path) as second:
        told = wait(second, f"/api/runs/{key}", lambda told: told["state"] == "done")
        assert (told["width"], told["height"]) == (64, 53)
        assert told["picture"] == {"key": key, "width": 64, "height": 53}
        assert told["progress"] == 1
        assert second.get(f"/zoom/{key}.dzi").status_code == 200
        assert second.get(f"/zoom/{key}_files/6/0_0.jpg").headers["content-type"] == "image/jpeg"
        lab = second.get(f"/api/runs/{key}/download?deliver=lab&format=tif")
        assert lab.status_code == 200, lab.text
        assert "attachment" in lab.headers["content-disposition"]
        with Image.open(io.BytesIO(lab.content)) as image:
            assert (image.size, image.mode) == ((64, 53), "RGB")
            assert tuple(map(round, image.info["dpi"])) == (200, 200)
            assert image.info["icc_profile"]
        for bad in ("deliver=plain&format=tif", "deliver=lab&format=exe", "format=tif"):
            assert second.get(f"/api/runs/{key}/download?{bad}").status_code == 400


def test_runs_of_the_command_line_are_shown(client: TestClient, tmp_path: Path) -> None:
    for name in ("photo.png", "style.png"):
        (tmp_path / name).write_bytes(encoded())
    words = ["stylize", "photo.png", "style.png", "-o", "typed.png", "--size", "64"]
    words += ["--min-size", "64", "--iterations", "3", "--device", "cpu", "--quiet"]
    subprocess.run([sys.executable, "-m", "hires", *words], cwd=tmp_path, check=True)
    (run,) = client.get("/api/runs").json()["runs"]
    assert run["state"] == "done"
    told = client.get(f"/api/runs/{run['id']}").json()
    assert "photo.png style.png" in told["command"]
    assert client.get(f"/zoom/{run['id']}.dzi").status_code == 200
    # A run whose painting lies elsewhere is shown, but no file of it.
    settings = tmp_path / "typed.run" / "settings.json"
    found = json.loads(settings.read_text())
    found["settings"]["output"] = "/etc/hostname"
    settings.write_text(json.dumps(found))
    assert client.get(f"/zoom/{run['id']}.dzi").status_code == 404
    assert client.get(f"/api/runs/{run['id']}/download").status_code == 400


def test_stop_at_this_size(tmp_path: Path) -> None:
    """A run looks for the wish between its steps."""
    from hires.runs.watch import ask_to_stop, asked_to_stop

    for name in ("photo.png", "style.png"):
        (tmp_path / name).write_bytes(encoded())
    job = hires.Job(
        content=str(tmp_path / "photo.png"),
        styles=(str(tmp_path / "style.png"),),
        output=str(tmp_path / "out.png"),
        config=hires.Config(sizes=(80, 128), iterations=(4, 3), device="cpu"),
    )
    run, done = tmp_path / "out.run", list[tuple[int, int]]()

    def paint() -> None:
        for progress in hires.iter_paint(job):
            done.append((progress.rung.index, progress.iteration))
            if len(done) == 2:
                ask_to_stop(run, "size")

    with pytest.raises(KeyboardInterrupt):
        paint()
    assert done[-1] == (0, 4)
    assert asked_to_stop(run) is None
    assert hires.picture_size(tmp_path / "out.png") == (67, 80)
    again = [(progress.rung.index, progress.iteration) for progress in hires.iter_paint(job)]
    assert again[-1] == (1, 3)
    assert hires.picture_size(tmp_path / "out.png") == (107, 128)


def test_plan_and_variations(running: TestClient, pictures: tuple[str, str]) -> None:
    key = running.post("/api/plan", json=job_of(pictures)).json()["plan"]
    told = wait(running, f"/api/plan/{key}", lambda told: told["state"] != "running")
    assert told["state"] == "done", told
    assert (told["width"], told["height"]) == (64, 53)
    assert [row["steps"] for row in told["rows"]] == [4]
    key = running.post("/api/variations", json=job_of(pictures)).json()["variations"]
    told = wait(running, f"/api/variations/{key}", lambda told: told["state"] != "running")
    assert told["state"] == "done", told
    assert told["done"] == told["of"] == len(told["cells"]) > 6
    assert told["cells"][1]["options"]
    for url in (told["sheet"], told["cells"][0]["picture"]):
        assert running.get(url).headers["content-type"] == "image/jpeg"


def test_painted_in_seconds(running: TestClient) -> None:
    content = upload(running, encoded(144, 128)).json()["id"]
    job = {"content": content, "mode": "apply", "model": "impasto", "format": "jpg"}
    key = running.post("/api/runs", json=job).json()["run"]
    told = wait(running, f"/api/runs/{key}", lambda told: told["state"] in ("done", "failed"))
    assert told["state"] == "done", told
    assert running.get(f"/api/runs/{key}/preview.jpg").status_code == 200
    assert running.get(f"/zoom/{key}.dzi").status_code == 200


def test_a_run_that_fails_says_why(running: TestClient, pictures: tuple[str, str]) -> None:
    job = job_of(pictures, options={**SMALL, "iterations": [4, 4]})
    key = running.post("/api/runs", json=job).json()["run"]
    told = wait(running, f"/api/runs/{key}", lambda told: told["state"] in ("done", "failed"))
    assert told["state"] == "failed"
    assert "iterations has 2 numbers" in told["error"]


@pytest.mark.slow
def test_a_close_up_before_the_whole(running: TestClient, pictures: tuple[str, str]) -> None:
    """Where the painting goes on beyond a megapixel; one that does not is told."""
    key = running.post("/api/closeup", json=job_of(pictures)).json()["closeup"]
    told = wait(running, f"/api/closeup/{key}", lambda told: told["state"] != "running")
    assert told["state"] == "failed"
    assert "no larger than its preview" in told["error"]
    options = {**SMALL, "size": 1600, "min_size": 1100, "iterations": [1, 1], "rungs": 2}
    job = job_of(pictures, options=options)
    key = running.post("/api/closeup", json=job).json()["closeup"]
    told = wait(running, f"/api/closeup/{key}", lambda told: told["state"] != "running", 240)
    assert told["state"] == "done", told
    assert told["whole"] == [1333, 1600]
    assert told["size"] == [768, 768]
    assert all(0 < share < 1 for share in told["spot"])
    for name, size in (("picture", (768, 768)), ("around", (1100, 917))):
        with Image.open(io.BytesIO(running.get(told[name]).content)) as image:
            assert image.size == size
    assert running.get(f"/api/closeup/{key}/painting.run").status_code == 404
    # The run of the same job tells of it.
    run = running.post("/api/runs", json={**job, "closeup": key}).json()["run"]
    assert running.get(f"/api/runs/{run}").json()["closeup"] == told
    running.post(f"/api/runs/{run}/remove")


def test_models_of_the_folder(client: TestClient, tmp_path: Path) -> None:
    """By their own word, which is JSON; nothing else is offered, and nothing else taken."""
    import struct

    def model(name: str, **told: str) -> None:
        head = json.dumps({"__metadata__": told}).encode()
        (tmp_path / name).write_bytes(struct.pack("<Q", len(head)) + head)

    model("mine.safetensors", format="hires-model", task="style")
    model("large.safetensors", format="hires-model", task="super-resolution")
    model("features.safetensors", format="hires-features")
    (tmp_path / "evil.safetensors").write_bytes(b"\x80\x04K\x01.")
    (tmp_path / "long.safetensors").write_bytes(b"\xff" * 99)
    (tmp_path / "deep.safetensors").write_bytes(struct.pack("<Q", 2**19) + b"[" * 2**19)
    (tmp_path / "evil.pth").write_bytes(b"\x80\x04K\x01.")
    (tmp_path / "elsewhere.safetensors").symlink_to("/etc/hostname")
    (tmp_path / "folder.safetensors").mkdir()
    assert client.get("/api/form").json()["models"] == ["impasto", "mine.safetensors"]
    content = upload(client, encoded()).json()["id"]
    for name in ("evil.pth", "large.safetensors", "./mine.safetensors", "../mine.safetensors"):
        job = {"content": content, "mode": "apply", "model": name}
        assert client.post("/api/runs", json=job).status_code == 400
    job = {"content": content, "mode": "apply", "model": "mine.safetensors"}
    key = client.post("/api/runs", json=job).json()["run"]
    told = client.get(f"/api/runs/{key}").json()
    assert told["command"].startswith("hires apply ./mine.safetensors uploads/a-")


def test_one_damaged_run_does_not_hide_the_others(client: TestClient, tmp_path: Path) -> None:
    record = {"layout": 1, "hires": "0", "run": "x", "begun": "2026", "folder": ["/tmp", ".."]}
    record |= {"settings": {"output": "a.png"}, "inputs": {}, "machine": {}, "threads": 1}
    odd: list[Any] = [None, 1, [], {"a": []}, "\ud800", {"dpi": "x", "device": []}]
    settings = [{**record, key: value} for key in record for value in odd]
    settings += [
        {**record, "settings": {"output": "a.png", key: value}}
        for key in ("print", "config", "styles", "output", "content")
        for value in odd
    ]
    files = {
        "ladder.json": ['{"rungs": [[0, 0, 0, 0]]}', '{"rungs": [[1, 2, 3, NaN]]}', "[]"],
        "trace.jsonl": ["x\n", "[1]\n", '{"rung": 99, "iteration": 1, "loss": 1, "seconds": 0}\n'],
        "state.json": ['{"run": "x", "finished": true}', "[]", '{"run": []}'],
    }
    for number, found in enumerate(settings):
        run = tmp_path / f"{number}.run"
        run.mkdir()
        (run / "settings.json").write_text(json.dumps(found))
        for name, texts in files.items():
            (run / name).write_text(texts[number % len(texts)])
    answer = client.get("/api/runs")
    assert answer.status_code == 200
    listed = {run["id"]: run["name"] for run in answer.json()["runs"]}
    assert len(listed) > 10
    for key in listed:
        for path in ("", "/preview.jpg", "/download"):
            assert client.get(f"/api/runs/{key}{path}").status_code in (200, 400, 404)
