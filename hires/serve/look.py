"""``python -m hires.serve.look``: check one picture and make a small copy, in a process of its own.

What is uploaded may be made to break decoders. If it does, this process ends, and no other.
"""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from hires.errors import ImageError
from hires.image.formats.signatures import kind_of
from hires.image.pyramid import Pyramid, preview_of
from hires.utils.files import replacing

# Of 400 megapixels, those of 16 bits and four channels that are turned upright have 3 GB on disk.
_MOST_MEMORY, _MOST_WRITTEN, _MOST_SECONDS = 2**32, 2**32, 150


def main(words: list[str]) -> int:
    """Print what a picture is, or what is wrong with it, as JSON.

    Args:
        words: the picture, where the small copy goes, the most pixels that it may have.
    """
    path, small, most = Path(words[0]), Path(words[1]), int(words[2])
    _bound()
    warnings.simplefilter("ignore")
    try:
        picture = Pyramid(path, path.parent)
        height, width = picture.size
        if height * width > most:
            raise ImageError(
                f"it has {width}x{height} pixels, and at most {most / 1e6:.0f} million are taken:"
                " shrink it"
            )
        data = preview_of(picture)
        with replacing(small) as temporary:
            temporary.write_bytes(data)
    except ImageError as error:
        # The name is ours, and tells nobody anything.
        print(json.dumps({"error": str(error).replace(str(path), "the picture")}))
        return 0
    print(json.dumps({"width": width, "height": height, "kind": kind_of(path)}))
    return 0


def _bound() -> None:
    """Let the system end this process if a picture makes it grow or turn in circles."""
    with suppress(ImportError):  # Windows has no such bounds.
        import resource

        bounds = {
            resource.RLIMIT_AS: _MOST_MEMORY,
            resource.RLIMIT_FSIZE: _MOST_WRITTEN,
            resource.RLIMIT_CPU: _MOST_SECONDS,
        }
        for bound, most in bounds.items():
            _, hard = resource.getrlimit(bound)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(bound, (most, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
