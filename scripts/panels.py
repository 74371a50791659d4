"""Panels of pictures and text, laid out on one sheet: those of `compare_presets`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from hires.image.encode.save import save_image

PANEL = 360  # width of a panel on the contact sheet, in pixels
MARGIN, LABEL_HEIGHT = 12, 44
PANELS_PER_ROW = 4


def as_pillow(picture: Tensor) -> Image.Image:
    """(1, 3, H, W) in [0, 1] to 8 bit."""
    array = (picture[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
    return Image.fromarray(array.numpy())


def save_sheet(panels: Sequence[Image.Image], path: Path) -> None:
    """Lay the panels out row by row and save them as one picture."""
    columns = min(len(panels), PANELS_PER_ROW)
    num_rows = -(-len(panels) // columns)
    step_x, step_y = PANEL + MARGIN, max(part.height for part in panels) + 2 * MARGIN
    sheet = Image.new("RGB", (columns * step_x + MARGIN, num_rows * step_y + MARGIN), "white")
    for i, part in enumerate(panels):
        sheet.paste(part, (MARGIN + i % columns * step_x, MARGIN + i // columns * step_y))
    pixels = torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8)
    image = pixels.view(sheet.height, sheet.width, 3).permute(2, 0, 1)[None].float() / 255
    save_image(image, path)
