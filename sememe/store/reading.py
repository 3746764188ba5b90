"""What may be asked of the truth at one moment.

A `Snapshot` sees one state of the database from its first question to its end, whatever others write meanwhile.
Texts and vectors carry checksums, compared whenever they are read.
"""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import apsw
import numpy as np

from sememe.errors import StoreDamaged
from sememe.space import Held, Space, id_of
from sememe.store.connection import WHAT_TO_DO
from sememe.store.records import (
    CachedVector,
    FoundChunk,
    KnownDocument,
    SourceStamp,
    StoredChunk,
    StoredDocument,
    Totals,
    outside_of,
)
from sememe.store.vectors import cached, without
from sememe.store.writing import DIRECT, STARTS_WITH, directly_in, metadata, prefix
from sememe.types import (
    PART,
    STATUSES,
    Changes,
    Ids,
    IndexRecord,
    LedgerRow,
    Origin,
    Passage,
    Recipe,
    Status,
    Vectors,
)

CHUNK_COLUMNS = "c.id, c.document, c.position, c.start, c.end, c.headings, v.tokens, v.kept"
DOCUMENT_COLUMNS = (
    "id, key, title, media_type, metadata, recipe, precision, origin, digest, size, mtime_ns, characters, added"
)

KNOWN_COLUMNS = "id, key, recipe, added, outside, origin, digest, size, mtime_ns"
CONTAINER_COLUMNS = (
    "key, digest, size, mtime_ns, recipe, documents,"
    " settled AND key NOT IN (SELECT key FROM ledger WHERE status = 'failed'), added, outside"
)
LACKING = (
    "vectors v JOIN chunks c ON c.vector = v.id JOIN documents d ON d.id = c.document"
    f" WHERE d.live = 1 AND {without('?1')}"
)
ABOUT_COLUMNS = "id, key, title, media_type, added, metadata"


