"""How soon there is an answer: `import sememe`, and a search from a new process.

Usage: python benchmarks/start.py [--rounds N] [--quick]

Whole processes, timed from outside: Python alone, numpy's import, sememe's import, and `sememe search` over
collections of 2,000 and 20,000 chunks, each in turn in every round. The target for a search is 0.7 s. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import corpora
import harness

import sememe

SIZES = (2_000, 20_000)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to the first answer of a new process.")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="2,000 chunks, three rounds, no result is kept")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    options = parser.parse_args()
    sizes = SIZES[:1] if options.quick else SIZES
    with tempfile.TemporaryDirectory() as scratch:
        commands = {
            "python, nothing imported": [sys.executable, "-c", "pass"],
            "import numpy": [sys.executable, "-c", "import numpy"],
            "import sememe": [sys.executable, "-c", "from sememe import open"],
        }
        for size, collection in make_collections(Path(scratch), sizes, options.cache).items():
            commands[f"sememe search, {size:,} chunks"] = [
                sys.executable, "-m", "sememe.cli", "search", "an animal that barks", "-c", str(collection), "--json",
            ]  # fmt: skip
        seconds = measure(commands, 3 if options.quick else options.rounds)
    figures = {name: summary(found) for name, found in seconds.items()}
    harness.table(
        [["process", "median", "min", "max"]]
        + [[name, *(f"{f[at]:.3f} s" for at in ("median", "min", "max"))] for name, f in figures.items()]
    )
    harness.finish("start", {"rounds": options.rounds, "seconds": figures}, keep=not options.quick)


def make_collections(scratch: Path, sizes: tuple[int, ...], cache: Path) -> dict[int, Path]:
    """Collections with exactly so many chunks: documents of WordNet, one chunk each."""
    documents = list(corpora.labelled("wordnet", cache).documents.items())
    model = sememe.load_model()
    found = {}
    for size in sizes:
        found[size] = scratch / f"{size}"
        with sememe.open(found[size], model=model) as collection:
            added = collection.add(({"id": key, "text": text} for key, text in documents[:size]), chunk=False)
        assert added.chunks == size, f"{added.chunks} chunks, {size} expected"
    return found


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of every command in every round, after one round that warms the caches."""
    environment = {**os.environ, "SEMEME_OFFLINE": "1"}
    # An installed package has its bytecode, and so has this one after the first round, unless that is forbidden.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(found: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


if __name__ == "__main__":
    main()
