"""Why a chunk is found or is not; what a score is worth; and parts that are joined by it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

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
from sememe.search.calibrate import WORDS_WEIGHT, counted, joint, tail_of
from sememe.search.query import Query, Route

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


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_stated_shares_are_observed_where_scores_are_random(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tail = tail_of(rng.exponential(size=2_000).astype(np.float32), 1_000_000)
    others = rng.exponential(size=200_000).astype(np.float32)
    for stated in (0.02, 0.004):
        assert 0.2 < np.mean(tail.shares(others) <= stated) / stated < 4


def test_stated_shares_are_observed_on_average_beyond_what_the_sample_holds() -> None:
    rng = np.random.default_rng(0)
    others = np.sort(rng.exponential(size=1_000_000).astype(np.float32))[-20_000:]
    tails = [tail_of(rng.exponential(size=2_000).astype(np.float32), 1_000_000) for _ in range(100)]
    for stated, low, high in ((0.005, 0.9, 1.1), (0.0005, 0.75, 1.25), (0.0001, 0.4, 1.25)):
        seen = np.mean([np.count_nonzero(tail.shares(others) <= stated) / 1_000_000 for tail in tails])
        assert low < seen / stated < high


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(10, 1000))
def test_an_answer_in_the_sample_does_not_make_random_chunks_out_of_others(seed: int, score: float) -> None:
    rng = np.random.default_rng(seed)
    sample = rng.exponential(size=2_000).astype(np.float32)
    without = tail_of(sample, 4_000)
    second = np.sort(sample)[-2]
    sample[np.argmax(sample)] = score
    others = np.linspace(0, second, 100, dtype=np.float32)
    assert tail_of(sample, 4_000).shares(others) == pytest.approx(without.shares(others))
    # Of a collection that is its own sample the best is the answer, and no chunk equals the next by chance.
    assert tail_of(sample, 2_000).shares(np.array([second]))[0] == pytest.approx(1 / 2_000, rel=0.01)


@given(st.lists(st.floats(-2, 2, width=32), min_size=40, max_size=200))
def test_a_higher_score_is_never_less_surprising(scores: list[float]) -> None:
    tail = tail_of(np.array(scores, np.float32), 100)
    shares = tail.shares(np.linspace(-3, 3, 50, dtype=np.float32))
    assert (np.diff(shares) <= 1e-12).all()
    assert ((shares > 0) & (shares <= 1)).all()


def test_a_term_is_as_surprising_as_it_is_rare() -> None:
    of_one = counted([(5.0, 0.01)]).shares(np.array([0.0, 3.0, 8.0], np.float32))
    assert of_one[0] == pytest.approx(1)
    assert of_one[1] == pytest.approx(0.01, rel=0.1)
    assert of_one[2] < of_one[1]
    of_two = counted([(5.0, 0.01), (5.0, 0.01)]).shares(np.array([9.0], np.float32))
    assert 2e-5 < of_two[0] < 1e-4
    assert counted([]).shares(np.array([1.0], np.float32)).tolist() == [1.0]


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
    assert expected[0] < 0.05  # type: ignore[operator]
    assert "judge" in str(exact.plan)
    few = opened.search(TEXTS[7], k=10, route=Route(expected=0.05))
    assert [hit.id for hit in few] == [exact[0].id]


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
    assert {(hit.kind, hit.expected) for hit in hits} == {("rrf", None)}


def test_equal_scores_are_as_many_as_they_are_and_no_rounding_tells_them_apart() -> None:
    sample = np.concatenate([np.linspace(0, 0.3, 1_600), np.full(400, 0.9)]).astype(np.float32)
    tail = tail_of(sample, 2_000)
    scores = np.nextafter(np.float32(0.9), np.array([0, 1, 2], np.float32))
    assert tail.shares(scores) * 2_000 == pytest.approx(np.full(3, 399), rel=0.02)
