"""What a vector may be shortened to: bytes a row against the share of the true 10 nearest neighbours found.

    python benchmarks/representations.py COLLECTION [--queries 200] [--keep]

The vectors are those of a collection, which is only read. Rows serve as queries, themselves left out. Every form is
asked for its own best 10, and for 100 candidates whose whole vectors are then compared: what a funnel does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np

from sememe.index.funnel import Funnel, Stage
from sememe.index.slab import NAME, Rows, Slab
from sememe.store import SQLiteStore
from sememe.types import Ids, Vectors
from sememe.vectors import best, truncate

K, CANDIDATES = 10, 100
Form = Callable[[Vectors], Vectors]


def rows_of(folder: Path) -> Rows:
    """The mapped vectors of a collection whose files are made."""
    store = SQLiteStore(folder)
    try:
        with store.snapshot() as snapshot:
            stored, record = snapshot.space(), snapshot.index_record(NAME)
    finally:
        store.close()
    rows = Slab(folder, record.generation, stored[0].dim).map(record.rows) if stored and record else None
    if rows is None:
        raise SystemExit(f"{folder} has no vector files; run: sememe optimize")
    return rows


def as_int8(vectors: Vectors) -> Vectors:
    """Each dimension as one of 255 steps between its .1 and 99.9 percentile over a sample: the calibration."""
    sample = vectors[:: max(1, len(vectors) // 20_000)]
    low, high = np.percentile(sample, [0.1, 99.9], axis=0).astype(np.float32)
    step = (high - low) / 254
    codes = np.clip(np.rint((vectors - low) / step), 0, 254)
    decoded: Vectors = (codes * step + low).astype(np.float32)
    return decoded


def forms(dim: int) -> dict[str, tuple[float, Form]]:
    """Forms by name: the bytes of a row, and vectors as the form has them, decoded."""
    found: dict[str, tuple[float, Form]] = {
        "float32": (4 * dim, lambda v: v),
        "float16": (2 * dim, lambda v: v.astype(np.float16).astype(np.float32)),
        "int8": (dim, as_int8),
    }
    for prefix in (256, 128, 64):
        if prefix < dim:
            found[f"first {prefix}, float32"] = (4 * prefix, lambda v, p=prefix: truncate(v, p))
            found[f"first {prefix}, int8"] = (prefix, lambda v, p=prefix: as_int8(truncate(v, p)))
    return found


def nearest(vectors: Vectors, asked: Ids, count: int) -> list[set[int]]:
    """The `count` nearest rows of each asked one, itself left out."""
    ids = np.arange(len(vectors))
    found, _ = best(np.ascontiguousarray(vectors[asked]), vectors, ids, k=count + 1)
    return [set(row[row != number][:count].tolist()) for row, number in zip(found, asked, strict=True)]


def share(found: list[set[int]], truth: list[set[int]]) -> float:
    """The mean share of the truth that was found."""
    return float(np.mean([len(a & b) / len(b) for a, b in zip(found, truth, strict=True)]))


def measured(rows: Rows, queries: int) -> list[dict[str, float | str]]:
    """A line for every form."""
    vectors, (count, dim) = rows.scanned(), rows.vectors.shape
    asked = np.sort(np.random.default_rng(0).choice(count, size=min(queries, count), replace=False))
    truth, table = nearest(vectors, asked, K), []
    for name, (size, form) in forms(dim).items():
        made = form(vectors)
        alone, after = share(nearest(made, asked, K), truth), share(nearest(made, asked, CANDIDATES), truth)
        table.append({"form": name, "bytes": size, "recall@10": alone, "recall@10 after rescoring 100": after})
    bits = Funnel(rows, "cosine")
    near = {
        keep: share([set(bits.candidates(vectors[row], [Stage("bits", keep + 1)]).tolist()) for row in asked], truth)
        for keep in (K, CANDIDATES)
    }
    return [*table, {
        "form": "sign bits", "bytes": -(-dim // 8), "recall@10": near[K],
        "recall@10 after rescoring 100": near[CANDIDATES],
    }]  # fmt: skip


def main() -> None:
    """Print the table, then all of it as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/representations.json")
    chosen = parser.parse_args()
    rows = rows_of(chosen.collection)
    table = measured(rows, chosen.queries)
    print(f"{len(rows):,} vectors of {rows.vectors.shape[1]} dimensions, {chosen.queries} of them as queries\n")
    print("| form | bytes | recall@10 | after rescoring 100 |\n| --- | --: | --: | --: |")
    for row in table:
        values = list(row.values())
        print(f"| {values[0]} | {values[1]} | {values[2]:.3f} | {values[3]:.3f} |")
    result = {
        "collection": chosen.collection.name, "rows": len(rows), "dim": rows.vectors.shape[1],
        "queries": chosen.queries, "table": table,
    }  # fmt: skip
    harness.finish("representations", result, keep=chosen.keep)


if __name__ == "__main__":
    main()
