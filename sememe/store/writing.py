"""What may happen inside one write transaction.

Nothing here opens or commits: `SQLiteStore.transaction` does. Every method leaves the tables consistent, so that a
transaction may hold any number of them. This file knows the tables and no model, index or file.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import apsw
import numpy as np

from sememe.store.golden import Judging
from sememe.store.records import (
    NOTHING,
    BackupRow,
    Layers,
    NewChunk,
    NewDocument,
    Outside,
    SourceStamp,
    StoredContainer,
    WholeDocument,
    key_digest,
)
from sememe.store.vectors import VectorWrites
from sememe.types import PART, IndexRecord, LedgerRow, Recipe

STARTS_WITH = "key >= ? AND key < CAST(? AS TEXT)"
"""A range that the index on the key answers; see `prefix` for its bounds."""

DIRECT = f"{STARTS_WITH} AND instr(substr(key, ?), '{PART}') = 0"
"""The keys of what a file holds, but not of what lies in a file in it; see `directly_in`."""

DOCUMENT_COLUMNS = (
    "key, run, origin, digest, size, mtime_ns, title, media_type, metadata, recipe, precision, added, outside"
)  # fmt: skip
DOCUMENT_MARKS = "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
INSERT_TEXT = "INSERT INTO texts (document, start, text, crc) VALUES (?, ?, ?, ?)"
INSERT_PLACE = "INSERT INTO places (document, start, place) VALUES (?, ?, ?)"
INSERT_CHUNK = "INSERT INTO chunks (document, position, start, end, headings, vector) VALUES (?, ?, ?, ?, ?, ?)"


class Transaction(VectorWrites, Judging):
    """The writes of one transaction, on a connection that holds the write lock."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        # Of the fields that were asked for: nobody else writes meanwhile, and documents have the same ones.
        self._types: dict[str, str | None] = {}

    def start_run(self, command: str) -> int:
        """A new run, to which staged documents and ledger rows belong."""
        self._connection.execute("INSERT INTO runs (command, started) VALUES (?, ?)", (command, time.time()))
        return self._connection.last_insert_rowid()

    def finish_run(self, run: int, summary: dict[str, object]) -> None:
        """Mark a run as ended and keep its summary."""
        self._connection.execute(
            "UPDATE runs SET finished = ?, summary = ? WHERE id = ?", (time.time(), json.dumps(summary), run)
        )

    def abandon_run(self, run: int) -> None:
        """Clear what a killed run left: its staged documents. Its vectors stay until `drop_orphans`.

        A run that has ended keeps its summary.
        """
        self._connection.execute("DELETE FROM documents WHERE live = 0 AND run = ?", (run,))
        self._connection.execute(
            "UPDATE runs SET finished = ?, summary = ? WHERE id = ? AND finished IS NULL",
            (time.time(), json.dumps({"interrupted": True}), run),
        )
        self._note_orphans()

    def put(self, documents: Sequence[WholeDocument], run: int) -> None:
        """Write whole documents as the live ones of their keys, which are all different.

        The same as to stage and publish each, in a few statements for all of them. A key that was a file of many
        documents loses those.
        """
        keys = json.dumps([document.about.key for document in documents])
        boxes = "SELECT key FROM containers WHERE key IN (SELECT value FROM json_each(?))"
        for (box,) in self._connection.execute(boxes, (keys,)).fetchall():
            self.remove_container(str(box))
        live = "SELECT id FROM documents WHERE live = 1 AND key IN (SELECT value FROM json_each(?))"
        replaced: list[tuple[int]] = self._connection.execute(live, (keys,)).fetchall()  # type: ignore[assignment]
        for (old,) in replaced:
            self.remove(old)
        last: int = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").get or 0
        numbered = list(enumerate(documents, start=last + 1))
        self._connection.executemany(
            f"INSERT INTO documents ({DOCUMENT_COLUMNS}, id, live, characters) VALUES ({DOCUMENT_MARKS}, ?, 1, ?)",
            [(*_document_row(whole.about, run), number, whole.characters) for number, whole in numbered],
        )
        self._connection.executemany(
            INSERT_TEXT, [_text_row(number, start, text) for number, whole in numbered for start, text in whole.texts]
        )
        self._connection.executemany(
            INSERT_CHUNK, [_chunk_row(number, chunk) for number, whole in numbered for chunk in whole.chunks]
        )
        self._connection.executemany(
            INSERT_PLACE, [(number, *place) for number, whole in numbered for place in whole.places]
        )
        self._connection.execute(
            "INSERT INTO changes (chunk, added)"
            " SELECT id, 1 FROM chunks WHERE document > ? ORDER BY document, position",
            (last,),
        )

    def stage(self, document: NewDocument, run: int) -> int:
        """Write a document that nobody sees yet; returns its id."""
        self._connection.execute(
            f"INSERT INTO documents ({DOCUMENT_COLUMNS}, live) VALUES ({DOCUMENT_MARKS}, 0)",
            _document_row(document, run),
        )
        return self._connection.last_insert_rowid()

    def add_texts(self, document: int, parts: Iterable[tuple[int, str]]) -> None:
        """Append pieces of a document's text, each with the character it starts at."""
        self._connection.executemany(INSERT_TEXT, [_text_row(document, start, text) for start, text in parts])

    def add_places(self, document: int, places: Iterable[tuple[int, str]]) -> None:
        """Say where in the source the text was, each place with the character it starts at."""
        self._connection.executemany(INSERT_PLACE, [(document, start, place) for start, place in places])

    def add_chunks(self, document: int, chunks: Iterable[NewChunk]) -> None:
        """Append chunks of a staged document."""
        self._connection.executemany(INSERT_CHUNK, [_chunk_row(document, chunk) for chunk in chunks])

    def publish(
        self, document: int, *, characters: int, title: str | None = None, added: float | None = None
    ) -> None:  # fmt: skip
        """Make a staged document the live one of its key; the one before it goes in the same breath.

        `added` is when it came, in seconds since 1970; now, unless said.
        """
        key: str = self._connection.execute("SELECT key FROM documents WHERE id = ?", (document,)).get
        old = self.live_id(key)
        if old is not None:
            self.remove(old)
        self._connection.execute(
            "UPDATE documents SET live = 1, characters = ?, title = coalesce(?, title), added = ? WHERE id = ?",
            (characters, title, time.time() if added is None else added, document),
        )
        self._connection.execute(
            "INSERT INTO changes (chunk, added) SELECT id, 1 FROM chunks WHERE document = ? ORDER BY position",
            (document,),
        )

    def discard(self, document: int) -> None:
        """Drop a staged document; the live one of its key, if any, stays as it was."""
        self._connection.execute("DELETE FROM documents WHERE id = ? AND live = 0", (document,))
        self._note_orphans()

    def live_id(self, key: str) -> int | None:
        """The id of the live document of a key."""
        found: int | None = self._connection.execute("SELECT id FROM documents WHERE key = ? AND live = 1", (key,)).get
        return found

    def remove(self, document: int) -> None:
        """Take a live document out: its chunks and its text; vectors that nothing uses then go with the commit."""
        execute = self._connection.execute
        execute(
            "INSERT INTO changes (chunk, added) SELECT id, 0 FROM chunks WHERE document = ? ORDER BY position",
            (document,),
        )
        self._loosened.update(row[0] for row in execute("SELECT vector FROM chunks WHERE document = ?", (document,)))
        (key,) = execute("DELETE FROM documents WHERE id = ? RETURNING key", (document,)).fetchall()[0]
        self._remember_removal(str(key))

    def _remember_removal(self, key: str) -> None:
        if PART in key:
            return  # forgetting the file around it would have to know it
        self._connection.execute("INSERT OR REPLACE INTO removed VALUES (?, ?)", (key_digest(key), time.time()))

    def drop_removals(self, digests: Iterable[bytes]) -> None:
        """Remember no more that there were documents of keys of these digests."""
        self._connection.executemany("DELETE FROM removed WHERE key = ?", [(digest,) for digest in digests])

    def restamp(self, document: int, *, size: int | None, mtime_ns: int | None) -> None:
        """Note that a file was touched without being changed."""
        self._connection.execute(
            "UPDATE documents SET size = ?, mtime_ns = ?, added = ? WHERE id = ?",
            (size, mtime_ns, time.time(), document),
        )

    def layers(self, document: int) -> Layers:
        """The metadata and title of a document, its own apart from what is said from outside."""
        text, title, outside = self._about(document)
        return Layers.from_json(outside, metadata=json.loads(text), title=title)

    def _about(self, document: int) -> tuple[str, str, str]:
        ((metadata, title, outside),) = self._connection.execute(
            "SELECT metadata, title, outside FROM documents WHERE id = ?", (document,)
        ).fetchall()
        return str(metadata), str(title), str(outside)

    def describe(self, document: int, layers: Layers) -> bool:
        """Give a live document other metadata; returns whether it is another one than before.

        If so its chunks get new ids, so that every index takes them in anew; their vectors stay.
        """
        text, title, _ = self._about(document)
        metadata, new_title = layers.metadata, layers.outside.title_over(layers.title)
        self._connection.execute(
            "UPDATE documents SET metadata = ?, title = ?, outside = ?, added = ? WHERE id = ?",
            (json.dumps(metadata), new_title, layers.to_json(), time.time(), document),
        )
        changed = (metadata, new_title) != (json.loads(text), title)
        if changed:
            self._renew_chunks(document)
        return changed

    def _renew_chunks(self, document: int) -> None:
        """The same chunks under new ids. Negative positions, which no chunk has, keep the old and new apart."""
        execute = self._connection.execute
        noted = "INSERT INTO changes (chunk, added) SELECT id, ? FROM chunks WHERE document = ? ORDER BY position"
        execute(noted, (0, document))
        execute(
            "INSERT INTO chunks (document, position, start, end, headings, vector)"
            " SELECT document, -1 - position, start, end, headings, vector FROM chunks WHERE document = ?"
            " ORDER BY position",
            (document,),
        )
        execute("DELETE FROM chunks WHERE document = ? AND position >= 0", (document,))
        execute("UPDATE chunks SET position = -1 - position WHERE document = ?", (document,))
        execute(noted, (1, document))

    def field_types(self, paths: Iterable[str]) -> dict[str, str]:
        """The types of those fields that have one, by path."""
        wanted = list(paths)
        new = [path for path in wanted if path not in self._types]
        if new:
            self._types.update(dict.fromkeys(new))
            rows: Iterable[tuple[str, str]] = self._connection.execute(
                "SELECT path, type FROM fields WHERE path IN (SELECT value FROM json_each(?))", (json.dumps(new),)
            )
            self._types.update(rows)
        return {path: kind for path in wanted if (kind := self._types[path]) is not None}

    def metadata(self, *, but: str) -> Iterator[dict[str, Any]]:
        """The metadata of all live documents, but that of one key."""
        return metadata(self._connection, but=but)

    def set_fields(self, types: Mapping[str, str]) -> None:
        """Give fields their types by path."""
        if types:
            self._connection.executemany("INSERT OR REPLACE INTO fields (path, type) VALUES (?, ?)", types.items())
            self._types.update(types)

    def drop_fields(self, paths: Iterable[str]) -> None:
        """Forget the types of fields."""
        self._connection.executemany("DELETE FROM fields WHERE path = ?", [(path,) for path in paths])

    def remarks(self, key: str) -> list[str]:
        """What the ledger remarks of an input."""
        found = self._connection.execute("SELECT remarks FROM ledger WHERE key = ?", (key,)).get
        return list(json.loads(found or "[]"))

    def remark(self, key: str, remarks: Sequence[str]) -> None:
        """Replace the remarks of an input that is in the ledger."""
        self._connection.execute("UPDATE ledger SET remarks = ? WHERE key = ?", (json.dumps(list(remarks)), key))

    def record(self, rows: Iterable[LedgerRow], run: int) -> None:
        """Write how inputs ended; the last word on a key stands."""
        now = time.time()
        self._connection.executemany(
            "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    row.key, row.status, row.reason, int(row.retryable), row.chunks, row.tokens,
                    json.dumps(row.truncated), json.dumps(row.remarks), row.origin, run, now,
                )
                for row in rows
            ],
        )  # fmt: skip

    def noted(self, keys: Sequence[str], run: int) -> list[LedgerRow]:
        """How those of the keys ended that this run has recorded already: status, chunks and tokens."""
        rows: list[tuple[Any, ...]] = self._connection.execute(
            "SELECT key, status, chunks, tokens FROM ledger WHERE run = ? AND key IN (SELECT value FROM json_each(?))",
            (run, json.dumps(list(keys))),
        ).fetchall() if keys else []  # fmt: skip
        return [LedgerRow(key, status, chunks=chunks, tokens=tokens) for key, status, chunks, tokens in rows]

    def strike(self, keys: Sequence[str]) -> int:
        """Take inputs that are gone for good out of the ledger; returns how many were in it."""
        self._connection.execute(
            "DELETE FROM ledger WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(list(keys)),)
        )
        return self._connection.changes()

    def begin_container(self, key: str, recipe: Recipe, run: int) -> None:
        """Note that a file of many documents is being read; what is remembered of it no longer counts."""
        self._connection.execute(
            "INSERT INTO containers (key, digest, recipe, documents, settled, run, added)"
            " VALUES (?, x'', ?, 0, 0, ?, 0)"
            " ON CONFLICT (key) DO UPDATE SET settled = 0, run = excluded.run",
            (key, _recipe_json(recipe), run),
        )

    def set_container(
        self, key: str, stamp: SourceStamp, recipe: Recipe, *, run: int, outside: Outside = NOTHING
    ) -> int:
        """Remember a file of many documents that was read to its end; returns how many of them are stored.

        It is not settled where a part that was skipped or failed may be readable the next time.
        """
        within, execute = prefix(key + PART), self._connection.execute
        documents: int = execute(f"SELECT count(*) FROM documents WHERE live = 1 AND {STARTS_WITH}", within).get
        waiting = execute(f"SELECT 1 FROM ledger WHERE {STARTS_WITH} AND retryable = 1 LIMIT 1", within).get
        execute(
            "INSERT OR REPLACE INTO containers (key, digest, size, mtime_ns, recipe, documents, settled, run, added,"
            " outside) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key, stamp.digest, stamp.size, stamp.mtime_ns, _recipe_json(recipe), documents, int(waiting is None),
                run, time.time(), Layers({}, "", outside).to_json(),
            ),
        )  # fmt: skip
        return documents

    def put_container(self, container: StoredContainer, run: int) -> None:
        """Write what was remembered elsewhere of a file of many documents. A document of its key goes."""
        old = self.live_id(container.key)
        if old is not None:
            self.remove(old)
        self._connection.execute(
            "INSERT OR REPLACE INTO containers (key, digest, size, mtime_ns, recipe, documents, settled, run, added,"
            " outside) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                container.key, container.digest, container.size, container.mtime_ns, _recipe_json(container.recipe),
                container.documents, int(container.settled), run, container.added,
                Layers({}, "", container.outside).to_json(),
            ),
        )  # fmt: skip

    def settle(self, key: str) -> None:
        """Let a file of many documents count as read to its end, if as many of them are stored as it says."""
        self._connection.execute(
            "UPDATE containers SET settled = 1 WHERE key = ? AND documents = (SELECT count(*) FROM documents"
            f" WHERE live = 1 AND {STARTS_WITH})", (key, *prefix(key + PART)),
        )  # fmt: skip

    def see_container(self, key: str, run: int, *, stamp: SourceStamp | None = None) -> None:
        """Note that a file of many documents has not changed, and with `stamp` that it was touched."""
        self._connection.execute("UPDATE containers SET run = ? WHERE key = ?", (run, key))
        if stamp is not None:
            self._connection.execute(
                "UPDATE containers SET size = ?, mtime_ns = ?, added = ? WHERE key = ?",
                (stamp.size, stamp.mtime_ns, time.time(), key),
            )

    def describe_container(self, key: str, outside: Outside) -> None:
        """Note what is said from outside of a file of many documents."""
        self._connection.execute(
            "UPDATE containers SET outside = ?, added = ? WHERE key = ?",
            (Layers({}, "", outside).to_json(), time.time(), key),
        )

    def parts_of(self, key: str) -> list[tuple[int, str]]:
        """Id and key of every document in a file of many, and in the files in it."""
        rows = self._connection.execute(
            f"SELECT id, key FROM documents WHERE live = 1 AND origin = 'part' AND {STARTS_WITH} ORDER BY id",
            prefix(key + PART),
        ).fetchall()
        return [(int(str(number)), str(name)) for number, name in rows]

    def unsettle(self, keys: Iterable[str]) -> None:
        """Have files of many documents read again the next time."""
        self._connection.executemany("UPDATE containers SET settled = 0 WHERE key = ?", [(key,) for key in keys])

    def is_container(self, key: str) -> bool:
        """Whether there is, or was begun, a file of many documents of this key."""
        return self._connection.execute("SELECT 1 FROM containers WHERE key = ?", (key,)).get is not None

    def remove_container(self, key: str, *, most: int = -1) -> int:
        """Take out up to `most` of a file's documents, and with the last one all that is known of the file but its
        own ledger row. Returns how many went: fewer than `most` when it is done.
        """
        within, execute = prefix(key + PART), self._connection.execute
        self.unsettle([key])
        found = execute(
            f"SELECT id FROM documents WHERE live = 1 AND origin = 'part' AND {STARTS_WITH} LIMIT ?", (*within, most)
        ).fetchall()
        ids: list[int] = [row[0] for row in found]  # type: ignore[misc]
        self.remove_parts(ids)
        if most < 0 or len(ids) < most:
            execute(f"DELETE FROM ledger WHERE origin = 'part' AND {STARTS_WITH}", within)
            execute(f"DELETE FROM containers WHERE {STARTS_WITH}", within)
            execute("DELETE FROM containers WHERE key = ?", (key,))
            self._remember_removal(key)
        return len(ids)

    def remove_parts(self, documents: Sequence[int]) -> None:
        """Take out documents with their ledger rows."""
        keys = self._connection.execute(
            "SELECT key FROM documents WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(documents)),)
        ).fetchall()
        for document in documents:
            self.remove(document)
        self.strike([str(row[0]) for row in keys])

    def strike_left(self, key: str, run: int) -> None:
        """Take what an earlier run than `run` said of parts that are gone, and gave no document, out of the ledger."""
        self._connection.execute(
            f"DELETE FROM ledger WHERE {DIRECT} AND origin = 'part' AND run != ?"
            " AND NOT EXISTS (SELECT 1 FROM documents WHERE live = 1 AND documents.key = ledger.key)"
            " AND NOT EXISTS (SELECT 1 FROM containers WHERE containers.key = ledger.key)",
            (*directly_in(key), run),
        )

    def set_index(self, name: str, record: IndexRecord) -> None:
        """Switch a derived index to other files, or to more rows of the same; prune what every index has seen."""
        self._connection.execute(
            "INSERT OR REPLACE INTO indexes (name, generation, seq, rows, dead, checksum, base, details)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                name, record.generation, record.seq, record.rows, np.packbits(record.dead).tobytes(), record.checksum,
                record.base, record.details,
            ),
        )  # fmt: skip
        self._connection.execute("DELETE FROM changes WHERE seq <= (SELECT min(seq) FROM indexes WHERE base IS NULL)")

    def drop_index(self, name: str) -> None:
        """Forget a derived index; it is built again from every live chunk."""
        self._connection.execute("DELETE FROM indexes WHERE name = ?", (name,))

    def drop_indexes(self) -> None:
        """Forget every derived index; all are built again, and until then searches read the truth."""
        self._connection.execute("DELETE FROM indexes")

    def remove_chunk(self, chunk: int) -> None:
        """Take a chunk of a live document out; its text is another matter, see `blank`."""
        execute = self._connection.execute
        self._loosened.update(row[0] for row in execute("SELECT vector FROM chunks WHERE id = ?", (chunk,)))
        execute("INSERT INTO changes (chunk, added) VALUES (?, 0)", (chunk,))
        execute("DELETE FROM chunks WHERE id = ?", (chunk,))

    def insert_chunk(self, document: int, chunk: NewChunk) -> None:
        """Give a live document a chunk at a position that is free."""
        self.add_chunks(document, [chunk])
        self._connection.execute(
            "INSERT INTO changes (chunk, added) VALUES (?, 1)", (self._connection.last_insert_rowid(),)
        )

    def blank(self, document: int, start: int, end: int) -> None:
        """Put spaces in place of the characters `[start, end)`, so that every other span keeps its place."""
        rows: list[tuple[int, int, str]] = self._connection.execute(
            "SELECT id, start, text FROM texts WHERE document = ?1 AND start < ?3 AND start >="
            " (SELECT coalesce(max(start), 0) FROM texts WHERE document = ?1 AND start <= ?2)", (document, start, end),
        ).fetchall()  # type: ignore[assignment]  # fmt: skip
        for row, first, text in rows:
            a, b = max(start - first, 0), min(end - first, len(text))
            if a < b:
                blanked = f"{text[:a]}{' ' * (b - a)}{text[b:]}"
                self._connection.execute(
                    "UPDATE texts SET text = ?, crc = ? WHERE id = ?", (blanked, zlib.crc32(blanked.encode()), row)
                )

    def begin_forget(self, *, salt: bytes, marks: bytes, targets: str, receipt: str) -> int:
        """Note that a forget is under way; returns its number. The values hold digests only."""
        self._connection.execute(
            "INSERT INTO forgets (started, salt, marks, targets, receipt) VALUES (?, ?, ?, ?, ?)",
            (time.time(), salt, marks, targets, receipt),
        )
        return self._connection.last_insert_rowid()

    def finish_forget(self, number: int, receipt: str) -> None:
        """Note that nothing is left of what was forgotten; what it was searched by goes."""
        self._connection.execute(
            "UPDATE forgets SET finished = ?, salt = x'', marks = x'', targets = '[]', receipt = ? WHERE id = ?",
            (time.time(), receipt, number),
        )

    def name_backup(self, backup: BackupRow) -> None:
        """Note a backup, or its new digest."""
        self._connection.execute(
            "INSERT OR REPLACE INTO backups (path, seq, at, digest) VALUES (?, ?, ?, ?)",
            (backup.path, backup.seq, backup.at, backup.digest),
        )

    def drop_backup(self, path: str) -> None:
        """Know a backup no more."""
        self._connection.execute("DELETE FROM backups WHERE path = ?", (path,))


