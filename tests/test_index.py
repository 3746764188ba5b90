"""One contract for the exact index, however it came about, with NumPy as the oracle; and the slab it lies over."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import DIM, FakeEmbedder, vector_of
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

import sememe
from sememe.index import exact
from sememe.index.exact import ExactIndex, in_memory, over_slab
from sememe.index.slab import Rows, RowsDamaged, Slab, new_slab, remove_others, row_sums
from sememe.ingest import derived
from sememe.search.view import View
from sememe.store import SQLiteStore
from sememe.types import Changes, Ids, IndexRecord, Scores, Vectors
from sememe.vectors import normalise

NO_IDS = np.empty(0, np.int64)
NO_ROWS = np.empty((0, DIM), np.float32)


@pytest.fixture(scope="module", autouse=True)
def eager() -> Iterator[None]:
    """Files follow every change: nothing is left to wait for more."""
    patch = pytest.MonkeyPatch()
    patch.setattr(derived, "TAIL", 1)
    yield
    patch.undo()


@dataclass(frozen=True)
class Built:
    """An index, and the rows that it should have."""

    index: ExactIndex
    ids: Ids
    vectors: Vectors


def rows(number: int, *, seed: int = 0) -> tuple[Ids, Vectors]:
    """Ids in no order, and unit vectors of which every fifth is the same."""
    rng = np.random.default_rng(seed)
    vectors = normalise(rng.standard_normal((number, DIM)).astype(np.float32))
    vectors[::5] = vectors[:1]
    return rng.permutation(number).astype(np.int64) + 1000 * seed + 1, vectors


def recorded(slab: Slab, ids: Ids, *, dead: Ids = NO_IDS) -> IndexRecord:
    """What the truth would say of a slab with these rows, some of them dead."""
    return IndexRecord(slab.generation, seq=0, rows=len(ids), dead=np.isin(ids, dead))


def written(folder: Path, ids: Ids, vectors: Vectors, *, dead: Ids = NO_IDS) -> ExactIndex:
    """An index over a new slab of the rows."""
    slab = new_slab(folder, DIM)
    slab.append(0, iter([(ids[:7], vectors[:7]), (ids[7:], vectors[7:])]))
    mapped = slab.map(len(ids))
    assert mapped is not None
    return over_slab(mapped, recorded(slab, ids, dead=dead))


def added(ids: Ids, vectors: Vectors) -> Changes:
    """Rows that came."""
    return Changes(seq=0, added=ids, vectors=vectors, deleted=NO_IDS)


def deleted(ids: Ids) -> Changes:
    """Rows that went."""
    return Changes(seq=0, added=NO_IDS, vectors=NO_ROWS, deleted=ids)


def oracle(queries: Vectors, built: Built, k: int) -> tuple[Ids, Scores]:
    """All products in float64, sorted by falling score and then by id."""
    products = (built.vectors.astype(np.float64)[None] * queries.astype(np.float64)[:, None]).sum(axis=2)
    scores = products.astype(np.float32)
    order = np.lexsort((np.broadcast_to(built.ids, scores.shape), -scores), axis=1)[:, :k]
    return built.ids[order], np.take_along_axis(scores, order, axis=1)


def assert_answers(built: Built, queries: Vectors, k: int) -> None:
    """The index gives what the oracle gives, to the last bit."""
    ids, scores = built.index.search(queries, k)
    expected_ids, expected_scores = oracle(queries, built, k)
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)


# The ways an index comes about: from arrays, and from a collection through a view.


def nothing(folder: Path) -> Built:
    return Built(in_memory(NO_IDS, NO_ROWS), NO_IDS, NO_ROWS)


def memory(folder: Path) -> Built:
    ids, vectors = rows(60)
    return Built(in_memory(ids, vectors), ids, vectors)


def slab(folder: Path) -> Built:
    ids, vectors = rows(60)
    return Built(written(folder, ids, vectors), ids, vectors)


def slab_and_tail(folder: Path) -> Built:
    ids, vectors = rows(60)
    index = written(folder, ids[:40], vectors[:40])
    return Built(index.changed(added(ids[40:50], vectors[40:50])).changed(added(ids[50:], vectors[50:])), ids, vectors)


def slab_dead_and_tail(folder: Path) -> Built:
    ids, vectors = rows(90)
    index = written(folder, ids[:60], vectors[:60], dead=ids[:10])
    index = index.changed(added(ids[60:], vectors[60:])).changed(deleted(np.r_[ids[10:20], ids[60:70]]))
    kept = np.r_[20:60, 70:90]
    return Built(index, ids[kept], vectors[kept])


def all_dead_but_the_tail(folder: Path) -> Built:
    ids, vectors = rows(60)
    index = written(folder, ids[:40], vectors[:40]).changed(deleted(ids[:40])).changed(added(ids[40:], vectors[40:]))
    return Built(index, ids[40:], vectors[40:])


def come_and_gone(folder: Path) -> Built:
    ids, vectors = rows(60)
    other_ids, other_vectors = rows(30, seed=1)
    index = written(folder, ids, vectors).changed(added(other_ids, other_vectors)).changed(deleted(other_ids))
    return Built(index, ids, vectors)


ARRAY_WAYS = (nothing, memory, slab, slab_and_tail, slab_dead_and_tail, all_dead_but_the_tail, come_and_gone)


def texts(start: int, stop: int) -> list[dict[str, str]]:
    """Records of which every fifth has the same text, and so the same vector."""
    return [{"id": f"k{i}", "text": f"text {i if i % 5 else 0}"} for i in range(start, stop)]


def collection(folder: Path) -> sememe.Collection:
    """A collection of the fake's space."""
    return sememe.open(folder / "c", model=FakeEmbedder())


