"""Stated against observed: how many chunks of a collection score as high as a number that was stated.

Usage: python benchmarks/calibration.py [--cache FOLDER]

Held-out queries are asked of each corpus of benchmarks/fusion; their answers are left out, and those chunks that the
tail was read from. Stated is x: the threshold at which x random chunks are expected. Observed is how many there are,
the mean over the queries. Then the words that explanations mark are deleted, and as many others at random: by how
much the score falls. And what stating costs a search. Draws results/calibration.svg; the last line is JSON.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import corpora
import harness
import numpy as np
from fusion import SIZES, filled
from vectors import HEIGHT, LEFT, TOP, WIDTH, _text

import sememe
from sememe.explain import explain
from sememe.search.calibrate import SAMPLE, tail_of
from sememe.search.query import Route
from sememe.types import Vectors

STATED = (0.01, 0.1, 1.0, 10.0, 100.0)
QUERIES = 400
EXPLAINED = 60
COLOURS = {"wordnet": "#0b6e4f", "debian": "#d1495b", "functions": "#00798c"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Stated against observed frequencies of scores.")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    cache = parser.parse_args().cache
    found: dict[str, Any] = {}
    for name in SIZES:
        corpus, opened = filled(name, cache)
        held_out = corpus.part("held-out")
        found[name] = {
            "observed": observed(opened, held_out), "deletion": deletion(opened, held_out),
            "cost": cost(opened, held_out),
        }  # fmt: skip
        opened.close()
    rows = [["observed / stated", *(f"at {x:g}" for x in STATED), "fall, marked", "fall, random", "cost"]]
    for name, one in found.items():
        shares = [f"{seen / x:.2f}" for x, seen in zip(STATED, one["observed"], strict=True)]
        gone = one["deletion"]
        rows.append([name, *shares, f"{gone['marked']:.3f}", f"{gone['random']:.3f}", f"{one['cost']:+.1%}"])
    harness.table(rows)
    (harness.RESULTS / "calibration.svg").write_text(
        chart({name: one["observed"] for name, one in found.items()}), encoding="utf-8"
    )
    harness.finish("calibration", {"stated": STATED, "corpora": found})


def observed(opened: sememe.Collection, corpus: corpora.Labelled) -> list[float]:
    """How many chunks reach each threshold, the mean over the queries."""
    ids, vectors = opened.vectors()
    places = {int(number): row for row, number in enumerate(ids)}
    chosen = np.zeros(len(ids), bool)
    chosen[np.random.default_rng(1).choice(len(ids), SAMPLE, replace=False)] = True
    asked = list(corpus.queries.items())[:QUERIES]
    queries: Vectors = opened.embedder.embed([text for _, text in asked], role="query").vectors
    counts = np.zeros(len(STATED))
    for (key, _), query in zip(asked, queries, strict=True):
        scores = vectors @ query
        others = ~chosen
        others[[places[chunk.id] for chunk in opened.get(corpus.answers[key]).chunks]] = False
        expected = tail_of(scores[chosen]).shares(scores[others]) * len(ids)
        counts += [np.count_nonzero(expected <= x) * len(ids) / np.count_nonzero(others) for x in STATED]
    return [float(count) for count in counts / len(asked)]


def deletion(opened: sememe.Collection, corpus: corpora.Labelled) -> dict[str, float]:
    """By how much the score of an answer falls without a fifth of its words: those that are marked, and random ones."""
    rng = np.random.default_rng(0)
    falls: dict[str, list[float]] = {"marked": [], "random": []}
    for key, text in list(corpus.queries.items())[:EXPLAINED]:
        told = explain(opened, text, corpus.answers[key])
        count = max(1, len(told.heat) // 5)
        spans = [(one.start, one.end) for one in told.heat]
        if len(spans) < 5:
            continue
        chosen = {
            "marked": [(one.start, one.end) for one in told.hottest(count)],
            "random": [spans[place] for place in rng.choice(len(spans), count, replace=False)],
        }
        texts = [told.text, *(without(told.text, gone) for gone in chosen.values())]
        query = opened.embedder.embed([text], role="query").vectors[0]
        whole, *rest = (opened.embedder.embed(texts, role="document").vectors @ query).tolist()
        for name, score in zip(chosen, rest, strict=True):
            falls[name].append(whole - score)
    return {name: statistics.mean(values) for name, values in falls.items()}


def without(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with these spans cut out."""
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + text[end:]
    return text


def cost(opened: sememe.Collection, corpus: corpora.Labelled) -> float:
    """What stating adds to a search, as a share of its time, query embedding included: medians, in turns."""
    spent: dict[bool, list[float]] = {False: [], True: []}
    for text in list(corpus.queries.values())[:150]:
        for calibrated, seconds in spent.items():
            start = time.perf_counter()
            opened.search(text, route=Route(calibrated=calibrated))
            seconds.append(time.perf_counter() - start)
    return statistics.median(spent[True]) / statistics.median(spent[False]) - 1


def chart(lines: dict[str, list[float]]) -> str:
    """An SVG of stated and observed numbers on logarithmic axes; the diagonal is what should be."""
    size = HEIGHT - 2 * TOP - 40

    def at(x: float, y: float) -> str:
        across, up = ((np.log10(max(value, 1e-3)) + 3) / 5.5 for value in (x, y))
        return f"{LEFT + across * size:.1f},{TOP + (1 - up) * size:.1f}"

    parts = [
        f'<polyline points="{at(1e-3, 1e-3)} {at(300, 300)}" stroke="#bbb" stroke-dasharray="4 4"/>',
        _text(LEFT, 24, "chunks that score as high: observed against stated", weight="bold"),
        _text(LEFT + size / 2, HEIGHT - 14, "stated", anchor="middle"),
    ]
    for row, (name, seen) in enumerate(lines.items()):
        points = " ".join(at(x, y) for x, y in zip(STATED, seen, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        parts.append(f'<g fill="{COLOURS[name]}">{_text(LEFT + size + 20, TOP + 20 * (row + 1), name)}</g>')
    for x in STATED:
        parts.append(_text(float(at(x, x).split(",")[0]), TOP + size + 18, f"{x:g}", anchor="middle"))
        parts.append(_text(LEFT - 8, float(at(x, x).split(",")[1]) + 4, f"{x:g}", anchor="end"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>\n"])


if __name__ == "__main__":
    main()
