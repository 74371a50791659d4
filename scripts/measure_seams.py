#!/usr/bin/env python3
"""Look for seams: is the picture rougher across the borders of tiles than elsewhere?

    scripts/measure_seams.py painted.tif --tile 1920

Compares the mean squared difference of the pixels on either side of every tile border with that of
lines nearby, and tells how much such lines differ among themselves, as chance has it. Lines at the
same place in the network's pooling grid only: the grid itself leaves its mark in every painting.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from hires.errors import ImageError
from hires.image.decode.read import load_image
from hires.tiling.geometry import tile_spans

Floats = NDArray[np.float64]

# How many lines on either side of a border to compare it with.
NUM_NEIGHBOURS = 6


def step_energies(pixels: Floats) -> Floats:
    """Mean squared difference of each row of (3, H, W) to the row before it: (H,), from zero."""
    steps = np.square(np.diff(pixels, axis=1)).mean(axis=(0, 2))
    return np.concatenate([[0.0], steps])


def ratios(energies: Floats, borders: list[int], alignment: int) -> tuple[list[float], list[float]]:
    """Energy over the mean of its surroundings: of the borders, and of the lines around them."""
    at_borders, around = [], []
    for border in borders:
        numbers = [k for k in range(-NUM_NEIGHBOURS, NUM_NEIGHBOURS + 1) if k]
        lines = [border + k * alignment for k in numbers]
        nearby = energies[[line for line in lines if 0 < line < len(energies)]]
        usual = float(np.mean(nearby))
        at_borders.append(float(energies[border]) / usual)
        around.extend((nearby / usual).tolist())
    return at_borders, around


def main() -> int:
    """Measure one picture; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", help="the painting")
    parser.add_argument("--tile", type=int, required=True, help="largest side of a tile in pixels")
    parser.add_argument("--alignment", type=int, default=16, help="stride of the deepest layer")
    parser.add_argument("--halo", type=int, default=66, help="how far the deepest layer sees")
    options = parser.parse_args()
    try:
        pixels = load_image(options.picture)[0].double().numpy()
    except ImageError as error:
        print(f"measure_seams: {error}", file=sys.stderr)
        return 2
    at_borders: list[float] = []
    around: list[float] = []
    for turned in (pixels, pixels.transpose(0, 2, 1)):
        spans = tile_spans(
            turned.shape[1], options.tile, halo=options.halo, alignment=options.alignment
        )
        found = ratios(step_energies(turned), [span.start for span in spans[1:]], options.alignment)
        at_borders += found[0]
        around += found[1]
    if not at_borders:
        print("one tile, no borders")
        return 0
    chance = float(np.std(around)) / len(at_borders) ** 0.5
    print(
        f"{len(at_borders)} borders: {np.mean(at_borders):.4f} of the energy around them"
        f" (lines without a border: 1 +- {chance:.4f} for as many)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
