"""The gap between sememe and sentence-transformers, both run now on the same texts.

Usage: python benchmarks/parity.py [--models NAME...] [--cache FOLDER]

The texts are those of tests/reference. all-MiniLM-L6-v2 and all-mpnet-base-v2 run in f32 and, where the CPU multiplies
bf16 itself, in bf16; a tiny ALBERT, of which no graph is built here, by the torch engine. Prints the largest and the
mean gap of the cosine from 1; the last line is JSON, kept in benchmarks/results/parity.json, where a model that was
left out keeps its figures. Ends with 1 when a gap is larger than promised.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import contestants
import corpora
import harness

TEXTS = harness.ROOT / "tests" / "reference" / "texts.jsonl.gz"
ALBERT = "tiny ALBERT"
MODELS = (corpora.MINILM, corpora.MPNET, ALBERT)
PROMISED = {"sememe f32": 1e-4, "sememe bf16": 1e-3, contestants.TORCH: 1e-4}


def main() -> None:
    parser = argparse.ArgumentParser(description="The gap between sememe and sentence-transformers.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    arguments = parser.parse_args()
    cache: Path = arguments.cache
    with gzip.open(TEXTS, "rt", encoding="ascii") as lines:
        rows = [json.loads(line) for line in lines]
    gaps = {model: gaps_of(model, rows, cache) for model in arguments.models}
    kept = harness.RESULTS / "parity.json"
    earlier = json.loads(kept.read_text(encoding="utf-8"))["gaps"] if kept.exists() else {}
    harness.finish("parity", {"texts": len(rows), "gaps": {**earlier, **gaps}})
    found = [(name, gap["max"]) for one in gaps.values() for name, gap in one.items()]
    if any(gap > PROMISED[name] for name, gap in found):
        raise SystemExit(1)


def gaps_of(model: str, rows: list[dict[str, Any]], cache: Path) -> dict[str, dict[str, Any]]:
    """The gaps of one model, of which ALBERT is made here."""
    if model != ALBERT:
        return compare(corpora.model_folder(cache, model), precisions(), rows, cache)
    with tempfile.TemporaryDirectory() as folder:
        making = [harness.peers_python(), str(Path(__file__).with_name("odd_family.py")), folder]
        subprocess.run(making, check=True)
        return compare(Path(folder) / "albert", [contestants.TORCH], rows, cache)


def compare(folder: Path, names: list[str], rows: list[dict[str, Any]], cache: Path) -> dict[str, dict[str, Any]]:
    """The gaps of each way in which sememe runs one model."""
    texts = [row["text"] for row in rows]
    # tokenizers cannot take a lone surrogate; sememe gets the texts as they are.
    readable = [re.sub("[\ud800-\udfff]", "\ufffd", text) for text in texts]
    reference = vectors_of("sentence-transformers", readable, folder, cache)
    gaps = {}
    for name in names:
        found = 1 - contestants.cosines(vectors_of(name, texts, folder, cache), reference)
        kind = rows[int(found.argmax())]["kind"]
        gaps[name] = {"max": float(found.max()), "mean": float(found.mean()), "worst": kind}
        print(f"{folder.name}, {name}: cosine gap max {found.max():.2e} ({kind}), mean {found.mean():.2e}")
    return gaps


def precisions() -> list[str]:
    """f32 always, bf16 where the CPU has it."""
    native = {"avx512_bf16", "amx_bf16"} & set(harness.machine()["flags"])
    return ["sememe f32", "sememe bf16"] if native else ["sememe f32"]


def vectors_of(name: str, texts: list[str], folder: Path, cache: Path) -> contestants.Vectors:
    """What one contestant makes of the texts, in a process that ends with the call."""
    worker, _ = contestants.start(name, folder, cache)
    with tempfile.TemporaryDirectory() as scratch:
        vectors = contestants.encoded(worker, texts, Path(scratch))
    worker.close()
    return vectors


if __name__ == "__main__":
    main()
