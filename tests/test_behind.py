"""Large files are written anew while a collection is written and searched; closing waits for them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEmbedder

import sememe
from sememe import doctor
from sememe.index import faiss
from sememe.ingest import derived, layers
from sememe.store import SQLiteStore

BUSY = 60
"""Seconds until which whatever waits gives up."""


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sememe.Collection]:
    """One with indexes, of which a quarter is to be replaced until its files are written anew."""
    for module, name, value in (
        (faiss, "MIN_ROWS", 100), (layers, "MIN_COLUMN_ROWS", 100), (derived, "TAIL", 1), (derived, "BEHIND_ROWS", 100),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add({"id": f"k{i}", "text": f"text {i}"} for i in range(1200))
        yield opened


def replaced(collection: sememe.Collection, new: str, keys: range) -> Any:
    return collection.add({"id": f"k{i}", "text": f"{new} {i}"} for i in keys)


def held_up(monkeypatch: pytest.MonkeyPatch, what: Callable[..., Any]) -> tuple[threading.Event, threading.Event]:
    """Let no slab be written anew until it is told to: whether one has begun, and the telling."""
    begun, go_on = threading.Event(), threading.Event()

    def waiting(*given: Any, **named: Any) -> Any:
        begun.set()
        assert go_on.wait(BUSY)
        return what(*given, **named)

    monkeypatch.setattr(derived, "_written_anew", waiting)
    return begun, go_on


def test_adding_deleting_and_searching_go_on_while_files_are_written_anew(
    collection: sememe.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.name for path in collection.path.glob("*-*.*")}
    begun, go_on = held_up(monkeypatch, derived._written_anew)
    replaced(collection, "first", range(700))
    replaced(collection, "second", range(700, 720))
    assert begun.wait(BUSY)
    replaced(collection, "third", range(20))
    collection.delete("k30")
    for query, key in (("third 7", "k7"), ("first 35", "k35"), ("second 710", "k710"), ("text 1100", "k1100")):
        assert collection.search(query, k=1, recall=1)[0].document == key
        assert collection.search(query, k=1, mode="lexical")[0].document == key
    assert "k30" not in {hit.document for hit in collection.search("first 30", k=1200, recall=1)}
    go_on.set()
    path = collection.path
    collection.close()
    assert {one.name for one in path.glob("vectors-*.slab")}.isdisjoint(files)
    assert not [finding for finding in doctor.examine(path) if finding.kind == "trouble"]
    with sememe.open(path, model=FakeEmbedder()) as again:
        found = again.search("third 7", k=1200, recall=1)
        assert found[0].document == "k7"
        assert len({hit.document for hit in found}) == len(found) == 1199


def test_what_fails_in_the_thread_is_told_by_the_next_call(
    collection: sememe.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(derived, "_written_anew", full)
        replaced(collection, "first", range(700))
        assert replaced(collection, "second", range(10)).warning == ""
        for thread in threading.enumerate():
            if thread.name == "sememe-behind":
                thread.join(BUSY)
        assert "cannot grow" in replaced(collection, "third", range(10)).warning
        assert collection.search("third 7", k=1, recall=1)[0].document == "k7"
    assert replaced(collection, "fourth", range(10)).warning == ""


def test_a_process_that_writes_once_writes_its_files_before_it_goes_on(
    collection: sememe.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(collection, "first", range(700))
    path, writers = collection.path, list[str]()
    collection.close()
    write = derived._written_anew
    monkeypatch.setattr(
        derived, "_written_anew", lambda *given: writers.append(threading.current_thread().name) or write(*given)
    )
    with sememe.open(path, model=FakeEmbedder()) as again:
        replaced(again, "second", range(10))
        assert writers == [threading.main_thread().name]


NEVER_CLOSED = """
import sys
sys.path.insert(0, sys.argv[1])
import sememe
from fakes import FakeEmbedder
from sememe.ingest import derived
derived.TAIL, derived.BEHIND_ROWS = 1, 100
collection = sememe.open(sys.argv[2], model=FakeEmbedder())
for new, end in (("text", 1200), ("first", 700), ("second", 10)):
    collection.add({"id": f"k{i}", "text": f"{new} {i}"} for i in range(end))
"""


def test_the_end_of_a_process_waits_for_files_that_are_written_anew(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NEVER_CLOSED, str(Path(__file__).parent), str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUSY)
    assert (done.returncode, done.stderr) == (0, "")
    assert not [finding for finding in doctor.examine(tmp_path / "c") if finding.kind == "trouble"]
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        assert opened.search("second 7", k=1, recall=1)[0].document == "k7"
    with SQLiteStore(tmp_path / "c").snapshot() as snapshot:
        record = snapshot.index_record("vectors")
    assert record is not None
    assert record.rows < 1300
