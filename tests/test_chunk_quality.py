"""What `report --chunks` counts: each fault where it is, and none where it is not."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEmbedder
from typer.testing import CliRunner

import sememe
from sememe.cli import application
from sememe.evaluate.chunks import KINDS, SHOWN, Piece, is_noise, measure, near_duplicates, of_collection, off_topic
from sememe.vectors import normalise

GOOD = Piece(
    id=1, document="a", start=0, end=40, text="A whole sentence that says something.", headings=(), tokens=9, kept=9,
    input=1, prose=True,
)  # fmt: skip


def faults(*pieces: Piece) -> dict[str, int]:
    return {kind: count for kind, count in measure(pieces).faults.items() if count}


def test_a_good_chunk_has_no_fault() -> None:
    assert faults(GOOD) == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("# Only a heading", "orphan heading"), ("=====", "orphan heading"), ("# One\n\n## Two", "orphan heading"),
        ("one two", "almost empty"), ("+--+--+ |..|::| ****** //// $$$$ a", "noise"),
    ],
)  # fmt: skip
def test_a_fault_of_a_text_is_counted_once(text: str, fault: str) -> None:
    assert faults(replace(GOOD, text=text)) == {fault: 1}


def test_a_heading_mark_in_a_program_is_a_comment() -> None:
    assert faults(replace(GOOD, text="# only a comment in a program", prose=False)) == {}


def test_what_the_model_does_not_read_is_counted() -> None:
    assert faults(replace(GOOD, tokens=300, kept=256)) == {"truncated": 1}


def test_the_same_input_twice_is_one_duplicate_wherever_it_is() -> None:
    assert faults(GOOD, replace(GOOD, id=2, document="b")) == {"duplicate": 1}


@pytest.mark.parametrize(
    ("first", "second", "cut"),
    [
        ("It begins and goes", "on in the next one of them.", 1), ("It begins and ends.", "Then comes another one.", 0),
        ("It begins and ends.", "then comes a small letter.", 0), ("A list of things:", "first of all a thing.", 0),
        ("It begins and goes", "On in capitals, perhaps a title.", 0),
    ],
)  # fmt: skip
def test_a_sentence_is_cut_where_it_neither_ends_nor_begins(first: str, second: str, cut: int) -> None:
    before = replace(GOOD, text=f"Some words. {first}", end=30)
    after = replace(GOOD, id=2, text=second, start=31, end=60, input=2)
    assert faults(before, after).get("cut sentence", 0) == cut
    assert faults(before, replace(after, document="b")) == {}


def test_lengths_make_bars_and_percentiles() -> None:
    quality = measure(replace(GOOD, id=i, tokens=i, kept=i, input=i) for i in range(1, 101))
    assert (quality.percentile(0.5), quality.percentile(0.95), quality.percentile(1.0)) == (50, 95, 100)
    assert sum(count for _, _, count in quality.histogram()) == 100
    bars = quality.histogram()
    assert all(last + 1 == first for (_, last, _), (first, _, _) in pairwise(bars))


def test_few_examples_are_kept_of_many_faults() -> None:
    quality = measure(replace(GOOD, id=i, text="x", input=i) for i in range(1000))
    assert quality.faults["almost empty"] == 1000
    assert [example.id for example in quality.examples["almost empty"]] == [f"chunk:{i}" for i in range(SHOWN)]


def test_noise_is_signs_and_no_script() -> None:
    assert is_noise("┌──┬──┐│  │  │└──┴──┘")
    assert not any(
        map(is_noise, ("これは日本語の文章です。", "المكتبة العامة", "__init__ = __all__", "कखग", "a, b; c!"))
    )


def test_near_duplicates_are_those_that_numpy_finds_one_by_one() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(2500, 24)).astype(np.float32)
    copies = random.integers(0, 1000, 40)
    vectors[2000:2040] = vectors[copies] + 0.01 * random.normal(size=(40, 24))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = vectors @ vectors.T
    expected = [row for row in range(len(vectors)) if (likeness[row, :row] >= 0.98).any()]
    assert near_duplicates(vectors) == expected
    assert len(expected) >= 40


def test_a_chunk_is_off_topic_when_it_lies_with_other_documents() -> None:
    random = np.random.default_rng(1)
    topics = normalise(random.normal(size=(12, 48)).astype(np.float32))
    owners = np.repeat(np.arange(12), 6)
    vectors = normalise(topics[owners] + 0.05 * random.normal(size=(72, 48)).astype(np.float32))
    vectors[7] = -topics[1]
    assert off_topic(vectors, owners) == (72, [7])
    assert off_topic(vectors[:30], owners[:30]) == (0, [])
    assert off_topic(vectors, np.arange(72)) == (0, [])


def test_a_collection_is_measured_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with sememe.open(tmp_path / ".sememe", model=FakeEmbedder()) as collection:
        collection.add([{"id": f"{i}", "text": "The same sentence again and again."} for i in range(3)])
        collection.add([{"id": "other", "text": "Something else is said here."}, {"id": "empty", "text": "x"}])
    quality = of_collection(tmp_path / ".sememe")
    assert (quality.chunks, quality.compared) == (5, 3)
    assert {kind: n for kind, n in quality.faults.items() if n} == {"duplicate": 2, "almost empty": 1}
    done = CliRunner().invoke(application(), ["report", "--chunks", "--json"])
    assert json.loads(done.stdout)["faults"] == {kind: quality.faults[kind] for kind in KINDS}
    assert "chunk:" in CliRunner().invoke(application(), ["report", "--chunks"]).stdout
