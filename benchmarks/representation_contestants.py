"""Who is compared in representation_peers: each makes vectors of texts, or finds texts by their tokens, its own way.

Run as a script this file is a worker (see harness) for one contestant; `start` begins one. Arrays travel in files of
NumPy: what is asked names them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from harness import Worker, peak_megabytes, peers_python, plaid_python, serve, timed, versions

Arrays = dict[str, npt.NDArray[Any]]
Encode = Callable[[list[str]], Any]
Packed = Callable[[Any], Arrays]
PACKAGES = ("sememe", "model2vec", "sentence-transformers", "torch", "fast-plaid", "tokenizers", "openvino")
PLAID_BITS = 2
"""Of fast-plaid's index for each dimension; its own choice is four."""


def dense(vectors: Any) -> Arrays:
    """One vector a text."""
    return {"vectors": np.asarray(vectors, dtype=np.float32)}


def ragged(texts: Iterable[Any]) -> Arrays:
    """Several vectors a text: all of them, and where each text's begin."""
    rows = [np.asarray(text, dtype=np.float32) for text in texts]
    return {"vectors": np.concatenate(rows), "starts": np.cumsum([0, *map(len, rows)])}


def sememe_static(folder: Path) -> tuple[Encode, Packed]:
    from sememe.models import load_model

    return load_model(folder).encode, dense


def model2vec(folder: Path) -> tuple[Encode, Packed]:
    """The same table and tokenizer, handed over: its own loader knows other files."""
    from model2vec import StaticModel
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    table = load_file(next(folder.glob("weights/*_256.safetensors")))["embedding.weight"].astype(np.float32)
    tokenizer = Tokenizer.from_file(str(next(folder.glob("tokenizers/*_tokenizer_config.json"))))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return StaticModel(table, tokenizer, normalize=True).encode, dense


def sememe_sparse(folder: Path) -> tuple[Encode, Packed]:
    from sememe.models import load_sparse

    model = load_sparse(folder)

    def packed(found: Any) -> Arrays:
        rows = np.zeros((len(found), model.dim), dtype=np.float32)
        for row, vector in zip(rows, found, strict=True):
            row[vector.indices] = vector.values
        return dense(rows)

    return model.encode_sparse, packed


def torch_sparse(folder: Path) -> tuple[Encode, Packed]:
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(folder), device="cpu")
    return (
        lambda texts: model.encode_document(texts, show_progress_bar=False),
        lambda found: dense(found.to_dense().numpy()),
    )


def sememe_tokens(folder: Path) -> tuple[Encode, Packed]:
    from sememe.models import load_late

    return load_late(folder).encode_tokens, ragged


def torch_tokens(folder: Path) -> tuple[Encode, Packed]:
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    return lambda texts: model.encode_document(texts, show_progress_bar=False, convert_to_numpy=True), ragged


class Encoder:
    """Texts in a file in, arrays in a file out."""

    def __init__(self, open_: Callable[[Path], tuple[Encode, Packed]], folder: Path) -> None:
        self._encode, self._packed = open_(folder)

    def encode(self, asked: dict[str, str]) -> dict[str, float]:
        """Seconds and seconds of CPU for `texts`; with `to` the arrays are written there."""
        texts: list[str] = json.loads(Path(asked["texts"]).read_text(encoding="utf-8"))
        found: list[Any] = []
        took = timed(lambda: found.append(self._encode(texts)))
        if asked.get("to"):
            np.savez(asked["to"], **self._packed(found[0]))
        return {**took, "megabytes": peak_megabytes()}


class SememeIndex:
    """sememe's index over tokens."""

    def build(self, folder: Path, texts: list[npt.NDArray[np.float32]]) -> None:
        from sememe.index import late

        self._index = late.build(folder, np.arange(len(texts)), texts)

    def search(self, query: npt.NDArray[np.float32], k: int, candidates: int | None) -> list[int]:
        found: list[int] = self._index.search(query, k, candidates=candidates)[0].tolist()
        return found


class FastPlaid:
    """fast-plaid with two bits a dimension, and with what it chooses else."""

    def build(self, folder: Path, texts: list[npt.NDArray[np.float32]]) -> None:
        import torch
        from fast_plaid.search import FastPlaid as Index

        self._torch = torch
        self._index = Index(index=str(folder), device="cpu")
        self._index.create(documents_embeddings=[torch.from_numpy(text) for text in texts], nbits=PLAID_BITS)

    def search(self, query: npt.NDArray[np.float32], k: int, probes: int | None) -> list[int]:
        chosen = {} if probes is None else {"n_ivf_probe": probes}
        (found,) = self._index.search(
            queries_embeddings=self._torch.from_numpy(query)[None], top_k=k, show_progress=False, **chosen
        )
        return [number for number, _ in found]


class Searcher:
    """An index that is built of arrays in a file, and asked by others."""

    def __init__(self, index: SememeIndex | FastPlaid) -> None:
        self._index = index

    def build(self, asked: dict[str, str]) -> dict[str, float]:
        """Seconds to make an index of the texts in `arrays`, and its bytes on disk, in the folder `to`."""
        folder = Path(asked["to"])
        shutil.rmtree(folder, ignore_errors=True)
        texts = _split(asked["arrays"])
        took = timed(lambda: self._index.build(folder, texts))
        return {**took, "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())}

    def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The k best of every query in `arrays`, and the seconds that each took; with `setting` another one."""
        found, seconds = [], []
        for query in _split(asked["arrays"]):
            start = time.perf_counter()
            found.append(self._index.search(query, asked["k"], asked.get("setting")))
            seconds.append(time.perf_counter() - start)
        return {"found": found, "each": seconds, "seconds": sum(seconds)}


def _split(path: str) -> list[npt.NDArray[np.float32]]:
    with np.load(path) as arrays:
        return np.split(arrays["vectors"], arrays["starts"][1:-1])


ENCODERS = {
    "sememe static": sememe_static, "model2vec": model2vec, "sememe sparse": sememe_sparse,
    "SparseEncoder": torch_sparse, "sememe tokens": sememe_tokens, "MultiVectorEncoder": torch_tokens,
}  # fmt: skip
INDEXES = {"sememe index": SememeIndex, "fast-plaid": FastPlaid}


def start(name: str, folder: Path) -> Worker:
    """A worker for a contestant, in the environment that has it."""
    python = sys.executable if name.startswith("sememe") else plaid_python() if name in INDEXES else peers_python()
    return Worker(name, python, [str(Path(__file__)), name, str(folder)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve one contestant.")
    parser.add_argument("name", choices=[*ENCODERS, *INDEXES])
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    packages: dict[str, Callable[[Any], Any]] = {"versions": lambda _: versions(PACKAGES)}
    if chosen.name in INDEXES:
        searcher = Searcher(INDEXES[chosen.name]())
        serve({**packages, "build": searcher.build, "search": searcher.search})
    else:
        serve({**packages, "encode": Encoder(ENCODERS[chosen.name], chosen.folder).encode})


if __name__ == "__main__":
    main()
