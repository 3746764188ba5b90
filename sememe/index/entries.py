"""From a passage of the truth to an entry of the lexical index."""

from __future__ import annotations

from sememe.index.words import Entry
from sememe.types import Passage


def entry_of(passage: Passage) -> Entry:
    """The passage as the lexical index reads it; its language is what the document's metadata says."""
    language = passage.metadata.get("language", "")
    return Entry(
        chunk=passage.chunk, title=passage.title, headings=passage.headings, body=passage.text,
        language=language if isinstance(language, str) else "",
    )  # fmt: skip
