"""The quantised neighbours, from the outside: what they return, what they survive, with NumPy as the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sememe import failpoints
from sememe.errors import StoreDamaged
from sememe.index import faiss
from sememe.index.faiss import Details, NeighbourIndex, Setting
from sememe.index.probe import measure
from sememe.types import METRICS, Ids, Metric, Scores, Vectors
from sememe.vectors import best, normalise

DIM = 32
ROWS = 1_500
EVERYTHING = Setting(probes=10**6, candidates=10**6, recall=1.0, milliseconds=0.0)


def clustered(number: int, *, metric: Metric = "cosine", seed: int = 0, dim: int = DIM) -> Vectors:
    """Rows around 40 centres that are the same for every seed; of unit length under cosine."""
    centres = np.random.default_rng(99).standard_normal((40, dim))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(40, size=number)] + 0.5 * rng.standard_normal((number, dim))
    if metric != "cosine":
        vectors *= rng.uniform(0.5, 1.5, (number, 1))
    vectors = vectors.astype(np.float32)
    return normalise(vectors) if metric == "cosine" else vectors


def all_live(vectors: Vectors) -> npt.NDArray[np.bool_]:
    return np.ones(len(vectors), dtype=bool)


@dataclass(frozen=True)
class Built:
    """An index that was built and opened, over the live ones of some rows."""

    folder: Path
    generation: str
    details: Details
    vectors: Vectors
    live: npt.NDArray[np.bool_]

    @property
    def path(self) -> Path:
        return self.folder / f"neighbours-{self.generation}.faiss"

    def opened(self) -> NeighbourIndex:
        index = NeighbourIndex.open(self.folder, self.generation, self.details, dim=self.vectors.shape[1])
        assert index is not None
        return index


def build(
    folder: Path, vectors: Vectors, live: npt.NDArray[np.bool_] | None = None, *, metric: Metric = "cosine"
) -> Built:
    live = all_live(vectors) if live is None else live
    generation, details = faiss.build(folder, vectors, live, metric=metric, threads=1)
    return Built(folder, generation, details, vectors, live)


def rescored(built: Built, query: Vectors, rows: Ids, k: int = 10) -> list[int]:
    """The k best of some rows, as whoever asked for candidates finds them."""
    found, _ = best(query[None], built.vectors[rows], rows, k=k, metric=built.details.metric)
    return list(found[0].tolist())


def exact(built: Built, query: Vectors, keep: npt.NDArray[np.bool_], k: int = 10) -> list[int]:
    rows = np.arange(len(built.vectors), dtype=np.int64)
    found, _ = best(query[None], built.vectors, rows, k=k, dead=~keep, metric=built.details.metric)
    return list(found[0].tolist())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Rows of which every seventh was dead when the index was built."""
    live = np.arange(ROWS) % 7 != 3
    return build(tmp_path_factory.mktemp("cosine"), clustered(ROWS), live)


@pytest.fixture(scope="module")
def index(built: Built) -> NeighbourIndex:
    return built.opened()


