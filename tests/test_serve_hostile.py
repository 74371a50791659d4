"""`hires serve` as strangers would have it: each attack is refused in one line, and it goes on.

A real server in a process of its own, whose memory, files and threads are looked at after each.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bombs import BOMBS, small_png
from conftest import end_runs
from pictures import encoded

pytest.importorskip("starlette")

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
OURS = {"X-Hires": "1"}
MOST_GROWTH = 120  # MiB that the server may grow by, whatever it is sent
JOB = {"size": 64, "min_size": 64, "iterations": [2], "device": "cpu"}


@dataclass
class Studio:
    """A server of a folder."""

    folder: Path
    port: int
    process: subprocess.Popen[str]
    before: float = 0.0

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] = OURS,
    ) -> tuple[int, str]:
        """Status and text of an answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(link):
            link.request(method, path, body, {"Host": f"127.0.0.1:{self.port}", **headers})
            answer = link.getresponse()
            return answer.status, answer.read().decode(errors="replace")

    def send(self, path: str, asked: object) -> tuple[int, str]:
        """Send JSON."""
        told = {**OURS, "Content-Type": "application/json"}
        return self.ask("POST", path, json.dumps(asked), told)

    def upload(self, data: bytes, name: str = "a.png", kind: str = "content") -> tuple[int, str]:
        """Send a picture."""
        about = urllib.parse.urlencode({"kind": kind, "name": name}, errors="surrogatepass")
        return self.ask("POST", f"/api/pictures?{about}", data)

    def beside(self) -> set[str]:
        """What lies where names would lead out of the folder."""
        return {path.name for path in self.folder.parent.iterdir()}

    @property
    def peak(self) -> float:
        """MiB that it has had at most."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024

    def is_well(self) -> bool:
        """Whether it answers, has not grown, and keeps nothing of what it has refused."""
        status, _ = self.ask("GET", "/api/form")
        half = [*self.folder.glob(".hires-serve/pictures/*/arriving")]
        return status == 200 and self.peak < self.before + MOST_GROWTH and not half


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio") / "served"
    folder.mkdir()
    (folder.parent / "secret.png").write_bytes(encoded())
    words = [sys.executable, "-m", "hires", "serve", "--port", "0", "--folder", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r":(\d+)/", process.stdout.readline())
        assert found
        made = Studio(folder, int(found[1]), process)
        assert made.upload(encoded())[0] == 200
        made.before = made.peak
        yield made
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        end_runs(folder)


@pytest.fixture(scope="module")
def pictures(studio: Studio) -> tuple[str, str]:
    content, style = (
        json.loads(studio.upload(encoded(), kind=kind)[1])["id"] for kind in ("content", "style")
    )
    return content, style


def refused(answer: tuple[int, str], *statuses: int) -> str:
    """The one line of a refusal."""
    status, text = answer
    assert status in (statuses or (400,)), text
    line = str(json.loads(text)["error"])
    assert line
    assert "\n" not in line
    assert len(line) < 400
    assert "Traceback" not in text
    return line


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs(kind: str, studio: Studio) -> None:
    before = {path.name for path in (studio.folder / "uploads").iterdir()}
    line = refused(studio.upload(BOMBS[kind](), name=f"{kind}.png"))
    assert str(studio.folder) not in line
    assert {path.name for path in (studio.folder / "uploads").iterdir()} == before
    assert studio.is_well()


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt"])
def test_what_grows_beside_the_pixels(name: bytes, studio: Studio) -> None:
    """Taken or not, it grows nowhere but in a process that is bounded."""
    before = b"a\0\0"
    assert studio.upload(small_png(name, before))[0] in (200, 400)
    assert studio.is_well()


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "a.pkl", "a.ckpt", "a.py"])
@pytest.mark.parametrize("kind", ["content", "style", "mask"])
def test_no_pickle_is_taken(name: str, kind: str, studio: Studio) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(studio.folder / "run"),)

    refused(studio.upload(pickle.dumps(Evil()), name=name, kind=kind))
    refused(studio.upload(b"PK\x03\x04" + pickle.dumps(Evil()), name=name, kind=kind))
    assert not (studio.folder / "run").exists()
    assert studio.is_well()


@pytest.mark.parametrize(
    "name",
    [
        *("../../evil.png", "/etc/passwd", "..\\..\\evil.png", "a\0b.png", "-o", "--help", "."),
        *("..", "", "con.png", "a" * 5000, "\u202egnp.exe", "\ud800.png", "\N{PILE OF POO}.png"),
        *("a\r\nSet-Cookie: x=1.png", "<script>.png", "%2e%2e%2f", "$(reboot).png", "a;b|c&d"),
    ],
)
def test_names_are_no_paths(name: str, studio: Studio) -> None:
    status, text = studio.upload(encoded(), name=name)
    assert status == 200, text
    told = json.loads(text)
    assert len(told["name"]) <= 100
    assert told["name"].isprintable()
    (kept,) = studio.folder.glob(f"uploads/*-{told['id'][:8]}.*")
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}-[0-9a-f]{8}\.png", kept.name)
    assert studio.beside() == {"secret.png", studio.folder.name}
    assert studio.is_well()


def test_a_huge_body_is_refused_by_its_length(studio: Studio) -> None:
    """Before any of it is sent."""
    with socket.create_connection(("127.0.0.1", studio.port), timeout=60) as link:
        head = f"POST /api/pictures?kind=content HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\n"
        head += f"X-Hires: 1\r\nContent-Length: {2**31}\r\n\r\n"
        link.sendall(head.encode())
        assert link.recv(20).startswith(b"HTTP/1.1 413")
    assert studio.is_well()


def test_a_huge_body_is_refused_by_counting(studio: Studio) -> None:
    """One that does not say how long it is; 256 KiB are more than any job has."""
    with socket.create_connection(("127.0.0.1", studio.port), timeout=60) as link:
        head = f"POST /api/runs HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\nX-Hires: 1\r\n"
        head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        link.sendall(head.encode())
        part, sent = b"10000\r\n" + b"[" * 2**16 + b"\r\n", 0
        with contextlib.suppress(OSError):
            while sent < 2**28:
                link.sendall(part)
                sent += 2**16
        assert sent < 2**25
    assert studio.is_well()


def test_a_thousand_runs(studio: Studio, pictures: tuple[str, str]) -> None:
    """A hundred wait; to more it says no."""
    job = {
        "content": pictures[0],
        "styles": [pictures[1]],
        "options": {**JOB, "iterations": [9999]},
    }
    with ThreadPoolExecutor(8) as crowd:
        answers = [*crowd.map(lambda _: studio.send("/api/runs", job), range(300))]
    taken = [json.loads(text)["run"] for status, text in answers if status == 200]
    assert 100 <= len(taken) <= 102  # One or two of them were begun meanwhile.
    no = {refused(answer) for answer in answers if answer[0] != 200}
    assert no == {"100 runs are waiting already: wait, or remove some"}
    runs = json.loads(studio.ask("GET", "/api/runs")[1])["runs"]
    for run in runs:
        if run["state"] == "queued":
            studio.send(f"/api/runs/{run['id']}/remove", {})
    for run in runs:
        if run["id"] in taken:
            studio.send(f"/api/runs/{run['id']}/stop", {"after": "now"})
    assert studio.is_well()


HUGE: list[Any] = [
    *(10**400, -(10**400), 1e308, -1, True, "x" * 100_000, "9" * 4000, "\ud800", "\0", " 1"),
    *([], [[]], {}, {"a": {}}, [1] * 10_000, "--help", "-1", "1e999", "$(id)", "../x"),
]


@pytest.mark.parametrize("name", ["size", "seed", "memory", "style_loss", "brush_size", "\ud800"])
def test_options_beyond_all_bounds(name: str, studio: Studio, pictures: tuple[str, str]) -> None:
    for value in HUGE:
        options = {**JOB, name: value}
        job = {"content": pictures[0], "styles": [pictures[1]], "options": options}
        answer = studio.send("/api/runs", job)
        if answer[0] == 200:  # Such as a seed that is -0; it is no harm.
            pytest.fail(f"{name}={value!r:.40}: {answer[1]}")
        refused(answer)
    assert studio.is_well()


@pytest.mark.parametrize(
    "name", ["content", "styles", "weights", "masks", "print", "deliver", "format", "mode", "model"]
)
def test_parts_of_a_job_of_any_type(name: str, studio: Studio, pictures: tuple[str, str]) -> None:
    for value in [*HUGE, 1, 1.5, ["a"], [{"mask": pictures[0], "style": 10**400}]]:
        if value in ([], {}) and name in ("weights", "masks", "print", "deliver", "format"):
            continue  # As good as none.
        job = {"content": pictures[0], "styles": [pictures[1]], "options": JOB, name: value}
        if name == "model":
            job["mode"] = "apply"
        status, text = studio.send("/api/plan", job)
        if status != 200:
            refused((status, text))
        else:
            assert (name, value) in [("weights", [1] * 10_000), ("model", [])], (name, value)
    assert studio.is_well()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:7860"}, 421),
        ({"Host": "127.0.0.1.nip.io"}, 421),
        ({"Host": "[::1].evil"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Hires": ""}, 403),
        ({"X-Hires": "true"}, 403),
    ],
)
def test_other_sites_pages(headers: dict[str, str], status: int, studio: Studio) -> None:
    for path in ("/api/runs", "/api/pictures?kind=content", "/api/samples"):
        refused(studio.ask("POST", path, encoded(), {**OURS, **headers}), status)
    if "X-Hires" not in headers:
        refused(studio.ask("GET", "/api/runs", None, headers), status)
    assert studio.is_well()


def test_other_methods_and_heads(studio: Studio) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"):
        assert studio.ask(method, "/api/runs")[0] in (400, 403, 404, 405)
    for head in (b"GET / HTTP/9.9\r\n\r\n", b"\0" * 4096, b"\x16\x03\x01", b"A" * 200_000):
        link = socket.create_connection(("127.0.0.1", studio.port), timeout=60)
        with link, contextlib.suppress(OSError):
            link.sendall(head)
            link.shutdown(socket.SHUT_WR)
            assert not link.recv(20).startswith(b"HTTP/1.1 2")
    assert studio.is_well()


def test_slow_and_many(studio: Studio) -> None:
    """Neither heads that never end nor bodies that never come hold anybody up."""
    crowd = []
    for number in range(400):
        with contextlib.suppress(OSError):
            link = socket.create_connection(("127.0.0.1", studio.port), timeout=60)
            crowd.append(link)
            if number % 2:
                link.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            elif number < 20:
                head = f"POST /api/pictures?kind=content HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}"
                link.sendall(f"{head}\r\nX-Hires: 1\r\nContent-Length: 999\r\n\r\n".encode())
    time.sleep(0.5)
    fds = len([*Path(f"/proc/{studio.process.pid}/fd").iterdir()])
    assert fds < 300  # Of those that are too many, none is held.
    for link in crowd:
        link.close()
    for _ in range(100):
        time.sleep(0.1)
        with contextlib.suppress(OSError):
            if studio.is_well():
                break
    assert studio.upload(encoded())[0] == 200
    assert studio.is_well()


def test_plans_that_nobody_waits_for(studio: Studio, pictures: tuple[str, str]) -> None:
    """Of a crowd of plans few are worked out, and those that are dropped leave nothing behind."""
    job = {"content": pictures[0], "styles": [pictures[1]], "options": JOB}
    for _ in range(20):
        assert studio.send("/api/plan", job)[0] == 200
    children: list[str] = []
    for _ in range(100):
        time.sleep(0.1)
        children = [text for text in states() if text.split()[1] == str(studio.process.pid)]
        if len(children) <= 4:
            break
        assert studio.send("/api/plan", job)[0] == 200  # Looks after those that have ended.
    assert len(children) <= 4, children
    assert studio.is_well()


def states() -> Iterator[str]:
    """State and parent of every process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            yield path.read_text(errors="replace").rpartition(")")[2]


def test_the_secret_stays_one(studio: Studio) -> None:
    secret = (studio.folder.parent / "secret.png").read_bytes()
    (studio.folder / "link.run").symlink_to(studio.folder.parent)
    paths = (
        *("/secret.png", "/../secret.png", "/%2e%2e/secret.png", "/static/../../secret.png"),
        *("/static/%2e%2e/%2e%2e/secret.png", "/zoom/..%2fsecret.png.dzi", "/uploads/out.png"),
        *("/api/pictures/..%2f..%2fsecret/preview.jpg", "/static//etc/passwd"),
        *("/.hires-serve/.lock", "/link.run/secret.png"),
    )
    for path in paths:
        link = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=60)
        with contextlib.closing(link):
            link.putrequest("GET", path, skip_accept_encoding=True)
            link.endheaders()
            answer = link.getresponse()
            data = answer.read()
        assert answer.status in (400, 404), path
        assert secret not in data
    (studio.folder / "link.run").unlink()
    assert studio.is_well()
