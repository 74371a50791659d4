"""What the finished file is for, and what that means for it. No torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_args

from tyro.conf import arg

from hires.errors import ConfigError

Purpose = Literal["plain", "master", "lab"]
Intent = Literal["relative", "perceptual", "saturation", "absolute"]
Compression = Literal["auto", "none", "lzw", "deflate"]

MADE_PROFILES = ("srgb", "adobe-rgb")
_INK_RANGE = (100.0, 400.0)  # percent: one ink everywhere, all four


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a painting is handed over. Validates itself; what a format holds is checked later."""

    deliver: Purpose = "plain"
    """master: 16-bit TIFF or PNG, to keep. lab: 8-bit TIFF, JPEG or PDF as print labs take it."""

    icc: Annotated[str, arg(metavar="PROFILE")] = "srgb"
    """Profile to convert to and embed: srgb, adobe-rgb or the path of an RGB or CMYK profile."""

    intent: Intent = "relative"
    """Rendering intent of the conversion to a profile's file: what becomes of colours beyond it."""

    black_point_compensation: bool = True
    """Whether the picture's black becomes that of the profile, so that shadows keep their steps."""

    ink_limit: float = 300.0
    """Total ink in percent above which a CMYK picture is warned of, as the print shop says it."""

    pdfx: int | None = None
    """4: a PDF/X-4 with the press of --icc as its output intent. auto: an ordinary PDF."""

    compression: Compression = "auto"
    """Compression of a TIFF; auto is LZW for a lab, else Deflate."""

    no_metadata: bool = False
    """Leave out how it was made (hires inspect, --from), and the photograph's author and rights."""

    def __post_init__(self) -> None:
        """Refuse what is unknown, and what contradicts itself."""
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                named = ", ".join(str(choice) for choice in choices if choice is not None)
                raise ConfigError(f"`{name}` is '{value}': choose one of {named}")
        least, most = _INK_RANGE
        if not least <= self.ink_limit <= most:  # NaN fails as well
            raise ConfigError(
                f"`ink_limit` is {self.ink_limit:g}: give percent, from {least:g} to {most:g}"
            )
        if self.icc not in MADE_PROFILES:
            return
        if self.pdfx is not None:
            raise ConfigError(
                f"`pdfx={self.pdfx}` says which press the file is for: give its profile, which the"
                " print shop names, as `icc=PROFILE.icc`"
            )
        defaults = {field.name: field.default for field in fields(self)}
        for name in ("intent", "black_point_compensation", "ink_limit"):
            if getattr(self, name) != defaults[name]:
                told = f"{name}=False" if name == "black_point_compensation" else name
                raise ConfigError(f"`{told}` is for `icc=PROFILE.icc`: leave it out, or give one")

    def depth(self, asked: int) -> int:
        """Bits per channel of the file, where 8 were asked for by default.

        Raises:
            ConfigError: for 16 bit where labs take 8.
        """
        if self.deliver == "lab" and asked != 8:
            raise ConfigError("`deliver=lab` is 8 bit: leave `bit_depth` out, or deliver a master")
        return 16 if self.deliver == "master" else asked


_CHOICES: dict[str, tuple[object, ...]] = {
    "deliver": get_args(Purpose),
    "intent": get_args(Intent),
    "pdfx": (4, None),
    "compression": get_args(Compression),
}
