"""3×3 convolutions with four ninths of the multiplications, for processors without matrix units.

Winograd's minimal filtering F(2×2, 3×3) after Lavin & Gray, "Fast Algorithms for Convolutional
Neural Networks" (2016): a tile of 4×4 input pixels and the kernel are each mapped to 16 numbers per
channel, a product of matrices mixes the channels for each of the 16, and what comes out is mapped
to 2×2 output pixels. It is the same sum in another order. In float32 it differs by 1e-6 from a
direct one; in bf16 the numbers in between are rounded as well, and the error grows from 2.4e-3 of
the result to 6e-3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Lavin & Gray's G. Their Bᵀ is written out in `_spread`, their Aᵀ in `_Band.gather`.
_KERNEL = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
# Bytes of mapped tiles, before and after the product, that are worked on at a time: few enough to
# stay in a processor's cache, many enough for products at full speed.
_BAND = 12 * 2**20
# Fewest channels, before and after, for which products save more than mapping costs, as measured on
# a Zen 4 (AVX-512, two cores).
_FEWEST = 128


def winograd_kernel(weight: Tensor) -> Tensor:
    """Map a kernel (C', C, 3, 3) to the (16, C, C') that `winograd_conv` multiplies by.

    Do it in float64 and cast the result: it is then rounded once.
    """
    maps = weight.new_tensor(_KERNEL)
    return torch.einsum("ai,ocij,bj->abco", maps, weight, maps).flatten(0, 1).contiguous()


def winograd_conv(
    x: Tensor, kernel: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """Convolve ``x`` (B, C, H, W) with a `winograd_kernel` (16, C, C') of its dtype.

    Equal to ``F.conv2d`` but for rounding, where ``padding`` is 0 to 2 rows and columns of zeros
    and at least one position is left. The result (B, C', H + 2·rows - 2, W + 2·columns - 2) is
    channels-last, and is made fastest from such an ``x``. Bands of rows are worked on in turn; what
    is needed beside the result are the buffers of one. Autograd cannot look inside.

    Raises:
        RuntimeError: if the channels of ``x``, ``kernel`` and ``bias`` do not match.
    """
    channels = (x.shape[1], kernel.shape[2])
    height, width = (size + 2 * pad - 2 for size, pad in zip(x.shape[2:], padding, strict=True))
    down, across = (height + 1) // 2, (width + 1) // 2
    row_bytes = 16 * across * sum(channels) * x.element_size()
    # A band reads the whole kernel, so it should not be much smaller.
    band_bytes = max(_BAND, 2 * kernel.numel() * kernel.element_size())
    num_bands = -(-down // max(band_bytes // row_bytes, 1))
    step = -(-down // num_bands)

    y = x.new_empty(len(x), height, width, channels[1])
    whole = _Band(x, step, across, channels)
    last = whole.first((down - 1) % step + 1)
    for image, result in zip(x.permute(0, 2, 3, 1), y, strict=True):
        for start in range(0, down, step):
            band = whole if start + step <= down else last
            band.cut(image, 2 * start, padding)
            band.multiply(kernel, bias)
            band.gather(result[2 * start : 2 * (start + step)])
    return y.permute(0, 3, 1, 2)


def winograd_pays(before: int, after: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether `winograd_conv` beats a direct convolution from ``before`` to ``after`` channels.

    Only in bf16, where its error is lost in that of the numbers themselves. In float32 it would be
    1.2 to 1.7 times faster as well, but where its tiles of pixels begin depends on where a picture
    is cut, and the rounding with them: who asks for float32 asks for the same sums either way. Nor
    on GPUs and CPUs with matrix units: there the mapping, which is bound by memory, outweighs
    products that are fast already.
    """
    suits = dtype == torch.bfloat16 and device.type == "cpu" and min(before, after) >= _FEWEST
    return suits and _multiplies_slowly()


def _multiplies_slowly() -> bool:
    """Whether products are left to the vector units of an x86 processor (others are unmeasured)."""
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return torch.backends.cpu.get_cpu_capability().startswith("AVX") and not amx


class _Band:
    """Buffers for some rows of tiles, and the views of them that every band goes through.

    Making the views takes as long as a tenth of the additions, so it is done once.
    """

    def __init__(
        self,
        like: Tensor,
        down: int,
        across: int,
        channels: tuple[int, int],
        buffers: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> None:
        before, after = channels
        pixels = 2 * (across + 1) * before
        if buffers is None:
            buffers = (
                like.new_zeros((2 * down + 2) * pixels),
                like.new_empty(down * 16 * across * before),
                # Half-mapped tiles and products take turns.
                like.new_empty(down * max(4 * pixels, 16 * across * after)),
            )
        self._like, self._across, self._channels, self._buffers = like, across, channels, buffers
        lines, tiles, shared = buffers
        # Even and odd columns lie apart, so that lines are added up and not pixel by pixel.
        self._lines = lines[: (2 * down + 2) * pixels].view(2 * down + 2, 2, across + 1, before)
        self._rows = [self._lines[first : first + 2 * down : 2] for first in range(4)]
        half = shared[: down * 4 * pixels].view(4, down, 2, across + 1, before)
        self._half = half.unbind()
        even, odd = half.unbind(2)
        self._columns = (even[:, :, :-1], odd[:, :, :-1], even[:, :, 1:], odd[:, :, 1:])
        spread = tiles[: down * 16 * across * before].view(4, 4, down, across, before)
        self._spread = spread.unbind(1)
        self._tiles = spread.view(16, -1, before)
        self._products = shared[: down * 16 * across * after].view(16, -1, after)
        products = self._products.view(4, 4, down, across, after)
        self._everywhere = products[1, 1]
        self._sums = products.unbind()
        self._pixels = products[:2].unbind(1)

    def first(self, down: int) -> _Band:
        """Make a band of fewer rows of tiles in the same buffers."""
        return _Band(self._like, down, self._across, self._channels, self._buffers)

    def cut(self, image: Tensor, start: int, padding: tuple[int, int]) -> None:
        """Copy rows from an image (H, W, C), the first being row ``start`` of its padded self."""
        rows, columns = padding
        top = start - rows
        first, last = max(top, 0), min(top + len(self._lines), len(image))
        for parity in (0, 1):
            skip = (columns - parity + 1) // 2
            pixels = image[first:last, 2 * skip + parity - columns :: 2]
            self._lines[first - top : last - top, parity, skip : skip + pixels.shape[1]] = pixels
        # The columns beyond the image were zero from the start.
        if first > top:
            self._lines[: first - top] = 0
        if last - top < len(self._lines):
            self._lines[last - top :] = 0

    def multiply(self, kernel: Tensor, bias: Tensor | None) -> None:
        """Map the tiles, and mix the channels of each of their 16 numbers."""
        _spread(self._rows, self._half)
        _spread(self._columns, self._spread)
        torch.bmm(self._tiles, kernel, out=self._products)
        if bias is not None:
            # The one product that is added to all four pixels.
            self._everywhere.add_(bias)

    def gather(self, rows: Tensor) -> None:
        """Map the products to ``rows`` (H, W, C'); the last row and column may be missing."""
        first, second, third, fourth = self._sums
        first.add_(second).add_(third)
        second.sub_(third).sub_(fourth)
        first, second, third, fourth = self._pixels
        first.add_(second)
        second.sub_(third)
        for row in (0, 1):
            even, odd = rows[row::2, ::2], rows[row::2, 1::2]
            height, width = odd.shape[:2]
            torch.add(first[row, :height], third[row, :height], out=even)
            torch.sub(second[row, :height, :width], fourth[row, :height, :width], out=odd)


def _spread(lines: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Map four neighbouring rows or columns to the four numbers that are multiplied."""
    torch.sub(lines[0], lines[2], out=out[0])
    torch.add(lines[1], lines[2], out=out[1])
    torch.sub(lines[2], lines[1], out=out[2])
    torch.sub(lines[1], lines[3], out=out[3])
