"""The truth: what is stored comes back, all or nothing, whoever reads or writes beside it, and goes when told to."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
from fakes import DIM, FakeEmbedder, vector_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sememe.errors import NotFound, SchemaError, StoreBusy, StoreDamaged, StoreError
from sememe.ingest.cutting import input_digest
from sememe.space import CANARY_TEXTS
from sememe.store import SQLiteStore, connection
from sememe.store.reading import Snapshot
from sememe.store.records import NewChunk, NewDocument, SourceStamp, WholeDocument
from sememe.store.schema import APPLICATION_ID, MIGRATIONS, VERSION
from sememe.store.writing import Transaction
from sememe.types import STATUSES, IndexRecord, LedgerRow, Recipe

RECIPE = Recipe(reader="text", chunker="test", max_tokens=64, overlap=8)
SPACE = FakeEmbedder().space
HUGE = "Zeile für Zeile\r\n" * 20_000
NASTY = ("", "\0", "a\0b\0", "\ufeffmark", "one\r\ntwo\rthree\n", "👩‍👩‍👧‍👦 e\u0301 \U0010ffff", HUGE)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.text(st.sampled_from("ab/%_*?[\0é\ud7ff\ue000\U0010ffff"), min_size=1, max_size=5)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def stage(
    transaction: Transaction, document: NewDocument, parts: Sequence[str],
    chunks: Sequence[tuple[int, int, tuple[str, ...]]], *, run: int = 1,
) -> int:  # fmt: skip
    """Write a document that nobody sees yet: its text in parts, and chunks (start, end, headings); its id."""
    text = "".join(parts)
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    slices = [text[start:end] for start, end, _ in chunks]
    made = FakeEmbedder().embed(slices)
    keys = [input_digest(part) for part in slices]
    transaction.add_vectors(SPACE.id, keys, made)
    rows = transaction.cached(SPACE.id, keys)
    number = transaction.stage(document, run)
    transaction.add_texts(number, [(start, part) for start, part in zip(starts, parts, strict=False) if part])
    transaction.add_chunks(
        number,
        [NewChunk(i, start, end, above, rows[keys[i]].id) for i, (start, end, above) in enumerate(chunks)],
    )
    return number


def new_document(key: str, **fields: Any) -> NewDocument:
    """A document of a key, with what a test does not care about filled in."""
    stamp = SourceStamp(origin="file", digest=b"d" * 32, size=1, mtime_ns=2)
    return replace(NewDocument(key=key, stamp=stamp, recipe=RECIPE, precision="f32"), **fields)


def put(transaction: Transaction, key: str, text: str, *, pieces: int = 1) -> int:
    """Swap the document of a key for `text`, cut into `pieces` equal chunks; its id."""
    size = max(1, -(-len(text) // pieces))
    chunks = [(start, min(start + size, len(text)), ()) for start in range(0, len(text), size)]
    number = stage(transaction, new_document(key), [text], chunks)
    transaction.publish(number, characters=len(text))
    return number


def remove(transaction: Transaction, key: str) -> None:
    """Delete the document of a key."""
    number = transaction.live_id(key)
    assert number is not None
    transaction.remove(number)


def new_store(folder: Path) -> SQLiteStore:
    """A store with the fake's space."""
    store = SQLiteStore(folder, create=True)
    with store.transaction() as transaction:
        transaction.set_space(SPACE, FakeEmbedder().embed(CANARY_TEXTS).vectors)
    return store


def everything(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table. A second SQLite in this process would break the locks of ours by closing its files."""
    database = apsw.Connection(str(folder / "truth.db"))
    try:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: sorted(database.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}
    finally:
        database.close()


def texts_of(snapshot: Snapshot) -> dict[str, str]:
    """The text of every live document that came from a file."""
    return {key: snapshot.text(known.id) for key, known in snapshot.known().items()}


def in_processes(function: Callable[..., None], *arguments: tuple[Any, ...]) -> None:
    """Run the function in one new process for each tuple of arguments, all at once; all must end well."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=function, args=given) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(arguments)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """An empty store of the fake's space."""
    made = new_store(tmp_path / "c")
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteStore]:
    """A store that the examples of a property share."""
    made = new_store(tmp_path_factory.mktemp("store") / "c")
    yield made
    made.close()


# What is stored comes back.


@given(parts=st.lists(st.text(), max_size=4), spans=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=5))
@example(parts=list(NASTY), spans=[(0, 1), (0.2, 0.9), (0.5, 0.5), (1, 1)])
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_text_comes_back_and_every_chunk_is_a_slice_of_it(
    shared: SQLiteStore, parts: list[str], spans: list[tuple[float, float]]
) -> None:
    text = "".join(parts)
    places = [sorted((round(a * len(text)), round(b * len(text)))) for a, b in spans]
    with shared.transaction() as transaction:
        document = stage(transaction, new_document("k"), parts, [(a, b, ("Über", "\0")) for a, b in places])
        transaction.publish(document, characters=len(text))
    with shared.snapshot() as snapshot:
        assert snapshot.text(document) == text
        chunks = snapshot.chunks_of(document)
        assert [(chunk.start, chunk.end, chunk.text) for chunk in chunks] == [(a, b, text[a:b]) for a, b in places]
        assert [chunk.position for chunk in chunks] == list(range(len(places)))
        assert {chunk.headings for chunk in chunks} <= {("Über", "\0")}
        assert snapshot.chunks([chunk.id for chunk in chunks]) == {chunk.id: chunk for chunk in chunks}
        assert [snapshot.text(document, a, b) for a, b in places] == [text[a:b] for a, b in places]


