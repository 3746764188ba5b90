"""Retrieval quality of sememe and of sentence-transformers, on labels that nobody here wrote.

Usage: python benchmarks/retrieval.py [--quick] [--split all|development|held-out] [--cache FOLDER]

Three ways are compared on WordNet and on Debian's packages (see corpora): sentence-transformers with
exact search; sememe's engine with whole documents cut at the model's limit and exact search, which
isolates the engine; and a collection filled and searched as a user does it, where long documents are
chunked and the best chunk counts. Prints recall@10 and nDCG@10, the differences and their paired
bootstrap 95 % intervals; the last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import contestants
import corpora
import harness
import numpy as np
import numpy.typing as npt

import sememe

K = 10
RESAMPLES = 10_000
REFERENCE, WHOLE, COLLECTION = (
    "sentence-transformers, exact",
    "sememe, whole documents, exact",
    "sememe collection",
)
Ranking = list[str]
Scores = dict[str, npt.NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Retrieval quality of sememe and of sentence-transformers.")
    parser.add_argument("--quick", action="store_true", help="2,000 documents and 200 queries")
    parser.add_argument("--split", choices=("all", "development", "held-out"), default="all")
    parser.add_argument("--corpora", nargs="+", choices=sorted(corpora.SOURCES), default=sorted(corpora.SOURCES))
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    arguments = parser.parse_args()
    result = {}
    for name in arguments.corpora:
        size = (2_000, 200) if arguments.quick else (corpora.DOCUMENTS, corpora.QUERIES)
        corpus = corpora.labelled(name, arguments.cache, *size).part(arguments.split)
        result[name] = compare(corpus, arguments.cache)
    harness.finish("retrieval", {"split": arguments.split, "corpora": result}, keep=not arguments.quick)


def compare(corpus: corpora.Labelled, cache: Path) -> dict[str, Any]:
    """Rank with all three, print the table, and return the figures."""
    rankings = {
        REFERENCE: exact("sentence-transformers", corpus, cache),
        WHOLE: exact("sememe", corpus, cache),
        COLLECTION: collection(corpus, cache),
    }
    scored = {name: scores(ranked, list(corpus.answers.values())) for name, ranked in rankings.items()}
    figures: dict[str, Any] = {}
    for name, found in scored.items():
        figures[name] = {measure: float(values.mean()) for measure, values in found.items()}
        if name != REFERENCE:
            figures[name]["difference"] = {
                measure: difference(values, scored[REFERENCE][measure]) for measure, values in found.items()
            }
    show(corpus, figures)
    return {
        "source": corpus.source,
        "documents": len(corpus.documents),
        "queries": len(corpus.queries),
        **figures,
    }


def exact(contestant: str, corpus: corpora.Labelled, cache: Path) -> list[Ranking]:
    """The K best documents of every query by the cosine of whole texts."""
    keys = list(corpus.documents)
    documents = vectors(contestant, list(corpus.documents.values()), cache)
    queries = vectors(contestant, list(corpus.queries.values()), cache)
    best = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :K]
    return [[keys[row] for row in rows] for rows in best]


def vectors(contestant: str, texts: list[str], cache: Path) -> contestants.Vectors:
    """Vectors of the texts. Those of the peer are kept: its version is pinned and its texts name the file."""
    mark = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    kept = cache / f"vectors-{contestant}-{mark}.npy"
    if not contestant.startswith("sememe") and kept.exists():
        stored: contestants.Vectors = np.load(kept)
        return stored
    worker, _ = contestants.start(contestant, corpora.model_folder(cache), cache)
    with tempfile.TemporaryDirectory() as scratch:
        found = contestants.encoded(worker, texts, Path(scratch))
    worker.close()
    np.save(kept, found)
    return found


def collection(corpus: corpora.Labelled, cache: Path) -> list[Ranking]:
    """What a user gets: a new collection, everything added, every query asked."""
    folder = cache / f"collection-{corpus.name}"
    shutil.rmtree(folder, ignore_errors=True)
    with sememe.open(folder) as opened:
        opened.add({"id": key, "text": text} for key, text in corpus.documents.items())
        return [documents(opened, query) for query in corpus.queries.values()]


def documents(opened: sememe.Collection, query: str) -> Ranking:
    """The K best documents: a document stands where its best chunk stands."""
    wanted = K
    while True:
        hits = opened.search(query, k=wanted)
        found = list(dict.fromkeys(hit.document for hit in hits))
        if len(found) >= K or len(hits) < wanted:
            return found[:K]
        wanted *= 4


def scores(rankings: list[Ranking], answers: list[str]) -> Scores:
    """recall@K and nDCG@K of every query, which has one answer."""
    places = [
        ranking.index(answer) if answer in ranking else -1 for ranking, answer in zip(rankings, answers, strict=True)
    ]
    place = np.array(places)
    gain = 1 / np.log2(np.maximum(place, 0) + 2)
    return {"recall@10": (place >= 0).astype(np.float64), "ndcg@10": np.where(place >= 0, gain, 0.0)}


def difference(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> dict[str, float]:
    """The mean difference and its 95 % interval, resampling queries in pairs."""
    gaps = ours - theirs
    picks = np.random.default_rng(0).integers(len(gaps), size=(RESAMPLES, len(gaps)))
    low, high = np.quantile(gaps[picks].mean(axis=1), [0.025, 0.975])
    return {"mean": float(gaps.mean()), "low": float(low), "high": float(high)}


def show(corpus: corpora.Labelled, figures: dict[str, Any]) -> None:
    """Print the table of one corpus."""
    title = f"{corpus.name}: {len(corpus.documents)} documents, {len(corpus.queries)} queries"
    rows = [[title, "recall@10", "difference (95 %)", "nDCG@10", "difference (95 %)"]]
    for name, one in figures.items():
        row = [name]
        for measure in ("recall@10", "ndcg@10"):
            gap = one.get("difference", {}).get(measure)
            told = f"{gap['mean']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})" if gap else ""
            row += [f"{one[measure]:.4f}", told]
        rows.append(row)
    harness.table(rows)


if __name__ == "__main__":
    main()
