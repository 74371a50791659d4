"""What the finished file is for, and what that means for it. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hires.config.checks import bounded, check_fields, given
from hires.errors import ConfigError

Purpose = Literal["plain", "master", "lab"]
Intent = Literal["relative", "perceptual", "saturation", "absolute"]
Compression = Literal["auto", "none", "lzw", "deflate"]

MADE_PROFILES = ("srgb", "adobe-rgb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a painting is handed over. Validates itself; what a format holds is checked later."""

    deliver: Purpose = "plain"
    """master: 16-bit TIFF or PNG, to keep. lab: 8-bit TIFF, JPEG or PDF as print labs take it."""

    icc: str = "srgb"
    """Profile to convert to and embed: srgb, adobe-rgb or the path of an RGB or CMYK profile."""

    intent: Intent = "relative"
    """Rendering intent of the conversion to a profile's file: what becomes of colours beyond it."""

    black_point_compensation: bool = True
    """Map the picture's black to the profile's, which keeps the steps in shadows."""

    # From one ink everywhere to all four.
    ink_limit: float = bounded(300.0, 100.0, 400.0, "percent")
    """Total ink in percent above which a CMYK picture is warned of, as the print shop says it."""

    pdfx: int | None = None
    """4: a PDF/X-4 with the press of --icc as its output intent. auto: an ordinary PDF."""

    compression: Compression = "auto"
    """Compression of a TIFF; auto is LZW for a lab, else Deflate."""

    no_metadata: bool = False
    """Leave out how it was made (hires inspect, --from), and the photograph's author and rights."""

    def __post_init__(self) -> None:
        """Refuse what is unknown, and what contradicts itself."""
        check_fields(self)
        if self.pdfx not in (4, None):
            raise ConfigError(f"`pdfx` is '{self.pdfx}': choose one of 4")
        if self.icc not in MADE_PROFILES:
            return
        if self.pdfx is not None:
            raise ConfigError(
                f"`pdfx={self.pdfx}` says which press the file is for: give its profile, which the"
                " print shop names, as `icc=PROFILE.icc`"
            )
        for name in given(self, ("intent", "black_point_compensation", "ink_limit")):
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
