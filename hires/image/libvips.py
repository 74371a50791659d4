"""What libvips says, and forgetting it."""

from typing import TypeAlias

import pyvips  # type: ignore[import-untyped]

# pyvips takes libvips' messages for UTF-8, which the names of files in them need not be.
VIPS_ERRORS = pyvips.Error, UnicodeDecodeError
VipsError: TypeAlias = pyvips.Error | UnicodeDecodeError


def first_line(error: VipsError) -> str:
    """The most telling part of what libvips reports, often the same message many times over."""
    lines = [line.strip() for line in detail_of(error).splitlines() if line.strip()]
    # A decoder that looks for more than there is reports every attempt.
    telling = [line for line in lines if "bad seek" not in line]
    return next(iter([*telling, *lines]), "")


def detail_of(error: VipsError) -> str:
    """All that libvips reports of an error, in lines."""
    if isinstance(error, pyvips.Error):
        return str(error.detail or error.message)
    found: bytes = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer())
    return found.decode(errors="replace") or str(error)


def forget_messages() -> None:
    """Empty libvips' buffer of messages, or earlier pictures' troubles join the next error."""
    pyvips.vips_lib.vips_error_clear()
