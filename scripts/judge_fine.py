#!/usr/bin/env python3
"""Judge how paintings stand up at 1:1: grain and edges by octaves, borders, style and content.

    scripts/judge_fine.py --judge vgg19_16x_encoder.pth --pairs photo.jpg:painting.jpg ... \
        --size 1024 --before "--tv-weight 1 --patch-weight 0" -o judged

Every pair is painted as `hires stylize` paints it, and again with the options of `--before`, in
turn (what goes first alternates), so that seconds compare. What is measured are the saved files, of
16 bit:

- style error: relative Gram error, mean over relu1_1 ... relu5_1 of a network that nobody paints
  with, behind its heads where it has some; the style has the painting's long side, but is never
  enlarged. Content error: relative squared error at relu4_1.
- octaves: the finest three of a Laplacian pyramid (Burt and Adelson 1983: a 5-tap binomial filter;
  the band is the picture minus its filtered self, of which every second pixel goes on). Energy of
  the luma over the style's, and chroma over luma, over the style's (Y, Cb, Cr of ITU-R BT.601). To
  each channel's energy the variance of 8-bit rounding is added: a grey style has no chroma. Files
  of 8 bit given as `--paintings` have their own rounding besides.
- borders: mean colour of the outermost 4 and 24 px minus that of the frame from 24 to 48 px, and
  the standard deviation that this difference has between strips inside of the picture. A small
  picture's frames are an eighth of its short side instead of 24 px.

An octave stands if it is within 0.7 ... 1.4, or three times nearer to 1 than before (logarithms); a
border, if no channel is off by more than 2% of the range and two standard deviations. OUT gets
judge.json, judge.md, every painting, and for each pair a sheet of enlarged crops.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hires.utils.memory import manage_heap
from hires.utils.openmp import bound_waiting

if __name__ == "__main__":  # Before torch is loaded, as the command does.
    manage_heap()
    bound_waiting()

import torch
from fine_crops import crop_sheet
from fine_measures import Quality, Verdict, compare, measure
from judge_features import Judge
from train_compact import read_teacher

from hires.cli.exits import EXIT_INTERRUPTED, guarded, tell
from hires.cli.parsing import parse
from hires.config.job import Job
from hires.engine.ladder import Size, scale_to
from hires.errors import ConfigError, ImageError
from hires.image.decode.read import load_image
from hires.image.decode.stored import picture_size
from hires.runs.planning import plan_job
from hires.utils.files import replacing, write_json
from hires.version import __version__

PROG = "judge_fine"
RUN_HEAD = (
    *("pair", "run", "seconds", "style", "content"),
    *("luma in octaves", "chroma/luma", "border of 4 px", "border of 24 px"),
)
VERDICT_HEAD = (
    *("pair", "luma stands", "chroma/luma stands", "borders stand"),
    *("style, after/before", "content, after/before"),
)
NOTES = """
Octaves: energies over the style's, finest first; the finest two are judged. Borders: difference to
the picture further in, its standard deviation inside, and the difference in the content picture, in
percent of the range, of the channel that is off most.
"""


@dataclass(frozen=True, slots=True)
class Rung:
    """What a rung took."""

    width: int
    height: int
    iterations: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """One painting of a pair; no seconds and rungs if it was painted elsewhere."""

    quality: Quality
    seconds: float | None = None
    rungs: tuple[Rung, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair with its paintings, by ``before`` and ``after``."""

    pair: str
    runs: dict[str, Run]
    verdict: Verdict


def paint(job: Job, path: Path) -> tuple[float, tuple[Rung, ...]]:
    """Paint a job and save it; seconds of painting, without reading and saving files."""
    planned = plan_job(job)
    for warning in planned.run.warnings:
        tell(PROG, f"warning: {warning}")
    rungs = []
    started = rung_started = time.perf_counter()
    for progress in planned.run.start():
        if progress.ends_rung:
            picture = progress.picture().cpu()  # A device has done what it was told then.
            now = time.perf_counter()
            (height, width), steps = progress.rung.size, progress.rung.num_iterations
            rungs.append(Rung(width, height, steps, round(now - rung_started, 3)))
            rung_started = now
    seconds = round(time.perf_counter() - started, 3)
    planned.save(picture, path)
    return seconds, tuple(rungs)