@contextlib.contextmanager
def index_locked(folder: Path) -> Iterator[None]:
    """Another process is at the derived files: what is added or deleted meanwhile they do not see."""
    (folder / "c" / "locks").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "c" / "locks" / "index.lock"):
        yield


def caught_up(opened: sememe.Collection, folder: Path) -> None:
    """All rows are in the slab."""
    opened.add(texts(0, 60))


def never_caught_up(opened: sememe.Collection, folder: Path) -> None:
    """No row is in a slab."""
    with index_locked(folder):
        opened.add(texts(0, 60))


def ahead_of_the_slab(opened: sememe.Collection, folder: Path) -> None:
    """Rows came and went since the slab was written."""
    opened.add(texts(0, 60))
    with index_locked(folder):
        opened.add(texts(50, 90))
        opened.delete([f"k{i}" for i in range(20, 60, 3)])


def dead_in_the_slab(opened: sememe.Collection, folder: Path) -> None:
    """Rows went, and the slab knows it."""
    opened.add(texts(0, 60))
    opened.delete([f"k{i}" for i in range(20, 60, 3)])


def rebuilt(opened: sememe.Collection, folder: Path) -> None:
    """The files were written anew."""
    dead_in_the_slab(opened, folder)
    opened.optimize()


def slab_files(folder: Path) -> list[Path]:
    """The derived files of vectors."""
    return sorted((folder / "c").glob("vectors-*"))


def files_deleted(opened: sememe.Collection, folder: Path) -> None:
    """Somebody deleted every derived file."""
    ahead_of_the_slab(opened, folder)
    assert len(slab_files(folder)) == 3
    for path in slab_files(folder):
        path.unlink()


def files_cut_short(opened: sememe.Collection, folder: Path) -> None:
    """The files lost their end."""
    caught_up(opened, folder)
    for path in slab_files(folder):
        os.truncate(path, path.stat().st_size - 1)


