"""The demo: index Python's own documentation and this project's, then ask twenty questions.

No question shares a word with the document that answers it, so a search for words finds none of them. The
questions were chosen with this model and this corpus in view: the count shows that meaning is found, it is no
measure of quality. Run it from anywhere; everything is written below `.demo` in the project's folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import corpus
from rich.console import Console
from rich.table import Table

import sememe

ROOT = Path(__file__).resolve().parents[2]
QUERIES = Path(__file__).with_name("queries.jsonl")
STDLIB = Path(".demo/stdlib")
COLLECTION = Path(".demo/collection")
FIRST = 3
"""A question counts as answered when the right document is among so many first documents."""
ENOUGH = 16
HITS = 50
"""Chunks asked for: several may come from one document, and three documents must be seen."""
WIDTH = 118
"""The table's columns where the output is no terminal."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the file of the corpus that answers it."""

    query: str
    document: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Where the right document was found (1 is first, None is not at all) and what was found first."""

    question: Question
    rank: int | None
    top: str
    score: float

    @property
    def right(self) -> bool:
        """Whether the right document is near enough to the top."""
        return self.rank is not None and self.rank <= FIRST


def read_questions(path: Path = QUERIES) -> list[Question]:
    """The committed questions."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [Question(row["query"], row["document"]) for row in rows]


def rank_of(documents: Sequence[str], document: str) -> int | None:
    """The place of a document among the distinct documents of the hits, from 1."""
    distinct = list(dict.fromkeys(documents))
    return distinct.index(document) + 1 if document in distinct else None


def within(root: Path, key: str) -> str:
    """A document's key, shortened to what follows the project's folder."""
    return Path(key).relative_to(root).as_posix() if Path(key).is_relative_to(root) else key


def build() -> None:
    """Write the corpus and index it together with the project's documentation."""
    corpus.write(STDLIB)
    command = f"-m sememe.cli add {STDLIB.as_posix()} docs --collection {COLLECTION.as_posix()}"
    subprocess.run([sys.executable, *command.split()], check=True)


def ask(questions: Sequence[Question]) -> list[Answer]:
    """Search the collection for every question."""
    answers = []
    with sememe.open(COLLECTION) as collection:
        for question in questions:
            hits = collection.search(question.query, k=HITS)
            rank = rank_of([hit.document for hit in hits], f"{STDLIB.name}/{question.document}")
            top, score = (within(ROOT, hits[0].document), hits[0].score) if hits else ("", 0.0)
            answers.append(Answer(question, rank, top, score))
    return answers


def table(answers: Sequence[Answer]) -> Table:
    """One row a question."""
    result = Table("question", "answered by", "rank", "found first", "cosine", box=None, pad_edge=False)
    for answer in answers:
        mark = "green" if answer.right else "red"
        rank = str(answer.rank) if answer.rank else "-"
        cells = (answer.question.query, answer.question.document, f"[{mark}]{rank}[/{mark}]")
        result.add_row(*cells, answer.top, f"{answer.score:.2f}")
    return result


def next_command() -> str:
    """What to type after the demo, with the program that stands beside the running Python."""
    program = Path(sys.executable).with_name("sememe")
    return f'{within(ROOT, str(program))} search "your own question" --collection {COLLECTION.as_posix()}'


def main() -> int:
    """Run the demo; 1 when fewer questions than `ENOUGH` found their document."""
    started = time.perf_counter()
    os.chdir(ROOT)
    build()
    answers = ask(read_questions())
    right = sum(answer.right for answer in answers)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(table(answers))
    console.print(f"\nright document in the first {FIRST}: {right} of {len(answers)}", highlight=False)
    console.print(f"{time.perf_counter() - started:.0f} seconds, corpus and index included", highlight=False)
    print(f"Next: {next_command()}")
    return 0 if right >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