def jobs_of(options: argparse.Namespace) -> dict[str, dict[str, Job]]:
    """What is to be painted, by pair and run; every option and picture is looked at before."""
    texts = {} if options.before is None else {"before": options.before}
    if not options.paintings:
        texts["after"] = options.after or ""
    elif options.after is not None:
        raise ConfigError("`paintings` are not painted: leave `after` out")
    elif len(options.paintings) != len(options.pairs):
        raise ConfigError(f"give as many `paintings` as `pairs`, {len(options.pairs)}")
    jobs: dict[str, dict[str, Job]] = {}
    for pair in options.pairs:
        if pair.count(":") != 1:
            raise ConfigError(f"'{pair}' is no pair: give `pairs` as CONTENT:STYLE")
        content, style = pair.split(":")
        name = name_of(pair)
        if name in jobs:
            raise ConfigError(f"two pairs are called {name}: give pictures other names")
        whole, _ = picture_size(content), picture_size(style)  # Raises if one cannot be read.
        if options.paintings:
            check_shape(options.paintings[len(jobs)], content, whole)
        jobs[name] = {
            run: job_of(run, text, (content, style), options.size) for run, text in texts.items()
        }
    return jobs


def check_shape(painting: str, content: str, whole: Size) -> None:
    """See that a painting may be one of its content, given the content's size."""
    size = picture_size(painting)
    expected = scale_to(whole, max(size))
    if max(abs(a - b) for a, b in zip(size, expected, strict=True)) > 1:
        shapes = f"{size[1]}x{size[0]} px, not {expected[1]}x{expected[0]}"
        raise ImageError(f"{painting} has not the shape of {content}: {shapes}")


def job_of(run: str, text: str, pair: tuple[str, str], size: int) -> Job:
    """Options of a run as ``hires stylize`` reads them."""
    try:
        words = [*pair, "--size", str(size), "--bit-depth", "16", *shlex.split(text)]
        job = parse(Job, words, prog=PROG)
        if job.config.size != size or job.config.measured_side != "long" or job.finish:
            raise ConfigError("all runs have the long side `size`: leave other sizes out")
    except ValueError as error:
        raise ConfigError(f"`{run}`: {error}") from None
    return job


def name_of(pair: str) -> str:
    """``photo+painting``."""
    return "+".join(Path(path).stem for path in pair.split(":"))


def run_all(options: argparse.Namespace) -> int:
    """Paint, measure and compare every pair, saving as it goes."""
    jobs = jobs_of(options)
    judge = Judge(*read_teacher(options.judge))
    options.output.mkdir(parents=True, exist_ok=True)
    found: list[Judged] = []
    try:
        for index, pair in enumerate(options.pairs):
            found.append(judge_pair(judge, index, pair, jobs[name_of(pair)], options))
            save_tables(found, options)
    except KeyboardInterrupt:
        told = f"{len(found)} of {len(options.pairs)} pairs are judged in {options.output}"
        tell(PROG, f"interrupted: {told}")
        return EXIT_INTERRUPTED
    print(markdown(found), end="")
    return 0


def judge_pair(
    judge: Judge, index: int, pair: str, jobs: Mapping[str, Job], options: argparse.Namespace
) -> Judged:
    """Paint and measure a pair, and save its pictures."""
    name = name_of(pair)
    paths = {run: options.output / f"{name}-{run}.png" for run in jobs}
    took = {}
    # What goes first alternates: neither always finds the machine warm.
    for run, job in [*jobs.items()][:: -1 if index % 2 else 1]:
        took[run] = paint(job, paths[run])
        tell(PROG, f"{paths[run]}: painted in {took[run][0]:.1f} s")
    if options.paintings:
        paths["after"] = Path(options.paintings[index])
    content, style = (load_image(path) for path in pair.split(":"))
    paintings = {run: load_image(path) for run, path in paths.items()}
    runs = {
        run: Run(measure(judge, painting, content, style), *took.get(run, ()))
        for run, painting in paintings.items()
    }
    sheet = crop_sheet(paintings, content, style)
    sheet.save(options.output / f"crops-{name}.png")
    before = runs["before"].quality if "before" in runs else None
    return Judged(name, runs, compare(runs["after"].quality, before))


def summary(found: Sequence[Judged]) -> dict[str, Any]:
    """Mean ratios and the worst pairs; how many pairs stand."""
    told: dict[str, Any] = {
        "num_pairs": len(found),
        "num_octaves_stand": sum(judged.verdict.octaves_stand for judged in found),
        "num_borders_stand": sum(all(judged.verdict.borders) for judged in found),
    }
    for name in ("style_ratio", "content_ratio"):
        ratios = {judged.pair: getattr(judged.verdict, name) for judged in found}
        if None not in ratios.values():
            worst = max(ratios, key=ratios.__getitem__)
            mean = sum(ratios.values()) / len(ratios)
            told[name] = {"mean": mean, "worst": ratios[worst], "worst_pair": worst}
    return told


