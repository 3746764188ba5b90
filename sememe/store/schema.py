"""The tables of the truth, as numbered steps from an empty file.

A step is never changed once it has been released: what it made is on people's disks. A new one is appended, and
`user_version` in the file says how many have run. This file holds SQL and nothing else.

The reasons behind the shape: vectors have a table of their own, so that scans of chunks do not page through them;
ids are AUTOINCREMENT, so that an id is never reused and a derived index can never point at something else; vectors
are found by (space, input), so that the same input is never embedded twice; a document is staged with live = 0 and
published in one transaction.
"""

from __future__ import annotations

APPLICATION_ID = 0x73656D65
"""The four bytes "seme" in the file's header: tells our databases from others."""

PAGE_SIZE = 8192
"""A 384-dimensional float32 vector fills 1.5 KB: 8 KB pages waste 19 % less than 4 KB ones."""

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "documents, chunks, vectors, changes and the ledger",
        """
        CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE spaces (
            id TEXT PRIMARY KEY, body TEXT NOT NULL, canaries BLOB NOT NULL, created REAL NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT, command TEXT NOT NULL, started REAL NOT NULL,
            finished REAL, summary TEXT NOT NULL DEFAULT '{}'
        ) STRICT;
        CREATE TABLE documents (
            id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, live INTEGER NOT NULL, run INTEGER NOT NULL,
            origin TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER, mtime_ns INTEGER,
            title TEXT NOT NULL, media_type TEXT NOT NULL, metadata TEXT NOT NULL, recipe TEXT NOT NULL,
            precision TEXT NOT NULL, characters INTEGER NOT NULL DEFAULT 0, added REAL NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX documents_live ON documents (key) WHERE live = 1;
        CREATE INDEX documents_staged ON documents (run) WHERE live = 0;
        CREATE TABLE texts (
            id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
            start INTEGER NOT NULL, text TEXT NOT NULL, crc INTEGER NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX texts_place ON texts (document, start);
        CREATE TABLE vectors (
            id INTEGER PRIMARY KEY AUTOINCREMENT, space TEXT NOT NULL REFERENCES spaces, input BLOB NOT NULL,
            tokens INTEGER NOT NULL, kept INTEGER NOT NULL, crc INTEGER NOT NULL, vector BLOB NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX vectors_input ON vectors (input, space);
        CREATE TABLE chunks (
            id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
            position INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, headings TEXT NOT NULL,
            vector INTEGER NOT NULL REFERENCES vectors DEFERRABLE INITIALLY DEFERRED
        ) STRICT;
        CREATE UNIQUE INDEX chunks_place ON chunks (document, position);
        CREATE INDEX chunks_vector ON chunks (vector);
        CREATE TABLE changes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, chunk INTEGER NOT NULL, added INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE ledger (
            key TEXT PRIMARY KEY, status TEXT NOT NULL, reason TEXT NOT NULL, retryable INTEGER NOT NULL,
            chunks INTEGER NOT NULL, tokens INTEGER NOT NULL, truncated TEXT NOT NULL, remarks TEXT NOT NULL,
            origin TEXT NOT NULL, run INTEGER NOT NULL, at REAL NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX ledger_status ON ledger (status);
        """,
    ),
    (
        "which files of a derived index are current",
        """
        CREATE TABLE indexes (
            name TEXT PRIMARY KEY, generation TEXT NOT NULL, seq INTEGER NOT NULL, rows INTEGER NOT NULL,
            dead BLOB NOT NULL, checksum INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        """,
    ),
    (
        "indexes that lie over the rows of another one, and what they are made of",
        """
        ALTER TABLE indexes ADD COLUMN base TEXT;
        ALTER TABLE indexes ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
        """,
    ),
    (
        "where in its source a text was, and files that hold many documents",
        """
        CREATE TABLE places (
            document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE, start INTEGER NOT NULL,
            place TEXT NOT NULL, PRIMARY KEY (document, start)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE containers (
            key TEXT PRIMARY KEY, digest BLOB NOT NULL, size INTEGER, mtime_ns INTEGER, recipe TEXT NOT NULL,
            documents INTEGER NOT NULL, settled INTEGER NOT NULL, run INTEGER NOT NULL, added REAL NOT NULL
        ) STRICT, WITHOUT ROWID;
        """,
    ),
    (
        "backups by name, and what was forgotten: digests and a receipt, no content",
        """
        CREATE TABLE backups (
            path TEXT PRIMARY KEY, seq INTEGER NOT NULL, at REAL NOT NULL, digest TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE forgets (
            id INTEGER PRIMARY KEY AUTOINCREMENT, started REAL NOT NULL, finished REAL, salt BLOB NOT NULL,
            marks BLOB NOT NULL, targets TEXT NOT NULL, receipt TEXT NOT NULL
        ) STRICT;
        """,
    ),
    (
        "metadata from outside of a document beside its own, and the type of every field",
        """
        ALTER TABLE documents ADD COLUMN outside TEXT NOT NULL DEFAULT '';
        ALTER TABLE containers ADD COLUMN outside TEXT NOT NULL DEFAULT '';
        CREATE TABLE fields (path TEXT PRIMARY KEY, type TEXT NOT NULL) STRICT, WITHOUT ROWID;
        INSERT OR IGNORE INTO fields
            SELECT j.key, CASE j.type WHEN 'text' THEN 'string' WHEN 'integer' THEN 'number' WHEN 'real' THEN 'number'
                ELSE 'boolean' END
            FROM documents d, json_each(d.metadata) j
            WHERE d.live = 1 AND j.type IN ('text', 'integer', 'real', 'true', 'false') ORDER BY d.id, j.id;
        """,
    ),
    (
        "golden sets: queries, and the documents or spans that answer them",
        """
        CREATE TABLE golden (
            name TEXT NOT NULL, query TEXT NOT NULL, key TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
            grade INTEGER NOT NULL, origin TEXT NOT NULL, PRIMARY KEY (name, query, key, start)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
    (
        "further spaces by name: every input may have a vector in each",
        """
        CREATE TABLE names (
            name TEXT PRIMARY KEY, space TEXT NOT NULL UNIQUE REFERENCES spaces, kind TEXT NOT NULL,
            model TEXT NOT NULL, filled INTEGER NOT NULL, complete INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        """,
    ),
    (
        "what the vectors of tokens are written by",
        """
        CREATE TABLE codecs (space TEXT PRIMARY KEY REFERENCES spaces, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
        """,
    ),
    (
        "when documents were deleted: digests of their keys, no content",
        """
        CREATE TABLE removed (key BLOB PRIMARY KEY, at REAL NOT NULL) STRICT, WITHOUT ROWID;
        """,
    ),
)

VERSION = len(MIGRATIONS)
