"""Spaces of words and of tokens in a search: what is in their files, what came later, and what a query becomes in them.

As a `View` does for vectors, this brings the files of a space to a snapshot: rows that they have not seen are read from
the truth and compared one by one, deleted ones are masked. It never writes a file; what is missing or damaged is left
out, and the truth itself is searched.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sememe.errors import InputError, NotFound
from sememe.index.represented import NAMES, Asked, Mask, Rows, TokenRows, WordRows, in_memory, open_rows
from sememe.index.tokens import Codec, from_bytes
from sememe.search.fuse import Ranking
from sememe.search.query import Query
from sememe.space import Encoder, Held
from sememe.store.inventory import Inventory
from sememe.types import Ids, LateEncoder, SparseEncoder, SparseVector


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows of a space at one `seq`: those in files, which of them live, and the tail, as it is stored and as rows.

    A value: a later one is another one.
    """

    stamp: tuple[str, str]
    seq: int
    files: Rows | None
    alive: Mask
    ids: Ids
    blobs: list[bytes]
    tail: Rows

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive)) + len(self.ids)

    def changed(self, seq: int, *, added: tuple[Ids, list[bytes]], gone: Sequence[int], codec: Codec | None) -> Kept:
        """The rows at a later `seq`: what went is masked or dropped, what came is in the tail."""
        alive = self.alive if self.files is None else self.alive & ~np.isin(self.files.ids, gone)
        stays = ~np.isin(self.ids, gone)
        ids = np.concatenate([self.ids[stays], added[0]])
        blobs = [*(blob for blob, kept in zip(self.blobs, stays, strict=True) if kept), *added[1]]
        return Kept(self.stamp, seq, self.files, alive, ids, blobs, in_memory(ids, blobs, codec))

    def best(self, asked: Asked, k: int, *, allowed: Ids | None = None, exact: bool = False) -> Ranking:
        """The k best rows, best first, equal scores by ascending id; with `allowed` (m,) no others. Raises RowsDamaged.

        `exact` compares every text token by token.
        """
        found = []
        for rows, alive in ((self.files, self.alive), (self.tail, np.ones(len(self.ids), bool))):
            if rows is not None:
                among = alive if allowed is None else alive & np.isin(rows.ids, allowed)
                found.append(_best(rows, asked, k, among=among, exact=exact))
        ids, scores = np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])
        order = np.lexsort((ids, -scores))[:k]
        return ids[order], scores[order]


def _best(rows: Rows, asked: Asked, k: int, *, among: Mask, exact: bool) -> Ranking:
    if isinstance(rows, WordRows):
        assert isinstance(asked, SparseVector)
        return rows.best(asked, k, among)
    assert not isinstance(asked, SparseVector)
    return rows.best(asked, k, among, exact=exact)


class Represented:
    """A space of words or of tokens, current as of the snapshot that it is asked for. Safe to use from threads."""

    def __init__(self, folder: Path, name: str) -> None:
        """Of the collection in `folder`, by the name of the space."""
        self._collection = folder
        self._name = name
        self._lock = threading.Lock()
        self._kept: Kept | None = None
        self._damaged: set[str] = set()

    def at(self, snapshot: Inventory, asked: Asked) -> Lookup:
        """The space at the moment of the snapshot, and what a query became. Raises NotFound when it was dropped."""
        with self._lock:
            held = snapshot.held(self._name)
            if held is None:
                raise NotFound(f"{self._collection} has no space {self._name!r}; see those it has with: sememe space")
            kept, seq = self._kept, snapshot.seq()
            stamp = snapshot.index_stamps().get(held.index(NAMES[held.kind]), ("", 0))[0], held.details
            if kept is None or kept.stamp != stamp or kept.seq > seq:
                kept = self._opened(snapshot, held, stamp)
            if kept.seq < seq:
                net = snapshot.net_changes(kept.seq)
                if net is None:
                    kept = _in_memory(snapshot, held, stamp)
                else:
                    added = snapshot.stored(net[0], held)
                    kept = kept.changed(seq, added=added, gone=net[1], codec=_codec_of(snapshot, held))
            if self._kept is None or self._kept.seq <= seq:
                self._kept = kept
            return Lookup(held, kept, asked)

    def _opened(self, snapshot: Inventory, held: Held, stamp: tuple[str, str]) -> Kept:
        record = snapshot.index_record(held.index(NAMES[held.kind]))
        if record is None or record.details != held.details or record.generation in self._damaged:
            return _in_memory(snapshot, held, stamp)
        codec = _codec_of(snapshot, held)
        files = open_rows(held.folder(self._collection), record, codec)
        if files is None:
            return _in_memory(snapshot, held, stamp)
        nothing = np.zeros(0, np.int64)
        tail = in_memory(nothing, [], codec)
        return Kept(stamp, record.seq, files, np.ones(record.rows, bool), nothing, [], tail)

    def distrust(self) -> None:
        """Use the current files no more: they are not what was written."""
        with self._lock:
            if self._kept is not None:
                self._damaged.add(self._kept.stamp[0])
            self._kept = None


