"""Texts per second of sememe and its peers: the same weights, the same texts, in turns, in one run.

Usage: python benchmarks/embed.py [--rounds N] [--quick] [--models NAME...] [--cache FOLDER]

For all-MiniLM-L6-v2 and all-mpnet-base-v2 prints a table for one-liners, one for chunks of 250 tokens and one for a
mix of 5 to 5,000 tokens, cut at the model's limit by all; then one JSON line, also kept in
benchmarks/results/embed.json. Beside the engines stand the bare matrix products of the model's layers for as many
tokens. Ratios are taken round by round, so that a machine that slows down slows all alike; those of CPU seconds
hardly feel what else runs.
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
COUNTS = {corpora.MINILM: (5_000, 500, 40), corpora.MPNET: (300, 30, 8)}
"""One-liners, chunks and mixed texts: the larger model takes eight times as long."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Texts per second of sememe and its peers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the texts, two rounds")
    parser.add_argument("--models", nargs="+", choices=list(COUNTS), default=list(COUNTS))
    parser.add_argument("--only", nargs="+", help="these contestants beside sememe and sentence-transformers")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    arguments = parser.parse_args()
    cache: Path = arguments.cache
    count = 2 if arguments.quick else arguments.rounds
    result = {
        model: one_model(model, names(arguments.only), count, 10 if arguments.quick else 1, cache)
        for model in arguments.models
    }
    # A model that was left out keeps its figures.
    kept = harness.RESULTS / "embed.json"
    earlier = json.loads(kept.read_text(encoding="utf-8")).get("models", {}) if kept.exists() else {}
    document = {"rounds": count, "quick": arguments.quick, "models": {**earlier, **result}}
    harness.finish("embed", document, keep=not arguments.quick)


def names(only: list[str] | None) -> list[str]:
    """Who takes part: bf16 contestants only where the CPU multiplies bf16 itself."""
    others = only or ["sememe int8", *contestants.ON_ONNX, contestants.UNLIMITED, contestants.PRODUCTS]
    if not only and BF16_FLAGS & set(harness.machine()["flags"]):
        others = ["sememe f32", "sentence-transformers bf16", *others]
    return ["sememe", REFERENCE, *others]


def one_model(model: str, names: list[str], count: int, divisor: int, cache: Path) -> dict[str, Any]:
    """Every set of texts through every contestant that can load the model."""
    folder = corpora.model_folder(cache, model)
    workers, facts = [], {}
    for name in names:
        try:
            worker, facts[name] = contestants.start(name, folder, cache)
        except RuntimeError as error:
            facts[name] = {"failed": str(error)}
            continue
        workers.append(worker)
    sets = texts_of(model, cache, divisor)
    result = {kind: one_set(model, kind, texts, workers, count, cache) for kind, texts in sets.items()}
    for worker in workers:
        worker.close()
    return {"contestants": facts, "sets": result}


def texts_of(model: str, cache: Path, divisor: int) -> dict[str, list[str]]:
    """The three sets, or a part of them."""
    lines, chunks, mixed = (max(4, count // divisor) for count in COUNTS[model])
    return {
        "one-liners": corpora.one_liners(cache, lines),
        "chunks": corpora.chunks(cache, chunks, CHUNK_TOKENS),
        "mixed": corpora.mixed(cache, mixed),
    }


def one_set(
    model: str, kind: str, texts: list[str], workers: list[harness.Worker], count: int, cache: Path
) -> dict[str, Any]:
    """Measure one set of texts on every worker, print the table, and return the figures."""
    whole, cut = cache / f"embed-{kind}.json", cache / f"embed-{kind}-cut.json"
    whole.write_text(json.dumps(texts), encoding="ascii")
    cut.write_text(json.dumps(corpora.cut(cache, texts, model)), encoding="ascii")
    for worker in workers:
        worker.call("read", str(cut if worker.name == contestants.UNLIMITED else whole))
    measured = harness.rounds(workers, "run", None, count)
    vectors = {}
    for worker in workers:
        target = cache / f"embed-{kind}-{worker.name}.npy"
        worker.call("save", str(target))
        vectors[worker.name] = np.load(target)
    tokens = corpora.token_count(cache, texts, model)
    figures = {
        worker.name: {
            "texts_per_second": len(texts) / harness.median(measured, worker.name, "seconds"),
            "tokens_per_second": tokens / harness.median(measured, worker.name, "seconds"),
            "cpu_seconds": harness.median(measured, worker.name, "cpu"),
            "megabytes": max(one[worker.name]["megabytes"] for one in measured),
            "min_cosine": nearness(vectors[worker.name], vectors[REFERENCE]),
            "sememe_is_faster_by": harness.ratios(measured, "sememe", worker.name, "seconds"),
            "sememe_takes_less_cpu_by": harness.ratios(measured, "sememe", worker.name, "cpu"),
        }
        for worker in workers
    }
    show(f"{model}, {kind}: {len(texts)} texts, {tokens} tokens, {count} rounds", figures)
    return {"texts": len(texts), "tokens": tokens, "figures": figures, "rounds": measured}


def nearness(found: contestants.Vectors, reference: contestants.Vectors) -> float:
    """The smallest cosine of a text's two vectors; 0 for bare products, which make none."""
    return float(contestants.cosines(found, reference).min()) if found.shape == reference.shape else 0.0


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
