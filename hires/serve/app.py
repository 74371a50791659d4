"""The routes of the page; what they do lies in the other modules."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hires.errors import ConfigError, ImageError, StylizeError
from hires.serve.answers import (
    Told,
    broken,
    found,
    picture,
    refused,
    refused_by_system,
    refused_http,
)
from hires.serve.asked import Asked, read_asked
from hires.serve.form import form_fields, papers
from hires.serve.models import known_models
from hires.serve.pictures import MOST_BYTES, MOST_PIXELS, Pictures
from hires.serve.runs import MOST_QUEUED, NoRunError, Runs
from hires.serve.security import Access, Guard
from hires.serve.store import HIDDEN, Store
from hires.serve.tasks import Tasks
from hires.serve.words import Words
from hires.serve.zoom import Zoom

MOST_JSON = 2**18  # bytes of a job
_STATIC = Path(__file__).with_name("static")
_SAMPLES = Path(__file__).with_name("samples")  # Drawn by scripts/make_samples.py.
_SAMPLE_NAMES = ("harbour.jpg", "impasto.jpg")
_PERIOD = 1.0  # seconds between two looks at the folder
_MOST_LISTENERS = 32
_MOST_ARRIVALS, _MOST_LOOKS = 8, 2  # pictures that are sent and that are decoded at once


class Page:
    """What the routes share.

    Args:
        folder: of the paintings.
        words: the commands that are started.
    """

    def __init__(self, folder: Path, words: Words) -> None:
        self.store = Store(folder)
        self.pictures = Pictures(self.store)
        self.pictures.forget()
        self.runs = Runs(self.store, words)
        self.tasks = Tasks(self.store, words)
        self.zoom = Zoom(self._shown, self._smaller, folder=self.store.folder / HIDDEN / "zoom")
        self._listeners = 0
        self.is_ending = False  # Streams end then, and nobody waits for them.
        self._arrivals = asyncio.Semaphore(_MOST_ARRIVALS)
        self._looks, self._delivery = asyncio.Semaphore(_MOST_LOOKS), asyncio.Lock()

    def _shown(self, key: str) -> Path | None:
        with suppress(NoRunError):
            return self.runs.find(key).shown
        return None

    def _smaller(self, key: str) -> Path | None:
        """The same as a run has left it, small: the first view needs no more."""
        with suppress(NoRunError):
            return self.runs.find(key).preview
        return None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Keep the queue going."""
        going = asyncio.create_task(self._go())
        try:
            yield
        finally:
            going.cancel()
            self.runs.close()
            self.tasks.close()
            self.zoom.close()

    async def _go(self) -> None:
        while True:
            is_watched = self._listeners > 0
            with suppress(OSError, ImageError):  # A full disk, say: it may be mended meanwhile.
                for key in await run_in_threadpool(self.runs.tick, is_watched=is_watched):
                    if is_watched:  # Whoever waits for it will look at it.
                        await run_in_threadpool(self.zoom.warm, key)
            await asyncio.sleep(_PERIOD)

    async def index(self, _: Request) -> Response:
        """The page itself."""
        return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    def form(self, _: Request) -> Response:
        """What can be asked for."""
        told = {
            "fields": [field.told() for field in form_fields()],
            "papers": papers(),
            "models": [*known_models(self.store.folder)],
            "limits": {"pixels": MOST_PIXELS, "bytes": MOST_BYTES, "queue": MOST_QUEUED},
        }
        return Told(told)

    async def upload(self, request: Request) -> Response:
        """Take a picture: the body is its bytes, which go to the disk as they come."""
        asked = request.query_params
        async with self._arrivals:
            with self.pictures.arriving(asked.get("kind", "")) as arriving:
                with arriving.path.open("wb") as file:
                    async for part in request.stream():
                        file.write(part)
                async with self._looks:
                    name = asked.get("name", "picture")
                    told = await run_in_threadpool(self.pictures.take, arriving, name)
        return Told(told)

    def samples(self, _: Request) -> Response:
        """Take the samples as if they had been uploaded."""
        paths, found = [_SAMPLES / name for name in _SAMPLE_NAMES], []
        for path, kind in zip(paths, ("content", "style"), strict=True):
            with self.pictures.arriving(kind) as arriving:
                shutil.copyfile(path, arriving.path)
                found.append(self.pictures.take(arriving, path.name))
        return Told({"content": found[0], "styles": found[1:]})

    def picture(self, request: Request) -> Response:
        """The small copy of a picture."""
        return picture(self.pictures.preview(request.path_params["key"]))

    async def plan(self, request: Request) -> Response:
        """Begin a plan."""
        return await self._begin("plan", self.tasks.plan, request)

    def planned(self, request: Request) -> Response:
        """What it has come to."""
        return found(self.tasks.planned(request.path_params["key"]))

    async def vary(self, request: Request) -> Response:
        """Begin variations."""
        return await self._begin("variations", self.tasks.variations, request)

    def varied(self, request: Request) -> Response:
        """How far they are."""
        return found(self.tasks.varied(request.path_params["key"]))

    def variation(self, request: Request) -> Response:
        """One of them."""
        where = request.path_params
        return picture(self.tasks.variation_picture(where["key"], where["name"]))

    async def close_up(self, request: Request) -> Response:
        """Begin a close-up."""
        return await self._begin("closeup", self.tasks.close_up, request)

    def closed_up(self, request: Request) -> Response:
        """How far it is."""
        return found(self.tasks.closed_up(request.path_params["key"]))

    def close_up_picture(self, request: Request) -> Response:
        """One of its pictures."""
        where = request.path_params
        return picture(self.tasks.close_up_picture(where["key"], where["name"]), "image/png")

    async def start(self, request: Request) -> Response:
        """Put a run into the queue."""
        return await self._begin("run", self.runs.add, request)

    async def _begin(self, what: str, act: Callable[[Asked], str], request: Request) -> Response:
        asked = await _json(request)
        job = await run_in_threadpool(read_asked, asked, self.store, self.pictures)
        return Told({what: await run_in_threadpool(act, job)})

    def listed(self, _: Request) -> Response:
        """All runs."""
        return Told({"runs": self.runs.told()})

    def run(self, request: Request) -> Response:
        """One of them."""
        run = self.runs.find(request.path_params["key"])
        close_up = self.tasks.closed_up(run.job.get("close_up"))
        is_there = close_up is not None and close_up["state"] == "done"
        return Told(self.runs.one(run) | {"closeup": close_up if is_there else None})

    async def preview(self, request: Request) -> Response:
        """Its picture as it stands."""
        run = await run_in_threadpool(self.runs.find, request.path_params["key"])
        found = await run_in_threadpool(lambda: run.preview)
        if found is None:
            async with self._looks:
                found = await run_in_threadpool(self.runs.make_preview, run)
        return picture(found)

    async def act(self, request: Request) -> Response:
        """Stop, resume or remove a run."""
        key, verb = request.path_params["key"], request.path_params["verb"]
        asked = await _json(request)
        after = asked.get("after", "now") if isinstance(asked, dict) else None
        if after not in ("now", "size"):
            raise HTTPException(400, "`after`: choose one of now, size")
        if verb == "stop":
            await run_in_threadpool(self.runs.stop, key, after)
        elif verb in ("resume", "remove"):
            act = self.runs.resume if verb == "resume" else self.runs.remove
            await run_in_threadpool(act, key)
        else:
            raise HTTPException(404, "a run can be stopped, resumed or removed")
        return Told({"run": key})

    async def download(self, request: Request) -> Response:
        """A file of a finished painting."""
        run = await run_in_threadpool(self.runs.find, request.path_params["key"])
        asked = request.query_params
        wanted = asked.get("deliver"), asked.get("format")
        async with self._delivery:  # Who waits holds no thread.
            path = await run_in_threadpool(self.tasks.deliver, run, *wanted)
        stem = re.sub(r"[^\w-]+", "_", Path(str(run.job.get("name") or run.path.stem)).stem)
        name = "-".join(filter(None, [stem, "painted", asked.get("deliver")]))
        return FileResponse(path, filename=f"{name}{path.suffix}")

    async def events(self, request: Request) -> Response:
        """Tell of every change."""
        if self._listeners >= _MOST_LISTENERS:
            raise HTTPException(429, "too many pages are open")
        return StreamingResponse(self._told(request), media_type="text/event-stream")

    async def _told(self, request: Request) -> AsyncIterator[str]:
        before, self._listeners = "", self._listeners + 1
        try:
            yield ": hires\n\n"
            while not self.is_ending and not await request.is_disconnected():
                told = json.dumps({"runs": [_short(run) for run in self.runs.latest]})
                if told != before:
                    yield f"data: {told}\n\n"
                before = told
                await asyncio.sleep(_PERIOD)
        finally:
            self._listeners -= 1

    def routes(self) -> list[Route | Mount]:
        """All of them."""
        post = ["POST"]
        return [
            Route("/", self.index),
            Route("/api/form", self.form),
            Route("/api/pictures", self.upload, methods=post),
            Route("/api/pictures/{key}/preview.jpg", self.picture),
            Route("/api/samples", self.samples, methods=post),
            Route("/api/plan", self.plan, methods=post),
            Route("/api/plan/{key}", self.planned),
            Route("/api/variations", self.vary, methods=post),
            Route("/api/variations/{key}", self.varied),
            Route("/api/variations/{key}/{name}", self.variation),
            Route("/api/closeup", self.close_up, methods=post),
            Route("/api/closeup/{key}", self.closed_up),
            Route("/api/closeup/{key}/{name}", self.close_up_picture),
            Route("/api/runs", self.start, methods=post),
            Route("/api/runs", self.listed),
            Route("/api/runs/{key}", self.run),
            Route("/api/runs/{key}/preview.jpg", self.preview),
            Route("/api/runs/{key}/download", self.download),
            Route("/api/runs/{key}/{verb}", self.act, methods=post),
            Route("/api/events", self.events),
            *self.zoom.routes(),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ]


def make_app(page: Page, *, hosts: tuple[str, ...], token: str | None) -> Guard:
    """The application, guarded.

    Args:
        page: what it serves.
        hosts: names by which it may be called; none for any.
        token: without it nothing is answered; None for no token.
    """
    handlers: dict[Any, Any] = {HTTPException: refused_http}
    handlers |= dict.fromkeys((ConfigError, ImageError, StylizeError), refused)
    handlers |= {OSError: refused_by_system, Exception: broken}
    app = Starlette(routes=page.routes(), lifespan=page.lifespan, exception_handlers=handlers)
    access = Access(
        hosts=hosts,
        token=token,
        most_bytes=MOST_JSON,
        most_upload=MOST_BYTES,
        uploads=("/api/pictures",),
    )
    return Guard(app, access)


def _short(run: dict[str, Any]) -> dict[str, Any]:
    version = f"{run['preview']} {run['progress']:.4f}"
    return {"id": run["id"], "version": version, "state": run["state"], "progress": run["progress"]}


async def _json(request: Request) -> Any:
    body = await request.body()
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send JSON")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "this is no JSON") from None
