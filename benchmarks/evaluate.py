"""`sememe eval run --beir` on WordNet, against the same figures by this folder's own arithmetic; and what it costs.

Usage: python benchmarks/evaluate.py [--quick] [--corpus wordnet|debian] [--cache FOLDER]

The corpus (see corpora) is written as a BEIR folder, and the command line adds it, asks every query and saves the
run. nDCG@10 and recall@10 of the saved rankings are computed again by benchmarks/retrieval.py, which shares no line
with the package. Then meaning alone is compared with hybrid search, and the searches are probed. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import corpora
import harness
import retrieval

from sememe.evaluate.datasets import Dataset, write_beir


def main() -> None:
    parser = argparse.ArgumentParser(description="The command line's evaluation against another arithmetic.")
    parser.add_argument("--quick", action="store_true", help="2,000 documents and 200 queries")
    parser.add_argument("--corpus", choices=sorted(corpora.SOURCES), default="wordnet")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    arguments = parser.parse_args()
    size = (2_000, 200) if arguments.quick else (corpora.DOCUMENTS, corpora.QUERIES)
    corpus = corpora.labelled(arguments.corpus, arguments.cache, *size)
    folder = arguments.cache / f"beir-{corpus.name}-{len(corpus.documents)}"
    shutil.rmtree(folder, ignore_errors=True)
    grades = {query: {answer: 1} for query, answer in corpus.answers.items()}
    documents = ((key, "", text) for key, text in corpus.documents.items())
    write_beir(folder, Dataset(corpus.name, corpus.queries, grades), documents)
    harness.finish("evaluate", measured(corpus, folder), keep=not arguments.quick)


def measured(corpus: corpora.Labelled, folder: Path) -> dict[str, Any]:
    """The command line's figures, ours from its rankings, and what else it says."""
    saved = folder / "run.json"
    run, seconds = sememe(folder, "run", "--beir", folder, "--add", "--save", saved)
    asked = json.loads(saved.read_text(encoding="utf-8"))["asked"]
    rankings = [[place["id"] for place in asked[key]["places"]] for key in corpus.answers]
    ours = {name: float(v.mean()) for name, v in retrieval.scores(rankings, list(corpus.answers.values())).items()}
    theirs = {name: run["metrics"][name]["mean"] for name in ours}
    again, again_seconds = sememe(folder, "run", "--beir", folder)
    compared, _ = sememe(folder, "compare", saved, "mode=hybrid", "--beir", folder)
    probed = sememe_lines(folder, "probe")
    harness.table([["measure", "sememe eval run", "benchmarks/retrieval.py"],
                   *([name, f"{theirs[name]:.10f}", f"{ours[name]:.10f}"] for name in ours)])  # fmt: skip
    if any(abs(ours[name] - theirs[name]) > 1e-9 for name in ours):
        raise SystemExit("the figures differ")
    return {
        "corpus": corpus.source, "documents": len(corpus.documents), "queries": len(corpus.queries), "metrics": theirs,
        "seconds": {"added and asked": round(seconds, 1), "asked": round(again_seconds, 1)},
        "milliseconds": again["milliseconds"], "hybrid": compared["b"], "difference": compared["difference"],
        "probe": probed,
    }  # fmt: skip


def sememe(folder: Path, *arguments: object) -> tuple[dict[str, Any], float]:
    """What a command of `sememe eval` prints, and the seconds it took."""
    begun = time.perf_counter()
    (found,) = sememe_lines(folder, *arguments)
    return found, time.perf_counter() - begun


def sememe_lines(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "sememe.cli", "eval", *map(str, arguments), "-c", str(folder / "collection")]
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    main()
