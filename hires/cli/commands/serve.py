"""``hires serve``: the page in the browser."""

from __future__ import annotations

import secrets
import webbrowser
from importlib.util import find_spec

from hires.cli.exits import tell
from hires.cli.typed import TypedWords
from hires.config.serve import Serve
from hires.errors import ConfigError

_NEEDED = ("starlette", "uvicorn")


def run(job: Serve) -> int:
    """Serve it until Ctrl-C; runs go on without it."""
    if not all(map(find_spec, _NEEDED)):
        raise ConfigError("hires serve needs some more packages: pip install starlette uvicorn")
    from hires.serve.server import serve

    token = None if job.is_local else secrets.token_urlsafe(24)

    def ready(url: str) -> None:
        print(f"hires serve: {url}", flush=True)
        tell("hires", "Ctrl-C ends the page; runs go on, and are there again the next time")
        if job.open:
            webbrowser.open(url)

    serve(job, token, TypedWords(), ready)
    return 0
