"""Run directories: what a run leaves, how it is resumed after any end, and what is refused."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from filelock import FileLock
from torch import Tensor

from hires.cli import main as cli
from hires.cli.display import Display
from hires.engine.objective import Objective
from hires.engine.progress import Progress
from hires.features.checkpoints import write_checkpoint
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.runs import recorder
from hires.runs.fingerprint import fingerprint
from hires.runs.record import LAYOUT, read_record
from hires.runs.recorder import Pace
from hires.runs.trace import Step, Trace

ROOT = Path(__file__).parents[1]
Acts = Mapping[int, Callable[[], object]]

WORDS = (
    *("stylize", "content.png", "style.png", "--features", "tiny.safetensors"),
    *("--sizes", "48", "64", "--iterations", "3", "--precision", "fp32", "--quiet"),
)
FINISHED = {
    *(".lock", "settings.json", "state.json", "ladder.json", "trace.jsonl"),
    *("index.html", "preview.jpg", "rung-1.jpg", "rung-2.jpg"),
}
INPUTS = ("content.png", "style.png", "tiny.safetensors")


class Killed(BaseException):
    """Ends a run as a kill does: no handler of ours knows it."""


class Watching(Display):
    """Lets things happen after steps, counted from 1."""

    def __init__(self, acts: Acts) -> None:
        self._acts, self._num_steps = acts, 0

    def update(self, progress: Progress) -> None:
        del progress
        self._num_steps += 1
        self._acts.get(self._num_steps, lambda: None)()


def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures and a tiny network.

    Besides, what a run makes of them, whole.png with whole.run, and in half.run the same run,
    killed after its fourth of six steps.
    """
    folder = tmp_path_factory.mktemp("studio")
    save_image(random_image(48, 64, seed=1), folder / "content.png")
    save_image(random_image(56, 48, seed=2), folder / "style.png")
    write_checkpoint(folder / "tiny.safetensors", COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        assert cli.main([*WORDS, "-o", "whole.png", "--bit-depth", "16"]) == 0
        display = Watching({4: kill})
        patch.setattr("hires.cli.commands.stylize.open_display", lambda **_: display)
        with pytest.raises(Killed):
            paint("--checkpoint-every", "0")
        Path("out.run").rename("half.run")
    return folder


@pytest.fixture(autouse=True)
def work(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the studio's files."""
    folder = tmp_path / "work"
    shutil.copytree(studio, folder)
    monkeypatch.chdir(folder)
    return folder


def paint(*extra: str) -> int:
    return cli.main([*WORDS, "-o", "out.png", "--bit-depth", "16", *extra])


def is_whole() -> bool:
    return Path("out.png").read_bytes() == Path("whole.png").read_bytes()


def names(folder: str = "out.run") -> set[str]:
    return {file.name for file in Path(folder).iterdir()}


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Acts], None]:
    """Lets things happen after steps of the runs that follow."""

    def arrange(acts: Acts) -> None:
        monkeypatch.setattr("hires.cli.commands.stylize.open_display", lambda **_: Watching(acts))

    return arrange


