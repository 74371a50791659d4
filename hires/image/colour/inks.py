"""Total ink of a CMYK picture: how much lies on the paper at most, and where it is too much."""

from dataclasses import dataclass

from torch import Tensor

_ROUNDING = 0.5  # percent: what 8-bit tables of profiles are off by


@dataclass(slots=True)
class TotalInk:
    """The sum of all inks, in percent of one, over the bands of a file.

    Attributes:
        limit: what the paper takes.
        highest: the largest sum.
        place: ``(row, column)`` of it, in pixels of the file.
        num_over: pixels above the limit.
        num_pixels: seen so far.
        box: first row, first column, last row and last column of those above the limit.
    """

    limit: float
    highest: float = 0.0
    place: tuple[int, int] = (0, 0)
    num_over: int = 0
    num_pixels: int = 0
    box: tuple[int, int, int, int] | None = None

    def add(self, band: Tensor, top: int) -> None:
        """See rows of a file.

        Args:
            band: (4, H, W) in [0, 1].
            top: the row of the file that is its first.
        """
        total = band.sum(0) * 100
        self.num_pixels += total.numel()
        highest = float(total.max())
        if highest > self.highest:
            row, column = divmod(int(total.argmax()), total.shape[1])
            self.highest, self.place = highest, (top + row, column)
        rows, columns = (total > self.limit + _ROUNDING).nonzero(as_tuple=True)
        if not len(rows):
            return
        self.num_over += len(rows)
        first, last = (top + int(rows.min()), top + int(rows.max()))
        left, right = int(columns.min()), int(columns.max())
        old = (first, left, last, right) if self.box is None else self.box
        self.box = min(first, old[0]), min(left, old[1]), max(last, old[2]), max(right, old[3])

    def __str__(self) -> str:
        """``total ink 287% at most``."""
        return f"total ink {self.highest:.0f}% at most"

    def problem(self) -> str | None:
        """What to tell if it is too much."""
        if self.box is None:
            return None
        top, left, bottom, right = self.box
        share = 100 * self.num_over / self.num_pixels
        row, column = self.place
        return (
            f"total ink is {self.highest:.0f}% at x={column}, y={row}, above {self.limit:g}% in"
            f" {share:.2g}% of the picture (x {left} to {right}, y {top} to {bottom}); ask for a"
            f" profile with less ink, or give `ink_limit={self.highest:.0f}` if the paper takes it"
        )