def _codec_of(snapshot: Inventory, held: Held) -> Codec | None:
    return from_bytes(snapshot.codec(held)) if held.kind == "late" else None


def _in_memory(snapshot: Inventory, held: Held, stamp: tuple[str, str]) -> Kept:
    """The truth itself, while there are no usable files: until the next write or `optimize` makes them."""
    ids, blobs = snapshot.stored(snapshot.live_chunks(), held)
    return Kept(
        stamp, snapshot.seq(), None, np.zeros(0, bool), ids, blobs, in_memory(ids, blobs, _codec_of(snapshot, held))
    )


@dataclass(frozen=True, slots=True)
class Lookup:
    """A space of words or of tokens at one moment, and what the query became in it."""

    held: Held
    kept: Kept
    asked: Asked

    def candidates(self, rows: int, depth: int, recall: float | None) -> int | None:
        """How many texts in files are compared token by token to find `depth` among `rows`; None when all are."""
        files = self.kept.files
        if not isinstance(files, TokenRows) or recall == 1:
            return None
        chosen = files.codes.candidates(depth)
        return chosen if rows > chosen else None

    def frequency(self, word: int) -> int:
        """In how many rows a word is, dead ones in files included."""
        rows = (self.kept.files, self.kept.tail)
        return sum(part.postings.frequency(word) for part in rows if isinstance(part, WordRows))

    def standing(self, number: int, allowed: Ids | None) -> tuple[int | None, float | None]:
        """The rank of a row among those that may be returned, from 1, and its score; None where it is not found."""
        among = None if allowed is None else np.union1d(allowed, [number])
        ids, scores = self.kept.best(self.asked, max(1, len(self.kept)), allowed=among, exact=True)
        at = np.flatnonzero(ids == number)
        return (int(at[0]) + 1, float(scores[at[0]])) if len(at) else (None, None)


def asked_of(query: Query, encoder: Encoder | None) -> Asked | None:
    """What a query becomes in a space of words or of tokens; None for a search in another space."""
    if query.text is None or query.mode == "lexical":
        return None
    if isinstance(encoder, SparseEncoder):
        return encoder.encode_sparse([query.text], role="query")[0]
    if isinstance(encoder, LateEncoder):
        return encoder.encode_tokens([query.text], role="query")[0]
    return None


def checked_beside(query: Query, held: Held) -> Query:
    """The query, if a space of words or of tokens can answer it. Raises InputError."""
    if held.kind == "dense":
        return query
    named, route = f"space {held.name!r} is {held.kind}", query.route
    if query.parts:
        raise InputError(
            f"{named} and compares {NOUNS[held.kind]}, which cannot be added up; search for one text alone"
        )
    if query.text is None:
        raise InputError(f"{named} and compares {NOUNS[held.kind]}, but the query is a vector; give a text")
    if route.funnel:
        raise InputError(f"{named} and has no vector a text for a funnel; leave the funnel out")
    if route.calibrated or route.expected is not None:
        raise InputError(f"{named}, and only scores of dense spaces are calibrated; leave the calibration out")
    if route.fusion == "evidence":
        raise InputError(f"{named}, and only scores of dense spaces are evidence; use the fusion 'rrf'")
    if route.instruction is not None and route.rerank is None:
        raise InputError(f"{named}, and its model takes no instruction; leave it out, or name a reranker to tell it")
    return query


NOUNS = {"sparse": "words", "late": "tokens"}


def words_of(asked: Asked) -> int:
    """How many words or tokens a query has."""
    return len(asked.indices) if isinstance(asked, SparseVector) else len(asked)
