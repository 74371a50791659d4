"""What has changed, told to the pages that listen: looked at once a second, and only then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hires.serve.studio import Studio

_EVERY = 1.0  # seconds
_ALIVE = 15.0  # seconds after which something is said anyway: who has left is found out so
_MOST_LISTENERS = 32
_SHOWN = 200  # runs, the newest


class Events:
    """The stream of events of a studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self._listeners = studio, set[asyncio.Queue[str | None]]()
        self._watching: asyncio.Task[None] | None = None
        self._last = ""

    async def stream(self, _: Request) -> Response:
        """Answer with events until the page is closed."""
        if len(self._listeners) >= _MOST_LISTENERS:
            raise HTTPException(429, "too many pages listen: close some")
        return StreamingResponse(
            self._events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    def close(self) -> None:
        """End all streams."""
        for queue in self._listeners:
            queue.put_nowait(None)

    async def _events(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.add(queue)
        if self._watching is None or self._watching.done():
            self._last = ""
            self._watching = asyncio.create_task(self._watch())
        elif self._last:
            queue.put_nowait(self._last)
        try:
            while True:
                try:
                    told = await asyncio.wait_for(queue.get(), _ALIVE)
                except TimeoutError:
                    yield ": alive\n\n"
                    continue
                if told is None:
                    return
                yield f"data: {told}\n\n"
        finally:
            self._listeners.discard(queue)

    async def _watch(self) -> None:
        while self._listeners:
            told = json.dumps({"runs": await to_thread.run_sync(self._versions)})
            if told != self._last:
                self._last = told
                for queue in self._listeners:
                    queue.put_nowait(told)
            await asyncio.sleep(_EVERY)

    def _versions(self) -> list[dict[str, Any]]:
        found, runs = [], self._studio.runs
        for run in runs.all()[:_SHOWN]:
            state, version = runs.version(run)
            progress = runs.progress(run, state)
            found.append({"id": run.key, "version": version, "state": state, "progress": progress})
        return found
