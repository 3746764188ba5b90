"""A probe compares searches with an exact scan, and what is aimed at is found from then on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeEmbedder
from typer.testing import CliRunner

import sememe
from sememe.cli import application
from sememe.errors import InputError
from sememe.evaluate import probe as probing
from sememe.evaluate.probe import aim, probe, wheres
from sememe.index import faiss
from sememe.ingest import layers
from sememe.search.plan import Neighbours, Scan

DOCUMENTS = 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Six hundred documents with an index of neighbours, a field of ten values and one of two."""
    path = tmp_path_factory.mktemp("probe") / ".sememe"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss, "MIN_ROWS", 200)
        patch.setattr(layers, "MIN_COLUMN_ROWS", 4)
        with sememe.open(path, model=FakeEmbedder()) as collection:
            collection.add(
                {"id": f"d{n:04}", "text": f"text {n} of many", "metadata": {"tenth": n % 10, "half": n % 2 == 0}}
                for n in range(DOCUMENTS)
            )
            collection.optimize()
        yield path


@pytest.fixture
def collection(folder: Path) -> Iterator[sememe.Collection]:
    with sememe.open(folder, model=FakeEmbedder()) as opened:
        yield opened


def test_filters_let_through_the_share_that_is_said(collection: sememe.Collection) -> None:
    found = wheres(collection)
    assert [share for _, share in found] == sorted((share for _, share in found), reverse=True)
    for where, share in found:
        assert collection.search("x", k=1, where=where).matched == round(share * DOCUMENTS)
    assert {"half": True} in [where for where, _ in found]
    assert len(found) >= 3


def test_a_probe_finds_everything_where_every_vector_is_compared(collection: sememe.Collection) -> None:
    (row,) = probe(collection, sample=20, recall=1.0, filters=False)
    assert (row.recall, row.worst, row.exact, row.count) == (1.0, 1.0, True, 20)


def test_a_probe_counts_what_a_coarse_search_misses(
    collection: sememe.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = probing._ask

    def worse(*arguments: object, recall: float | None, **options: object) -> object:
        hits = everything(*arguments, recall=recall, **options)  # type: ignore[arg-type]
        if recall != 1.0:
            del hits[-5:]
        return hits

    monkeypatch.setattr(probing, "_ask", worse)
    stored, queries = probe(collection, ["text 7 of many"], sample=20, filters=False)
    assert (stored.recall, queries.recall) == (pytest.approx(0.5), pytest.approx(0.5))
    assert not stored.exact


def test_what_is_aimed_at_is_asked_for_from_then_on(folder: Path) -> None:
    with sememe.open(folder, model=FakeEmbedder()) as collection:
        chosen = aim(collection, 0.5, sample=50)
        assert chosen.found >= 0.5
        assert isinstance(collection.search("x").plan.steps[1], Neighbours)
        assert aim(collection, 1.0, sample=5).found == 1.0
    with sememe.open(folder, model=FakeEmbedder()) as again:
        assert isinstance(again.search("x").plan.steps[1], Scan)
        assert isinstance(again.search("x", recall=0.5).plan.steps[1], Neighbours)
        aim(again, 0.99, sample=50)


@pytest.mark.parametrize(("recall", "sample"), [(0.0, 10), (1.5, 10), (0.9, 0)])
def test_a_number_that_means_nothing_is_refused(collection: sememe.Collection, recall: float, sample: int) -> None:
    with pytest.raises(InputError, match=r"give (a share|at least)"):
        aim(collection, recall, sample=sample)


def test_a_collection_of_one_chunk_cannot_be_probed(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.add("one text")
        with pytest.raises(InputError, match="nothing to probe below 2"):
            probe(collection)


def test_optimize_says_what_it_chose(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with sememe.open(path, model=FakeEmbedder()) as collection:
        collection.add({"id": f"{n}", "text": f"text {n}"} for n in range(9))
    done = CliRunner().invoke(application(), ["optimize", "--recall", "0.9", "-c", str(path), "--json"])
    found = json.loads(done.stdout)
    assert (found["wanted"], found["asked"], found["found"], found["count"]) == (0.9, 0.9, 1.0, 9)
    assert "no index of neighbours" in found["how"]
    refused = CliRunner().invoke(application(), ["optimize", "--set", "x", "-c", str(path)])
    assert "give --recall" in str(refused.exception)
