"""What may be asked of the truth besides: everything that is in it, to carry it elsewhere or to prove that it is gone.

Exports, imports, backups and forgetting ask this, and whoever reads spaces of words or tokens; no other search does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sememe.errors import StoreDamaged
from sememe.space import Held, codec_digest
from sememe.store.golden import Judgement
from sememe.store.reading import Snapshot
from sememe.store.records import BackupRow, Beside, ForgetRow, Layers, Moved, StoredContainer, key_digest, outside_of
from sememe.store.writing import STARTS_WITH, prefix
from sememe.types import CHUNK_PREFIX, PART, Embedded, Ids


class Inventory(Snapshot):
    """A moment of the truth that can be read to its last row."""

    def text_parts(self, document: int) -> Iterator[tuple[int, str]]:
        """The stored parts of a document's text, each with the character it starts at: one in memory at a time."""
        for (start,) in self._rows("SELECT start FROM texts WHERE document = ? ORDER BY start", (document,)):
            part = self._rows(
                "SELECT start, CAST(text AS BLOB), crc FROM texts WHERE document = ? AND start = ?", (document, start)
            )
            yield start, self._cut(document, part, start, None)

    def places(self, document: int) -> Iterator[tuple[int, str]]:
        """Where in its source a document's text was, each place with the character it starts at."""
        last = -1
        while rows := self._rows(
            "SELECT start, place FROM places WHERE document = ? AND start > ? ORDER BY start LIMIT 1000",
            (document, last),
        ):
            yield from rows
            last = rows[-1][0]

    def count_places(self, document: int) -> int:
        """How many places are known of a document."""
        ((count,),) = self._rows("SELECT count(*) FROM places WHERE document = ?", (document,))
        return int(count)

    def layers(self, document: int) -> Layers:
        """The metadata and title of a document, its own apart from what is said from outside."""
        ((metadata, title, outside),) = self._rows(
            "SELECT metadata, title, outside FROM documents WHERE id = ?", (document,)
        )
        return Layers.from_json(outside, metadata=json.loads(metadata), title=title)

    def containers(self) -> list[StoredContainer]:
        """The files of many documents, by key."""
        return [
            StoredContainer(
                key=key, digest=digest, size=size, mtime_ns=mtime_ns, recipe=self._recipe(recipe), documents=documents,
                settled=bool(settled), added=added, outside=outside_of(outside),
            )
            for key, digest, size, mtime_ns, recipe, documents, settled, added, outside in self._rows(
                "SELECT key, digest, size, mtime_ns, recipe, documents, settled, added, outside FROM containers"
                " ORDER BY key"
            )
        ]  # fmt: skip

    def parts_of(self, key: str) -> list[int]:
        """The id of every document in a file of many, and in the files in it."""
        rows = self._rows(
            f"SELECT id FROM documents WHERE live = 1 AND origin = 'part' AND {STARTS_WITH} ORDER BY id",
            prefix(key + PART),
        )
        return [row[0] for row in rows]

    def moved(self, document: int, dim: int) -> Iterator[Moved]:
        """The chunks of a document in reading order, with their vectors."""
        last = -1
        while True:
            rows = self._rows(
                "SELECT c.id, c.position, c.start, c.end, c.headings, v.input, v.tokens, v.kept, v.vector, v.crc"
                " FROM chunks c JOIN vectors v ON v.id = c.vector WHERE c.document = ? AND c.position > ?"
                " ORDER BY c.position LIMIT 500", (document, last),
            )  # fmt: skip
            if not rows:
                return
            for chunk, position, start, end, headings, key, tokens, kept, blob, crc in rows:
                self._checked_vector(chunk, blob, crc, dim)
                yield Moved(chunk, position, start, end, tuple(json.loads(headings)), key, tokens, kept, blob)
            last = rows[-1][1]

    def codec(self, held: Held) -> bytes:
        """What the vectors of tokens of a space are written by; empty for other spaces. Raises StoreDamaged."""
        body: bytes = self._connection.execute("SELECT body FROM codecs WHERE space = ?", (held.space.id,)).get or b""
        if (codec_digest(body) if body else "") != held.space.codec:
            raise StoreDamaged(
                f"the codec of space {held.name!r} in {self._file} is not what was written; restore a backup, or drop "
                f"the space and add it again: sememe space drop {held.name}"
            )
        return body

    def stored(self, chunks: Sequence[int], held: Held) -> tuple[Ids, list[bytes]]:
        """What chunks have in a further space, as it is stored, in their order; those that have nothing are left out.

        Raises StoreDamaged.
        """
        ids, blobs = list[int](), list[bytes]()
        for start in range(0, len(chunks), 1000):
            part = chunks[start : start + 1000]
            found = self._blobs(part, held.key)
            for chunk in part:
                if chunk in found:
                    self._checked_blob(chunk, *found[chunk])
                    ids.append(chunk)
                    blobs.append(found[chunk][0])
        return np.array(ids, np.int64), blobs

    def beside(self, document: int, held: Held) -> Iterator[Beside]:
        """The vectors of a document's chunks in a further space, in reading order."""
        last = -1
        while rows := self._rows(
            "SELECT c.id, c.position, f.input, f.tokens, f.kept, f.vector, f.crc FROM chunks c JOIN vectors v"
            " ON v.id = c.vector JOIN vectors f ON f.input = v.input AND f.space = ? WHERE c.document = ?"
            " AND c.position > ? ORDER BY c.position LIMIT 500", (held.key, document, last),
        ):  # fmt: skip
            for chunk, position, key, tokens, kept, blob, crc in rows:
                self._checked_blob(chunk, blob, crc)
                yield Beside(position, key, tokens, kept, blob)
            last = rows[-1][1]

    def vectors_of_inputs(self, space: str, inputs: Sequence[bytes], dim: int) -> dict[bytes, Embedded]:
        """What a model made of those of the inputs that have a vector in the space, each by itself."""
        found = {}
        for key in inputs:
            for tokens, kept, blob, crc in self._rows(
                "SELECT tokens, kept, vector, crc FROM vectors WHERE space = ? AND input = ?", (space, key)
            ):
                vector = self._checked_vector(0, blob, crc, dim).reshape(1, dim)
                found[key] = Embedded(vector, np.array([tokens]), np.array([kept]), np.zeros(1, np.int64))
        return found

    def backups(self) -> list[BackupRow]:
        """The backups that were taken, oldest first."""
        return [BackupRow(*row) for row in self._rows("SELECT path, seq, at, digest FROM backups ORDER BY at, path")]

    def forgets(self, *, under_way: bool = False) -> list[ForgetRow]:
        """What was forgotten, oldest first; only what is not yet done where `under_way`."""
        only = " WHERE finished IS NULL" if under_way else ""
        columns = "id, started, finished, salt, marks, targets, receipt"
        return [ForgetRow(*row) for row in self._rows(f"SELECT {columns} FROM forgets{only} ORDER BY id")]

    def judgements(self, name: str | None = None) -> list[Judgement]:
        """Those of a golden set, or of all, ordered by set and query."""
        only, bindings = ("", ()) if name is None else (" WHERE name = ?", (name,))
        columns = "name, query, key, start, end, grade, origin"
        sql = f"SELECT {columns} FROM golden{only} ORDER BY name, query, key, start"
        return [Judgement(*row) for row in self._rows(sql, bindings)]

    def removed(self, key: str) -> float | None:
        """When a document of that key was last taken out or renamed, in seconds since 1970; None when none is known to
        have been; documents of a file that holds several are not remembered."""
        found = self._rows("SELECT at FROM removed WHERE key = ?", (key_digest(key),))
        return float(found[0][0]) if found else None

    def absence(self, key: str, where: Path) -> str:
        """Why a key, or the id of a chunk, names nothing that is stored: the rest of a sentence that begins with it."""
        known = self.known_document(key)
        if known is not None and known.documents is not None:
            return (
                f"is a file of many documents in {where}; name one of its {known.documents:,}, which begin with "
                f"{key + PART!r}: sememe report --all lists them"
            )
        row = next((row for row in self.ledger(statuses=("skipped", "failed"), under=key) if row.key == key), None)
        if row is not None:
            return f"was never embedded ({row.status}: {row.reason}); mend that and add it again"
        removed = self.removed(key)
        if removed is not None:
            when = datetime.fromtimestamp(removed, UTC).isoformat(timespec="seconds")
            return f"is in {where} no more: it was deleted or renamed on {when}; add it again to find it"
        number = key.removeprefix(CHUNK_PREFIX)
        given_out = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'")
        if number != key and number.isdecimal() and given_out and int(number) <= given_out[0][0]:
            return f"is in {where} no more: it was deleted, or its document was replaced; search for it anew"
        return f"is neither a document nor a chunk of {where}, and none of that name is remembered; add it, or search"

    def usual_recall(self) -> float | None:
        """The share of true neighbours that searches ask for unless they say; None when nobody chose one."""
        found = self._rows("SELECT value FROM meta WHERE name = 'recall'")
        return float(found[0][0]) if found else None

    def contents(self) -> Iterator[bytes]:
        """Everything that people put into live documents and the ledger, and our own words: values, as UTF-8 or
        as they are stored. Staged rows, orphans and what is forgotten are not among them."""
        for sql in (
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL",
            "SELECT key || char(10) || title || char(10) || metadata || char(10) || media_type || recipe || outside"
            " FROM documents WHERE live = 1",
            "SELECT key || char(10) || recipe || outside FROM containers",
            "SELECT DISTINCT p.place FROM places p JOIN documents d ON d.id = p.document WHERE d.live = 1",
            "SELECT path || char(10) || type FROM fields",
            "SELECT CAST(t.text AS BLOB) FROM texts t JOIN documents d ON d.id = t.document WHERE d.live = 1",
            "SELECT DISTINCT c.headings FROM chunks c JOIN documents d ON d.id = c.document WHERE d.live = 1",
            "SELECT key || char(10) || reason || char(10) || remarks || truncated FROM ledger",
            "SELECT command || summary FROM runs",
            "SELECT path FROM backups",
            "SELECT DISTINCT name || char(10) || origin || char(10) || key FROM golden",
            "SELECT receipt FROM forgets",
            "SELECT body FROM spaces",
            "SELECT canaries FROM spaces",
            "SELECT name || char(10) || model FROM names",
            "SELECT v.vector FROM vectors v WHERE EXISTS (SELECT 1 FROM vectors o JOIN chunks c ON c.vector = o.id"
            " JOIN documents d ON d.id = c.document WHERE o.input = v.input AND d.live = 1)",
        ):
            for (value,) in self._connection.execute(sql):
                yield value.encode() if isinstance(value, str) else value
