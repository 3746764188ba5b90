"""Folders that are wrong in one way each, graphs that lie in folders, and models of a hub that is served here."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sememe
from sememe.errors import InputError, MissingExtra, ModelError, NotFound, SememeError
from sememe.models.catalogue import profile_of, profiles
from sememe.models.folder import card_from_folder
from sememe.settings import Settings, from_environment

FAMILIES = Path(__file__).parent / "reference" / "families"
ROOT = Path(__file__).parents[1]
F32 = replace(from_environment(), precision="f32")


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., Path]:
    """A family's folder, to be spoilt."""

    def copy(name: str, as_name: str | None = None) -> Path:
        return Path(shutil.copytree(FAMILIES / name, tmp_path / (as_name or name)))

    return copy


def change(path: Path, **values: Any) -> None:
    """Set values in a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensors(folder: Path, alter: Callable[[dict[str, Any]], None]) -> None:
    """Write the weights anew."""
    tensors = load_file(folder / "model.safetensors")
    alter(tensors)
    save_file(tensors, folder / "model.safetensors")


def reads(folder: Path, text: str = "tea") -> np.ndarray:
    return sememe.load_model(folder, settings=F32).encode(text)


# --- what is wrong with a folder is said in one sentence


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def foreign_tokenizer(folder: Path) -> None:
    with gzip.open(FAMILIES.parent / "texts.jsonl.gz", "rt") as lines:
        words = sorted({word for line in lines for word in json.loads(line)["text"].split() if word.isalpha()})
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": 3}')


def missing_tensor(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop("encoder.layer.1.output.dense.bias"))


def not_a_number(folder: Path) -> None:
    def alter(tensors: dict[str, Any]) -> None:
        tensors["encoder.layer.0.output.dense.weight"][3, 3] = np.nan

    change_tensors(folder, alter)


def quantised(folder: Path) -> None:
    def alter(tensors: dict[str, Any]) -> None:
        name = "encoder.layer.0.output.dense.weight"
        tensors[name] = tensors[name].astype(np.int8)

    change_tensors(folder, alter)


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))


def traversing(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "../../../etc"
    (folder / "modules.json").write_text(json.dumps(modules))


def traversing_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))


SPOILT: list[tuple[Callable[[Path], None], str]] = [
    (no_tokenizer, r"tokenizer\.json is missing; save the fast tokenizer"),
    (foreign_tokenizer, r"tokenizer\.json knows \d+ words, the model's table has 220"),
    (broken_tokenizer, r"tokenizer\.json is not a tokenizer that can be read"),
    (missing_tensor, r"has no tensor 'encoder\.layer\.1\.output\.dense\.bias'"),
    (not_a_number, r"'encoder\.layer\.0\.output\.dense\.weight' holds numbers that are not finite"),
    (quantised, r"holds I8; supported: F64, F32, F16, BF16"),
    (cut_weights, r"is not a readable safetensors file"),
    (pickled, r"pytorch_model\.bin is pickled and is never opened"),
    (traversing, r"keeps its Pooling in '\.\./\.\./\.\./etc'"),
    (traversing_shards, r"names a file '\.\./\.\./secret\.safetensors'"),
    (lambda folder: change(folder / "config.json", hidden_size=64), r"pools vectors of 32 .* hidden_size 64"),
    (lambda folder: change(folder / "config.json", intermediate_size=41), r"has shape .* the configuration says \(41"),
    (lambda folder: change(folder / "config.json", vocab_size=221), r"shape \(220, 32\), the configuration says \(221"),
    (lambda folder: change(folder / "config.json", num_hidden_layers=3), r"has no tensor 'encoder\.layer\.2"),
    (lambda folder: change(folder / "config.json", num_hidden_layers=10**9), r"has no tensor"),
    (lambda folder: change(folder / "config.json", num_attention_heads=5), r"which 5 heads cannot share evenly"),
    (lambda folder: change(folder / "config.json", num_attention_heads=0), r"heads is 0"),
    (lambda folder: change(folder / "config.json", vocab_size="many"), r"vocab_size is 'many'; expected a number"),
    (lambda folder: change(folder / "1_Pooling" / "config.json", pooling_mode="median"), r"says pooling 'median'"),
    (lambda folder: change(folder / "config.json", model_type="mamba"), r"'mamba'; supported: bert, .*sememe\[torch\]"),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILT, ids=lambda value: getattr(value, "__name__", None))
def test_a_folder_that_is_wrong_is_refused_with_what_is_wrong(
    copied: Callable[..., Path], tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = copied("bert")
    spoil(folder)
    with pytest.raises(SememeError, match=said) as caught:
        sememe.load_model(folder, settings=Settings(home=tmp_path / "home", precision="f32")).encode("tea")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("qwen3", {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "'longrope'; supported: default,"),
        ("qwen3", {"rope_parameters": {"rope_type": "yarn"}}, "factor is None; expected a number"),
        ("qwen2", {"rope_parameters": {"rope_type": "yarn", "factor": 0}}, "scaling of rotary positions is 0"),
        ("qwen2", {"rope_parameters": {"rope_type": "yarn", "factor": 2, "beta_slow": -1}}, "YaRN has no such"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 2}}, "low_freq_factor is None"),
        ("llama", {"rope_theta": -1.0, "rope_parameters": {}}, "rope_theta is -1"),
        ("bert", {"position_embedding_type": "alibi"}, "'alibi'; supported: absolute"),
        ("qwen3", {"num_key_value_heads": 3}, "heads is 4, which 3 key heads"),
        ("qwen3", {"layer_types": ["chunked_attention"] * 3}, "layer_types is"),
        ("gemma3", {"layer_types": ["full_attention"]}, "lists 1 layer_types for 3 layers"),
        ("modernbert", {"rope_parameters": 3}, "rope_parameters is 3"),
        ("nomic-hub", {"prenorm": True}, "prenorm True"),
        ("gte-hub", {"position_embedding_type": "absolute"}, "supported: rope"),
    ],
)
def test_what_a_family_does_not_do_is_refused_by_its_setting(
    copied: Callable[..., Path], name: str, values: dict[str, Any], said: str
) -> None:
    folder = copied(name)
    change(folder / "config.json", **values)
    with pytest.raises(ModelError, match=said):
        card_from_folder(folder)


def test_a_window_and_a_theta_that_are_left_out_tell_in_the_vectors(copied: Callable[..., Path]) -> None:
    text = "a long text of many words that goes beyond the window of every layer " * 2
    for name, values in (
        ("mistral", {"sliding_window": 64}),
        ("modernbert", {"local_attention": 128}),
        ("gemma3", {"sliding_window": 128}),
        ("gte-hub", {"rope_theta": 100.0}),
        ("gte-hub", {"rope_scaling": {"type": "ntk", "factor": 8.0}}),
        ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}),
        ("eurobert", {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}),
    ):
        before = reads(FAMILIES / name, text)
        folder = copied(name, f"{name}-{next(iter(values))}")
        change(folder / "config.json", **values)
        assert np.abs(reads(folder, text) - before).max() > 1e-3, name


def test_a_text_that_is_cut_at_its_start_keeps_its_end(copied: Callable[..., Path]) -> None:
    model = sememe.load_model(FAMILIES / "dynamic", settings=F32)
    tail = " and the end of it " * 20
    assert model.encode("first " * 50 + tail) == pytest.approx(model.encode("other words " * 50 + tail), abs=1e-6)
    folder = copied("dynamic")
    change(folder / "tokenizer_config.json", truncation_side="both")
    with pytest.raises(ModelError, match="truncation_side is 'both'; supported: left, right"):
        card_from_folder(folder)


def test_an_end_that_no_tokenizer_knows_is_refused(copied: Callable[..., Path]) -> None:
    folder = copied("qwen3-hub")
    change(folder / "tokenizer_config.json", eos_token="<end>")
    with pytest.raises(ModelError, match="has no token '<end>', with which"):
        reads(folder)


def test_what_ends_an_input_is_part_of_the_space(copied: Callable[..., Path]) -> None:
    folder = copied("qwen3-hub")
    ends = card_from_folder(folder)
    change(folder / "tokenizer_config.json", add_eos_token=False)
    assert card_from_folder(folder).digest != ends.digest
    assert ends.closing == "<|endoftext|>"


# --- a network for queries, another for documents


def test_queries_and_documents_go_their_own_ways_and_are_one_space() -> None:
    model = sememe.load_model(FAMILIES / "router", settings=F32)
    assert not np.allclose(model.encode_query("tea"), model.encode_document("tea"), atol=0.1)
    assert (model.embed(["tea"], role="query").vectors[0] == model.encode_query("tea")).all()
    assert (model.encode("tea") == model.encode_document("tea")).all()


@pytest.mark.parametrize("name", ["query_0_StaticEmbedding", "document_0_Transformer"])
def test_the_space_changes_with_either_network(copied: Callable[..., Path], name: str) -> None:
    folder = copied("router")
    change_tensors(folder / name, lambda tensors: tensors.update(more=np.zeros(3, np.float32)))
    assert card_from_folder(folder).digest != card_from_folder(FAMILIES / "router").digest


def test_a_route_for_all_texts_makes_one_network(copied: Callable[..., Path]) -> None:
    folder = copied("router")
    parameters = {"route_mappings": {"(None, 'text')": "document"}, "default_route": None}
    change(folder / "router_config.json", parameters=parameters)
    card = card_from_folder(folder)
    assert card.query is None
    assert reads(folder) == pytest.approx(reads(FAMILIES / "router"), abs=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"structure": {}}, "names no modules for a document"),
        ({"structure": {"query": ["x"], "document": ["x"]}}, "names no modules for a document"),
        ({"structure": {"document": ["document_0_Transformer"]}}, "lists Transformer, Normalize; supported"),
        ({"types": 3}, "names no modules"),
        ({"types": {"../x": "a.Pooling"}, "structure": {"document": ["../x"]}}, r"Pooling in '\.\./x'"),
    ],
)
def test_a_router_that_is_wrong_is_refused(copied: Callable[..., Path], values: dict[str, Any], said: str) -> None:
    folder = copied("router")
    change(folder / "router_config.json", **values)
    with pytest.raises(ModelError, match=said):
        card_from_folder(folder)


def test_networks_of_different_widths_are_refused(copied: Callable[..., Path]) -> None:
    folder = copied("router")

    def narrow(tensors: dict[str, Any]) -> None:
        tensors["embedding.weight"] = tensors["embedding.weight"][:, :8].copy()

    change_tensors(folder / "query_0_StaticEmbedding", narrow)
    with pytest.raises(ModelError, match="documents have 32 dimensions, those of queries 8"):
        card_from_folder(folder)


def test_bfloat16_weights_in_two_files_give_nearly_the_same_vectors(copied: Callable[..., Path]) -> None:
    folder = copied("bert")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, chosen in files.items():
        header: dict[str, Any] = {}
        body = b""
        for name in chosen:
            halves = (tensors[name].view(np.uint32) >> 16).astype("<u2").tobytes()
            shape = list(tensors[name].shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(body), len(body) + len(halves)]}
            body += halves
        raw = json.dumps(header).encode()
        (folder / file).write_bytes(len(raw).to_bytes(8, "little") + raw + body)
    index = {"weight_map": {name: file for file, chosen in files.items() for name in chosen}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert float(reads(folder) @ reads(FAMILIES / "bert")) > 0.999


def test_norms_under_their_old_names_are_found(copied: Callable[..., Path]) -> None:
    folder = copied("bert")

    def alter(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if "LayerNorm" in name]:
            new = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[new] = tensors.pop(name)

    change_tensors(folder, alter)
    assert reads(folder) == pytest.approx(reads(FAMILIES / "bert"), abs=1e-6)


def test_a_model2vec_folder_with_a_mapping_and_weights_is_read(copied: Callable[..., Path], tmp_path: Path) -> None:
    source = load_file(FAMILIES / "static" / "model.safetensors")["embedding.weight"]
    folder = tmp_path / "potion"
    folder.mkdir()
    shutil.copy(FAMILIES / "static" / "tokenizer.json", folder)
    rows = np.arange(len(source))[::-1].astype(np.int64)
    factors = np.full(len(source), 2.0, np.float32)
    tensors = {"embeddings": np.ascontiguousarray(source[::-1]), "mapping": rows, "weights": factors}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    assert reads(folder) == pytest.approx(reads(FAMILIES / "static"), abs=1e-6)
    tensors["mapping"] = rows + 1
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match="mapping points outside"):
        reads(folder)


@pytest.fixture
def wordllama(tmp_path: Path) -> Path:
    """The folder of a package with a narrow table and one that is as wide as that of the family "static"."""
    folder = tmp_path / "wordllama"
    for part in ("weights", "tokenizers"):
        (folder / part).mkdir(parents=True)
    table = load_file(FAMILIES / "static" / "model.safetensors")["embedding.weight"]
    for width in (8, table.shape[1]):
        save_file({"embedding.weight": table[:, :width].copy()}, folder / "weights" / f"tiny_{width}.safetensors")
    shutil.copy(FAMILIES / "static" / "tokenizer.json", folder / "tokenizers" / "tiny_tokenizer_config.json")
    return folder


def test_the_widest_table_of_a_wordllama_folder_is_read(wordllama: Path) -> None:
    assert reads(wordllama) == pytest.approx(reads(FAMILIES / "static"), abs=1e-6)
    assert card_from_folder(wordllama).digest != card_from_folder(FAMILIES / "static").digest


def test_a_wordllama_folder_without_the_tokenizer_of_its_table_is_refused(wordllama: Path) -> None:
    tokenizer = wordllama / "tokenizers" / "tiny_tokenizer_config.json"
    tokenizer.rename(tokenizer.with_name("other_tokenizer_config.json"))
    with pytest.raises(ModelError, match=r"tiny_tokenizer_config\.json is missing; save the fast tokenizer"):
        reads(wordllama)


def test_a_tokenizer_with_more_tokens_than_a_table_has_rows_is_refused(copied: Callable[..., Path]) -> None:
    folder = copied("static")
    change_tensors(folder, lambda tensors: tensors.update({"embedding.weight": tensors["embedding.weight"][:5].copy()}))
    with pytest.raises(ModelError, match=r"gave the token \d+, the table has 5 rows"):
        reads(folder)


# --- texts and arguments


def test_ten_million_characters_are_read_to_the_limit_and_reported() -> None:
    model = sememe.load_model(FAMILIES / "bert", settings=F32)
    embedded = model.embed(["word " * 2_000_000])
    assert embedded.kept.tolist() == [64]
    assert embedded.tokens[0] > 2_000_000
    assert np.isfinite(embedded.vectors).all()


@pytest.mark.parametrize("texts", [None, 3, b"bytes", {"a": 1}, [None], [["nested"]]])
@pytest.mark.parametrize("name", ["bert", "static"])
def test_what_is_no_text_is_refused(name: str, texts: Any) -> None:
    with pytest.raises(InputError, match="text"):
        sememe.load_model(FAMILIES / name, settings=F32).encode(texts)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", ["bert", "qwen3", "static"])
def test_texts_without_a_token_get_a_vector_of_numbers(name: str, engine: Any) -> None:
    vectors = sememe.load_model(FAMILIES / name, settings=replace(F32, engine=engine)).encode(["", "tea", " "])
    assert vectors.shape[0] == 3
    assert np.isfinite(vectors).all()


def test_an_engine_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("openvino", "onnx") else real(name))
    with pytest.raises(MissingExtra, match=r"sememe\[onnx\]"):
        sememe.load_model(FAMILIES / "bert", settings=F32).encode("tea")


# --- graphs that lie in the folder


@pytest.mark.parametrize("suffix", ["onnx", "xml"])
def test_an_exported_graph_runs_where_there_are_no_weights(
    copied: Callable[..., Path], tmp_path: Path, suffix: str
) -> None:
    """The states of a tiny table of words, exported: its mean is what NumPy says."""
    import openvino as ov
    from onnx import TensorProto, helper, numpy_helper, save

    folder = copied("bert", "exported")
    (folder / "model.safetensors").unlink()
    change(folder / "config.json", model_type="somethingelse")
    table = np.random.default_rng(0).normal(size=(220, 32)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["last_hidden_state"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "length", 32])
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([2]), "last")]
    made = helper.make_model(
        helper.make_graph(nodes, "states", inputs, [output], constants),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=10,
    )  # fmt: skip
    (folder / "onnx").mkdir()
    save(made, folder / "onnx" / "model.onnx")
    if suffix == "xml":
        (folder / "openvino").mkdir()
        ov.save_model(
            ov.convert_model(str(folder / "onnx" / "model.onnx")), str(folder / "openvino" / "openvino_model.xml"),
            compress_to_fp16=False,
        )  # fmt: skip
        shutil.rmtree(folder / "onnx")
    model = sememe.load_model(folder, settings=replace(F32, home=tmp_path / "home"))
    ids = model.counter._tokenizer.encode("tea and sugar").ids
    mean = table[ids].mean(0)
    assert model.encode(["tea and sugar", "x"])[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    if suffix == "onnx":
        (folder / "onnx" / "model.onnx").write_bytes(b"nothing")
        with pytest.raises(ModelError, match="is not a graph that can be read"):
            sememe.load_model(folder, settings=replace(F32, home=tmp_path / "home")).encode("tea")


# --- the catalogue


def test_every_model_of_the_catalogue_is_whole() -> None:
    assert len(profiles()) > 50
    for profile in profiles().values():
        assert profile.dim > 0 < profile.max_tokens
        assert profile.languages
        assert all(dims <= profile.dim for dims in profile.matryoshka)


@pytest.mark.parametrize(
    ("name", "dim", "max_tokens", "licence", "languages"),
    [
        ("BAAI/bge-large-en-v1.5", 1024, 512, "MIT", "en"),
        ("intfloat/e5-mistral-7b-instruct", 4096, 4096, "MIT", "en"),
        ("thenlper/gte-large", 1024, 512, "MIT", "en"),
        ("Alibaba-NLP/gte-multilingual-base", 768, 8192, "Apache-2.0", "many"),
        ("nomic-ai/nomic-embed-text-v1.5", 768, 8192, "Apache-2.0", "en"),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", 1024, 8192, "Apache-2.0", "many"),
        ("mixedbread-ai/mxbai-embed-large-v1", 1024, 512, "Apache-2.0", "en"),
        ("Qwen/Qwen3-Embedding-8B", 4096, 32768, "Apache-2.0", "many"),
        ("google/embeddinggemma-300m", 768, 2048, "Gemma", "many"),
        ("jinaai/jina-embeddings-v3", 1024, 8192, "CC-BY-NC-4.0", "many"),
        ("ibm-granite/granite-embedding-english-r2", 768, 8192, "Apache-2.0", "en"),
        ("microsoft/codebert-base", 768, 512, "MIT", "en code"),
        ("microsoft/graphcodebert-base", 768, 512, "MIT", "en code"),
        ("microsoft/unixcoder-base", 768, 1024, "Apache-2.0", "en code"),
    ],
)
def test_the_catalogue_knows_every_maker(name: str, dim: int, max_tokens: int, licence: str, languages: str) -> None:
    profile = profiles()[name]
    assert (profile.dim, profile.max_tokens, profile.licence) == (dim, max_tokens, licence)
    assert profile.languages == tuple(languages.split())


def test_the_prompts_of_the_catalogue_are_exact_to_the_blank() -> None:
    def query(name: str) -> str:
        found = profile_of(name)
        assert found is not None
        return found.prompts["query"]

    assert query("BAAI/bge-large-en-v1.5") == "Represent this sentence for searching relevant passages: "
    assert query("e5-mistral-7b-instruct").endswith("\nQuery: ")
    assert query("Qwen/Qwen3-Embedding-0.6B").endswith("\nQuery:")
    assert query("google/embeddinggemma-300m") == "task: search result | query: "


def test_every_licence_against_commercial_use_is_remarked_on_and_no_other() -> None:
    for profile in profiles().values():
        told = any("forbids commercial use" in remark for remark in profile.remarks)
        assert told == ("NC" in profile.licence)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("codebert-base", "raw, its vectors retrieve badly"),
        ("graphcodebert-base", "raw, its vectors retrieve badly"),
        ("jinaai/jina-embeddings-v3", "CC-BY-NC-4.0, forbids commercial use"),
    ],
)
def test_a_folder_with_a_known_name_and_size_warns_of_its_catch(
    copied: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    known = profile_of(name)
    assert known is not None
    monkeypatch.setattr("sememe.models.folder.profile_of", lambda name: replace(known, dim=32))
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        sememe.load_model(copied("roberta", name.rsplit("/", 1)[-1]), settings=F32)
    assert any(said in str(remark.message) for remark in remarks)


# --- the hub

COMMIT = "0123456789abcdef" * 2 + "01234567"


class Hub(ThreadingHTTPServer):
    """A hub with one model, `owner/tiny`."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files
        self.promised = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """Speaks the two calls that a download needs."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(send=False)

    def do_GET(self) -> None:
        self.answer(send=True)

    def answer(self, *, send: bool) -> None:
        self.server.asked.append(self.path)
        body, headers, status = b"", {}, 404
        name = self.path.split(f"/resolve/{COMMIT}/")[-1].split("/resolve/main/")[-1]
        if self.path.startswith("/api/models/owner/tiny"):
            body, status = json.dumps(self.about()).encode(), 200
            headers = {"Content-Type": "application/json"}
        elif self.path.startswith("/owner/tiny/resolve/") and name in self.server.files:
            body, status = self.server.files[name], 200
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{self.server.promised[name]}"'}
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if send:
            self.wfile.write(body)

    def about(self) -> dict[str, Any]:
        siblings = [
            {
                "rfilename": name, "size": len(body), "blobId": "0" * 40,
                **({"lfs": {"sha256": self.server.promised[name], "size": len(body), "pointerSize": 130}}
                   if name.endswith("safetensors") else {}),
            }
            for name, body in self.server.files.items()
        ]  # fmt: skip
        return {"id": "owner/tiny", "modelId": "owner/tiny", "sha": COMMIT, "siblings": siblings, "tags": []}

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def hub() -> Iterator[Hub]:
    folder = FAMILIES / "gemma3"
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files |= {"onnx/model.onnx": b"not wanted", "pytorch_model.bin": b"never", "README.md": b"hello"}
    server = Hub(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(hub: Hub, home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: the hub's client reads its address when it is imported."""
    env = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "SEMEME_HOME": str(home / "sememe"),
        "SEMEME_PRECISION": "f32", "HF_HUB_DISABLE_XET": "1", **environ,
    }  # fmt: skip
    command = [sys.executable, "-m", "sememe.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=120, cwd=ROOT)


def test_a_model_of_the_hub_is_read_like_its_folder_and_then_needs_no_socket(hub: Hub, tmp_path: Path) -> None:
    done = ask(hub, tmp_path, "model", "embed", "tea", "--model", "owner/tiny")
    assert done.returncode == 0, done.stderr
    vector = json.loads(done.stdout)["vector"]
    assert vector == pytest.approx(reads(FAMILIES / "gemma3").tolist(), abs=1e-5)
    fetched = {path.rsplit("/", 1)[-1] for path in hub.asked}
    assert not fetched & {"model.onnx", "pytorch_model.bin", "README.md"}
    hub.asked.clear()
    again = ask(hub, tmp_path, "model", "embed", "tea", "--model", "owner/tiny", SEMEME_OFFLINE="1")
    assert json.loads(again.stdout)["vector"] == vector
    assert hub.asked == []


def test_weights_of_the_hub_with_another_digest_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.promised["model.safetensors"] = hashlib.sha256(b"other").hexdigest()
    done = ask(hub, tmp_path, "model", "fetch", "owner/tiny")
    assert done.returncode == 1
    assert hub.promised["model.safetensors"] in done.stderr
    assert hashlib.sha256(hub.files["model.safetensors"]).hexdigest() in done.stderr
    assert not list((tmp_path / "hf").rglob("model.safetensors"))


def test_a_model_that_the_hub_does_not_have_is_one_clear_line(hub: Hub, tmp_path: Path) -> None:
    for arguments in (("owner/none",), ("BAAI/bge-small-en-v1.5",)):
        done = ask(hub, tmp_path, "model", "fetch", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith(f"sememe: {arguments[0]}: the hub did not deliver it")
        assert len(done.stderr.splitlines()) == 1
    offline = ask(hub, tmp_path, "model", "fetch", "owner/tiny", SEMEME_OFFLINE="1")
    assert "is not in the hub's cache" in offline.stderr


def test_a_name_that_is_neither_known_nor_of_a_hub_is_not_found() -> None:
    with pytest.raises(NotFound, match="sememe model list"):
        sememe.load_model("no such model")


def test_loading_a_folder_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sememe.load_model(FAMILIES / "bert", settings=F32)


def test_a_family_without_a_graph_has_the_vectors_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra torch")
    transformers = pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(FAMILIES.parent))
    import make_families
    from sentence_transformers import SentenceTransformer

    monkeypatch.setattr(make_families, "FOLDERS", tmp_path)
    sizes = {**make_families.BERT_SIZES, "embedding_size": 16}
    make_families.make("albert", transformers.AlbertConfig(**sizes), "bert", make_families.mean)
    texts = ["tea", "a longer text about the law of the land", "word " * 100]
    expected = SentenceTransformer(str(tmp_path / "albert"), device="cpu").encode(texts)
    assert sememe.load_model(tmp_path / "albert", settings=F32).encode(texts) == pytest.approx(expected, abs=1e-5)
