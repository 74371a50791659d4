"""What the finished file is for, and what that means for it. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from tyro.conf import arg

from hires.config import ConfigError

Purpose = Literal["plain", "master", "lab"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a painting is handed over. Validates itself; what a format holds is checked later."""

    deliver: Purpose = "plain"
    """master: 16-bit TIFF or PNG, to keep. lab: 8-bit TIFF, JPEG or PDF as print labs take it."""

    icc: Annotated[str, arg(metavar="PROFILE")] = "srgb"
    """Colour profile to convert to and embed: srgb, adobe-rgb or the path of an RGB profile."""

    no_metadata: bool = False
    """Leave out of the file how it was made. Else hires inspect shows it, and --from repeats it."""

    def __post_init__(self) -> None:
        """Refuse an unknown purpose."""
        if self.deliver not in get_args(Purpose):
            choices = ", ".join(get_args(Purpose))
            raise ConfigError(f"--deliver is '{self.deliver}': choose one of {choices}")

    def depth(self, asked: int) -> int:
        """Bits per channel of the file, where 8 were asked for by default.

        Raises:
            ConfigError: for 16 bit where labs take 8.
        """
        if self.deliver == "lab" and asked != 8:
            raise ConfigError("--deliver lab is 8 bit: leave --bit-depth out, or deliver a master")
        return 16 if self.deliver == "master" else asked
