"""Embedding takes the memory of a window, whatever the number of texts; what is freed is given back."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MEGABYTES = 60
"""What may be added to what a tenth of the texts took: vectors, and what an allocator keeps."""

UNEQUAL = """
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
import sememe
from sememe.settings import from_environment

class Unequal(Sequence):
    "Texts made when asked for: nine of ten are a few words, some hundreds, one of a thousand fills many windows."
    def __init__(self, count):
        self._count = count
    def __len__(self):
        return self._count
    def __getitem__(self, i):
        if i >= self._count:
            raise IndexError(i)
        return "tea and sugar " * (2_000 if i % 1000 == 7 else 100 if i % 10 == 3 else 1 + i % 3)

def peak():
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024

folder, count, window = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
settings = from_environment()
model = sememe.load_model(Path(folder), settings=replace(settings, window=window or settings.window))
model.encode(Unequal(count // 10))
before = peak()
assert model.embed(Unequal(count)).vectors.shape == (count, model.dim)
print(peak() - before - count * model.dim * 4 / 1024**2)
"""

HELD = """
import sys
from pathlib import Path
from sememe.memory import give_back

def held():
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) / 1024
"""

FREED_BELOW_WHAT_STAYS = """
pieces = [bytearray(50_000) for _ in range(1000)]
last = bytearray(50_000)
del pieces
freed = held()
give_back()
print(freed - held())
"""

ADDED_TO_A_COLLECTION = """
sys.path.insert(0, sys.argv[1])
import sememe
from fakes import FakeEmbedder
with sememe.open(sys.argv[2], model=FakeEmbedder(dim=512)) as collection:
    collection.add(({"id": f"{i}", "text": f"line {i}"} for i in range(2000)), chunk=False)
    left = held()
    give_back()
    print(left - held())
"""


def added(folder: Path, count: int, *, window: int = 0) -> float:
    """The megabytes that ten times the texts take more, their vectors aside; a window of 0 is the usual one."""
    command = [sys.executable, "-c", UNEQUAL, str(folder), str(count), str(window)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_many_texts_of_unequal_length_are_embedded_in_bounded_memory(
    make_model_folder: Callable[..., Path], count: int
) -> None:
    assert added(make_model_folder("memory"), count) < MEGABYTES


def given_back(script: str, *arguments: str) -> float:
    """The megabytes that a script prints."""
    command = [sys.executable, "-c", HELD + script, *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to give memory back")
def test_what_was_freed_below_what_stays_is_given_back() -> None:
    assert given_back(FREED_BELOW_WHAT_STAYS) > 40


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to give memory back")
def test_making_the_indexes_of_a_collection_leaves_nothing_to_give_back(tmp_path: Path) -> None:
    assert given_back(ADDED_TO_A_COLLECTION, str(Path(__file__).parent), str(tmp_path / "collection")) < 5


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked what it holds")
def test_a_process_that_holds_its_memory_gives_new_threads_no_arena_of_their_own() -> None:
    count = """
import ctypes, threading
from sememe.memory import hold_memory
hold_memory()
gate = threading.Barrier(9)
for _ in range(8):
    threading.Thread(target=lambda: (gate.wait(), [bytearray(9_999) for _ in range(99)], gate.wait())).start()
gate.wait()
ctypes.CDLL(None).malloc_stats()
gate.wait()
"""
    done = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert 0 < len(re.findall(r"^Arena \d+:", done.stderr, re.M)) <= 2
