"""Deep zoom over HTTP: the tiles of pictures that a page may see, made when they are asked for."""

from __future__ import annotations

import asyncio
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hires.errors import ImageError
from hires.image.pyramid import Pyramid, prune
from hires.utils.files import is_writable

FOLDER = ".zoom"  # beside a picture: archives of tiles
MOST_BYTES = 2 * 2**30  # of the archives of a folder
_MOST_OPEN = 8  # pictures, each with up to 17 MB of levels in memory
_NUM_READERS = 4
_PATIENCE = 25.0  # seconds that a request waits for a tile that is being made

Find = Callable[[str], Path | None]


class _Open:
    """A picture that is looked at."""

    def __init__(self, pyramid: Pyramid, preview: Path | None, make: Callable[..., Future[None]]):
        self.pyramid = pyramid
        self.base: Future[None] | None = None
        self.archive: Future[None] | None = None
        if pyramid.open():
            return
        if preview is not None:
            pyramid.make_base(preview)
        self.base = make(0, pyramid.make_base)
        if pyramid.base < pyramid.num_levels - 1:
            self.archive = make(1, self._make_archive)

    def _make_archive(self) -> None:
        wait([self.base] if self.base else [])  # The first view before all of it.
        self.pyramid.make_archive()
        prune(self.pyramid.folder, MOST_BYTES)

    def awaited(self, level: int) -> Future[None] | None:
        """What is to be waited for before a level is there."""
        return self.base if level <= self.pyramid.base else self.archive


class Zoom:
    """Tiles of pictures, and the threads that make and read them.

    Args:
        find: a picture's file by its key; None for a key that is none.
        preview: a smaller copy of it by the same key, as a run directory has one: the first view
            then waits for nothing.
        folder: where archives of tiles are kept; None for `FOLDER` beside each picture.
    """

    def __init__(
        self, find: Find, preview: Find = lambda _: None, *, folder: Path | None = None
    ) -> None:
        self._find, self._preview, self._folder = find, preview, folder
        self._lock = Lock()
        self._spare: TemporaryDirectory[str] | None = None
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._readers = ThreadPoolExecutor(_NUM_READERS, "zoom")
        # The first view of a picture does not wait for all of another one.
        self._makers = [ThreadPoolExecutor(1, f"zoom-{name}") for name in ("base", "archive")]

    def routes(self) -> list[Route]:
        """``/zoom/KEY.dzi`` and ``/zoom/KEY_files/LEVEL/COLUMN_ROW.jpg``."""
        return [
            Route("/zoom/{key}.dzi", self._descriptor),
            Route("/zoom/{key}_files/{level}/{tile}", self._tile),
        ]

    def close(self) -> None:
        """Give up what is being made."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].pyramid.close()
        for pool in (self._readers, *self._makers):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._spare is not None:
            self._spare.cleanup()

    def warm(self, key: str) -> None:
        """Begin to make the tiles of a picture, before anybody asks: a run has ended.

        Raises:
            ImageError: if it cannot be read.
        """
        self._opened(key)

    async def _descriptor(self, request: Request) -> Response:
        picture = await self._picture(request)
        if isinstance(picture, Response):
            return picture
        headers = {"Cache-Control": "no-cache"}
        return Response(picture.pyramid.dzi(), media_type="application/xml", headers=headers)

    async def _tile(self, request: Request) -> Response:
        picture = await self._picture(request)
        if isinstance(picture, Response):
            return picture
        place = _place(request.path_params["level"], request.path_params["tile"])
        if place is None or not picture.pyramid.has(*place):
            return _told(404, "there is no such tile")
        tag = f'W/"{picture.pyramid.tag}-{"-".join(map(str, place))}"'
        headers = {"Cache-Control": "private, no-cache", "ETag": tag}
        if tag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        try:
            data = await self._made(picture, place)
        except ImageError as error:
            return _told(422, str(error))
        if data is None:
            return _told(503, "the tile is being made; ask again", {"Retry-After": "1"})
        return Response(data, media_type="image/jpeg", headers=headers)

    async def _made(self, picture: _Open, place: tuple[int, int, int]) -> bytes | None:
        """A tile; waits for one that is being made, but not for ever."""
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(self._readers, picture.pyramid.tile, *place)
        made = picture.awaited(place[0])
        if data is None and made is not None:
            done, _ = await asyncio.wait([asyncio.wrap_future(made)], timeout=_PATIENCE)
            for one in done:
                one.result()
            data = await loop.run_in_executor(self._readers, picture.pyramid.tile, *place)
        return data

    async def _picture(self, request: Request) -> _Open | Response:
        """The picture of a request, or why there is none."""
        loop, key = asyncio.get_running_loop(), request.path_params["key"]
        try:
            found = await loop.run_in_executor(self._readers, self._opened, key)
        except ImageError as error:
            return _told(422, str(error))
        return _told(404, "there is no such picture") if found is None else found

    def _opened(self, key: str) -> _Open | None:
        path = self._find(key)
        if path is None or not os.path.isfile(path):  # Also of a name that is too long.
            return None
        with self._lock:
            known = self._open.get(key)
            if known is not None and known.pyramid.is_of(path):
                self._open.move_to_end(key)
                return known
            picture = _Open(Pyramid(path, self._folder_of(path)), self._preview(key), self._make)
            if known is not None:
                self._open.pop(key).pyramid.close()
            self._open[key] = picture
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)[1].pyramid.close()
            return picture

    def _folder_of(self, path: Path) -> Path:
        """Where the archive of a picture goes: somewhere else if nothing can be written there."""
        folder = path.parent / FOLDER if self._folder is None else self._folder
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if is_writable(folder / "archive.zip"):
                return folder
        if self._spare is None:
            self._spare = TemporaryDirectory(prefix="hires-zoom-", ignore_cleanup_errors=True)
        return Path(self._spare.name)

    def _make(self, pool: int, act: Callable[[], None]) -> Future[None]:
        return self._makers[pool].submit(act)


def zoom_routes(find: Find, preview: Find = lambda _: None) -> list[Route]:
    """The routes of a `Zoom` that lasts as long as the process."""
    return Zoom(find, preview).routes()


def _place(level: str, tile: str) -> tuple[int, int, int] | None:
    """Level, column and row, as far as they are numbers."""
    found = re.fullmatch(r"(\d{1,3})/(\d{1,7})_(\d{1,7})\.jpg", f"{level}/{tile}", re.ASCII)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def _told(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(
        f"{message}\n", status, headers={"Cache-Control": "no-store", **(headers or {})}
    )
