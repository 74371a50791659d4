"""What the gallery shows: commands and captions, section by section, and rows for other pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """A painting.

    Attributes:
        name: of its file.
        command: that paints it, without -o.
        caption: what to see in it.
        copies: of it side by side and one above the other, 1 for the picture alone.
    """

    name: str
    command: str
    caption: str
    copies: int = 1


@dataclass(frozen=True)
class Poster:
    """The poster, whose sizes are all shown; spot is the middle of the 1:1 part, 0 to 1."""

    size: int
    samples: tuple[str, str]
    spot: tuple[float, float]
    command: str
    text: str


@dataclass(frozen=True)
class Row:
    """Pictures side by side, each made as high as that: names of paintings, or files of samples."""

    name: str
    height: int
    parts: tuple[str, ...]


POSTER = Poster(
    9933,
    ("harbour", "impasto"),
    (0.665, 0.375),
    "hires stylize samples/harbour.jpg samples/impasto.jpg -o poster.png"
    " --size 9933 --content-weight 0.05 --memory 1GiB",
    "Each size begins with the one before, enlarged, and adds strokes that the smaller ones had no"
    " pixels for. The left half is the whole picture, the right half a part of it, pixel by pixel."
    " Small sizes are shown as they are.",
)


def _stylize(content: str, styles: str, size: int = 384) -> str:
    words = " ".join(f"samples/{style}.jpg" for style in styles.split())
    return f"hires stylize samples/{content}.jpg {words} --size {size}"


def _by_option(prefix: str, command: str, option: str, told: dict[str, str]) -> tuple[Picture, ...]:
    """A picture for each value of an option, and what it does."""
    return tuple(
        Picture(f"{prefix}-{value}", f"{command} {option} {value}", f"`{value}`: {what}.")
        for value, what in told.items()
    )


STYLES = (
    Picture(
        "city-impasto",
        _stylize("city", "impasto", 512) + " --preset calm --content-weight 0.05",
        "A city by night in thick oil paint.",
    ),
    Picture(
        "portrait-impasto",
        _stylize("portrait", "impasto", 512) + " --preset calm",
        "The portrait in thick oil paint: strokes follow the face.",
    ),
    Picture(
        "harbour-watercolour",
        _stylize("harbour", "watercolour", 512) + " --content-weight 0.05",
        "The harbour in watercolour.",
    ),
    Picture(
        "portrait-watercolour",
        _stylize("portrait", "watercolour", 512) + " --content-weight 0.05",
        "The portrait in watercolour.",
    ),
    Picture("harbour-pencil", _stylize("harbour", "pencil", 512), "The harbour in pencil."),
    Picture("harbour-glass", _stylize("harbour", "glass", 512), "The harbour in stained glass."),
    Picture("city-woodcut", _stylize("city", "woodcut", 512), "The city as a colour woodcut."),
)

BESIDE = _stylize("harbour", "woodcut")
LOSSES = (
    Picture("loss-wasserstein", BESIDE, "`wasserstein`, the default: means and covariances."),
    Picture("loss-gram", BESIDE + " --style-loss gram", "`gram`: second moments, more contrast."),
    Picture(
        "loss-meanstd",
        BESIDE + " --style-loss meanstd",
        "`meanstd`: mean and spread of each channel by itself.",
    ),
    Picture(
        "loss-sliced",
        BESIDE + " --style-loss sliced:2",
        "`sliced:2`, which is `--preset lively`: lines stay.",
    ),
    Picture(
        "loss-neighbours",
        BESIDE + " --style-loss wasserstein neighbours:0.3",
        "`wasserstein neighbours:0.3`, which is `--preset calm`: each stroke in its place.",
    ),
    Picture(
        "loss-central",
        BESIDE + " --style-loss wasserstein central:5",
        "`wasserstein central:5`: flatter areas, bolder outlines.",
    ),
    Picture(
        "loss-transport",
        BESIDE + " --style-loss wasserstein transport",
        "`wasserstein transport`: what is painted has its like in the style, and vice versa.",
    ),
    Picture(
        "loss-self-similarity",
        BESIDE + " --content-loss self-similarity",
        "`--content-loss self-similarity`: what is alike in the photograph stays alike.",
    ),
)

PRESETS = _by_option(
    "preset",
    _stylize("portrait", "impasto"),
    "--preset",
    {
        "hires": "the default",
        "calm": "each stroke in its place",
        "lively": "strokes everywhere",
        "nnst": "the most similar places of the style, and its colours where the portrait's are",
        "strotss": "what is alike in the portrait stays alike, in any colours",
    },
)

COLOURED = _stylize("harbour", "impasto")
COLOURS = _by_option(
    "colour",
    COLOURED,
    "--color",
    {
        "style": "the style's, the default",
        "content": "the photograph's colours put back in the end",
        "luminance": "light and dark are painted, colours are the photograph's",
        "match": "the style recoloured like the photograph first",
        "palette": "the style's colours, laid out as the photograph's are",
    },
)

BRUSHES = tuple(
    Picture(
        f"brush-{width}",
        _stylize("harbour", "woodcut", 512) + f" --brush-size {width}px",
        f"Brushes of {width} px.",
    )
    for width in (6, 12, 24)
)

REGIONS = (
    Picture(
        "regions",
        _stylize("harbour", "impasto woodcut", 512)
        + " --mask samples/harbour-sky.png:1"
        + " --mask samples/harbour-buildings.png:0 --mask rest:2",
        "The sky by impasto, buildings and boats kept, the rest by woodcut.",
    ),
    Picture(
        "content-map",
        _stylize("harbour", "impasto") + " --content-map samples/harbour-buildings.png",
        "Painted everywhere, but buildings and boats are kept close to the photograph.",
    ),
    *(
        Picture(
            f"detail-{weight}",
            f"{COLOURED} --detail-weight {weight}",
            f"Edges of the photograph, asked for with {weight} of `--detail-weight`.",
        )
        for weight in (0.1, 0.5)
    ),
)

_BOTH = _stylize("harbour", "impasto woodcut")
SEVERAL = (
    Picture("blend", _BOTH + " --style-weights 1 1", "Both, blended."),
    *(
        Picture(
            f"layers-{fine}",
            f"{_BOTH} --style-layers relu1_1@{a} relu2_1@{a} relu3_1@{b} relu4_1@{b} relu5_1@{b}",
            f"Colours and fine strokes of {fine} with the forms of {broad}.",
        )
        for fine, broad, a, b in (("impasto", "woodcut", 1, 2), ("woodcut", "impasto", 2, 1))
    ),
    Picture(
        "morph",
        "hires morph samples/impasto.jpg samples/woodcut.jpg --steps 4 --size 256",
        "From impasto to woodcut in four steps.",
    ),
)

TEXTURES = (
    Picture(
        "texture",
        "hires texture samples/impasto.jpg --size 256 --tileable",
        "Four copies of one tile, side by side: no border shows.",
        copies=2,
    ),
)

VARIATIONS = (
    Picture(
        "variations",
        "hires variations samples/harbour.jpg samples/impasto.jpg",
        "Twelve small ones to choose from; `--pick 7` paints the seventh on, to any size.",
    ),
)

SECTIONS: tuple[tuple[str, str, tuple[Picture, ...]], ...] = (
    ("Styles", "Scenes and styles that come with the project.", STYLES),
    ("Losses", "What of the style is matched: [losses.md](losses.md).", LOSSES),
    (
        "Presets",
        "Looks of hires, and two published systems as far as hires says them. `tutorial`, `d2l`"
        " and `keras` are made for VGG-19, which is downloaded: [presets.md](presets.md).",
        PRESETS,
    ),
    ("Colours", "Whose colours: [colour.md](colour.md).", COLOURS),
    ("Brush size", "How broad the strokes are: [brush.md](brush.md).", BRUSHES),
    ("Masks and fine drawing", "Which part is painted how: [regions.md](regions.md).", REGIONS),
    ("Several styles", "Blended, or layer by layer: [styles.md](styles.md).", SEVERAL),
    ("Textures", "No photograph at all: [textures.md](textures.md).", TEXTURES),
    (
        "Variations",
        "Before the long run: [looks.md](looks.md#choose-before-the-long-run).",
        VARIATIONS,
    ),
)
PICTURES = {picture.name: picture for _, _, pictures in SECTIONS for picture in pictures}

ROWS = (
    Row(
        "looks",
        240,
        (
            "city-impasto",
            "harbour-watercolour",
            "portrait-impasto",
            "harbour-pencil",
            "harbour-glass",
            "city-woodcut",
        ),
    ),
    Row("row-losses", 240, ("loss-wasserstein", "loss-gram", "loss-sliced", "loss-neighbours")),
    Row("row-colour", 200, ("samples/harbour.jpg", *(part.name for part in COLOURS))),
    Row("row-brush", 288, tuple(part.name for part in BRUSHES)),
    Row(
        "row-regions",
        240,
        (
            "samples/harbour.jpg",
            "samples/harbour-sky.png",
            "samples/harbour-buildings.png",
            "regions",
        ),
    ),
    Row("row-detail", 288, ("samples/harbour.jpg", "colour-style", "detail-0.1", "detail-0.5")),
    Row("row-layers", 288, ("layers-impasto", "layers-woodcut")),
)
