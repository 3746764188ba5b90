"""Whether the files of a tantivy index are what was written: tantivy believes them, and aborts if they are wrong.

Every file ends with a checksum of what is before it, and `meta.json` names the files. This file knows nothing of words.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

BLOCK_BYTES = 1 << 22
VERIFIED_FILES = 10_000
FOOTER_MARK = 1337
SUFFIXES = frozenset({".term", ".idx", ".pos", ".fast", ".fieldnorm", ".store"})
MANAGED = ".managed.json"

_VERIFIED: dict[tuple[str, int, int], int] = {}
"""Files of segments with their sizes and times that had the right checksum, which are never rewritten; and how many
rows they told of."""


def verify(path: Path) -> None:
    """Compare every file of the current segments with its checksum, and what `meta.json` says with the files.

    Raises OSError or ValueError when something is missing or damaged. What was compared before is not read again.
    """
    while True:
        meta = (path / "meta.json").read_text(encoding="utf-8")
        try:
            return _verify_segments(path, meta)
        except (OSError, ValueError):
            # Files of a former commit go as soon as there is another: then that is the one to look at.
            if (path / "meta.json").read_text(encoding="utf-8") == meta:
                raise


def unmanaged(path: Path) -> list[str]:
    """Files of segments that tantivy will never delete, because its own list of files does not name them."""
    there = [file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES]
    try:
        named = set(json.loads((path / MANAGED).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        named = set()
    # A file is named before it is made; one that has gone meanwhile is named no more.
    return [file.name for file in there if file.name not in named and file.exists()]


def _verify_segments(path: Path, meta: str) -> None:
    try:
        for segment in json.loads(meta)["segments"]:
            name, deletes = segment["segment_id"].replace("-", ""), segment["deletes"]
            rows = max(_verified(path / f"{name}{suffix}") for suffix in SUFFIXES)
            alive = _verified(path / f"{name}.{deletes['opstamp']}.del") if deletes else rows
            # tantivy believes these numbers, and aborts the process if they are wrong.
            if segment["max_doc"] != rows or (deletes and deletes["num_deleted_docs"] != rows - alive):
                raise ValueError(f"meta.json of {path} says {segment}, of {rows} rows {alive} are alive")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"meta.json of {path} is not one") from error


def _verified(path: Path) -> int:
    """The rows that a sound .fast file holds, those that a .del file leaves, and 0 of others."""
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key not in _VERIFIED:
        if len(_VERIFIED) >= VERIFIED_FILES:
            _VERIFIED.clear()
        _VERIFIED[key] = _verify_file(path, status.st_size)
    return _VERIFIED[key]


def _verify_file(path: Path, size: int) -> int:
    """A file ends with a footer as JSON, its length, and a mark, four bytes each: the CRC-32 is of what is before."""
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        end = file.read(8)
        body = left = size - 8 - int.from_bytes(end[:4], "little")
        if len(end) < 8 or int.from_bytes(end[4:], "little") != FOOTER_MARK or body < 0:
            raise ValueError(f"{path} has no footer")
        file.seek(body)
        footer = json.loads(file.read(size - 8 - body))
        file.seek(0)
        found = 0
        while left > 0 and (block := file.read(min(left, BLOCK_BYTES))):
            found = zlib.crc32(block, found)
            left -= len(block)
        if left or found != footer["crc"]:
            raise ValueError(f"{path} has the checksum {found}, not {footer['crc']}")
        # Columns end with their number of rows, a version and a mark; deletions are a number and a bit for each row.
        file.seek({".fast": max(0, body - 12), ".del": 4}.get(path.suffix, body))
        rest = int.from_bytes(file.read({".fast": 4}.get(path.suffix, body - file.tell())), "little")
        return rest.bit_count() if path.suffix == ".del" else rest
