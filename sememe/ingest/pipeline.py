"""The way in: windows of cut documents are embedded where that was not done before, and stored.

Three windows are under way at once: one is read and cut, the one before it embedded, the one before that committed,
each by a thread of its own. Each window is one transaction: vectors, texts, chunks, and for every document that ends
in it the switch from its old version to the new one, with its ledger row. A killed run leaves staged rows that nobody
sees; the next run clears them and finds the vectors that were already made.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

from sememe import failpoints
from sememe.errors import InputError, SememeError
from sememe.ingest.computed import Computed, Target
from sememe.ingest.cutting import Container, CutOptions, Described, Known, Moved, Piece, Window, Windows
from sememe.ingest.fields import REMARK, FieldCheck, refused_for, remarks_of
from sememe.ingest.items import Item
from sememe.ingest.runs import Run
from sememe.space import Interruptible
from sememe.store import SQLiteStore
from sememe.store.records import CachedVector, KnownDocument, NewChunk, NewDocument, WholeDocument
from sememe.store.writing import Transaction
from sememe.types import LedgerRow, Long, Metadata

COUNTED = (
    "documents", "repeated", "described", "renamed", "deleted", "chunks", "tokens", "embedded", "truncated", "skipped",
    "failed", "mistyped", "seconds",
)  # fmt: skip

REPEATED = "its id came more than once in one run; the last one is kept"


@dataclass(slots=True)
class Summary:
    """What a run did. `chunks` and `tokens` are those of the documents written; `embedded` had to be computed.
    `described` are those of the unchanged ones that got other metadata, `mistyped` the documents with a field of
    another type than the collection has. `repeated` are inputs whose id came again in the run: the last one stands,
    and is the one that is counted.

    `troubles` are the inputs of this run that were truncated, skipped or failed, also those that have not changed.
    `passed_over` counts hidden names and folders of generated files, which are not inputs and not in the ledger.
    `billed_tokens` and `dollars` are what a hosted model cost, in a dry run what it would cost at most; None where the
    price is not known, or there is none.
    """

    documents: int = 0
    unchanged: int = 0
    repeated: int = 0
    described: int = 0
    renamed: int = 0
    deleted: int = 0
    chunks: int = 0
    tokens: int = 0
    embedded: int = 0
    truncated: int = 0
    skipped: int = 0
    failed: int = 0
    mistyped: int = 0
    passed_over: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    dry_run: bool = False
    billed_tokens: int = 0
    dollars: float | None = None
    warning: str = ""
    troubles: list[LedgerRow] = field(default_factory=list)

    def add(self, other: Summary) -> None:
        """Count what another run did too; its troubles are its own."""
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, object]:
        """The counts by name, seconds rounded to milliseconds; without the list of troubles."""
        fields = {name: value for name, value in asdict(self).items() if name != "troubles"}
        return {**fields, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far a run is. `bytes_total` is None when the sources do not tell their size."""

    inputs: int
    bytes_done: int
    bytes_total: int | None
    chunks: int


OnProgress = Callable[[IngestProgress], None]


