"""Why a chunk is found or is not; what a score is worth; and parts that are joined by it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fakes import FakeEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import sememe
from sememe.cli import application
from sememe.errors import InputError, NotFound
from sememe.explain import explain, marked, page
from sememe.filters import parse
from sememe.keeping import forgetting
from sememe.search.calibrate import (
    ANSWERS,
    NO_BODY,
    TOP,
    WORDS_STEP,
    WORDS_WEIGHT,
    Tail,
    agreeing,
    body_of,
    counted,
    joint,
    sampled_tail,
    tail_of,
)
from sememe.search.parts import Part, Stored
from sememe.search.query import Mode, Query, Route
from sememe.search.shape import Shape
from sememe.types import Scores

TEXTS = [f"alpha {'beta ' * (i % 3)}number {i} of many" for i in range(300)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> sememe.Collection:
    made = sememe.open(tmp_path_factory.mktemp("explain") / "c", model=FakeEmbedder(dim=32))
    made.add([{"id": f"d{i}", "text": text, "metadata": {"year": 2000 + i % 5}} for i, text in enumerate(TEXTS)])
    made.add([{"id": "odd", "text": "<b>zebra</b> crossing & gamma", "metadata": {"year": 1990}}])
    return made


@pytest.mark.parametrize("mode", ["vector", "lexical", "hybrid"])
def test_the_rank_of_an_explanation_is_that_of_the_search(opened: sememe.Collection, mode: str) -> None:
    hits = opened.search("alpha beta number 7", k=5, mode=mode)  # type: ignore[arg-type]
    for rank, hit in enumerate(hits, start=1):
        told = explain(opened, Query(text="alpha beta number 7", k=5, mode=mode), hit.id, heat=False)  # type: ignore[arg-type]
        assert told.rank == rank
        assert told.fell == ""
        assert str(told.plan) == str(hits.plan)
        given_stages = {stage.name: (stage.rank, stage.score) for stage in hit.stages}
        for standing in told.standings:
            if standing.name in given_stages:
                assert standing.rank == given_stages[standing.name][0]
                assert standing.score == pytest.approx(given_stages[standing.name][1], rel=1e-5)


def test_a_chunk_beyond_k_is_told_its_true_rank(opened: sememe.Collection) -> None:
    every = [hit.document for hit in opened.search("alpha", k=301)]
    told = explain(opened, Query(text="alpha", k=3), every[250], heat=False)
    assert told.rank is None
    assert told.standings[0].rank == 251
    assert "251" in told.fell
    assert "3 are kept" in told.fell


def test_what_a_filter_refuses_is_told_with_what_it_has(opened: sememe.Collection) -> None:
    where = parse({"year": {"$gte": 1995}, "@key": "odd"})
    told = explain(opened, Query(text="zebra", where=where), "odd", heat=False)
    assert told.rank is None
    assert "year ≥ 1995 (year is 1990)" in told.fell
    assert "@key" not in told.fell


def test_the_parts_of_the_words_add_up_to_the_score(opened: sememe.Collection) -> None:
    for query in ("alpha beta 7", '"beta number" alpha', "zeb* gamma", "zebra zebra"):
        (hit, *_) = opened.search(query, k=1, mode="lexical")
        told = explain(opened, Query(text=query, mode="lexical"), hit.id)
        assert sum(part.score for part in told.terms) == pytest.approx(hit.score, rel=1e-4)


def test_words_that_match_are_marked_where_they_stand(opened: sememe.Collection) -> None:
    told = explain(opened, Query(text="zebras gamma", mode="hybrid"), "odd")
    assert [piece for piece, mark in marked(told) if "word" in mark] == ["zebra", "gamma"]
    assert "".join(piece for piece, _ in marked(told)) == told.text
    assert told.heat


def test_a_chunk_without_the_words_is_told_so(opened: sememe.Collection) -> None:
    told = explain(opened, Query(text="zebra", mode="lexical"), "d3")
    assert "none of the words is in it" in told.fell


def test_what_is_not_there_cannot_be_explained(opened: sememe.Collection) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        explain(opened, "alpha", "nowhere")


def test_what_was_deleted_and_what_was_never_embedded_is_told_so(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as small:
        small.add([{"id": "gone", "text": "a text that goes"}, {"id": "empty", "text": ""}])
        chunk = f"chunk:{small.get('gone').chunks[0].id}"
        small.delete("gone")
        with pytest.raises(NotFound, match="deleted"):
            explain(small, "text", chunk)
        with pytest.raises(NotFound, match="chunk:99' is neither"):
            explain(small, "text", "chunk:99")
        with pytest.raises(NotFound, match=r"'empty' was never embedded \((skipped|failed): "):
            explain(small, "text", "empty")


def test_the_page_holds_no_markup_of_the_text(opened: sememe.Collection) -> None:
    html = page(explain(opened, "<script>zebra</script>", "odd", heat=False))
    assert "<script>" not in html
    assert "<b>" not in html
    assert re.search("&lt;b&gt;.*zebra", html)
    assert "http" not in html


def test_the_words_whose_loss_costs_most_are_those_that_the_model_reads(
    tmp_path: Path, make_model_folder: object
) -> None:
    folder = make_model_folder("tiny")  # type: ignore[operator]
    with sememe.open(tmp_path / "c", model=folder) as tiny:
        tiny.add(["the cat sat on the mat " * 20 + ". A boat left the harbour."])
        told = explain(tiny, "boat in a harbour", "chunk:1")
    assert 0 < len(told.heat) <= 64
    assert all(told.text[one.start : one.end].strip() for one in told.heat)


def test_the_command_line_explains_in_text_json_and_html(tmp_path: Path, make_model_folder: object) -> None:
    folder = make_model_folder("tiny")  # type: ignore[operator]
    (tmp_path / "a.txt").write_text("a boat left the harbour", encoding="utf-8")
    where = ["--collection", str(tmp_path / "c")]
    run = CliRunner().invoke
    assert run(application(), ["add", str(tmp_path / "a.txt"), "--model", str(folder), *where]).exit_code == 0
    asked = ["boat", str(tmp_path / "a.txt"), "--model", str(folder), "--mode", "hybrid", *where]
    assert "is hit 1" in run(application(), ["explain", *asked]).stdout
    html = tmp_path / "page.html"
    told = json.loads(run(application(), ["why-not", *asked, "--json", "--html", str(html)]).stdout)
    assert told["rank"] == 1
    assert told["terms"][0]["spans"] == [[2, 6]]
    assert "harbour" in html.read_text(encoding="utf-8")
    unwritable = run(application(), ["explain", *asked, "--html", str(tmp_path / "no" / "page.html")])
    assert isinstance(unwritable.exception, InputError)
    again = ["explain", *asked, "--html", str(html)]
    assert "--overwrite" in str(run(application(), again).exception)
    assert run(application(), [*again, "--overwrite"]).exit_code == 0


def test_a_deleted_document_is_told_by_its_key_with_the_time(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("alpha")
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as made:
        made.add_files([tmp_path / "gone.md"])
        made.add([{"id": key, "text": f"alpha {key}"} for key in ("a", "b")])
        before = datetime.now(UTC).replace(microsecond=0)
        made.delete([str(tmp_path / "gone.md"), "a"])
        for key in ("a", str(tmp_path / "gone.md")):
            with pytest.raises(NotFound, match=r"was deleted or renamed on \S+; add it again") as told:
                explain(made, "alpha", key)
            when = re.search(r"renamed on (\S+);", str(told.value))
            assert when is not None
            assert before <= datetime.fromisoformat(when[1]) <= datetime.now(UTC)
        with pytest.raises(NotFound, match="none of that name is remembered"):
            explain(made, "alpha", "never")
        made.add([{"id": "a", "text": "alpha again"}])
        assert explain(made, "alpha", "a", heat=False).rank is not None


def test_what_is_forgotten_leaves_no_trace_of_having_been_there(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as made:
        made.add([{"id": key, "text": f"alpha {key}"} for key in ("a", "b")])
        made.delete(["b"])
        forgetting.forget(made, ["a", "b"])
        for key in ("a", "b"):
            with pytest.raises(NotFound, match="none of that name is remembered"):
                explain(made, "alpha", key)


# --- what a score is worth -----------------------------------------------------------------


def judged(scores: Scores, *, chunks: int = 0) -> Tail:
    """The tail of a collection of these scores, or of more chunks."""
    return tail_of(np.sort(scores)[::-1][:TOP], body_of(scores[:2_000]), chunks or len(scores))


def test_what_is_stated_of_random_scores_is_observed_in_others() -> None:
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(400):
        scores, others = rng.exponential(size=(2, 20_000)).astype(np.float32)
        expected = judged(scores).shares(np.sort(others)[-400:]) * len(scores)
        counts.append([np.count_nonzero(expected <= stated) for stated in (0.1, 1, 10, 100)])
    observed = np.mean(counts, axis=0) / (0.1, 1, 10, 100)
    assert (observed > (0.3, 0.8, 0.95, 0.98)).all()
    assert (observed < (1.6, 1.4, 1.2, 1.02)).all()


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.lists(st.floats(10, 1000, width=32), max_size=5))
def test_answers_do_not_make_random_chunks_out_of_others(seed: int, answers: list[float]) -> None:
    scores = np.sort(np.random.default_rng(seed).exponential(size=2_000).astype(np.float32))
    without = judged(scores)
    scores[len(scores) - len(answers) :] = answers
    others = np.linspace(0, scores[-6], 50, dtype=np.float32)
    assert judged(scores).shares(others) == pytest.approx(without.shares(others))


@given(st.lists(st.floats(-2, 2, width=32), min_size=40, max_size=200), st.randoms())
def test_a_higher_score_is_never_stated_as_more_expected(scores: list[float], random: Random) -> None:
    grid = np.linspace(-3, 3, 50, dtype=np.float32)
    shares = judged(np.array(scores, np.float32)).shares(grid)
    assert (np.diff(shares) <= 1e-12).all()
    assert ((shares > 0) & (shares <= 1)).all()
    random.shuffle(scores)
    assert judged(np.array(scores, np.float32)).shares(np.linspace(-3, 3, 50, dtype=np.float32)) == pytest.approx(
        shares
    )


@given(st.floats(-2, 2, width=32), st.integers(40, 300))
def test_where_all_score_alike_none_is_a_surprise_and_a_higher_one_is(score: float, count: int) -> None:
    low, same, high = judged(np.full(count, score, np.float32)).shares(np.array([score - 1, score, score + 1]))
    assert (low, same) == pytest.approx((1, 1), abs=1 / count)
    assert high < 1e-9


def test_no_words_and_few_words_have_tails_too() -> None:
    nothing = tail_of(np.empty(0, np.float32), NO_BODY, 1_000, step=WORDS_STEP)
    assert nothing.shares(np.zeros(2, np.float32)).tolist() == [1, 1]
    three = tail_of(np.array([9, 5, 2], np.float32), counted([(5.0, 0.001), (4.0, 0.003)]), 1_000, step=WORDS_STEP)
    expected = three.shares(np.array([9, 5, 2, 0], np.float32)) * 1_000
    assert expected == pytest.approx([0.5, 1.5, 2.5, 1_000], rel=0.01)


def test_a_term_is_as_surprising_as_it_is_rare() -> None:
    of_one = counted([(5.0, 0.01)])
    assert of_one.at(0.0) == pytest.approx(1)
    assert of_one.at(2.9) == pytest.approx(0.01, rel=0.1)
    assert of_one.at(8.0) < of_one.at(2.9)
    assert 2e-5 < counted([(5.0, 0.01), (5.0, 0.01)]).at(9.0) < 1e-4
    assert counted([]) == NO_BODY


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(10, 1000, width=32))
def test_an_answer_in_the_sample_is_no_evidence_against_others(seed: int, score: float) -> None:
    sample = np.random.default_rng(seed).exponential(size=2_000).astype(np.float32)
    others = np.linspace(0, np.sort(sample)[-2], 50, dtype=np.float32)
    without = sampled_tail(sample).shares(others)
    sample[np.argmax(sample)] = score
    assert sampled_tail(sample).shares(others) == pytest.approx(without)
    assert sampled_tail(sample).shares(np.array([score]))[0] < 0.001


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.001, 0.5))
def test_a_count_of_words_meets_the_scores_that_are_known(seed: int, share: float) -> None:
    top = np.sort(np.random.default_rng(seed).uniform(3, 9, TOP).astype(np.float32))[::-1]
    body = agreeing(counted([(4.0, share), (3.0, 0.3), (5.0, 0.05)]), top, 10_000)
    assert body.at(float(top[-1])) == pytest.approx((TOP - ANSWERS) / 10_000)
    assert body.at(0.0) == pytest.approx(1)


def test_evidence_of_both_parts_is_as_rare_as_it_is_said_to_be() -> None:
    rng = np.random.default_rng(0)
    together = rng.exponential(size=(2, 1_000_000)) / np.log(10)
    evidence = together[0] + WORDS_WEIGHT * together[1]
    for share in (0.1, 0.001):
        assert np.mean(joint(evidence) <= share) == pytest.approx(share, rel=0.15)


def test_hits_say_what_is_expected_only_when_asked(opened: sememe.Collection) -> None:
    assert opened.search("alpha number 7", k=1)[0].expected is None
    exact = opened.search(TEXTS[7], k=10, route=Route(calibrated=True))
    expected = [hit.expected for hit in exact]
    assert expected == sorted(expected)  # type: ignore[type-var]
    assert "judge" in str(exact.plan)
    most = expected[2]
    few = opened.search(TEXTS[7], k=10, route=Route(expected=most))
    assert [hit.id for hit in few] == [hit.id for hit in exact if hit.expected <= most]  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["vector", "lexical", "hybrid"])
def test_the_same_is_stated_of_a_hit_whatever_else_is_asked_for(opened: sememe.Collection, mode: Mode) -> None:
    plain = Query(text="alpha beta number 7", mode=mode, k=30, route=Route(calibrated=True))
    expected = {hit.id: hit.expected for hit in opened.search(plain)}
    assert len(set(expected.values())) > 1
    where = parse({"year": {"$gte": 1995}})
    for other in (
        replace(plain, k=3), replace(plain, where=where), replace(plain, where=where, k=100),
        replace(plain, k=5, shape=Shape(page=2)), replace(plain, k=5, shape=Shape(mmr=0.5)),
    ):  # fmt: skip
        found = {hit.id: hit.expected for hit in opened.search(other) if hit.id in expected}
        assert found
        assert found == pytest.approx({number: expected[number] for number in found}, rel=1e-5)


def test_what_a_query_is_made_of_changes_nothing_of_what_is_stated_of_others(opened: sememe.Collection) -> None:
    liked = tuple(Part(Stored(hit.document)) for hit in opened.search(TEXTS[7], k=70))
    plain = Query(parts=liked, k=5, route=Route(calibrated=True))
    expected = {hit.id: hit.expected for hit in opened.search(plain)}
    for other in (replace(plain, k=90), replace(plain, where=parse({"year": {"$gte": 0}}))):
        found = {hit.id: hit.expected for hit in opened.search(other)}
        assert {number: found[number] for number in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("threshold", [0, -1.0, float("nan"), True, "a"])
def test_a_threshold_that_is_no_number_of_chunks_is_refused(opened: sememe.Collection, threshold: object) -> None:
    with pytest.raises(InputError, match="threshold"):
        opened.search("alpha", route=Route(expected=threshold))  # type: ignore[arg-type]


def test_a_hybrid_search_joins_by_evidence_and_scores_what_one_part_missed(opened: sememe.Collection) -> None:
    hits = opened.search("zebra", k=301, mode="hybrid")
    assert {hit.kind for hit in hits} == {"evidence"}
    assert hits[0].score >= hits[-1].score
    assert opened.search("zebra", k=3, mode="hybrid", route=Route(fusion="rrf"))[0].kind == "rrf"
    with pytest.raises(InputError, match="fusion"):
        opened.search("zebra", mode="hybrid", route=Route(fusion="sum"))  # type: ignore[arg-type]


def test_few_chunks_have_no_tail_and_are_fused_by_ranks(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as small:
        small.add(["one text", "another text"])
        hits = small.search("text", mode="hybrid", route=Route(calibrated=True))
        assert "fused by ranks" in small.search("text", mode="hybrid", route=Route(fusion="evidence")).notes[0]
    assert {(hit.kind, hit.expected) for hit in hits} == {("rrf", None)}


def test_equal_scores_are_as_many_as_they_are_and_no_rounding_tells_them_apart() -> None:
    tail = judged(np.concatenate([np.linspace(0, 0.3, 1_600), np.full(400, 0.9)]).astype(np.float32))
    scores = np.nextafter(np.float32(0.9), np.array([0, 1, 2], np.float32))
    assert tail.shares(scores) * 2_000 == pytest.approx(np.full(3, 400), rel=0.02)


def test_texts_that_are_nearly_the_same_do_not_make_what_is_better_impossible() -> None:
    sample = np.sort(np.random.default_rng(0).normal(0.2, 0.1, 2_000).astype(np.float32))
    best = np.concatenate([[0.62, 0.58, 0.57, 0.565, 0.56], np.full(12, 0.55)]).astype(np.float32)
    for gap in (0.0, 1e-6, 1e-3):
        top = np.sort(np.concatenate([best - gap * np.arange(17), sample[-48:]]))[::-1].astype(np.float32)
        shares = tail_of(top, body_of(sample), 2_000).shares(top[:6])
        assert np.all(np.diff(shares) >= 0)
        assert shares[0] * 2_000 > 0.01


def test_no_share_is_above_one_where_fewer_chunks_have_a_vector_than_words() -> None:
    top = np.linspace(9.0, 3.0, TOP).astype(np.float32)
    shares = tail_of(top, agreeing(counted([(2.0, 0.1), (3.0, 0.05)]), top, 50), 50).shares(np.arange(0.0, 9.0))
    assert np.all((shares > 0) & (shares <= 1))
