"""Paintings and their style pixel by pixel, side by side: the sheets of `judge_fine`."""

from __future__ import annotations

from collections.abc import Mapping

from fine_measures import size_of
from panels import as_pillow
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hires.image.resample import resize
from hires.judging.comparison import crop_places, scaled_style

# Side of a crop in pixels, how much larger it is shown, and the space around it.
CROP, ZOOM, MARGIN, LABEL_HEIGHT = 128, 3, 8, 24


def crop_sheet(paintings: Mapping[str, Tensor], content: Tensor, style: Tensor) -> Image.Image:
    """Crops of paintings and style, enlarged without smoothing: a row for each place.

    The busiest and the flattest place of a painting are those of its content.
    """
    size = size_of(paintings["after"])
    style = scaled_style(style, size)
    side = min(CROP, min(*size, *size_of(style)) // 2)
    own = [*crop_places(resize(content, size, clamp=True), side), (0, 0)]
    columns = {run: (painting, own) for run, painting in paintings.items()}
    columns["style"] = style, [*crop_places(style, side), (0, 0)]
    step = ZOOM * side + MARGIN
    shape = len(columns) * step + MARGIN, len(own) * step + LABEL_HEIGHT
    sheet = Image.new("RGB", shape, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for column, (name, (image, corners)) in enumerate(columns.items()):
        left = MARGIN + column * step
        draw.text((left, 2), name, "black", font)
        for row, (y, x) in enumerate(corners):
            crop = as_pillow(image[..., y : y + side, x : x + side])
            enlarged = crop.resize((ZOOM * side, ZOOM * side), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left, LABEL_HEIGHT + row * step))
    return sheet
