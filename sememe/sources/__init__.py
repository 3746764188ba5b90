"""Files, folders and strings → documents: found, told apart, decoded, and read as a stream of blocks.

Knows bytes and formats. Knows nothing of chunks, models or stores. A source that cannot be read is a `Refused` value
with its reason; only while a document's blocks are iterated can a ReadError be raised.
"""

from sememe.sources.files import read_file, read_source, read_text
from sememe.sources.source import Part, Parts, Read, ReadOptions, Source, Unreadable
from sememe.sources.walk import Found, Refused, key_of, walk

__all__ = [
    "Found", "Part", "Parts", "Read", "ReadOptions", "Refused", "Source", "Unreadable", "key_of", "read_file",
    "read_source", "read_text", "walk",
]  # fmt: skip
