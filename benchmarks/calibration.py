"""Stated against observed: how many chunks of a collection score as high as a number that was stated.

Usage: python benchmarks/calibration.py [--cache FOLDER]

Held-out queries are asked of each corpus of benchmarks/fusion; their answers are left out, and those chunks that the
tail was read from, which are drawn several times. Stated is x: the threshold at which x random chunks are expected.
Observed is how many there are, the mean over queries and draws, with the interval that holds 95 % of the means of
queries drawn anew. Then the words that explanations mark are deleted, and as many others at random: by how much score
and rank of the answer fall. Draws results/calibration.svg; the last line is JSON.
"""

from __future__ import annotations

import argparse
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
from sememe.types import CHUNK_PREFIX, Vectors

STATED = (0.01, 0.1, 1.0, 10.0, 100.0)
QUERIES = 500
DRAWS = 4
RESAMPLES = 1_000
EXPLAINED = 40
MEASURES, WAYS = ("cosine falls by", "rank falls", "log of times"), ("marked", "random")
COLOURS = {"wordnet": "#0b6e4f", "debian": "#d1495b", "functions": "#00798c"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Stated against observed frequencies of scores.")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    cache = parser.parse_args().cache
    found: dict[str, Any] = {}
    for name in SIZES:
        corpus, opened = filled(name, cache)
        held_out = corpus.part("held-out")
        found[name] = observed(opened, held_out) | {"deletion": deletion(opened, held_out)}
        opened.close()
    rows = [["observed / stated (95 %)", *(f"at {x:g}" for x in STATED)]]
    for name, one in found.items():
        figures = zip(STATED, one["observed"], one["low"], one["high"], strict=True)
        rows.append([name, *(f"{seen / x:.2f} ({low / x:.2f} to {high / x:.2f})" for x, seen, low, high in figures)])
    harness.table(rows)
    rows = [["without a fifth of the words", "queries", *(f"{what}, {way}" for what in MEASURES for way in WAYS)]]
    for name, one in found.items():
        gone = one["deletion"]
        rows.append([name, str(gone["queries"]), *(f"{gone[what][way]:.3f}" for what in MEASURES for way in WAYS)])
    harness.table(rows)
    (harness.RESULTS / "calibration.svg").write_text(
        chart({name: one["observed"] for name, one in found.items()}), encoding="utf-8"
    )
    harness.finish("calibration", {"stated": STATED, "corpora": found})


def observed(opened: sememe.Collection, corpus: corpora.Labelled) -> dict[str, list[float]]:
    """How many chunks reach each threshold, the mean over the queries, and its interval."""
    ids, vectors = opened.vectors()
    places = {int(number): row for row, number in enumerate(ids)}
    asked = list(corpus.queries.items())[:QUERIES]
    queries: Vectors = opened.embedder.embed([text for _, text in asked], role="query").vectors
    answers = [[places[chunk.id] for chunk in opened.get(corpus.answers[key]).chunks] for key, _ in asked]
    counts = np.zeros((len(asked), len(STATED)))
    for draw in range(DRAWS):
        chosen = np.zeros(len(ids), bool)
        chosen[np.random.default_rng(draw).choice(len(ids), SAMPLE, replace=False)] = True
        for row, (query, own) in enumerate(zip(queries, answers, strict=True)):
            scores = vectors @ query
            others = ~chosen
            others[own] = False
            expected = tail_of(scores[chosen], len(ids)).shares(scores[others]) * len(ids)
            part = np.count_nonzero(others) / len(ids) * DRAWS
            counts[row] += [np.count_nonzero(expected <= x) / part for x in STATED]
    drawn = np.random.default_rng(0).integers(0, len(asked), (RESAMPLES, len(asked)))
    low, high = np.quantile(counts[drawn].mean(1), (0.025, 0.975), axis=0)
    return {"observed": counts.mean(0).tolist(), "low": low.tolist(), "high": high.tolist()}


def deletion(opened: sememe.Collection, corpus: corpora.Labelled) -> dict[str, Any]:
    """What an answer loses without a fifth of its words, those that are marked and random ones: the means of the fall
    of its cosine, of the share of queries at which its rank falls, and of the natural logarithm of how many times.
    """
    rng = np.random.default_rng(0)
    ids, vectors = opened.vectors()
    lost: list[list[list[float]]] = []
    for key, text in list(corpus.queries.items())[:EXPLAINED]:
        told = explain(opened, text, corpus.answers[key])
        count = max(1, len(told.heat) // 5)
        spans = [(one.start, one.end) for one in told.heat]
        if len(spans) < 5:
            continue
        chosen = ([(one.start, one.end) for one in told.hottest(count)],
                  [spans[place] for place in rng.choice(len(spans), count, replace=False)])  # fmt: skip
        texts = [told.text, *(without(told.text, gone) for gone in chosen)]
        query = opened.embedder.embed([text], role="query").vectors[0]
        scores = opened.embedder.embed(texts, role="document").vectors @ query
        others = vectors[ids != int(told.id.removeprefix(CHUNK_PREFIX))] @ query
        ranks = 1 + np.count_nonzero(others > scores[:, None], axis=1)
        lost.append([(scores[0] - scores[1:]).tolist(), (ranks[1:] > ranks[0]).tolist(),
                     np.log(ranks[1:] / ranks[0]).tolist()])  # fmt: skip
    means = np.mean(np.array(lost, float), axis=0)
    found = {what: dict(zip(WAYS, row, strict=True)) for what, row in zip(MEASURES, means.tolist(), strict=True)}
    return {"queries": len(lost), **found}


def without(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with these spans cut out."""
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + text[end:]
    return text


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
