"""The engines that are compared: each loads the same weights and turns texts into unit vectors, its own way.

Run as a script this file is a worker (see harness) for one contestant; `start` begins one. It knows how each
engine is meant to be used by its makers; what is measured and how often is the caller's business.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from harness import Worker, embed_anything_python, peak_megabytes, peers_python, serve, timed, versions

Vectors = npt.NDArray[np.float32]
FASTEMBED_BATCH = 256
PRODUCT_TOKENS = 2048
REVISION = "0" * 40
PACKAGES = (
    "sememe",
    "openvino",
    "sentence-transformers",
    "torch",
    "transformers",
    "onnxruntime",
    "fastembed",
    "embed-anything",
)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Engine(Protocol):
    """One contestant, not loaded yet."""

    def load(self) -> None:
        """Make ready to encode."""

    def encode(self, texts: list[str]) -> Vectors:
        """The unit vectors of `texts`, (n, dim)."""


class Sememe:
    """sememe, in a named precision."""

    def __init__(self, folder: Path, precision: str) -> None:
        self._folder, self._precision = folder, precision

    def load(self) -> None:
        from sememe.models import load_model
        from sememe.settings import from_environment

        settings = from_environment({**os.environ, "SEMEME_PRECISION": self._precision})
        self._model = load_model(self._folder, settings=settings)

    def encode(self, texts: list[str]) -> Vectors:
        vectors: Vectors = self._model.encode(texts)
        return vectors


class SentenceTransformers:
    """sentence-transformers with its defaults, or with the weights in another type."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self._folder, self._dtype = folder, dtype

    def load(self) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        options = {} if self._dtype == "float32" else {"dtype": getattr(torch, self._dtype)}
        self._model = SentenceTransformer(str(self._folder), device="cpu", model_kwargs=options)

    def encode(self, texts: list[str]) -> Vectors:
        vectors = self._model.encode(texts, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


class OnnxRuntime:
    """onnxruntime as fastembed drives it: batches of 256 as they come, each padded to its longest text."""

    def __init__(self, onnx: Path) -> None:
        self._onnx = onnx

    def load(self) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(self._onnx / "model.onnx"), options, providers=providers)
        self._tokenizer = Tokenizer.from_file(str(self._onnx / "tokenizer.json"))
        self._tokenizer.enable_truncation(_limit(self._onnx))
        self._tokenizer.enable_padding()

    def encode(self, texts: list[str]) -> Vectors:
        firsts = range(0, len(texts), FASTEMBED_BATCH)
        return np.concatenate([self._batch(texts[first : first + FASTEMBED_BATCH]) for first in firsts])

    def _batch(self, texts: list[str]) -> Vectors:
        encodings = self._tokenizer.encode_batch(texts)
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        given = dict(zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True))
        states = self._session.run(None, {port.name: given[port.name] for port in self._session.get_inputs()})[0]
        weights = mask[:, :, None].astype(np.float32)
        pooled = (states * weights).sum(1) / weights.sum(1)
        unit: Vectors = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit


class FastEmbed:
    """fastembed itself on the exported graph."""

    def __init__(self, onnx: Path) -> None:
        self._onnx = onnx

    def load(self) -> None:
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType

        TextEmbedding.add_custom_model(
            model="local/model",
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(url="local"),  # never asked: the folder is given
            dim=_config(self._onnx)["hidden_size"],
            model_file="model.onnx",
        )
        self._model = TextEmbedding("local/model", specific_model_path=str(self._onnx))

    def encode(self, texts: list[str]) -> Vectors:
        return np.asarray(list(self._model.embed(texts)), dtype=np.float32)


class EmbedAnything:
    """embed-anything with its defaults. It takes models by their name of the hub, so it finds them in a hub cache."""

    def __init__(self, folder: Path, onnx: Path) -> None:
        self._folder, self._home = folder, onnx / "hub"

    def load(self) -> None:
        os.environ |= {"HF_HOME": str(self._home), "HF_HUB_OFFLINE": "1"}
        cached = self._home / "hub" / "models--local--model" / "snapshots" / REVISION
        if not cached.exists():
            cached.parent.mkdir(parents=True)
            cached.symlink_to(self._folder.absolute())
        from embed_anything import EmbeddingModel

        self._model = EmbeddingModel.from_pretrained_hf(model_id="local/model", revision=REVISION)

    def encode(self, texts: list[str]) -> Vectors:
        return np.array([found.embedding for found in self._model.embed_query(texts)], dtype=np.float32)


