"""Draw the sample pictures: three scenes, masks of the harbour's parts, and five styles.

    python scripts/make_samples.py [NAME ...] [--out samples] [--size 2048] [--page]

Everything is computed from fixed seeds; the pictures belong to the project.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms
from samples_art import city, glass, harbour, impasto, pencil, portrait, watercolour, woodcut
from samples_art.fields import Field

MAX_BYTES, SMALL_BYTES = 1_500_000, 700_000
PAGE_SAMPLES, PAGE_SIDE, PAGE_BYTES = ("harbour", "impasto"), 960, 320_000
PAGE_FOLDER = Path(__file__).parents[1] / "hires" / "serve" / "samples"
PROFILE_DATE = slice(24, 36)  # of an ICC header; cleared, so that every run writes the same bytes


def srgb_profile() -> bytes:
    """An sRGB profile without the time at which it was made."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[PROFILE_DATE] = np.array([2000, 1, 1, 0, 0, 0], ">u2").tobytes()
    return bytes(profile)


def encode(picture: Field, max_bytes: int = MAX_BYTES) -> bytes:
    """JPEG bytes (4:4:4, sRGB) of an (H, W, 3) picture, the best quality within `max_bytes`.

    Raises ValueError if not even quality 60 fits.
    """
    image = Image.fromarray((np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
    for quality in range(95, 59, -1):
        buffer = io.BytesIO()
        image.save(
            buffer, "JPEG", quality=quality, subsampling=0, optimize=True,
            progressive=True, icc_profile=srgb_profile(),
        )  # fmt: skip
        if buffer.tell() <= max_bytes:
            return buffer.getvalue()
    raise ValueError(f"picture of {image.width}x{image.height} does not fit {max_bytes} bytes")


def encode_mask(mask: Field) -> bytes:
    """PNG bytes, grey, of an (H, W) mask in [0, 1]."""
    buffer = io.BytesIO()
    Image.fromarray((mask * 255.0 + 0.5).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def for_page(data: bytes) -> bytes:
    """The smaller copy of a sample that comes with the package, for the page to begin with."""
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((PAGE_SIDE, PAGE_SIDE), Image.Resampling.LANCZOS)
        picture = np.asarray(image, np.float32) / np.float32(255)
    return encode(picture, PAGE_BYTES)


# Each picture's width over that of the harbour, and the most that its file may take.
PICTURES: dict[str, tuple[Callable[[int], Field], float, int]] = {
    "harbour": (harbour.paint, 1.0, MAX_BYTES),
    "portrait": (portrait.paint, 0.5, SMALL_BYTES),
    "city": (city.paint, 0.625, SMALL_BYTES),
    "impasto": (impasto.paint, 0.82, MAX_BYTES),
    "woodcut": (woodcut.paint, 0.82, MAX_BYTES),
    "watercolour": (watercolour.paint, 0.7, SMALL_BYTES),
    "glass": (glass.paint, 0.7, SMALL_BYTES),
    "pencil": (pencil.paint, 0.7, SMALL_BYTES),
}


def main() -> None:
    """Draw the pictures that are named, or all, and write them."""
    parser = argparse.ArgumentParser(description="Draw the sample pictures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones; all by default")
    parser.add_argument("--out", type=Path, default=Path("samples"), help="folder to write to")
    parser.add_argument("--size", type=int, default=2048, help="width of the harbour")
    parser.add_argument(
        "--page", action="store_true", help="also those that come with the page of hires serve"
    )
    options = parser.parse_args()
    if options.size < 64:
        parser.error("--size must be 64 px at least")
    unknown = sorted(set(options.names) - set(PICTURES))
    if unknown:
        parser.error(f"no picture is called {unknown[0]}: there are {', '.join(PICTURES)}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {options.out} cannot be a folder: {error.strerror}")
    torch.set_grad_enabled(False)
    for name in options.names or PICTURES:
        paint, share, max_bytes = PICTURES[name]
        start = time.perf_counter()
        width = 16 * round(options.size * share / 16)
        data = encode(paint(width), max_bytes)
        (options.out / f"{name}.jpg").write_bytes(data)
        if name == "harbour":
            for part, mask in harbour.regions(width).items():
                (options.out / f"harbour-{part}.png").write_bytes(encode_mask(mask))
        if name in PAGE_SAMPLES and options.page:
            (PAGE_FOLDER / f"{name}.jpg").write_bytes(for_page(data))
        print(f"{name}.jpg: {len(data) / 1e6:.2f} MB, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
