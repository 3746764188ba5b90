"""Rerankers against scores that transformers and sentence-transformers gave for the same folders, on every engine."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_families import REFERENCE

import sememe
from sememe.errors import InputError, ModelError, NotFound
from sememe.models.reranker import LocalReranker
from sememe.settings import EngineName, from_environment

HEADS = REFERENCE / "heads"
FOLDERS = sorted(HEADS.glob("rank-*"))
QUERY = "where is the pressure of the pump written down"
CLOSE = 1e-4


def loaded(folder: Path, engine: EngineName = "auto") -> LocalReranker:
    reranker = sememe.load_reranker(folder, settings=replace(from_environment(), precision="f32", engine=engine))
    assert isinstance(reranker, LocalReranker)
    return reranker


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_pairs_have_the_scores_of_the_reference(
    folder: Path, engine: EngineName, head_texts: list[str], head_vectors: dict[str, np.ndarray]
) -> None:
    scores = loaded(folder, engine).rerank(QUERY, head_texts)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, head_vectors[folder.name], atol=CLOSE)


def test_the_reference_tells_the_pairs_apart(head_vectors: dict[str, np.ndarray]) -> None:
    for folder in FOLDERS:
        assert np.ptp(head_vectors[folder.name]) > 100 * CLOSE


def test_an_instruction_reaches_a_model_that_was_trained_to_be_told(
    head_texts: list[str], head_vectors: dict[str, np.ndarray]
) -> None:
    scores = loaded(HEADS / "rank-qwen3").rerank(QUERY, head_texts, instruction="Find what a plumber wrote")
    np.testing.assert_allclose(scores, head_vectors["rank-qwen3:told"], atol=CLOSE)
    assert np.abs(scores - head_vectors["rank-qwen3"]).max() > 100 * CLOSE


@pytest.mark.parametrize("name", ["rank-bert", "rank-gemma"])
def test_an_instruction_to_a_model_that_was_not_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="not trained to be told"):
        loaded(HEADS / name).rerank(QUERY, ["a"], instruction="Find what a plumber wrote")


@pytest.mark.parametrize("name", ["rank-bert", "rank-qwen3"])
def test_a_score_does_not_depend_on_the_other_texts(name: str, head_texts: list[str]) -> None:
    reranker = loaded(HEADS / name)
    together = reranker.rerank(QUERY, head_texts)
    alone = np.concatenate([reranker.rerank(QUERY, [text]) for text in head_texts[::5]])
    np.testing.assert_allclose(together[::5], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["rank-roberta", "rank-qwen3", "rank-gemma"])
def test_odd_texts_and_endless_queries_get_a_score_between_0_and_1(name: str) -> None:
    reranker = loaded(HEADS / name)
    odd = ["", " ", "\ud800", "{text} {query}", "word " * 3000]
    for query in ("why", "why " * 3000, "{instruction} \udfff"):
        scores = reranker.rerank(query, odd)
        assert scores.shape == (5,)
        assert ((scores >= 0) & (scores <= 1)).all()
    assert reranker.rerank("why", []).shape == (0,)


def test_a_long_query_leaves_room_for_the_passage_beside_it() -> None:
    reranker = loaded(HEADS / "rank-gemma")
    scores = reranker.rerank("why " * 3000, ["the valve was replaced", "nobody knows"])
    assert scores[0] != scores[1]


def test_an_empty_query_is_refused() -> None:
    with pytest.raises(InputError, match="query is empty"):
        loaded(HEADS / "rank-bert").rerank("  ", ["a"])


def test_a_model_that_embeds_is_told_from_one_that_ranks() -> None:
    with pytest.raises(ModelError, match="no reranker"):
        loaded(REFERENCE / "families" / "bert")


def test_a_decoder_of_a_family_without_a_template_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(HEADS / "rank-qwen3", tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mistral"}))
    with pytest.raises(ModelError, match="known to rank: qwen3, gemma"):
        loaded(folder)


def test_a_classifier_of_several_classes_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(HEADS / "rank-distilbert", tmp_path / "classes")
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = np.repeat(tensors["classifier.weight"], 3, axis=0)
    tensors["classifier.bias"] = np.repeat(tensors["classifier.bias"], 3)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match="3 classes"):
        loaded(folder)


def test_answers_are_the_words_that_the_folder_names(tmp_path: Path, head_texts: list[str]) -> None:
    folder = shutil.copytree(HEADS / "rank-qwen3", tmp_path / "swapped")
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    tokens = {token["content"]: token["id"] for token in added}
    modules = [{"type": "x.Transformer", "path": ""}, {"type": "x.LogitScore", "path": "1_LogitScore"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_LogitScore").mkdir()
    swapped = {"true_token_id": tokens["no"], "false_token_id": tokens["yes"]}
    (folder / "1_LogitScore" / "config.json").write_text(json.dumps(swapped))
    here, there = (loaded(path).rerank(QUERY, head_texts) for path in (HEADS / "rank-qwen3", folder))
    np.testing.assert_allclose(here, 1 - there, atol=1e-5)


def test_a_name_that_is_neither_folder_nor_hub_model_is_told() -> None:
    with pytest.raises(NotFound, match="owner/name"):
        sememe.load_reranker("no such model")


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "bge-m3", "sentence-transformers/all-mpnet-base-v2"])
def test_a_model_that_makes_vectors_is_no_reranker_and_the_refusal_says_what_is(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} makes vectors of texts and is no reranker; give .*cross-encoder/"):
        sememe.load_reranker(name)