class Products:
    """No contestant: the bare matrix products of a model's layers for as many tokens, by torch, in float32.

    What surrounds them (attention, norms, functions, padding, tokenizing) is left out: no engine gets there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> None:
        import torch
        from tokenizers import Tokenizer

        config, self._limit = _config(self._folder), _limit(self._folder)
        hidden, inner, self._layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
        shapes = [(hidden, hidden)] * 4 + [(inner, hidden), (hidden, inner)]
        self._products = [(torch.randn(PRODUCT_TOKENS, shape[1]), torch.randn(shape)) for shape in shapes]
        self._tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._limit)

    def prepare(self, texts: list[str]) -> None:
        """Count the tokens before the clock runs."""
        self._tokens = sum(len(encoding) for encoding in self._tokenizer.encode_batch(texts))

    def encode(self, texts: list[str]) -> Vectors:
        import torch

        with torch.no_grad():
            for first in range(0, self._tokens, PRODUCT_TOKENS):
                for _ in range(self._layers):
                    for states, weights in self._products:
                        torch.nn.functional.linear(states[: self._tokens - first], weights)
        return np.zeros((len(texts), 1), np.float32)


class Export:
    """No contestant: writes the graph for the two that need it, in a process of its own."""

    def __init__(self, folder: Path, onnx: Path) -> None:
        self._folder, self._onnx = folder, onnx

    def load(self) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self._onnx.mkdir(parents=True, exist_ok=True)
        encoder = SentenceTransformer(str(self._folder), device="cpu")[0].auto_model.eval()
        ids = torch.tensor([[101, 7592, 2088, 102], [101, 7592, 102, 0]])
        inputs = INPUTS if _config(self._folder)["model_type"] == "bert" else INPUTS[:2]
        axes = {name: {0: "batch", 1: "length"} for name in (*inputs, "last_hidden_state")}
        with torch.no_grad():
            torch.onnx.export(
                _last_state(encoder),
                (ids, (ids > 0).long(), torch.zeros_like(ids))[: len(inputs)],
                str(self._onnx / "part.onnx"),
                input_names=list(inputs),
                output_names=["last_hidden_state"],
                dynamic_axes=axes,
                opset_version=17,
                dynamo=False,
            )
        _copy_tokenizer(self._folder, self._onnx)
        (self._onnx / "part.onnx").rename(self._onnx / "model.onnx")

    def encode(self, texts: list[str]) -> Vectors:
        return np.zeros((len(texts), 1), np.float32)


def _last_state(encoder: Any) -> Any:
    """A torch module that returns the last state alone, as the exported graph should."""
    import torch

    class LastState(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, *inputs: Any) -> Any:
            return self.encoder(**dict(zip(INPUTS, inputs, strict=False))).last_hidden_state

    return LastState().eval()


def _copy_tokenizer(folder: Path, onnx: Path) -> None:
    """fastembed takes its limit from the tokenizer's file, which says 512 where the model's own says less."""
    for name in ("tokenizer.json", "config.json", "special_tokens_map.json", "sentence_bert_config.json"):
        (onnx / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["model_max_length"] = _limit(folder)
    (onnx / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def _config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def _limit(folder: Path) -> int:
    """The tokens that the model reads of a text, by its own word."""
    limit: int = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"]
    return limit


NAMES = ("sememe", "sememe f32", "sememe bf16", "sememe int8", "sentence-transformers", "sentence-transformers bf16")
ON_ONNX = ("onnxruntime", "fastembed")
UNLIMITED = "embed-anything"
"""Cuts at 512 tokens, whatever the model's own limit is."""
PRODUCTS = "matrix products"
TORCH = "sememe torch"
"""sememe where sentence-transformers is its engine, in the environment of the peers."""


