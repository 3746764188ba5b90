"""What fusing by evidence, stating scores and explaining a hit add to a search.

Usage: python benchmarks/overhead.py COLLECTION [--queries 200] [--cache FOLDER] [--quick]

COLLECTION is a folder, such as benchmarks/hybrid.py --keep makes. Held-out lines are asked in every way, one after the
other, a query in another order than the one before, so that neither noise nor what the last search has left in memory
favours a way. A pair is the time of a way beside that of the plain way in the same query, query embedding included;
the median of these is given, with the interval that holds 95 % of the medians of queries drawn anew. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import corpora
import harness
import numpy as np

import sememe
from sememe.explain import explain
from sememe.search.query import Mode, Query, Route

DRAWS = 2_000
PAIRS = {
    "evidence": "ranks", "vector, stated": "vector", "words, stated": "words", "hybrid, stated": "evidence",
    "vector, explained": "vector",
}  # fmt: skip
"""Of every way the plain one."""

Way = Callable[[str], object]


def main() -> None:
    parser = argparse.ArgumentParser(description="What evidence, stated scores and explanations add to a search.")
    parser.add_argument("collection", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    parser.add_argument("--quick", action="store_true", help="30 queries, no result is kept")
    options = parser.parse_args()
    with sememe.open(options.collection) as collection:
        count = len(collection.vectors()[0])
        _, queries = corpora.lines(options.cache, 0, 30 if options.quick else options.queries)
        best = {text: collection.search(text, k=1)[0].id for text in queries}
        seconds = measured(ways(collection, best), queries)
    found = {name: added(seconds[name], seconds[plain]) | {"beside": plain} for name, plain in PAIRS.items()}
    rows = [["way", "beside", "p50", "p50 beside", "times, median of pairs (95 %)"]]
    for name, f in found.items():
        times = f"{f['times']:.3f} ({f['low']:.3f} to {f['high']:.3f})"
        rows.append([name, f["beside"], f"{f['p50']:.1f} ms", f"{f['p50 beside']:.1f} ms", times])
    harness.table(rows)
    harness.finish("overhead", {"chunks": count, "queries": len(queries), "ways": found}, keep=not options.quick)


def ways(collection: sememe.Collection, best: dict[str, str]) -> dict[str, Way]:
    """How a query is asked, by name. An explanation, of the best hit and without heat, searches by itself."""

    def search(mode: Mode, **route: Any) -> Way:
        return lambda text: collection.search(text, mode=mode, route=Route(**route))

    def explained(text: str) -> object:
        return explain(collection, Query(text=text), best[text], heat=False)

    return {
        "ranks": search("hybrid", fusion="rrf"), "evidence": search("hybrid"), "vector": search("vector"),
        "words": search("lexical"), "vector, stated": search("vector", calibrated=True),
        "words, stated": search("lexical", calibrated=True), "hybrid, stated": search("hybrid", calibrated=True),
        "vector, explained": explained,
    }  # fmt: skip


def measured(asked: dict[str, Way], queries: list[str]) -> dict[str, list[float]]:
    """Seconds of every query by way, the first query aside."""
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    names = list(asked)
    rng = np.random.default_rng(0)
    for number, text in enumerate(queries):
        for place in rng.permutation(len(names)):
            begun = time.perf_counter()
            asked[names[place]](text)
            if number:
                seconds[names[place]].append(time.perf_counter() - begun)
    return seconds


def added(way: list[float], plain: list[float]) -> dict[str, Any]:
    """Medians of both in milliseconds, and how many times the plain way's time a way takes, pair by pair."""
    ratios = np.array(way) / np.array(plain)
    drawn = np.random.default_rng(0).integers(0, len(ratios), (DRAWS, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), (0.025, 0.975))
    return {
        "p50": 1000 * statistics.median(way), "p50 beside": 1000 * statistics.median(plain),
        "times": float(np.median(ratios)), "low": float(low), "high": float(high),
    }  # fmt: skip


if __name__ == "__main__":
    main()
