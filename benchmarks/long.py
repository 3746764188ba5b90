"""What becomes of texts that are longer than a model reads: truncated, read in windows, cut, cut and embedded together.

Usage: python benchmarks/long.py [MODEL …] [--cache FOLDER]

Documents are pages of Python's documentation (Debian's python3.11-doc) of 600 to 3,000 words, less the headings of
their sections, which are held out and asked for. Everything goes through a collection, as a user would do it; a
document is as good as its best chunk. The chunks of late chunking are smaller, so they are also embedded each by
itself: only that pair tells what their context is worth. Prints for each way how many vectors a document has, how many
queries find theirs first, nDCG@10, and how far that is from chunks as they are cut by default, with 95 % intervals
(queries are drawn in pairs); the last line is JSON.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import corpora
import harness
import numpy as np
import retrieval

import sememe
from sememe.collection import Collection
from sememe.models.cards import DEFAULT_MODEL
from sememe.types import Long, Vectors

PACKAGE = "python3.11-doc"
LEFT_OUT = re.compile(r"whatsnew/|license\.")
WORDS = range(600, 3_001)
LEAST_QUERY = 3
CANDIDATES = 100

HEADING = re.compile(r'^(?:([=*#~^"+.-])\1{2,} *\n)?(?P<title>\S.*)\n([=*\-~^"#+.])\3{2,} *$', re.MULTILINE)
ROLE = re.compile(r":[\w:]+:`[~!]?([^`<]*?)(?:\s*<[^`>]*>)?`")
MARKS = re.compile(r"[`*|\\]")

DEFAULT_WAY, TOGETHER, ALONE = "chunks", "chunks together (late chunking)", "those chunks, each by itself"

Gains: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Add: TypeAlias = Callable[[Collection], int]


@dataclass(frozen=True)
class Page:
    """A page without the headings of its sections, and those of them that can be asked for."""

    key: str
    text: str
    headings: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description="Texts that are longer than a model reads.")
    parser.add_argument("models", nargs="*", default=[DEFAULT_MODEL])
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    arguments = parser.parse_args()
    source, found = pages(arguments.cache)
    sizes = {
        "source": source, "documents": len(found), "queries": sum(len(page.headings) for page in found),
        "words": sum(len(page.text.split()) for page in found),
    }  # fmt: skip
    print(sizes, file=sys.stderr)
    rows = [row for name in arguments.models for row in ways(name, found)]
    harness.table(
        [
            ("model, way", "vectors a document", "first", "nDCG@10", "against chunks (95 %)", "seconds"),
            *(
                (
                    f"{row['model']}, {row['way']}", f"{row['vectors']:.1f}", f"{row['first']:.3f}",
                    f"{row['ndcg@10']['mean']:.3f} ({row['ndcg@10']['low']:.3f} to {row['ndcg@10']['high']:.3f})",
                    "{mean:+.3f} ({low:+.3f} to {high:+.3f})".format(**row["difference"]), f"{row['seconds']:.0f}",
                )
                for row in rows
            ),
        ]
    )  # fmt: skip
    harness.finish("long", {**sizes, "rows": rows})


def ways(name: str, found: list[Page]) -> list[dict[str, Any]]:
    """One model, every way."""
    model = sememe.load_model(name)
    asked = model.encode_query([heading for page in found for heading in page.headings])
    pieces: list[dict[str, str]] = []

    def whole(chunk: bool | Long) -> Add:
        records = [{"id": page.key, "text": page.text} for page in found]
        return lambda collection: collection.add(records, chunk=chunk).chunks

    def together(collection: Collection) -> int:
        made = whole("late")(collection)
        for page in found:
            pieces.extend(
                {"id": f"{page.key}#{chunk.position}", "text": chunk.text} for chunk in collection.get(page.key).chunks
            )
        return made

    every: dict[str, Add] = {
        "truncated": whole(False), "windows": whole("windows"), DEFAULT_WAY: whole(True), TOGETHER: together,
        ALONE: lambda collection: collection.add(pieces, chunk=False).chunks,
    }  # fmt: skip
    rows, gains = [], {}
    for way, add in every.items():
        with tempfile.TemporaryDirectory() as folder, sememe.open(folder, model=model) as collection:
            started = time.perf_counter()
            made = add(collection)
            seconds = time.perf_counter() - started
            first, gains[way] = judged(collection, found, asked)
        rows.append(
            {"model": model.space.model, "way": way, "vectors": made / len(found), "seconds": seconds, "first": first,
             "ndcg@10": retrieval.difference(gains[way], np.zeros_like(gains[way]))}
        )  # fmt: skip
    for row in rows:
        row["difference"] = retrieval.difference(gains[row["way"]], gains[DEFAULT_WAY])
    context = retrieval.difference(gains[TOGETHER], gains[ALONE])
    return [row | ({"context": context} if row["way"] == TOGETHER else {}) for row in rows]


def judged(collection: Collection, found: list[Page], asked: Vectors) -> tuple[float, Gains]:
    """The share of headings whose page comes first, and each one's nDCG@10."""
    answers = [page.key for page in found for _ in page.headings]
    rankings = []
    for query in asked:
        documents = (hit.document.partition("#")[0] for hit in collection.search(query, k=CANDIDATES))
        rankings.append(list(dict.fromkeys(documents))[: retrieval.K])
    first = np.mean([ranking[:1] == [answer] for ranking, answer in zip(rankings, answers, strict=True)])
    return float(first), retrieval.scores(rankings, answers)["ndcg@10"]


def pages(cache: Path) -> tuple[str, list[Page]]:
    """What the documentation is, and its pages of some length that have a heading to ask for."""
    folder = cache / PACKAGE
    stamp = folder / "source.txt"
    if not stamp.exists():
        folder.mkdir(parents=True, exist_ok=True)
        stamp.write_text(corpora.package(cache, PACKAGE, folder), encoding="utf-8")
    sources = next(folder.rglob("_sources"))
    texts = {path.relative_to(sources).as_posix(): path for path in sorted(sources.rglob("*.rst.txt"))}
    read = {key: path.read_text(encoding="utf-8") for key, path in texts.items() if not LEFT_OUT.match(key)}
    often = Counter(title.lower() for text in read.values() for title in titles(text))
    made = []
    for key, text in read.items():
        # The first heading is the page's own; the others stand for their sections, if they say enough and only once.
        asked = [one for one in list(titles(text))[1:] if often[one.lower()] == 1 and len(words(one)) >= LEAST_QUERY]
        if len(text.split()) in WORDS and asked:
            title = HEADING.search(text)
            start = title.end() if title else 0
            made.append(Page(key, text[:start] + HEADING.sub("", text[start:]), tuple(asked)))
    return stamp.read_text(encoding="utf-8"), made


def titles(text: str) -> Iterator[str]:
    """The headings of reStructuredText, without its marks."""
    for found in HEADING.finditer(text):
        yield " ".join(MARKS.sub("", ROLE.sub(r"\1", found["title"])).split())


def words(title: str) -> list[str]:
    return re.findall(r"[A-Za-z]{2,}", title)


if __name__ == "__main__":
    main()
