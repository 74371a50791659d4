"""Dataclasses as they are typed: flags, values, help, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from hires.cli.options import Typed, UsageError, options_of
from hires.cli.parsing import parse
from hires.config.job import PaintJob
from hires.config.run import Config


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Settings of their own."""

    depth: Literal[8, 16] = 8
    """How deep."""

    sharp: bool = True
    """Whether it is sharp."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """What can be typed, one of each kind."""

    first: Annotated[str, Typed(positional=True)]
    """Comes first."""

    more: Annotated[tuple[str, ...], Typed(positional=True, metavar="MORE ...")]
    """Any number of others."""

    target: Annotated[str, Typed(short="-t", metavar="PATH", name="to")]
    """Where it goes."""

    count: int | None = None
    """How many."""

    size: int | str = 5
    """A number or a word."""

    shares: tuple[float, ...] = ()
    """Several numbers."""

    names: tuple[str, ...] = ("a", "b")
    """Several words."""

    loud: bool = False
    """Whether it is loud."""

    inner: Inner = field(default_factory=Inner)
    """How it is inside."""


def typed(line: str) -> Example:
    return parse(Example, line.split(), prog="example")


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("", "more", ()),
        ("y z", "more", ("y", "z")),
        ("--loud y", "more", ("y",)),
        ("--count 3", "count", 3),
        ("--count=3", "count", 3),
        ("--count auto", "count", None),
        ("--size 7", "size", 7),
        ("--size half", "size", "half"),
        ("--shares 1 .5", "shares", (1.0, 0.5)),
        ("--shares auto", "shares", ()),
        ("--names", "names", ()),
        ("--names auto", "names", ("auto",)),
        ("--loud", "loud", True),
        ("--loud --no-loud", "loud", False),
        ("--count 1 --count 2", "count", 2),
        ("--depth 16", "inner", Inner(depth=16)),
        ("--no-sharp", "inner", Inner(sharp=False)),
    ],
)
def test_what_is_typed_is_read(words: str, name: str, value: Any) -> None:
    assert getattr(typed(f"x --to y {words}"), name) == value


def test_underscores_do_for_hyphens() -> None:
    job = parse(
        PaintJob, ["a", "b", "-o", "c_d", "--style_weight=2", "--bit_depth", "16"], prog="hires"
    )
    assert (job.output, job.bit_depth, job.config) == ("c_d", 16, Config(style_weight=2.0))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "missing FIRST, -t PATH (--help-all lists what there is)"),
        ("x --to", "-t/--to needs a value"),
        ("x -t y --loud=1", "--loud takes no value"),
        (
            "x -t y --lout",
            "unknown argument '--lout': did you mean --loud? (--help-all lists ",
        ),
        ("--zzz", "unknown argument '--zzz' (--help-all lists what there is)"),
        ("x -t y --count 1.5", "--count: '1.5' is not a whole number"),
        ("x -t y --shares 1 x", "--shares: 'x' is not a number"),
        ("x -t y --shares", "--shares: needs at least one number"),
        ("x -t y --count -3mm", "--count: '-3mm' is not a whole number"),
        ("x -t y --depth 12", "--depth is '12': choose one of 8, 16"),
    ],
)
def test_mistakes_are_told(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        typed(line)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["", "-t", "y"], "FIRST"),
        (["x", "", "-t", "y"], "MORE"),
        (["x", "-t", ""], "--to"),
        (["x", "-t", "y", "--names", "a", ""], "--names"),
        (["x", "-t", "y", "--size", ""], "--size"),
    ],
)
def test_a_variable_that_is_not_set_is_told(words: list[str], name: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Example, words, prog="example")
    assert str(caught.value) == f"{name} is empty: give a value (is a shell variable not set?)"


def test_too_many_words_are_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class One:
        name: Annotated[str, Typed(positional=True)]

    with pytest.raises(UsageError, match="unknown argument 'b'"):
        parse(One, ["a", "b"], prog="one")


def test_usage() -> None:
    assert [option.usage for option in options_of(Example)] == [
        *("FIRST", "MORE ...", "-t PATH, --to PATH", "--count INT", "--size INT|STR"),
        *("--shares FLOAT [FLOAT ...]", "--names [STR [STR ...]]", "--loud"),
        *("--depth {8,16}", "--no-sharp"),
    ]


@pytest.mark.parametrize("columns", [40, 80])
def test_help(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as stopped:
        typed("--count x --help-all")
    assert not stopped.value.code
    told = capsys.readouterr().out
    assert told.startswith("usage: example FIRST MORE ... -t PATH [OPTIONS]\n\nWhat can be typed,")
    flat = " ".join(told.split())
    assert "FIRST Comes first. (required)" in flat
    assert "--names [STR [STR ...]] Several words. (default: a b)" in flat
    assert "How it is inside: --depth {8,16} How deep. (default: 8)" in flat
    assert max(len(line) for line in told.splitlines()[3:]) <= max(columns, 46)


def test_what_a_recorded_run_switched_on_can_be_switched_off() -> None:
    before = Example(first="x", more=("m",), target="", loud=True, inner=Inner(depth=16))
    found = parse(Example, ["--no-loud", "--to", "y"], prog="example", recorded=lambda _: before)
    assert found == Example(first="x", more=("m",), target="y", inner=Inner(depth=16))
    with pytest.raises(UsageError, match="missing -t PATH"):
        parse(Example, [], prog="example", recorded=lambda _: before)