@dataclass(slots=True)
class Pipeline:
    """One run over one store. `written` is called after every commit, and `ending` while the last window is embedded,
    for indexes that want to keep up.

    `remember` is given files of many documents after their last one was committed (see `containers.finish`).
    `own` is the collection's own space; every input gets a vector in each of the `further` ones too. Of the digests
    that are `sought`, `seen_digests` are those of what came.
    """

    store: SQLiteStore
    own: Target
    options: CutOptions
    run: Run
    remember: Callable[[list[Container]], tuple[int, list[LedgerRow]]]
    further: Sequence[Target] = ()
    window: int = 4096
    on_progress: OnProgress | None = None
    written: Callable[[], None] | None = None
    ending: Callable[[], None] | None = None
    bytes_total: int | None = None
    summary: Summary = field(default_factory=Summary)
    sought: frozenset[bytes] = frozenset()
    seen_digests: set[bytes] = field(default_factory=set)
    fields: FieldCheck = field(default_factory=FieldCheck)
    _inputs: int = 0
    _bytes: int = 0
    _chunks: int = 0
    _staged: dict[str, _Open] = field(default_factory=dict)

    def ingest(
        self, items: Iterable[Item | LedgerRow], known: Known, *, checksum: bool, moved: Moved | None = None
    ) -> Summary:
        """Take in all items. On any error what was committed stays, and the error goes on.

        `moved` is what was given of documents that may come again under another name, by the digest of their bytes.
        """
        windows = iter(
            Windows(
                items, known, self.options, size=self.window, known_part=looked_up(self.store), checksum=checksum,
                moved=moved,
            )
        )  # fmt: skip
        started = time.monotonic()
        try:
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sememe-embed") as pool:
                self._ingest(ahead(windows), pool)
        except KeyboardInterrupt:
            self.summary.interrupted = True
            raise
        finally:
            self.summary.seconds = time.monotonic() - started
        return self.summary

    def _ingest(self, windows: Iterator[Window], pool: ThreadPoolExecutor) -> None:
        """Commit each window while the next one is embedded."""
        last: _Embedding | None = None
        embedding: _Embedding | None = None
        try:
            while True:
                try:
                    window = next(windows, None)
                except InputError:
                    if embedding is not None:
                        self._write(embedding)
                    raise
                if window is None and embedding is not None and self.ending is not None:
                    self.ending()
                last, embedding = embedding, None if window is None else self._embedding(window, pool, embedding)
                if last is not None:
                    self._write(last)
                if embedding is None:
                    return
        except BaseException:
            self._rescue(last, embedding)
            raise

    def _rescue(self, *embeddings: _Embedding | None) -> None:
        """Stop embedders that can be stopped, and store what was made: the next run need not make it again."""
        for target in (self.own, *self.further):
            if isinstance(target.embedder, Interruptible):
                target.embedder.interrupt()
        for embedding in embeddings:
            if embedding is not None and not embedding.done.cancel():
                with contextlib.suppress(SememeError):
                    embedding.done.result()
                    self._keep(embedding)

    def _embedding(self, window: Window, pool: ThreadPoolExecutor, before: _Embedding | None) -> _Embedding:
        texts = {key: text for piece in window.pieces for key, text in zip(piece.inputs, piece.sources, strict=True)}
        long = self.options.long
        # Only the own space embeds chunks together: a further one is filled from single inputs, now and later.
        beside: Long = "windows" if long == "windows" else "truncate"
        made = (Computed(self.own, long), *(Computed(target, beside) for target in self.further))
        coming: dict[bytes, str] = before.texts if before is not None else {}
        return _Embedding(window, texts, made, pool.submit(self._compute, texts, made, coming))

    def _compute(self, texts: dict[bytes, str], made: Iterable[Computed], coming: Collection[bytes]) -> None:
        """Embed what is neither stored nor in the window before, which is being embedded or stored meanwhile."""
        for computed in made:
            with self.store.snapshot() as snapshot:
                there = snapshot.cached(computed.target.space.id, list(texts))
            computed.add({key: text for key, text in texts.items() if key not in there and key not in coming})

    def _report(self, window: Window) -> None:
        self._bytes += window.finished_bytes
        self._chunks += window.chunk_count
        self._inputs += len(window.refused) + len(window.unchanged) + sum(piece.last for piece in window.pieces)
        if self.on_progress is not None:
            self.on_progress(IngestProgress(self._inputs, self._bytes, self.bytes_total, self._chunks))

    def _write(self, embedding: _Embedding) -> None:
        """Store a window that was embedded; if a row that was counted on has gone meanwhile, embed that and again."""
        embedding.done.result()
        window, texts, computed = embedding.window, embedding.texts, embedding.made[0]
        while True:
            for made in embedding.made:
                if made.stop is not None:
                    raise made.stop
            with self.store.snapshot() as snapshot:
                unchanged = snapshot.truncated(window.unchanged)
            staged = dict(self._staged)
            counts = Summary()
            try:
                with self.store.transaction() as transaction:
                    keys = [key for key in texts if key not in computed.refused]
                    rows = self._vectors(transaction, embedding, keys)
                    self._store(transaction, window, rows, computed.refused, counts)
            except _VectorGone:
                self._staged = staged
                self._compute(texts, embedding.made, ())
                continue
            break
        self.summary.embedded += len(computed)
        counts.truncated += len(unchanged)
        counts.troubles += unchanged
        _add_counts(self.summary, counts)
        if window.containers:
            self._finish(window.containers)
        if self.written is not None and window.pieces:
            self.written()
        self._report(window)

    def _finish(self, read: list[Container]) -> None:
        """Remember files of many documents; they are no documents themselves, so only their troubles count."""
        removed, rows = self.remember(read)
        counts = Summary(deleted=removed)
        for row in rows:
            if row.status != "embedded":
                _count(counts, row)
        _add_counts(self.summary, counts)
        self.seen_digests |= self.sought.intersection(container.stamp.digest for container in read)

    def _keep(self, embedding: _Embedding) -> None:
        """Store vectors that were made for a window which cannot be finished: the next run finds them there."""
        if any(embedding.made):
            with self.store.transaction() as transaction:
                _add_vectors(transaction, embedding)

    def _vectors(self, transaction: Transaction, embedding: _Embedding, keys: list[bytes]) -> dict[bytes, CachedVector]:
        rows = _add_vectors(transaction, embedding)
        rows |= transaction.cached(self.own.space.id, [key for key in keys if key not in rows])
        if len(rows) < len(keys):
            raise _VectorGone
        return rows

    def _store(
        self, transaction: Transaction, window: Window, rows: dict[bytes, CachedVector], refused: dict[bytes, str],
        counts: Summary,
    ) -> None:  # fmt: skip
        for container in window.begun:
            transaction.begin_container(container.item.key, container.recipe, self.run.id)
        for key in window.seen:
            transaction.see_container(key, self.run.id)
        ledger = [_without_old(transaction, row) for row in window.refused]
        for whole, pieces in itertools.groupby(_apart(window.pieces, refused), key=lambda numbered: numbered[0]):
            members = [piece for _, piece in pieces]
            if whole:
                ledger += self._store_whole(transaction, members, rows)
            else:
                ledger += filter(None, (self._store_piece(transaction, piece, rows, refused) for piece in members))
        self.seen_digests |= self.sought.intersection(piece.stamp.digest for piece in window.pieces if piece.last)
        for known, stamp in window.touched:
            if known.documents is None:
                transaction.restamp(known.id, size=stamp.size, mtime_ns=stamp.mtime_ns)
            else:
                transaction.see_container(known.key, self.run.id, stamp=stamp)
        for described in window.described:
            ledger += self._describe(transaction, described, counts)
        transaction.strike(window.cleared)
        ledger = self._last_words(transaction, ledger, counts)
        transaction.record(ledger, self.run.id)
        failpoints.reach("window stored")
        counts.unchanged += len(window.unchanged)
        for row in ledger:
            _count(counts, row)

    def _last_words(self, transaction: Transaction, ledger: list[LedgerRow], counts: Summary) -> list[LedgerRow]:
        """One row a key: where an id came more than once in this run, what was counted before is taken back."""
        last = {row.key: row for row in ledger}
        earlier = transaction.noted([key for key, row in last.items() if row.origin == "given"], self.run.id)
        repeated = len(ledger) - len(last) + len(earlier)
        if repeated:
            counts.repeated = repeated
            for row in earlier:
                _count(counts, row, -1)
            often = {key for key, times in Counter(row.key for row in ledger).items() if times > 1}
            for key in often | {row.key for row in earlier}:
                last[key] = replace(last[key], remarks=(*last[key].remarks, REPEATED))
        return list(last.values())

    def _store_piece(
        self, transaction: Transaction, piece: Piece, rows: dict[bytes, CachedVector], refused: dict[bytes, str]
    ) -> LedgerRow | None:
        """Write a piece; where it ends the document, publish it and return its ledger row."""
        opened = self._staged.get(piece.item.key)
        if opened is None:
            opened = _Open(transaction.stage(self._new_document(piece), self.run.id))
            self._staged[piece.item.key] = opened
        transaction.add_texts(opened.id, piece.texts)
        transaction.add_places(opened.id, piece.places)
        transaction.add_chunks(opened.id, _new_chunks(piece, rows))
        opened.note(piece, rows, refused)
        if not piece.last:
            return None
        del self._staged[piece.item.key]
        failure = piece.failure or opened.failure(piece)
        if failure is not None or not opened.chunks:
            transaction.discard(opened.id)
            row = failure or LedgerRow(piece.item.key, "skipped", "no text", origin=piece.item.origin)
            return _without_old(transaction, row)
        new = self._new_document(piece)
        said = self.fields.judge(transaction, piece.item.key, new.outside.over(new.metadata))
        if said and self.fields.strict:
            transaction.discard(opened.id)
            return _without_old(transaction, refused_for(said, piece.item.key, piece.item.origin))
        transaction.publish(opened.id, characters=piece.characters, title=new.outside.title_over(new.title))
        if transaction.is_container(piece.item.key):
            transaction.remove_container(piece.item.key)
        return opened.ledger_row(piece, remarks_of(said))

    def _describe(self, transaction: Transaction, described: Described, counts: Summary) -> list[LedgerRow]:
        """Store other metadata of a document whose text has not changed, or of all that are in a file.

        Returns the rows of those that are refused.
        """
        known, item = described.known, described.item
        if known.documents is not None:
            transaction.describe_container(known.key, described.outside)
            pairs = transaction.parts_of(known.key)
            own: Metadata = {}
        else:
            # Another process may have replaced it meanwhile, and its metadata.
            pairs = [(known.id, known.key)] if transaction.live_id(known.key) == known.id else []
            own = item.about.file if item.about is not None else {}
        refused = []
        for document, key in pairs:
            before = transaction.layers(document)
            layers = replace(before, own={**before.own, **own}, outside=described.outside)
            said = self.fields.judge(transaction, key, layers.metadata)
            if said and self.fields.strict:
                refused.append(_without_old(transaction, refused_for(said, key, known.stamp.origin)))
                continue
            counts.described += transaction.describe(document, layers)
            kept = [remark for remark in transaction.remarks(key) if not remark.startswith(REMARK)]
            transaction.remark(key, kept + remarks_of(said))
        return refused

    def _store_whole(
        self, transaction: Transaction, pieces: list[Piece], rows: dict[bytes, CachedVector]
    ) -> Iterator[LedgerRow]:
        """Write pieces that are documents from beginning to end, and return their ledger rows."""
        documents, remarks = [], []
        for piece in pieces:
            new = self._new_document(piece)
            said = self.fields.judge(transaction, piece.item.key, new.outside.over(new.metadata))
            if said and self.fields.strict:
                yield _without_old(transaction, refused_for(said, piece.item.key, piece.item.origin))
                continue
            documents.append(WholeDocument(new, piece.characters, piece.texts, _new_chunks(piece, rows), piece.places))
            remarks.append((piece, remarks_of(said)))
        transaction.put(documents, self.run.id)
        for piece, said_of_it in remarks:
            opened = _Open(0)
            opened.note(piece, rows, {})
            yield opened.ledger_row(piece, said_of_it)

    def _new_document(self, piece: Piece) -> NewDocument:
        document, about = piece.document, piece.item.about
        return NewDocument(
            key=piece.item.key, stamp=piece.stamp, recipe=self.options.recipe(document.reader),
            precision=self.own.embedder.precision, title=document.title, media_type=document.media_type,
            metadata={**(about.file if about is not None else {}), **document.metadata}, outside=piece.outside,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Embedding:
    """A window on its way to be stored: its inputs by digest, and their vectors in every space once `done` is."""

    window: Window
    texts: dict[bytes, str]
    made: tuple[Computed, ...]
    done: Future[None]


@dataclass(slots=True)
class _Open:
    """A staged document whose end has not come yet."""

    id: int
    chunks: int = 0
    tokens: int = 0
    truncated: list[tuple[int, int, int]] = field(default_factory=list)
    refused: str = ""

    def note(self, piece: Piece, rows: dict[bytes, CachedVector], refused: dict[bytes, str]) -> None:
        for chunk, key in zip(piece.chunks, piece.inputs, strict=True):
            if key in refused:
                self.refused = self.refused or f"chunk {chunk.position}: {refused[key]}"
                continue
            row = rows[key]
            self.chunks += 1
            self.tokens += row.kept
            if row.kept < row.tokens:
                self.truncated.append((chunk.position, row.tokens, row.kept))

    def failure(self, piece: Piece) -> LedgerRow | None:
        """A document is stored whole or not at all: the row of one with a chunk that the model refused.

        It counts the other chunks: their vectors are kept until the document comes again.
        """
        if not self.refused:
            return None
        return LedgerRow(piece.item.key, "failed", self.refused, chunks=self.chunks, origin=piece.item.origin)

    def ledger_row(self, piece: Piece, remarks: list[str]) -> LedgerRow:
        reason = ""
        if self.truncated:
            position, tokens, kept = self.truncated[0]
            more = f", and {len(self.truncated) - 1} more" if len(self.truncated) > 1 else ""
            reason = f"chunk {position} has {tokens} tokens, the model reads {kept}{more}"
        return LedgerRow(
            key=piece.item.key, status="truncated" if self.truncated else "embedded", reason=reason,
            chunks=self.chunks, tokens=self.tokens, truncated=tuple(self.truncated),
            remarks=(*piece.document.remarks, *remarks), origin=piece.item.origin,
        )  # fmt: skip


class _VectorGone(Exception):
    """Another process deleted a vector between the look-up and the write."""


def _add_vectors(transaction: Transaction, embedding: _Embedding) -> dict[bytes, CachedVector]:
    """Write what was made in every space; returns what was written in the collection's own."""
    written = [
        transaction.add_blobs(computed.target.space.id, computed.rows()) if computed else {}
        for computed in embedding.made
    ]
    return written[0]


def looked_up(store: SQLiteStore) -> Known:
    """Known documents one at a time: nobody wants all of them read to add one."""

    def look_up(key: str) -> KnownDocument | None:
        with store.snapshot() as snapshot:
            return snapshot.known_document(key)

    return look_up


def ahead(windows: Iterator[Window]) -> Iterator[Window]:
    """The same windows, each prepared by another thread while the one before it is worked on."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sememe-read") as pool:
        coming = pool.submit(next, windows, None)
        while (window := coming.result()) is not None:
            coming = pool.submit(next, windows, None)
            yield window


def _apart(pieces: Iterable[Piece], refused: Collection[bytes]) -> Iterator[tuple[int, Piece]]:
    """Each piece with a number: 0 if it has to be stored by itself, else that of a run of documents that are whole
    and have different keys."""
    number, keys = 1, set[str]()
    for piece in pieces:
        whole = piece.first and piece.last and piece.chunks and piece.failure is None
        if not whole or (refused and any(key in refused for key in piece.inputs)):
            yield 0, piece
            continue
        if piece.item.key in keys:
            number, keys = number + 1, set()
        keys.add(piece.item.key)
        yield number, piece


def _without_old(transaction: Transaction, row: LedgerRow) -> LedgerRow:
    """Take out what a source held before it lost its text; after a mere failure to read it, that stays."""
    old = transaction.live_id(row.key)
    several = old is None and transaction.is_container(row.key)
    if old is None and not several:
        return row
    if row.status == "failed":
        return replace(row, reason=f"{row.reason}; the version stored before is kept")
    if old is not None:
        transaction.remove(old)
    if several:
        transaction.remove_container(row.key)
    return row


def _new_chunks(piece: Piece, rows: dict[bytes, CachedVector]) -> list[NewChunk]:
    return [
        NewChunk(position=c.position, start=c.start, end=c.end, headings=c.headings, vector=rows[key].id)
        for c, key in zip(piece.chunks, piece.inputs, strict=True)
        if key in rows
    ]


def _count(counts: Summary, row: LedgerRow, times: int = 1) -> None:
    if row.status in ("embedded", "truncated"):
        counts.documents += times
        counts.chunks += times * row.chunks
        counts.tokens += times * row.tokens
    counts.truncated += times * (row.status == "truncated")
    counts.skipped += times * (row.status == "skipped")
    counts.failed += times * (row.status == "failed")
    if row.status != "embedded" and times > 0:
        counts.troubles.append(row)


def _add_counts(summary: Summary, counts: Summary) -> None:
    names = (
        "documents", "unchanged", "repeated", "described", "deleted", "chunks", "tokens", "truncated", "skipped",
        "failed", "troubles",
    )  # fmt: skip
    for name in names:
        setattr(summary, name, getattr(summary, name) + getattr(counts, name))
