"""sememe against sentence-transformers: vectors and token counts made by it beforehand (see reference/)."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sememe.errors import ModelError
from sememe.models import load_model
from sememe.models.encoder import TextEncoder
from sememe.settings import Precision, from_environment
from sememe.types import Embedded

REFERENCE = Path(__file__).parent / "reference"
LIMIT = 256
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    with gzip.open(REFERENCE / "texts.jsonl.gz", "rt", encoding="ascii") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def reference() -> npt.NDArray[np.float64]:
    vectors = np.load(REFERENCE / "minilm.npy").astype(np.float64)
    unit: npt.NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@pytest.fixture(scope="module")
def model() -> TextEncoder:
    return load("f32")


@pytest.fixture(scope="module")
def embedded(model: TextEncoder, rows: Rows) -> Embedded:
    return model.embed([row["text"] for row in rows])


def load(precision: Precision) -> TextEncoder:
    return load_model("all-MiniLM-L6-v2", settings=replace(from_environment(), precision=precision))


def far(rows: Rows, found: Embedded, reference: npt.NDArray[np.float64], least: float) -> list[tuple[str, float]]:
    """The kinds and cosines of the texts whose vector is further from the reference than promised."""
    cosines = (found.vectors.astype(np.float64) * reference).sum(1)
    return [(row["kind"], float(cosine)) for row, cosine in zip(rows, cosines, strict=True) if not cosine >= least]


def test_the_reference_holds_real_texts_of_every_length_and_the_odd_ones(rows: Rows) -> None:
    plain = sorted(len(row["text"].split()) for row in rows if row["kind"] == "plain")
    assert len(plain) == 500
    assert (plain[0], plain[-1]) == (1, 600)
    assert len(rows) - len(plain) >= 20


def test_every_text_has_the_vector_of_the_reference_in_f32(
    rows: Rows, reference: npt.NDArray[np.float64], embedded: Embedded
) -> None:
    assert embedded.vectors.shape == reference.shape
    assert embedded.vectors.dtype == np.float32
    assert far(rows, embedded, reference, 0.9999) == []


def test_every_text_has_the_vector_of_the_reference_in_bf16(rows: Rows, reference: npt.NDArray[np.float64]) -> None:
    model = load("bf16")
    try:
        model.encode("the model is compiled at its first use")
    except ModelError as error:
        pytest.skip(str(error))
    assert far(rows, model.embed([row["text"] for row in rows]), reference, 0.999) == []


def test_vectors_have_unit_length(embedded: Embedded) -> None:
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors.astype(np.float64), axis=1), 1, atol=1e-5)


def test_every_text_has_as_many_tokens_as_the_reference_says(rows: Rows, embedded: Embedded) -> None:
    assert embedded.tokens.tolist() == [row["tokens"] for row in rows]


def test_exactly_the_texts_over_the_limit_are_truncated_to_it(rows: Rows, embedded: Embedded) -> None:
    truncated = embedded.kept < embedded.tokens
    assert truncated.tolist() == [row["tokens"] > LIMIT for row in rows]
    assert truncated.any()
    assert set(embedded.kept[truncated].tolist()) == {LIMIT}


def test_every_lone_surrogate_is_replaced_and_counted(rows: Rows, embedded: Embedded) -> None:
    assert embedded.replaced.tolist() == [row["replaced"] for row in rows]
    assert embedded.replaced.sum() == 5


def test_a_text_alone_has_the_vector_that_it_has_among_others(
    model: TextEncoder, rows: Rows, embedded: Embedded
) -> None:
    chosen = [*range(0, 500, 50), *range(500, len(rows))]
    alone = np.stack([model.encode(rows[i]["text"]) for i in chosen])
    np.testing.assert_allclose(alone, embedded.vectors[chosen], atol=1e-5)
