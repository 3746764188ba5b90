"""Golden sets in the truth: queries, and what answers them.

They lie beside the documents because a query may quote one: what is forgotten is then taken out of both in one
transaction, and no file of queries is left behind that nobody remembers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apsw

WHOLE = -1
"""The start and end of a judgement on a whole document."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """In the set `name`, the document `key` answers the query, or its characters `[start, end)` do.

    `grade` is how well: 0 not at all. `origin` says where the judgement came from.
    """

    name: str
    query: str
    key: str
    start: int
    end: int
    grade: int
    origin: str


class Judging:
    """The part of a transaction that writes golden sets, and what a search asks for unless it says."""

    _connection: apsw.Connection

    def judge(self, judgements: Iterable[Judgement]) -> None:
        """Add judgements. One on the same query and place is replaced."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO golden (name, query, key, start, end, grade, origin) VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((j.name, j.query, j.key, j.start, j.end, j.grade, j.origin) for j in judgements),
        )

    def drop_judgements(self, judgements: Iterable[Judgement]) -> None:
        """Take judgements out of their sets."""
        self._connection.executemany(
            "DELETE FROM golden WHERE name = ? AND query = ? AND key = ? AND start = ?",
            ((j.name, j.query, j.key, j.start) for j in judgements),
        )

    def set_usual_recall(self, recall: float) -> None:
        """What searches ask for from now on unless they say."""
        self._connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('recall', ?)", (repr(recall),))
