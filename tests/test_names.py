"""Names to show and to save by."""

from __future__ import annotations

import pytest

from hires.utils.names import printable, unique_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "b", "a"], ["a 1", "b", "a 2"]),
        (["h", "h", "h 1"], ["h 2", "h 3", "h 1"]),
        (["h 1", "h 1", "h", "h"], ["h 1 1", "h 1 2", "h 1", "h 2"]),
        (["A", "a"], ["A 1", "a 2"]),  # One folder on some systems.
        (["a\nb", "a b"], ["a b 1", "a b 2"]),
        ([], []),
    ],
)
def test_every_name_is_its_own(names: list[str], expected: list[str]) -> None:
    assert unique_names(names) == expected


def test_a_printable_name_is_one_line_of_text() -> None:
    assert printable("é 日本\t\x1b[0m\udcff\n") == "é 日本 ?[0m? "
