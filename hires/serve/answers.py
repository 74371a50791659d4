"""Answers as JSON, and refusals as one line each."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from hires.serve.runs import NoRunError


class Told(JSONResponse):
    """JSON of whatever files say: of names that are no text, and of numbers that are none."""

    def render(self, content: Any) -> bytes:
        """As ASCII, so that half of a pair of surrogates is no harm."""
        return json.dumps(_finite(content), separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    """With null for what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [*map(_finite, value)] if isinstance(value, list | tuple) else value


def found(told: dict[str, Any] | None) -> Response:
    """What was asked for by an id.

    Raises:
        HTTPException: if there is none.
    """
    if told is None:
        raise HTTPException(404, "there is nothing of this id; ask again")
    return Told(told)


def picture(path: Path | None, media: str = "image/jpeg") -> Response:
    """A small picture.

    Raises:
        HTTPException: if there is none.
    """
    if path is None or not path.is_file():
        raise HTTPException(404, "there is no such picture")
    return FileResponse(path, media_type=media, headers={"Cache-Control": "no-cache"})


def refused(_: Request, error: Exception) -> Response:
    """One clear line, and the option that it is about."""
    field = re.match(r"`(\w+)", str(error))
    told = {"error": _line(error), "field": field[1] if field else None}
    return Told(told, 404 if isinstance(error, NoRunError) else 400)


def refused_http(_: Request, error: Exception) -> Response:
    """What a request is answered that is none of ours."""
    assert isinstance(error, HTTPException)
    return Told({"error": _line(error.detail)}, error.status_code)


def refused_by_system(_: Request, error: Exception) -> Response:
    """Of a full disk, mostly."""
    assert isinstance(error, OSError)
    return Told({"error": _line(f"nothing was kept: {error.strerror}")}, 507)


def broken(_: Request, __: Exception) -> Response:
    """A fault of ours: the terminal has the rest of it."""
    return Told({"error": "hires serve has a fault here: its terminal says which"}, 500)


def _line(text: object) -> str:
    return " ".join(str(text).replace("`", "").split())
