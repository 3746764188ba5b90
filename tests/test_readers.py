"""What holds for every reader. A format joins by a file in tests/samples, or a line in `MADE`.

Text is kept as the blocks have it, every chunk is a slice of it, reading twice gives the same, and whatever is done
to a file's bytes ends in a document, in parts, or in one sentence that says why not.
"""

from __future__ import annotations

import gzip
import io
import sqlite3
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from fakes import FakeEmbedder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sememe
from sememe.errors import ReadError
from sememe.sources import Parts, Read, Refused, Source, Unreadable, read_source
from sememe.sources.files import NO_CHOICE
from sememe.sources.formats import BY_NAME, FORMATS, Format, current, recognise
from sememe.types import Document

SAMPLES = Path(__file__).parent / "samples"
MOST_OF_A_BLOCK = 64 * 1024
STORY = "The garden in spring\n\nThe tap in the kitchen drips. Somebody has to mend it before the guests come.\n"


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as box:
        box.writestr("story.txt", STORY)
        box.writestr("folder/story.md", f"# Heading\n\n{STORY}")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("story.txt")
        info.size = len(STORY)
        tar.addfile(info, io.BytesIO(STORY.encode()))
    return buffer.getvalue()


def database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "made.db")
        connection.execute("CREATE TABLE stories (id INTEGER PRIMARY KEY, title TEXT, body TEXT)")
        connection.executemany("INSERT INTO stories (title, body) VALUES (?, ?)", [("One", STORY), ("Two", STORY * 2)])
        connection.commit()
        connection.close()
        return (Path(folder) / "made.db").read_bytes()


def parquet() -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    table = pyarrow.table({"title": ["One", "Two"], "body": [STORY, STORY * 2], "year": [2020, 2021]})
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


DATE = "Sat, 3 Jan 2026 01:05:34 +0000"
MAIL = f"From: a@example.org\nSubject: The tap\nMessage-ID: <1@example.org>\nDate: {DATE}\n\n{STORY}"
MADE: dict[str, Callable[[], bytes]] = {
    "made.txt": STORY.encode,
    "made.rs": f"// {STORY}".replace("\n", "\n// ").encode,
    "made.md": f"# Heading\n\n{STORY}\n## Other\n\nwords\n".encode,
    "made.py": f'"""{STORY}"""\n\n\ndef tap() -> None:\n    """Drip."""\n'.encode,
    "made.json": b'[{"title": "One", "body": "The tap drips in the kitchen."}, {"body": "It rains."}]'.strip,
    "made.jsonl": b'{"id": 7, "body": "The tap drips in the kitchen."}\n{"id": 8, "body": "It rains on it."}\n'.strip,
    "made.csv": b"id,title,body\n1,One,The tap drips in the kitchen.\n2,Two,It rains on the garden.\n".strip,
    "made.parquet": parquet,
    "made.sqlite": database,
    "made.eml": MAIL.encode,
    "made.mbox": f"From a@example.org Sat Jan  3 01:05:34 2026\n{MAIL}\n".encode,
    "made.zip": zipped,
    "made.tar": tarred,
    "made.txt.gz": lambda: gzip.compress(STORY.encode()),
}
FILES = {path.name for path in SAMPLES.glob("*.*") if path.suffix != ".py" and not path.name.startswith("locked")}
NAMES = sorted(FILES | set(MADE))


@cache
def content_of(name: str) -> bytes:
    return MADE[name]() if name in MADE else (SAMPLES / name).read_bytes()


def source(name: str, content: bytes) -> Source:
    return Source(name, len(content), lambda: io.BytesIO(content))


def format_of(name: str) -> Format:
    found = recognise(source(name, content_of(name)), content_of(name)[: 64 * 1024])
    assert isinstance(found, Format), found
    return found


def texts_of(result: Read, key: str) -> dict[str, str]:
    """Every text by key; a refusal is its reason. Checks what a reader promises on the way."""
    if isinstance(result, Refused):
        assert result.reason
        return {key: f"[{result.reason}]"}
    if isinstance(result, Document):
        blocks = list(result.blocks)
        for block in blocks:
            assert len(block.text) <= MOST_OF_A_BLOCK
            assert 0 <= block.level <= 6
            assert not block.title or block.level
            block.text.encode()
        assert current("", result.reader, NO_CHOICE) == result.reader
        return {key: "".join(block.text for block in blocks)}
    found: dict[str, str] = {}
    for part in result.parts:
        name = f"{key}!/{part.name}"
        assert name not in found, "two parts of one name"
        if isinstance(part, Unreadable):
            found[name] = f"[{part.reason}]"
        else:
            assert len(part.digest) == 32
            found |= texts_of(part.open(name), name)
    return found


def digests_of(result: Read) -> dict[str, bytes]:
    parts = result.parts if isinstance(result, Parts) else ()
    return {part.name: part.digest for part in parts if not isinstance(part, Unreadable)}


def test_every_format_has_a_sample() -> None:
    assert {format_of(name).name for name in NAMES} == set(BY_NAME)
    assert len(FORMATS) == len(BY_NAME)


@pytest.mark.parametrize("name", NAMES)
def test_reading_twice_gives_the_same_from_memory_and_from_disk(name: str, tmp_path: Path) -> None:
    content = content_of(name)
    path = tmp_path / name
    path.write_bytes(content)
    on_disk = Source(name, len(content), lambda: path.open("rb"), path=path)
    first = texts_of(read_source(source(name, content), "KEY"), "KEY")
    assert any(not text.startswith("[") and text.strip() for text in first.values())
    assert texts_of(read_source(source(name, content), "KEY"), "KEY") == first
    assert texts_of(read_source(on_disk, "KEY"), "KEY") == first
    assert digests_of(read_source(on_disk, "KEY")) == digests_of(read_source(source(name, content), "KEY"))


@pytest.mark.parametrize("name", NAMES)
def test_the_text_is_stored_as_it_was_read_and_every_chunk_is_a_slice_of_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / name).write_bytes(content_of(name))
    expected = texts_of(read_source(source(name, content_of(name)), f"docs/{name}"), f"docs/{name}")
    embedder = FakeEmbedder(max_tokens=32)
    with sememe.open(tmp_path / "c", model=embedder) as collection:
        collection.sync(tmp_path / "docs")
        rows = {row.key: row for row in collection.ledger()}
        for key, text in expected.items():
            if text.startswith("[") or not text.strip():
                assert rows[key].status in ("skipped", "failed")
                continue
            record = collection.get(key)
            assert record.text == text
            assert all(chunk.text == text[chunk.start : chunk.end] for chunk in record.chunks)
            covered = bytearray(len(text))
            for chunk in record.chunks:
                covered[chunk.start : chunk.end] = b"\x01" * (chunk.end - chunk.start)
            assert not "".join(letter for letter, seen in zip(text, covered, strict=True) if not seen).strip()
        calls = len(embedder.texts)
        assert collection.sync(tmp_path / "docs").embedded == 0
        assert len(embedder.texts) == calls


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_is_done_to_the_bytes_ends_in_text_or_in_a_reason(name: str, data: st.DataObject) -> None:
    content = bytearray(content_of(name))
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at : at + data.draw(st.integers(1, 40))] = data.draw(st.binary(max_size=40))
    try:
        texts_of(read_source(source(name, bytes(content)), "KEY"), "KEY")
    except ReadError as error:
        assert str(error)  # noqa: PT017 - it may be raised or not
