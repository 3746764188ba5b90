"""Several spaces searched at once: their rankings fused, against those of each space alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st
from test_words_and_tokens import FOLDERS, QUERY, TEXTS, index_files

import sememe
from sememe.errors import InputError, NotFound
from sememe.explain import explain, page
from sememe.filters import parse
from sememe.models import load_encoder
from sememe.search.fuse import ordered, reciprocal_ranks
from sememe.search.parts import Part
from sememe.search.query import OWN, Query, Route
from sememe.search.shape import Recency, Shape
from sememe.space import Encoder
from sememe.spaces import add_space

SPACES = (OWN, "other", "sparse", "late")
DEPTH = 100
OTHER = FakeEmbedder(dim=8, model="other", digest="1" * 64)
EVERY = Route(space=SPACES)


def reopened(folder: Path) -> sememe.Collection:
    made = sememe.open(folder, model=FakeEmbedder())
    made.further.load = lambda name, kind: OTHER if str(name) == "other" else loaded(str(name))
    return made


@cache
def loaded(name: str) -> Encoder:
    """A model, once for all tests."""
    return load_encoder(name)


def filled(folder: Path) -> sememe.Collection:
    """A collection of 40 texts with a space of each kind beside its own."""
    made = reopened(folder)
    made.add([{"id": f"d{i}", "text": text, "metadata": {"n": i}} for i, text in enumerate(TEXTS)])
    add_space(made, "other", OTHER)
    for kind, model in FOLDERS.items():
        add_space(made, kind, model)
    return made


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sememe.Collection]:
    """One that no test changes, whose files have not seen its last changes."""
    with filled(tmp_path_factory.mktemp("several") / "c") as made:
        made.add({"id": "newer", "text": "the garden of the newest market", "metadata": {"n": 7}})
        made.delete("d11")
        yield made


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[sememe.Collection]:
    with filled(tmp_path / "c") as made:
        yield made


def fused(opened: sememe.Collection, query: Query) -> list[tuple[str, float]]:
    """What each part of a query finds alone, added up by the arithmetic: ids and scores, best first."""
    alone = [Query(QUERY, k=DEPTH, where=query.where, route=Route(space=name)) for name in query.route.spaces]
    if query.mode == "hybrid":
        alone.append(Query(QUERY, k=DEPTH, where=query.where, mode="lexical"))
    rankings = [np.array([int(hit.id.removeprefix("chunk:")) for hit in opened.search(one)]) for one in alone]
    scores = reciprocal_ranks([(ids, np.zeros(len(ids), np.float32)) for ids in rankings])
    return [(f"chunk:{found}", score) for found, score in ordered(scores)][: query.k]


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(SPACES), min_size=2, unique=True), st.sampled_from(["vector", "hybrid"]),
    st.none() | st.integers(0, 41), st.integers(1, 45),
)  # fmt: skip
def test_several_spaces_give_what_their_rankings_add_up_to(
    still: sememe.Collection, names: list[str], mode: str, below: int | None, k: int
) -> None:
    where = None if below is None else parse({"n": {"$lt": below}})
    query = Query(QUERY, k=k, where=where, mode=mode, route=Route(space=tuple(names)))  # type: ignore[arg-type]
    hits = still.search(query)
    expected = fused(still, query)
    assert [hit.id for hit in hits] == [found for found, _ in expected]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected])
    assert {hit.kind for hit in hits} <= {"rrf"}
    assert all(below is None or hit.metadata["n"] < below for hit in hits)
    steps = [step["space"] for step in hits.plan.as_dicts() if "space" in step]
    assert steps == names, "the plan that is printed is the one that ran"


def test_every_ranking_is_a_stage_of_the_hit(still: sememe.Collection) -> None:
    (hit, *_) = still.search(QUERY, mode="hybrid", route=EVERY)
    parts = ["@own:cosine", "other:cosine", "sparse:dot", "late:maxsim", "bm25"]
    assert [stage.name for stage in hit.stages] == parts
    assert hit.score == pytest.approx(sum(1 / (60 + stage.rank) for stage in hit.stages))
    for stage, name in zip(hit.stages, SPACES, strict=False):
        alone = still.search(QUERY, k=DEPTH, route=Route(space=name))
        assert alone[stage.rank - 1].id == hit.id
        assert alone[stage.rank - 1].score == pytest.approx(stage.score)


def test_one_space_in_a_list_is_that_space(still: sememe.Collection) -> None:
    assert still.search(QUERY, route=Route(space=("late",))) == still.search(QUERY, route=Route(space="late"))
    for own in (OWN, (OWN,), ()):
        assert still.search(QUERY, route=Route(space=own)) == still.search(QUERY)


def test_what_comes_is_found_and_what_goes_is_not_in_whatever_space(changing: sememe.Collection) -> None:
    route = Route(space=("other", "sparse"))
    before = changing.search(QUERY, k=50, route=route)
    with reopened(changing.path) as writer:
        writer.add({"id": "new", "text": QUERY})
        writer.delete(before[0].document)
    after = changing.search(QUERY, k=50, route=route)
    assert {hit.document for hit in after} == {hit.document for hit in before[1:]} | {"new"}
    assert after[0].document == "new"


def test_what_one_space_lacks_the_others_find_and_a_note_says_so(changing: sememe.Collection) -> None:
    with reopened(changing.path) as before_there_were_spaces:
        before_there_were_spaces.further.targets = list  # type: ignore[method-assign]
        before_there_were_spaces.add({"id": "own alone", "text": QUERY})
    hits = changing.search(QUERY, k=50, route=Route(space=(OWN, "other", "late")))
    (hit,) = (hit for hit in hits if hit.document == "own alone")
    assert [stage.name for stage in hit.stages] == ["@own:cosine"]
    assert ["1 inputs have no vector in space 'other'" in note for note in hits.notes] == [True, False]
    assert "space 'late'" in hits.notes[1]
    told = explain(changing, Query(QUERY, k=50, route=Route(space=(OWN, "other", "late"))), "own alone")
    assert [(one.name, one.rank is None) for one in told.standings] == [
        ("@own:cosine", False), ("other:cosine", True), ("late:maxsim", True), ("rrf", False),
    ]  # fmt: skip


def test_pages_are_one_long_answer_while_others_write(changing: sememe.Collection) -> None:
    whole = [hit.id for hit in changing.search(QUERY, k=40, route=EVERY)]
    after, pages = "", []
    while not pages or after:
        hits = changing.search(Query(QUERY, k=7, route=EVERY, shape=Shape(after=after)))
        pages += [hit.id for hit in hits]
        after = hits.next
        changing.add({"text": f"{QUERY} {len(pages)}"})
    assert pages == whole
    cursor = changing.search(Query(QUERY, k=7, route=EVERY, shape=Shape())).next
    with pytest.raises(InputError, match="another query"):
        changing.search(Query(QUERY, k=7, route=Route(space=SPACES[:2]), shape=Shape(after=cursor)))


def test_shapes_and_rerankers_go_with_several_spaces(still: sememe.Collection) -> None:
    every = still.search(QUERY, k=40, route=EVERY)
    least = every[9].score
    kept = still.search(Query(QUERY, k=40, route=EVERY, shape=Shape(threshold=least)))
    assert [hit.id for hit in kept] == [hit.id for hit in every if hit.score >= least]
    (first, *_) = still.search(Query(QUERY, k=40, route=EVERY, shape=Shape(boosts=(Recency("@added", 1e9),))))
    assert first.terms[1].value == pytest.approx(4 / 61 / 10, rel=1e-3), "a tenth of the greatest score of four"

    class Backwards:
        def rerank(self, query: str, texts: list[str], *, instruction: str | None = None) -> np.ndarray:
            return np.array([int(text.rsplit(" ", 1)[1]) / 100 for text in texts], np.float32)

    best = still.search(QUERY, k=2, where={"n": {"$lt": 7}}, route=Route(space=SPACES, rerank=Backwards(), depth=9))
    assert [hit.document for hit in best] == ["d6", "d5"]


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_the_explanation_is_of_the_search_that_ran(still: sememe.Collection, mode: str) -> None:
    query = Query(QUERY, k=5, mode=mode, route=EVERY)  # type: ignore[arg-type]
    hits = still.search(query)
    told = explain(still, query, hits[2].id)
    assert told.rank == 3
    assert str(told.plan) == str(hits.plan)
    assert [(one.name, one.rank, pytest.approx(one.score)) for one in told.standings[:-1]] == [
        (stage.name, stage.rank, stage.score) for stage in hits[2].stages
    ]
    dot, maxsim = told.standings[2], told.standings[3]
    assert sum(part.score for part in told.terms) == pytest.approx(dot.score, rel=1e-4)
    assert sum(part.score for part in told.tokens) == pytest.approx(maxsim.score, rel=1e-4)
    assert (told.terms_of, told.tokens_of) == ("sparse", "late")
    assert told.heat, "of the vectors of the first space that has one a text"
    last = still.search(Query(QUERY, k=40, mode=mode, route=EVERY))[-1]  # type: ignore[arg-type]
    assert "its rank by rrf is 40, and 5 hits were asked for" in explain(still, query, last.id, heat=False).fell


def test_the_explanation_names_the_space_whose_tokens_it_tells_of(changing: sememe.Collection) -> None:
    add_space(changing, "second", FOLDERS["late"].with_name("late-pylate"))
    for names in (("late", "second"), ("second", "late"), ("sparse", "second")):
        hits = changing.search(Query(QUERY, k=1, route=Route(space=names)))
        told = explain(changing, Query(QUERY, k=1, route=Route(space=names)), hits[0].id)
        of = names[0] if names[0] != "sparse" else "second"
        assert told.tokens_of == of
        (stage,) = (stage for stage in hits[0].stages if stage.name == f"{of}:maxsim")
        assert sum(part.score for part in told.tokens) == pytest.approx(stage.score, rel=1e-4)
        assert f"part of the score in {of}" in page(told)


def test_damaged_files_of_one_space_change_nothing(changing: sememe.Collection) -> None:
    before = changing.search(QUERY, k=40, route=EVERY)
    (codes,) = (file for file in index_files(changing, "late") if file.name == "packed.npy")
    codes.write_bytes(codes.read_bytes()[:-1] + b"\xff")
    with reopened(changing.path) as again:
        assert again.search(QUERY, k=40, route=EVERY) == before


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (Query(QUERY, route=Route(space=("late", "sparse", "late"))), "'late' is named twice"),
        (Query(QUERY, route=Route(space=("", OWN))), "'@own' is named twice"),
        (Query(QUERY, mode="lexical", route=EVERY), "looks in none"),
        (Query(QUERY, mode="hybrid", alpha=0.5, route=EVERY), "alpha weighs one space"),
        (Query(QUERY, route=Route(space=SPACES, funnel="bits:50,full")), "a funnel goes through one"),
        (Query(QUERY, route=Route(space=SPACES, calibrated=True)), "calibrated in one"),
        (Query(QUERY, route=Route(space=SPACES, expected=0.1)), "calibrated in one"),
        (Query(QUERY, route=Route(space=SPACES, instruction="a plumber's view")), "an instruction is told"),
        (Query(QUERY, parts=(Part("other"),), route=EVERY), "parts of a query"),
        (Query(vector=np.ones(16, np.float32), route=EVERY), "the query is a vector"),
    ],
)
def test_what_several_spaces_cannot_be_asked_is_refused(still: sememe.Collection, query: Query, said: str) -> None:
    with pytest.raises(InputError, match=said):
        still.search(query)


def test_a_space_that_is_not_there_is_named(still: sememe.Collection) -> None:
    with pytest.raises(NotFound, match="no space 'odd'"):
        still.search(QUERY, route=Route(space=("late", "odd")))
