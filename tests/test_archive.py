"""Archives: what is in them is read, what they do to a reader is bounded, and nothing is written anywhere."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

import sememe
from sememe.errors import ReadError
from sememe.sources import Found, Parts, Read, Refused, Unreadable, archive, read_file, walk
from sememe.types import Document

MEMBERS = {"a.txt": "alpha words", "sub/b.md": "# Beta\n\nbeta words", "sub/ünï.txt": "gamma words"}


def zip_of(members: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **options) as box:
        for name, content in members.items():
            box.writestr(name, content)
    return buffer.getvalue()


def tar_of(members: dict[str, Any], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str) and content.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, content[3:]
                tar.addfile(info)
                continue
            data = content.encode() if isinstance(content, str) else content
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def opened(path: Path) -> Read:
    (found,) = walk([path])
    assert isinstance(found, Found)
    return read_file(found, "key")


def members_of(result: Read) -> dict[str, str]:
    """The texts by name; the reason, in brackets, of what is unreadable; what lies in members beside it."""
    assert isinstance(result, Parts), result
    found: dict[str, str] = {}
    for part in result.parts:
        assert part.name not in found
        if isinstance(part, Unreadable):
            found[part.name] = f"[{part.reason}]"
            continue
        inner = part.open(f"key!/{part.name}")
        if isinstance(inner, Parts):
            found |= {f"{part.name}!/{name}": text for name, text in members_of(inner).items()}
        elif isinstance(inner, Document):
            found[part.name] = "".join(block.text for block in inner.blocks)
        else:
            found[part.name] = f"[{inner.reason}]"
    return found


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("name", "content", "reader"),
    [
        ("a.zip", zip_of(MEMBERS), "zip/1"),
        ("a.whl", zip_of(MEMBERS), "zip/1"),
        ("no-suffix", zip_of(MEMBERS), "zip/1"),
        ("a.tar", tar_of(MEMBERS), "tar/1"),
        ("a.tar.gz", tar_of(MEMBERS, "w:gz"), "packed/1"),
        ("a.tgz", tar_of(MEMBERS, "w:gz"), "packed/1"),
        ("a.tar.bz2", tar_of(MEMBERS, "w:bz2"), "packed/1"),
        ("a.txz", tar_of(MEMBERS, "w:xz"), "packed/1"),
        ("no-name-says-it", tar_of(MEMBERS, "w:xz"), "packed/1"),
    ],
)
def test_members_are_read_as_what_they_are(tmp_path: Path, name: str, content: bytes, reader: str) -> None:
    result = opened(put(tmp_path, name, content))
    assert isinstance(result, Parts)
    assert (result.reader, result.metadata) == (reader, {"path": str(tmp_path / name)})
    assert members_of(result) == MEMBERS


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_file_is_read_under_its_own_name(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    suffix = {gzip.compress: ".gz", bz2.compress: ".bz2", lzma.compress: ".xz"}[pack]
    text = "# A title\n\nwords\n"
    path = put(tmp_path, f"notes.md{suffix}", pack(text.encode()))
    assert members_of(opened(path)) == {"notes.md": text}
    path.write_bytes(pack(b"one ") + pack(b"two"))
    assert members_of(opened(path)) == {"notes.md": "one two"}


def test_a_document_in_an_archive_tells_its_format_title_and_member(tmp_path: Path) -> None:
    result = opened(put(tmp_path, "a.zip", zip_of(MEMBERS)))
    assert isinstance(result, Parts)
    read = {part.name: part.open("key") for part in result.parts if not isinstance(part, Unreadable)}
    document = read["sub/b.md"]
    assert isinstance(document, Document)
    assert (document.reader, document.title, document.metadata) == ("markdown/2", "Beta", {"member": "sub/b.md"})


def test_names_that_lead_outside_write_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "docs"
    folder.mkdir(parents=True)
    target = tmp_path / "absolute.txt"
    names = ["../evil.txt", "../../evil.txt", str(target), "a/../../evil.txt", "C:\\evil.txt", "..\\evil.txt"]
    members = {name: f"text of {number}" for number, name in enumerate(names)}
    put(folder, "a.zip", zip_of(members))
    put(folder, "a.tar", tar_of({**members, "link": "-> ../../evil.txt"}))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = {path: path.stat() for path in tmp_path.rglob("*") if path.is_file()}
    with sememe.open(tmp_path / "collection", model=FakeEmbedder()) as collection:
        summary = collection.sync(folder)
        keys = [row.key for row in collection.ledger()]
    assert (summary.documents, summary.skipped) == (12, 1)
    assert len(keys) == 15
    after = {path for path in tmp_path.rglob("*") if path.is_file() and "collection" not in path.parts}
    assert after == set(before)
    assert not target.exists()


def test_what_is_no_file_and_what_a_walk_leaves_out(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind, name in ((tarfile.DIRTYPE, "folder"), (tarfile.FIFOTYPE, "pipe"), (tarfile.CHRTYPE, "device"),
                           (tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "hard")):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name in (".git/config", "__pycache__/a.txt", "kept.txt"):
            info = tarfile.TarInfo(name)
            info.size = 5
            tar.addfile(info, io.BytesIO(b"words"))
    assert members_of(opened(put(tmp_path, "a.tar", buffer.getvalue()))) == {
        "pipe": "[no file]", "device": "[no file]", "link": "[a link in an archive]",
        "hard": "[a link in an archive]", "kept.txt": "words",
    }  # fmt: skip


def test_members_of_one_name_are_told_apart(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as box:
        box.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate"):
            box.writestr("a.txt", "two")
    assert members_of(opened(put(tmp_path, "a.zip", buffer.getvalue()))) == {"a.txt": "one", "a.txt#2": "two"}


def test_an_encrypted_member_is_skipped_with_its_reason(tmp_path: Path) -> None:
    content = bytearray(zip_of(MEMBERS))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + at] |= 1
    found = members_of(opened(put(tmp_path, "a.zip", bytes(content))))
    assert found == {**MEMBERS, "a.txt": "[it is encrypted; unpack it and add the file]"}


def test_an_unknown_method_and_a_wrong_checksum_are_said_of_their_member_alone(tmp_path: Path) -> None:
    content = bytearray(zip_of(MEMBERS))
    first, second = content.index(b"PK\x01\x02"), content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    struct.pack_into("<H", content, 8, 98)
    struct.pack_into("<H", content, first + 10, 98)
    content[second + 16] ^= 0xFF
    found = members_of(opened(put(tmp_path, "a.zip", bytes(content))))
    assert found["a.txt"] == "[it is packed by a method that is not read (98)]"
    assert found["sub/b.md"].startswith("[it cannot be unpacked: Bad CRC-32")
    assert found["sub/ünï.txt"] == "gamma words"


def test_a_bomb_is_stopped_at_the_limit_on_its_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "HARMLESS_BYTES", 1 << 20)
    zeros = bytes(64 << 20)
    bombs = {
        "a.zip": zip_of({"first.txt": "words", "zeros.txt": zeros}),
        "a.tar.gz": tar_of({"first.txt": "words", "zeros.txt": zeros}, "w:gz"),
        "a.tar.bz2": tar_of({"first.txt": "words", "zeros.txt": zeros}, "w:bz2"),
        "a.tar.xz": tar_of({"first.txt": "words", "zeros.txt": zeros}, "w:xz"),
        "a.txt.gz": gzip.compress(zeros),
    }
    for name, content in bombs.items():
        result = opened(put(tmp_path, name, content))
        assert isinstance(result, Parts)
        parts = iter(result.parts)
        if name != "a.txt.gz":
            assert next(parts).name == "first.txt"
        with pytest.raises(ReadError, match=r"unpacks to more than 1[\d,]+; if that is meant"):
            next(parts)


def test_limits_on_members_and_on_one_member_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 5)
    monkeypatch.setattr(archive, "MOST_MEMBER_BYTES", 300_000)
    monkeypatch.setattr(archive, "IN_MEMORY", 1000)
    many = {f"{number}.txt": "words" for number in range(6)}
    for name, content in (("a.zip", zip_of(many)), ("a.tar", tar_of(many))):
        with pytest.raises(ReadError, match="more than 5 members"):
            members_of(opened(put(tmp_path, name, content)))
    noise = os.urandom(400_000).hex()
    for name, make in (("b.zip", zip_of), ("b.tar", tar_of)):
        found = members_of(opened(put(tmp_path, name, make({"big.txt": noise, "last.txt": noise[:250_000]}))))
        assert found == {"big.txt": "[it unpacks to more than 300,000 bytes]", "last.txt": noise[:250_000]}


def test_a_large_member_goes_through_a_file_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "IN_MEMORY", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    text = "words of a long text " * 500
    result = opened(put(tmp_path, "a.zip", zip_of({"long.txt": text, "in.zip": zip_of({"long.txt": text})})))
    assert isinstance(result, Parts)
    for part in result.parts:
        assert not isinstance(part, Unreadable)
        if part.name == "long.txt":
            (path,) = (tmp_path / "temporary").iterdir()
            assert path.stat().st_size == len(text)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            document = part.open("key")
            assert isinstance(document, Document)
            assert "".join(block.text for block in document.blocks) == text
    assert list((tmp_path / "temporary").iterdir()) == []


def test_headers_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_DIRECTORY_BYTES", 100_000)
    info = tarfile.TarInfo("a.txt")
    info.pax_headers = {"comment": "x" * 500_000}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    result = opened(put(tmp_path, "a.tar", buffer.getvalue()))
    with pytest.raises(ReadError, match="has a header of more bytes"):
        members_of(result)
    names = {f"{'n' * 200}{number}": "" for number in range(500)}
    refused = opened(put(tmp_path, "a.zip", zip_of(names)))
    assert isinstance(refused, Refused)
    assert "its directory of" in refused.reason


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_truncated_or_damaged_archive_gives_its_reason_and_no_wrong_text(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    members = {f"{number}.txt": f"words of {number} " * 300 for number in range(4)}
    mode = f"w:{name[6:]}" if name.startswith("a.tar.") else "w"
    content = bytearray(zip_of(members) if name == "a.zip" else tar_of(members, mode))
    cut = data.draw(st.integers(1, len(content) - 1))
    if data.draw(st.booleans()):
        del content[cut:]
    else:
        content[cut] ^= data.draw(st.integers(1, 255))
    result = opened(put(tmp_path_factory.getbasetemp(), name, bytes(content)))
    if isinstance(result, Refused):
        assert result.reason
        return
    found = {}
    with contextlib.suppress(ReadError):
        found = members_of(result) if isinstance(result, Parts) else {}
    for member, text in found.items():
        # A plain tar has no checksum of what is in it; everything else notices.
        assert text in members.values() or text.startswith("[") or name == "a.tar", member


def test_bad_archives_end_in_the_ledger_and_good_ones_beside_them_are_read(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    whole = zip_of(MEMBERS)
    put(docs, "cut.zip", whole[: len(whole) // 2])
    put(docs, "good.zip", whole)
    put(docs, "empty.zip", zip_of({}))
    put(docs, "cut.tar.gz", tar_of({"a.txt": os.urandom(9000).hex()}, "w:gz")[:4000])
    put(docs, "named.zip", b"not one at all")
    put(docs, "zeros.zip", b"PK\x03\x04" + bytes(100))
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        summary = collection.sync(docs)
        rows = {row.key: row for row in collection.ledger()}
    assert (summary.documents, summary.failed, summary.skipped) == (4, 3, 1)
    for name in ("cut.zip", "zeros.zip", "cut.tar.gz"):
        assert rows[f"docs/{name}"].status == "failed"
        assert "archive" in rows[f"docs/{name}"].reason
    assert (rows["docs/empty.zip"].status, rows["docs/empty.zip"].reason) == ("skipped", "no document in 0 parts")
    assert rows["docs/named.zip"].status == "embedded"
