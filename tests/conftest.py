"""What the tests share: the real default model once, a tiny model made here, and folders to work in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from test_families import REFERENCE, reference_texts

import sememe
from sememe.models.cards import DEFAULT_MODEL, find_card
from sememe.models.encoder import TextEncoder
from sememe.models.fetch import fetch
from sememe.settings import from_environment

HIDDEN, LAYERS, INNER, WORDS = 32, 2, 64, 30522

# The same examples in every run, so that a change is judged by what it changed; `make explore` draws new ones. No test
# judges speed, on whatever machine it runs.
settings.register_profile(
    "steady", derandomize="SEMEME_EXPLORE" not in os.environ, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("steady")


@pytest.fixture(scope="session")
def model() -> TextEncoder:
    """all-MiniLM-L6-v2, from the cache or fetched by digest."""
    return sememe.load_model(DEFAULT_MODEL)


@pytest.fixture(scope="session")
def make_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a folder in sentence-transformers' layout with a tiny random BERT; `seed` makes another model."""
    tokenizer = fetch(find_card(DEFAULT_MODEL), settings=from_environment())["tokenizer.json"]

    def make(name: str, *, seed: int = 0, max_tokens: int = 128, prompts: dict[str, str] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("models") / name
        folder.mkdir()
        shutil.copy(tokenizer, folder / "tokenizer.json")
        _write_tiny_bert(folder, seed)
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_tokens}))
        (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts or {}}))
        return folder

    return make


def _write_tiny_bert(folder: Path, seed: int) -> None:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": (128, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{name}{part}.weight": (HIDDEN, HIDDEN), f"{name}{part}.bias": (HIDDEN,)}
        shapes |= {f"{name}intermediate.dense.weight": (INNER, HIDDEN), f"{name}intermediate.dense.bias": (INNER,)}
        shapes |= {f"{name}output.dense.weight": (HIDDEN, INNER), f"{name}output.dense.bias": (HIDDEN,)}
    tensors = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    norms = ["embeddings.LayerNorm"] + [
        f"encoder.layer.{layer}.{part}.LayerNorm" for layer in range(LAYERS) for part in ("attention.output", "output")
    ]
    for norm in norms:
        tensors |= {f"{norm}.weight": np.ones(HIDDEN, np.float32), f"{norm}.bias": np.zeros(HIDDEN, np.float32)}
    save_file(tensors, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
                "intermediate_size": INNER, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
                "max_position_embeddings": 128, "type_vocab_size": 2, "vocab_size": WORDS,
            }
        )
    )  # fmt: skip
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True})
    )
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.fixture(scope="session")
def head_texts() -> list[str]:
    """What models with a head of their own (rerankers, sparse and late encoders) are asked in the reference."""
    return reference_texts()[::3][:20]


@pytest.fixture(scope="session")
def head_vectors() -> dict[str, np.ndarray]:
    """What transformers and sentence-transformers made of them, by folder and role."""
    with np.load(REFERENCE / "heads.npz") as stored:
        return dict(stored)