def seconds_by_run(found: Sequence[Judged]) -> dict[str, float]:
    """Seconds of painting, all pairs together."""
    sums: dict[str, float] = {}
    for judged in found:
        for name, run in judged.runs.items():
            if run.seconds is not None:
                sums[name] = sums.get(name, 0.0) + run.seconds
    return sums


def save_tables(found: Sequence[Judged], options: argparse.Namespace) -> None:
    """Write the tables anew; both are whole at any time."""
    pairs = [
        {
            "pair": judged.pair,
            "quality": {run: asdict(made.quality) for run, made in judged.runs.items()},
            "verdict": {**asdict(judged.verdict), "octaves_stand": judged.verdict.octaves_stand},
            "on_this_machine": {
                run: {"seconds": made.seconds, "rungs": [asdict(rung) for rung in made.rungs]}
                for run, made in judged.runs.items()
                if made.seconds is not None
            },
        }
        for judged in found
    ]
    settings = {name: getattr(options, name) for name in ("judge", "size", "before", "after")}
    about: dict[str, Any] = {
        "hires": __version__,
        "torch": torch.__version__,
        "cores": os.cpu_count(),
    }
    about |= {"seconds": seconds_by_run(found)}
    tables = {
        "settings": settings | {"paintings": options.paintings},
        "pairs": pairs,
        "summary": summary(found),
        "on_this_machine": about,
    }
    write_json(options.output / "judge.json", tables)
    with replacing(options.output / "judge.md") as temporary:
        temporary.write_text(markdown(found), encoding="utf-8")


def markdown(found: Sequence[Judged]) -> str:
    """The tables for people."""
    runs = [(judged.pair, *made) for judged in found for made in judged.runs.items()]
    lines = table(RUN_HEAD, [(pair, name, *run_cells(run)) for pair, name, run in runs])
    lines += ["", *table(VERDICT_HEAD, [verdict_cells(judged) for judged in found]), ""]
    told = summary(found)
    stand = f"{told['num_octaves_stand']} of {told['num_pairs']} pairs stand in octaves"
    lines.append(f"{stand}, {told['num_borders_stand']} at their borders.")
    for name in ("style", "content"):
        ratio = told.get(f"{name}_ratio")
        if ratio is not None:
            lines.append(
                f"{name.capitalize()} error after/before: mean {ratio['mean']:.3f},"
                f" worst {ratio['worst']:.3f} ({ratio['worst_pair']})."
            )
    seconds = (f"{run} {value:.1f}" for run, value in seconds_by_run(found).items())
    lines.append(f"Seconds of painting: {', '.join(seconds) or 'not painted here'}.")
    return "\n".join(lines) + "\n" + NOTES


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def run_cells(run: Run) -> tuple[str, ...]:
    """A run's cells: seconds, errors, octaves, borders."""
    quality = run.quality
    return (
        "-" if run.seconds is None else f"{run.seconds:.1f}",
        f"{quality.style_error:.4f}",
        f"{quality.content_error:.3f}",
        " ".join(f"{octave.luma:.2f}" for octave in quality.octaves),
        " ".join(f"{octave.chroma_to_luma:.2f}" for octave in quality.octaves),
        *("{:+.1f} ±{:.1f} ({:+.1f})".format(*border.worst) for border in quality.borders),
    )


def verdict_cells(judged: Judged) -> tuple[str, ...]:
    """A verdict's cells."""
    verdict = judged.verdict
    ratios = (verdict.style_ratio, verdict.content_ratio)
    return (
        judged.pair,
        *(
            " ".join("yes" if stands else "NO" for stands in part)
            for part in (verdict.luma, verdict.chroma_to_luma, verdict.borders)
        ),
        *("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios),
    )


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--judge", required=True, help="vgg19, checkpoint or .pth state dict: measures, on the CPU")
    add("--pairs", nargs="+", required=True, metavar="CONTENT:STYLE", help="pictures to paint")
    add("--size", type=int, default=1024, help="long side of the paintings (%(default)s)")
    add("--before", help="options of `hires stylize` of a run to compare with (write --before=...)")
    add("--after", help="options of the run that is judged (default: none)")
    add("--paintings", nargs="+", default=[], metavar="FILE", help="judge these: one for each pair")
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for everything")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge; 0, or 2 with one line on stderr."""
    options = parse_options(arguments)
    return guarded(PROG, lambda: run_all(options))


if __name__ == "__main__":
    sys.exit(main())
