"""What the gallery shows: commands and captions, section by section."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """A painting: its name, the command that paints it (without -o), and what to see in it."""

    name: str
    command: str
    caption: str


@dataclass(frozen=True)
class Sheet:
    """A picture of docs/looks.md: its file in docs, the commands behind it, and what it shows.

    Shown as long as none of the section's own pictures is painted. Commands are without --size.
    """

    name: str
    source: str
    command: str
    caption: str


@dataclass(frozen=True)
class Poster:
    """The poster, whose sizes are all shown; spot is the middle of the 1:1 part, 0 to 1."""

    size: int
    samples: tuple[str, str]
    spot: tuple[float, float]
    command: str
    text: str


Parts = tuple[Picture | Sheet, ...]

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

ALONE = "hires stylize samples/{}.jpg samples/{}.jpg --size 512"
BESIDE = "hires stylize samples/harbour.jpg samples/woodcut.jpg --size 384"
LOOKS = ("city-impasto", "harbour-watercolour", "harbour-glass", "portrait-pencil", "city-woodcut")

STYLES: Parts = (
    Picture(
        "city-impasto",
        ALONE.format("city", "impasto") + " --preset lively",
        "A city by night in thick oil paint.",
    ),
    Picture("harbour-glass", ALONE.format("harbour", "glass"), "The harbour in stained glass."),
    Picture(
        "portrait-pencil",
        ALONE.format("portrait", "pencil") + " --content-weight 0.05",
        "The portrait in pencil.",
    ),
    Picture(
        "harbour-watercolour",
        ALONE.format("harbour", "watercolour") + " --content-weight 0.05",
        "The harbour in watercolour.",
    ),
    Picture("city-woodcut", ALONE.format("city", "woodcut"), "The city as a colour woodcut."),
)
LOSSES: Parts = (
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
)
PRESETS: Parts = (
    Picture(
        "preset-nnst",
        "hires stylize samples/portrait.jpg samples/impasto.jpg --size 384 --preset nnst",
        "`nnst`: the most similar places of the style, and its colours where the portrait's are.",
    ),
    Picture(
        "preset-strotss",
        "hires stylize samples/portrait.jpg samples/impasto.jpg --size 384 --preset strotss",
        "`strotss`: what is alike in the portrait stays alike, in any colours.",
    ),
)
COLOURED = "hires stylize samples/harbour.jpg samples/impasto.jpg --size 384"
SAME = "hires stylize samples/harbour.jpg samples/impasto.jpg -o out.png"
COLOURS: Parts = (
    *(
        Picture(f"colour-{way}", f"{COLOURED} --color {way}", f"`{way}`: {what}.")
        for way, what in (
            ("content", "the photograph's colours put back in the end"),
            ("luminance", "light and dark are painted, colours are the photograph's"),
            ("match", "the style recoloured like the photograph first"),
            ("palette", "the style's colours, laid out as the photograph's are"),
        )
    ),
    Sheet(
        "colour",
        "looks_colour.jpg",
        "\n".join(
            f"{SAME} --color {way}" for way in ("style", "content", "luminance", "match", "palette")
        ),
        "The photograph, then `style` (default), `content`, `luminance`, `match` and `palette`.",
    ),
)
BRUSHES: Parts = (
    *(
        Picture(
            f"brush-{width}",
            "hires stylize samples/harbour.jpg samples/woodcut.jpg --size 512"
            f" --brush-size {width}px",
            f"Brushes of {width} px.",
        )
        for width in (6, 12, 24)
    ),
    Sheet(
        "brush",
        "looks_brush.jpg",
        "\n".join(
            "hires stylize samples/harbour.jpg samples/woodcut.jpg -o out.png"
            f" --size 800 --brush-size {width}"
            for width in (8, 16, 32)
        ),
        "Brushes of 8, 16 and 32 px.",
    ),
)
REGIONS: Parts = (
    Sheet(
        "regions",
        "looks_regions.jpg",
        "hires stylize samples/harbour.jpg samples/impasto.jpg samples/woodcut.jpg -o out.png \\\n"
        "    --mask sky.png:1 --mask kept.png:0 --mask rest:2",
        "The photograph, the regions, and the painting: the sky by impasto, what is white in the"
        " middle picture kept, the rest by woodcut.",
    ),
    Sheet(
        "detail",
        "looks_detail.jpg",
        f"{SAME}\n{SAME} --detail-weight 0.1\n{SAME} --detail-weight 0.5",
        "A part of the photograph, and its painting without, with 0.1 and with 0.5 of"
        " `--detail-weight`.",
    ),
)
SEVERAL: Parts = (
    Sheet(
        "layers",
        "looks_layers.jpg",
        "hires stylize samples/harbour.jpg samples/impasto.jpg samples/woodcut.jpg -o out.png \\\n"
        "    --style-layers relu1_1@1 relu2_1@1 relu3_1@2 relu4_1@2 relu5_1@2",
        "Colours and fine strokes of impasto with the forms of woodcut, and the other way round.",
    ),
    Sheet(
        "morph",
        "morph.jpg",
        "hires morph samples/impasto.jpg samples/woodcut.jpg -o morph.jpg --steps 4 --size 256",
        "From impasto to woodcut in four steps.",
    ),
)
TEXTURES: Parts = (
    Sheet(
        "texture",
        "texture.jpg",
        "hires texture samples/impasto.jpg -o texture.png --size 256 --tileable",
        "Four copies of one tile, side by side: no border shows.",
    ),
)
VARIATIONS: Parts = (
    Sheet(
        "variations",
        "variations.jpg",
        "hires variations samples/harbour.jpg samples/impasto.jpg",
        "Twelve small ones to choose from; `--pick 7` paints the seventh on, to any size.",
    ),
)
SECTIONS: tuple[tuple[str, str, Parts], ...] = (
    ("Styles", "Scenes and styles that come with the project.", STYLES),
    ("Losses", "What of the style is matched: [losses.md](losses.md).", LOSSES),
    (
        "Presets",
        "`lively` and `calm` are above; here are two published systems, as far as hires says them:"
        " [presets.md](presets.md#nnst-and-strotss).",
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
