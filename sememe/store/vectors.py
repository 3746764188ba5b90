"""Spaces and their vectors inside one write transaction.

A chunk refers to its vector in the collection's own space. A further space has a name, and its vectors hang on the
same inputs: that of a chunk is the one whose input is that of the chunk's own vector. So an input has at most one
vector in every space, and all of them go when no chunk is left that was made from it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence

import apsw

from sememe.space import Held, Space
from sememe.store.records import CachedVector
from sememe.types import Embedded, Vectors

IN_USE = "EXISTS (SELECT 1 FROM vectors o JOIN chunks c ON c.vector = o.id WHERE o.input = vectors.input)"
"""Whether a chunk was made from the input of a vector."""


def without(space: str) -> str:
    """Whether the input of a vector `v` has none in a space, which is given in SQL."""
    return f"NOT EXISTS (SELECT 1 FROM vectors o WHERE o.input = v.input AND o.space = {space})"


class VectorWrites:
    """The part of a transaction that is about vectors."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._loosened: set[int] = set()
        # None while there is no further space, and so nothing to be found lacking.
        self._began: int | None = connection.execute(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)"
            " WHERE EXISTS (SELECT 1 FROM names)"
        ).get

    def set_space(self, space: Space, canaries: Vectors) -> None:
        """Make `space` the collection's own. It is written once; later calls change nothing."""
        self._add_space(space, canaries)
        self._connection.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('space', ?)", (space.id,))

    def _add_space(self, space: Space, canaries: Vectors) -> None:
        self._connection.execute(
            "INSERT OR IGNORE INTO spaces (id, body, canaries, created) VALUES (?, ?, ?, ?)",
            (space.id, space.to_json(), canaries.astype("<f4").tobytes(), time.time()),
        )

    def name_space(self, held: Held, canaries: Vectors) -> None:
        """Give the collection a further space. A name or a space that is there already stays as it is."""
        row = held.name, held.space.id
        if self._connection.execute("SELECT 1 FROM names WHERE name = ? OR space = ?", row).get:
            return
        self._add_space(held.space, canaries)
        self._connection.execute(
            "INSERT INTO names (name, space, kind, model, filled, complete) VALUES (?, ?, ?, ?, ?, 0)",
            # Counted from the time, so that no index of a space that was dropped is taken for one of its successor.
            (held.name, held.space.id, held.kind, held.model, time.time_ns()),
        )

    def call_model(self, held: Held, model: str) -> None:
        """Note what the model of a further space is to be loaded by."""
        self._connection.execute("UPDATE names SET model = ? WHERE name = ?", (model, held.name))

    def drop_space(self, held: Held) -> int:
        """Take a further space out with its vectors and what is known of its indexes; returns how many vectors went."""
        execute = self._connection.execute
        execute("DELETE FROM names WHERE name = ?", (held.name,))
        execute("DELETE FROM vectors WHERE space = ?", (held.space.id,))
        dropped = self._connection.changes()
        execute("DELETE FROM indexes WHERE name LIKE '%.' || ?", (held.space.id,))
        execute("DELETE FROM spaces WHERE id = ?", (held.space.id,))
        return dropped

    def fill(self, held: Held) -> None:
        """Note that vectors came to a further space of chunks that were there before: its indexes lack them."""
        self._connection.execute("UPDATE names SET filled = filled + 1 WHERE name = ?", (held.name,))

    def complete(self, held: Held) -> bool:
        """Note whether every chunk has a vector in a further space, and return it."""
        self._connection.execute(
            "UPDATE names SET complete = NOT EXISTS (SELECT 1 FROM chunks c JOIN vectors v ON v.id = c.vector"
            f" JOIN documents d ON d.id = c.document WHERE d.live = 1 AND {without('names.space')}) WHERE name = ?",
            (held.name,),
        )
        return bool(self._connection.execute("SELECT complete FROM names WHERE name = ?", (held.name,)).get)

    def add_vectors(self, space: str, inputs: Sequence[bytes], embedded: Embedded) -> dict[bytes, CachedVector]:
        """Write the vectors of inputs. One that another process has written meanwhile is kept as it is, and is not
        among those that are returned.
        """
        blobs = [embedded.vectors[i].astype("<f4").tobytes() for i in range(len(inputs))]
        counts = zip(embedded.tokens.tolist(), embedded.kept.tolist(), strict=True)
        return self.add_blobs(space, [(k, *c, blob) for k, c, blob in zip(inputs, counts, blobs, strict=True)])

    def add_blobs(self, space: str, rows: Sequence[tuple[bytes, int, int, bytes]]) -> dict[bytes, CachedVector]:
        """The same for vectors as they are stored: of each input its tokens, how many were read, and the bytes."""
        written = self._connection.executemany(
            "INSERT OR IGNORE INTO vectors (space, input, tokens, kept, crc, vector) VALUES (?, ?, ?, ?, ?, ?) "
            "RETURNING input, id, tokens, kept",
            [(space, key, tokens, kept, zlib.crc32(blob), blob) for key, tokens, kept, blob in rows],
        )
        return {key: CachedVector(id=row, tokens=tokens, kept=kept) for key, row, tokens, kept in written}

    def cached(self, space: str, inputs: Sequence[bytes]) -> dict[bytes, CachedVector]:
        """Those of the inputs that have a vector in the space."""
        return cached(self._connection, space, inputs)

    def _note_orphans(self) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('orphans', 'yes')")

    def may_have_orphans(self) -> bool:
        """Whether staged documents were dropped since the last `drop_orphans`, which may have left vectors.

        Not while a document that was refused for some of its chunks may come again, and need those of the others.
        """
        return (
            self._connection.execute(
                "SELECT 1 FROM meta WHERE name = 'orphans' AND NOT EXISTS "
                "(SELECT 1 FROM ledger WHERE status = 'failed' AND chunks > 0)"
            ).get
            is not None
        )

    def drop_orphans(self) -> int:
        """Delete vectors, of any space, of inputs that no chunk was made from; returns how many went."""
        self._connection.execute(f"DELETE FROM vectors WHERE NOT {IN_USE}")
        dropped = self._connection.changes()
        self._connection.execute("DELETE FROM meta WHERE name = 'orphans'")
        return dropped

    def thin_orphans(self) -> None:
        """Where documents that were refused wait for some, keep of these vectors those of the latest inputs: twice as
        many as the documents have chunks, since which are of a version before is not known.

        What goes made room for as many that came, and would have to be made again at worst once for each of them.
        """
        noted = "UPDATE meta SET value = 'thinned' WHERE name = 'orphans' AND value <> 'thinned' RETURNING 1"
        if self._connection.execute(noted).get is None:
            return
        waited_for = "SELECT 2 * sum(chunks) FROM ledger WHERE status = 'failed'"
        latest = (
            f"SELECT input FROM vectors WHERE NOT {IN_USE} GROUP BY input ORDER BY max(id) DESC LIMIT ({waited_for})"
        )
        self._connection.execute(f"DELETE FROM vectors WHERE NOT {IN_USE} AND input NOT IN ({latest})")

    def end(self) -> None:
        """Last of all, for what one document loses another of the same transaction may gain: delete vectors of removed
        documents that nothing uses, and note the further spaces that lack one of what came."""
        self._connection.executemany(
            f"DELETE FROM vectors WHERE input = (SELECT input FROM vectors WHERE id = ?) AND NOT {IN_USE}",
            [(vector,) for vector in sorted(self._loosened)],
        )
        if self._began is not None:
            self._connection.execute(
                "UPDATE names SET complete = 0 WHERE complete = 1 AND EXISTS (SELECT 1 FROM changes g"
                " JOIN chunks c ON c.id = g.chunk JOIN vectors v ON v.id = c.vector"
                f" WHERE g.seq > ? AND g.added = 1 AND {without('names.space')})",
                (self._began,),
            )


def cached(connection: apsw.Connection, space: str, inputs: Sequence[bytes]) -> dict[bytes, CachedVector]:
    """Those of the inputs that have a vector in the space."""
    found: dict[bytes, CachedVector] = {}
    for start in range(0, len(inputs), 500):
        part = list(dict.fromkeys(inputs[start : start + 500]))
        marks = ",".join("?" * len(part))
        rows = connection.execute(
            f"SELECT input, id, tokens, kept FROM vectors WHERE space = ? AND input IN ({marks})", (space, *part)
        )
        for key, row, tokens, kept in rows:
            found[key] = CachedVector(id=row, tokens=tokens, kept=kept)
    return found
