"""Memory of this process: what glibc is told, and the peak."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from hires.utils import memory


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_manages_heap", False)
    for name in ("THP_MEM_ALLOC_ENABLE", "PYTORCH_ALLOC_CONF"):
        monkeypatch.setenv(name, "1")


class Library:
    """A C library that notes what it is told."""

    def __init__(self, answer: int = 1) -> None:
        self.told: dict[int, int] = {}
        self.answer = answer
        self.num_trims = 0

    def mallopt(self, parameter: int, value: int) -> int:
        self.told[parameter] = value
        return self.answer

    def malloc_trim(self, _: int) -> int:
        self.num_trims += 1
        return 1


def test_glibc_is_told_to_keep_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    assert memory.manage_heap()
    # M_MMAP_MAX and M_TRIM_THRESHOLD of mallopt(3).
    assert library.told == {-4: 0, -1: 2**31 - 1}


def test_what_is_kept_can_be_returned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    memory.manage_heap()
    assert memory.keep_freed_memory(False)
    # M_MMAP_THRESHOLD besides.
    assert library.told == {-4: 2**16, -3: 2**20, -1: 2**20}


def test_a_process_that_does_not_ask_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    assert not memory.keep_freed_memory(True)
    assert not library.told


def test_memory_is_returned_only_where_it_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    memory.return_freed_memory()
    assert library.num_trims == 0
    memory.manage_heap()
    memory.return_freed_memory()
    assert library.num_trims == 1


def test_a_library_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library(answer=0))
    assert not memory.manage_heap()


def test_a_library_without_mallopt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not memory.manage_heap()


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({}, {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}),
        ({"PYTORCH_ALLOC_CONF": "a"}, {"PYTORCH_ALLOC_CONF": "a"}),
        ({"PYTORCH_CUDA_ALLOC_CONF": "b"}, {"PYTORCH_CUDA_ALLOC_CONF": "b"}),
    ],
)
def test_segments_of_a_gpus_memory_can_grow_unless_the_user_has_chosen(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], wanted: dict[str, str]
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    monkeypatch.setattr(os, "environ", dict(chosen))
    memory.manage_heap()
    assert {name: os.environ[name] for name in os.environ if "ALLOC_CONF" in name} == wanted


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    assert not memory.manage_heap()
    assert not library.told


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_the_peak_counts_what_was_touched() -> None:
    # In a process of its own: this one may have had its peak already.
    script = (
        "from hires.utils.memory import peak_resident_bytes as peak\n"
        "before = peak(); block = bytearray(b'x') * 2**26; print(peak() - before)"
    )
    command = [sys.executable, "-c", script]
    grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert 0.9 * 2**26 < int(grown) < 1.5 * 2**26


def test_a_system_that_does_not_tell_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert memory.peak_resident_bytes() == 0
