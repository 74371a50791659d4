"""Several processes, one of which dies, falls silent or is told to stop; and gone on with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from started import HERE, TYPED, free_port, losses, together
from torch.distributed import HashStore  # type: ignore[attr-defined]

from hires.image.decode.read import load_image
from hires.processes import pulse
from hires.processes.pulse import Pulse

NEVER = ("hires", "9", "0", "SIGTERM")


def test_who_is_silent_is_given_up_and_who_has_ended_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulse, "BEAT", 0.02)
    store, alarm = HashStore(), threading.Event()
    # A store in this process; over a network each has a connection of its own.
    first, silent, ends = (Pulse(store, rank, 3, alarm.set) for rank in range(3))
    for one in (first, ends):
        one.start()
    ends.end(is_last=False)
    assert silent.lost == []
    assert alarm.wait(10)
    assert (first.lost, first.ended, first.is_cut_off) == ([1], [2], False)
    first.end(is_last=True)


def test_whoever_lives_answers_a_roll_call_and_may_say_why_it_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulse, "BEAT", 0.02)
    store = HashStore()
    first, second = (Pulse(store, rank, 2, lambda: None) for rank in range(2))
    for one in (first, second):
        one.start()
    second.call_roll("ran out of memory")
    assert first.call_roll() == []
    assert first.reasons == {1: "ran out of memory"}
    second.end(is_last=False)
    first.end(is_last=True)


@pytest.mark.slow
def test_a_silent_process_is_named_though_its_connections_stand(tmp_path: Path) -> None:
    """As after a power cut: it is stopped, and sends nothing, not even that it is gone."""
    typed = (*TYPED, "-o", "out.png", "--checkpoint-every", "0.001")
    started = time.monotonic()
    cases = ("hires", "1", "4", "SIGSTOP", *typed)
    first, _, third = together(3, tmp_path, *cases, stuck=1, BEAT="0.5")
    assert time.monotonic() - started < 250  # Its 8 seconds of silence, and a crowded machine.
    assert [first.returncode, third.returncode] == [2, 2]
    (line,) = [line for line in first.stderr.splitlines() if line.startswith("hires:")]
    assert line.startswith("hires: process 1 (")
    assert "of 3 does not answer; hires resume out.run goes on" in line
    assert "hires:" not in third.stderr


@pytest.mark.slow
def test_the_next_one_tells_that_the_first_died(tmp_path: Path) -> None:
    """With process 0 goes the store, if no agent of torchrun keeps it."""
    typed = (*TYPED, "-o", "out.png")
    first, second, third = together(3, tmp_path, "hires", "0", "4", "SIGKILL", *typed)
    assert [first.returncode, second.returncode, third.returncode] == [-9, 2, 2]
    (line,) = [line for line in second.stderr.splitlines() if line.startswith("hires:")]
    # Whether its connection or the store is missed first is chance.
    assert re.fullmatch(r"hires: process 0 \(.*\) of 3 (died|does not answer)", line)
    assert "hires:" not in third.stderr


@pytest.mark.slow
def test_who_dies_is_named_and_the_run_goes_on(tmp_path: Path) -> None:
    typed = (*TYPED, "-o", "out.png", "--checkpoint-every", "0.001")
    first, second, third = together(3, tmp_path, "hires", "1", "4", "SIGKILL", *typed)
    assert second.returncode == -9
    assert [first.returncode, third.returncode] == [2, 2]
    (line,) = [line for line in first.stderr.splitlines() if line.startswith("hires:")]
    assert line.startswith("hires: process 1 (")
    assert line.endswith("of 3 died; hires resume out.run goes on from its last checkpoint")
    assert "hires:" not in third.stderr  # torch may say of the store that it is gone.
    assert [file.name for file in (tmp_path / "out.run").glob("checkpoint-*")] != []
    assert not (tmp_path / "out.png").exists()
    on = together(2, tmp_path, "hires", "9", "0", "SIGTERM", "resume", "out.run", "--anyway")
    assert on[0].returncode == 0, on[0].stderr
    assert "going on with its run after rung 1/2" in on[0].stderr
    assert len(losses(tmp_path / "out.run")) == 5


@pytest.mark.slow
def test_a_checkpoint_of_four_is_gone_on_with_by_two_four_and_eight(tmp_path: Path) -> None:
    typed = (*TYPED, "--sizes", "128", "160", "-o", "out.png")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder, at, code in ((whole, "0", 0), (cut, "5", 130)):
        folder.mkdir()
        # The second Ctrl-C is as good as the first: what is being saved is saved.
        ended = together(4, folder, "hires", "2", at, "SIGINT", *typed)
        assert ended[0].returncode == code, ended[0].stderr
    for number in (4, 2, 8):
        folder = tmp_path / str(number)
        shutil.copytree(cut, folder)
        ended = together(number, folder, *NEVER, "resume", "out.run", "--anyway")
        assert ended[0].returncode == 0, ended[0].stderr
        if number == 4:
            assert (folder / "out.png").read_bytes() == (whole / "out.png").read_bytes()
        assert losses(folder / "out.run") == pytest.approx(losses(whole / "out.run"), rel=1e-3)
        difference = load_image(folder / "out.png") - load_image(whole / "out.png")
        assert float(difference.abs().mean()) < 0.02


@pytest.mark.slow
def test_a_preview_is_painted_by_the_first_while_the_others_wait(tmp_path: Path) -> None:
    typed = (*TYPED, "--sizes", "96", "128", "192", "--iterations", "2", "1", "1", "-o", "out.png")
    first, second = together(2, tmp_path, *NEVER, *typed, "--preview", PREVIEW_PIXELS="1e4")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert load_image(tmp_path / "out-closeup.png").shape == (1, 3, 128, 128)
    assert second.stdout + second.stderr == ""
    on = together(2, tmp_path, *NEVER, "resume", "out.run")
    assert on[0].returncode == 0, on[0].stderr
    assert load_image(tmp_path / "out.png").shape == (1, 3, 144, 192)


@pytest.mark.slow
def test_two_agents_of_torchrun_paint_what_two_processes_paint(tmp_path: Path) -> None:
    """Both machines of docs/clusters.md, on one."""
    plain, there = tmp_path / "plain", tmp_path / "there"
    for folder in (plain, there):
        folder.mkdir()
    together(2, plain, *NEVER, *TYPED, "-o", "out.png")
    agent = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node"]
    agent += ["1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}"]
    agent += ["-m", "hires", *TYPED, "-o", "out.png"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    started = [
        subprocess.Popen(
            agent, cwd=there, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]
    told = [one.communicate(timeout=900)[0].decode() for one in started]
    assert [one.returncode for one in started] == [0, 0], told
    assert (there / "out.png").read_bytes() == (plain / "out.png").read_bytes()
    assert sum("out.png: 128x96" in each for each in told) == 1


@pytest.mark.slow
def test_four_paint_what_one_cannot_hold(tmp_path: Path) -> None:
    """With so much address space for each process: 28 megapixels take one 2.8 GiB, four 1.5."""
    small, one, four = (tmp_path / name for name in ("small", "one", "four"))
    for folder in (small, one, four):
        folder.mkdir()
    # More arenas are address space that nobody uses.
    one_arena: dict[str, Any] = {"MALLOC_ARENA_MAX": "1"}
    typed = (*TYPED[:5], "--iterations", "1", "--memory", "450MiB", "-o", "out.tif")
    done = together(1, small, "limited", "0", *typed, "--size", "64", **one_arena)
    assert done[0].returncode == 0, done[0].stderr
    limit = str(int((small / "peak-0").read_text(encoding="ascii")) + 2000 * 2**20)
    large = ("--sizes", "1024", "6144")
    (alone,) = together(1, one, "limited", limit, *typed, *large, **one_arena)
    assert alone.returncode == 2
    told = alone.stderr.splitlines()[-1]
    assert told.startswith("hires: out of memory with a canvas of 6144x4608: give a smaller --size")
    for each in together(4, four, "limited", limit, *typed, *large, **one_arena):
        assert each.returncode == 0, each.stderr
    assert load_image(four / "out.tif").shape == (1, 3, 4608, 6144)
