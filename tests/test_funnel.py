"""The funnel: sign bits or a prefix first, whole vectors last; and a reranker as the last step of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEmbedder, vector_of
from hypothesis import given, settings
from hypothesis import strategies as st

import sememe
from sememe.errors import InputError
from sememe.index import funnel
from sememe.index.funnel import Measured, Stage, choose, parse
from sememe.index.slab import Rows, row_sums
from sememe.search.query import Route
from sememe.types import Metric, Scores, Vectors
from sememe.vectors import best, hamming, sign_bits

DIM = 64
TEXTS = [f"text number {i}" for i in range(1200)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> sememe.Collection:
    """1,200 vectors of 64 dimensions, optimized; and two newer ones."""
    made = sememe.open(tmp_path_factory.mktemp("funnel") / "c", model=FakeEmbedder(dim=DIM))
    made.add([{"id": f"d{i}", "text": text, "metadata": {"even": i % 2 == 0}} for i, text in enumerate(TEXTS)])
    made.optimize()
    made.add(["a newer text", "another newer text"])
    return made


def rows_of(vectors: Vectors) -> Rows:
    return Rows(np.arange(len(vectors)), vectors, row_sums(vectors))


def some(count: int, dim: int = DIM, seed: int = 0) -> Vectors:
    made: Vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 99))
def test_hamming_counts_the_signs_that_differ(count: int, dim: int, seed: int) -> None:
    vectors = some(count + 1, dim, seed)
    wanted = ((vectors[0] > 0) != (vectors[1:] > 0)).sum(axis=1)
    np.testing.assert_array_equal(hamming(sign_bits(vectors[0]), sign_bits(vectors[1:])), wanted)


def test_bits_are_packed_the_first_one_highest() -> None:
    assert sign_bits(np.array([[1, -1, 0, 2, -3, 0, 0, 1, 5]], np.float32)).tolist() == [[0b10010001, 0b10000000]]


@settings(max_examples=40)
@given(st.sampled_from(["bits", "8", "64"]), st.sampled_from(["cosine", "dot", "euclidean"]), st.integers(0, 9))
def test_a_funnel_that_keeps_everything_is_an_exact_search(by: str, metric: Metric, seed: int) -> None:
    vectors = some(90, seed=seed)
    alive = np.random.default_rng(seed).random(90) < 0.7
    found = funnel.Funnel(rows_of(vectors), metric).candidates(vectors[0], [Stage(by, 90)], alive)
    np.testing.assert_array_equal(found, np.flatnonzero(alive))


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_a_whole_prefix_keeps_the_true_neighbours(metric: Metric) -> None:
    vectors = some(400)
    found = funnel.Funnel(rows_of(vectors), metric).candidates(vectors[5], [Stage(str(DIM), 10)])
    ids, _ = best(vectors[5:6], vectors, np.arange(400), k=10, metric=metric)
    assert set(found.tolist()) == set(ids[0].tolist())


def test_later_stages_narrow_what_earlier_ones_left() -> None:
    vectors = some(300)
    made = funnel.Funnel(rows_of(vectors), "cosine")
    wide = made.candidates(vectors[1], [Stage("bits", 60)])
    narrow = made.candidates(vectors[1], [Stage("bits", 60), Stage("32", 7)])
    assert len(narrow) == 7
    assert set(narrow.tolist()) <= set(wide.tolist())
    assert 1 in narrow


def test_the_table_is_measured_on_the_rows_and_the_cheapest_that_finds_enough_is_taken() -> None:
    vectors = some(1500)
    table = funnel.measure(rows_of(vectors), np.ones(1500, bool), metric="cosine")
    recalls = [row.recall for row in table if row.by == "bits"]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.9 < recalls[-1]
    table = [Measured("bits", 100, 0.9, 1.0, 8), Measured("bits", 400, 0.995, 2.0, 8), Measured("32", 50, 0.99, 3.0, 9)]
    assert choose(table, 0.99) == Stage("bits", 400)
    assert choose(table, 0.999) == Stage("bits", 400)
    assert funnel.from_json(funnel.to_json(table)) == table


def test_the_printed_plan_is_the_funnel_that_ran(opened: sememe.Collection) -> None:
    hits = opened.search(TEXTS[7], route=Route(funnel="bits:300,32:50,full"))
    assert hits[0].document == "d7"
    assert str(hits.plan).splitlines()[1:] == [
        "funnel   1,200 vectors by sign bits, keep 300",
        "funnel   those by 32 dimensions, keep 50",
        "rescore  those and 2 newer rows exactly by cosine, keep 10",
        "fetch    the best 10",
    ]


def test_an_automatic_funnel_takes_what_was_measured(opened: sememe.Collection) -> None:
    query = vector_of("anything", DIM)
    exact = {hit.id for hit in opened.search(query, recall=1)}
    hits = opened.search(query, recall=0.99, route=Route(funnel="auto"))
    assert "funnel   1,200 vectors by" in str(hits.plan)
    assert len(exact & {hit.id for hit in hits}) >= 9


def test_newer_rows_and_filters_hold_in_a_funnel(opened: sememe.Collection) -> None:
    assert opened.search("a newer text", route=Route(funnel="bits:20,full"))[0].score == pytest.approx(1)
    hits = opened.search(TEXTS[3], where={"even": True}, route=Route(funnel="bits:50,full"))
    assert len(hits) == 10
    assert all(hit.metadata["even"] for hit in hits)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("full", "must keep fewer"), ("bits", "stage 'bits'"), ("bits:0", "stage 'bits:0'"), ("65:10", "65 dimensions"),
        ("bits:10,32:20", "keep fewer from stage to stage"), ("bits:x,full", "stage 'bits:x'"), ("; DROP", "stage"),
    ],
)  # fmt: skip
def test_stages_that_cannot_be_understood_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(text, DIM)


def test_an_automatic_funnel_without_a_table_says_what_to_do(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as small:
        small.add(TEXTS[:300])
        with pytest.raises(InputError, match="run: sememe optimize"):
            small.search("text", route=Route(funnel="auto"))


class ByNumber:
    """Ranks texts by the last number in them; the larger, the better."""

    name = "by-number"

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], str | None]] = []

    def rerank(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        self.asked.append((query, list(texts), instruction))
        return np.array([int(text.split()[-1]) / 2000 for text in texts], np.float32)


def test_a_reranker_puts_the_best_in_order_and_every_stage_is_told(opened: sememe.Collection) -> None:
    model = ByNumber()
    where = {"@key": {"$in": [f"d{i}" for i in range(100)]}}
    before = opened.search("anything", k=20, where=where)
    hits = opened.search("anything", k=5, where=where, route=Route(rerank=model, depth=20, instruction="as asked"))
    numbers = sorted((int(hit.document[1:]) for hit in before), reverse=True)[:5]
    assert [hit.document for hit in hits] == [f"d{number}" for number in numbers]
    assert {hit.kind for hit in hits} == {"rerank"}
    assert hits[0].score == pytest.approx(numbers[0] / 2000)
    assert [stage.name for stage in hits[0].stages] == ["cosine", "rerank"]
    assert [hit.stages[1].rank for hit in hits] == [1, 2, 3, 4, 5]
    assert "rerank   the best 20 by by-number, told 'as asked'" in str(hits.plan)
    assert (model.asked[0][0], len(model.asked[0][1]), model.asked[0][2]) == ("anything", 20, "as asked")


def test_a_depth_below_the_hits_that_are_asked_for_is_told_to_be_more(opened: sememe.Collection) -> None:
    (note,) = opened.search("anything", k=5, route=Route(rerank=ByNumber(), depth=3)).notes
    assert "the best 5, not 3" in note
    assert opened.search("anything", k=5, route=Route(rerank=ByNumber(), depth=5)).notes == ()


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_a_reranker_follows_every_mode(opened: sememe.Collection, mode: str) -> None:
    hits = opened.search("number", k=3, mode=mode, route=Route(rerank=ByNumber(), depth=30))  # type: ignore[arg-type]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {hit.kind for hit in hits} == {"rerank"}


@pytest.mark.parametrize(
    ("query", "route", "said"),
    [
        (vector_of("x", DIM), Route(rerank=ByNumber()), "the query is a vector"),
        ("text", Route(rerank=ByNumber(), depth=0), "depth to rerank is 0"),
        ("text", Route(depth=3), "no reranker is named"),
        ("text", Route(rerank=" "), "the reranker has no name"),
        ("text", Route(instruction="say"), "takes no instruction"),
        ("text", Route(rerank=ByNumber(), instruction=" "), "the instruction is empty"),
        (vector_of("x", DIM), Route(instruction="say"), "the query is a vector"),
    ],
)
def test_what_cannot_be_reranked_is_refused(
    opened: sememe.Collection, query: str | Vectors, route: Route, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        opened.search(query, route=route)