@given(title=st.text(), metadata=st.dictionaries(st.text(), JSON, max_size=3), media_type=st.text())
@example(title="", metadata={"lone": "\ud800", "\ud800": [None, True, 1e300, {}]}, media_type="")
def test_what_is_known_of_a_document_comes_back(
    shared: SQLiteStore, title: str, metadata: dict[str, Any], media_type: str
) -> None:
    stamp = SourceStamp(origin="given", digest=bytes(range(32)))
    new = new_document("k", title=title, metadata=metadata, media_type=media_type, stamp=stamp, precision="bf16")
    with shared.transaction() as transaction:
        transaction.publish(stage(transaction, new, ["text"], [(0, 4, ())]), characters=4)
    with shared.snapshot() as snapshot:
        found = snapshot.document("k")
        assert found is not None
        assert snapshot.documents([found.id]) == {found.id: found}
    assert (found.title, found.metadata, found.media_type) == (title, metadata, media_type)
    assert (found.stamp, found.recipe, found.precision) == (stamp, RECIPE, "bf16")
    assert (found.characters, found.chunks) == (4, 1)


def test_a_vector_comes_back_to_the_last_bit_in_the_order_asked_for(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        document = put(transaction, "k", "abcdef", pieces=6)
    with store.snapshot() as snapshot:
        chunks = [chunk.id for chunk in snapshot.chunks_of(document)]
        ids, vectors = snapshot.vectors([*reversed(chunks), 10**12], DIM)
    assert ids.tolist() == chunks[::-1]
    np.testing.assert_array_equal(vectors, np.stack([vector_of(letter) for letter in "fedcba"]))


def test_the_space_is_written_once_and_comes_back_with_its_canaries(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        transaction.set_space(FakeEmbedder(model="later").space, np.zeros((3, DIM), np.float32))
    with store.snapshot() as snapshot:
        stored = snapshot.space()
    assert stored is not None
    assert stored[0] == SPACE
    np.testing.assert_array_equal(stored[1], FakeEmbedder().embed(CANARY_TEXTS).vectors)


ROWS = st.builds(
    LedgerRow, key=KEYS, status=st.sampled_from(STATUSES), reason=st.text(), retryable=st.booleans(),
    chunks=st.integers(0, 10**9), tokens=st.integers(0, 10**12),
    truncated=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), max_size=3).map(tuple),
    remarks=st.lists(st.text(), max_size=3).map(tuple), origin=st.sampled_from(["file", "given"]),
)  # fmt: skip


@given(rows=st.lists(ROWS, max_size=8), statuses=st.sets(st.sampled_from(STATUSES)), under=KEYS | st.just(""))
def test_the_ledger_comes_back_by_key_and_the_last_word_stands(
    shared: SQLiteStore, rows: list[LedgerRow], statuses: set[Any], under: str
) -> None:
    last = {row.key: row for row in rows}
    with shared.transaction() as transaction:
        transaction.record(rows, 1)
    with shared.snapshot() as snapshot:
        assert {row.key: row for row in snapshot.ledger()} == last
        chosen = [row.key for row in snapshot.ledger(statuses=list(statuses), under=under)]
        assert all(snapshot.in_ledger(key) for key in last)
    assert chosen == sorted(
        (key for key, row in last.items() if key.startswith(under) and row.status in statuses), key=str.encode
    )
    with shared.transaction() as transaction:
        assert transaction.strike([*last, "never there"]) == len(last)
    with shared.snapshot() as snapshot:
        assert list(snapshot.ledger()) == []


@given(keys=st.sets(KEYS, max_size=6), under=KEYS | st.just(""))
@settings(max_examples=30)
def test_documents_are_found_by_the_beginning_of_their_key(shared: SQLiteStore, keys: set[str], under: str) -> None:
    with shared.transaction() as transaction:
        for key in keys:
            put(transaction, key, key)
    try:
        with shared.snapshot() as snapshot:
            found = {key for key in snapshot.known(under=under) if key in keys}
        assert found == {key for key in keys if key.startswith(under)}
    finally:
        with shared.transaction() as transaction:
            for key in keys:
                remove(transaction, key)


def test_a_document_from_python_is_not_taken_for_a_file(store: SQLiteStore) -> None:
    given_stamp = SourceStamp(origin="given", digest=b"d")
    with store.transaction() as transaction:
        number = stage(transaction, new_document("k", stamp=given_stamp), ["t"], [(0, 1, ())])
        transaction.publish(number, characters=1)
    with store.snapshot() as snapshot:
        assert snapshot.known() == {}
        known = snapshot.known_document("k")
    assert known is not None
    assert (known.id, known.stamp) == (number, given_stamp)


# One input, one vector.


def test_an_input_is_found_again_only_in_its_own_space(store: SQLiteStore) -> None:
    texts = [f"text {i}" for i in range(1203)]
    keys = [input_digest(text) for text in texts]
    with store.transaction() as transaction:
        transaction.add_vectors(SPACE.id, keys, FakeEmbedder().embed(texts))
    with store.snapshot() as snapshot:
        found = snapshot.cached(SPACE.id, [*keys, *keys, b"never embedded"])
        assert set(found) == set(keys)
        assert {(row.tokens, row.kept) for row in found.values()} == {(4, 4)}
        assert len({row.id for row in found.values()}) == len(keys)
        assert snapshot.cached("another space", keys) == {}


