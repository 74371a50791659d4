"""The page in the browser: where it is served, and from which folder. No torch."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass

from hires.config.checks import bounded, check_fields
from hires.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Open a page to paint on: photograph, style, the painting as it grows, the poster at 1:1."""

    folder: str = "."
    """Where paintings go, and whose runs are shown; what is uploaded lies in it, too."""

    port: int = bounded(7860, 0, 65535)
    """Port to listen at; 0 for any that is free."""

    host: str = "127.0.0.1"
    """Address to listen at. Any but this machine's own is protected by a token, told as a link."""

    open: bool = False
    """Open the page in the browser."""

    def __post_init__(self) -> None:
        """Refuse what is no port and no host."""
        check_fields(self)
        if not self.host or self.host.startswith("-"):
            raise ConfigError(f"`host` is '{self.host}': give an address such as 127.0.0.1")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        with suppress(ValueError):
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        return False