class Snapshot:
    """The reads of one moment, on a connection that is inside a read transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows at once: a cursor that is left half read would pin the log."""
        return self._connection.execute(sql, bindings).fetchall()

    def space(self) -> tuple[Space, Vectors] | None:
        """The collection's space and its canary vectors (3, dim), None before the first write."""
        row = self._connection.execute(
            "SELECT body, canaries, id FROM spaces JOIN meta ON meta.name = 'space' AND meta.value = spaces.id"
        ).fetchone()
        if row is None:
            return None
        body, canaries, number = row
        space = self._space(body, number)
        return space, np.frombuffer(canaries, dtype="<f4").reshape(-1, space.dim)

    def _space(self, body: str, number: str) -> Space:
        if id_of(body) != number:
            raise StoreDamaged(f"the space of {self._file} is not what was written; {WHAT_TO_DO}")
        return Space.from_json(body)

    def further(self) -> list[Held]:
        """The spaces beside the collection's own, by name."""
        return [
            Held(self._space(body, number), name, kind, model, filled, bool(complete))
            for body, number, name, kind, model, filled, complete in self._rows(
                "SELECT s.body, s.id, n.name, n.kind, n.model, n.filled, n.complete FROM names n"
                " JOIN spaces s ON s.id = n.space ORDER BY n.name"
            )
        ]

    def spaces(self) -> list[Held]:
        """Every space of the collection, its own first; empty before the first write."""
        own = self.space()
        return [] if own is None else [Held(own[0]), *self.further()]

    def held(self, name: str) -> Held | None:
        """The further space of a name, or with "" the collection's own."""
        return next((held for held in self.spaces() if held.name == name), None)

    def canaries(self, held: Held) -> Vectors:
        """The canary vectors of a space: (3, dim)."""
        blob = self._connection.execute("SELECT canaries FROM spaces WHERE id = ?", (held.space.id,)).get
        return np.frombuffer(blob, dtype="<f4").reshape(-1, held.space.dim)

    def lacking(self, space: str, after: int, most: int) -> list[tuple[int, bytes, int]]:
        """Inputs of live chunks that have no vector in a space, by its id, behind number `after`, `most` at most: their
        number, digest, and one of their chunks."""
        return self._rows(
            f"SELECT v.id, v.input, min(c.id) FROM {LACKING} AND v.id > ?2 GROUP BY v.id ORDER BY v.id LIMIT ?3",
            (space, after, most),
        )

    def count_lacking(self, space: str) -> int:
        """How many inputs of live chunks have no vector in a space, by its id."""
        ((count,),) = self._rows(f"SELECT count(DISTINCT v.id) FROM {LACKING}", (space,))
        return int(count)

    def count_vectors(self, held: Held) -> tuple[int, int]:
        """How many vectors there are in a space, and of how many inputs the model did not read all."""
        ((count, cut),) = self._rows(
            "SELECT count(*), coalesce(sum(kept < tokens), 0) FROM vectors WHERE space = ?", (held.space.id,)
        )
        return int(count), int(cut)

    def seq(self, table: str = "changes") -> int:
        """The number of the last change ever made, or of the last row that a table ever had."""
        found = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).get
        return int(found or 0)

    def index_stamps(self) -> dict[str, tuple[str, int]]:
        """The generation of every derived index and what it has seen: cheap enough to ask before every search."""
        return {row[0]: (row[1], row[2]) for row in self._rows("SELECT name, generation, seq FROM indexes")}

    def index_record(self, name: str) -> IndexRecord | None:
        """Which files of a derived index are current, None when there are none."""
        row = self._connection.execute(
            "SELECT generation, seq, rows, dead, checksum, base, details FROM indexes WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return None
        generation, seq, rows, dead, checksum, base, details = row
        bits = np.unpackbits(np.frombuffer(dead, dtype=np.uint8), count=rows).view(bool)
        return IndexRecord(
            generation=generation, seq=seq, rows=rows, dead=bits, checksum=checksum, base=base, details=details
        )

    def changes(self, after: int, dim: int, *, space: str = "") -> Changes | None:
        """The net effect of everything written after `after`; vectors of what came are loaded and checked.

        None when a part of it is pruned, because every recorded index has seen it: start from the truth then.
        """
        net = self.net_changes(after)
        if net is None:
            return None
        added_ids, vectors = self.vectors(net[0], dim, space=space)
        return Changes(seq=self.seq(), added=added_ids, vectors=vectors, deleted=np.array(net[1], dtype=np.int64))

    def net_changes(self, after: int) -> tuple[list[int], list[int]] | None:
        """The chunks that came and those that went after `after`; None when a part of it is pruned."""
        rows = self._rows("SELECT chunk, added FROM changes WHERE seq > ? ORDER BY seq", (after,))
        if len(rows) < self.seq() - after:
            # Numbers are handed out without gaps: what is rolled back gives its numbers back.
            return None
        last: dict[int, int] = dict(rows)
        return [chunk for chunk, added in last.items() if added], [c for c, added in last.items() if not added]

    def live_chunks(self) -> list[int]:
        """The ids of all chunks that can be found, in the order they came."""
        return [row[0] for row in self._connection.execute(
            "SELECT c.id FROM chunks c JOIN documents d ON d.id = c.document WHERE d.live = 1 ORDER BY c.id"
        )]  # fmt: skip

    def live_documents(self) -> list[int]:
        """The ids of all documents that can be found."""
        return [row[0] for row in self._rows("SELECT id FROM documents WHERE live = 1 ORDER BY id")]

    def vectors(self, chunks: Sequence[int], dim: int, *, space: str = "") -> tuple[Ids, Vectors]:
        """Vectors of chunks, in their order, in the collection's own space or a further one, by its id.

        Chunks that are not there, or have none in it, are left out.
        """
        table = np.empty((len(chunks), dim), dtype=np.float32)
        ids = np.empty(len(chunks), dtype=np.int64)
        filled = 0
        for part in _parts(chunks, 1000):
            found = self._blobs(part, space)
            for chunk in part:
                if chunk in found:
                    ids[filled] = chunk
                    table[filled] = self._checked_vector(chunk, *found[chunk], dim)
                    filled += 1
        return ids[:filled], table[:filled]

    def _blobs(self, chunks: Sequence[int], space: str) -> dict[int, tuple[bytes, int]]:
        """The stored bytes of the vectors of chunks and their checksums."""
        own = "SELECT c.id, v.vector, v.crc FROM chunks c JOIN vectors v ON v.id = c.vector"
        further = (
            "SELECT c.id, f.vector, f.crc FROM chunks c JOIN vectors v ON v.id = c.vector"
            " JOIN vectors f ON f.input = v.input AND f.space = ?1"
        )
        rows = self._rows(
            f"{further if space else own} WHERE c.id IN (SELECT value FROM json_each(?2))", (space, json.dumps(chunks))
        )
        return {chunk: (blob, crc) for chunk, blob, crc in rows}

    def _checked_vector(self, chunk: int, blob: bytes, crc: int, dim: int) -> Vectors:
        self._checked_blob(chunk, blob, crc if len(blob) == 4 * dim else -1)
        return np.frombuffer(blob, dtype="<f4")

    def _checked_blob(self, chunk: int, blob: bytes, crc: int) -> None:
        if zlib.crc32(blob) != crc:
            key = self._connection.execute(
                "SELECT d.key FROM documents d JOIN chunks c ON c.document = d.id WHERE c.id = ?", (chunk,)
            ).get
            raise StoreDamaged(
                f"the vector of chunk c{chunk} of {key!r} in {self._file} is not what was written; keep a copy, "
                f"delete {key!r} and add it again, or restore a backup"
            )

    def cached(self, space: str, inputs: Sequence[bytes]) -> dict[bytes, CachedVector]:
        """Those of the inputs that have a vector in the space."""
        return cached(self._connection, space, inputs)

    def chunks(self, ids: Sequence[int]) -> dict[int, StoredChunk]:
        """Live chunks by id, with their text; what is not there is left out."""
        rows = self._rows(
            f"SELECT {CHUNK_COLUMNS} FROM chunks c JOIN vectors v ON v.id = c.vector JOIN documents d ON"
            " d.id = c.document WHERE d.live = 1 AND c.id IN (SELECT value FROM json_each(?))",
            (json.dumps([int(i) for i in ids]),),
        )
        texts = self._texts_of([row[0] for row in rows])
        places = self._places_of([row[0] for row in rows])
        return {
            row[0]: _chunk(row, self._cut(row[1], texts[row[0]], row[3], row[4]), places.get(row[0], ""))
            for row in rows
        }

    def _places_of(self, chunks: Sequence[int]) -> dict[int, str]:
        """Where in its source each chunk was, for those of which that is known."""
        found: dict[int, list[str]] = {}
        for chunk, place in self._rows(
            "SELECT c.id, p.place FROM chunks c JOIN places p ON p.document = c.document AND p.start < c.end"
            " AND p.start >= (SELECT coalesce(max(start), 0) FROM places WHERE document = c.document AND start <="
            " c.start) WHERE c.id IN (SELECT value FROM json_each(?)) AND p.place != '' ORDER BY c.id, p.start",
            (json.dumps(list(chunks)),),
        ):
            found.setdefault(chunk, []).append(place)
        return {chunk: span_of(places) for chunk, places in found.items()}

    def found(self, ids: Sequence[int]) -> dict[int, FoundChunk]:
        """What hits show of live chunks, by id; what is not there is left out. Every search asks this."""
        rows = self._rows(
            "SELECT c.id, c.position, c.start, c.end, c.headings, d.id, d.key, d.title, d.metadata FROM chunks c"
            " JOIN documents d ON d.id = c.document WHERE d.live = 1 AND c.id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )
        numbers = [row[0] for row in rows]
        texts, places = self._texts_of(numbers), self._places_of(numbers)
        return {
            chunk: FoundChunk(
                id=chunk, position=position, start=start, end=end,
                headings=tuple(json.loads(headings)) if headings != "[]" else (),
                text=self._cut(document, texts[chunk], start, end), key=key, title=title, metadata=json.loads(metadata),
                place=places.get(chunk, ""),
            )
            for chunk, position, start, end, headings, document, key, title, metadata in rows
        }  # fmt: skip

    def _texts_of(self, chunks: Sequence[int]) -> dict[int, list[tuple[int, bytes, int]]]:
        """The stored parts that each chunk lies in: (first character, UTF-8, checksum), in their order."""
        found: dict[int, list[tuple[int, bytes, int]]] = {chunk: [] for chunk in chunks}
        for chunk, *part in self._rows(
            "SELECT c.id, t.start, CAST(t.text AS BLOB), t.crc FROM chunks c JOIN texts t ON t.document = c.document"
            " AND t.start < c.end AND t.start >= (SELECT coalesce(max(start), 0) FROM texts WHERE document = c.document"
            " AND start <= c.start) WHERE c.id IN (SELECT value FROM json_each(?)) ORDER BY c.id, t.start",
            (json.dumps(list(chunks)),),
        ):
            found[chunk].append((part[0], part[1], part[2]))
        return found

    def passages(self, chunks: Sequence[int]) -> Iterator[Passage]:
        """The texts of live chunks, in their order as far as they come document by document."""
        for part in _parts(chunks, 1000):
            rows = self._rows(
                "SELECT c.id, c.document, c.start, c.end, c.headings FROM chunks c JOIN documents d ON"
                " d.id = c.document WHERE d.live = 1 AND c.id IN (SELECT value FROM json_each(?)) ORDER BY c.id",
                (json.dumps(part),),
            )
            documents = self.metadata_of(row[1] for row in rows)
            texts = self._texts_around([row[1:4] for row in rows])
            for chunk, document, start, end, headings in rows:
                about = documents[document]
                first, text = texts[document]
                yield Passage(
                    chunk=chunk, title=about["@title"], headings=tuple(json.loads(headings)),
                    text=text[start - first : end - first], metadata=about,
                )  # fmt: skip

    def _texts_around(self, spans: Iterable[tuple[int, int, int]]) -> dict[int, tuple[int, str]]:
        """For every document of the spans (document, start, end) where its first one starts, and the text from there
        to the end of its last."""
        around: dict[int, tuple[int, int]] = {}
        for document, start, end in spans:
            first, last = around.get(document, (start, end))
            around[document] = min(first, start), max(last, end)
        parts: dict[int, list[tuple[Any, ...]]] = {document: [] for document in around}
        for document, *part in self._rows(
            "SELECT t.document, t.start, CAST(t.text AS BLOB), t.crc FROM json_each(?) w JOIN texts t"
            " ON t.document = w.value->>0 AND t.start < w.value->>2 AND t.start >= (SELECT coalesce(max(start), 0)"
            " FROM texts WHERE document = w.value->>0 AND start <= w.value->>1) ORDER BY t.document, t.start",
            (json.dumps([(document, *span) for document, span in around.items()]),),
        ):
            parts[document].append(tuple(part))
        return {document: (span[0], self._cut(document, parts[document], *span)) for document, span in around.items()}

    def metadata_of(self, documents: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The metadata of live documents by id, with what is known of every document: "@key", "@title" and so on."""
        rows = self._rows(
            f"SELECT {ABOUT_COLUMNS} FROM documents WHERE live = 1 AND id IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(set(documents))),),
        )
        return {row[0]: _about(*row[1:]) for row in rows}

    def metadata_by_row(self, chunks: Ids) -> Iterator[tuple[dict[str, Any], Ids]]:
        """For each live document its metadata and the positions in `chunks (n,)` of those chunks that are its own."""
        owners = np.array(self._rows("SELECT id, document FROM chunks ORDER BY id"), dtype=np.int64).reshape(-1, 2)
        place = np.searchsorted(owners[:, 0], chunks)
        there = place < len(owners)
        there[there] = owners[place[there], 0] == chunks[there]
        positions = np.flatnonzero(there)
        documents = owners[place[there], 1]
        order = np.argsort(documents, kind="stable")
        documents, positions = documents[order], positions[order]
        found, starts = np.unique(documents, return_index=True)
        ends = np.append(starts[1:], len(documents))
        at = {int(document): i for i, document in enumerate(found)}
        for number, *about in self._connection.execute(f"SELECT {ABOUT_COLUMNS} FROM documents WHERE live = 1"):
            if number in at:
                yield _about(*about), positions[starts[at[number]] : ends[at[number]]]

    def documents_of(self, chunks: Sequence[int]) -> dict[int, int]:
        """The document of every chunk that is there."""
        return dict(self._rows(
            "SELECT id, document FROM chunks WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(chunks)),)
        ))  # fmt: skip

    def chunks_of(self, document: int, *, first: int = 0, last: int = 1 << 62) -> list[StoredChunk]:
        """The chunks of a document in reading order: those with the positions `first` to `last`."""
        rows = self._rows(
            f"SELECT {CHUNK_COLUMNS} FROM chunks c JOIN vectors v ON v.id = c.vector WHERE c.document = ?"
            " AND c.position BETWEEN ? AND ? ORDER BY c.position",
            (document, first, last),
        )
        start = min((row[3] for row in rows), default=0)
        text = self.text(document, start, max((row[4] for row in rows), default=start))
        places: dict[int, str] = {}
        for part in _parts([row[0] for row in rows], 1000):
            places |= self._places_of(part)
        return [_chunk(row, text[row[3] - start : row[4] - start], places.get(row[0], "")) for row in rows]

    def text(self, document: int, start: int = 0, end: int | None = None) -> str:
        """The characters `[start, end)` of a document's text."""
        if start == end:
            return ""
        rows = self._rows(
            "SELECT start, CAST(text AS BLOB), crc FROM texts WHERE document = ?1 AND start < ?3 AND start >="
            " (SELECT coalesce(max(start), 0) FROM texts WHERE document = ?1 AND start <= ?2) ORDER BY start",
            (document, start, end if end is not None else 1 << 62),
        )
        return self._cut(document, rows, start, end)

    def _cut(self, document: int, parts: Sequence[tuple[Any, ...]], start: int, end: int | None) -> str:
        """The characters `[start, end)` out of the stored parts that hold them."""
        if start == end:
            return ""
        origin = reached = parts[0][0] if parts else 0
        pieces: list[str] = []
        # Read as bytes: a damaged text may be no UTF-8, and it is the checksum that should tell.
        for offset, blob, crc in parts:
            if offset != reached or zlib.crc32(blob) != crc:
                raise self._damaged_text(document, reached)
            pieces.append(blob.decode())
            reached += len(pieces[-1])
        if reached < (start if end is None else end):
            raise self._damaged_text(document, reached)
        return "".join(pieces)[start - origin : None if end is None else end - origin]

    def _damaged_text(self, document: int, character: int) -> StoreDamaged:
        key = self._connection.execute("SELECT key FROM documents WHERE id = ?", (document,)).get
        return StoreDamaged(
            f"the text of {key!r} from character {character} in {self._file} is not what was written; keep a copy, "
            f"delete {key!r} and add it again, or restore a backup"
        )

    @property
    def _file(self) -> str:
        return str(self._connection.filename)

    def document(self, key: str) -> StoredDocument | None:
        """The live document of a key."""
        row = self._connection.execute(
            f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE live = 1 AND key = ?", (key,)
        ).fetchone()
        return None if row is None else self._document(row, self._chunk_counts([row[0]]).get(row[0], 0))

    def documents(self, ids: Iterable[int]) -> dict[int, StoredDocument]:
        """Live documents by id."""
        rows = self._rows(
            f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE live = 1 AND id IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(set(ids))),),
        )
        counts = self._chunk_counts([row[0] for row in rows])
        return {row[0]: self._document(row, counts.get(row[0], 0)) for row in rows}

    def _chunk_counts(self, documents: Sequence[int]) -> dict[int, int]:
        return dict(self._rows(
            "SELECT document, count(*) FROM chunks WHERE document IN (SELECT value FROM json_each(?))"
            " GROUP BY document", (json.dumps(list(documents)),)
        ))  # fmt: skip

    def _document(self, row: tuple[Any, ...], count: int) -> StoredDocument:
        number, key, title, media_type, metadata, recipe, precision, *stamp, characters, added = row
        return StoredDocument(
            id=number, key=key, title=title, media_type=media_type, metadata=json.loads(metadata),
            recipe=self._recipe(recipe), precision=precision, stamp=_stamp(*stamp),
            characters=characters, chunks=count, added=added,
        )  # fmt: skip

    def known(self, *, under: str = "") -> dict[str, KnownDocument]:
        """Every live document that came from a file, and every file of many, whose key starts with `under`.

        A document that could not be read the last time is left out: it has to be read again for the ledger to agree.
        """
        result = {}
        for row in self._connection.execute(
            f"SELECT {KNOWN_COLUMNS} FROM documents WHERE live = 1 AND origin = 'file' AND {STARTS_WITH}"
            " AND key NOT IN (SELECT key FROM ledger WHERE status = 'failed')", prefix(under)
        ):  # fmt: skip
            result[row[1]] = self._known(row)
        for row in self._rows(
            f"SELECT {CONTAINER_COLUMNS} FROM containers WHERE {STARTS_WITH} AND instr(key, '{PART}') = 0",
            prefix(under),
        ):
            result[row[0]] = self._container(row)
        return result

    def _known(self, row: tuple[Any, ...]) -> KnownDocument:
        number, key, recipe, added, outside, *stamp = row
        return KnownDocument(
            id=number, key=key, stamp=_stamp(*stamp), recipe=self._recipe(recipe), added=added,
            outside=outside_of(outside),
        )  # fmt: skip

    def _container(self, row: tuple[Any, ...]) -> KnownDocument:
        key, digest, size, mtime_ns, recipe, documents, settled, added, outside = row
        return KnownDocument(
            id=0, key=key, stamp=_stamp("file", digest, size, mtime_ns), recipe=self._recipe(recipe), added=added,
            documents=documents, settled=bool(settled), outside=outside_of(outside),
        )  # fmt: skip

    def _recipe(self, text: str) -> Recipe:
        try:
            return _recipe(text)
        except (TypeError, ValueError) as error:
            raise StoreDamaged(
                f"a recipe in {self._file} is not what was written ({text[:80]!r}); {WHAT_TO_DO}"
            ) from error

    def known_document(self, key: str) -> KnownDocument | None:
        """The live document of a key, or the file of many, for telling whether it changed.

        None for a document that could not be read last time.
        """
        row = self._connection.execute(
            f"SELECT {KNOWN_COLUMNS} FROM documents WHERE live = 1 AND key = ?1"
            " AND NOT EXISTS (SELECT 1 FROM ledger WHERE key = ?1 AND status = 'failed')", (key,)
        ).fetchone()  # fmt: skip
        if row is not None:
            return self._known(row)
        row = self._connection.execute(f"SELECT {CONTAINER_COLUMNS} FROM containers WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._container(row)

    def left_parts(self, key: str, run: int) -> tuple[array[int], list[str]]:
        """What a file held before and `run` has not come upon: documents by id, and files of many by key.

        Documents that have not changed are among them, but not those that lie in a file within the file.
        """
        within = directly_in(key)
        ids = array("q")
        for (number,) in self._connection.execute(
            f"SELECT id FROM documents WHERE live = 1 AND origin = 'part' AND {DIRECT}"
            " AND NOT EXISTS (SELECT 1 FROM ledger WHERE ledger.key = documents.key AND run = ?)", (*within, run)
        ):  # fmt: skip
            ids.append(number)
        boxes = self._rows(f"SELECT key FROM containers WHERE {DIRECT} AND run != ?", (*within, run))
        return ids, [row[0] for row in boxes]

    def fields(self) -> dict[str, str]:
        """The type of every metadata field by its path: that of the first value that came."""
        return dict(self._rows("SELECT path, type FROM fields ORDER BY path"))

    def metadata(self) -> Iterator[dict[str, Any]]:
        """The metadata of all live documents."""
        return metadata(self._connection)

    def in_ledger(self, key: str) -> bool:
        """Whether an input of that key was ever offered."""
        return self._connection.execute("SELECT 1 FROM ledger WHERE key = ?", (key,)).get is not None

    def unfinished_runs(self) -> list[int]:
        """Runs that neither ended nor were cleared."""
        return [row[0] for row in self._connection.execute("SELECT id FROM runs WHERE finished IS NULL")]

    def ledger(self, *, statuses: Sequence[Status] = STATUSES, under: str = "") -> Iterator[LedgerRow]:
        """How inputs ended, by key."""
        for row in self._rows(
            "SELECT key, status, reason, retryable, chunks, tokens, truncated, remarks, origin FROM ledger"
            f" WHERE {STARTS_WITH} AND status IN (SELECT value FROM json_each(?)) ORDER BY key",
            (*prefix(under), json.dumps(list(statuses))),
        ):
            key, status, reason, retryable, chunks, tokens, truncated, remarks, origin = row
            yield LedgerRow(
                key=key, status=status, reason=reason, retryable=bool(retryable), chunks=chunks, tokens=tokens,
                truncated=tuple(tuple(t) for t in json.loads(truncated)), remarks=tuple(json.loads(remarks)),
                origin=origin,
            )  # fmt: skip

    def truncated(self, keys: Sequence[str]) -> list[LedgerRow]:
        """The ledger rows of those of the keys whose input was truncated."""
        wanted = set(keys)
        if not wanted or not self._rows("SELECT 1 FROM ledger WHERE status = 'truncated' LIMIT 1"):
            return []
        return [row for row in self.ledger(statuses=("truncated",)) if row.key in wanted]

    def totals(self) -> Totals:
        """What the collection holds."""
        ((documents, characters),) = self._rows(
            "SELECT count(*), coalesce(sum(characters), 0) FROM documents WHERE live = 1"
        )
        ((chunks, tokens),) = self._rows(
            "SELECT count(*), coalesce(sum(v.kept), 0) FROM chunks c JOIN documents d ON d.id = c.document"
            " JOIN vectors v ON v.id = c.vector WHERE d.live = 1"
        )
        found = dict(self._rows(
            "SELECT status, count(*) FROM ledger WHERE status != 'embedded' OR key NOT IN (SELECT key FROM containers)"
            " GROUP BY status"
        ))  # fmt: skip
        runs = self._rows("SELECT command, started, finished, summary FROM runs ORDER BY id DESC LIMIT 1")
        last: dict[str, object] = {}
        for command, started, finished, summary in runs:
            last = {"command": command, "started": started, "finished": finished, **json.loads(summary)}
        return Totals(
            documents=documents, chunks=chunks, tokens=tokens, characters=characters,
            statuses={status: found.get(status, 0) for status in STATUSES}, last_run=last,
        )  # fmt: skip


def span_of(places: Sequence[str]) -> str:
    """One place, or the first and the last of several."""
    return places[0] if places[0] == places[-1] else f"{places[0]} – {places[-1]}"


def _chunk(row: tuple[Any, ...], text: str, place: str) -> StoredChunk:
    chunk, document, position, start, end, headings, tokens, kept = row
    return StoredChunk(
        id=chunk, document=document, position=position, start=start, end=end,
        headings=tuple(json.loads(headings)), text=text, tokens=tokens, kept=kept, place=place,
    )  # fmt: skip


def _about(key: str, title: str, media_type: str, added: float, metadata: str) -> dict[str, Any]:
    instant = datetime.fromtimestamp(added, UTC).isoformat()
    known = {"@key": key, "@title": title, "@media_type": media_type, "@added": instant}
    return known if metadata == "{}" else {**json.loads(metadata), **known}


@lru_cache(maxsize=64)
def _recipe(text: str) -> Recipe:
    """There are few recipes and many documents."""
    return Recipe(**json.loads(text))


def _stamp(origin: Origin, digest: bytes, size: int | None, mtime_ns: int | None) -> SourceStamp:
    return SourceStamp(origin=origin, digest=digest, size=size, mtime_ns=mtime_ns)


def _parts(items: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield [int(i) for i in items[start : start + size]]
