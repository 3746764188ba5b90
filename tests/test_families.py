"""Every family of models against vectors that sentence-transformers made of the same folders, on every engine."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sememe
from sememe.models.encoder import TextEncoder
from sememe.settings import EngineName, from_environment
from sememe.types import Embedded

REFERENCE = Path(__file__).parent / "reference"
sys.path.insert(0, str(REFERENCE))
FOLDERS = sorted(path for path in (REFERENCE / "families").iterdir() if path.is_dir())
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")
CLOSE = 1e-4


def reference_texts() -> list[str]:
    """The texts that make_families.py chose, by the same rule."""
    import gzip
    import json

    with gzip.open(REFERENCE / "texts.jsonl.gz", "rt", encoding="ascii") as lines:
        rows = [json.loads(line)["text"] for line in lines]
    chosen = [*rows[:500:20], *rows[500:]]
    return [text for text in chosen if text.isascii() or text == text.encode("utf-8", "replace").decode()][:50]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return reference_texts()


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "families.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> EngineName:
    chosen: EngineName = request.param
    return chosen


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def model(request: pytest.FixtureRequest, engine: EngineName) -> TextEncoder:
    settings = replace(from_environment(), precision="f32", engine=engine)
    return sememe.load_model(request.param, settings=settings)


def name_of(model: TextEncoder) -> str:
    return model.space.model.removesuffix("-hub")


def read_whole(embedded: Embedded) -> np.ndarray:
    """Which texts a table read: sentence-transformers sets it no limit; here it reads 512 tokens, and says so."""
    whole: np.ndarray = embedded.kept == embedded.tokens
    assert whole.sum() > 40
    return whole


def assert_close(found: np.ndarray, reference: np.ndarray) -> None:
    np.testing.assert_allclose(found, reference, atol=CLOSE * max(1.0, float(np.abs(reference).max())))


def test_fifty_texts_have_the_vectors_of_sentence_transformers(
    model: TextEncoder, texts: list[str], expected: dict[str, np.ndarray]
) -> None:
    reference = expected[name_of(model)]
    assert len(reference) == 50
    found = model.encode(texts)
    whole = read_whole(model.embed(texts)) if name_of(model) == "static" else np.full(50, True)
    assert_close(found[whole], reference[whole])


def test_queries_and_documents_have_theirs(
    model: TextEncoder, texts: list[str], expected: dict[str, np.ndarray]
) -> None:
    for role, encode in (("query", model.encode_query), ("document", model.encode_document)):
        reference = expected.get(f"{name_of(model)}:{role}")
        if reference is not None:
            table = (name_of(model), role) == ("router", "query")
            whole = read_whole(model.embed(texts, role="query")) if table else np.full(50, True)
            assert_close(encode(texts)[whole], reference[whole])


def test_a_text_alone_has_the_vector_that_it_has_among_longer_and_shorter_ones(
    model: TextEncoder, texts: list[str]
) -> None:
    together = model.encode(texts)
    alone = np.stack([model.encode(text) for text in texts[::4]])
    np.testing.assert_allclose(together[::4], alone, atol=1e-5 * max(1.0, float(np.abs(alone).max())))


def test_the_reference_tells_the_texts_apart(expected: dict[str, np.ndarray]) -> None:
    for rows in expected.values():
        assert len(np.unique(rows.round(3), axis=0)) > 40