def _document_row(document: NewDocument, run: int) -> tuple[str | int | float | bytes | None, ...]:
    """The values of DOCUMENT_COLUMNS."""
    stamp, outside = document.stamp, document.outside
    return (
        document.key, run, stamp.origin, stamp.digest, stamp.size, stamp.mtime_ns, outside.title_over(document.title),
        document.media_type, json.dumps(outside.over(document.metadata)), _recipe_json(document.recipe),
        document.precision, time.time(), Layers(document.metadata, document.title, outside).to_json(),
    )  # fmt: skip


def _text_row(document: int, start: int, text: str) -> tuple[int, int, str, int]:
    return document, start, text, zlib.crc32(text.encode())


def _chunk_row(document: int, chunk: NewChunk) -> tuple[int, int, int, int, str, int]:
    headings = json.dumps(chunk.headings) if chunk.headings else "[]"
    return document, chunk.position, chunk.start, chunk.end, headings, chunk.vector


def prefix(under: str) -> tuple[str, bytes]:
    """The bounds of all keys that start with `under`: SQLite compares bytes, and 0xFF is in no UTF-8."""
    return under, under.encode() + b"\xff"


def directly_in(key: str) -> tuple[str, bytes, int]:
    """The bindings of `DIRECT`."""
    return *prefix(key + PART), len(key + PART) + 1


@lru_cache(maxsize=64)
def _recipe_json(recipe: Recipe) -> str:
    """There are few recipes and many documents."""
    return json.dumps(asdict(recipe))


def metadata(connection: apsw.Connection, *, but: str = "") -> Iterator[dict[str, Any]]:
    """The metadata of all live documents, but that of one key: page by page, so that no cursor is left half read."""
    last = 0
    while rows := connection.execute(
        "SELECT id, key, metadata FROM documents WHERE live = 1 AND id > ? ORDER BY id LIMIT 1000", (last,)
    ).fetchall():
        last = int(str(rows[-1][0]))
        yield from (json.loads(str(text)) for _, key, text in rows if key != but)
