"""The gap between sememe and sentence-transformers, both run now on the same texts.

Usage: python benchmarks/parity.py [--cache FOLDER]

The texts are those of tests/reference. Prints the largest and the mean gap of the cosine from 1, in f32
and, where the CPU multiplies bf16 itself, in bf16; the last line is JSON. Ends with 1 when a gap is
larger than promised.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import tempfile
from pathlib import Path

import contestants
import corpora
import harness

TEXTS = harness.ROOT / "tests" / "reference" / "texts.jsonl.gz"
PROMISED = {"f32": 1e-4, "bf16": 1e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description="The gap between sememe and sentence-transformers.")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    cache: Path = parser.parse_args().cache
    with gzip.open(TEXTS, "rt", encoding="ascii") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [row["text"] for row in rows]
    # tokenizers cannot take a lone surrogate; sememe gets the texts as they are.
    readable = [re.sub("[\ud800-\udfff]", "\ufffd", text) for text in texts]
    reference = vectors_of("sentence-transformers", readable, cache)
    gaps = {}
    for precision in precisions():
        found = 1 - contestants.cosines(vectors_of(f"sememe {precision}", texts, cache), reference)
        worst = int(found.argmax())
        gaps[precision] = {
            "max": float(found.max()),
            "mean": float(found.mean()),
            "worst": rows[worst]["kind"],
        }
        print(f"{precision}: cosine gap max {found.max():.2e} ({rows[worst]['kind']}), mean {found.mean():.2e}")
    harness.finish("parity", {"texts": len(texts), "gaps": gaps})
    if any(gap["max"] > PROMISED[precision] for precision, gap in gaps.items()):
        raise SystemExit(1)


def precisions() -> list[str]:
    """f32 always, bf16 where the CPU has it."""
    native = {"avx512_bf16", "amx_bf16"} & set(harness.machine()["flags"])
    return ["f32", "bf16"] if native else ["f32"]


def vectors_of(name: str, texts: list[str], cache: Path) -> contestants.Vectors:
    """What one contestant makes of the texts, in a process that ends with the call."""
    worker, _ = contestants.start(name, corpora.model_folder(cache), cache)
    with tempfile.TemporaryDirectory() as scratch:
        vectors = contestants.encoded(worker, texts, Path(scratch))
    worker.close()
    return vectors


if __name__ == "__main__":
    main()