def test_a_vector_that_is_there_is_kept_and_not_written_again(store: SQLiteStore) -> None:
    key = input_digest("text")
    with store.transaction() as transaction:
        transaction.add_vectors(SPACE.id, [key], FakeEmbedder().embed(["text"]))
        before = transaction.cached(SPACE.id, [key])
        transaction.add_vectors(SPACE.id, [key], FakeEmbedder().embed(["quite another vector"]))
        assert transaction.cached(SPACE.id, [key]) == before


def vectors_of(store: SQLiteStore, *texts: str) -> dict[str, int]:
    """Those of the texts that have a vector, with the numbers of their rows."""
    keys = {input_digest(text): text for text in texts}
    with store.snapshot() as snapshot:
        return {keys[key]: row.id for key, row in snapshot.cached(SPACE.id, list(keys)).items()}


def test_a_vector_lives_as_long_as_any_chunk_refers_to_it(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "a", "same")
        put(transaction, "b", "same")
    with store.transaction() as transaction:
        remove(transaction, "a")
    assert set(vectors_of(store, "same")) == {"same"}
    with store.transaction() as transaction:
        remove(transaction, "b")
    assert vectors_of(store, "same") == {}


def test_a_vector_that_one_document_loses_and_another_gains_in_a_transaction_is_kept(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "a", "moved")
    before = vectors_of(store, "moved")
    with store.transaction() as transaction:
        looked_up = transaction.cached(SPACE.id, [input_digest("moved")])[input_digest("moved")]
        remove(transaction, "a")
        number = transaction.stage(new_document("b"), 1)
        transaction.add_texts(number, [(0, "moved")])
        transaction.add_chunks(number, [NewChunk(0, 0, 5, (), looked_up.id)])
        transaction.publish(number, characters=5)
    assert vectors_of(store, "moved") == before
    with store.snapshot() as snapshot:
        assert texts_of(snapshot) == {"b": "moved"}


def test_a_swap_keeps_the_vectors_that_both_versions_have(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "k", "abc", pieces=3)
    before = vectors_of(store, *"abcd")
    with store.transaction() as transaction:
        put(transaction, "k", "bcd", pieces=3)
    after = vectors_of(store, *"abcd")
    assert set(before) == set("abc")
    assert set(after) == set("bcd")
    assert {letter: after[letter] for letter in "bc"} == {letter: before[letter] for letter in "bc"}


BATCH = st.lists(st.tuples(KEYS, st.text(min_size=1)), min_size=1, unique_by=lambda document: document[0])


@settings(deadline=None, max_examples=25)
@given(batches=st.lists(BATCH, max_size=3))
def test_documents_put_together_are_those_staged_and_published_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, str]]]
) -> None:
    together, single = (new_store(tmp_path_factory.mktemp("store") / "c") for _ in range(2))
    with contextlib.closing(together), contextlib.closing(single):
        for batch in batches:
            with together.transaction() as transaction:
                made = FakeEmbedder().embed([text for _, text in batch])
                keys = [input_digest(text) for _, text in batch]
                transaction.add_vectors(SPACE.id, keys, made)
                rows = transaction.cached(SPACE.id, keys)
                transaction.put(
                    [
                        WholeDocument(
                            new_document(key), len(text), [(0, text)], [NewChunk(0, 0, len(text), (), rows[digest].id)]
                        )
                        for (key, text), digest in zip(batch, keys, strict=True)
                    ],
                    run=1,
                )
            with single.transaction() as transaction:
                for key, text in batch:
                    put(transaction, key, text)
        assert all_of(together) == all_of(single)
        assert list(all_of(together)) == [key for key, _ in last_of(batches)]


