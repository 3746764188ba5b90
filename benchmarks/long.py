"""What becomes of texts that are longer than a model reads: truncated, read in windows, cut, cut and embedded together.

Usage: python benchmarks/long.py [MODEL …] [--documents N]

Documents are docstrings of 250 words and more of Python's standard library and of NumPy, less two paragraphs that are
held out and asked for: the first one, and one out of the second half. Everything goes through a collection, as a user
would do it; a document is as good as its best chunk. Prints for each way how many vectors a document has, how often it
comes first, nDCG@10 with a 95 % interval, and the seconds it took; the last line is JSON.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness
import numpy as np
from corpora import digest

import sememe
from sememe.collection import Collection
from sememe.models.cards import DEFAULT_MODEL
from sememe.types import Long

WORDS = 250
DOCUMENTS = 300
CANDIDATES = 100
DRAWS = 2_000
WAYS: dict[str, bool | Long] = {
    "truncated": False, "windows": "windows", "chunks": True, "chunks together": "late",
}  # fmt: skip


@dataclass(frozen=True)
class LongText:
    """A document, and what is asked for it: its beginning, and a paragraph of its second half."""

    key: str
    text: str
    first: str
    later: str


def main() -> None:
    parser = argparse.ArgumentParser(description="Texts that are longer than a model reads.")
    parser.add_argument("models", nargs="*", default=[DEFAULT_MODEL])
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    arguments = parser.parse_args()
    texts = long_texts(arguments.documents)
    words = sum(len(text.text.split()) for text in texts)
    print(f"{len(texts)} documents, {words / len(texts):,.0f} words on average", file=sys.stderr)
    rows = [row for name in arguments.models for row in ways(name, texts)]
    shown = ("first paragraph", "later paragraph")
    harness.table(
        [
            ("model, way", "vectors", *(f"{one}, nDCG@10" for one in shown), *(f"{one}, 1st" for one in shown), "s"),
            *(
                (
                    f"{row['model']}, {row['way']}", f"{row['vectors']:.1f}",
                    *(f"{row[kind]['ndcg']:.3f} ± {row[kind]['interval']:.3f}" for kind in shown),
                    *(f"{row[kind]['first']:.3f}" for kind in shown), f"{row['seconds']:.0f}",
                )
                for row in rows
            ),
        ]
    )  # fmt: skip
    harness.finish("long", {"documents": len(texts), "words": words, "rows": rows})


def ways(name: str, texts: list[LongText]) -> Iterator[dict[str, Any]]:
    """One model, every way."""
    model = sememe.load_model(name)
    asked = {kind: model.encode_query([getattr(text, kind) for text in texts]) for kind in ("first", "later")}
    for way, chunk in WAYS.items():
        with tempfile.TemporaryDirectory() as folder, sememe.open(folder, model=model) as collection:
            started = time.perf_counter()
            made = collection.add([{"id": text.key, "text": text.text} for text in texts], chunk=chunk)
            seconds = time.perf_counter() - started
            yield {
                "model": model.space.model, "way": way, "vectors": made.chunks / len(texts), "seconds": seconds,
                **{f"{kind} paragraph": judged(collection, texts, queries) for kind, queries in asked.items()},
            }  # fmt: skip


def judged(collection: Collection, texts: list[LongText], queries: Any) -> dict[str, float]:
    """How well each document is found by its own paragraph."""
    ranks = []
    for text, query in zip(texts, queries, strict=True):
        hits = collection.search(query, k=CANDIDATES)
        found = list(dict.fromkeys(hit.document for hit in hits))
        ranks.append(found.index(text.key) if text.key in found else CANDIDATES)
    gains = np.array([1 / np.log2(rank + 2) if rank < 10 else 0.0 for rank in ranks])
    draws = np.random.default_rng(0).choice(gains, (DRAWS, len(gains))).mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {
        "ndcg": float(gains.mean()),
        "interval": float(high - low) / 2,
        "first": float(np.mean([rank == 0 for rank in ranks])),
    }


def long_texts(count: int) -> list[LongText]:
    """A sample by hash, so that it depends on the sources alone."""
    numpy = find_spec("numpy")
    assert numpy is not None
    assert numpy.origin is not None
    folders = (Path(sysconfig.get_path("stdlib")), Path(numpy.origin).parent)
    found = {text.text: text for folder in folders for text in docstrings(folder)}
    return sorted(found.values(), key=lambda text: digest("long", text.key))[:count]


def docstrings(folder: Path) -> Iterator[LongText]:
    """The long ones of all sources in a folder, without those of tests and of other packages."""
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder.parent).as_posix()
        if re.search(r"site-packages/(?!numpy)|/tests?/|/idlelib/|/lib2to3/", f"/{name}"):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                made = split(f"{name}:{getattr(node, 'name', '')}:{getattr(node, 'lineno', 0)}", text)
                if made is not None:
                    yield made


def split(key: str, text: str) -> LongText | None:
    """A docstring of some length, its first paragraph and one of its second half taken out."""
    paragraphs = re.split(r"\n\s*\n", text)
    middle = len(paragraphs) // 2
    later = next((i for i in range(middle, len(paragraphs)) if prose(paragraphs[i])), None)
    if len(text.split()) < WORDS or middle < 2 or later is None or not prose(paragraphs[0], least=4):
        return None
    kept = [one for i, one in enumerate(paragraphs) if i not in (0, later)]
    first, asked = (" ".join(paragraphs[i].split()) for i in (0, later))
    return LongText(key, "\n\n".join(kept), first, asked)


def prose(paragraph: str, least: int = 10) -> bool:
    """Whether it is a sentence or two, and no code, table or heading."""
    words = paragraph.split()
    return least <= len(words) <= 60 and not re.search(r">>>|\.\. |---|===|^\s*[-*|]", paragraph)


if __name__ == "__main__":
    main()
