"""Searching from the front door: by meaning, by words and by both, filtered, planned, explained by its notes.

The same collections are searched with every index there is and with none; NumPy over `Collection.vectors` is the
oracle.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import DIM, FakeEmbedder, vector_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sememe
from sememe import doctor
from sememe.errors import InputError, NotFound, SpaceMismatch
from sememe.filters import matches, parse
from sememe.index import exact, faiss
from sememe.ingest import derived, layers
from sememe.search import plan as planning
from sememe.search import run as running
from sememe.search.query import OWN, Query, Route
from sememe.search.shape import Shape
from sememe.settings import Settings, cores
from sememe.spaces import add_space
from sememe.vectors import normalise

COLOURS = ("red", "green", "blue")


def record(number: int) -> dict[str, Any]:
    """A document of one chunk; every tenth has no metadata."""
    about = {
        "year": 2000 + number % 25,
        "colour": COLOURS[number % 3],
        "tags": [f"t{number % 4}", f"u{number % 7}"],
        "author": {"name": f"name {number % 11}"},
        "draft": number % 2 == 0,
        "day": f"2024-{number % 12 + 1:02}-10",
    }
    return {
        "id": f"k{number}", "title": f"title {number}", "text": f"the {COLOURS[number % 3]} text number n{number}",
        "metadata": {} if number % 10 == 9 else about,
    }  # fmt: skip


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"colour": "red"},
    {"year": {"$gte": 2010, "$lt": 2014}},
    {"colour": {"$in": ["red", "blue"]}, "draft": True},
    {"$or": [{"tags": "t1"}, {"author.name": "name 3"}]},
    {"year": {"$exists": False}},
    {"tags": {"$contains": "u5"}},
    {"author.name": {"$contains": "me 1"}},
    {"day": {"$gt": datetime.date(2024, 6, 1)}},
    {"$nor": [{"colour": "red"}, {"draft": {"$ne": True}}]},
    {"@key": {"$prefix": "k1"}},
    {"colour": "violet"},
)


@pytest.fixture(scope="module", params=["scanned", "indexed", "behind"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sememe.Collection]:
    """A collection without any index, with all, and with all of them behind by a few hundred rows."""
    with pytest.MonkeyPatch.context() as patch:
        least = 10**9 if request.param == "scanned" else 100
        patch.setattr(faiss, "MIN_ROWS", least)
        patch.setattr(layers, "MIN_COLUMN_ROWS", least)
        patch.setattr(planning, "SUBSET_ROWS", 50)
        patch.setattr(exact, "LARGE", least)
        with sememe.open(tmp_path_factory.mktemp("search") / "c", model=FakeEmbedder()) as collection:
            collection.add(map(record, range(1500)))
            collection.delete([f"k{number}" for number in range(3, 1500, 50)])
            if request.param == "behind":
                patch.setattr(derived, "TAIL", 10**9)
            collection.add(map(record, range(1500, 1700)))
            if request.param == "indexed":
                collection.optimize()
            yield collection


def stored(opened: sememe.Collection) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """What is there: metadata and vector by key."""
    numbers = [number for number in range(1700) if not (number < 1500 and number % 50 == 3)]
    return {
        f"k{number}": ({**record(number)["metadata"], "@key": f"k{number}"}, vector_of(record(number)["text"]))
        for number in numbers
    }


def oracle(opened: sememe.Collection, vector: np.ndarray, where: dict[str, Any], k: int) -> list[str]:
    """Search everything, then filter."""
    condition = parse(where)
    found = [(float(v @ vector), key) for key, (about, v) in stored(opened).items() if matches(condition, about)]
    return [key for _, key in sorted(found, key=lambda pair: -pair[0])][:k]


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_filter_then_search_is_search_then_filter(opened: sememe.Collection, where: dict[str, Any]) -> None:
    for text in ("the red text number n6", "the blue text number n1601", "something else"):
        hits = opened.search(text, k=12, where=where, recall=1)
        assert [hit.document for hit in hits] == oracle(opened, vector_of(text), where, 12)


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_a_filter_never_costs_results(opened: sememe.Collection, where: dict[str, Any]) -> None:
    expected = oracle(opened, vector_of("a question"), where, 20)
    hits = opened.search("a question", k=20, where=where)
    assert len(hits) == len(expected)
    assert len({hit.document for hit in hits} & set(expected)) >= 0.9 * len(expected)
    assert hits.matched == len(oracle(opened, vector_of("a question"), where, 10**6))


def test_matches_that_the_codes_cannot_tell_apart_are_looked_for_among_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = {"FILTERED_POOL": 40, "ALL_CELLS_POOL": 40, "FAR_POOL": 600, "POOL_PER_HIT": 1}
    for name, value in {"SUBSET_ROWS": 50, "WANTED_MATCHES": 200, "FAR": 100, **pools}.items():
        monkeypatch.setattr(planning, name, value)
    monkeypatch.setattr(running, "FAR_POOL", 600)
    monkeypatch.setattr(faiss, "MIN_ROWS", 100)
    asked = [vector_of(f"question {number}") for number in range(5)]
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.add({"id": f"n{n}", "text": f"n{n}", "metadata": {"even": n % 2 == 0}} for n in range(3000))
        collection.optimize()
        for vector in asked:
            hits = collection.search(vector, k=10, where={"even": True})
            exact_hits = collection.search(vector, k=10, where={"even": True}, recall=1)
            assert "600 candidates that match" in str(hits.plan)
            assert len({hit.id for hit in hits} & {hit.id for hit in exact_hits}) >= 9
        fused: list[object] = []
        fuse = running._fuse
        monkeypatch.setattr(running, "_fuse", lambda *given: (fused.append(given), fuse(*given)))
        assert "600 candidates" in str(collection.search("n7", mode="hybrid", where={"even": True}).plan)
        assert len(fused) == 1


class Near(FakeEmbedder):
    """A model to which the texts that begin with "near" are nearly the same."""

    def embed(self, texts: Any, *, role: Any = "document", progress: Any = None) -> Any:
        """Vectors about one point for those."""
        made = super().embed(texts, role=role)
        there = [text.startswith("near") for text in texts]
        made.vectors[there] = normalise(np.eye(1, self.space.dim, dtype=np.float32) + 0.05 * made.vectors[there])
        return made


def test_of_several_spaces_only_the_one_whose_best_were_found_late_is_looked_into_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"SUBSET_ROWS": 50, "WANTED_MATCHES": 200, "FAR": 100, "FILTERED_POOL": 40, "ALL_CELLS_POOL": 40}
    for name, value in {**sizes, "FAR_POOL": 600, "POOL_PER_HIT": 1, "HELD_PER_HIT": 1}.items():
        monkeypatch.setattr(planning, name, value)
    monkeypatch.setattr(running, "FAR_POOL", 600)
    monkeypatch.setattr(faiss, "MIN_ROWS", 100)
    other = Near(model="other", digest="1" * 64)
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.further.load = lambda name, kind: other
        texts = [f"near {n}" if n < 40 else f"n{n}" for n in range(800)]
        collection.add({"id": text, "text": text, "metadata": {"even": n % 2 == 0}} for n, text in enumerate(texts))
        add_space(collection, "other", other)
        collection.optimize()
        for names in ((OWN, "other"), ("other", OWN)):
            where = parse({"even": True})
            hits = collection.search(Query("near", k=10, where=where, route=Route(space=names)))
            looked = {step["space"]: step["candidates"] for step in hits.plan.as_dicts() if "candidates" in step}
            assert looked == {OWN: 600, "other": 100}


def test_fewer_matches_than_were_asked_for_are_said_aloud(opened: sememe.Collection) -> None:
    hits = opened.search("a question", k=50, where={"@key": {"$in": ["k1", "k2", "nowhere"]}})
    assert sorted(hit.document for hit in hits) == ["k1", "k2"]
    assert hits.notes[0].startswith("only 2 of 1,670 chunks match the filter")


def test_a_field_that_no_document_has_is_named(opened: sememe.Collection) -> None:
    hits = opened.search("a question", where={"yaer": 2004})
    assert not hits
    notes = " ".join(hits.notes)
    assert "yaer" in notes
    assert "year" in notes


@pytest.mark.parametrize("least", [1, 10**9])
def test_a_field_with_a_full_stop_in_its_name_is_kept_and_that_it_cannot_be_asked_for_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(layers, "MIN_COLUMN_ROWS", least)
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.add([{"id": "a", "text": "a", "metadata": {"v1.0": 3, "b": {"c": 4}}}])
        collection.optimize()
        assert collection.search("a")[0].metadata["v1.0"] == 3
        hits = collection.search("a", where={"v1.0": 3})
        assert not hits
        assert "'v1.0'" in hits.notes[1]
        assert "in its own name cannot be asked for" in hits.notes[1]
        assert len(collection.search("a", where={"b.c": 4})) == 1


def test_a_text_is_its_own_best_answer_in_every_mode(opened: sememe.Collection) -> None:
    for mode in ("vector", "lexical", "hybrid"):
        for number in (0, 777, 1650):
            assert opened.search(record(number)["text"], k=3, mode=mode)[0].document == f"k{number}"


def test_words_find_what_was_deleted_no_more_and_what_is_new_at_once(opened: sememe.Collection) -> None:
    assert opened.search("n53", mode="lexical") == []
    opened.add({"id": "fresh", "text": "an unheardof word"})
    assert [hit.document for hit in opened.search("unheardof", mode="lexical")] == ["fresh"]
    assert opened.search("unheardof", mode="lexical")[0].kind == "bm25"
    opened.delete("fresh")
    assert opened.search("unheardof", mode="lexical") == []


def test_words_are_filtered_too(opened: sememe.Collection) -> None:
    hits = opened.search("text number", k=40, mode="lexical", where={"colour": "red", "year": {"$gte": 2020}})
    assert len(hits) == 40
    assert all(hit.metadata["colour"] == "red" and hit.metadata["year"] >= 2020 for hit in hits)


def test_hybrid_is_the_sum_of_reciprocal_ranks(opened: sememe.Collection) -> None:
    for hit in opened.search("the red text number n6", k=10, mode="hybrid", route=Route(fusion="rrf")):
        assert hit.kind == "rrf"
        assert hit.score == pytest.approx(sum(1 / (60 + stage.rank) for stage in hit.stages))
        assert {stage.name for stage in hit.stages} <= {"cosine", "bm25"}


def test_alpha_1_ranks_by_meaning_and_alpha_0_by_words(opened: sememe.Collection) -> None:
    for alpha, mode in ((1.0, "vector"), (0.0, "lexical")):
        fused = opened.search("the red text number n6", k=5, mode="hybrid", alpha=alpha)
        alone = opened.search("the red text number n6", k=5, mode=mode)
        assert [hit.id for hit in fused] == [hit.id for hit in alone]
        assert {hit.kind for hit in fused} == {"weighted"}


@pytest.mark.parametrize("mode", ["vector", "lexical", "hybrid"])
def test_a_larger_k_extends_a_smaller_one(opened: sememe.Collection, mode: Any) -> None:
    longest = [hit.id for hit in opened.search("the red text number n6", k=20, mode=mode)]
    for k in (1, 2, 5, 10, 19):
        assert [hit.id for hit in opened.search("the red text number n6", k=k, mode=mode)] == longest[:k]


def test_what_is_similar_to_a_chunk_or_a_document_is_not_itself(opened: sememe.Collection) -> None:
    vectors = {key: vector for key, (_, vector) in stored(opened).items()}
    expected = sorted((k for k in vectors if k != "k8"), key=lambda key: -float(vectors[key] @ vectors["k8"]))[:5]
    hits = opened.similar("k8", k=5, recall=1)
    assert [hit.document for hit in hits] == expected
    chunk = opened.get("k8").chunks[0]
    assert [hit.id for hit in opened.similar(f"chunk:{chunk.id}", k=5, recall=1)] == [hit.id for hit in hits]
    assert all(hit.metadata["colour"] == "red" for hit in opened.similar("k8", k=5, where={"colour": "red"}))
    with pytest.raises(NotFound, match="nowhere"):
        opened.similar("nowhere")


def test_the_plan_says_what_ran(opened: sememe.Collection) -> None:
    hits = opened.search("a question", k=7, where={"colour": "red"}, mode="hybrid")
    steps = [step["step"] for step in hits.plan.as_dicts()]
    assert steps[:2] == ["embed", "filter"]
    assert steps[2] in ("scan", "neighbours")
    assert steps[3:] == ["words", "fuse", "fetch"]
    printed = str(hits.plan)
    assert "'a question'" in printed
    assert f"{hits.matched:,} of 1,670 chunks match" in printed
    assert "fetch    the best 7" in printed


def test_few_matches_are_compared_one_by_one_whatever_the_index(opened: sememe.Collection) -> None:
    hits = opened.search("a question", where={"@key": {"$in": [f"k{i}" for i in range(40)]}})
    assert "scan     all 39 vectors exactly" in str(hits.plan)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 2.5}, "whole number"),
        ({"mode": "fuzzy"}, "vector, lexical, hybrid"),
        ({"alpha": 0.5}, "mode 'hybrid'"),
        ({"mode": "hybrid", "alpha": 1.5}, "alpha is 1.5"),
        ({"mode": "hybrid", "alpha": math.nan}, "alpha is nan"),
        ({"recall": 2}, "recall is 2"),
        ({"recall": "high"}, "recall is 'high'"),
        ({"where": {"year": {"$gt": [1]}}}, "year"),
        ({"where": {"year": {"$near": 3}}}, "$near"),
        ({"where": {"$and": {}}}, "$and"),
        ({"where": ["year"]}, "filter"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_sentence(
    opened: sememe.Collection, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        opened.search("a question", **arguments)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_vector_has_no_words(opened: sememe.Collection) -> None:
    with pytest.raises(InputError, match="has no words"):
        opened.search(vector_of("x"), mode="lexical")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_vector_that_is_not_finite_is_refused(opened: sememe.Collection, value: float) -> None:
    vector = vector_of("x").copy()
    vector[3] = value
    with pytest.raises(InputError, match="finite"):
        opened.search(vector)


def test_a_vector_that_float32_cannot_hold_is_refused_without_a_warning(opened: sememe.Collection) -> None:
    with pytest.raises(InputError, match="finite"):
        opened.search(np.full(DIM, 1e300))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="real numbers"):
        opened.search(np.full(DIM, 1 + 1j))  # type: ignore[arg-type]


SYNTAX = st.text(alphabet='abc"*+-&|!(){}[]^~:\\/ andornot<>=?.,\u00e9\u4e2d\U0001f600', max_size=40)


@given(text=SYNTAX)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_can_be_searched_for_by_words(opened: sememe.Collection, text: str) -> None:
    if text.strip():
        for hit in opened.search(text, mode="lexical", k=3):
            assert hit.kind == "bm25"


# --- collections of unusual content ------------------------------------------------------------------------


class Given(FakeEmbedder):
    """A model that is not normalised, whose vectors are written in the texts."""

    def __init__(self, metric: str = "cosine") -> None:
        super().__init__(dim=4)
        space = self.space
        self.space = type(space)(**{
            name: getattr(space, name) for name in space.__dataclass_fields__
        } | {"metric": metric, "normalised": False})  # fmt: skip

    def embed(self, texts: Any, *, role: Any = "document", progress: Any = None) -> Any:
        """The numbers of each text."""
        made = super().embed(texts, role=role)
        for i, text in enumerate(texts):
            numbers = [float(part) for part in text.split() if part.lstrip("-").replace(".", "").isdigit()]
            if len(numbers) == 4:
                made.vectors[i] = numbers
        return made


def numbers(seed: int, count: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(f"{value:.3f}" for value in rng.normal(size=4) * rng.uniform(0.1, 9)) for _ in range(count)]


ORACLES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "cosine": lambda q, v: float(q @ v / np.linalg.norm(q) / np.linalg.norm(v)),
    "dot": lambda q, v: float(q @ v),
    "euclidean": lambda q, v: -float(np.linalg.norm(q - v)),
}


@pytest.mark.parametrize("metric", list(ORACLES))
@pytest.mark.parametrize("least", [10**9, 300])
def test_every_metric_ranks_and_scores_as_it_is_defined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: Any, least: int
) -> None:
    monkeypatch.setattr(faiss, "MIN_ROWS", least)
    texts = numbers(0, 600)
    with sememe.open(tmp_path / "c", model=Given(), metric=metric) as opened:
        opened.add(texts)
        for query in numbers(1, 5):
            wanted = np.array([float(x) for x in query.split()])
            scores = {t: ORACLES[metric](wanted, np.array([float(x) for x in t.split()])) for t in texts}
            hits = opened.search(query, k=8)
            expected = sorted(scores, key=lambda t: -scores[t])[:8]
            assert [hit.text for hit in hits] == expected
            assert [hit.score for hit in hits] == pytest.approx([scores[t] for t in expected], abs=1e-4)
            assert {hit.kind for hit in hits} == {metric}


def test_the_metric_of_a_collection_stays_what_it_was_made_with(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=Given(), metric="dot") as opened:
        opened.add("1 2 3 4")
    with sememe.open(tmp_path / "c", model=Given()) as opened:
        assert opened.space is not None
        assert opened.space.metric == "dot"
    with pytest.raises(SpaceMismatch, match="by dot, and cosine was asked for"):
        sememe.open(tmp_path / "c", model=Given(), metric="cosine")
    with pytest.raises(InputError, match="cosine, dot, euclidean"):
        sememe.open(tmp_path / "d", metric="manhattan")  # type: ignore[arg-type]


def test_an_empty_collection_answers_with_nothing_in_every_mode(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        for mode in ("vector", "lexical", "hybrid"):
            assert opened.search("anything", mode=mode, where={"a": 1}) == []
        opened.add("one")
        opened.delete(next(opened.ledger()).key)
        for mode in ("vector", "lexical", "hybrid"):
            assert opened.search("anything", mode=mode, where={"a": 1}) == []


@pytest.mark.parametrize("least", [10**9, 1])
def test_a_collection_of_one_row_gives_it_however_many_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(faiss, "MIN_ROWS", least)
    monkeypatch.setattr(layers, "MIN_COLUMN_ROWS", least)
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(record(1))
        opened.optimize()
        for mode in ("vector", "lexical", "hybrid"):
            assert [hit.document for hit in opened.search("text n1", k=100, mode=mode)] == ["k1"]
            assert [hit.document for hit in opened.search("n1", k=5, mode=mode, where={"year": 2001})] == ["k1"]
            assert opened.search("n1", k=5, mode=mode, where={"year": 2002}) == []
        assert opened.similar("k1") == []


def test_a_search_writes_no_file(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(map(record, range(300)))
    for path in (tmp_path / "c").glob("vectors-*"):
        path.unlink()
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        before = sorted(path.name for path in (tmp_path / "c").rglob("*") if not path.name.startswith("truth.db-"))
        for mode in ("vector", "lexical", "hybrid"):
            assert len(opened.search("text n1", mode=mode, where={"colour": "green"})) == 10
        after = sorted(path.name for path in (tmp_path / "c").rglob("*") if not path.name.startswith("truth.db-"))
    assert after == before


def test_a_collection_of_equal_texts_answers_by_ascending_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "MIN_ROWS", 100)
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add({"id": f"k{i}", "text": "the same"} for i in range(400))
        hits = opened.search("the same", k=400)
        assert len(hits) == 400
        ids = [int(hit.id.removeprefix("chunk:")) for hit in opened.search("the same", k=10, recall=1)]
        assert ids == sorted(ids)


def test_what_replaces_a_quarter_of_the_documents_is_put_in_the_cells_that_were_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss, "MIN_ROWS", 100)
    monkeypatch.setattr(faiss, "UNEVEN", 9.0)
    monkeypatch.setattr(faiss, "LOST", 1.0)
    built: list[int] = []
    learning = faiss.build
    monkeypatch.setattr(faiss, "build", lambda *args, **named: built.append(1) or learning(*args, **named))
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(map(record, range(1_500)))
        first = opened.vectors()[1]
        opened.add({"id": f"k{i}", "text": f"something else {i}"} for i in range(700))
        assert opened.search("something else 650", k=1, recall=1)[0].document == "k650"
        query = first[3]
        found = [hit.document for hit in opened.search(query, k=1_500, recall=1)]
        assert len(found) == len(set(found)) == 1_500
        assert len(built) == 1
        opened.optimize()
        assert len(built) == 2


@pytest.mark.parametrize("k", [40, 90, 300, 1_500, 10**9])
def test_as_many_hits_come_as_are_asked_for_and_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(faiss, "MIN_ROWS", 100)
    monkeypatch.setattr(planning, "SUBSET_ROWS", 0)
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(map(record, range(1_500)))
        matches = sum(record(number)["metadata"].get("draft", False) for number in range(1_500))
        hits = opened.search("text n1", k=k)
        assert len(hits) == len({hit.document for hit in hits}) == min(k, 1_500)
        assert len(opened.search("text n1", k=k, where={"draft": True})) == min(k, matches)
        assert len(opened.similar(hits[0].id, k=k)) == min(k, 1_499)
        exact = {hit.document for hit in opened.search("text n1", k=k, recall=1)}
        assert len(exact & {hit.document for hit in hits}) >= 0.9 * len(exact)
        page = opened.search(Query("text n1", k=300, shape=Shape(page=4)))
        assert len(page) == 300


def test_the_dimension_of_a_query_is_that_of_the_collection(opened: sememe.Collection) -> None:
    with pytest.raises(InputError, match=rf"\(3,\), the collection has \({DIM},\)"):
        opened.search(np.ones(3, np.float32))


# --- derived files that are gone or are not what was written -----------------------------------------------


def damaged(path: Path, damage: str) -> None:
    """One file, spoilt."""
    content = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        rng = np.random.default_rng(0)
        spoilt = bytearray(content)
        for place in rng.integers(len(content), size=1 + len(content) // 50) if content else ():
            spoilt[place] ^= 0x55
        path.write_bytes(spoilt)


@pytest.mark.parametrize("damage", ["deleted", "emptied", "cut", "overwritten"])
@pytest.mark.parametrize("files", ["vectors-*", "neighbours-*", "columns-*", "lexical-*/*", "*"])
def test_derived_files_that_are_damaged_cost_time_and_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: str, damage: str
) -> None:
    monkeypatch.setattr(faiss, "MIN_ROWS", 100)
    monkeypatch.setattr(layers, "MIN_COLUMN_ROWS", 100)
    asked: list[dict[str, Any]] = [
        {"query": record(7)["text"], "recall": 1}, {"query": record(8)["text"], "where": {"colour": "red"}},
        {"query": "text number n11", "mode": "lexical"}, {"query": "red n12", "mode": "hybrid", "recall": 1},
    ]  # fmt: skip

    def answers() -> list[list[tuple[str, float]]]:
        with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
            # Without its files BM25 counts one row less: the stamp of the files is none of the documents.
            return [
                [
                    (hit.document, 0.0 if hit.kind in ("bm25", "evidence") else round(hit.score, 5))
                    for hit in opened.search(k=5, **one)
                ]
                for one in asked
            ]

    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(map(record, range(400)))
    expected = answers()
    derived_files = [
        path
        for path in (tmp_path / "c").glob(files if files != "*" else "**/*")
        if path.is_file() and not path.name.startswith("truth.db") and path.parent.name != "locks"
    ]
    assert derived_files
    for path in derived_files:
        damaged(path, damage)
    assert answers() == expected
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(map(record, range(400, 700)))
        opened.delete([f"k{number}" for number in range(400, 700)])
    assert [[name for name, _ in found] for found in answers()] == [[name for name, _ in found] for found in expected]
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.optimize()
    assert answers() == expected
    assert not [finding for finding in doctor.examine(tmp_path / "c") if finding.kind == "trouble"]


def test_the_doctor_says_how_many_threads_are_used_and_who_chose_them(tmp_path: Path) -> None:
    said = {
        threads: next(
            one.text for one in doctor.examine(None, settings=Settings(threads=threads)) if one.name == "threads"
        )
        for threads in (0, 3)
    }
    assert said[0].startswith(f"{cores()} (every core")
    assert said[3].startswith("3 (SEMEME_THREADS)")
