"""The server: an address, the page, and as long as it lasts the queue."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import h11
import uvicorn
from filelock import FileLock, Timeout
from uvicorn.protocols.http.h11_impl import H11Protocol

from hires.config.serve import Serve
from hires.errors import ConfigError
from hires.serve.app import Page, make_app
from hires.serve.store import HIDDEN
from hires.serve.words import Words

_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_ANY = ("0.0.0.0", "::")
_MOST_CONNECTIONS, _HEAD_SECONDS = 256, 20.0


def serve(job: Serve, token: str | None, words: Words, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        job: where, and from which folder.
        token: that is asked for; None for no token.
        words: the commands that are started.
        ready: called with the page's address once it can be opened.

    Raises:
        ConfigError: if the address or the folder cannot be had.
    """
    folder = Path(job.folder)
    try:
        (folder / HIDDEN).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"`folder` {folder} cannot be used: {error.strerror}") from None
    lock = FileLock(folder / HIDDEN / ".lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"another hires serve has {folder}: give another `folder`") from None
    try:
        with _listening(job) as listener:
            port = listener.getsockname()[1]
            hosts = (*_LOCAL, job.host) if job.is_local else ()
            page = Page(folder, words)
            app = make_app(page, hosts=hosts, token=token)
            config = uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                http=_Patient,
                ws="none",
                timeout_graceful_shutdown=2,
            )
            ready(_address(job.host, port, token))
            with suppress(KeyboardInterrupt):  # What uvicorn hands on when it has ended.
                _Server(config, page).run(sockets=[listener])
    finally:
        lock.release()


class _Patient(H11Protocol):
    """Ends connections whose requests do not come, and those that are too many."""

    _waits: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Of many at a time, later ones are not taken: each holds an open file."""
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """A part of a request's head, or of its body, which is watched by whoever reads it."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._watch(is_over=True)
        super().connection_lost(exc)

    def _watch(self, *, is_over: bool = False) -> None:
        waits = self.conn.their_state is h11.IDLE and not is_over
        if waits and self._waits is None:
            self._waits = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)
        elif not waits and self._waits is not None:
            self._waits.cancel()
            self._waits = None


class _Server(uvicorn.Server):
    """Ends the streams of a page before it waits for its answers."""

    def __init__(self, config: uvicorn.Config, page: Page) -> None:
        super().__init__(config)
        self._page = page

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C or SIGTERM."""
        self._page.is_ending = True
        super().handle_exit(sig, frame)


def _listening(job: Serve) -> socket.socket:
    host = job.host.strip("[]")
    try:
        family = socket.getaddrinfo(host, job.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, job.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {job.host}, port {job.port}: {error.strerror or error}; give"
            " another `port` or `host`"
        ) from None


def _address(host: str, port: int, token: str | None) -> str:
    name = socket.gethostname() if host in _ANY else host
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")
