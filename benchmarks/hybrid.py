"""Searching many one-line documents by meaning, by words, and by both; and how good the words' ranking is.

Usage: python benchmarks/hybrid.py [--count 600000] [--cache FOLDER] [--quick]

Real lines and their vectors (embedded.py) are put into a collection through its front door, with the model's vectors
taken from the cache; then held-out lines are searched for one at a time with the real model, query embedding
included. The BM25 ranking is judged on the labelled corpora against bm25s over the same analysis (lower case,
Snowball stems), which runs in the Python of the peers of indexes. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import corpora
import embedded
import harness
import numpy as np

import sememe
from sememe.collection import Collection
from sememe.types import Embedded

MODES = ("vector", "lexical", "hybrid")
K = 10


class FromCache:
    """The real model, but for documents, whose vectors are looked up."""

    def __init__(self, model: Any, texts: Sequence[str], vectors: Any) -> None:
        self._model, self._vectors = model, vectors
        self._rows = {text: row for row, text in enumerate(texts)}
        self.space, self.counter, self.reserved = model.space, model.counter, model.reserved
        self.precision = model.precision

    def embed(self, texts: Sequence[str], *, role: str, **_: Any) -> Embedded:
        """Vectors in the order of the texts; the counts of tokens are not looked at and all the same."""
        if role == "query" or any(text not in self._rows for text in texts):
            return self._model.embed(texts, role=role)
        tokens = np.full(len(texts), 12)
        vectors = np.array(self._vectors[[self._rows[text] for text in texts]])
        return Embedded(vectors=vectors, tokens=tokens, kept=tokens, replaced=np.zeros_like(tokens))


def main() -> None:
    parser = argparse.ArgumentParser(description="Meaning, words and both over many one-line documents.")
    parser.add_argument("--count", type=int, default=600_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    parser.add_argument("--quick", action="store_true", help="20,000 documents, 200 queries, no result is kept")
    parser.add_argument("--keep", type=Path, help="a folder for the collection, which is used again when it is there")
    options = parser.parse_args()
    if options.quick:
        options.count, options.queries = 20_000, 200
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)) / f"lines-{options.count}"
        built = build(folder, options.count, options.cache)
        speed = measure(folder, options)
        ranking = {name: judge(name, options, Path(scratch)) for name in corpora.SOURCES}
    rows = [["mode", "p50", "p95", "p99"]]
    rows += [[mode, *(f"{speed[mode][p]:.1f} ms" for p in ("p50", "p95", "p99"))] for mode in MODES]
    harness.table(rows)
    rows = [["BM25 ranking", "queries", "sememe nDCG@10", "bm25s nDCG@10", "difference"]]
    for name, r in ranking.items():
        figures = (f"{r['sememe']:.4f}", f"{r['bm25s']:.4f}", f"{r['sememe'] - r['bm25s']:+.4f}")
        rows.append([name, f"{r['queries']:,}", *figures])
    harness.table(rows)
    result = {"documents": options.count, "build": built, "speed": speed, "ranking": ranking}
    harness.finish("hybrid", result, keep=not options.quick)


def build(folder: Path, count: int, cache: Path) -> dict[str, float]:
    """The collection through its front door; embedding apart."""
    if folder.exists():
        return {}
    texts, _ = corpora.lines(cache, count)
    model = FromCache(sememe.load_model(), texts, embedded.embedded(cache, count)[0])
    begun = time.perf_counter()
    with sememe.open(folder, model=model) as collection:
        collection.add(({"id": f"{i}", "text": text} for i, text in enumerate(texts)), chunk=False)
        added = time.perf_counter() - begun
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"add_seconds": added, "bytes": size, "peak_megabytes": harness.peak_megabytes()}


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of single searches, the modes in turns so that noise hits all."""
    _, queries = corpora.lines(options.cache, options.count, options.queries)
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    with sememe.open(folder) as collection:
        for mode in MODES:
            search(collection, queries[0], mode)
        for query in queries:
            for mode in MODES:
                begun = time.perf_counter()
                search(collection, query, mode)
                seconds[mode].append(time.perf_counter() - begun)
        plan = str(collection.search(queries[0], k=K, mode="hybrid").plan)
    print(f"{plan}\n")
    return {mode: percentiles(found) for mode, found in seconds.items()} | {"plan": plan}


def search(collection: Collection, query: str, mode: Any) -> None:
    collection.search(query, k=K, mode=mode)


def percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {f"p{share}": 1000 * cuts[share - 1] for share in (50, 95, 99)}


def judge(name: str, options: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """nDCG@10 of both rankings on one labelled corpus, where one document answers a query."""
    corpus = corpora.labelled(name, options.cache)
    documents = [f"d{i}" for i in range(len(corpus.documents))]
    texts = list(corpus.documents.values())
    answers = {query: documents[list(corpus.documents).index(key)] for query, key in corpus.answers.items()}
    folder = scratch / name
    with sememe.open(folder, model=FromCache(sememe.load_model(), texts, np.eye(1, 384).repeat(len(texts), 0))) as made:
        made.add(({"id": key, "text": text} for key, text in zip(documents, texts, strict=True)), chunk=False)
        ours = {
            query: [hit.document for hit in made.search(text, k=K, mode="lexical")]
            for query, text in corpus.queries.items()
        }
    peer = bm25s(texts, corpus.queries)
    theirs = {query: [documents[row] for row in rows] for query, rows in peer.items()}
    gains = {
        system: statistics.fmean(gain(found[query], answers[query]) for query in answers)
        for system, found in (("sememe", ours), ("bm25s", theirs))
    }
    return {**gains, "queries": len(answers)}


def gain(found: list[str], answer: str) -> float:
    """nDCG where one document is right: 1 / log2(1 + rank)."""
    return 1 / math.log2(2 + found.index(answer)) if answer in found else 0.0


def bm25s(texts: list[str], queries: dict[str, str]) -> dict[str, list[int]]:
    """The rows that bm25s finds for each query."""
    code = (
        "import sys, json, bm25s, Stemmer\n"
        "texts, queries = json.load(sys.stdin)\n"
        "cut = lambda t: bm25s.tokenize(t, stopwords=None, stemmer=Stemmer.Stemmer('english'), show_progress=False)\n"
        "index = bm25s.BM25(method='lucene', k1=1.2, b=0.75)\n"
        "index.index(cut(texts), show_progress=False)\n"
        f"rows = index.retrieve(cut(list(queries.values())), k={K}, show_progress=False).documents.tolist()\n"
        "print(json.dumps(dict(zip(queries, rows))))\n"
    )
    python = harness.index_peers_python()
    given = json.dumps([texts, queries])
    done = subprocess.run([python, "-c", code], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"bm25s failed: {done.stderr[-500:]}")
    found: dict[str, list[int]] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
