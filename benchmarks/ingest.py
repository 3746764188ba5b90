"""What reading, cutting and storing cost on top of embedding: a folder end to end against its embedding alone.

Usage: python benchmarks/ingest.py [--rounds N] [--quick]

Two folders made from Python's documentation: one file a module, and one small file a paragraph. In each round the
exact strings that would be embedded are embedded alone, and the folder is added to a new collection, in one process
and alternating order. The target is a median ratio of 1.15 at most. The last line is JSON.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

import sememe
from sememe.collection import preview
from sememe.models.encoder import TextEncoder

SMALL_FILES = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description="End to end against embedding alone.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, two rounds, no result is kept")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    model = sememe.load_model()
    model.encode("warm up")
    with tempfile.TemporaryDirectory() as scratch:
        folders = make_folders(Path(scratch), quick=options.quick)
        measured = {name: measure(folder, model, rounds, Path(scratch) / "c") for name, folder in folders.items()}
    harness.table(
        [["folder", "files", "chunks", "tokens", "embedding alone", "end to end", "ratio", "min", "max"]]
        + [
            [name, f"{m['files']:,}", f"{m['chunks']:,}", f"{m['tokens']:,}", f"{m['alone_seconds']:.1f} s",
             f"{m['end_to_end_seconds']:.1f} s", *(f"{m['ratio'][at]:.3f}" for at in ("median", "min", "max"))]
            for name, m in measured.items()
        ]
    )  # fmt: skip
    harness.finish("ingest", {"rounds": rounds, "folders": measured}, keep=not options.quick)


def make_folders(scratch: Path, *, quick: bool) -> dict[str, Path]:
    """The documentation as one file a module, and its paragraphs as files of their own."""
    modules, small = scratch / "modules", scratch / "small"
    corpus = harness.ROOT / "examples" / "demo" / "corpus.py"
    subprocess.run([sys.executable, str(corpus), str(modules)], check=True, stdout=subprocess.DEVNULL)
    small.mkdir()
    files = sorted(modules.glob("*.md"))
    paragraphs = [part for file in files for part in file.read_text(encoding="utf-8").split("\n\n") if len(part) > 40]
    for number, paragraph in enumerate(paragraphs[: SMALL_FILES // (10 if quick else 1)]):
        (small / f"{number:05}.txt").write_text(paragraph, encoding="utf-8")
    for file in files[len(files) // 10 :] if quick else []:
        file.unlink()
    return {"one file a module": modules, "one file a paragraph": small}


def measure(folder: Path, model: TextEncoder, rounds: int, collection: Path) -> dict[str, Any]:
    """Both ways in every round, the first of them changing from round to round."""
    inputs: list[str] = []
    counted = preview(folder, path=collection, model=model, inputs=lambda _, text: inputs.append(text))
    unique = list(dict.fromkeys(inputs))
    seconds: dict[str, list[float]] = {"alone": [], "end to end": []}
    ways = {
        "alone": lambda: model.embed(unique),
        "end to end": lambda: add(folder, model, collection, expected=counted.chunks),
    }
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
            shutil.rmtree(collection, ignore_errors=True)
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    found = [whole / alone for whole, alone in zip(seconds["end to end"], seconds["alone"], strict=True)]
    return {
        "files": counted.documents, "chunks": counted.chunks, "tokens": counted.tokens,
        "alone_seconds": statistics.median(seconds["alone"]),
        "end_to_end_seconds": statistics.median(seconds["end to end"]),
        "ratio": {"median": statistics.median(found), "min": min(found), "max": max(found)},
    }  # fmt: skip


def add(folder: Path, model: TextEncoder, path: Path, *, expected: int) -> None:
    """The folder into a new collection, everything on disk at the end."""
    with sememe.open(path, model=model) as collection:
        summary = collection.add_files(folder)
    assert summary.chunks == expected, f"{summary.chunks} chunks were stored, {expected} expected"


if __name__ == "__main__":
    main()
