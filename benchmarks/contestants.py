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
from harness import Worker, peak_megabytes, peers_python, serve, timed, versions

Vectors = npt.NDArray[np.float32]
MODEL = "all-MiniLM-L6-v2"
LIMIT = 256
DIMENSIONS = 384
FASTEMBED_BATCH = 256
PACKAGES = (
    "sememe",
    "openvino",
    "sentence-transformers",
    "torch",
    "transformers",
    "onnxruntime",
    "fastembed",
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

    def __init__(self, precision: str) -> None:
        self._precision = precision

    def load(self) -> None:
        from sememe.models import load_model
        from sememe.settings import from_environment

        settings = from_environment({**os.environ, "SEMEME_PRECISION": self._precision})
        self._model = load_model(MODEL, settings=settings)

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
        self._tokenizer.enable_truncation(LIMIT)
        self._tokenizer.enable_padding()

    def encode(self, texts: list[str]) -> Vectors:
        firsts = range(0, len(texts), FASTEMBED_BATCH)
        return np.concatenate([self._batch(texts[first : first + FASTEMBED_BATCH]) for first in firsts])

    def _batch(self, texts: list[str]) -> Vectors:
        encodings = self._tokenizer.encode_batch(texts)
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        states = self._session.run(None, dict(zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True)))[0]
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
            model="local/minilm",
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(url="local"),  # never asked: the folder is given
            dim=DIMENSIONS,
            model_file="model.onnx",
        )
        self._model = TextEmbedding("local/minilm", specific_model_path=str(self._onnx))

    def encode(self, texts: list[str]) -> Vectors:
        return np.asarray(list(self._model.embed(texts)), dtype=np.float32)


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
        axes = {name: {0: "batch", 1: "length"} for name in (*INPUTS, "last_hidden_state")}
        with torch.no_grad():
            torch.onnx.export(
                _last_state(encoder),
                (ids, (ids > 0).long(), torch.zeros_like(ids)),
                str(self._onnx / "part.onnx"),
                input_names=list(INPUTS),
                output_names=["last_hidden_state"],
                dynamic_axes=axes,
                opset_version=17,
                dynamo=False,
            )
        _copy_tokenizer(self._folder, self._onnx)
        (self._onnx / "part.onnx").rename(self._onnx / "model.onnx")

    def encode(self, texts: list[str]) -> Vectors:
        return np.zeros((len(texts), DIMENSIONS), np.float32)


def _last_state(encoder: Any) -> Any:
    """A torch module that returns the last state alone, as the exported graph should."""
    import torch

    class LastState(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            states = self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=types)
            return states.last_hidden_state

    return LastState().eval()


def _copy_tokenizer(folder: Path, onnx: Path) -> None:
    """fastembed takes its limit from the tokenizer's file, which says 512 where the model's own says 256."""
    for name in ("tokenizer.json", "config.json", "special_tokens_map.json"):
        (onnx / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["model_max_length"] = LIMIT
    (onnx / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


NAMES = ("sememe", "sememe f32", "sememe bf16", "sentence-transformers", "sentence-transformers bf16")
ON_ONNX = ("onnxruntime", "fastembed")


def engine(name: str, folder: Path, onnx: Path) -> Engine:
    """The named contestant; `folder` holds the model, `onnx` the exported graph."""
    family, _, kind = name.partition(" ")
    if family == "sememe":
        return Sememe(kind or "auto")
    if family == "sentence-transformers":
        return SentenceTransformers(folder, "bfloat16" if kind else "float32")
    if name == "export":
        return Export(folder, onnx)
    return OnnxRuntime(onnx) if name == "onnxruntime" else FastEmbed(onnx)


def start(name: str, folder: Path, cache: Path) -> tuple[Worker, dict[str, Any]]:
    """A loaded worker for one contestant, and what it says of itself. Exports the ONNX graph when missing."""
    onnx = cache / "onnx"
    if name in ON_ONNX and not (onnx / "model.onnx").exists():
        start("export", folder, cache)[0].close()
    python = sys.executable if name.startswith("sememe") else peers_python()
    worker = Worker(name, python, [__file__, name, str(folder), str(onnx)])
    return worker, worker.call("load")


class Operations:
    """What a worker can be asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._texts: list[str] = []
        self._vectors: Vectors = np.zeros((0, DIMENSIONS), np.float32)

    def load(self, _: None) -> dict[str, Any]:
        """Load the engine; returns the seconds until its first vector and the versions."""
        begin = time.perf_counter()
        self._engine.load()
        self._engine.encode(["a first text"])
        return {"first_vector_seconds": time.perf_counter() - begin, "versions": versions(PACKAGES)}

    def read(self, path: str) -> int:
        """Take the texts of a JSON file and warm up on some of them, spread over the file."""
        self._texts = json.loads(Path(path).read_text(encoding="utf-8"))
        self._engine.encode(self._texts[:: max(1, len(self._texts) // 64)])
        return len(self._texts)

    def run(self, _: None) -> dict[str, float]:
        """Encode all texts; returns seconds, CPU seconds and the peak memory so far."""
        took = timed(self._encode)
        return {**took, "megabytes": peak_megabytes()}

    def save(self, path: str) -> None:
        """Write the vectors of the last run."""
        np.save(path, self._vectors)

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
    parser.add_argument("name", choices=(*NAMES, *ON_ONNX, "export"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("onnx", type=Path)
    arguments = parser.parse_args()
    able = Operations(engine(arguments.name, arguments.folder, arguments.onnx))
    serve({"load": able.load, "read": able.read, "run": able.run, "save": able.save})


if __name__ == "__main__":
    main()