# --- what is found -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_all_cells_and_enough_candidates_give_the_exact_answer(tmp_path: Path, metric: Metric) -> None:
    built = build(tmp_path, clustered(ROWS, metric=metric), metric=metric)
    index = built.opened()
    for query in clustered(20, metric=metric, seed=1):
        rows = index.candidates(query, setting=EVERYTHING, count=ROWS // 2)
        assert len(rows) == ROWS // 2
        assert rescored(built, query, rows) == exact(built, query, built.live)


@pytest.mark.parametrize("metric", METRICS)
def test_the_chosen_setting_finds_the_recall_asked_for_of_new_queries(tmp_path: Path, metric: Metric) -> None:
    built = build(tmp_path, clustered(4_000, metric=metric), metric=metric)
    index = built.opened()
    setting = faiss.choose(built.details, recall=0.95)
    assert setting.probes < index.all_cells
    found = 0
    for query in clustered(100, metric=metric, seed=2):
        rows = index.candidates(query, setting=setting, count=setting.candidates)
        found += len(set(rescored(built, query, rows)) & set(exact(built, query, built.live)))
    assert found / 1_000 >= 0.93


def test_a_larger_part_of_the_cells_finds_more(built: Built, index: NeighbourIndex) -> None:
    queries = clustered(50, seed=3)
    found = [
        sum(
            len(set(rescored(built, query, rows)) & set(exact(built, query, built.live)))
            for query in queries
            if len(rows := index.candidates(query, setting=replace(EVERYTHING, probes=probes), count=100))
        )
        for probes in (1, 2, index.all_cells)
    ]
    assert found[0] < found[1] <= found[2]
    assert found[2] >= 495


def test_dead_rows_are_never_returned_and_live_ones_all_can_be(built: Built, index: NeighbourIndex) -> None:
    for query in clustered(5, seed=4):
        rows = index.candidates(query, setting=EVERYTHING, count=2 * ROWS)
        assert sorted(rows.tolist()) == np.flatnonzero(built.live).tolist()


@pytest.mark.parametrize("count", [1, 2, 5, 31, 100])
def test_no_more_rows_are_returned_than_asked_for_and_each_once(index: NeighbourIndex, count: int) -> None:
    rows = index.candidates(clustered(1, seed=5)[0], setting=EVERYTHING, count=count)
    assert len(set(rows.tolist())) == len(rows) == count
    assert rows.dtype == np.int64


def test_candidates_come_with_the_nearest_first(built: Built, index: NeighbourIndex) -> None:
    query = clustered(1, seed=6)[0]
    rows = index.candidates(query, setting=EVERYTHING, count=ROWS)
    scores = built.vectors[rows] @ query
    assert scores[:50].mean() > scores[50:200].mean() > scores[200:].mean()


def test_under_cosine_the_length_of_a_query_does_not_matter(index: NeighbourIndex) -> None:
    query = clustered(1, seed=7)[0]
    setting = Setting(5, 50, 0, 0)
    expected = index.candidates(query, setting=setting, count=50)
    for length in (1e-20, 0.01, 100.0, 1e20):
        assert set(index.candidates(query * np.float32(length), setting=setting, count=50)) == set(expected)


def test_a_dimension_that_fours_do_not_divide_works(tmp_path: Path) -> None:
    built = build(tmp_path, clustered(600, dim=13))
    query = clustered(1, seed=8, dim=13)[0]
    rows = built.opened().candidates(query, setting=EVERYTHING, count=300)
    assert rescored(built, query, rows) == exact(built, query, built.live)


def test_the_order_of_rows_does_not_matter_when_everything_is_scanned(tmp_path: Path) -> None:
    vectors = clustered(800)
    order = np.random.default_rng(5).permutation(800)
    one, other = build(tmp_path, vectors), build(tmp_path, vectors[order])
    for query in clustered(10, seed=9):
        rows = one.opened().candidates(query, setting=EVERYTHING, count=400)
        moved = other.opened().candidates(query, setting=EVERYTHING, count=400)
        assert rescored(one, query, rows) == order[rescored(other, query, moved)].tolist()


def test_the_same_rows_make_the_same_file_and_the_same_answers(tmp_path: Path) -> None:
    vectors = clustered(800)
    one, other = build(tmp_path, vectors), build(tmp_path, vectors)
    assert one.generation != other.generation
    assert one.path.read_bytes() == other.path.read_bytes()
    query, index = clustered(1, seed=10)[0], one.opened()
    answers = {tuple(index.candidates(query, setting=Setting(9, 60, 0, 0), count=60)) for _ in range(5)}
    assert len(answers) == 1


def test_threads_that_search_at_once_get_their_own_answers(index: NeighbourIndex) -> None:
    queries = clustered(200, seed=11)

    def ask(number: int) -> list[int]:
        setting = Setting(1 + number % 40, 50, 0, 0)
        return list(index.candidates(queries[number], setting=setting, count=50).tolist())

    alone = [ask(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(200))) == alone


# --- filters -----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(allowed=arrays.arrays(np.bool_, ROWS), probes=st.integers(1, 100), count=st.integers(1, 2 * ROWS))
def test_only_allowed_rows_are_returned_and_with_all_cells_all_of_them(
    built: Built, index: NeighbourIndex, allowed: npt.NDArray[np.bool_], probes: int, count: int
) -> None:
    query = clustered(1, seed=12)[0]
    rows = index.candidates(query, setting=Setting(probes, 0, 0, 0), count=count, allowed=allowed)
    assert len(set(rows.tolist())) == len(rows) <= count
    assert allowed[rows].all()
    matching = np.flatnonzero(allowed & built.live).tolist()
    assert sorted(index.candidates(query, setting=EVERYTHING, count=ROWS, allowed=allowed)) == matching


def test_bits_and_bools_allow_the_same_rows(index: NeighbourIndex) -> None:
    allowed = np.random.default_rng(6).random(ROWS) < 0.3
    query, setting = clustered(1, seed=13)[0], Setting(10, 50, 0, 0)
    bits = np.packbits(allowed, bitorder="little")
    by_bools = index.candidates(query, setting=setting, count=50, allowed=allowed)
    assert by_bools.tolist() == index.candidates(query, setting=setting, count=50, allowed=bits).tolist()


@pytest.mark.parametrize("allowed", [np.ones(ROWS - 8, bool), np.ones(ROWS, np.uint8), np.ones(ROWS, np.int64)])
def test_a_filter_of_another_length_or_type_is_refused(index: NeighbourIndex, allowed: npt.NDArray[np.bool_]) -> None:
    with pytest.raises(ValueError, match="1500 rows"):
        index.candidates(clustered(1)[0], setting=EVERYTHING, count=5, allowed=allowed)


def test_matches_far_from_the_query_are_found_with_the_cells_that_hold_them(
    built: Built, index: NeighbourIndex
) -> None:
    query = clustered(1, seed=14)[0]
    scores = built.vectors @ query
    allowed = built.live & (scores < np.quantile(scores, 0.2))
    near = index.candidates(query, setting=Setting(3, 0, 0, 0), count=ROWS, allowed=allowed)
    assert len(near) < 100
    probes = index.probes_for(query, allowed, 100)
    assert len(index.candidates(query, setting=Setting(probes, 0, 0, 0), count=ROWS, allowed=allowed)) >= 100
    fewer = Setting(probes - 1, 0, 0, 0)
    assert len(index.candidates(query, setting=fewer, count=ROWS, allowed=allowed)) < 100


def test_a_correlated_filter_of_a_quarter_keeps_its_recall(built: Built, index: NeighbourIndex) -> None:
    found = 0
    for query in clustered(20, seed=15):
        direction = built.vectors @ clustered(1, seed=16)[0]
        allowed = built.live & (direction > np.quantile(direction, 0.75))
        setting = Setting(index.probes_for(query, allowed, 300), 150, 0, 0)
        rows = index.candidates(query, setting=setting, count=150, allowed=allowed)
        found += len(set(rescored(built, query, rows)) & set(exact(built, query, allowed)))
    assert found >= 196


def test_when_fewer_match_than_wanted_all_cells_are_scanned(built: Built, index: NeighbourIndex) -> None:
    query = clustered(1, seed=17)[0]
    assert index.probes_for(query, built.live, ROWS) == index.all_cells
    assert index.probes_for(query, np.zeros(ROWS, bool), 1) == index.all_cells
    assert index.probes_for(query, ~built.live, 1) == index.all_cells
    assert index.probes_for(query, built.live, 1) <= 3


def test_counting_by_every_nth_row_stays_near_the_full_count(
    built: Built, index: NeighbourIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = clustered(1, seed=18)[0]
    wanted = 400
    allowed = built.live & (np.random.default_rng(7).random(ROWS) < 0.5)
    monkeypatch.setattr(faiss, "COUNTED_ROWS", ROWS // 4)
    probes = built.opened().probes_for(query, allowed, wanted)
    held = len(index.candidates(query, setting=Setting(probes, 0, 0, 0), count=ROWS, allowed=allowed))
    assert 0.7 * wanted <= held <= 1.5 * wanted


# --- growing -----------------------------------------------------------------------------------------------


def test_rows_that_are_added_are_found_and_the_old_file_stays_as_it_was(tmp_path: Path) -> None:
    vectors = clustered(1_000)
    old = build(tmp_path, vectors[:700])
    before = old.path.read_bytes()
    live = np.arange(1_000) != 900
    new = extended(old, vectors, live)
    assert new is not None
    details = new.details
    assert (details.rows, details.trained, details.cells) == (1_000, 700, old.details.cells)
    assert details.table == old.details.table
    assert old.path.read_bytes() == before
    index = new.opened()
    for row in (0, 699, 700, 950, 999):
        assert row in index.candidates(vectors[row], setting=Setting(1, 0, 0, 0), count=20)
    rows = index.candidates(vectors[900], setting=EVERYTHING, count=2_000)
    assert sorted(rows.tolist()) == np.flatnonzero(live).tolist()
    assert index.probes_for(vectors[999], np.arange(1_000) >= 700, 1) <= 3
    assert len(old.opened().candidates(vectors[0], setting=EVERYTHING, count=2_000)) == 700


def test_a_damaged_index_is_not_extended(tmp_path: Path) -> None:
    built = build(tmp_path, clustered(300))
    built.path.write_bytes(built.path.read_bytes()[:-1])
    with pytest.raises(StoreDamaged, match="missing or damaged"):
        faiss.extend(
            tmp_path, built.generation, built.details, vectors=clustered(400), live=np.ones(400, bool),
            metric="cosine", threads=1,
        )  # fmt: skip
    with pytest.raises(StoreDamaged, match="missing or damaged"):
        refilled(built, clustered(290, seed=1))


def refilled(
    old: Built, vectors: Vectors, live: npt.NDArray[np.bool_] | None = None, *, make: Any = faiss.refill
) -> Built | None:
    live = all_live(vectors) if live is None else live
    made = make(
        old.folder, old.generation, old.details, vectors=vectors, live=live, metric=old.details.metric, threads=1
    )
    return None if made is None else Built(old.folder, *made, vectors, live)


def extended(old: Built, vectors: Vectors, live: npt.NDArray[np.bool_] | None = None) -> Built | None:
    return refilled(old, vectors, live, make=faiss.extend)


def unlike(learnt: Vectors, number: int) -> dict[str, Vectors]:
    """Rows that are not spread as those that cells were learnt of."""
    noise = np.random.default_rng(3).standard_normal((number, DIM)).astype(np.float32)
    return {"all in one cell": normalise(learnt[:1] + 0.02 * noise), "of another kind": normalise(noise)}


@pytest.mark.parametrize("what", ["as many again", "all in one cell", "of another kind"])
def test_rows_that_the_cells_were_not_learnt_for_are_not_added_to_them(tmp_path: Path, what: str) -> None:
    learnt = clustered(2_000)
    old = build(tmp_path, learnt)
    files = sorted(tmp_path.iterdir())
    rows = {"as many again": clustered(2_000, seed=5), **unlike(learnt, 1_500)}[what]
    assert extended(old, np.concatenate([learnt, rows])) is None
    assert sorted(tmp_path.iterdir()) == files


def test_few_rows_that_come_are_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clustered(1_300)
    old = build(tmp_path, vectors[:1_000])
    monkeypatch.setattr(faiss, "recall_of", lambda *given, **named: 0.0)
    new = extended(old, vectors[:1_120])
    assert new is not None
    assert extended(new, vectors[:1_130]) is None


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_rows_that_were_written_anew_are_found_in_the_cells_of_before(tmp_path: Path, metric: Metric) -> None:
    old = build(tmp_path, clustered(2_000, metric=metric), metric=metric)
    vectors = clustered(1_800, metric=metric, seed=5)
    live = np.arange(1_800) != 900
    new = refilled(old, vectors, live)
    assert new is not None
    assert (new.details.rows, new.details.trained, new.details.cells) == (1_800, 2_000, old.details.cells)
    assert new.details.table == old.details.table
    everything = new.opened().candidates(vectors[900], setting=EVERYTHING, count=4_000)
    assert sorted(everything.tolist()) == np.flatnonzero(live).tolist()
    setting = faiss.choose(new.details, recall=0.95)
    shares = []
    for query in clustered(50, metric=metric, seed=6):
        rows = new.opened().candidates(query, setting=setting, count=setting.candidates)
        truth, _ = best(query[None], vectors[live], np.flatnonzero(live), k=10, metric=metric)
        shares.append(len(set(rescored(new, query, rows)) & set(truth[0].tolist())) / 10)
    assert np.mean(shares) >= 0.93
    assert len(old.opened().candidates(vectors[0], setting=EVERYTHING, count=4_000)) == 2_000


@pytest.mark.parametrize("what", ["twice as many", "half as many", "all in one cell", "of another kind"])
def test_rows_that_the_cells_were_not_learnt_for_are_not_put_in_them(tmp_path: Path, what: str) -> None:
    learnt = clustered(2_000)
    old = build(tmp_path, learnt)
    files = sorted(tmp_path.iterdir())
    as_before = {"twice as many": clustered(4_000, seed=5), "half as many": clustered(1_000, seed=5)}
    rows = {**as_before, **unlike(learnt, 2_000)}[what]
    assert refilled(old, rows) is None
    assert sorted(tmp_path.iterdir()) == files


def test_rows_that_grow_uneven_bit_by_bit_are_measured_against_those_that_were_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss, "LOST", 1.0)
    vectors, others = clustered(2_000), clustered(8_000, seed=5)
    crowd = np.random.default_rng(6).permutation(others[np.argsort(-(others @ others[0]))[:1_000]])
    made: Built | None = build(tmp_path, vectors)
    moved = 0
    while made is not None and moved < 1_000:
        moved += 100
        made = refilled(made, np.concatenate([crowd[:moved], vectors[moved:]]))
    assert 300 < moved < 1_000


# --- files -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_makes_the_file_unusable(built: Built, place: float, bit: int) -> None:
    content = bytearray(built.path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    generation = "damaged"
    (built.folder / f"neighbours-{generation}.faiss").write_bytes(content)
    assert NeighbourIndex.open(built.folder, generation, built.details, dim=DIM) is None


@pytest.mark.parametrize("length", [0, 1, 3, 4, 100, 4_096, -1])
def test_a_truncated_file_is_unusable(built: Built, length: int) -> None:
    generation = "truncated"
    (built.folder / f"neighbours-{generation}.faiss").write_bytes(built.path.read_bytes()[:length])
    assert NeighbourIndex.open(built.folder, generation, built.details, dim=DIM) is None


def test_a_missing_file_or_one_of_another_collection_is_unusable(built: Built, tmp_path: Path) -> None:
    assert NeighbourIndex.open(built.folder, "missing", built.details, dim=DIM) is None
    assert NeighbourIndex.open(built.folder, built.generation, built.details, dim=DIM + 4) is None
    other = build(tmp_path, clustered(300, seed=1))
    assert NeighbourIndex.open(tmp_path, other.generation, built.details, dim=DIM) is None
    assert NeighbourIndex.open(tmp_path, other.generation, replace(other.details, cells=3), dim=DIM) is None


def test_a_file_with_the_right_checksum_that_faiss_cannot_read_is_unusable(built: Built, tmp_path: Path) -> None:
    # CRC-32 of nothing is 0.
    (tmp_path / "neighbours-empty.faiss").write_bytes(b"")
    assert NeighbourIndex.open(tmp_path, "empty", replace(built.details, checksum=0), dim=DIM) is None


def test_another_process_opens_the_index_and_answers_the_same(built: Built, index: NeighbourIndex) -> None:
    program = (
        "import json, sys, numpy as np; from pathlib import Path; from sememe.index.faiss import *\n"
        "folder, generation, details, query = json.loads(sys.stdin.read())\n"
        "index = NeighbourIndex.open(Path(folder), generation, Details.from_json(details), dim=len(query))\n"
        "found = index.candidates(np.array(query, np.float32), setting=Setting(9, 0, 0, 0), count=50)\n"
        "print(json.dumps(found.tolist()))"
    )
    query = clustered(1, seed=19)[0]
    handed = json.dumps([str(built.folder), built.generation, built.details.to_json(), query.tolist()])
    done = subprocess.run([sys.executable, "-c", program], input=handed, capture_output=True, text=True, check=True)
    expected = index.candidates(query, setting=Setting(9, 0, 0, 0), count=50)
    assert json.loads(done.stdout) == expected.tolist()


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, failing_disk: None) -> None:
    with pytest.raises(OSError, match="full"):
        build(tmp_path, clustered(300))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def failing_disk() -> Iterator[None]:
    """The disk is full when the index file is written."""

    def fail(place: str) -> None:
        if place == "neighbours file written":
            raise OSError(28, "the disk is full")

    failpoints.hook = fail
    yield
    failpoints.hook = None


def test_other_generations_are_removed_and_other_files_are_not(tmp_path: Path) -> None:
    for name in ("neighbours-a.faiss", "neighbours-b.faiss", "neighbours-a.txt", "vectors-a.slab"):
        (tmp_path / name).write_bytes(b"")
    faiss.remove_others(tmp_path, "b")
    assert {path.name for path in tmp_path.iterdir()} == {"neighbours-b.faiss", "neighbours-a.txt", "vectors-a.slab"}
    faiss.remove_others(tmp_path, None)
    assert {path.name for path in tmp_path.iterdir()} == {"neighbours-a.txt", "vectors-a.slab"}


def test_memory_is_a_small_part_of_the_vectors(tmp_path: Path) -> None:
    built = build(tmp_path, clustered(3_000, dim=256))
    index = built.opened()
    index.probes_for(built.vectors[0], built.live, 10)
    centres = index.all_cells * 256 * 4
    assert index.memory == pytest.approx(built.path.stat().st_size + 4 * 3_000, rel=0.02)
    assert index.memory - centres <= built.vectors.nbytes / 10


# --- few and strange rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("number", [1, 2, 17, 300])
def test_few_rows_are_all_found(tmp_path: Path, metric: Metric, number: int) -> None:
    built = build(tmp_path, clustered(number, metric=metric), metric=metric)
    assert faiss.choose(built.details, recall=0.99).recall >= 0.99
    query = clustered(1, metric=metric, seed=20)[0]
    rows = built.opened().candidates(query, setting=EVERYTHING, count=number + 5)
    assert sorted(rows.tolist()) == list(range(number))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [0.0, 0.1767767])
def test_rows_that_are_all_the_same_are_all_found(tmp_path: Path, metric: Metric, value: float) -> None:
    built = build(tmp_path, np.full((400, DIM), value, np.float32), metric=metric)
    assert faiss.choose(built.details, recall=0.99).recall >= 0.99
    index = built.opened()
    query = clustered(1, metric=metric, seed=21)[0]
    assert len(index.candidates(query, setting=EVERYTHING, count=400)) == 400
    probes = index.probes_for(query, built.live, 10)
    assert len(index.candidates(query, setting=Setting(probes, 0, 0, 0), count=10)) == 10


def test_zero_rows_among_others_do_not_hide_them(tmp_path: Path) -> None:
    vectors = clustered(600)
    vectors[::10] = 0.0
    built = build(tmp_path, vectors)
    for query in clustered(10, seed=22):
        rows = built.opened().candidates(query, setting=EVERYTHING, count=300)
        assert rescored(built, query, rows) == exact(built, query, built.live)


def test_with_no_live_row_nothing_is_found(tmp_path: Path) -> None:
    built = build(tmp_path, clustered(50), np.zeros(50, bool))
    index = built.opened()
    assert len(index.candidates(built.vectors[0], setting=EVERYTHING, count=10)) == 0
    assert index.probes_for(built.vectors[0], all_live(built.vectors), 5) == index.all_cells


# --- the table ---------------------------------------------------------------------------------------------


def test_the_table_is_what_an_exact_comparison_says(built: Built, index: NeighbourIndex) -> None:
    rows = np.flatnonzero(built.live)
    few = built.details.table[0]
    found = 0
    for row in rows:
        keep = built.live & (np.arange(ROWS) != row)
        query = built.vectors[row]
        pool = index.candidates(query, setting=few, count=few.candidates + 1)
        found += len(set(rescored(built, query, pool[pool != row])) & set(exact(built, query, keep)))
    # 200 of the 1,285 rows were asked.
    assert found / (10 * len(rows)) == pytest.approx(few.recall, abs=0.05)


def test_no_row_of_the_table_costs_more_and_finds_less_than_another(built: Built) -> None:
    table = built.details.table
    assert len(table) >= 3
    assert all(setting.milliseconds > 0 for setting in table)
    for one in table:
        for other in table:
            cheaper = one.probes <= other.probes and one.candidates <= other.candidates
            assert not (cheaper and one != other and one.recall >= other.recall)


@pytest.mark.parametrize("metric", METRICS)
def test_a_search_that_finds_everything_has_recall_one_and_one_that_finds_nothing_none(metric: Metric) -> None:
    vectors = np.concatenate([clustered(300, metric=metric)] * 2)
    live = np.arange(600) % 5 != 0

    def perfect(query: Vectors, setting: Setting, count: int) -> Ids:
        rows = np.arange(600, dtype=np.int64)
        return best(query[None], vectors, rows, k=count, dead=~live, metric=metric)[0][0]

    def blind(query: Vectors, setting: Setting, count: int) -> Ids:
        return np.empty(0, np.int64)

    def even(query: Vectors) -> Scores:
        return np.arange(20, dtype=np.float32)

    (only,) = measure(perfect, vectors, live, gaps=even, metric=metric, cells=20)
    assert (only.probes, only.candidates, only.recall) == (1, 50, 1.0)
    assert {setting.recall for setting in measure(blind, vectors, live, gaps=even, metric=metric, cells=20)} == {0.0}


def test_the_quickest_setting_that_reaches_the_recall_is_chosen_else_the_best() -> None:
    table = (
        Setting(1, 50, 0.5, 0.1),
        Setting(4, 50, 0.97, 0.4),
        Setting(9, 50, 0.98, 0.3),
        Setting(20, 50, 0.995, 2.0),
    )
    details = Details("IVF20,PQ8x4fs", "cosine", 100, 20, 100, 0, table)
    assert faiss.choose(details, recall=0.2) == table[0]
    assert faiss.choose(details, recall=0.95) == table[2]
    assert faiss.choose(details, recall=0.99) == table[3]
    assert faiss.choose(details, recall=1.0) == table[3]
    assert faiss.choose(replace(details, table=()), recall=0.9).probes == 20


def test_details_come_back_from_json_as_they_were(built: Built) -> None:
    assert Details.from_json(built.details.to_json()) == built.details
    assert built.details.rows == built.details.trained == ROWS
    assert built.details.kind == f"IVF{built.details.cells},PQ8x4fs"


def test_progress_ends_with_all_rows(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    faiss.build(
        tmp_path, clustered(300), np.ones(300, bool), metric="cosine", threads=2,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told[-1] == (300, 300)


def test_the_library_names_the_instructions_it_uses() -> None:
    assert faiss.compiled_for()


def test_cells_that_are_scanned_are_those_within_the_spread_of_the_nearest(built: Built, index: NeighbourIndex) -> None:
    every = index.cells_near(clustered(1, seed=31)[0], replace(EVERYTHING, probes=index.all_cells))
    assert sorted(every.numbers.tolist()) == list(range(index.all_cells))
    assert (np.diff(every.nearness) <= 0).all()
    for query in clustered(30, seed=32):
        every = index.cells_near(query, replace(EVERYTHING, probes=index.all_cells))
        for spread in (0.0, 0.1, 0.4, 2.0):
            found = index.cells_near(query, Setting(12, 50, 0, 0, spread))
            assert found.numbers.tolist() == every.numbers[: len(found.numbers)].tolist()
            inside = int(np.count_nonzero(every.nearness >= every.nearness[0] - np.float32(spread)))
            assert len(found.numbers) == min(max(inside, 3), 48, index.all_cells)


def test_an_index_measured_before_there_was_a_spread_is_searched_as_it_was(built: Built) -> None:
    old = json.loads(built.details.to_json())
    for row in old["table"]:
        del row["spread"]
    details = Details.from_json(json.dumps(old))
    index = NeighbourIndex.open(built.folder, built.generation, details, dim=DIM)
    assert index is not None
    for query in clustered(5, seed=33):
        setting = index.setting_for(0.95)
        assert len(index.cells_near(query, setting).numbers) == setting.probes
