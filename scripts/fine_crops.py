"""Paintings and their style pixel by pixel, side by side: the sheets of `judge_fine`."""

from __future__ import annotations

from collections.abc import Mapping

from fine_measures import BINOMIAL, scaled_style, size_of
from kornia.color import rgb_to_ycbcr
from kornia.filters import filter2d_separable
from PIL import Image, ImageDraw, ImageFont
from resolution_ladder import as_pillow
from torch import Tensor
from torch.nn import functional

from hires.image.resample import resize

# Side of a crop in pixels, how much larger it is shown, and the space around it.
CROP, ZOOM, MARGIN, LABEL_HEIGHT = 128, 3, 8, 24


def crop_sheet(paintings: Mapping[str, Tensor], content: Tensor, style: Tensor) -> Image.Image:
    """Crops of paintings and style, enlarged without smoothing: a row for each place.

    The busiest and the flattest place of a painting are those of its content.
    """
    size = size_of(paintings["after"])
    style = scaled_style(style, size)
    side = min(CROP, min(*size, *size_of(style)) // 2)
    own = places(resize(content, size, clamp=True), side)
    columns = {run: (painting, own) for run, painting in paintings.items()}
    columns["style"] = style, places(style, side)
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


def places(image: Tensor, side: int) -> list[tuple[int, int]]:
    """Top left corners of the busiest and the flattest square of an image, and of the image."""
    luma = rgb_to_ycbcr(image)[:, :1]
    band = luma - filter2d_separable(luma, BINOMIAL.float(), BINOMIAL.float())
    step = side // 4
    energies = functional.avg_pool2d(band.square(), side, step)
    columns = energies.shape[3]
    busiest, flattest = (
        divmod(int(found), columns) for found in (energies.argmax(), energies.argmin())
    )
    return [(step * row, step * column) for row, column in (busiest, flattest, (0, 0))]
