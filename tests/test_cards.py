"""What a card refuses, how a model is found by name, and what is read out of a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sememe.errors import ModelError, NotFound
from sememe.models.architecture import Architecture
from sememe.models.cards import CARDS, DEFAULT_MODEL, Card, CardFile, HubPlace, WheelPlace, find_card
from sememe.models.folder import card_from_folder

DIGEST = hashlib.sha256(b"weights").hexdigest()
COMMIT = "0123456789abcdef" * 2 + "01234567"
BERT = Architecture("bert", 2, 32, 4, 64, 1e-12, "gelu", 64, 2)
TINY = Card("tiny", 32, 64, "mean", True, BERT, (CardFile("model.safetensors", DIGEST, 7),))

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "position_embedding_type": "absolute",
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
LSTM = {"idx": 2, "name": "2", "path": "2_LSTM", "type": "sentence_transformers.models.LSTM"}

Folder = Callable[..., Path]


@pytest.fixture
def model_folder(tmp_path: Path) -> Folder:
    """Writes a small model's folder; each argument replaces a file's content, None leaves the file out."""

    def write(
        config: Any = CONFIG,
        *,
        pooling: Any = None,
        modules: Any = MODULES,
        sentence: Any = None,
        tokenizer: Any = None,
        prompts: Any = None,
        weights: bytes | None = b"weights",
    ) -> Path:
        folder = tmp_path / "my-model"
        (folder / "1_Pooling").mkdir(parents=True)
        (folder / "tokenizer.json").write_text("{}")
        if weights is not None:
            (folder / "model.safetensors").write_bytes(weights)
        contents = {
            "config.json": config,
            "modules.json": modules,
            "1_Pooling/config.json": pooling,
            "sentence_bert_config.json": sentence,
            "tokenizer_config.json": tokenizer,
            "config_sentence_transformers.json": prompts,
        }
        for name, content in contents.items():
            if content is not None:
                (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return folder

    return write


# --- cards


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": " "}, "no name"),
        ({"dim": 31}, "dim is 31"),
        ({"max_tokens": 65}, "max_tokens is 65"),
        ({"max_tokens": 2}, "max_tokens is 2"),
        ({"pooling": "first"}, "pooling is 'first'"),
        ({"revision": "main"}, "revision is 'main'"),
        ({"files": ()}, "files are"),
        ({"files": TINY.files * 2}, "files are"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        dataclasses.replace(TINY, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"family": "gpt2"},
        {"activation": "quick_gelu"},
        {"layers": 0},
        {"heads": 5},
        {"layer_norm_eps": 0.0},
        {"layer_norm_eps": float("nan")},
    ],
)
def test_an_architecture_that_cannot_be_built_is_refused(change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(ModelError, match=f"{value}"):
        dataclasses.replace(BERT, **change)
    assert getattr(BERT, name) != value


@pytest.mark.parametrize(
    "name", ["../model", "a/../b", "/a", "a//b", "a/", "a/.b", "", ".", "..", ".hidden", "a\\b", "a\n", "C:x", "-rf"]
)
def test_a_file_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="plain name"):
        CardFile(name, DIGEST, 7)


@pytest.mark.parametrize("sha256", ["", DIGEST[:-1], DIGEST.upper(), DIGEST + "0", DIGEST + "\n"])
def test_a_digest_that_is_not_64_lower_case_hex_digits_is_refused(sha256: str) -> None:
    with pytest.raises(ModelError, match="sha256"):
        CardFile("model.safetensors", sha256, 7)


@pytest.mark.parametrize(("package", "version"), [("--index-url=x", "1"), ("a b", "1"), ("a", ">=1"), ("a", "-r")])
def test_a_wheel_that_pip_would_read_as_something_else_is_refused(package: str, version: str) -> None:
    with pytest.raises(ModelError):
        WheelPlace(package, version, "")


def test_a_hub_place_needs_a_full_commit() -> None:
    assert HubPlace("owner/name", COMMIT).revision == COMMIT
    with pytest.raises(ModelError, match="40 hex digits"):
        HubPlace("owner/name", "main")


@given(st.permutations(["a", "b", "c"]))
def test_the_digest_of_a_card_does_not_depend_on_the_order_of_its_files(order: list[str]) -> None:
    files = {name: CardFile(name, hashlib.sha256(name.encode()).hexdigest(), 1) for name in "abc"}
    digest = dataclasses.replace(TINY, files=tuple(files[name] for name in order)).digest
    listed = "".join(f"{files[name].sha256}  {name}\n" for name in "abc")
    assert digest == hashlib.sha256(listed.encode()).hexdigest()


def test_the_digest_of_a_card_changes_with_any_of_its_files() -> None:
    other = CardFile("model.safetensors", hashlib.sha256(b"other").hexdigest(), 7)
    assert dataclasses.replace(TINY, files=(other,)).digest != TINY.digest


def test_a_card_can_be_a_key_and_travel_to_another_process() -> None:
    card = dataclasses.replace(TINY, prompts={"query": "query: "})
    assert pickle.loads(pickle.dumps(card)) == card
    assert {card: 1}[card] == 1


# --- names


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "ALL-minilm-l6-V2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_a_model_is_found_by_name_and_alias_in_any_case(name: str) -> None:
    assert find_card(name).name == "all-MiniLM-L6-v2"


def test_the_default_model_is_known() -> None:
    assert find_card(DEFAULT_MODEL).dim == 384


def test_no_two_cards_share_a_name() -> None:
    names = [name.lower() for card in CARDS for name in (card.name, *card.aliases)]
    assert len(set(names)) == len(names)


def test_an_unknown_name_is_answered_with_the_close_and_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"did you mean all-MiniLM-L6-v2.*known: all-MiniLM-L6-v2"):
        find_card("all-MiniLM-L6-v3")
    with pytest.raises(NotFound) as caught:
        find_card("something else")
    assert "did you mean" not in str(caught.value)


# --- folders


def test_a_folder_gives_its_shape_its_limits_and_the_digests_of_its_files(model_folder: Folder) -> None:
    folder = model_folder(sentence={"max_seq_length": 48, "do_lower_case": True})
    card = card_from_folder(folder)
    assert card.name == "my-model"
    assert card.architecture == BERT
    assert (card.dim, card.max_tokens, card.pooling, card.normalize, card.lower_case) == (
        32,
        48,
        "mean",
        True,
        True,
    )
    assert CardFile("model.safetensors", DIGEST, 7) in card.files
    assert CardFile("tokenizer.json", hashlib.sha256(b"{}").hexdigest(), 2) in card.files


@pytest.mark.parametrize(
    ("sentence", "tokenizer", "limit"),
    [
        (None, None, 64),
        ({"max_seq_length": 16}, {"model_max_length": 32}, 16),
        ({"max_seq_length": 128}, {"model_max_length": 32}, 32),
        ({"max_seq_length": None}, {"model_max_length": 10**30}, 64),
        ({}, {"model_max_length": 1e30}, 64),
        ({"max_seq_length": 0}, {"model_max_length": -1}, 64),
        ({"max_seq_length": True}, {"model_max_length": "32"}, 64),
    ],
)
def test_the_token_limit_is_the_least_that_a_file_validly_says(
    model_folder: Folder, sentence: Any, tokenizer: Any, limit: int
) -> None:
    assert card_from_folder(model_folder(sentence=sentence, tokenizer=tokenizer)).max_tokens == limit


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (None, "mean"),
        ({"word_embedding_dimension": 32}, "mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"embedding_dimension": 32, "pooling_mode": "mean"}, "mean"),
        ({"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode_max_tokens": True}, "max"),
    ],
)
def test_both_generations_of_pooling_files_are_read(model_folder: Folder, pooling: Any, expected: str) -> None:
    assert card_from_folder(model_folder(pooling=pooling)).pooling == expected


@pytest.mark.parametrize(
    ("modules", "normalize"),
    [(MODULES, True), (MODULES[:2], False), (None, False)],
)
def test_vectors_are_normalised_if_the_modules_say_so(model_folder: Folder, modules: Any, normalize: bool) -> None:
    assert card_from_folder(model_folder(modules=modules)).normalize is normalize


def test_modules_are_known_under_their_newer_paths_too(model_folder: Folder) -> None:
    paths = ("base.modules.transformer", "sentence_transformer.modules.pooling", "base.modules.normalize")
    kinds = ("Transformer", "Pooling", "Normalize")
    types = [f"sentence_transformers.{path}.{kind}" for path, kind in zip(paths, kinds, strict=True)]
    modules = [{**module, "type": kind} for module, kind in zip(MODULES, types, strict=True)]
    assert card_from_folder(model_folder(modules=modules)).normalize


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (None, {}),
        ({"prompts": {"query": "", "document": ""}, "default_prompt_name": None}, {}),
        ({"prompts": {"query": "query: ", "document": "doc: "}}, {"query": "query: ", "document": "doc: "}),
        ({"prompts": {"passage": "passage: "}}, {"passage": "passage: ", "document": "passage: "}),
        ({"prompts": {"passage": "passage: ", "document": ""}}, {"passage": "passage: "}),
        ({"prompts": {"sts": "same: "}, "default_prompt_name": "sts"}, {"sts": "same: ", "": "same: "}),
    ],
)
def test_prompts_come_from_the_model_s_own_file(model_folder: Folder, written: Any, read: dict[str, str]) -> None:
    assert card_from_folder(model_folder(prompts=written)).prompts == read


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": None}, r"config\.json is missing"),
        ({"config": "{"}, r"config\.json cannot be read as JSON"),
        ({"config": "[" * 100_000}, r"config\.json cannot be read as JSON"),
        ({"config": [1]}, r"config\.json holds a list"),
        (
            {"config": {**CONFIG, "model_type": "t5"}},
            r"config\.json says model_type 't5'; supported: bert, .*sememe\[torch\]",
        ),
        (
            {"config": {**CONFIG, "hidden_act": "quick_gelu"}},
            r"config\.json says hidden_act 'quick_gelu'; supported: gelu",
        ),
        (
            {"config": {**CONFIG, "position_embedding_type": "relative_key"}},
            "relative_key.*supported: absolute",
        ),
        ({"config": {**CONFIG, "is_decoder": True}}, "is_decoder True"),
        (
            {"config": {**CONFIG, "hidden_size": None}},
            r"config\.json: hidden_size is None; expected a number",
        ),
        ({"config": {**CONFIG, "hidden_size": True}}, r"config\.json: hidden_size is True"),
        (
            {"config": {**CONFIG, "hidden_size": 32.5}},
            r"config\.json: hidden_size is 32\.5; expected a whole",
        ),
        ({"config": {**CONFIG, "hidden_size": 33}}, r"config\.json: hidden is 33, which 4 heads"),
        ({"config": {**CONFIG, "hidden_size": float("inf")}}, "hidden_size is inf"),
        ({"config": {**CONFIG, "hidden_size": 10**400}}, r"config\.json: .*too large"),
        ({"modules": [*MODULES[:2], LSTM]}, r"modules\.json lists Transformer, Pooling, LSTM; supported"),
        ({"modules": []}, r"modules\.json lists nothing"),
        ({"modules": {"a": 1}}, r"modules\.json is not a list of modules"),
        ({"modules": [{**MODULES[0], "path": "0_BERT"}, MODULES[1]]}, r"0_BERT/config\.json is missing"),
        ({"modules": [{**MODULES[0], "path": "/etc"}, MODULES[1]]}, r"keeps its Transformer in '/etc'"),
        ({"modules": [MODULES[0], {**MODULES[1], "path": "../../etc"}]}, r"its Pooling in '\.\./\.\./etc'"),
        (
            {"pooling": {"pooling_mode": "first"}},
            r"1_Pooling/config\.json says pooling 'first'; supported: cls, max, mean",
        ),
        ({"pooling": {"pooling_mode": ["mean", "mean"]}}, r"'mean\+mean'"),
        ({"pooling": {"pooling_mode": []}}, "pooling ''"),
        ({"pooling": {"pooling_mode": 3}}, "pooling '3'"),
        ({"pooling": {"pooling_mode_median_tokens": True}}, "pooling_mode_median"),
        ({"pooling": {"embedding_dimension": 64}}, "64 dimensions, config.json says hidden_size 32"),
        ({"prompts": {"prompts": ["a"]}}, r"prompts is \['a'\]"),
        (
            {"prompts": {"default_prompt_name": "sts"}},
            "default_prompt_name is 'sts', but the prompts are: none",
        ),
        ({"weights": None}, r"model\.safetensors is missing.*the folder has: .*config\.json"),
        ({"weights": b""}, r"model\.safetensors: size is 0"),
    ],
)
def test_what_is_not_supported_is_refused_with_the_file_that_says_it(
    model_folder: Folder, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        card_from_folder(model_folder(**change))


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        card_from_folder(tmp_path / "nowhere")


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(
    key=st.sampled_from(sorted(CONFIG)),
    value=VALUES | st.lists(VALUES, max_size=2),
    limit=VALUES,
    kind=VALUES,
)
def test_whatever_the_files_hold_the_answer_is_a_card_or_a_model_error(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any, limit: Any, kind: Any
) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))
    for config, modules in (({**CONFIG, key: value}, MODULES), (CONFIG, [{**MODULES[0], "type": kind}])):
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "modules.json").write_text(json.dumps(modules))
        try:
            card = card_from_folder(folder)
        except ModelError:
            continue
        assert 2 < card.max_tokens <= card.architecture.positions