def files_with_a_flipped_bit(opened: sememe.Collection, folder: Path) -> None:
    """The disk has changed a bit of a vector."""
    caught_up(opened, folder)
    path = slab_files(folder)[1]
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def files_of_another_slab(opened: sememe.Collection, folder: Path) -> None:
    """The files hold the rows of another generation."""
    caught_up(opened, folder)
    ids, vectors = rows(60)
    other = new_slab(folder, DIM)
    other.append(0, iter([(ids, vectors)]))
    for path, source in zip(slab_files(folder), (other.ids_file, other.vectors_file, other.sums_file), strict=True):
        path.write_bytes(source.read_bytes())


def files_deleted_and_written_to_since(opened: sememe.Collection, folder: Path) -> None:
    """The files were deleted, and the next write made them again."""
    files_deleted(opened, folder)
    opened.add(texts(90, 95))
    assert len(slab_files(folder)) == 3


def emptied(opened: sememe.Collection, folder: Path) -> None:
    """Everything was deleted."""
    opened.add(texts(0, 10))
    opened.delete([f"k{i}" for i in range(10)])


COLLECTION_WAYS = (
    caught_up, never_caught_up, ahead_of_the_slab, dead_in_the_slab, rebuilt, files_deleted, files_cut_short,
    files_with_a_flipped_bit, files_of_another_slab, files_deleted_and_written_to_since, emptied,
)  # fmt: skip


def seen_by(view: View, opened: sememe.Collection, store: SQLiteStore) -> Built:
    """The index of a view, and what the truth has. Damage shows when a row is first read, and is told to the view."""
    ids, vectors = opened.vectors()
    with store.snapshot() as snapshot:
        try:
            view.at(snapshot).exact.rows.scanned()
        except RowsDamaged:
            view.distrust()
        return Built(view.at(snapshot).exact, ids, vectors)


def viewed(way: Callable[[sememe.Collection, Path], None]) -> Callable[[Path], Built]:
    """What a new process sees of a collection."""

    def build(folder: Path) -> Built:
        with collection(folder) as opened, contextlib.closing(SQLiteStore(folder / "c")) as store:
            way(opened, folder)
            return seen_by(View(folder / "c", DIM, "cosine"), opened, store)

    return build


def watched(way: Callable[[sememe.Collection, Path], None]) -> Callable[[Path], Built]:
    """What a process sees that has looked before, and when there was nothing."""

    def build(folder: Path) -> Built:
        with collection(folder) as opened:
            opened.add(texts(200, 210))
            with contextlib.closing(SQLiteStore(folder / "c")) as store:
                view = View(folder / "c", DIM, "cosine")
                assert len(seen_by(view, opened, store).index) == 10
                way(opened, folder)
                return seen_by(view, opened, store)

    return build


WAYS: dict[str, Callable[[Path], Built]] = {
    **{way.__name__: way for way in ARRAY_WAYS},
    **{f"view of {way.__name__}": viewed(way) for way in COLLECTION_WAYS},
    **{f"second look at {way.__name__}": watched(way) for way in COLLECTION_WAYS},
}


