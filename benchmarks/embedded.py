"""Many real vectors: the lines of `corpora.lines` as the default model embeds them, kept in the cache.

Usage: python benchmarks/embedded.py COUNT [--cache FOLDER]

An interrupted run goes on where it stopped. The last rows of the file are the held-out queries.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import corpora
from harness import DEFAULT_CACHE

MOST = 600_000
PART = 20_000
DIM = 384


def embedded(cache: Path, count: int, queries: int = corpora.QUERIES) -> tuple[Any, Any]:
    """float32 unit vectors of the first `count` lines (count, 384), mapped, and of the held-out ones (queries, 384)."""
    import numpy as np

    if count > MOST:
        raise SystemExit(f"{count:,} vectors are wanted, {MOST:,} are made at most")
    parts = [_part(cache, start) for start in range(0, count, PART)]
    vectors = parts[0][:count] if len(parts) == 1 else _joined(cache, parts, count)
    return vectors, np.load(_file(cache, "queries"), mmap_mode="r")[:queries]


def _part(cache: Path, start: int) -> Any:
    import numpy as np

    file = _file(cache, f"{start:07}")
    if not file.exists():
        import sememe

        texts, asked = corpora.lines(cache, MOST)
        model = sememe.load_model()
        file.parent.mkdir(parents=True, exist_ok=True)
        for name, some in {"queries": asked, f"{start:07}": texts[start : start + PART]}.items():
            if not _file(cache, name).exists():
                begun = time.monotonic()
                temporary = file.with_suffix(".part.npy")
                np.save(temporary, model.embed(some, role="document").vectors)
                temporary.rename(_file(cache, name))
                print(f"{name}: {len(some):,} in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return np.load(file, mmap_mode="r")


def _joined(cache: Path, parts: list[Any], count: int) -> Any:
    import numpy as np

    whole = _file(cache, f"first-{count}")
    if not whole.exists():
        np.save(whole, np.concatenate(parts)[:count])
    return np.load(whole, mmap_mode="r")


def _file(cache: Path, name: str) -> Path:
    return cache / "lines" / f"{name}.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description="Embed many lines into the cache.")
    parser.add_argument("count", type=int)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    options = parser.parse_args()
    vectors, queries = embedded(options.cache, options.count)
    print(f"{len(vectors):,} vectors and {len(queries):,} queries")


if __name__ == "__main__":
    main()