def last_of(batches: list[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """The last text of every key, in the order in which they were written last."""
    last: dict[str, str] = {}
    for key, text in (pair for batch in batches for pair in batch):
        last.pop(key, None)
        last[key] = text
    return list(last.items())


def all_of(store: SQLiteStore) -> dict[str, tuple[Any, ...]]:
    """Every live document by key, in the order of its chunks, with all that belongs to it but ids and times."""
    with store.snapshot() as snapshot:
        found = {}
        for passage in snapshot.passages(snapshot.live_chunks()):
            document = snapshot.document(passage.metadata["@key"])
            assert document is not None
            known = replace(document, id=0, added=0.0)
            spans = [(chunk.start, chunk.end, chunk.text) for chunk in snapshot.chunks_of(document.id)]
            found[document.key] = (known, snapshot.text(document.id), spans, passage.text)
        net = snapshot.net_changes(0)
        assert net is not None
        assert sorted(net[0]) == sorted(snapshot.live_chunks())
        return found


def test_a_staged_document_is_seen_by_nobody_until_it_is_published(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "k", "old")
        staged = stage(transaction, new_document("k"), ["new"], [(0, 3, ())])
    with store.snapshot() as snapshot:
        seq = snapshot.seq()
        assert texts_of(snapshot) == {"k": "old"}
        assert len(snapshot.live_chunks()) == 1
        assert snapshot.chunks([chunk.id for chunk in snapshot.chunks_of(staged)]) == {}
        assert snapshot.totals().chunks == 1
    with store.transaction() as transaction:
        transaction.publish(staged, characters=3)
    with store.snapshot() as snapshot:
        assert texts_of(snapshot) == {"k": "new"}
        assert snapshot.seq() == seq + 2


def test_what_a_dead_run_staged_is_cleared_and_its_vectors_when_nobody_uses_them(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "k", "old")
        run, other = transaction.start_run("add"), transaction.start_run("add")
        stage(transaction, new_document("k"), ["new"], [(0, 3, ())], run=run)
        kept = stage(transaction, new_document("k"), ["also new"], [(0, 8, ())], run=other)
        transaction.discard(stage(transaction, new_document("k"), ["thrown away"], [(0, 11, ())], run=other))
    with store.transaction() as transaction:
        transaction.abandon_run(run)
        assert transaction.drop_orphans() == 2
        transaction.publish(kept, characters=8)
    with store.snapshot() as snapshot:
        assert snapshot.unfinished_runs() == [other]
        assert texts_of(snapshot) == {"k": "also new"}
    rows = everything(store.folder)
    assert (len(rows["documents"]), len(rows["vectors"])) == (1, 1)


def test_totals_count_what_is_live(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        run = transaction.start_run("add")
        put(transaction, "a", "one two three four", pieces=2)
        put(transaction, "b", "five")
        put(transaction, "b", "six")
        transaction.record([LedgerRow("a", "truncated"), LedgerRow("b", "embedded")], run)
        transaction.finish_run(run, {"documents": 2})
    with store.snapshot() as snapshot:
        totals = snapshot.totals()
    assert (totals.documents, totals.chunks, totals.characters) == (2, 3, 21)
    assert totals.statuses == {"embedded": 1, "truncated": 1, "skipped": 0, "failed": 0}
    assert totals.last_run["documents"] == 2


# All or nothing.


def test_an_error_in_a_transaction_leaves_everything_as_it_was(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "a", "first")
        transaction.record([LedgerRow("a", "embedded")], 1)
    before = everything(store.folder)

    def fail() -> None:
        with store.transaction() as transaction:
            put(transaction, "a", "second")
            put(transaction, "b", "third")
            transaction.strike(["a"])
            transaction.start_run("add")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert everything(store.folder) == before
    with store.transaction() as transaction:
        put(transaction, "a", "second")
    with store.snapshot() as snapshot:
        assert texts_of(snapshot) == {"a": "second"}


def test_a_transaction_that_would_leave_a_chunk_without_a_vector_is_refused(store: SQLiteStore) -> None:
    before = everything(store.folder)

    def write() -> None:
        with store.transaction() as transaction:
            number = transaction.stage(new_document("k"), 1)
            transaction.add_chunks(number, [NewChunk(0, 0, 1, (), vector=10**9)])

    with pytest.raises(apsw.ConstraintError):
        write()
    assert everything(store.folder) == before


def test_a_snapshot_sees_one_moment_and_nested_ones_share_it(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "a", "old")
    other = SQLiteStore(store.folder)
    with store.snapshot() as outer:
        assert texts_of(outer) == {"a": "old"}
        with other.transaction() as transaction:
            put(transaction, "a", "new")
            put(transaction, "b", "new")
        with store.snapshot() as inner:
            assert texts_of(inner) == texts_of(outer) == {"a": "old"}
            assert inner.seq() == outer.seq()
        assert texts_of(outer) == {"a": "old"}
    with store.snapshot() as later:
        assert texts_of(later) == {"a": "new", "b": "new"}
    other.close()


def test_an_error_inside_a_snapshot_ends_it(store: SQLiteStore) -> None:
    def fail() -> None:
        with store.snapshot() as snapshot:
            snapshot.seq()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.transaction() as transaction:
        put(transaction, "a", "new")
    with store.snapshot() as snapshot:
        assert texts_of(snapshot) == {"a": "new"}


def version_text(version: int) -> str:
    """A text that tells its version in every character, of a length and number of chunks of its own."""
    return chr(ord("A") + version % 26) * (20 + version % 7)


def swap_often(folder: str, number: int) -> None:
    """Swap two documents, in one transaction each time."""
    store = SQLiteStore(Path(folder))
    for version in range(1, number + 1):
        with store.transaction() as transaction:
            for key in ("a", "b"):
                put(transaction, key, version_text(version), pieces=1 + version % 5)
    store.close()


def look_once(store: SQLiteStore) -> str:
    """Both documents in one snapshot, in pieces; fails when they are not of one version throughout."""
    with store.snapshot() as snapshot:
        seen = set()
        for key in ("a", "b"):
            document = snapshot.document(key)
            assert document is not None
            chunks = snapshot.chunks_of(document.id)
            with store.snapshot() as inner:
                text = inner.text(document.id)
            assert "".join(chunk.text for chunk in chunks) == text
            assert len(text) == document.characters
            assert snapshot.chunks([chunk.id for chunk in chunks]).keys() == {chunk.id for chunk in chunks}
            seen.add(text)
        assert len(seen) == 1
        assert len(set(seen.copy().pop())) == 1
        assert len(snapshot.live_chunks()) == 2 * document.chunks
        return seen.pop()


def test_a_reader_never_sees_half_of_a_swap_by_another_process(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "a", version_text(0))
        put(transaction, "b", version_text(0))
    writer = multiprocessing.get_context("spawn").Process(target=swap_often, args=(str(store.folder), 150))
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(look_once(store))
    writer.join()
    assert writer.exitcode == 0
    assert look_once(store) == version_text(150)
    assert len(seen) > 3, "the reader has hardly read beside the writer"


def test_threads_that_read_never_see_half_of_a_swap_by_another_thread(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "a", version_text(0))
        put(transaction, "b", version_text(0))
    done, problems = threading.Event(), []

    def read() -> None:
        try:
            while not done.is_set():
                look_once(store)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asserts
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in range(1, 60):
        with store.transaction() as transaction:
            for key in ("a", "b"):
                put(transaction, key, version_text(version), pieces=1 + version % 5)
    done.set()
    for reader in readers:
        reader.join()
    assert problems == []


def test_threads_that_write_take_turns(store: SQLiteStore) -> None:
    def write(name: str) -> None:
        for i in range(20):
            with store.transaction() as transaction:
                put(transaction, f"{name}{i}", f"{name}{i}")

    writers = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with store.snapshot() as snapshot:
        assert texts_of(snapshot) == {f"{name}{i}": f"{name}{i}" for name in "abc" for i in range(20)}


def test_a_thread_that_reads_for_the_first_time_does_not_wait_for_a_writer(store: SQLiteStore) -> None:
    found: list[int] = []

    def read() -> None:
        with store.snapshot() as snapshot:
            found.append(snapshot.seq())

    with store.transaction() as transaction:
        put(transaction, "a", "text")
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(20)
        assert found == [0]


@linux
def test_threads_that_have_ended_leave_no_open_files(store: SQLiteStore) -> None:
    def read() -> None:
        with store.snapshot() as snapshot:
            snapshot.seq()

    def run() -> int:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        return len(list(Path("/proc/self/fd").iterdir()))

    first = run()
    assert {run() for _ in range(20)} == {first}


# Numbers.


def write_and_delete(folder: str, name: str, number: int) -> None:
    """Add, swap and delete documents of this process's own, each in a transaction of its own."""
    store = SQLiteStore(Path(folder))
    for i in range(number):
        with store.transaction() as transaction:
            put(transaction, f"{name}{i % 7}", f"{name} {i}", pieces=1 + i % 3)
            if i % 5 == 4:
                remove(transaction, f"{name}{i % 7}")
    store.close()


def test_a_reader_that_catches_up_misses_no_change_of_two_writing_processes(store: SQLiteStore) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_and_delete, args=(str(store.folder), name, 100)) for name in "ab"]
    for writer in writers:
        writer.start()
    known: dict[int, bytes] = {}
    seq, looks, alive = 0, 0, True
    while alive:
        alive = any(writer.is_alive() for writer in writers)
        with store.snapshot() as snapshot:
            changes = snapshot.changes(seq, DIM)
            live = snapshot.live_chunks()
            _, vectors = snapshot.vectors(live, DIM)
            assert changes is not None
            assert changes.seq == snapshot.seq() >= seq
        assert not set(changes.added.tolist()) & known.keys()
        for chunk in changes.deleted.tolist():
            known.pop(chunk, None)
        known.update(zip(changes.added.tolist(), (vector.tobytes() for vector in changes.vectors), strict=True))
        assert known == dict(zip(live, (vector.tobytes() for vector in vectors), strict=True))
        looks += changes.seq > seq
        seq = changes.seq
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert looks > 3, "the reader has hardly read beside the writers"
    numbers = [row[0] for row in everything(store.folder)["changes"]]
    assert sorted(numbers) == list(range(1, seq + 1))


def test_the_net_effect_of_changes_names_each_chunk_once(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        put(transaction, "kept", "kept")
        put(transaction, "gone", "gone")
    with store.snapshot() as snapshot:
        start = snapshot.seq()
        first = {chunk: snapshot.chunks([chunk])[chunk].text for chunk in snapshot.live_chunks()}
    with store.transaction() as transaction:
        remove(transaction, "gone")
        put(transaction, "new", "new")
        put(transaction, "brief", "brief")
        remove(transaction, "brief")
    with store.snapshot() as snapshot:
        changes = snapshot.changes(start, DIM)
        assert changes is not None
        assert [snapshot.chunks([chunk])[chunk].text for chunk in changes.added.tolist()] == ["new"]
        assert [text for chunk, text in first.items() if chunk in changes.deleted] == ["gone"]
        again = snapshot.changes(changes.seq, DIM)
        assert again is not None
        assert (len(again.added), len(again.deleted), again.seq) == (0, 0, changes.seq)


def test_a_rolled_back_write_leaves_no_gap_in_the_numbers(store: SQLiteStore) -> None:
    def fail() -> None:
        with store.transaction() as transaction:
            put(transaction, "a", "text")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.transaction() as transaction:
        put(transaction, "a", "text")
    with store.snapshot() as snapshot:
        assert snapshot.seq() == 1
        changes = snapshot.changes(0, DIM)
    assert changes is not None
    assert len(changes.added) == 1


def record_of(seq: int) -> IndexRecord:
    """An index that has seen the changes up to `seq`."""
    dead = np.array([True, False, False, True, False, False, False, False, True])
    return IndexRecord(generation="0123456789abcdef", seq=seq, rows=9, dead=dead)


def test_what_the_truth_knows_of_an_index_comes_back(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        transaction.set_index("vectors", record_of(0))
    with store.snapshot() as snapshot:
        found = snapshot.index_record("vectors")
        assert found is not None
        assert (found.generation, found.seq, found.rows) == ("0123456789abcdef", 0, 9)
        assert found.dead.tolist() == record_of(0).dead.tolist()
        assert snapshot.index_stamps() == {"vectors": ("0123456789abcdef", 0)}
        assert snapshot.index_record("words") is None
    with store.transaction() as transaction:
        transaction.drop_index("vectors")
    with store.snapshot() as snapshot:
        assert snapshot.index_stamps() == {}


def test_changes_are_pruned_only_below_the_slowest_index_and_a_gap_is_never_passed_over(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        for i in range(10):
            put(transaction, f"k{i}", f"text {i}")

    def available() -> list[int]:
        with store.snapshot() as snapshot:
            return [after for after in range(11) if snapshot.changes(after, DIM) is not None]

    assert available() == list(range(11))
    with store.transaction() as transaction:
        transaction.set_index("words", record_of(3))
    assert available() == list(range(3, 11))
    with store.transaction() as transaction:
        transaction.set_index("vectors", record_of(8))
    assert available() == list(range(3, 11))
    with store.transaction() as transaction:
        transaction.set_index("words", record_of(10))
    assert available() == list(range(8, 11))
    with store.snapshot() as snapshot:
        assert snapshot.seq() == 10


def test_numbers_are_never_used_twice_even_after_everything_was_deleted(store: SQLiteStore) -> None:
    store.close()
    seen = []
    for _ in range(3):
        with contextlib.closing(SQLiteStore(store.folder)) as again:
            with again.transaction() as transaction:
                document = put(transaction, "k", "text")
            with again.snapshot() as snapshot:
                (chunk,) = snapshot.live_chunks()
                seen.append((document, chunk, snapshot.seq()))
            with again.transaction() as transaction:
                remove(transaction, "k")
                transaction.set_index("vectors", record_of(seen[-1][2] + 1))
        assert [name for name in ("documents", "chunks", "changes") if everything(store.folder)[name]] == []
    for earlier, later in itertools.pairwise(seen):
        assert all(b > a for a, b in zip(earlier, later, strict=True))


# Deleted means gone.


def test_the_bytes_of_what_was_deleted_are_in_no_file(store: SQLiteStore) -> None:
    texts = {f"k{i}": f"<{i}> words that tell {i * 7919} apart " * (1 if i % 2 else 3000) for i in range(20)}

    def new(key: str) -> NewDocument:
        return new_document(key, title=f"title of {key};", metadata={"secret": f"note on {key};"})

    def marks(key: str) -> list[bytes]:
        words = (texts[key][:40], texts[key][-40:], f"title of {key};", f"note on {key};", f"heading of {key};")
        return [vector_of(texts[key][:40]).tobytes(), *(word.encode() for word in words)]

    def found() -> set[str]:
        content = b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())
        return {key for key in texts if any(mark in content for mark in marks(key))}

    with store.transaction() as transaction:
        for key, text in texts.items():
            number = stage(transaction, new(key), [text], [(0, 40, (f"heading of {key};",))])
            transaction.publish(number, characters=len(text))
    store.close()
    assert found() == set(texts)
    with contextlib.closing(SQLiteStore(store.folder)) as again:
        with again.transaction() as transaction:
            remove(transaction, "k4")
            remove(transaction, "k7")
            put(transaction, "k10", "another text")
            put(transaction, "k13", "another text")
        with again.transaction() as transaction:
            transaction.discard(stage(transaction, new("k4"), [texts["k4"]], [(0, 40, ("heading of k4;",))]))
            transaction.drop_orphans()
    assert found() == set(texts) - {"k4", "k7", "k10", "k13"}


# The file.


def downgraded(folder: Path, version: int) -> None:
    """A file as the given version wrote it, with one document."""
    folder.mkdir()
    database = apsw.Connection(str(folder / "truth.db"))
    database.pragma("application_id", APPLICATION_ID)
    for _, statements in MIGRATIONS[:version]:
        database.execute(statements)
    database.pragma("user_version", version)
    embedder = FakeEmbedder()
    vector = vector_of("text").tobytes()
    database.execute(
        "INSERT INTO spaces VALUES (?, ?, ?, 1.5); INSERT INTO meta VALUES ('space', ?);"
        "INSERT INTO documents (id, key, live, run, origin, digest, size, mtime_ns, title, media_type, metadata,"
        " recipe, precision, characters, added) VALUES"
        " (7, 'k', 1, 1, 'file', x'64', 4, 5, 'title', 'text/plain', '{\"a\": 1}', ?, 'f32', 4, 2.5);"
        "INSERT INTO texts VALUES (1, 7, 0, 'text', ?);"
        "INSERT INTO vectors VALUES (5, ?, x'00', 3, 3, ?, ?);"
        "INSERT INTO chunks VALUES (9, 7, 0, 0, 4, '[\"above\"]', 5);"
        "INSERT INTO changes VALUES (11, 9, 1);"
        "INSERT INTO ledger VALUES ('k', 'embedded', '', 0, 1, 3, '[]', '[]', 'file', 1, 2.5);",
        (
            SPACE.id, SPACE.to_json(), embedder.embed(CANARY_TEXTS).vectors.tobytes(), SPACE.id,
            json.dumps({"reader": "text", "chunker": "test", "max_tokens": 64, "overlap": 8}),
            crc(b"text"), SPACE.id, crc(vector), vector,
        ),
    )  # fmt: skip
    database.close()


def crc(content: bytes) -> int:
    """The checksum that stands beside every text and vector."""
    return zlib.crc32(content)


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_a_file_of_every_version_is_brought_to_this_one_with_its_data(tmp_path: Path, version: int) -> None:
    downgraded(tmp_path / "c", version)
    store = SQLiteStore(tmp_path / "c")
    with store.snapshot() as snapshot:
        document = snapshot.document("k")
        assert document is not None
        assert (document.id, document.metadata, document.recipe) == (7, {"a": 1}, RECIPE)
        assert snapshot.text(7) == "text"
        (chunk,) = snapshot.chunks_of(7)
        assert (chunk.id, chunk.text, chunk.headings) == (9, "text", ("above",))
        np.testing.assert_array_equal(snapshot.vectors([9], DIM)[1], [vector_of("text")])
        assert [row.key for row in snapshot.ledger()] == ["k"]
        assert snapshot.space() is not None
        assert snapshot.index_record("vectors") is None
    with store.transaction() as transaction:
        transaction.set_index("vectors", record_of(3))
        put(transaction, "k", "newer")
    with store.snapshot() as snapshot:
        assert texts_of(snapshot) == {"k": "newer"}
    store.close()
    fresh = new_store(tmp_path / "fresh")
    fresh.close()
    assert schema_of(tmp_path / "c") == schema_of(tmp_path / "fresh")


def schema_of(folder: Path) -> tuple[int, list[tuple[Any, ...]]]:
    """The version of the file and the statements that made its tables."""
    database = apsw.Connection(str(folder / "truth.db"))
    try:
        rows = database.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
        return database.pragma("user_version"), rows
    finally:
        database.close()


def test_the_file_says_in_its_header_whose_it_is(store: SQLiteStore) -> None:
    store.close()
    assert store.path.read_bytes()[68:72] == b"seme"


def foreign(path: Path) -> None:
    """A database of another program."""
    database = apsw.Connection(str(path))
    database.execute("CREATE TABLE songs (title)")
    database.close()


def newer(path: Path) -> None:
    """A file of a version that is not out yet."""
    downgraded(path.parent / "made", VERSION)
    database = apsw.Connection(str(path.parent / "made" / "truth.db"))
    database.pragma("user_version", VERSION + 1)
    database.close()
    (path.parent / "made" / "truth.db").rename(path)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (foreign, StoreDamaged, "another program"),
        (newer, SchemaError, f"has schema {VERSION + 1}, this sememe knows {VERSION}"),
        (lambda path: path.write_text("Dear diary, " * 1000), StoreDamaged, "not a database"),
    ],
    ids=["of another program", "of a newer version", "no database"],
)
def test_a_file_that_is_not_ours_is_refused_and_left_untouched(
    tmp_path: Path, make: Callable[[Path], object], error: type[StoreError], message: str
) -> None:
    make(tmp_path / "truth.db")
    before = (tmp_path / "truth.db").read_bytes()
    with pytest.raises(error, match=message):
        SQLiteStore(tmp_path, create=True)
    assert (tmp_path / "truth.db").read_bytes() == before


def test_no_store_is_made_where_none_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no collection"):
        SQLiteStore(tmp_path / "c")
    assert not (tmp_path / "c").exists()


def make_and_write(folder: str, name: str) -> None:
    """Make the store, or find it made, and write a document."""
    store = new_store(Path(folder))
    with store.transaction() as transaction:
        put(transaction, name, name)
    store.close()


def test_processes_that_make_one_store_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    in_processes(make_and_write, *((str(tmp_path / "c"), f"k{i}") for i in range(4)))
    store = SQLiteStore(tmp_path / "c")
    with store.snapshot() as snapshot:
        assert texts_of(snapshot) == {f"k{i}": f"k{i}" for i in range(4)}
    assert store.check() == []
    store.close()


@pytest.mark.parametrize("moment", range(3))
def test_a_schema_that_another_process_makes_meanwhile_is_not_that_of_another_program(
    tmp_path: Path, moment: int
) -> None:
    path = tmp_path / "truth.db"
    looking = apsw.Connection(str(path))
    looked: list[str] = []

    def another(_cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        if len(looked) == moment:
            other = connection.connect(path, writable=True)
            connection.migrate(other, path)
            other.close()
        looked.append(statement)
        return True

    looking.exec_trace = another
    assert connection.check_version(looking, path) in (0, VERSION)
    looking.exec_trace = None
    assert connection.check_version(looking, path) == (VERSION if len(looked) > moment else 0)
    looking.close()


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("UPDATE texts SET text = 'tEst'", lambda snapshot: snapshot.text(1)),
        ("UPDATE texts SET text = CAST(x'ff' AS TEXT)", lambda snapshot: snapshot.text(1)),
        ("UPDATE vectors SET vector = zeroblob(64)", lambda snapshot: snapshot.vectors([1], DIM)),
        ("UPDATE vectors SET vector = x'00'", lambda snapshot: snapshot.changes(0, DIM)),
    ],
)
def test_a_text_or_vector_that_is_not_what_was_written_is_noticed(
    store: SQLiteStore, statement: str, read: Callable[[Snapshot], object]
) -> None:
    with store.transaction() as transaction:
        put(transaction, "k", "test")
    database = apsw.Connection(str(store.path))
    database.execute(statement)
    database.close()
    with store.snapshot() as snapshot, pytest.raises(StoreDamaged, match="not what was written"):
        read(snapshot)


