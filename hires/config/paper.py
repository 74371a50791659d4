"""Paper, its pixels, and which part of a photograph is painted for it. No torch.

Lengths are millimetres, sizes ``(height, width)``. *Trim* is the paper as it hangs in the end,
*bleed* the strip around it that the printer cuts away; the file holds both.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from typing import Literal

from hires.config.checks import bounded, check_fields, given
from hires.errors import ConfigError

MM_PER_INCH = 25.4
DEFAULT_DPI = 300.0
DPI_RANGE = (20.0, 2400.0)
SIDE_RANGE = (20.0, 10_000.0)  # mm: from a stamp to a house wall
MAX_BLEED = 50.0  # mm; labs ask for 3 to 5, canvas wraps for up to 50

Gravity = Literal[
    "center",
    "north",
    "south",
    "east",
    "west",
    "north-east",
    "north-west",
    "south-east",
    "south-west",
]

_UNITS = {"mm": 1.0, "cm": 10.0, "in": MM_PER_INCH}
_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"


@dataclass(frozen=True, slots=True)
class Paper:
    """A sheet, upright unless it was typed otherwise.

    Attributes:
        name: as people say it.
        height: in mm.
        width: in mm.
    """

    name: str
    height: float
    width: float

    def turned(self, *, landscape: bool) -> Paper:
        """The same sheet lying or standing."""
        long, short = max(self.height, self.width), min(self.height, self.width)
        height, width = (short, long) if landscape else (long, short)
        return replace(self, height=height, width=width)


def _iso(letter: str, sheets: tuple[tuple[int, int], ...]) -> dict[str, Paper]:
    named = (Paper(f"{letter}{i}", height, width) for i, (width, height) in enumerate(sheets))
    return {paper.name.lower(): paper for paper in named}


def _inches(name: str, width: float, height: float) -> Paper:
    return Paper(name, height * MM_PER_INCH, width * MM_PER_INCH)


# ISO 216 as published: the standard rounds each size down to whole millimetres.
_A = (841, 1189), (594, 841), (420, 594), (297, 420), (210, 297), (148, 210), (105, 148)
_B = (1000, 1414), (707, 1000), (500, 707), (353, 500), (250, 353), (176, 250)

PAPERS: dict[str, Paper] = {
    **_iso("A", _A),
    **_iso("B", _B),
    "letter": _inches("letter", 8.5, 11),
    "legal": _inches("legal", 8.5, 14),
    "tabloid": _inches("tabloid", 11, 17),
    **{
        f"{width}x{height}in": _inches(f"{width}x{height}in", width, height)
        for width, height in ((18, 24), (24, 36), (27, 40), (30, 40), (36, 48), (40, 60))
    },
}


def parse_length(text: str, what: str = "length") -> float:
    """Turn ``3mm``, ``0.5cm`` or ``0.125in`` into millimetres.

    Raises:
        ConfigError: if the text is not a length; ``what`` names it in the message.
    """
    if re.match(r"\s*-", text):
        raise ConfigError(f"{what} is {text}: it must not be negative")
    match = re.fullmatch(rf"\s*{_NUMBER}\s*(mm|cm|in)\s*", text, re.IGNORECASE)
    if match is None:
        raise ConfigError(f"{what} '{text}' is not a length: write for example 3mm or 0.125in")
    return float(match[1]) * _UNITS[match[2].lower()]


def parse_paper(text: str) -> Paper:
    """Turn ``A2``, ``letter``, ``24x36in`` or ``50x70cm`` (the width comes first) into a sheet.

    Raises:
        ConfigError: for an unknown name, a missing unit or a side that no printer takes.
    """
    known = PAPERS.get(text.strip().lower())
    if known is not None:
        return known
    match = re.fullmatch(rf"\s*{_NUMBER}\s*[x×]\s*{_NUMBER}\s*(mm|cm|in)?\s*", text, re.IGNORECASE)
    if match is None:
        raise ConfigError(
            f"unknown paper '{text}': give a name that hires papers lists, such as A2 or letter,"
            " or a size such as 50x70cm or 24x36in"
        )
    if match[3] is None:
        size = re.sub(r"\s", "", text)
        raise ConfigError(f"paper '{text}' has no unit: write {size}cm, {size}in or {size}mm")
    unit = match[3].lower()
    width, height = (float(side) * _UNITS[unit] for side in match.group(1, 2))
    least, most = SIDE_RANGE
    if not (least <= width <= most and least <= height <= most):
        raise ConfigError(
            f"paper '{text}' is out of reach: its sides may be {least / 10:g} to {most / 10:g} cm"
        )
    return Paper(f"{match[1]}x{match[2]}{unit}", height, width)


def to_pixels(length: float, dpi: float) -> int:
    """Millimetres in whole pixels, to nearest."""
    return math.floor(length / MM_PER_INCH * dpi + 0.5)


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a picture, in whole pixels of the upright picture."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a painting lies on its sheet, and what of the content it shows.

    Attributes:
        size: ``(height, width)`` of the file in pixels: paper and bleed.
        painted: ``(height, width)`` of the painting in pixels.
        offset: ``(top, left)`` of the painting within the file; around it the sheet is white.
        window: the part of the content that is painted.
        dpi: pixels per inch.
        paper: the sheet as it hangs.
        bleed: in mm, on each side.
    """

    size: tuple[int, int]
    painted: tuple[int, int]
    offset: tuple[int, int]
    window: Window
    dpi: float
    paper: Paper
    bleed: float

    @property
    def sheet(self) -> str:
        """``A4 with 3 mm bleed at 150 dpi``."""
        bleed = f" with {self.bleed:g} mm bleed" if self.bleed else ""
        return f"{self.paper.name}{bleed} at {self.dpi:g} dpi"

    @property
    def page(self) -> tuple[float, float]:
        """``(height, width)`` of paper and bleed in mm."""
        return self.paper.height + 2 * self.bleed, self.paper.width + 2 * self.bleed

    def at(self, painted: tuple[int, int]) -> Layout:
        """The same sheet for the picture of an earlier rung: fewer pixels per inch.

        Args:
            painted: ``(height, width)`` of that picture.
        """
        if painted == self.painted:
            return self
        scale = max(painted) / max(self.painted)
        if self.size == self.painted:
            size, offset = painted, (0, 0)
        else:
            wanted = [
                max(round(side * scale), part)
                for side, part in zip(self.size, painted, strict=True)
            ]
            size = wanted[0], wanted[1]
            room = [whole - part for whole, part in zip(size, painted, strict=True)]
            placed = [
                min(round(o * scale), free) for o, free in zip(self.offset, room, strict=True)
            ]
            offset = placed[0], placed[1]
        return replace(self, size=size, painted=painted, offset=offset, dpi=self.dpi * scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """What is printed: the paper and how the picture lies on it. Validates itself."""

    paper: str | None = None
    """Paper to print on, in place of a size: A2, letter, 24x36in, 50x70cm. See hires papers."""

    dpi: float | None = bounded(None, *DPI_RANGE)
    """Pixels per inch, recorded in the file. auto: 300 where --print says how large to paint."""

    bleed: str = "0mm"
    """Strip painted around the paper for the printer to cut away, such as 3mm."""

    landscape: bool = False
    """Lay the paper on its long side. Else it lies as the photograph does."""

    portrait: bool = False
    """Stand the paper on its short side."""

    fit: Literal["crop", "pad"] = "crop"
    """crop cuts the photograph to the paper's shape; pad keeps all of it, with white margins."""

    gravity: Gravity = "center"
    """Which part crop keeps, or where pad puts the picture: center, north, south-east..."""

    def __post_init__(self) -> None:
        """Check every value, and that each applies."""
        check_fields(self)
        if self.landscape and self.portrait:
            raise ConfigError("`landscape` and `portrait` exclude each other: give one of them")
        if self.paper is None:
            for name in given(self, (field.name for field in fields(self) if field.name != "dpi")):
                raise ConfigError(f"`{name}` applies to `paper` only: give a paper or leave it out")
            return
        parse_paper(self.paper)
        if self.bleed_mm > MAX_BLEED:
            raise ConfigError(
                f"`bleed` is {self.bleed}: give at most {MAX_BLEED:g}mm (labs ask for about 3mm)"
            )

    @property
    def bleed_mm(self) -> float:
        """The bleed in mm."""
        return parse_length(self.bleed, "`bleed`")

    @property
    def dpi_of_file(self) -> float | None:
        """Pixels per inch of the finished file, None if it will not tell."""
        return DEFAULT_DPI if self.dpi is None and self.paper is not None else self.dpi

    def layout(self, content: tuple[int, int]) -> Layout:
        """Lay a content picture of ``(height, width)`` pixels out on the paper.

        Raises:
            ConfigError: if no paper is given.
        """
        if self.paper is None:
            raise ConfigError("there is no paper to lay the picture on: give `paper`")
        landscape = self.landscape or (not self.portrait and content[1] > content[0])
        paper = parse_paper(self.paper)
        if landscape or self.portrait or content[0] > content[1]:
            paper = paper.turned(landscape=landscape)
        dpi = self.dpi_of_file or DEFAULT_DPI
        # The sum is rounded, not its parts: the file as a whole is what is measured on paper.
        both = 2 * self.bleed_mm
        size = painted = to_pixels(paper.height + both, dpi), to_pixels(paper.width + both, dpi)
        offset, window = (0, 0), Window(0, 0, *content)
        if self.fit == "crop":
            height, width = largest_within(content, size)
            room = content[0] - height, content[1] - width
            window = Window(*self._placed(room), height, width)
        else:
            edge = to_pixels(self.bleed_mm, dpi)
            trim = size[0] - 2 * edge, size[1] - 2 * edge
            painted = largest_within(trim, content)
            top, left = self._placed((trim[0] - painted[0], trim[1] - painted[1]))
            offset = edge + top, edge + left
        return Layout(
            size=size,
            painted=painted,
            offset=offset,
            window=window,
            dpi=dpi,
            paper=paper,
            bleed=self.bleed_mm,
        )

    def _placed(self, room: tuple[int, int]) -> tuple[int, int]:
        """Share the room above and below, left and right, as the gravity wants."""
        top = 0 if "north" in self.gravity else room[0] if "south" in self.gravity else room[0] // 2
        left = 0 if "west" in self.gravity else room[1] if "east" in self.gravity else room[1] // 2
        return top, left


def largest_within(room: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
    """The largest ``(height, width)`` of a given shape that fits a room, at least 1 px each."""
    scale = min(room[0] / shape[0], room[1] / shape[1])
    height, width = (math.floor(side * scale + 0.5) for side in shape)
    return min(max(height, 1), room[0]), min(max(width, 1), room[1])
