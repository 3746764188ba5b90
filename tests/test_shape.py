"""What is made of the best: diversity, groups, duplicates, thresholds, boosts, facets, pages and context."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

import sememe
from sememe.errors import InputError
from sememe.explain import explain
from sememe.filters import parse
from sememe.index import faiss
from sememe.search import diversify
from sememe.search import plan as planning
from sememe.search.parts import Part, Stored
from sememe.search.query import Mode, Query, Route
from sememe.search.run import Hits
from sememe.search.shape import DAY, DOCUMENT, Boost, Recency, Shape
from sememe.spaces import add_space
from sememe.types import Metric, Scores

QUERY = "what is asked"
ROWS = 140


class ByLength:
    """A reranker that likes long texts."""

    name = "by-length"

    def rerank(self, query: str, texts: list[str], *, instruction: str | None = None) -> Scores:
        """The share of 100 characters."""
        return np.array([len(text) / 100 for text in texts], np.float32)


def record(i: int) -> dict[str, Any]:
    about = {"colour": "rgb"[i % 3], "stars": i - 20, "tags": ["a", str(i % 2)], "day": f"20{i % 20 + 10}-05-01"}
    return {"id": f"k{i}", "text": f"text {i // 2}", "metadata": about if i else {}}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sememe.Collection]:
    with sememe.open(tmp_path_factory.mktemp("shape") / "c", model=FakeEmbedder()) as opened:
        opened.add(map(record, range(ROWS)))
        yield opened


def asked(collection: sememe.Collection, k: int = 10, mode: Mode = "vector", **shape: Any) -> Hits:
    return collection.search(Query(text=f"{QUERY} text", k=k, mode=mode, shape=Shape(**shape)))


def ids(hits: Hits) -> list[str]:
    return [hit.id for hit in hits]


SHAPES = [
    {}, {"mmr": 0.6}, {"dedupe": True, "mmr": 0.1}, {"group_by": DOCUMENT}, {"group_by": "day", "per_group": 4},
    {"dedupe": True}, {"threshold": -0.1}, {"boosts": (Boost("stars", 0.05), Recency("day", 365 * DAY, 0.2))},
    {"boosts": (Boost("stars", 0.01),), "dedupe": True, "group_by": "day", "per_group": 3, "mmr": 0.3},
]  # fmt: skip

# --- what a shape that asks for nothing gives ---------------------------------------------------


@given(st.integers(1, ROWS + 5), st.sampled_from([
    Shape(), Shape(mmr=1.0), Shape(mmr=1), Shape(boosts=(Boost("stars", 0.0), Recency("day", DAY, 0.0))),
    Shape(group_by="@key"), Shape(threshold=-1.0), Shape(facets=("colour",)),
]), st.sampled_from(["vector", "lexical", "hybrid"]))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_a_shape_that_asks_for_nothing_changes_nothing(
    collection: sememe.Collection, k: int, shape: Shape, mode: Mode
) -> None:
    text = f"{QUERY} text"
    plain = collection.search(text, k=k, mode=mode)
    shaped = collection.search(Query(text=text, k=k, mode=mode, shape=shape))
    assert [(hit.id, hit.score) for hit in shaped] == [(hit.id, hit.score) for hit in plain]


@pytest.mark.parametrize("shape", SHAPES)
@given(st.integers(1, 50), st.integers(51, 70))
@settings(max_examples=10, deadline=None)
def test_more_hits_only_extend_fewer(collection: sememe.Collection, shape: dict[str, Any], few: int, many: int) -> None:
    assert ids(asked(collection, k=many, **shape))[:few] == ids(asked(collection, k=few, **shape))


# --- diversity, duplicates, groups ----------------------------------------------------------------


def naive_mmr(best: list[tuple[int, float]], vectors: dict[int, np.ndarray], share: float) -> list[int]:
    left, chosen = dict(best), []
    while left:

        def gain(n: int) -> float:
            near = max((float(vectors[n] @ vectors[m]) for m in chosen), default=0.0)
            return share * left[n] - (1 - share) * near

        chosen.append(max(left, key=gain))
        del left[chosen[-1]]
    return chosen


@given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_diversity_is_maximal_marginal_relevance(count: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = {n: (v / np.linalg.norm(v)).astype(np.float32) for n, v in enumerate(rng.normal(size=(count, 6)))}
    best = sorted(((n, float(v[0])) for n, v in vectors.items()), key=lambda pair: (-pair[1], pair[0]))
    naive = naive_mmr(best, vectors, share)
    assert [n for n, _ in diversify.mmr(best, vectors, share)] == naive
    chosen = dict(best)
    shown = [(n, chosen[n]) for n in naive[: count // 2]]
    rest = [pair for pair in best if pair not in shown]
    assert [n for n, _ in diversify.mmr([*shown, *rest], vectors, share, chosen=len(shown))] == naive


def test_diversity_puts_the_double_of_the_best_further_down(collection: sememe.Collection) -> None:
    plain, diverse = asked(collection, k=10), asked(collection, k=10, mmr=0.5)
    assert plain[0].text == plain[1].text
    assert diverse[0] == plain[0]
    assert diverse[1].text != diverse[0].text
    assert "mmr      0.5 x score - 0.5 x cosine to the nearest before it" in str(diverse.plan)
    assert "score stretched to 0..1" in str(asked(collection, mode="hybrid", mmr=0.5).plan)


@pytest.mark.parametrize("by", [DOCUMENT, "colour", "tags", "day"])
@pytest.mark.parametrize("most", [1, 2])
def test_a_group_shows_its_best_and_k_hits_still_come(collection: sememe.Collection, by: str, most: int) -> None:
    hits = asked(collection, k=6, group_by=by, per_group=most)
    seen: dict[str, int] = {}
    expected = []
    for hit in asked(collection, k=ROWS):
        key = hit.document if by == DOCUMENT else str(hit.metadata.get(by))
        seen[key] = seen.get(key, 0) + 1
        expected += [hit.id] if seen[key] <= most else []
    assert ids(hits) == expected[:6]
    assert f"group    by {by}, keep the best {most} of each" in str(hits.plan)


def test_duplicates_go_the_best_of_them_stays_and_k_hits_still_come(collection: sememe.Collection) -> None:
    everything, hits = asked(collection, k=ROWS), asked(collection, k=70, dedupe=True)
    firsts = {hit.text: hit.id for hit in reversed(everything)}
    assert ids(hits) == sorted(firsts.values(), key=ids(everything).index)
    assert "70 of 140 candidates say nearly what a better one says" in hits.notes


def test_a_threshold_drops_lower_scores(collection: sememe.Collection) -> None:
    everything = asked(collection, k=ROWS)
    hits = asked(collection, k=ROWS, threshold=everything[9].score)
    assert ids(hits) == [hit.id for hit in everything if hit.score >= everything[9].score]
    assert not asked(collection, threshold=2.0)


# --- terms of the score ----------------------------------------------------------------------------


def test_a_boosted_score_is_the_sum_of_its_named_terms(collection: sememe.Collection) -> None:
    hits = asked(collection, k=ROWS, boosts=(Boost("stars", 0.1), Recency("day", 365 * DAY)))
    plain = {hit.id: hit.score for hit in asked(collection, k=ROWS)}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert [term.name for term in hit.terms] == ["cosine", "boost stars", "recency day"]
        base, stars, recency = (term.value for term in hit.terms)
        given = hit.metadata.get("stars", 0)
        assert base == plain[hit.id]
        assert stars == pytest.approx(0.1 * math.copysign(math.log1p(abs(given)), given))
        assert 0 <= recency <= 0.1
        assert hit.score == pytest.approx(base + stars + recency)
    assert "score + 0.1 x ln(1 + stars) + 0.1 x 1/2 per 365 days since day" in str(hits.plan)
    assert json.loads(json.dumps(hits.plan.as_dicts()))[2]["terms"][0] == "0.1 x ln(1 + stars)"


def test_recency_halves_with_every_half_life_and_the_future_is_now() -> None:
    recency, now = Recency("day", 30 * DAY), 1_700_000_000.0 + 30 * DAY
    assert diversify.given_by(recency, {"day": "2023-11-14T22:13:20Z"}, now) == pytest.approx(0.5)
    assert diversify.given_by(recency, {"day": ["1990-01-01", "2099-01-01"]}, now) == 1.0
    assert diversify.given_by(recency, {}, now) == diversify.given_by(recency, {"day": 3}, now) == 0.0


@given(st.integers(1, ROWS - 1), st.integers(1, ROWS - 1))
def test_a_younger_date_gives_more(a: int, b: int) -> None:
    recency, now = Recency("day", 365 * DAY), 1.9e9
    given = sorted(
        (record(i)["metadata"]["day"], diversify.given_by(recency, record(i)["metadata"], now)) for i in (a, b)
    )
    assert given[0][1] <= given[1][1]


def test_a_weight_that_is_not_said_is_a_tenth_of_the_greatest_score(collection: sememe.Collection) -> None:
    boosted = Shape(boosts=(Recency("day", DAY),))
    hits = collection.search(Query(text=QUERY, mode="hybrid", route=Route(fusion="rrf"), shape=boosted))
    assert f"{2 / 61 / 10:g} x 1/2 per 1 days" in str(hits.plan)
    with pytest.raises(InputError, match="a score by bm25 has no greatest"):
        asked(collection, mode="lexical", boosts=(Recency("day", DAY),))


def test_recency_of_evidence_weighs_a_power_of_ten_and_is_explained(collection: sememe.Collection) -> None:
    query = Query(text=QUERY, mode="hybrid", shape=Shape(boosts=(Recency("day", 3650 * DAY),)))
    hits = collection.search(query)
    assert "1 x 1/2 per 3650 days since day" in str(hits.plan)
    for hit in hits:
        evidence, recency = hit.terms
        assert (evidence.name, recency.name) == ("evidence", "recency day")
        assert 0 < recency.value <= 1
        assert hit.score == pytest.approx(evidence.value + recency.value)
    assert explain(collection, query, hits[0].id, heat=False).score == hits[0].terms


def test_explain_names_the_terms_and_the_step_that_leaves_a_chunk_out(collection: sememe.Collection) -> None:
    query = Query(text=f"{QUERY} text", k=3, shape=Shape(boosts=(Boost("stars", 0.1),), group_by="colour", dedupe=True))
    hits = collection.search(query)
    found = explain(collection, query, hits[1].id, heat=False)
    assert (found.rank, found.score) == (2, hits[1].terms)
    assert [one.name for one in found.standings] == ["cosine", "boosted", "dedupe", "group"]
    others = [explain(collection, query, f"k{i}", heat=False) for i in range(20)]
    fell = {one.fell for one in others if one.rank is None}
    assert "1 better hits have the same colour" in fell
    assert "a better hit has a cosine of 0.98 or more to it" in fell


# --- pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["vector", "hybrid"])
@given(st.lists(st.integers(1, 16), min_size=2, max_size=3))
@settings(max_examples=5, deadline=None)
def test_pages_one_after_the_other_are_the_long_answer(
    collection: sememe.Collection, shape: dict[str, Any], mode: Mode, sizes: list[int]
) -> None:
    found: list[str] = []
    after = ""
    for size in sizes:
        page = asked(collection, k=size, mode=mode, **shape, after=after)
        found += ids(page)
        after = page.next
        if not after:
            break
    whole = ids(asked(collection, k=sum(sizes), mode=mode, **shape))
    assert found == whole[: len(found)]
    assert len(found) == len(whole) or not after


def test_pages_end_where_the_collection_ends(collection: sememe.Collection) -> None:
    page = asked(collection, k=50)
    seen = ids(page)
    while page.next:
        page = asked(collection, k=50, after=page.next)
        seen += ids(page)
    assert sorted(seen) == sorted(ids(asked(collection, k=ROWS)))


def test_a_page_by_number_is_that_part_of_the_answer(collection: sememe.Collection) -> None:
    whole = ids(asked(collection, k=40))
    third = asked(collection, k=10, page=3)
    assert ids(third) == whole[20:30]
    assert "skip     the best 20" in str(third.plan)
    assert ids(asked(collection, k=10, after=third.next)) == whole[30:]


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("mode", ["vector", "hybrid", "lexical"])
@pytest.mark.parametrize("shape", [{}, {"mmr": 0.7}, {"dedupe": True}])
def test_what_is_added_shifts_no_page_and_what_is_deleted_is_gone(
    tmp_path: Path, mode: Mode, optimized: bool, shape: dict[str, Any]
) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add([{"id": f"k{i}", "text": f"text {i}"} for i in range(30)])
        first = asked(opened, k=10, mode=mode, **shape)
        whole = [hit.document for hit in asked(opened, k=30, mode=mode, **shape)]
        opened.add([{"id": f"new{i}", "text": f"text new {i}"} for i in range(30)])
        opened.delete([whole[12], whole[3]])
        if optimized:
            opened.optimize()
        second = asked(opened, k=10, mode=mode, **shape, after=first.next)
        third = asked(opened, k=10, mode=mode, **shape, after=second.next)
        rest = [hit.document for hit in (*second, *third)]
        assert sorted(rest) == sorted(set(whole[10:]) - {whole[12]})
        if mode == "vector" and not shape:
            assert rest == [key for key in whole[10:] if key != whole[12]]


@pytest.mark.parametrize("mode", ["vector", "hybrid", "lexical"])
@given(st.sets(st.integers(0, 24)), st.integers(1, 9))
@settings(max_examples=4, deadline=None)
def test_whatever_is_deleted_between_pages_all_that_is_left_comes_once(mode: Mode, gone: set[int], k: int) -> None:
    with tempfile.TemporaryDirectory() as folder, sememe.open(folder, model=FakeEmbedder()) as opened:
        opened.add([{"id": f"k{i}", "text": f"text {i}"} for i in range(25)])
        page = asked(opened, k=k, mode=mode)
        shown = [hit.document for hit in page]
        opened.delete([f"k{i}" for i in gone])
        while page.next:
            page = asked(opened, k=k, mode=mode, after=page.next)
            shown += [hit.document for hit in page]
        assert len(shown) == len(set(shown))
        assert set(shown[k:]) == {f"k{i}" for i in range(25) if i not in gone} - set(shown[:k])


def test_pages_over_a_quantised_index_leave_out_what_came_later(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        patch.setattr(faiss, "MIN_ROWS", 200)
        patch.setattr(planning, "HELD_PER_HIT", 1)
        opened.add([{"id": f"k{i}", "text": f"text {i}"} for i in range(240)])
        opened.optimize()
        pages = [asked(opened, k=20)]
        assert "cells" in str(pages[0].plan)
        opened.add([{"id": f"new{i}", "text": f"new {i}"} for i in range(40)])
        while len(pages) < 5:
            pages.append(asked(opened, k=20, after=pages[-1].next))
        found = [hit.document for page in pages for hit in page]
        assert len(set(found)) == 100
        assert not any(key.startswith("new") for key in found)
        exact = [hit.document for hit in opened.search(f"{QUERY} text", k=140, recall=1) if hit.document[0] == "k"]
        assert len(set(exact[:100]) & set(found)) >= 95


def test_pages_of_a_reranked_search_end_with_what_was_reranked(collection: sememe.Collection) -> None:
    query = Query(text=QUERY, k=8, route=Route(rerank=ByLength(), depth=20), shape=Shape())
    page = collection.search(query)
    seen = ids(page)
    while page.next:
        page = collection.search(replace(query, shape=Shape(after=page.next)))
        seen += ids(page)
    whole = collection.search(replace(query, k=20))
    assert seen == ids(whole)
    assert "the answer ends with the 20 candidates that were fused or reranked" in page.notes


def test_a_cursor_of_another_query_or_collection_is_refused(collection: sememe.Collection, tmp_path: Path) -> None:
    cursor = asked(collection, k=5).next
    for query in (
        Query(text="something else"), Query(text=f"{QUERY} text", mode="hybrid"),
        Query(text=f"{QUERY} text", where=parse({"stars": 3})), Query(text=f"{QUERY} text", parts=(Part("more"),)),
    ):  # fmt: skip
        with pytest.raises(InputError, match="of another query or collection"):
            collection.search(replace(query, shape=Shape(after=cursor)))
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as other:
        other.add("text")
        with pytest.raises(InputError, match="of another query or collection"):
            asked(other, after=cursor)


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.hex()))
@settings(max_examples=25, deadline=None)
def test_what_is_no_cursor_is_refused(collection: sememe.Collection, cursor: str) -> None:
    if cursor:
        with pytest.raises(InputError, match="no cursor"):
            asked(collection, after=cursor)


# --- beside the hits -------------------------------------------------------------------------------


def test_facets_count_what_may_be_found_and_what_was(collection: sememe.Collection) -> None:
    condition = parse({"stars": {"$gte": 0, "$lt": 60}})
    shape = Shape(facets=("colour", "tags", "@media_type"))
    hits = collection.search(Query(text=QUERY, k=7, where=condition, shape=shape))
    shown = [hit.metadata["colour"] for hit in hits]
    colours = {facet.value: (facet.count, facet.hits) for facet in hits.facets["colour"]}
    assert colours == {colour: (20, shown.count(colour)) for colour in "rgb"}
    assert [(facet.value, facet.count) for facet in hits.facets["tags"]] == [("a", 60), ("0", 30), ("1", 30)]
    assert [(facet.value, facet.count, facet.hits) for facet in hits.facets["@media_type"]] == [("text/plain", 60, 7)]
    assert "count    values of colour, tags, @media_type in all 60 chunks that may be found" in str(hits.plan)


def test_context_is_a_slice_of_the_text_without_overlap(tmp_path: Path) -> None:
    text = "# Top\n\nintro words\n\n" + "".join(
        f"## Part {n}\n\n" + f"sentence {n} goes on. " * 30 + "\n\n" for n in range(3)
    )
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        (tmp_path / "doc.md").write_text(text)
        opened.add_files(tmp_path / "doc.md")
        chunks = opened.get("doc.md").chunks
        for hit in asked(opened, k=50, context=1):
            near = chunks[max(hit.position - 1, 0) : hit.position + 2]
            assert hit.context is not None
            assert hit.context.span == (near[0].start, near[-1].end)
            assert hit.context.text == text[slice(*hit.context.span)]
        within = asked(opened, k=50, context="section")
        hit = next(hit for hit in within if hit.headings == ("Top", "Part 1"))
        assert hit.context is not None
        assert hit.context.text.startswith("## Part 1")
        assert "sentence 2" not in hit.context.text


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"mmr": 2}, "mmr is 2"), ({"mmr": float("nan")}, "mmr is nan"), ({"per_group": 0}, "hits of a group is 0"),
        ({"context": -1}, "the context is -1"), ({"context": "page"}, "the context is 'page'"),
        ({"threshold": float("nan")}, "the threshold is nan"), ({"page": 0}, "the page is 0"),
        ({"page": 2, "after": "x"}, "leave one of them out"),
        ({"boosts": (Boost("stars", float("nan")),)}, "the weight of 'stars' is nan"),
        ({"boosts": (Boost("colour", 1.0),)}, "needs a field of numbers, but 'colour' is a string"),
        ({"boosts": (Boost("star", 1.0),)}, "no document has a field 'star' .did you mean 'stars'"),
        ({"boosts": (Recency("stars", DAY),)}, "needs a field of dates, but 'stars' is a number"),
        ({"boosts": (Recency("day", 0.0),)}, "the half-life of 'day' is 0.0"),
        ({"facets": ("colours",)}, "no document has a field 'colours' .did you mean 'colour'"),
        ({"group_by": "nowhere"}, "no document has a field 'nowhere'"),
    ],
)  # fmt: skip
def test_a_shape_that_cannot_be_is_refused(collection: sememe.Collection, shape: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        asked(collection, **shape)


def test_an_empty_collection_refuses_what_a_full_one_does(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        assert not asked(opened, mmr=0.5)
        with pytest.raises(InputError, match="mmr is 3"):
            asked(opened, mmr=3)


# --- with everything else --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (Route(space="fine"), "of space 'fine'"), (Route(funnel="bits:50,full"), "by sign bits"),
        (Route(calibrated=True, expected=20.0), "pass over more than 20"), (Route(rerank=ByLength()), "by by-length"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_parts_and_shapes_go_with_every_way_of_search(tmp_path: Path, route: Route, said: str, mode: Mode) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(map(record, range(60)))
        add_space(opened, "fine", FakeEmbedder(model="second", digest="1" * 64, dim=8))
        opened.optimize()
        shape = Shape(
            boosts=(Boost("stars", 0.001),), dedupe=True, group_by="day", per_group=3, mmr=0.7, facets=("colour",)
        )
        query = Query(
            text=QUERY, parts=(Part("text 7", 0.5), Part(Stored("k1"), -0.2)), k=4, mode=mode, route=route,
            where=parse({"stars": {"$exists": True}}), shape=shape,
        )  # fmt: skip
        first = opened.search(query)
        assert said in str(first.plan)
        assert "combine  1 x 'what is asked' + 0.5 x 'text 7' - 0.2 x k1" in str(first.plan)
        assert len(first) == 4
        second = opened.search(replace(query, shape=replace(shape, after=first.next)))
        whole = opened.search(replace(query, k=8))
        assert ids(first) + ids(second) == ids(whole)
        assert sum(facet.count for facet in first.facets["colour"]) == 59
        told = explain(opened, query, first[2].id, heat=False)
        assert (told.rank, str(told.plan)) == (3, str(first.plan))


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_other_metrics_are_stretched_for_diversity(tmp_path: Path, metric: Metric) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder(), metric=metric) as opened:
        opened.add(map(record, range(60)))
        assert ids(asked(opened, k=60, mmr=1.0)) == ids(asked(opened, k=60))
        assert asked(opened, k=2, mmr=0.4)[1].text != asked(opened, k=1)[0].text


def test_one_and_true_are_two_values_and_one_is_one_whole_or_not(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(
            {"id": f"k{i}", "text": f"text {i}", "metadata": {"flag": [v]}} for i, v in enumerate((1, 1.0, True))
        )
        hits = opened.search(Query(text="text", k=2, shape=Shape(facets=("flag", "flag"))))
    found = {(type(facet.value), facet.value): (facet.count, facet.hits) for facet in hits.facets["flag"]}
    assert sorted(count for count, _ in found.values()) == [1, 2]
    assert sum(shown for _, shown in found.values()) == 2


def test_facets_are_the_same_from_filter_columns_and_from_metadata(tmp_path: Path) -> None:
    shape = Shape(facets=("colour", "stars", "tags", "about"))
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        records = [record(i) for i in range(1, 1_200)]
        for one in records[::2]:
            one["metadata"]["about"] = {"n": 1}
        opened.add(records[:1_100])
        opened.optimize()
        opened.add(records[1_100:])
        opened.delete(["k5", "k1150"])
        hits = opened.search(Query(text="text", where=parse({"stars": {"$gte": 0}}), shape=shape))
        assert list((tmp_path / "c").glob("columns-*.bin"))
    left = [r["metadata"] for r in records if r["id"] not in ("k5", "k1150") and r["metadata"]["stars"] >= 0]
    for field in ("colour", "stars"):
        counts = Counter(about[field] for about in left)
        assert {facet.value: facet.count for facet in hits.facets[field]} == counts
    assert {f.value: f.count for f in hits.facets["tags"]} == Counter(tag for about in left for tag in about["tags"])
    assert [(f.value, f.count) for f in hits.facets["about"]] == [('{"n":1}', sum("about" in one for one in left))]