@pytest.fixture
def unfinished(work: Path) -> None:
    """out.run holds a run that was killed after its fourth of six steps."""
    Path("half.run").rename("out.run")
    change("out.run/settings.json", folder=[str(work), ".."])


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run what must be refused, and must leave every file as it is; returns why."""
    before = contents()
    capsys.readouterr()
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert contents() == before
    return captured.err


def contents() -> dict[Path, bytes]:
    """Everything in the folder, but for locks."""
    files = [file for file in Path().rglob("*") if file.is_file() and file.name != ".lock"]
    return {file: file.read_bytes() for file in files}


def trace(folder: str) -> list[tuple[int, int, float, dict[str, float]]]:
    lines = [json.loads(line) for line in Path(folder, "trace.jsonl").read_text().splitlines()]
    return [(line["rung"], line["iteration"], line["loss"], line["terms"]) for line in lines]


class TestFinished:
    def test_a_finished_run_stays_small(self) -> None:
        assert names("whole.run") == FINISHED
        assert [line[:2] for line in trace("whole.run")] == [
            (rung, step) for rung in (1, 2) for step in (1, 2, 3)
        ]
        record = read_record(Path("whole.run"))
        assert set(record.inputs) == set(INPUTS)
        assert record.settings["config"]["sizes"] == [48, 64]
        assert record.machine["precision"] == "fp32"

    def test_its_page_needs_nothing_else(self) -> None:
        page = Path("whole.run/index.html").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg;base64,") == 3
        assert page.count("<svg") == 5
        assert page.count("<polyline") == 10
        assert "Finished" in page
        assert not re.search(r"https?://|<script|<link|http-equiv=\"refresh\"", page)

    def test_it_cannot_be_resumed(self, capsys: pytest.CaptureFixture[str]) -> None:
        line = refusal(["resume", "whole.run"], capsys)
        assert line == "hires: whole.run is finished: its painting was saved as whole.png\n"

    def test_it_makes_way_for_the_next_run(self) -> None:
        first, before = read_record(Path("whole.run")).run, trace("whole.run")
        Path("whole.run/note.txt").write_text("mine")
        assert cli.main([*WORDS, "-o", "whole.png", "--init", "noise"]) == 0
        assert read_record(Path("whole.run")).run != first
        assert [line[:2] for line in trace("whole.run")] == [line[:2] for line in before]
        assert all(line[2] != old[2] for line, old in zip(trace("whole.run"), before, strict=True))
        assert names("whole.run") == {*FINISHED, "note.txt"}

    def test_no_directory_is_kept_if_none_is_wanted(self) -> None:
        assert paint("--no-run-dir") == 0
        assert not Path("out.run").exists()
        assert is_whole()

    def test_a_directory_of_ones_own(self) -> None:
        Path("mine").mkdir()
        assert paint("--run-dir", "mine") == 0
        assert names("mine") == FINISHED
        assert not Path("out.run").exists()


class TestSaveEvery:
    """Pictures on the way, `--save-every`, beside a run directory."""

    WORDS = ("--save-every", "1", "--checkpoint-every", "0")

    @staticmethod
    def pictures() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in Path().glob("out*.png")}

    @pytest.mark.parametrize("preset", ["hires", "d2l", "keras"])
    @pytest.mark.parametrize("number", [2, 3, 5])
    def test_all_are_there_after_a_kill(
        self, preset: str, number: int, at_step: Callable[[Acts], None]
    ) -> None:
        words = (*self.WORDS, "--preset", preset)
        assert paint(*words) == 0
        wanted = self.pictures()
        assert set(wanted) == {"out.png", *(f"out-{step:04}.png" for step in range(1, 7))}
        # A line search shows the last point that it accepted.
        shown = {load_image(name).numpy().tobytes() for name in wanted}
        assert len(shown) == (2 if preset == "keras" else 6)
        for name in wanted:
            Path(name).unlink()
        at_step({number: kill})
        with pytest.raises(Killed):
            paint(*words)
        at_step({})
        assert cli.main(["resume", "out.run"]) == 0
        assert self.pictures() == wanted

    def test_one_of_a_finished_rung_is_not_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert paint(*self.WORDS) == 0
        wanted = self.pictures()
        real, calls = Objective.__call__, itertools.count(1)

        def interrupted(self: Objective, canvas: Tensor) -> Any:
            if next(calls) == 4:  # the first of the second rung, whose canvas is there already
                raise KeyboardInterrupt
            return real(self, canvas)

        monkeypatch.setattr(Objective, "__call__", interrupted)
        assert paint(*self.WORDS) == 130
        monkeypatch.setattr(Objective, "__call__", real)
        assert "checkpoint-2-000000.safetensors" in names()
        assert cli.main(["resume", "out.run"]) == 0
        assert self.pictures() == wanted

    @pytest.mark.usefixtures("unfinished")
    def test_asked_for_only_now_it_is_still_the_same_run(self) -> None:
        assert paint("--save-every", "3") == 0
        assert is_whole()
        assert set(self.pictures()) == {"out.png", "out-0006.png"}


class TestResume:
    @pytest.mark.parametrize("number", [1, 3, 5, 6])
    def test_after_a_kill_at_any_step(self, number: int, at_step: Callable[[Acts], None]) -> None:
        at_step({number: kill})
        with pytest.raises(Killed):
            paint("--checkpoint-every", "0")
        assert len([name for name in names() if name.startswith("checkpoint")]) == min(number, 2)
        at_step({})
        assert cli.main(["resume", "out.run"]) == 0
        assert is_whole()
        assert names() == FINISHED
        assert trace("out.run") == trace("whole.run")

    def test_before_the_first_checkpoint(self, at_step: Callable[[Acts], None]) -> None:
        at_step({2: kill})
        with pytest.raises(Killed):
            paint()
        assert not [name for name in names() if name.startswith("checkpoint")]
        at_step({})
        assert cli.main(["resume", "out.run"]) == 0
        assert is_whole()

    @pytest.mark.usefixtures("unfinished")
    def test_the_same_command_goes_on(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = [word for word in WORDS if word != "--quiet"]
        assert cli.main([*words, "-o", "out.png", "--bit-depth", "16"]) == 0
        line = "hires: out.run: going on with its run after rung 2/2 (64x48), step 1/3\n"
        assert capsys.readouterr().err.startswith(line)
        assert is_whole()
        assert names() == FINISHED

    @pytest.mark.usefixtures("unfinished")
    @pytest.mark.parametrize("by", ["resume", "the same command"])
    def test_quietly(self, by: str, capsys: pytest.CaptureFixture[str]) -> None:
        code = cli.main(["resume", "out.run", "--quiet"]) if by == "resume" else paint()
        assert code == 0
        assert capsys.readouterr() == ("", "")
        assert is_whole()

    @pytest.mark.usefixtures("unfinished")
    def test_from_elsewhere_and_after_a_move(
        self, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        work.rename("moved")
        assert cli.main(["resume", "moved/out.run"]) == 0
        assert Path.cwd() == tmp_path
        monkeypatch.chdir("moved")
        assert is_whole()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_after_a_signal(
        self,
        number: int,
        at_step: Callable[[Acts], None],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        at_step({3: lambda: os.kill(os.getpid(), number)})
        assert paint() == 130
        assert "hires resume out.run goes on" in capsys.readouterr().err
        assert Path("out.png").exists()
        assert not is_whole()
        assert "Stopped" in Path("out.run/index.html").read_text(encoding="utf-8")
        at_step({})
        assert cli.main(["resume", "out.run", "--quiet"]) == 0
        assert is_whole()

    def test_after_a_run_that_ran_out_of_memory(
        self, at_step: Callable[[Acts], None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail() -> None:
            raise MemoryError

        at_step({3: fail})
        assert paint() == 2
        assert "saved as out-partial.png; hires resume out.run goes on" in capsys.readouterr().err
        at_step({})
        assert cli.main(["resume", "out.run"]) == 0
        assert is_whole()

    @pytest.mark.filterwarnings("default")
    @pytest.mark.usefixtures("unfinished")
    def test_from_the_older_checkpoint_if_the_newer_is_damaged(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        newest = Path("out.run/checkpoint-2-000001.safetensors")
        newest.write_bytes(newest.read_bytes()[:-9])
        assert cli.main(["resume", "out.run"]) == 0
        told = capsys.readouterr().err
        assert "checkpoint-2-000001.safetensors: cut off: the one before it is used" in told
        assert "after rung 1/2 (48x36), step 3/3" in told
        assert is_whole()
        assert trace("out.run") == trace("whole.run")

    @pytest.mark.usefixtures("unfinished")
    def test_leftovers_of_a_kill_are_swept_away(self) -> None:
        for name in (".0123456789abcdef.safetensors", ".0123456789abcdef.json"):
            Path("out.run", name).write_bytes(b"half")
        assert cli.main(["resume", "out.run"]) == 0
        assert names() == FINISHED

    @pytest.mark.filterwarnings("default")
    @pytest.mark.usefixtures("unfinished")
    def test_on_another_machine_only_if_told_to(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(
            "hires.runs.claim.fingerprint",
            lambda config: {**fingerprint(config), "torch": "9.9"},
        )
        line = refusal(["resume", "out.run"], capsys)
        assert re.search(r"another machine \(torch .*, here 9\.9\).* --anyway", line)
        assert cli.main(["resume", "out.run", "--anyway"]) == 0
        assert "warning: out.run is from another machine" in capsys.readouterr().err
        assert is_whole()  # This machine only claims to be another.

    @pytest.mark.usefixtures("unfinished")
    def test_with_the_threads_of_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        change("out.run/settings.json", threads=3)
        used: list[int] = []
        monkeypatch.setattr(torch, "set_num_threads", used.append)
        assert cli.main(["resume", "out.run"]) == 0
        assert used == [3]


def change(path: str, **values: Any) -> None:
    content = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps({**content, **values}))


def without(pattern: str) -> str:
    for file in Path("out.run").glob(pattern):
        file.unlink()
    return "out.run"


def spoil() -> None:
    for file in Path("out.run").glob("checkpoint*"):
        file.write_bytes(b"\0" * 999)


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no directory": (
        lambda: shutil.rmtree("out.run"),
        "out.run: there is no such run directory",
    ),
    "an empty one": (lambda: without("*"), "out.run is no run directory"),
    "someone else's": (
        lambda: Path(without("*"), "letter.txt").write_text("dear"),
        "out.run is no run directory",
    ),
    "no settings": (
        lambda: without("settings.json"),
        "out.run is half deleted: it has no settings.json",
    ),
    "no checkpoints": (
        lambda: without("checkpoint*"),
        "out.run has no sound checkpoint left: start anew",
    ),
    "unreadable settings": (
        lambda: Path("out.run/settings.json").write_text("{"),
        "out.run is damaged",
    ),
    "settings that are something else": (
        lambda: Path("out.run/settings.json").write_text("[]"),
        "out.run is damaged",
    ),
    "another layout": (
        lambda: change("out.run/settings.json", layout=LAYOUT + 1, hires="7.0"),
        "made by another version of hires (layout 2, this one reads 1): continue with hires 7.0",
    ),
    "another version": (
        lambda: change("out.run/settings.json", hires="0.0.9"),
        "from another version (hires 0.0.9, here",
    ),
    "another input": (
        lambda: save_image(random_image(48, 64, seed=9), "content.png"),
        "content.png has changed since the run began",
    ),
    "a missing input": (
        lambda: Path("style.png").unlink(),
        "style.png is missing; put it back",
    ),
}


class TestRefusals:
    @pytest.mark.usefixtures("unfinished")
    @pytest.mark.parametrize("name", BAD)
    def test_what_cannot_be_resumed(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        spoiled, expected = BAD[name]
        spoiled()
        assert expected in refusal(["resume", "out.run"], capsys)

    @pytest.mark.filterwarnings("ignore:.*the one before it")
    @pytest.mark.usefixtures("unfinished")
    def test_damaged_checkpoints_only(self, capsys: pytest.CaptureFixture[str]) -> None:
        spoil()
        assert "no sound checkpoint left" in refusal(["resume", "out.run"], capsys)

    @pytest.mark.usefixtures("unfinished")
    def test_a_run_in_progress(self, capsys: pytest.CaptureFixture[str]) -> None:
        lock = FileLock("out.run/.lock")
        lock.acquire()
        for argv in (["resume", "out.run"], [*WORDS, "-o", "out.png"]):
            assert "out.run: another hires is painting there" in refusal(argv, capsys)
        lock.release()
        assert cli.main(["resume", "out.run"]) == 0

    @pytest.mark.filterwarnings("default")
    @pytest.mark.usefixtures("unfinished")
    def test_something_else_never_replaces_an_unfinished_run(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = names()
        for _ in range(2):
            assert paint("--seed", "5", "--init", "noise") == 0
            told = capsys.readouterr().err
            assert "out.run holds an unfinished run with other settings" in told
            assert "(hires resume out.run continues it); this run is kept in out-2.run" in told
            assert names() == before
            assert names("out-2.run") == FINISHED
        assert not Path("out-3.run").exists()
        assert cli.main(["resume", "out.run"]) == 0
        assert is_whole()

    @pytest.mark.usefixtures("unfinished")
    def test_nor_if_it_is_asked_for_by_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        argv = [*WORDS, "-o", "new.png", "--run-dir", "out.run", "--content-weight", "0.5"]
        assert "hires resume out.run continues it" in refusal(argv, capsys)

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            (["--run-dir", "no/where"], "there is no folder"),
            (["--run-dir", "content.png"], "no such run directory"),
            (["--run-dir", "a", "--no-run-dir"], "leave --run-dir out"),
            (["--checkpoint-every", "9", "--no-run-dir"], "leave --checkpoint-every out"),
            (["--checkpoint-every", "-1"], "--checkpoint-every is -1: give seconds"),
            (["--checkpoint-every", "nan"], "--checkpoint-every is nan: give seconds"),
        ],
    )
    def test_options(
        self, extra: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert message in refusal([*WORDS, "-o", "out.png", *extra], capsys)

    def test_a_folder_with_other_files(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("letters").mkdir()
        Path("letters/a.txt").write_text("dear")
        argv = [*WORDS, "-o", "out.png", "--run-dir", "letters"]
        assert "letters is no run directory" in refusal(argv, capsys)
        assert names("letters") == {"a.txt"}

    def test_a_run_that_is_refused_leaves_no_directory(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refusal([*WORDS, "-o", "out.png", "--style-layers", "relu9_1"], capsys)
        assert not Path("out.run").exists()


def test_a_mistake_does_not_wait_for_torch() -> None:
    check = (
        "import sys; from hires.cli.main import main; code = main(sys.argv[1:]);"
        "sys.exit(3 if 'torch' in sys.modules else code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for path in ("nowhere", "whole.run"):
        argv = [sys.executable, "-c", check, "resume", path]
        assert subprocess.run(argv, env=environment, check=False).returncode == 2


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets every write to files of some name fail as on a full disk."""
    real = os.fsync

    def fill(pattern: str) -> None:
        def fsync(descriptor: int) -> None:
            if re.search(pattern, os.readlink(f"/proc/self/fd/{descriptor}")):
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    yield fill
    monkeypatch.setattr(os, "fsync", real)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files: Linux only")
