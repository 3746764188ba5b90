"""Texts per second of sememe and its peers: the same weights, the same texts, in turns, in one run.

Usage: python benchmarks/embed.py [--rounds N] [--quick] [--cache FOLDER]

Prints a table for one-liners and one for chunks of 250 tokens, then one JSON line, also kept in
benchmarks/results/embed.json. Ratios are taken round by round, so that a machine that slows down slows
all alike; those of CPU seconds hardly feel what else runs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import contestants
import corpora
import harness
import numpy as np

REFERENCE = "sentence-transformers"
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
CHUNK_TOKENS = 250


def main() -> None:
    parser = argparse.ArgumentParser(description="Texts per second of sememe and its peers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the texts, two rounds")
    parser.add_argument("--only", nargs="+", help="these contestants beside sememe and sentence-transformers")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    arguments = parser.parse_args()
    cache: Path = arguments.cache
    count = 2 if arguments.quick else arguments.rounds
    sets = texts_of(cache, 10 if arguments.quick else 1)
    folder = corpora.model_folder(cache)
    workers, facts = [], {}
    for name in names(arguments.only):
        worker, facts[name] = contestants.start(name, folder, cache)
        workers.append(worker)
    result = {kind: one_set(kind, texts, workers, count, cache) for kind, texts in sets.items()}
    for worker in workers:
        worker.close()
    document = {"rounds": count, "quick": arguments.quick, "contestants": facts, "sets": result}
    harness.finish("embed", document, keep=not arguments.quick)


def names(only: list[str] | None) -> list[str]:
    """Who takes part: bf16 contestants only where the CPU multiplies bf16 itself."""
    others = only or list(contestants.ON_ONNX)
    if not only and BF16_FLAGS & set(harness.machine()["flags"]):
        others = ["sememe f32", "sentence-transformers bf16", *others]
    return ["sememe", REFERENCE, *others]


def texts_of(cache: Path, divisor: int) -> dict[str, list[str]]:
    """5,000 one-liners and 500 chunks, or a part of them."""
    return {
        "one-liners": corpora.one_liners(cache, 5_000 // divisor),
        "chunks": corpora.chunks(cache, 500 // divisor, CHUNK_TOKENS),
    }


def one_set(kind: str, texts: list[str], workers: list[harness.Worker], count: int, cache: Path) -> dict[str, Any]:
    """Measure one set of texts on every worker, print the table, and return the figures."""
    source = cache / f"embed-{kind}.json"
    source.write_text(json.dumps(texts), encoding="ascii")
    for worker in workers:
        worker.call("read", str(source))
    measured = harness.rounds(workers, "run", None, count)
    vectors = {}
    for worker in workers:
        target = cache / f"embed-{kind}-{worker.name}.npy"
        worker.call("save", str(target))
        vectors[worker.name] = np.load(target)
    tokens = corpora.token_count(cache, texts)
    figures = {
        worker.name: {
            "texts_per_second": len(texts) / harness.median(measured, worker.name, "seconds"),
            "tokens_per_second": tokens / harness.median(measured, worker.name, "seconds"),
            "cpu_seconds": harness.median(measured, worker.name, "cpu"),
            "megabytes": max(one[worker.name]["megabytes"] for one in measured),
            "min_cosine": float(contestants.cosines(vectors[worker.name], vectors[REFERENCE]).min()),
            "sememe_is_faster_by": harness.ratios(measured, "sememe", worker.name, "seconds"),
            "sememe_takes_less_cpu_by": harness.ratios(measured, "sememe", worker.name, "cpu"),
        }
        for worker in workers
    }
    show(f"{kind}: {len(texts)} texts, {tokens} tokens, {count} rounds", figures)
    return {"texts": len(texts), "tokens": tokens, "figures": figures, "rounds": measured}


def show(title: str, figures: dict[str, dict[str, Any]]) -> None:
    """Print the table of one set of texts."""
    rows = [
        [
            title,
            "texts/s",
            "tokens/s",
            "CPU s",
            "min cosine",
            "peak MB",
            "sememe is faster by",
            "best rounds",
            "in CPU s",
        ]
    ]
    for name, one in figures.items():
        rows.append(
            [
                name,
                f"{one['texts_per_second']:.1f}",
                f"{one['tokens_per_second']:.0f}",
                f"{one['cpu_seconds']:.1f}",
                f"{one['min_cosine']:.6f}",
                f"{one['megabytes']:.0f}",
                told(one["sememe_is_faster_by"]),
                f"{one['sememe_is_faster_by']['fastest']:.2f}",
                told(one["sememe_takes_less_cpu_by"]),
            ]
        )
    harness.table(rows)


def told(ratio: dict[str, float]) -> str:
    """A ratio as median (smallest-largest)."""
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})"


if __name__ == "__main__":
    main()
