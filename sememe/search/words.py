"""The lexical index as one moment of the truth has it: its files, and a tail of what they have not seen.

Where files are missing or damaged the tail holds everything, as long as that is not too much to read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sememe.errors import StoreError
from sememe.index import lexical, words
from sememe.index.entries import entry_of
from sememe.index.tail import Tail
from sememe.index.terms import Question
from sememe.index.words import Entry
from sememe.search.fuse import Ranking
from sememe.store.reading import Snapshot
from sememe.types import Ids

MOST_WITHOUT_FILES = 50_000
"""Chunks whose words are read from the truth when there is no lexical index: a few seconds, once a process."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The files of a stamp, the rows that came since, and the ids of those that went."""

    stamp: tuple[str, int] | None
    seq: int
    index: lexical.LexicalIndex | None
    tail: Tail
    dead: frozenset[int] = frozenset()


class Words:
    """The lexical index of a collection, current as of the snapshot that it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._seen: _Seen | None = None
        self._damaged: set[str] = set()

    def terms(self, snapshot: Snapshot, text: str) -> tuple[str, ...]:
        """What is looked up for a text: its words as the index has them."""
        seen = self._at(snapshot)
        try:
            return tuple(words.words(text)) if seen.index is None else tuple(seen.index.terms(text, seen.tail))
        except lexical.LexicalDamaged:
            self._distrust(seen)
            return tuple(words.words(text))

    def search(
        self, snapshot: Snapshot, text: str, *, k: int, allowed: Ids | None, whole: int | None = None
    ) -> Ranking:  # fmt: skip
        """The k best by BM25: ids and scores (m,). `allowed` are the ids that may be returned, ascending; behind the
        first `whole` any of equal scores may stand."""
        seen = self._at(snapshot)
        if seen.index is None:
            return seen.tail.search(text, k=k, allowed=allowed)
        try:
            return seen.index.search(text, k=k, allowed=allowed, tail=seen.tail, dead=seen.dead, whole=whole)
        except lexical.LexicalDamaged:
            self._distrust(seen)
            return self._at(snapshot).tail.search(text, k=k, allowed=allowed)

    def question(self, snapshot: Snapshot, text: str) -> Question:
        """What a text is looked up by, and what its terms weigh."""
        seen = self._at(snapshot)
        try:
            return seen.tail.weighed(text) if seen.index is None else seen.index.weighed(text, seen.tail)
        except lexical.LexicalDamaged:
            self._distrust(seen)
            return self._at(snapshot).tail.weighed(text)

    def _distrust(self, seen: _Seen) -> None:
        """Use these files no more: they are not what was written."""
        with self._lock:
            self._damaged.add(seen.stamp[0] if seen.stamp else "")
            self._seen = None

    def _at(self, snapshot: Snapshot) -> _Seen:
        with self._lock:
            stamp, seq = snapshot.index_stamps().get(lexical.NAME), snapshot.seq()
            seen = self._seen
            if seen is None or seen.stamp != stamp:
                seen = self._from_files(snapshot, stamp)
            if seen.seq < seq:
                net = snapshot.net_changes(seen.seq)
                if net is None:
                    seen = self._from_truth(snapshot, stamp)
                else:
                    added, deleted = net
                    tail = seen.tail.changed(_entries(snapshot, added), deleted)
                    seen = _Seen(stamp, seq, seen.index, tail, seen.dead | set(deleted))
            self._seen = seen
            return seen

    def _from_files(self, snapshot: Snapshot, stamp: tuple[str, int] | None) -> _Seen:
        if stamp is None or stamp[0] in self._damaged:
            return self._from_truth(snapshot, stamp)
        before = self._seen
        if before is not None and before.index is not None and before.stamp is not None and before.stamp[0] == stamp[0]:
            try:
                index: lexical.LexicalIndex | None = before.index.reload()
            except lexical.LexicalDamaged:
                index = None
        else:
            index = lexical.LexicalIndex.open(self._folder, stamp[0])
        return self._from_truth(snapshot, stamp) if index is None else _Seen(stamp, index.seq, index, Tail())

    def _from_truth(self, snapshot: Snapshot, stamp: tuple[str, int] | None) -> _Seen:
        chunks = snapshot.live_chunks()
        if len(chunks) > MOST_WITHOUT_FILES:
            raise StoreError(
                f"the word index in {self._folder} is missing or damaged, and {len(chunks):,} chunks are too many to "
                f"search for words without it; make it anew with: sememe optimize"
            )
        return _Seen(stamp, snapshot.seq(), None, Tail().changed(_entries(snapshot, chunks)))


def _entries(snapshot: Snapshot, chunks: list[int]) -> Iterator[Entry]:
    return map(entry_of, snapshot.passages(chunks))
