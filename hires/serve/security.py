"""What a request must have before any route sees it: the right host, origin, header, token, size.

Pages of other sites can send requests to a server on this machine, and by a name that they point
at it (DNS rebinding) read the answers. So the name must be ours, what changes something must come
from our own page, which alone can set a header of its own, and nothing may be embedded elsewhere.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SAFE = ("GET", "HEAD")
# How long a request may take to come: so many seconds, and more for what it has sent by then.
_GRACE, _LEAST_PACE = 30.0, 20_000
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may ask for what.

    Attributes:
        hosts: names by which the server is called; empty for any, where a token is asked for.
        token: without it nothing is answered; None for no token.
        most_bytes: of a request's body.
        most_upload: of the body of an upload.
        uploads: paths that take uploads.
    """

    hosts: Collection[str]
    token: str | None
    most_bytes: int
    most_upload: int
    uploads: Collection[str]


class Guard:
    """Lets requests through to an application that may pass, and says what answers may do."""

    def __init__(self, app: App, access: Access) -> None:
        self._app, self._access = app, access
        self._cookie = f"hires-{secrets.token_hex(4)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # No web sockets.
            return
        sealed = _sealed(send, is_safe=scope["method"] in _SAFE)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, sealed)
            return
        most = self._most(scope)
        await self._app(scope, _bounded(receive, most), sealed)

    def _most(self, scope: Scope) -> int:
        """Bytes that the body may have."""
        is_upload = scope["path"] in self._access.uploads
        return self._access.most_upload if is_upload else self._access.most_bytes

    def _refusal(self, scope: Scope) -> Response | None:
        """Why a request does not pass, None if it does."""
        headers, method = Headers(scope=scope), scope["method"]
        host = headers.get("host", "")
        if self._access.hosts and _name(host) not in self._access.hosts:
            return _told(421, "this server is not called so: open it as http://127.0.0.1")
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return _told(403, "another site's page may not use this server")
        site = headers.get("sec-fetch-site", "none")
        is_page = method in _SAFE and scope["path"] == "/"
        if site not in ("none", "same-origin") and not is_page:
            return _told(403, "another site's page may not use this server")
        if method not in _SAFE and headers.get("x-hires") != "1":
            return _told(403, "the header X-Hires: 1 is missing")
        return self._token_refusal(scope, headers) or self._size_refusal(scope, headers)

    def _token_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        token = self._access.token
        if token is None or _same(_cookie(headers, self._cookie), token):
            return None
        if scope["path"] == "/" and scope["method"] in _SAFE:
            query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=10)
            if _same(query.get("token", [""])[0], token):
                found = RedirectResponse("/", 303)
                found.set_cookie(self._cookie, token, httponly=True, samesite="strict")
                return found
        return _told(401, "open the link with the token that hires serve has printed")

    def _size_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        length, most = headers.get("content-length", "0"), self._most(scope)
        if not length.isascii() or not length.isdigit() or len(length) > 18 or int(length) > most:
            return _told(413, _too_large(most))
        return None


def _name(host: str) -> str:
    """The name in a ``Host`` header, without the port."""
    return host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _told(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def _too_large(most: int) -> str:
    return f"too much is sent: at most {most} bytes are taken here"


def _bounded(receive: Receive, most: int) -> Receive:
    """Bodies need not say how long they are, and may come a byte at a time."""
    total, is_whole, began = 0, False, time.monotonic()

    async def bounded() -> Message:
        nonlocal total, is_whole
        left = None if is_whole else began + _GRACE + total / _LEAST_PACE - time.monotonic()
        try:
            message = await asyncio.wait_for(receive(), left)
        except TimeoutError:
            raise HTTPException(408, "what is sent comes too slowly") from None
        total += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if total > most:
            raise HTTPException(413, _too_large(most))  # Told by the application.
        return message

    return bounded


def _sealed(send: Send, *, is_safe: bool) -> Send:
    """What every answer tells the browser."""

    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if message["status"] >= 400 and not is_safe:
                headers["Connection"] = "close"  # Nobody reads what else is sent.
        await send(message)

    return sealed