def test_a_lock_that_is_held_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_MILLISECONDS", 100)
    store = new_store(tmp_path / "c")
    other = apsw.Connection(str(store.path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="has been locked by another process"), store.transaction():
        pass
    other.execute("ROLLBACK")
    with store.transaction() as transaction:
        put(transaction, "k", "text")
    other.close()
    store.close()


# Full scans are for whole collections.


def test_nothing_that_is_done_per_document_or_per_search_reads_a_whole_table(tmp_path: Path) -> None:
    scanned: list[str] = []

    def profile(event: dict[str, Any]) -> None:
        if event["stmt_status"]["SQLITE_STMTSTATUS_FULLSCAN_STEP"] > 5:
            scanned.append(event["sql"])

    def watch(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, profile)

    store = new_store(tmp_path / "c")
    with store.transaction() as transaction:
        for i in range(50):
            put(transaction, f"{i % 5}/{i}", f"text {i}", pieces=2)
    store.close()
    apsw.connection_hooks.append(watch)
    try:
        store = SQLiteStore(tmp_path / "c")
        with store.transaction() as transaction:
            put(transaction, "0/0", "newer", pieces=2)
            remove(transaction, "1/1")
            transaction.discard(stage(transaction, new_document("2/2"), ["text"], [(0, 4, ())]))
            transaction.abandon_run(1)
            transaction.record([LedgerRow("0/0", "embedded")], 1)
            transaction.strike(["1/1"])
            transaction.restamp(7, size=1, mtime_ns=1)
        with store.snapshot() as snapshot:
            seq = snapshot.seq()
            snapshot.known_document("0/5")
            snapshot.in_ledger("0/5")
            snapshot.chunks([5, 6])
            snapshot.documents([7, 8])
            snapshot.chunks_of(7)
            snapshot.text(7, 2, 3)
            snapshot.vectors([5, 6], DIM)
            snapshot.changes(seq - 1, DIM)
            snapshot.index_stamps()
            snapshot.known(under="none of these")
            list(snapshot.ledger(under="none of these"))
        assert scanned == []
        with store.snapshot() as snapshot:
            snapshot.totals()
        assert scanned, "the measure itself does not work"
        store.close()
    finally:
        apsw.connection_hooks.remove(watch)


# Closed, forked, read-only.


def test_a_closed_store_says_so(store: SQLiteStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed; open the collection again"), store.snapshot():
        pass
    with pytest.raises(StoreError, match="was closed; open the collection again"), store.transaction():
        pass
    with pytest.raises(StoreError, match="was closed; open the collection again"):
        store.check()


def test_closing_waits_for_a_transaction_and_leaves_open_snapshots_to_their_end(store: SQLiteStore) -> None:
    closing = threading.Thread(target=store.close)
    with store.snapshot() as snapshot:
        with store.transaction() as transaction:
            closing.start()
            closing.join(0.2)
            assert closing.is_alive()
            put(transaction, "k", "text")
        closing.join(20)
        assert not closing.is_alive()
        assert snapshot.seq() in (0, 1)
    assert not store.path.with_name("truth.db-wal").exists()
    with contextlib.closing(SQLiteStore(store.folder)) as again, again.snapshot() as snapshot:
        assert texts_of(snapshot) == {"k": "text"}


def test_a_store_closed_inside_its_own_transaction_says_so_and_writes_nothing(store: SQLiteStore) -> None:
    def write_and_close() -> None:
        with store.transaction() as transaction:
            put(transaction, "k", "text")
            store.close()
            transaction.live_id("k")

    with pytest.raises(StoreError, match="was closed"):
        write_and_close()
    assert everything(store.folder)["documents"] == []


def use_in_a_fork(folder: str) -> None:
    """Fork with an open store, use it in the child, and go on in the parent. Prints what happened in both."""
    store = SQLiteStore(Path(folder))
    with store.snapshot() as snapshot:
        child = os.fork()
        if child == 0:
            for use in (store.snapshot, store.transaction):
                try:
                    with use():
                        print("no error")
                except StoreError as error:
                    print(error)
            store.close()
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        snapshot.seq()
    with store.transaction() as transaction:
        put(transaction, "k", "written by the parent")
    print(store.check())
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_to_open_the_store_itself_and_does_the_parent_no_harm(store: SQLiteStore) -> None:
    code = f"import test_store; test_store.use_in_a_fork({str(store.folder)!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    first, second, checked = done.stdout.splitlines()
    assert "cannot be used in its fork" in first
    assert "open it there" in first
    assert second == first
    assert checked == "[]"
    with store.snapshot() as snapshot:
        assert texts_of(snapshot) == {"k": "written by the parent"}


def read_as_nobody(folder: str) -> None:
    """Print the keys of a store that may not be written, at first and after each of two lines of standard input."""
    os.setuid(65534)
    store = SQLiteStore(Path(folder))
    for _ in range(3):
        with store.snapshot() as snapshot:
            print(store.writable, sorted(texts_of(snapshot)), flush=True)
        sys.stdin.readline()
    try:
        with store.transaction():
            print("no error")
    except StoreError as error:
        print(type(error).__name__, error)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="must give up rights to read without them")
def test_a_reader_that_may_not_write_sees_what_others_have_written_since(tmp_path: Path) -> None:
    # The folder of pytest is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="sememe-test-"))
    try:
        folder.chmod(0o755)
        store = new_store(folder / "c")
        with store.transaction() as transaction:
            put(transaction, "a", "a")
        store.close()
        code = f"import test_store; test_store.read_as_nobody({str(folder / 'c')!r})"
        reader = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert reader.stdin is not None
        assert reader.stdout is not None
        with reader:
            assert reader.stdout.readline() == "False ['a']\n"
            store = SQLiteStore(folder / "c")
            with store.transaction() as transaction:
                put(transaction, "b", "b")
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == "False ['a', 'b']\n"
            with store.transaction() as transaction:
                remove(transaction, "a")
            store.close()
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == "False ['b']\n"
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline().startswith("ReadOnly ")
    finally:
        shutil.rmtree(folder)
