"""Sparse and late-interaction encoders against what sentence-transformers makes of the same folders."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_families import REFERENCE

from sememe.errors import ModelError
from sememe.models import load_late, load_sparse
from sememe.models.late import LocalLateEncoder
from sememe.models.sparse import LocalSparseEncoder
from sememe.settings import EngineName, from_environment
from sememe.types import Role, SparseVector

HEADS = REFERENCE / "heads"
SPARSE, LATE = sorted(HEADS.glob("sparse-*")), sorted(HEADS.glob("late-*"))
ROLES: tuple[Role, ...] = ("query", "document")
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")
CLOSE = 1e-4


def sparse(folder: Path, engine: EngineName = "auto") -> LocalSparseEncoder:
    return load_sparse(folder, settings=replace(from_environment(), precision="f32", engine=engine))


def late(folder: Path, engine: EngineName = "auto") -> LocalLateEncoder:
    return load_late(folder, settings=replace(from_environment(), precision="f32", engine=engine))


def as_rows(vectors: list[SparseVector], width: int) -> np.ndarray:
    rows = np.zeros((len(vectors), width), np.float32)
    for row, vector in zip(rows, vectors, strict=True):
        row[vector.indices] = vector.values
    return rows


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("folder", SPARSE, ids=lambda folder: folder.name)
def test_words_have_the_weights_of_the_reference(
    folder: Path, engine: EngineName, head_texts: list[str], head_vectors: dict[str, np.ndarray]
) -> None:
    encoder = sparse(folder, engine)
    for role in ROLES:
        reference = head_vectors[f"{folder.name}:{role}"]
        found = encoder.encode_sparse(head_texts, role=role)
        assert all((np.diff(vector.indices) > 0).all() and (vector.values != 0).all() for vector in found)
        close = CLOSE * max(1.0, float(np.abs(reference).max()))
        np.testing.assert_allclose(as_rows(found, encoder.dim), reference, atol=close)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("folder", LATE, ids=lambda folder: folder.name)
def test_tokens_have_the_vectors_of_the_reference(
    folder: Path, engine: EngineName, head_texts: list[str], head_vectors: dict[str, np.ndarray]
) -> None:
    encoder = late(folder, engine)
    for role in ROLES:
        rows = encoder.encode_tokens(head_texts, role=role)
        assert [len(row) for row in rows] == head_vectors[f"{folder.name}:{role}:lengths"].tolist()
        np.testing.assert_allclose(np.concatenate(rows), head_vectors[f"{folder.name}:{role}"], atol=CLOSE)


def test_the_reference_tells_texts_apart_and_has_zeros(head_vectors: dict[str, np.ndarray]) -> None:
    for folder in SPARSE:
        rows = head_vectors[f"{folder.name}:document"]
        assert (rows == 0).any()
        assert len(np.unique(rows.round(3), axis=0)) > 15


def test_queries_of_a_table_are_the_words_that_stand_in_them() -> None:
    encoder = sparse(HEADS / "sparse-router")
    (vector,) = encoder.encode_sparse(["the pump"], role="query")
    assert "".join(sorted(set("thepump"))) == "".join(
        sorted(set("".join(encoder.words(i) for i in vector.indices.tolist())) - {"#"})
    )
    assert encoder.encode_sparse([""], role="query")[0].indices.shape == (0,)


def test_nothing_to_encode_gives_nothing_and_odd_texts_give_vectors() -> None:
    weights, tokens = sparse(HEADS / "sparse-bert"), late(HEADS / "late-stanford")
    assert weights.encode_sparse([]) == []
    assert tokens.encode_tokens([]) == []
    odd = ["", "\ud800", "[unused0] [MASK]", "word " * 2000]
    assert len(weights.encode_sparse(odd)) == 4
    for role in ROLES:
        for rows in tokens.encode_tokens(odd, role=role):
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert {len(rows) for rows in tokens.encode_tokens(odd, role="query")} == {32}
    assert max(len(rows) for rows in tokens.encode_tokens(odd)) <= tokens.max_tokens


def test_punctuation_has_no_vector_in_documents_and_has_one_in_queries() -> None:
    encoder = late(HEADS / "late-plain")
    with_it, without = encoder.encode_tokens(["tea , tea", "tea tea"])
    assert len(with_it) == len(without)
    with_it, without = encoder.encode_tokens(["tea , tea", "tea tea"], role="query")
    assert len(with_it) == len(without) + 1


def test_a_model_for_whole_texts_runs_with_a_warning(head_texts: list[str]) -> None:
    with pytest.warns(UserWarning, match="not trained for late interaction"):
        encoder = late(REFERENCE / "families" / "bert")
    rows = encoder.encode_tokens(head_texts)
    assert encoder.dim == 32
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(rows), axis=1), 1, atol=1e-5)
    with pytest.raises(ModelError, match="no states of tokens"):
        late(REFERENCE / "families" / "static")


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lists no SpladePooling"):
        sparse(REFERENCE / "families" / "bert")
    folder = shutil.copytree(HEADS / "sparse-router", tmp_path / "towers")
    router = json.loads((folder / "router_config.json").read_text())
    router["types"]["query_0_SparseStaticEmbedding"] = "x.Transformer"
    (folder / "router_config.json").write_text(json.dumps(router))
    with pytest.raises(ModelError, match="sends queries to Transformer"):
        sparse(folder)
    router["structure"]["document"] = ["../outside"]
    (folder / "router_config.json").write_text(json.dumps(router))
    with pytest.raises(ModelError, match="outside"):
        sparse(folder)


# --- which token a vector is of ------------------------------------------------------------


@pytest.fixture(scope="module")
def naming(tmp_path_factory: pytest.TempPathFactory) -> list[LocalLateEncoder]:
    """Every layout, and a model whose texts are made lower case before its tokenizer sees them."""
    lower = shutil.copytree(HEADS / "late-plain", tmp_path_factory.mktemp("lower") / "late")
    limits = json.loads((lower / "sentence_bert_config.json").read_text())
    (lower / "sentence_bert_config.json").write_text(json.dumps(limits | {"do_lower_case": True}))
    return [late(folder) for folder in (*LATE, lower)]


@settings(max_examples=30)
@given(
    st.text(max_size=60) | st.sampled_from(["", "İİ ẞ x", "a \ud800 b, c!", "no " * 200]),
    st.sampled_from(ROLES), st.integers(0, len(LATE)),
)  # fmt: skip
def test_every_vector_has_its_token_and_every_token_its_place(
    naming: list[LocalLateEncoder], text: str, role: Role, which: int
) -> None:
    pieces = naming[which].pieces(text, role=role)
    assert len(pieces) == len(naming[which].encode_tokens([text], role=role)[0])
    spans = [(piece.start, piece.end) for piece in pieces if piece.end]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    assert all(piece.start == 0 for piece in pieces if not piece.end)


@pytest.mark.parametrize("role", ROLES)
def test_a_token_stands_where_its_word_does(naming: list[LocalLateEncoder], role: Role) -> None:
    text = "İİ, a Garden and the garden"
    for encoder in naming:
        pieces = encoder.pieces(text, role=role)
        there = {place for piece in pieces for place in range(piece.start, piece.end)}
        assert {place for place, sign in enumerate(text) if sign.isalpha()} <= there, "no letter is without its token"
        plain = [piece for piece in pieces if piece.end and piece.token.strip("#▁Ġ").isascii()]
        assert len(plain) > 5
        for piece in plain:
            assert piece.token.strip("#▁Ġ").lower() in text[piece.start : piece.end].lower()
