#!/usr/bin/env python3
"""Paint pairs in several ways, and judge them: by measures that no loss asks for, and by people.

    scripts/judge_paintings.py --pairs photo.jpg:painting.jpg ... --size 1024 \
        --run "wasserstein" --run "neighbours=--style-loss neighbours" -o judged

Every pair is painted once for each `--run`, NAME=OPTIONS as `hires stylize` takes them; what is
painted already is not painted again. OUT gets every painting as PNG; for each pair a sheet with all
of them whole and pixel by pixel; judged.json and judged.md, the measures of `hires compare`, of
each painting and the median of all pairs; and choose.html, on which people choose the better of two
without knowing which is which.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median

from hires.utils.memory import manage_heap
from hires.utils.openmp import bound_waiting

if __name__ == "__main__":  # Before torch is loaded, as the command does.
    manage_heap()
    bound_waiting()

from torch import Tensor

from hires.cli.exits import guarded, tell
from hires.cli.parsing import parse
from hires.config.job import PaintJob
from hires.errors import ConfigError
from hires.features.network import Network
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.judging.choice import Choice, write_choices
from hires.judging.comparison import Judged, comparison_sheet, judge, networks_of
from hires.runs.batch import Done
from hires.runs.paint import iter_paint
from hires.utils.files import replacing, write_json
from hires.version import __version__

PROG = "judge_paintings"
Found = dict[str, dict[str, Judged]]


def job_of(pair: str, options: str, size: int, folder: Path, run: str) -> PaintJob:
    """The job of a pair and a run."""
    if pair.count(":") != 1:
        raise ConfigError(f"'{pair}' is no pair: give `pairs` as CONTENT:STYLE")
    content, style = pair.split(":")
    path = folder / f"{name_of(pair)}--{run}.png"
    words = [content, style, "--size", str(size), "-o", str(path), "--no-run-dir"]
    return parse(PaintJob, [*words, *shlex.split(options)], prog=PROG)


def name_of(pair: str) -> str:
    """``photo-painting``."""
    return "-".join(Path(path).stem for path in pair.split(":"))


def jobs_of(options: argparse.Namespace) -> dict[str, dict[str, PaintJob]]:
    """What is painted, by pair and run; all options are looked at before the first."""
    texts = dict(run.partition("=")[::2] for run in options.run)
    if len(texts) < len(options.run):
        raise ConfigError("two runs have one name: give each `run` its own")
    return {
        pair: {
            name: job_of(pair, text, options.size, options.output, name)
            for name, text in texts.items()
        }
        for pair in options.pairs
    }


def painted(job: PaintJob, done: Done) -> Tensor:
    """The painting of a job, painted unless it is there."""
    if not done(job):
        started = time.monotonic()
        for _ in iter_paint(job):
            pass
        tell(PROG, f"{job.output}: painted in {time.monotonic() - started:.0f} s")
    return load_image(job.output)


def run_all(options: argparse.Namespace) -> int:
    """Paint and judge every pair, saving as it goes."""
    jobs = jobs_of(options)
    networks, done = networks_of(options.features), Done()
    options.output.mkdir(parents=True, exist_ok=True)
    found: Found = {}
    choices: list[Choice] = []
    for pair, runs in jobs.items():
        content, style = (load_image(path) for path in pair.split(":"))
        paintings = {name: painted(job, done) for name, job in runs.items()}
        found[pair] = judged_pair(paintings, content, style, networks, options.output, pair)
        choices.append(
            Choice(name=name_of(pair), content=content, style=style, paintings=paintings)
        )
        save_tables(found, options)
    if len(options.run) > 1:
        write_choices(options.output / "choose.html", choices)
    print(markdown(found), end="")
    return 0


def judged_pair(
    paintings: Mapping[str, Tensor],
    content: Tensor,
    style: Tensor,
    networks: Mapping[str, Network],
    folder: Path,
    pair: str,
) -> dict[str, Judged]:
    """Measure the paintings of a pair, and save their sheet."""
    found = {name: judge(one, content, style, networks) for name, one in paintings.items()}
    said = {name: [f"{key} {value:.3f}" for key, value in values(found[name])] for name in found}
    sheet = comparison_sheet(paintings, content, style, said)
    save_image(sheet, folder / f"sheet-{name_of(pair)}.png")
    return found


def values(judged: Judged) -> list[tuple[str, float]]:
    """The measures as one number each; energies as their mean distance from 1, a factor."""
    energies = [max(octave.luma, 1 / octave.luma) for octave in judged.octaves]
    chroma = [max(one.chroma_to_luma, 1 / one.chroma_to_luma) for one in judged.octaves]
    return [
        ("palette", judged.palette),
        ("strokes", sum(judged.strokes) / len(judged.strokes)),
        ("energy", sum(energies) / len(energies)),
        ("chroma", sum(chroma) / len(chroma)),
        *((f"scene {Path(name).stem}", value) for name, value in judged.structure.items()),
    ]


def save_tables(found: Found, options: argparse.Namespace) -> None:
    """Write the tables anew; both are whole at any time."""
    told = {
        "hires": __version__,
        "size": options.size,
        "runs": options.run,
        "pairs": {
            pair: {name: asdict(judged) for name, judged in runs.items()}
            for pair, runs in found.items()
        },
    }
    write_json(options.output / "judged.json", told)
    with replacing(options.output / "judged.md") as temporary:
        temporary.write_text(markdown(found), encoding="utf-8")


def markdown(found: Found) -> str:
    """Every painting's measures, and the median of each run; lower is better, energies from 1."""
    runs = [*next(iter(found.values()))]
    rows = [(name_of(pair), run, values(found[pair][run])) for pair in found for run in runs]
    titles = [title for title, _ in rows[0][2]]
    lines = [["pair", "run", *titles], ["---"] * (2 + len(titles))]
    lines += [[pair, run, *(f"{value:.3f}" for _, value in row)] for pair, run, row in rows]
    for run in runs:
        columns = zip(
            *([value for _, value in row] for _, one, row in rows if one == run), strict=True
        )
        lines.append(["**median**", run, *(f"{median(column):.3f}" for column in columns)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    """Read the arguments and judge."""
    parser = argparse.ArgumentParser(prog=PROG, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", nargs="+", required=True, metavar="CONTENT:STYLE")
    parser.add_argument("--run", action="append", required=True, metavar="NAME[=OPTIONS]")
    parser.add_argument("--size", type=int, default=1024, help="long side in pixels")
    parser.add_argument("--features", nargs="+", default=["compact"], help="look at the scene")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    options = parser.parse_args()
    return guarded(PROG, lambda: run_all(options))


if __name__ == "__main__":
    sys.exit(main())
