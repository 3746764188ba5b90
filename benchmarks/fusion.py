"""Hybrid search by evidence, by reciprocal ranks, and its two parts alone, on labels that nobody here wrote.

Usage: python benchmarks/fusion.py [--quick] [--cache FOLDER]

Three corpora (see corpora): in WordNet queries and documents share few words, in Debian many, functions lie between.
What was chosen, the weight of words, was chosen on the development queries; the table is of the held-out ones.
By evidence it is asked once more with maximal marginal relevance; a reranker has its row in benchmarks/quality.py.
Prints nDCG@10, and paired bootstrap 95 % intervals against the better part; the last line is JSON.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import corpora
import harness
import numpy as np
from retrieval import Ranking, difference, scores

import sememe
from sememe.search.query import Query, Route
from sememe.search.shape import Shape

SIZES = {"wordnet": 10_000, "debian": 5_000, "functions": 3_000}
QUERIES = 1_000
FOUND = 20
MMR = 0.7
WAYS = {
    "meaning": Query(),
    "words": Query(mode="lexical"),
    "rrf": Query(mode="hybrid", route=Route(fusion="rrf")),
    "evidence": Query(mode="hybrid", route=Route(fusion="evidence")),
    "mmr": Query(mode="hybrid", shape=Shape(mmr=MMR)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Hybrid search by evidence and by reciprocal ranks.")
    parser.add_argument("--quick", action="store_true", help="100 queries a corpus")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    arguments = parser.parse_args()
    found = {name: measured(name, arguments.cache, 100 if arguments.quick else QUERIES) for name in SIZES}
    for split in ("development", "held-out"):
        show(split, {name: one[split] for name, one in found.items()})
    harness.finish("fusion", {"corpora": found}, keep=not arguments.quick)


def filled(name: str, cache: Path) -> tuple[corpora.Labelled, sememe.Collection]:
    """A corpus and its collection."""
    corpus = corpora.labelled(name, cache, SIZES[name], QUERIES)
    return corpus, collection_of(corpus, folder_of(corpus, cache))


def folder_of(corpus: corpora.Labelled, cache: Path) -> Path:
    """Where the collection of a corpus lies."""
    return cache / f"collection-{corpus.name}-{len(corpus.documents)}"


def collection_of(corpus: corpora.Labelled, folder: Path, model: Path | None = None) -> sememe.Collection:
    """A collection of a corpus; filled when it is not there."""
    opened = sememe.open(folder, model=model)
    if opened.space is None:
        opened.add({"id": key, "text": text} for key, text in corpus.documents.items())
        opened.optimize()
    return opened


def measured(name: str, cache: Path, queries: int) -> dict[str, Any]:
    """The figures of one corpus by split."""
    corpus, opened = filled(name, cache)
    result: dict[str, Any] = {"source": corpus.source, "documents": len(corpus.documents)}
    for split in ("development", "held-out"):
        part = corpus.part(split)
        asked = list(part.queries.items())[: queries // 2]
        answers = [part.answers[key] for key, _ in asked]
        gains = {way: scores([ranked(opened, text, way) for _, text in asked], answers)["ndcg@10"] for way in WAYS}
        best = max(("meaning", "words"), key=lambda way: float(gains[way].mean()))
        result[split] = {
            "queries": len(asked), "best part": best,
            **{way: {"ndcg@10": float(np.mean(values)), "difference": difference(values, gains[best])}
               for way, values in gains.items()},
        }  # fmt: skip
    return result


def ranked(opened: sememe.Collection, text: str, way: str) -> Ranking:
    """The first ten documents."""
    hits = opened.search(replace(WAYS[way], text=text, k=FOUND))
    return list(dict.fromkeys(hit.document for hit in hits))[:10]


def show(split: str, figures: dict[str, Any]) -> None:
    """Print the table of one split."""
    judged = [way for way in WAYS if way not in ("meaning", "words")]
    rows = [[split, *WAYS, *(f"{way} - best part (95 %)" for way in judged)]]
    for name, one in figures.items():
        gaps = [one[way]["difference"] for way in judged]
        told = [f"{gap['mean']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})" for gap in gaps]
        rows.append([name, *(f"{one[way]['ndcg@10']:.3f}" for way in WAYS), *told])
    harness.table(rows)


if __name__ == "__main__":
    main()
