"""What people send to break a server: refused with a clear line, and the server is alive after it.

A real server in a process of its own, whose memory is watched.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bombs import BOMBS
from conftest import random_image

import hires

_SERVER = """
import sys
from pathlib import Path
import uvicorn
from starlette.applications import Starlette
from hires.serve.zoom import Zoom

folder = Path(sys.argv[1])

def find(key):
    known = {path.name: path for path in folder.iterdir() if path.is_file()}
    return known.get(key)

app = Starlette(routes=Zoom(find).routes())
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
"""


@dataclass
class Server:
    """A server of the pictures of a folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as done:
                return done.status, done.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")

    def is_well(self) -> bool:
        """Whether it still shows a picture, in a bounded memory."""
        status, _ = self.get("/zoom/good.png_files/6/0_0.jpg")
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        kilobytes = {name: text for name, _, text in (line.partition(":") for line in lines)}
        peak = int(kilobytes["VmHWM"].split()[0]) / 1024
        return status == 200 and peak < self.start + 300

    start: float = 0.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    folder = tmp_path_factory.mktemp("served")
    hires.save_image(random_image(60, 50).float(), folder / "good.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-c", _SERVER, str(folder), str(port)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        made = Server(folder, port, process)
        try:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    if made.get("/zoom/good.png.dzi")[0] == 200:
                        break
                time.sleep(0.1)
            status = Path(f"/proc/{process.pid}/status").read_text()
            made.start = int(status.split("VmHWM:")[1].split()[0]) / 1024
            assert made.is_well()
            yield made
        finally:
            process.terminate()


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("ending", [".png", ".pth"])
def test_bombs_are_refused(kind: str, ending: str, server: Server) -> None:
    name = f"bomb-{abs(hash(kind))}{ending}"
    (server.folder / name).write_bytes(BOMBS[kind]())
    level = "14" if server.get(f"/zoom/{name}.dzi")[0] == 200 else None
    status, text = server.get(
        f"/zoom/{name}.dzi" if level is None else f"/zoom/{name}_files/{level}/3_3.jpg"
    )
    (server.folder / name).unlink()
    assert status == 422, text
    assert text.count("\n") == 1
    assert "Traceback" not in text
    assert server.is_well()


@pytest.mark.parametrize(
    "key",
    [
        *("../../etc/passwd", "/etc/passwd", "..", ".", "", "good.png/..", "good.png\0.jpg"),
        *("..\\..\\windows", "file:///etc/passwd", "good.png[page=1]", "~", "$HOME", "%2e%2e%2f"),
        *("a" * 10_000, "\u2025/good.png", "good.png;ls", "|ls", "\udcff".encode(errors="replace")),
    ],
)
@pytest.mark.parametrize("rest", [".dzi", "_files/6/0_0.jpg"])
def test_keys_are_no_paths(key: str | bytes, rest: str, server: Server) -> None:
    (server.folder.parent / "secret.png").write_bytes((server.folder / "good.png").read_bytes())
    for quoted in (urllib.parse.quote(key, safe=""), urllib.parse.quote(key, safe="/.")):
        with contextlib.suppress(urllib.error.URLError):
            assert server.get(f"/zoom/{quoted}{rest}")[0] in (400, 404, 405)
    for outside in ("../secret.png", "..%2fsecret.png", "%2e%2e/secret.png", "..%252fsecret.png"):
        assert server.get(f"/zoom/{outside}{rest}")[0] in (400, 404)
    assert server.is_well()


@pytest.mark.parametrize(
    "number", ["-1", "1e9", "99999999", "9" * 20_000, "0x10", "1_2", "NaN", ""]
)
def test_numbers_are_checked(number: str, server: Server) -> None:
    for path in (f"{number}/0_0.jpg", f"6/{number}_0.jpg", f"6/0_{number}.jpg"):
        assert server.get(f"/zoom/good.png_files/{path}")[0] in (400, 404)
    assert server.is_well()


def test_half_a_request_holds_nobody_up(server: Server) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    for one in slow:
        one.sendall(b"GET /zoom/good.png.dzi HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    assert server.is_well()
    for one in slow:
        one.close()
    assert server.is_well()


def test_many_at_a_time_are_all_answered(server: Server) -> None:
    """Of a picture that is being made: they wait in no threads."""
    hires.save_image(random_image(2100, 2100).float(), server.folder / "large.png")
    crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
    for number, one in enumerate(crowd):
        path = f"/zoom/large.png_files/12/{number % 5}_{number // 5 % 5}.jpg"
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    for one in crowd:
        one.settimeout(60)
        assert one.recv(15).startswith(b"HTTP/1.1 200"), "not answered"
        one.close()
    assert server.is_well()
