"""Train a small cross-encoder for the table of benchmarks/quality.py, which no registry of this kind carries.

Usage: python benchmarks/cross_encoder.py [--quick] [--cache FOLDER]

all-MiniLM-L6-v2 gets a classifier and learns, for each of the three corpora (see corpora), to tell the text that
answers a query from others that a hybrid search found for it. It learns from entries of the development half that are
in none of the collections of the table: no query and no document that it is judged on was ever seen, not as a wrong
answer either, which would teach it to prefer what it has not seen. Torch trains, in the environment of the peers, some
quarter of an hour on two cores; the seed is fixed. Then sememe reads the folder: its scores have to be those of
sentence-transformers, and queries of the development half are asked with and without it. The last line is JSON; the
folder, CACHE/cross-encoder, is laid out as sentence-transformers does it, and what is there is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import corpora
import harness
import numpy as np
from fusion import QUERIES, SIZES, collection_of, folder_of
from retrieval import Ranking, difference, scores

from sememe.models import load_reranker
from sememe.search.query import Query, Route
from sememe.settings import from_environment

LEARNT = {"wordnet": 4_500, "debian": 1_500, "functions": 1_500}
"""Queries of each corpus, at most: what a quarter of an hour is enough for."""

WRONG, AMONG = 4, 30
"""Wrong answers to each query, drawn from so many of the best."""

DEPTH = 30
"""Candidates that are reranked."""

PAIRS, CLOSE = 50, 1e-4
SCORES = "scores.json"
"""What torch makes of some pairs: the last file that training writes."""

JUDGED = 100
"""Development queries of each corpus that the reranker is tried on."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small cross-encoder.")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that all of it runs")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    chosen = parser.parse_args()
    folder = place(chosen.cache, quick=chosen.quick)
    if not (folder / SCORES).exists():
        train(chosen.cache, folder, quick=chosen.quick)
    gap = apart(folder)
    print(f"{PAIRS} pairs: the scores of sememe are within {gap:.1e} of those of sentence-transformers\n")
    found = {name: judged(name, chosen.cache, folder, quick=chosen.quick) for name in SIZES}
    rows = [["development queries", "queries", "nDCG@10 by evidence", "reranked", "difference (95 %)"]]
    for name, one in found.items():
        rows.append(
            [name, str(one["queries"]), f"{one['evidence']:.3f}", f"{one['reranked']:.3f}",
             "{mean:+.3f} ({low:+.3f} to {high:+.3f})".format(**one["difference"])]
        )  # fmt: skip
    harness.table(rows)
    learnt = {name: len(groups) for name, groups in learnt_from(folder)["groups"].items()}
    result = {"learnt": learnt, "greatest difference": gap, "corpora": found}
    harness.finish("cross_encoder", result, keep=not chosen.quick)
    if gap > CLOSE:
        raise SystemExit(f"the scores differ by {gap:.1e}, more than {CLOSE:.0e}")


def place(cache: Path, *, quick: bool = False) -> Path:
    """Where the cross-encoder lies."""
    return cache / ("cross-encoder-quick" if quick else "cross-encoder")


def trained(cache: Path, *, quick: bool = False) -> Path | None:
    """The cross-encoder, trained when it is not there; without the environment that can, nothing."""
    folder = place(cache, quick=quick)
    if (folder / SCORES).exists():
        return folder
    if "SEMEME_PEERS_PYTHON" not in os.environ and not (harness.PEERS / "ready").exists():
        print(f"{folder} is not there, so no row is reranked; python benchmarks/cross_encoder.py trains it")
        return None
    train(cache, folder, quick=quick)
    return folder


def train(cache: Path, folder: Path, *, quick: bool) -> None:
    """Make the folder, or go on where that was ended; what is learnt from is kept beside it."""
    examples = examples_of(folder)
    if not examples.exists():
        groups = {name: mined(name, cache, quick=quick) for name in SIZES}
        examples.write_text(json.dumps({"groups": groups, "pairs": pairs_of(groups)}), encoding="utf-8")
    script = Path(__file__).with_name("cross_encoder_training.py")
    arguments = [str(script), str(examples), str(corpora.model_folder(cache)), str(folder)]
    subprocess.run([harness.peers_python(), *arguments], check=True)


def examples_of(folder: Path) -> Path:
    """What the cross-encoder learns from, and the pairs that it scores."""
    return folder.with_name(f"{folder.name}-examples.json")


def learnt_from(folder: Path) -> Any:
    """The groups by corpus, and the pairs."""
    return json.loads(examples_of(folder).read_text(encoding="utf-8"))


def pairs_of(groups: dict[str, list[list[str]]]) -> list[tuple[str, str]]:
    """Queries of all corpora, each with its right text or, every other one, with a wrong one."""
    everything = [group for found in groups.values() for group in found]
    spread = everything[:: max(1, len(everything) // PAIRS)][:PAIRS]
    return [(group[0], group[1 + number % 2]) for number, group in enumerate(spread)]


def mined(name: str, cache: Path, *, quick: bool) -> list[list[str]]:
    """Groups to learn from: a query, the text that answers it, and WRONG that a search found and that do not."""
    wanted, documents = (32, 300) if quick else (LEARNT[name], SIZES[name])
    corpus = corpora.others(name, cache, SIZES[name], documents)
    opened = collection_of(corpus, folder_of(corpus, cache))
    draw = random.Random(name)
    groups = []
    for key, text in list(corpus.queries.items())[:wanted]:
        hits = opened.search(text, k=AMONG, mode="hybrid")
        right = next((hit.text for hit in hits if hit.document == key), corpus.documents[key])
        wrong = [hit.text for hit in hits if hit.document != key]
        if len(wrong) >= WRONG:
            groups.append([text, right, *draw.sample(wrong, WRONG)])
    opened.close()
    return groups


def apart(folder: Path) -> float:
    """The greatest difference between the scores of sememe, in f32, and those that torch left."""
    expected = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    pairs = learnt_from(folder)["pairs"]
    reranker = load_reranker(folder, settings=replace(from_environment(), precision="f32"))
    ours = [float(reranker.rerank(query, [text])[0]) for query, text in pairs]
    return float(np.abs(np.array(ours) - np.array(expected)).max())


def judged(name: str, cache: Path, folder: Path, *, quick: bool) -> dict[str, Any]:
    """nDCG@10 of development queries, as they were found and reranked."""
    size = (300, 100) if quick else (SIZES[name], QUERIES)
    corpus = corpora.labelled(name, cache, *size).part("development")
    opened = collection_of(corpus, folder_of(corpus, cache))
    asked = list(corpus.queries.items())[:JUDGED]
    answers = [corpus.answers[key] for key, _ in asked]

    def ranked(text: str, route: Route) -> Ranking:
        hits = opened.search(Query(text=text, k=DEPTH, mode="hybrid", route=route))
        return list(dict.fromkeys(hit.document for hit in hits))[:10]

    routes = {"evidence": Route(), "reranked": Route(rerank=folder, depth=DEPTH)}
    gains = {
        way: scores([ranked(text, route) for _, text in asked], answers)["ndcg@10"] for way, route in routes.items()
    }
    opened.close()
    return {
        "queries": len(asked), **{way: float(values.mean()) for way, values in gains.items()},
        "difference": difference(gains["reranked"], gains["evidence"]),
    }  # fmt: skip


if __name__ == "__main__":
    main()
