"""Files, folders and strings → documents: found, told apart, decoded, and read as a stream of blocks.

Knows bytes and formats. Knows nothing of chunks, models or stores. A source that cannot be read is a `Refused` value
with its reason; only while a document's blocks are iterated can a ReadError be raised.
"""

from sememe.sources.files import read_file, read_text
from sememe.sources.walk import Found, Refused, key_of, walk

__all__ = ["Found", "Refused", "key_of", "read_file", "read_text", "walk"]
