"""Stated against observed: how many chunks of a collection score as high as a number that was stated.

Usage: python benchmarks/calibration.py [--development] [--cache FOLDER]

The chunks of each corpus of benchmarks/fusion are divided at random into two halves, several times. One half and the
answers are the collection: the best of it, and a sample, state of every score the number x of random chunks that are
expected to reach it, by meaning of two models, by words, and of both by evidence. Observed is how many chunks of the
other half are stated so, the answers aside: the mean over held-out queries and divisions, with the interval that holds
95 % of the means of queries drawn anew. Beside it is the share of queries whose answer is stated so, which a threshold
keeps. Then the words that explanations mark are deleted, and as many others at random: by how much score and rank of
the answer fall. Draws results/calibration.svg; the last line is JSON.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import corpora
import harness
import numpy as np
from fusion import SIZES, collection_of, filled, folder_of
from vectors import HEIGHT, LEFT, TOP, WIDTH, _text

import sememe
from sememe.collection import ready
from sememe.explain import explain
from sememe.index.exact import Mask
from sememe.search import calibrate
from sememe.search.calibrate import Body, Shares
from sememe.search.judge import words_body
from sememe.search.query import Query
from sememe.types import CHUNK_PREFIX, Ids, Scores

STATED = (0.01, 0.1, 0.3, 1.0, 10.0, 100.0)
QUERIES = 500
DRAWS = 4
RESAMPLES = 1_000
EXPLAINED = 40
MEASURES, WAYS = ("cosine falls by", "rank falls", "log of times"), ("marked", "random")
DASHES = {"meaning": "", "static": "8 3", "words": "2 3", "evidence": "10 3 2 3"}
STATES = ("meaning", "words", "evidence")
COLOURS = {"wordnet": "#0b6e4f", "debian": "#d1495b", "functions": "#00798c"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Stated against observed frequencies of scores.")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    parser.add_argument("--development", action="store_true", help="of the development queries; no result is kept")
    options = parser.parse_args()
    split = "development" if options.development else "held-out"
    found: dict[str, Any] = {}
    for name in SIZES:
        corpus, opened = filled(name, options.cache)
        folder = folder_of(corpus, options.cache)
        static = collection_of(corpus, folder.with_name(f"{folder.name}-static"), corpora.table_folder(options.cache))
        queries = corpus.part(split)
        found[name] = observed(opened, queries) | {"static": observed(static, queries)["meaning"]}
        if not options.development:
            found[name]["deletion"] = deletion(opened, queries)
        opened.close()
        static.close()
    rows = [["observed / stated (95 %)", *(f"at {x:g}" for x in STATED)]]
    for name, one in found.items():
        for way in DASHES:
            figures = zip(STATED, one[way]["observed"], one[way]["low"], one[way]["high"], strict=True)
            told = (f"{seen / x:.2f} ({low / x:.2f} to {high / x:.2f})" for x, seen, low, high in figures)
            rows += [[f"{name}, {way}", *told], ["  answers kept", *(f"{share:.0%}" for share in one[way]["kept"])]]
    harness.table(rows)
    if options.development:
        return
    rows = [["without a fifth of the words", "queries", *(f"{what}, {way}" for what in MEASURES for way in WAYS)]]
    for name, one in found.items():
        gone = one["deletion"]
        rows.append([name, str(gone["queries"]), *(f"{gone[what][way]:.3f}" for what in MEASURES for way in WAYS)])
    harness.table(rows)
    (harness.RESULTS / "calibration.svg").write_text(chart(found), encoding="utf-8")
    harness.finish("calibration", {"stated": STATED, "corpora": found})


@dataclass(frozen=True)
class Asked:
    """The scores of one query (n,) by vectors and by words, the body of these, and its answers among the chunks."""

    meaning: Scores
    words: Scores
    body: Body
    answers: list[int]


def observed(opened: sememe.Collection, corpus: corpora.Labelled) -> dict[str, Any]:
    """By way of asking: how many chunks reach each threshold, the mean over the queries, its interval, and the share of
    answers that do."""
    queries = list(asked(opened, corpus))
    counts, kept = np.zeros((2, len(STATES), len(queries), len(STATED)))
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        half = rng.permutation(len(queries[0].meaning)) < len(queries[0].meaning) // 2
        for row, query in enumerate(queries):
            inside = half.copy()
            inside[query.answers] = True
            for way, expected in enumerate(stated(query, inside, rng)):
                reached = expected[:, None] <= np.array(STATED)
                counts[way, row] += reached[~inside].mean(0) * np.count_nonzero(inside) / DRAWS
                kept[way, row] += reached[query.answers].any(0) / DRAWS
    drawn = np.random.default_rng(0).integers(0, len(queries), (RESAMPLES, len(queries)))
    found = {}
    for way, name in enumerate(STATES):
        low, high = np.quantile(counts[way][drawn].mean(1), (0.025, 0.975), axis=0)
        found[name] = {
            "observed": counts[way].mean(0).tolist(), "low": low.tolist(), "high": high.tolist(),
            "kept": kept[way].mean(0).tolist(),
        }  # fmt: skip
    return found


def asked(opened: sememe.Collection, corpus: corpora.Labelled) -> Iterator[Asked]:
    """The scores of every chunk for every query."""
    ids, vectors = opened.vectors()
    chosen = list(corpus.queries.items())[:QUERIES]
    queries = opened.embedder.embed([text for _, text in chosen], role="query").vectors
    for (key, text), query in zip(chosen, queries, strict=True):
        _, store, view, _ = ready(opened, Query(text=text, mode="lexical"))
        with store.snapshot() as snapshot:
            found, scores = view.words.search(snapshot, text, k=len(ids), allowed=None)
            body = words_body(view, snapshot, text)
        words = np.zeros(len(ids), np.float32)
        words[np.searchsorted(ids, found)] = scores
        answers = [chunk.id for chunk in opened.get(corpus.answers[key]).chunks]
        yield Asked(vectors @ query, words, body, np.searchsorted(ids, answers).tolist())


def stated(query: Asked, inside: Mask, rng: np.random.Generator) -> Iterator[Shares]:
    """What is stated of every chunk (n,) where those `inside` are the collection: by each of STATES."""
    rows, chunks = np.flatnonzero(inside), int(np.count_nonzero(inside))
    sample = rng.choice(rows, min(calibrate.SAMPLE, chunks), replace=False)

    def best(scores: Scores) -> Ids:
        return rows[np.argsort(-scores[rows], kind="stable")[: calibrate.TOP]]

    near = calibrate.tail_of(query.meaning[best(query.meaning)], calibrate.body_of(query.meaning[sample]), chunks)
    told = query.words[[row for row in best(query.words) if query.words[row]]]
    body = calibrate.agreeing(query.body, told, chunks)
    words = calibrate.tail_of(told, body, chunks, step=calibrate.WORDS_STEP)
    meant, said = near.shares(query.meaning), words.shares(query.words)
    surprising = calibrate.sampled_tail(query.meaning[sample]).shares(query.meaning)
    together = calibrate.evidence(surprising, query.body.shares(query.words))
    fused = together[np.union1d(best(query.meaning), best(query.words))]
    tail = calibrate.fused_tail(np.sort(fused)[::-1][: calibrate.TOP].astype(np.float32), chunks)
    for shares in (meant, said, tail.shares(together)):
        yield shares * chunks


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


def chart(found: dict[str, Any]) -> str:
    """An SVG of stated and observed numbers on logarithmic axes; the diagonal is what should be. A colour is a corpus,
    a pattern of dashes a way of asking."""
    size = HEIGHT - 2 * TOP - 40

    def at(x: float, y: float) -> str:
        across, up = ((np.log10(max(value, 1e-3)) + 3) / 5.5 for value in (x, y))
        return f"{LEFT + across * size:.1f},{TOP + (1 - up) * size:.1f}"

    parts = [
        f'<polyline points="{at(1e-3, 1e-3)} {at(300, 300)}" stroke="#bbb" stroke-dasharray="4 4"/>',
        _text(LEFT, 24, "chunks that score as high: observed against stated", weight="bold"),
        _text(LEFT + size / 2, HEIGHT - 14, "stated", anchor="middle"),
    ]
    for row, (name, way) in enumerate(product(found, DASHES)):
        points = " ".join(at(x, y) for x, y in zip(STATED, found[name][way]["observed"], strict=True))
        line = f'fill="none" stroke="{COLOURS[name]}" stroke-width="2" stroke-dasharray="{DASHES[way]}"'
        parts.append(f'<polyline points="{points}" {line}/>')
        parts.append(f'<path d="M{LEFT + size + 20},{TOP + 20 * row + 16} h40" {line}/>')
        parts.append(_text(LEFT + size + 70, TOP + 20 * (row + 1), f"{name}, {way}"))
    for x in STATED:
        parts.append(_text(float(at(x, x).split(",")[0]), TOP + size + 18, f"{x:g}", anchor="middle"))
        parts.append(_text(LEFT - 8, float(at(x, x).split(",")[1]) + 4, f"{x:g}", anchor="end"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>\n"])


if __name__ == "__main__":
    main()
