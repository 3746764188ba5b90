"""The local encoder seen from outside: order, batches, limits, prompts, odd texts and wrong arguments."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sememe
from sememe.errors import InputError, ModelError
from sememe.models.batching import batches, padded, rounded
from sememe.models.compiled import MOST_TOKENS
from sememe.models.encoder import TextEncoder
from sememe.settings import Settings, from_environment
from sememe.types import Role

TEXTS = ["A cat sat.", "", "word " * 400, "Ünïcödé ☃", "How do I reset my password?", "x"]


def test_one_string_gives_one_vector_and_a_list_gives_rows(model: TextEncoder) -> None:
    assert model.encode("hello").shape == (384,)
    assert model.encode(["hello"]).shape == (1, 384)
    assert model.encode([]).shape == (0, 384)
    assert model.encode(["hello"]).dtype == np.float32


def test_vectors_are_unit_length(model: TextEncoder) -> None:
    assert np.linalg.norm(model.encode(TEXTS), axis=1) == pytest.approx(1, abs=1e-5)


def test_a_batch_gives_what_single_calls_give(model: TextEncoder) -> None:
    alone = np.stack([model.encode(text) for text in TEXTS])
    assert np.abs(model.encode(TEXTS) - alone).max() < (1e-5 if model.precision == "f32" else 2e-3)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(TEXTS))))
def test_output_follows_the_order_of_the_input(model: TextEncoder, order: list[int]) -> None:
    straight = model.encode(TEXTS)
    assert np.abs(model.encode([TEXTS[i] for i in order]) - straight[order]).max() < 2e-3


@given(lengths=st.lists(st.integers(1, 300), max_size=200), budget=st.integers(1, 2000))
def test_batches_hold_every_row_once_within_the_budget_longest_first(lengths: list[int], budget: int) -> None:
    groups = list(batches(lengths, budget))
    assert sorted(int(i) for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget
    longest = [max(lengths[i] for i in group) for group in groups]
    assert longest == sorted(longest, reverse=True)


def test_lines_of_unequal_length_are_padded_by_little() -> None:
    lengths = np.random.default_rng(0).geometric(0.1, size=2048) + 2
    tokens = sum(len(rows) * int(lengths[rows].max()) for rows in batches(lengths.tolist(), MOST_TOKENS))
    assert tokens < 1.05 * lengths.sum()


@given(length=st.integers(1, 5000), most=st.integers(1, 5000))
def test_a_length_is_rounded_up_by_an_eighth_or_one_and_never_beyond_the_limit(length: int, most: int) -> None:
    width = rounded(length, most)
    assert length <= width <= max(length, most)
    assert width - length <= max(1, length / 8)
    assert rounded(width, most) == width


def test_calls_of_a_few_lines_soon_meet_no_shape_that_was_not_compiled(
    make_model_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, int]] = []

    def noted(*arguments: Any, **named: Any) -> dict[str, Any]:
        table = padded(*arguments, **named)
        shapes.append(table["input_ids"].shape)
        return table

    monkeypatch.setattr("sememe.models.compiled.padded", noted)
    model = sememe.load_model(make_model_folder("shapes", max_tokens=51))
    dice = np.random.default_rng(0)
    lengths = np.minimum(dice.geometric(0.07, size=(200, 20)) + 4, 70)
    for call in lengths.tolist():
        model.encode(["tea " * length for length in call])
    seen = [set(shapes[: len(shapes) // 2]), set(shapes[len(shapes) // 2 :])]
    assert len(seen[0]) < 80
    assert len(seen[1] - seen[0]) < 8
    assert max(width for _, width in shapes) == 51


def test_more_texts_than_a_window_come_back_in_order() -> None:
    small = sememe.load_model(settings=Settings(home=from_environment().home, window=3, batch_tokens=64))
    texts = [f"text number {i} " * (i % 7 + 1) for i in range(25)]
    reference = sememe.load_model().encode(texts)
    assert np.abs(small.encode(texts) - reference).max() < 2e-3


def test_what_is_truncated_is_told_with_both_counts(model: TextEncoder) -> None:
    embedded = model.embed(["short", "word " * 400])
    assert embedded.tokens.tolist() == [3, 402]
    assert embedded.kept.tolist() == [3, 256]


def test_truncation_keeps_the_beginning_and_the_closing_token(model: TextEncoder) -> None:
    exactly, over = "word " * 254, "word " * 300
    assert model.encode(over) == pytest.approx(model.encode(exactly), abs=2e-3)


def test_lone_surrogates_are_replaced_and_counted(model: TextEncoder) -> None:
    embedded = model.embed(["a \ud800 b \udfff c", "clean"])
    assert embedded.replaced.tolist() == [2, 0]
    assert embedded.vectors[0] == pytest.approx(model.encode("a \ufffd b \ufffd c"), abs=2e-3)


def test_meaning_is_nearer_than_words(model: TextEncoder) -> None:
    question = model.encode_query("How do I reset my password?")
    near, far = model.encode_document(["I cannot log in any more, I forgot my secret", "A cat sat on the mat"])
    assert float(question @ near) > 0.3 > float(question @ far)
    assert model.similarity(question, np.stack([near, far])).shape == (1, 2)


def test_truncated_dimensions_are_scaled_to_unit_length_again(model: TextEncoder) -> None:
    full = model.encode("hello", truncate_dim=model.dim)
    with pytest.warns(UserWarning, match="first 64 of 384 may find less"):
        short = model.encode("hello", truncate_dim=64)
    assert short == pytest.approx(full[:64] / np.linalg.norm(full[:64]), abs=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.encode([1]), "text 0 is a int"),
        (lambda m: m.encode("a", truncate_dim=0), "truncate_dim is 0"),
        (lambda m: m.encode("a", truncate_dim=385), "384 dimensions"),
        (lambda m: m.encode("a", prompt="x", prompt_name="query"), "not both"),
        (lambda m: m.encode("a", prompt_name="none"), "has no prompt named 'none'"),
    ],
    ids=["no string", "no dimension", "too many dimensions", "two prompts", "unknown prompt"],
)
def test_wrong_arguments_are_named(model: TextEncoder, call: Callable[[TextEncoder], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(model)


def test_a_folder_is_a_model_with_its_prompts(make_model_folder: Callable[..., Path]) -> None:
    folder = make_model_folder("prompted", prompts={"query": "query: ", "document": "passage: "})
    tiny = sememe.load_model(folder)
    assert tiny.encode_query("tea") == pytest.approx(tiny.encode("query: tea"), abs=1e-5)
    assert tiny.encode_document("tea") == pytest.approx(tiny.encode("tea", prompt_name="document"), abs=1e-5)
    assert tiny.encode("tea") != pytest.approx(tiny.encode_query("tea"), abs=1e-3)
    assert tiny.reserved == 2 + tiny.counter.count("passage: ")


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("Instruct: Find passages\nQuery:", "Instruct: from a plumber's view\nQuery:tea"),
        ("Instruct: Find passages\nQuery: ", "Instruct: from a plumber's view\nQuery: tea"),
        ("task: search result | query: ", "task: from a plumber's view | query: tea"),
    ],
)
def test_an_instruction_takes_the_place_of_that_in_the_prompt(
    make_model_folder: Callable[..., Path], prompt: str, told: str
) -> None:
    tiny = sememe.load_model(make_model_folder("instructed", prompts={"query": prompt}))
    found = tiny.encode_query("tea", instruction="from a plumber's view")
    assert found == pytest.approx(tiny.encode(told), abs=1e-5)
    assert found != pytest.approx(tiny.encode_query("tea"), abs=1e-3)


def test_an_instruction_to_a_model_without_a_place_for_one_is_refused(make_model_folder: Callable[..., Path]) -> None:
    tiny = sememe.load_model(make_model_folder("plain", prompts={"query": "query: "}))
    with pytest.raises(InputError, match="not trained to be told"):
        tiny.encode_query("tea", instruction="from a plumber's view")


def test_a_damaged_compiled_graph_is_built_again(make_model_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_model_folder("compiled")
    home = Settings(home=tmp_path)
    before = sememe.load_model(folder, settings=home).encode("tea")
    cached = [path for path in (tmp_path / "compiled").rglob("*") if path.is_file()]
    assert cached
    for path in cached:
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert sememe.load_model(folder, settings=home).encode("tea") == pytest.approx(before, abs=1e-6)


def test_a_home_that_cannot_be_written_costs_only_the_cache(
    make_model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "compiled").write_text("in the way")
    model = sememe.load_model(make_model_folder("homeless"), settings=Settings(home=tmp_path))
    assert model.encode("tea").shape == (32,)


def test_bf16_is_refused_where_the_cpu_does_not_have_it(make_model_folder: Callable[..., Path]) -> None:
    model = sememe.load_model(
        make_model_folder("bf16"), settings=Settings(home=from_environment().home, precision="bf16")
    )
    import openvino

    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert model.encode("tea").shape == (32,)
        assert model.precision == "bf16"
    else:
        with pytest.raises(ModelError, match="bf16 was asked for"):
            model.encode("tea")


def test_weights_that_do_not_fit_their_configuration_are_refused(
    make_model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model_folder("misfit")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 64', '"intermediate_size": 48'))
    with pytest.raises(ModelError, match=r"has shape \(64, 32\), the configuration says \(48, 32\)"):
        sememe.load_model(folder, settings=Settings(home=tmp_path)).encode("tea")


SEEN = """
import sys
{use}
print("openvino" in sys.modules, "openvino_telemetry" in sys.modules)
"""


def test_the_engine_is_loaded_without_the_part_that_tells_its_makers() -> None:
    def loaded(use: str) -> str:
        done = subprocess.run([sys.executable, "-c", SEEN.format(use=use)], capture_output=True, text=True, check=True)
        return done.stdout

    assert loaded("from sememe.models.compiled import cpu_capabilities; cpu_capabilities()") == "True False\n"
    assert loaded("import openvino_telemetry") == "False True\n", "there is nothing that could be kept out"


@pytest.mark.parametrize("begun", [False, True], ids=["bare", "with the prompt before it"])
def test_a_prompt_stands_before_every_text_exactly_once(make_model_folder: Callable[..., Path], begun: bool) -> None:
    tiny = sememe.load_model(make_model_folder("once", prompts={"query": "query: ", "document": "passage: "}))
    roles: dict[str, Role] = {"query: ": "query", "passage: ": "document"}
    for prompt, role in roles.items():
        text = f"{prompt}tea" if begun else "tea"
        as_read = tiny.encode(f"{prompt}tea")
        by_role = tiny.encode_query if role == "query" else tiny.encode_document
        embedded = tiny.embed([text], role=role)
        ways = by_role(text), tiny.encode(text, prompt=prompt), tiny.encode(text, prompt_name=role), embedded.vectors[0]
        for vector in ways:
            assert vector == pytest.approx(as_read, abs=1e-5)
        assert embedded.tokens[0] == 2 + tiny.counter.count(f"{prompt}tea")


def test_a_text_that_has_the_prompt_already_keeps_its_tokens_out_of_the_pooling(tmp_path: Path) -> None:
    folder = tmp_path / "poolings"
    shutil.copytree(Path(__file__).parent / "reference" / "families" / "poolings", folder)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "find me the "}}))
    poolings = sememe.load_model(folder)
    bare, begun = poolings.encode_query(["valve in a house", "find me the valve in a house"])
    assert begun == pytest.approx(bare, abs=1e-5)
    assert poolings.encode("find me the valve in a house") != pytest.approx(bare, abs=1e-3)