def engine(name: str, folder: Path, onnx: Path) -> Engine:
    """The named contestant; `folder` holds the model, `onnx` the exported graph."""
    family, _, kind = name.partition(" ")
    if family == "sememe":
        return Sememe(folder, kind if kind and name != TORCH else "auto")
    if family == "sentence-transformers":
        return SentenceTransformers(folder, "bfloat16" if kind else "float32")
    if name == "export":
        return Export(folder, onnx)
    if name == UNLIMITED:
        return EmbedAnything(folder, onnx)
    if name == PRODUCTS:
        return Products(folder)
    return OnnxRuntime(onnx) if name == "onnxruntime" else FastEmbed(onnx)


def start(name: str, folder: Path, cache: Path) -> tuple[Worker, dict[str, Any]]:
    """A loaded worker for one contestant, and what it says of itself. Exports the ONNX graph when missing."""
    onnx = cache / "onnx" / folder.name
    if name in ON_ONNX and not (onnx / "model.onnx").exists():
        start("export", folder, cache)[0].close()
    onnx.mkdir(parents=True, exist_ok=True)
    others = embed_anything_python if name == UNLIMITED else peers_python
    python = sys.executable if name.startswith("sememe") and name != TORCH else others()
    worker = Worker(name, python, [__file__, name, str(folder), str(onnx)])
    return worker, worker.call("load")


class Operations:
    """What a worker can be asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._texts: list[str] = []
        self._vectors: Vectors = np.zeros((0, 0), np.float32)

    def load(self, _: None) -> dict[str, Any]:
        """Load the engine; returns the seconds until its first vector and the versions."""
        begin = time.perf_counter()
        self._engine.load()
        self._prepared(["a first text"])
        return {"first_vector_seconds": time.perf_counter() - begin, "versions": versions(PACKAGES)}

    def read(self, path: str) -> int:
        """Take the texts of a JSON file and warm up on some of them, spread over the file."""
        self._texts = json.loads(Path(path).read_text(encoding="utf-8"))
        self._prepared(self._texts[:: max(1, len(self._texts) // 64)])
        if isinstance(self._engine, Products):
            self._engine.prepare(self._texts)
        return len(self._texts)

    def run(self, _: None) -> dict[str, float]:
        """Encode all texts; returns seconds, CPU seconds and the peak memory so far."""
        took = timed(self._encode)
        return {**took, "megabytes": peak_megabytes()}

    def save(self, path: str) -> None:
        """Write the vectors of the last run."""
        np.save(path, self._vectors)

    def _prepared(self, texts: list[str]) -> None:
        if isinstance(self._engine, Products):
            self._engine.prepare(texts)
        self._engine.encode(texts)

    def _encode(self) -> None:
        self._vectors = self._engine.encode(self._texts)


def encoded(worker: Worker, texts: list[str], scratch: Path) -> Vectors:
    """The vectors that one worker makes of `texts`."""
    source, target = scratch / f"{worker.name}.json", scratch / f"{worker.name}.npy"
    source.write_text(json.dumps(texts), encoding="ascii")
    worker.call("read", str(source))
    worker.call("run")
    worker.call("save", str(target))
    vectors: Vectors = np.load(target)
    return vectors


def cosines(first: Vectors, second: Vectors) -> npt.NDArray[np.float64]:
    """The cosine of each pair of rows, in float64."""
    one, two = first.astype(np.float64), second.astype(np.float64)
    lengths: npt.NDArray[np.float64] = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    found: npt.NDArray[np.float64] = (one * two).sum(1) / lengths
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="A worker; see harness.py.")
    parser.add_argument("name", choices=(*NAMES, *ON_ONNX, UNLIMITED, PRODUCTS, TORCH, "export"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("onnx", type=Path)
    arguments = parser.parse_args()
    able = Operations(engine(arguments.name, arguments.folder, arguments.onnx))
    serve({"load": able.load, "read": able.read, "run": able.run, "save": able.save})


if __name__ == "__main__":
    main()
