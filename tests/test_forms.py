"""Queries of several parts: texts with weights, what is stored, spans of it; one vector of all, said by the plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import DIM, FakeEmbedder, vector_of
from hypothesis import given, settings
from hypothesis import strategies as st

import sememe
from sememe.errors import InputError, NotFound
from sememe.search.forms import combined
from sememe.search.parts import Part, Stored, feedback
from sememe.search.query import Mode, Query, Route
from sememe.search.run import Hits
from sememe.types import Metric
from sememe.vectors import normalise

TEXTS = [f"text number n{number}" for number in range(20)]
LONG = "a span of words and then other words that say more"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sememe.Collection]:
    with sememe.open(tmp_path_factory.mktemp("forms") / "collection", model=FakeEmbedder()) as opened:
        opened.add([{"id": f"k{i}", "text": text} for i, text in enumerate(TEXTS)])
        opened.add({"id": "long", "text": LONG}, chunk=False)
        yield opened


def asked(collection: sememe.Collection, *parts: Part, k: int = 10, mode: Mode = "vector") -> Hits:
    return collection.search(Query(parts=parts, k=k, mode=mode))


def best_of(collection: sememe.Collection, vector: np.ndarray, *, but: tuple[str, ...] = ()) -> list[str]:
    ids, vectors = collection.vectors()
    own = {chunk.id for key in but for chunk in collection.get(key).chunks}
    scores = vectors.astype(np.float64) @ normalise(vector.astype(np.float32)).astype(np.float64)
    return [f"chunk:{ids[row]}" for row in np.lexsort((ids, -scores.astype(np.float32))) if ids[row] not in own]


def test_weighted_texts_are_searched_as_the_sum_of_their_vectors(collection: sememe.Collection) -> None:
    hits = collection.search(Query(text=TEXTS[0], parts=(Part(TEXTS[1], 0.5), Part(TEXTS[2], -0.7)), k=8))
    total = vector_of(TEXTS[0]) + 0.5 * vector_of(TEXTS[1]) - 0.7 * vector_of(TEXTS[2])
    assert [hit.id for hit in hits] == best_of(collection, total)[:8]
    assert f"combine  1 x '{TEXTS[0]}' + 0.5 x '{TEXTS[1]}' - 0.7 x '{TEXTS[2]}'" in str(hits.plan)
    assert hits.plan.as_dicts()[0]["parts"] == ((1.0, repr(TEXTS[0])), (0.5, repr(TEXTS[1])), (-0.7, repr(TEXTS[2])))


@given(st.integers(0, 19), st.floats(0.1, 5))
@settings(max_examples=20, deadline=None)
def test_one_text_is_a_plain_search_whatever_it_weighs(
    collection: sememe.Collection, number: int, weight: float
) -> None:
    plain = collection.search(TEXTS[number], k=5)
    assert [hit.id for hit in asked(collection, Part(TEXTS[number], weight), k=5)] == [hit.id for hit in plain]
    assert list(asked(collection, Part(TEXTS[number], 1.0), k=5)) == list(plain)


@given(
    st.lists(st.floats(-2, 2, allow_nan=False, width=32), min_size=3, max_size=3),
    st.floats(-2, 2, allow_nan=False, width=32),
)
@settings(max_examples=50, deadline=None)
def test_a_combination_is_linear_in_its_weights(weights: list[float], factor: float) -> None:
    vectors = np.stack([vector_of(text) for text in TEXTS[:3]])
    alone = sum(combined(vectors[i : i + 1], weights[i : i + 1]) for i in range(3))
    np.testing.assert_allclose(combined(vectors, weights), alone, atol=1e-5)
    scaled = combined(vectors, [factor * weight for weight in weights])
    np.testing.assert_allclose(scaled, factor * combined(vectors, weights), atol=1e-5)


def test_a_vector_is_a_part_as_well(collection: sememe.Collection) -> None:
    hits = collection.search(Query(text=TEXTS[4], parts=(Part(vector_of(TEXTS[5]), 2.0),), k=4))
    assert [hit.id for hit in hits] == best_of(collection, vector_of(TEXTS[4]) + 2 * vector_of(TEXTS[5]))[:4]
    assert "+ 2 x a vector" in str(hits.plan)


def test_what_is_liked_draws_near_and_is_not_found_itself(collection: sememe.Collection) -> None:
    hits = asked(collection, *feedback(like=["k1", "k2"], unlike=["k3"]), k=6)
    total = 0.75 * (vector_of(TEXTS[1]) + vector_of(TEXTS[2])) / 2 - 0.15 * vector_of(TEXTS[3])
    assert [hit.id for hit in hits] == best_of(collection, total, but=("k1", "k2", "k3"))[:6]


def test_a_span_is_embedded_as_the_characters_that_are_stored(collection: sememe.Collection) -> None:
    hits = asked(collection, Part(Stored.parse("long:2-15")), k=3)
    assert "embed    'span of words'\ncombine  1 x long:2-15" in str(hits.plan)
    assert [hit.id for hit in hits] == best_of(collection, vector_of("span of words"), but=("long",))[:3]


def test_a_span_of_a_chunk_counts_from_where_the_chunk_starts(tmp_path: Path) -> None:
    text = " ".join(f"word{number}" for number in range(200))
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add({"id": "d", "text": text})
        second = opened.get("d").chunks[1]
        hits = opened.search(Query(parts=(Part(Stored(f"chunk:{second.id}", (0, 7))),), k=50))
        assert f"embed    {second.text[:7]!r}" in str(hits.plan)
        assert f"chunk:{second.id}" not in [hit.id for hit in hits]
        assert len(hits) == len(opened.get("d").chunks) - 1


@pytest.mark.parametrize("span", ["long:9-9", "long:12-5", "long:0-4000"])
def test_a_span_that_is_not_in_the_text_is_refused(collection: sememe.Collection, span: str) -> None:
    with pytest.raises(InputError, match="start below an end"):
        asked(collection, Part(Stored.parse(span)))


def test_a_span_of_white_space_is_refused(collection: sememe.Collection) -> None:
    with pytest.raises(InputError, match="only white space"):
        asked(collection, Part(Stored("long", (1, 2))))


def test_parts_that_cancel_out_or_weigh_nothing_are_refused(collection: sememe.Collection) -> None:
    with pytest.raises(InputError, match=r"cancel each other out \(1 x 'text number n0' - 1 x 'text number n0'\)"):
        asked(collection, Part(TEXTS[0], 1), Part(TEXTS[0], -1))
    with pytest.raises(InputError, match="every part of the query weighs 0"):
        asked(collection, Part(TEXTS[0], 0), Part(TEXTS[1], 0.0))
    assert asked(collection, Part(TEXTS[0], 0), Part(TEXTS[1], 1), k=1)[0].text == TEXTS[1]


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), "much", True, None])
def test_a_weight_that_is_no_number_is_refused(collection: sememe.Collection, weight: object) -> None:
    with pytest.raises(InputError, match="the weight of 'shoes' is"):
        asked(collection, Part("shoes", weight))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        (np.zeros(DIM, np.float32), "only zeros"),
        (np.full(DIM, np.nan, np.float32), "not finite"),
        (np.ones(DIM + 1, np.float32), r"shape \(17,\), the collection has \(16,\)"),
    ],
)
def test_a_vector_that_cannot_be_looked_for_is_refused(
    collection: sememe.Collection, vector: np.ndarray, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        asked(collection, Part(vector), Part("shoes"))


def test_what_cannot_be_asked_of_parts_is_refused(collection: sememe.Collection) -> None:
    with pytest.raises(InputError, match="a part of the query is empty"):
        asked(collection, Part(" "), Part("shoes"))
    with pytest.raises(NotFound, match="nowhere"):
        asked(collection, Part(Stored("nowhere")))
    with pytest.raises(InputError, match="use 'hybrid'"):
        asked(collection, Part("shoes"), mode="lexical")
    with pytest.raises(InputError, match="has no words"):
        asked(collection, Part("shoes", -1.0), Part(Stored("k1")), mode="hybrid")
    with pytest.raises(InputError, match="a reranker reads the query"):
        collection.search(Query(parts=(Part(Stored("k1")),), route=Route(rerank="any")))
    with pytest.raises(InputError, match="give them there"):
        collection.search(Query(text="shoes"), k=3)


def test_a_hybrid_query_looks_up_the_words_that_do_not_lead_away(collection: sememe.Collection) -> None:
    hits = asked(collection, Part("n3"), Part("n4", 0.5), Part("n5", -1.0), mode="hybrid", k=5)
    assert "words    BM25 for n3 n4, keep" in str(hits.plan)
    assert {hits[0].text, hits[1].text} == {TEXTS[3], TEXTS[4]}


def test_what_is_stored_needs_no_model(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    with sememe.open(tmp_path / "c", model=embedder) as opened:
        opened.add([{"id": key, "text": key * 3} for key in "abc"])
        calls = embedder.calls
        assert {hit.document for hit in asked(opened, Part(Stored("a")), Part(Stored("b"), 0.5))} == {"c"}
        assert embedder.calls == calls


def test_a_part_that_is_cut_at_the_models_limit_is_said(collection: sememe.Collection) -> None:
    hits = asked(collection, Part("word " * 100), Part("shoes"))
    assert any("is longer than the 64 tokens the model reads" in note for note in hits.notes)


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_under_other_metrics_two_equal_texts_are_one(tmp_path: Path, metric: Metric) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder(), metric=metric) as opened:
        opened.add(TEXTS)
        twice = asked(opened, Part(TEXTS[3], 0.5), Part(TEXTS[3], 2.0), k=5)
        plain = opened.search(TEXTS[3], k=5)
        assert [hit.id for hit in twice] == [hit.id for hit in plain]
        np.testing.assert_allclose([hit.score for hit in twice], [hit.score for hit in plain], atol=1e-5)