@pytest.mark.filterwarnings("default")
class TestFullDisk:
    @pytest.mark.parametrize(
        ("pattern", "told"),
        [
            (r"\.safetensors$", "no checkpoint: cannot save"),
            (r"\.jsonl$", "no trace: cannot save"),
            (r"\.jpg$", "no preview: cannot save"),
            (r"out\.run/.*\.json$", "no run directory out.run: cannot save"),
        ],
    )
    def test_the_run_goes_on(
        self,
        pattern: str,
        told: str,
        full_disk: Callable[[str], None],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        full_disk(pattern)
        assert paint("--checkpoint-every", "0") == 0
        assert is_whole()
        captured = capsys.readouterr().err
        assert captured.count(told) == 1
        assert "No space left on device" in captured

    def test_a_checkpoint_makes_room_for_the_next_but_never_both(
        self,
        at_step: Callable[[Acts], None],
        full_disk: Callable[[str], None],
    ) -> None:
        # As on a disk that holds two checkpoints: the older one goes, the newer one stays.
        at_step({3: lambda: full_disk(r"\.safetensors$"), 5: kill})
        with pytest.raises(Killed):
            paint("--checkpoint-every", "0")
        kept = [name for name in names() if name.startswith("checkpoint")]
        assert kept == ["checkpoint-1-000003.safetensors"]
        full_disk("nothing")
        at_step({})
        assert cli.main(["resume", "out.run"]) == 0
        assert is_whole()

    def test_a_directory_that_is_removed_on_the_way(
        self, at_step: Callable[[Acts], None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        at_step({2: lambda: shutil.rmtree("out.run")})
        assert paint("--checkpoint-every", "0") == 0
        assert is_whole()
        assert "no checkpoint: " in capsys.readouterr().err

    def test_a_painting_that_cannot_be_saved_is_not_lost(
        self, full_disk: Callable[[str], None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        full_disk(r"\.png$")
        assert paint() == 2
        captured = capsys.readouterr().err
        assert "No space left" in captured
        assert captured.endswith("hires resume out.run goes on\n")
        full_disk(r"\.png$|\.safetensors$")
        assert cli.main(["resume", "out.run"]) == 2
        full_disk("nothing")
        assert cli.main(["resume", "out.run"]) == 0
        assert is_whole()
        assert names() == FINISHED


def start(*extra: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "hires", *WORDS, *extra]
    return subprocess.Popen(argv, env=environment)


def test_kill_at_any_instant() -> None:
    options = ("--iterations", "100", "--checkpoint-every", "0.05")
    process = start("-o", "out.png", *options)
    while process.poll() is None and not list(Path().glob("out.run/checkpoint*")):
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.2))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert cli.main(["resume", "out.run", "--quiet"]) == 0
    assert cli.main([*WORDS, "-o", "again.png", *options[:2], "--no-run-dir"]) == 0
    assert Path("out.png").read_bytes() == Path("again.png").read_bytes()


@pytest.mark.slow
def test_five_kills_and_a_full_disk() -> None:
    script = ROOT / "scripts" / "kill_test.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, str(script), "--kills", "5"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("identical") == 6


class TestPace:
    def test_costs_no_more_than_its_share(self) -> None:
        now, spent = [0.0], 0.0
        pace = Pace(0.02, clock=lambda: now[0])
        for _ in range(100_000):
            now[0] += 0.1
            if pace.is_due(cost=3.0):
                now[0] += 3.0
                spent += 3.0
                pace.done()
        assert 0.015 < spent / now[0] < 0.02

    def test_is_not_hectic_where_it_costs_nothing(self) -> None:
        now = [0.0]
        pace = Pace(0.02, clock=lambda: now[0])
        now[0] = recorder._LEAST_SECONDS - 0.1
        assert not pace.is_due()
        now[0] = recorder._LEAST_SECONDS
        assert pace.is_due()
        pace.done()
        assert not pace.is_due()

    def test_can_be_told_how_often(self) -> None:
        now = [0.0]
        pace = Pace(0.02, 2.0, clock=lambda: now[0])
        now[0] = 2.0
        assert pace.is_due(cost=1000)


class TestTrace:
    def step(self, number: int) -> Step:
        return Step(rung=1, iteration=number, size="4x3", seconds=number, loss=1 / number, terms={})

    def test_goes_on_after_half_a_line(self, tmp_path: Path) -> None:
        path = tmp_path / "trace.jsonl"
        first = Trace(path, (1, 0))
        for number in (1, 2, 3):
            first.append(self.step(number))
            first.flush()
        whole = path.read_text()
        path.write_text(whole[:-7])
        second = Trace(path, (1, 3))
        assert second.steps == [self.step(1), self.step(2)]
        second.append(self.step(3))
        second.flush(sync=True)
        assert path.read_text() == whole

    def test_forgets_what_will_be_done_again(self, tmp_path: Path) -> None:
        path = tmp_path / "trace.jsonl"
        first = Trace(path, (1, 0))
        for number in (1, 2, 3):
            first.append(self.step(number))
        first.flush()
        second = Trace(path, (1, 2))
        second.append(self.step(2))
        second.flush()
        assert path.read_text().count("\n") == 2

    def test_makes_up_for_a_failed_write(self, tmp_path: Path) -> None:
        folder = tmp_path / "later"
        late = Trace(folder / "trace.jsonl", (1, 0))
        late.append(self.step(1))
        with pytest.raises(OSError, match="later"):
            late.flush()
        folder.mkdir()
        late.flush()
        assert Trace(late.path, (9, 9)).steps == late.steps
