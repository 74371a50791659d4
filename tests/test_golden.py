"""The losses of small runs are those of tests/golden, which a refactor leaves unchanged.

A change of numerics writes them anew (`HIRES_GOLDEN=write`), with a line in the changelog. On the
machine that wrote them `HIRES_GOLDEN=exact` asks for every digit. Other processors add up in
another order; with PyTorch's slowest kernels, which do not even fuse products and sums, single
terms were off by 1% after the nine steps.
"""

from __future__ import annotations

import pytest
from golden_runs import RUNS, applied, losses
from golden_text import MODE, golden

# Of a value, and of the largest in its column: some begin at nothing but rounding errors.
_RELATIVE, _OF_LARGEST = 0.03, 1e-4


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def check(name: str, text: str) -> None:
    wanted = golden(f"losses/{name}.txt", text)
    if MODE == "exact":
        assert text == wanted
    (heading, *found), (expected, *rows) = table(text), table(wanted)
    assert heading == expected
    assert [row[:1] for row in found] == [row[:1] for row in rows]
    for title, *column in zip(heading[1:], *(row[1:] for row in found), strict=True):
        place = heading.index(title)
        values, known = [float(x) for x in column], [float(row[place]) for row in rows]
        allowed = _OF_LARGEST * max(map(abs, known))
        assert values == pytest.approx(known, rel=_RELATIVE, abs=allowed), title


@pytest.mark.parametrize("name", RUNS)
def test_losses(name: str) -> None:
    check(name, "\n".join(losses(name)) + "\n")


def test_a_picture_made_by_a_model() -> None:
    check("apply", "\n".join(applied()) + "\n")