@pytest.fixture(scope="module", params=WAYS.values(), ids=[name.replace("_", " ") for name in WAYS])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An index that came about in one of the ways. It is a value, so tests can share it."""
    made: Built = request.param(tmp_path_factory.mktemp("index"))
    return made


def test_every_search_gives_exactly_what_numpy_gives(built: Built) -> None:
    queries = np.concatenate([rows(4, seed=9)[1], built.vectors[:3], [vector_of("text 0")]])
    for k in (1, 2, 7, max(1, len(built.ids)), len(built.ids) + 3):
        assert_answers(built, queries, k)


def test_of_rows_that_are_picked_the_same_is_said_where_they_lie(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    index = built.index
    picked = np.arange(0, len(index.rows), 3, dtype=np.int64)[::-1]
    answers = []
    for large in (10**9, 0):
        monkeypatch.setattr(exact, "LARGE", large)
        answers += [index.search(rows(3, seed=9)[1][2:], 7, start=len(index.rows), also=picked)]
    (ids, scores), (same_ids, same_scores) = answers
    np.testing.assert_array_equal(ids, same_ids)
    np.testing.assert_array_equal(scores, same_scores)


def test_a_damaged_row_is_noticed_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "LARGE", 0)
    ids, vectors = rows(60)
    index = written(tmp_path, ids, vectors)
    path = next(tmp_path.glob("*.slab"))
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)
    queries = rows(1, seed=9)[1]
    assert index.search(queries, 5, start=60, also=np.arange(59))[0].shape == (1, 5)
    with pytest.raises(RowsDamaged, match="row 59"):
        index.search(queries, 5, start=60, also=np.arange(50, 60))


def test_it_knows_how_many_rows_it_has(built: Built) -> None:
    assert len(built.index) == len(built.ids)


def test_several_queries_at_once_are_answered_like_one_after_the_other(built: Built) -> None:
    queries = rows(5, seed=9)[1]
    ids, scores = built.index.search(queries, 4)
    for i in range(5):
        alone = built.index.search(queries[i : i + 1], 4)
        np.testing.assert_array_equal(alone[0][0], ids[i])
        np.testing.assert_array_equal(alone[1][0], scores[i])


def test_a_larger_k_extends_a_smaller_one(built: Built) -> None:
    queries = rows(2, seed=9)[1]
    ids, scores = built.index.search(queries, len(built.ids) + 1)
    for k in range(1, len(built.ids) + 1):
        fewer = built.index.search(queries, k)
        np.testing.assert_array_equal(fewer[0], ids[:, :k])
        np.testing.assert_array_equal(fewer[1], scores[:, :k])


def test_what_comes_and_goes_leaves_it_as_it_was(built: Built) -> None:
    ids, vectors = rows(12, seed=7)
    after = built.index.changed(added(ids, vectors)).changed(deleted(ids))
    assert_answers(Built(after, built.ids, built.vectors), rows(3, seed=9)[1], len(built.ids) + 1)


def test_a_change_makes_a_new_index_and_leaves_the_old_one_to_those_who_search_it(built: Built) -> None:
    queries, k = rows(2, seed=9)[1], len(built.ids) + 5
    before = built.index.search(queries, k)
    built.index.changed(added(*rows(4, seed=7))).changed(deleted(built.ids))
    after = built.index.search(queries, k)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


def test_deleting_everything_leaves_nothing(built: Built) -> None:
    index = built.index.changed(deleted(built.ids))
    assert len(index) == 0
    assert index.search(rows(2)[1], 5)[0].shape == (2, 0)


STEPS = st.lists(st.tuples(st.sampled_from(["add", "delete", "seal"]), st.integers(0, 2**32 - 1)), max_size=12)


@given(steps=STEPS, seed=st.integers(0, 2**32 - 1))
def test_any_history_ends_where_its_survivors_alone_would(steps: list[tuple[str, int]], seed: int) -> None:
    pool = rows(80)[1]
    index, alive, fresh = in_memory(NO_IDS, NO_ROWS), dict[int, Vectors](), iter(range(80))
    for action, number in steps:
        rng = np.random.default_rng(number)
        if action == "add":
            ids = np.array([i for i, _ in zip(fresh, range(number % 9), strict=False)], np.int64)
            index = index.changed(added(ids, pool[ids]))
            alive |= {int(i): pool[i] for i in ids}
        elif action == "delete":
            ids = np.array([i for i in alive if rng.random() < 0.3], np.int64)
            index = index.changed(deleted(ids))
            for i in ids.tolist():
                del alive[i]
        else:
            # What a catch-up does: the tail becomes rows of the slab.
            dead = np.r_[index.dead, np.zeros(len(index.tail_ids), bool)]
            sealed = np.r_[index.rows.vectors, index.tail_vectors]
            index = ExactIndex(Rows(index.ids, sealed, row_sums(sealed)), dead, NO_IDS, NO_ROWS)
    survivors = np.array(list(alive), np.int64)
    np.random.default_rng(seed).shuffle(survivors)
    expected = Built(index, survivors, pool[survivors])
    assert_answers(expected, rows(2, seed=9)[1], 5)
    assert_answers(expected, rows(2, seed=9)[1], len(alive) + 1)


# The slab.


def test_a_slab_gives_back_the_rows_that_the_truth_counts_and_no_more(tmp_path: Path) -> None:
    ids, vectors = rows(30)
    slab = new_slab(tmp_path, DIM)
    assert slab.append(0, iter([(ids[:10], vectors[:10]), (ids[10:20], vectors[10:20])])).tolist() == ids[:20].tolist()
    slab.append(20, iter([(ids[20:], vectors[20:])]))
    for count in (0, 1, 20, 30):
        mapped = slab.map(count)
        assert mapped is not None
        np.testing.assert_array_equal(mapped.ids, ids[:count])
        np.testing.assert_array_equal(mapped.scanned(), vectors[:count])
    assert slab.map(31) is None


def test_what_a_killed_writer_left_is_written_over_and_a_mapped_row_never_changes(tmp_path: Path) -> None:
    ids, vectors = rows(30)
    slab = new_slab(tmp_path, DIM)
    slab.append(0, iter([(ids[:10], vectors[:10])]))
    before = slab.map(10)
    slab.append(10, iter([(ids[10:], vectors[10:])]))
    slab.append(10, iter([(ids[10:15] + 500, -vectors[10:15])]))
    after = slab.map(15)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before.ids, ids[:10])
    np.testing.assert_array_equal(before.scanned(), vectors[:10])
    np.testing.assert_array_equal(after.ids, np.r_[ids[:10], ids[10:15] + 500])
    np.testing.assert_array_equal(after.scanned(), np.r_[vectors[:10], -vectors[10:15]])


@pytest.mark.parametrize(
    "spoil",
    ["generation", "dimension", *(f"{how} {what}" for how in ("missing", "short") for what in ("slab", "ids", "sums"))],
)
def test_files_that_do_not_hold_what_the_truth_says_are_not_mapped(tmp_path: Path, spoil: str) -> None:
    ids, vectors = rows(30)
    slab = new_slab(tmp_path, DIM)
    slab.append(0, iter([(ids, vectors)]))
    assert slab.map(30) is not None
    path = slab.vectors_file.with_suffix(f".{spoil.split()[-1]}")
    if spoil == "generation":
        other = new_slab(tmp_path, DIM)
        slab.vectors_file.rename(other.vectors_file)
        slab.ids_file.rename(other.ids_file)
        slab.sums_file.rename(other.sums_file)
        slab = other
    elif spoil == "dimension":
        slab = Slab(tmp_path, slab.generation, DIM // 2)
    elif spoil.startswith("missing"):
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 1)
    assert slab.map(30) is None


def test_other_generations_are_removed_and_nothing_else(tmp_path: Path) -> None:
    ids, vectors = rows(5)
    slabs = [new_slab(tmp_path, DIM) for _ in range(3)]
    for made in slabs:
        made.append(0, iter([(ids, vectors)]))
    mapped = slabs[0].map(5)
    (tmp_path / "vectors-of-mine.txt").write_text("mine")
    (tmp_path / "truth.db").write_text("truth")
    remove_others(tmp_path, slabs[1].generation)
    kept = slabs[1]
    left = {kept.ids_file, kept.vectors_file, kept.sums_file, tmp_path / "vectors-of-mine.txt", tmp_path / "truth.db"}
    assert set(tmp_path.iterdir()) == left
    assert mapped is not None
    np.testing.assert_array_equal(mapped.scanned(), vectors)


# Views of a collection that changes.


@pytest.mark.parametrize("while_writing", [contextlib.nullcontext, index_locked])
def test_a_view_goes_back_to_an_older_snapshot_and_forward_again(
    tmp_path: Path, while_writing: Callable[[Path], contextlib.AbstractContextManager[None]]
) -> None:
    with (
        collection(tmp_path) as opened,
        contextlib.closing(SQLiteStore(tmp_path / "c")) as store,
        contextlib.closing(SQLiteStore(tmp_path / "c")) as other,
    ):
        opened.add(texts(0, 10))
        view = View(tmp_path / "c", DIM, "cosine")
        with store.snapshot() as old:
            before = seen_by(view, opened, store)
            assert view.at(old).exact is before.index
            with while_writing(tmp_path):
                opened.add(texts(10, 40))
                opened.delete("k0")
            after = seen_by(view, opened, other)
            assert_answers(after, rows(3, seed=9)[1], 50)
            assert_answers(Built(view.at(old).exact, before.ids, before.vectors), rows(3, seed=9)[1], 50)
            with other.snapshot() as new:
                assert view.at(new).exact is after.index, "the older snapshot has cost the newer one its index"
        assert_answers(seen_by(view, opened, store), rows(3, seed=9)[1], 50)


def test_a_view_whose_changes_were_pruned_starts_from_the_truth(tmp_path: Path) -> None:
    with collection(tmp_path) as opened, contextlib.closing(SQLiteStore(tmp_path / "c")) as store:
        with index_locked(tmp_path):
            opened.add(texts(0, 10))
            view = View(tmp_path / "c", DIM, "cosine")
            assert len(seen_by(view, opened, store).index) == 10
            opened.add(texts(10, 20))
            opened.delete("k3")
        with store.snapshot() as snapshot:
            seq = snapshot.seq()
        with store.transaction() as transaction:
            transaction.set_index("another", IndexRecord("0" * 16, seq=seq, rows=0, dead=np.empty(0, bool)))
        assert_answers(seen_by(view, opened, store), rows(3, seed=9)[1], 30)
        assert derived.catch_up(store)
        assert_answers(seen_by(view, opened, store), rows(3, seed=9)[1], 30)


def test_whoever_finds_the_index_locked_goes_on_without_it(tmp_path: Path) -> None:
    with collection(tmp_path) as opened, contextlib.closing(SQLiteStore(tmp_path / "c")) as store:
        opened.add(texts(0, 10))
        with index_locked(tmp_path):
            assert not derived.catch_up(store)
            opened.add([{"id": "new", "text": "a new text"}])
            assert [hit.document for hit in opened.search("a new text", k=1)] == ["new"]
        assert derived.catch_up(store)


def test_a_slab_with_many_dead_rows_is_written_anew_without_them(tmp_path: Path) -> None:
    with collection(tmp_path) as opened:
        opened.add([f"text number {i}" for i in range(1200)])
        before = slab_files(tmp_path)
        keys = [row.key for row in opened.ledger()]
        opened.delete(keys[:400])
        opened.delete(keys[400])
        after = slab_files(tmp_path)
        assert {path.name for path in before}.isdisjoint(path.name for path in after)
        assert [path.stat().st_size for path in after] == [799 * 8, 4096 + 799 * DIM * 4, 799 * 4]
        assert len(opened.search("text number 7", k=2000)) == 799


@pytest.mark.parametrize("damage", [files_deleted, files_cut_short, files_with_a_flipped_bit, files_of_another_slab])
def test_files_that_cannot_be_used_are_made_again_by_the_next_process_that_writes(
    tmp_path: Path, damage: Callable[[sememe.Collection, Path], None]
) -> None:
    with collection(tmp_path) as opened:
        damage(opened, tmp_path)
        damaged = set(slab_files(tmp_path))
    with collection(tmp_path) as opened, contextlib.closing(SQLiteStore(tmp_path / "c")) as store:
        opened.add(["another text"])
        assert len(slab_files(tmp_path)) == 3
        assert damaged.isdisjoint(slab_files(tmp_path))
        with store.snapshot() as snapshot:
            assert derived.usable_record(snapshot, tmp_path / "c", snapshot.spaces()[0]) is not None
        assert_answers(seen_by(View(tmp_path / "c", DIM, "cosine"), opened, store), rows(3, seed=9)[1], 5)


def test_an_index_that_is_up_to_date_is_not_written_again(tmp_path: Path) -> None:
    with collection(tmp_path) as opened:
        opened.add(texts(0, 10))
        before = [(path, path.stat().st_mtime_ns) for path in slab_files(tmp_path)]
        opened.add(texts(0, 10))
        opened.search("text 3")
        assert [(path, path.stat().st_mtime_ns) for path in slab_files(tmp_path)] == before


def answer_lines(folder: str) -> None:
    """Answer each line on standard input, a query, with the texts of all hits and the best document, as JSON."""
    with sememe.open(folder, model=FakeEmbedder()) as opened:
        for line in sys.stdin:
            hits = opened.search(line.strip(), k=1000)
            print(json.dumps([sorted(hit.document for hit in hits), hits[0].document if hits else None]), flush=True)


@contextlib.contextmanager
def asked_elsewhere(folder: Path) -> Iterator[Callable[[str], Any]]:
    """A function that has a query answered by one other process, which stays open."""
    code = f"import test_index; test_index.answer_lines({str(folder)!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        questions, answers = process.stdin, process.stdout

        def ask(query: str) -> Any:
            questions.write(f"{query}\n")
            questions.flush()
            return json.loads(answers.readline())

        yield ask
        questions.close()


def test_another_process_sees_what_came_and_loses_what_went_at_its_next_search(tmp_path: Path) -> None:
    with collection(tmp_path) as opened, asked_elsewhere(tmp_path / "c") as ask:
        opened.add([{"id": "a", "text": "alpha"}])
        assert ask("alpha") == [["a"], "a"]
        opened.add([{"id": "b", "text": "beta"}])
        assert ask("beta") == [["a", "b"], "b"]
        opened.delete("a")
        assert ask("alpha") == [["b"], "b"]
        opened.add([{"id": "b", "text": "alpha"}, {"id": "c", "text": "beta"}])
        assert ask("alpha") == [["b", "c"], "b"]
        assert ask("beta") == [["b", "c"], "c"]
        opened.optimize()
        assert ask("beta") == [["b", "c"], "c"]
        with index_locked(tmp_path):
            opened.add([{"id": "d", "text": "delta"}])
            opened.delete("c")
            assert ask("delta") == [["b", "d"], "d"]
        for path in slab_files(tmp_path):
            path.unlink()
        opened.delete("b")
        assert ask("delta") == [["d"], "d"]
        opened.delete("d")
        assert ask("delta") == [[], None]


def test_threads_that_search_while_another_writes_see_whole_moments(tmp_path: Path) -> None:
    problems: list[BaseException] = []
    done = threading.Event()
    with collection(tmp_path) as opened:
        opened.add([{"id": "fixed", "text": "the fixed text"}])

        def search() -> None:
            try:
                while not done.is_set():
                    hits = opened.search("the fixed text", k=100)
                    assert [hit.document for hit in hits[:1]] == ["fixed"]
                    for hit in hits[1:]:
                        # A text is its own nearest neighbour: the score, the text and the document belong together.
                        assert hit.text.startswith(f"{hit.document} in version")
                        expected = float(vector_of(hit.text) @ vector_of("the fixed text"))
                        assert hit.score == pytest.approx(expected, abs=1e-6)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that asserts
                problems.append(error)

        searchers = [threading.Thread(target=search) for _ in range(2)]
        for searcher in searchers:
            searcher.start()
        for version in range(12):
            opened.add([{"id": f"k{i}", "text": f"k{i} in version {version}"} for i in range(20)])
            opened.delete([f"k{i}" for i in range(version)])
            if version % 4 == 3:
                opened.optimize()
        done.set()
        for searcher in searchers:
            searcher.join()
    assert problems == []
