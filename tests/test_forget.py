"""What is forgotten is in no file any more: not in the truth, its log, an index, a backup; and everything else is.

The bytes of all files are searched here without the package's own search, which is tried by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEmbedder, vector_of
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

import sememe
from sememe import doctor
from sememe.errors import InputError, NotFound, StoreBusy, StoreError
from sememe.evaluate import golden
from sememe.index import faiss
from sememe.ingest import derived, layers
from sememe.keeping import backups, forgetting, manifest
from sememe.keeping.traces import PIECE, Collected, Search
from sememe.spaces import add_space
from sememe.store import SQLiteStore
from sememe.store import connection as connections
from sememe.types import embedded_input

DOCUMENTS = 40
LICENCE = "permission is hereby granted, free of charge, to any person obtaining a copy of this text " * 2


LOWERED = (
    (faiss, "MIN_ROWS", 24), (layers, "MIN_COLUMN_ROWS", 4), (layers, "UNINDEXED_ROWS", 12), (derived, "TAIL", 1),
)  # fmt: skip
"""Every kind of index, although there is little to put into it."""


@pytest.fixture(autouse=True)
def every_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in LOWERED:
        monkeypatch.setattr(module, name, value)


def marker(number: int, part: str) -> str:
    """A word of 30 letters that stands nowhere else."""
    return "".join(chr(97 + (ord(c) - 48 if c.isdigit() else ord(c) - 87)) for c in _hex(f"{part}/{number}"))


def _hex(seed: str) -> str:
    return np.random.default_rng(list(seed.encode())).bytes(15).hex()


def record(number: int) -> dict[str, Any]:
    """A document of several chunks, with words of its own in its text, title, key and metadata."""
    body = " ".join(f"{marker(number, f'word{i}')} and so on" for i in range(40))
    return {
        "id": f"notes/{marker(number, 'key')}.txt", "title": f"About {marker(number, 'title')}",
        "text": f"{LICENCE}\n\n{marker(number, 'start')} {body} {marker(number, 'end')}",
        "metadata": {"number": number, "tag": marker(number, "tag"), "very": {"deep": [marker(number, "deep")]}},
    }  # fmt: skip


def marks_of(number: int) -> list[str]:
    """Every word that only one document has."""
    parts = ["key", "title", "start", "end", "tag", "deep", *(f"word{i}" for i in range(40))]
    return [marker(number, part) for part in parts]


def open_(folder: Path) -> sememe.Collection:
    """A collection; what is added gets a vector in its further spaces too, if it has any."""
    opened = sememe.open(folder, model=FakeEmbedder())
    opened.further.load = lambda name, kind: second()
    return opened


def second() -> FakeEmbedder:
    """The model of a further space."""
    return FakeEmbedder(model="second", digest="1" * 64, dim=16)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with every kind of index, in a further space too, and a golden set; copy it."""
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in LOWERED:
            patch.setattr(module, name, value)
        with open_(folder / "collection") as collection:
            collection.add([record(number) for number in range(DOCUMENTS)])
            add_space(collection, "fine", second())
            for number in range(DOCUMENTS):
                golden.add(collection, f"who knows {marker(number, 'word7')}", [record(number)["id"]])
            collection.optimize()
    names = {path.name.split("-")[0] for path in (folder / "collection").iterdir()}
    assert {"vectors", "neighbours", "columns", "lexical", "space"} <= names
    (beside,) = (folder / "collection").glob("space-*")
    assert {"vectors", "neighbours", "columns"} <= {path.name.split("-")[0] for path in beside.iterdir()}
    return folder / "collection"


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "collection")


def holding(folder: Path, wanted: bytes) -> list[str]:
    """The files below a folder that hold some bytes."""
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and wanted in path.read_bytes()]


def assert_gone(folder: Path, texts: list[str], vectors: list[np.ndarray]) -> None:
    """No file holds a text in UTF-8 or UTF-16, nor a vector or six numbers of one."""
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    wanted = [form for text in texts for form in (text.encode(), text.encode("utf-16-le"), text.encode("utf-16-be"))]
    for vector in vectors:
        blob = vector.astype("<f4").tobytes()
        wanted += [blob, *(blob[i : i + 24] for i in range(0, len(blob) - 23, 24))]
    for path, data in whole.items():
        for piece in wanted:
            assert piece not in data, f"{path} holds {piece[:40]!r}"


def answers(collection: sememe.Collection, without: set[str] = frozenset()) -> list[Any]:  # type: ignore[assignment]
    """What some queries find, exactly compared, but for some documents."""
    found = []
    for number in range(0, DOCUMENTS, 7):
        hits = collection.search(vector_of(f"query {number}"), k=10_000, recall=1)
        found.append([(h.document, h.position, h.score, h.text, h.metadata) for h in hits if h.document not in without])
        words = collection.search(marker(number, "word3"), mode="lexical", k=3)
        found.append([(h.document, h.position) for h in words if h.document not in without])
        tagged = collection.search(vector_of("query"), where={"tag": marker(number, "tag")}, k=50)
        found.append([(h.document, h.score) for h in tagged if h.document not in without])
    return found


def vectors_of(collection: sememe.Collection, key: str) -> list[np.ndarray]:
    ids, vectors = collection.vectors()
    mine = {chunk.id for chunk in collection.get(key).chunks}
    return [vector for number, vector in zip(ids.tolist(), vectors, strict=True) if number in mine]


def vectors_beside(folder: Path, key: str) -> list[np.ndarray]:
    """The vectors of a document in the further space."""
    store = SQLiteStore(folder)
    with store.snapshot() as snapshot:
        document, (held,) = snapshot.document(key), snapshot.further()
        assert document is not None
        found = [np.frombuffer(beside.vector, "<f4") for beside in snapshot.beside(document.id, held)]
    store.close()
    return found


# --- whole documents -------------------------------------------------------------------------------------------


@settings(
    max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@example(chosen={0}, backed_up=True)
@given(chosen=st.sets(st.integers(0, DOCUMENTS - 1), min_size=1, max_size=DOCUMENTS), backed_up=st.booleans())
def test_whatever_is_forgotten_is_in_no_file_and_everything_else_answers_as_before(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, chosen: set[int], backed_up: bool
) -> None:
    scene = tmp_path_factory.mktemp("scene")
    folder = shutil.copytree(filled, scene / "collection")
    with open_(folder) as collection:
        keys = [record(number)["id"] for number in sorted(chosen)]
        gone_vectors = [vector for key in keys for vector in vectors_of(collection, key)]
        gone_beside = [vector for key in keys for vector in vectors_beside(folder, key)]
        before = answers(collection, set(keys))
        if backed_up:
            backups.backup(collection, scene / "backup", indexes=True)
        (receipt,) = forgetting.forget(collection, keys)
        assert answers(collection) == before
        assert {row.key for row in collection.ledger()}.isdisjoint(keys)
    lost = [number for number, vector in enumerate(gone_vectors) if not _still_used(folder, vector)]
    assert len(lost) >= len(gone_vectors) - 2 * len(chosen)
    vectors = [each[number] for each in (gone_vectors, gone_beside) for number in lost]
    assert_gone(scene, [mark for number in chosen for mark in marks_of(number)], vectors)
    assert [row["kind"] for row in receipt["forgotten"]] == ["document"] * len(chosen)
    assert receipt["pieces_searched"] > 100 * len(chosen) > receipt["too_short_to_search"]


def _still_used(folder: Path, vector: np.ndarray) -> bool:
    """Whether a document that stays was made of the same input."""
    with open_(folder) as collection:
        _, vectors = collection.vectors()
    return bool(len(vectors)) and bool((vectors == vector).all(axis=1).any())


def test_without_forgetting_every_mark_is_found_in_the_files(folder: Path) -> None:
    with open_(folder) as collection:
        key = record(3)["id"]
        vector, beside = vectors_of(collection, key)[-1], vectors_beside(folder, key)[-1]
        collection.delete(key)
    for left in (vector, beside):
        assert holding(folder, left.astype("<f4").tobytes()), "a mere delete leaves the vector in the slab"
    assert [mark for mark in marks_of(4) if holding(folder, mark.encode())] == marks_of(4)


def test_all_that_matches_a_filter_is_forgotten(folder: Path) -> None:
    with open_(folder) as collection:
        (receipt,) = forgetting.forget(collection, where={"number": {"$lt": 5}})
        assert len(receipt["forgotten"]) == 5
        assert collection.report().totals.documents == DOCUMENTS - 5
    assert_gone(folder, [mark for number in range(5) for mark in marks_of(number)], [])


def test_everything_can_be_forgotten_and_the_collection_used_again(folder: Path) -> None:
    with open_(folder) as collection:
        forgetting.forget(collection, where={"number": {"$gte": 0}})
        assert collection.report().totals.chunks == 0
        assert not collection.search("anything")
        collection.add(record(1))
        assert collection.search(marker(1, "start"), mode="lexical")[0].document == record(1)["id"]
    assert_gone(folder, [mark for number in range(2, DOCUMENTS) for mark in marks_of(number)], [])


def test_a_vector_that_another_document_uses_stays_for_it(tmp_path: Path) -> None:
    with open_(tmp_path / "c") as collection:
        collection.add([{"id": "one", "text": "the very same words"}, {"id": "two", "text": "the very same words"}])
        (receipt,) = forgetting.forget(collection, ["one"])
        assert receipt["pieces_held_by_others"] > 0
        assert [hit.document for hit in collection.search("the very same words")] == ["two"]
        forgetting.forget(collection, ["two"])
    assert_gone(tmp_path, ["the very same words"], [vector_of("the very same words")])


def test_an_input_that_was_skipped_leaves_the_ledger_and_every_file(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / f"{marker(0, 'picture')}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (docs / "a.txt").write_text("something that stays")
    with open_(tmp_path / "c") as collection:
        collection.add_files(docs)
        assert holding(tmp_path / "c", marker(0, "picture").encode())
        (receipt,) = forgetting.forget(collection, [f"docs/{marker(0, 'picture')}.png"])
        assert [row["kind"] for row in receipt["forgotten"]] == ["input"]
        assert [row.key for row in collection.ledger()] == ["docs/a.txt"]
    assert not holding(tmp_path / "c", marker(0, "picture").encode())


def test_the_key_stays_in_the_ledger_when_that_is_asked_for(folder: Path) -> None:
    with open_(folder) as collection:
        key = record(2)["id"]
        forgetting.forget(collection, [key], keep_key=True)
        (row,) = [row for row in collection.ledger() if row.key == key]
        assert (row.status, row.reason) == ("skipped", "it was forgotten")
    assert_gone(folder, [mark for mark in marks_of(2) if mark != marker(2, "key")], [])


def test_a_receipt_holds_digests_and_no_content(folder: Path) -> None:
    with open_(folder) as collection:
        forgetting.forget(collection, [record(2)["id"], record(5)["id"]])
        (receipt,) = forgetting.receipts(collection)
    text = json.dumps(receipt)
    assert not [mark for number in (2, 5) for mark in marks_of(number) if mark in text]
    assert receipt["forgotten"][0]["text_sha256"] == hashlib.sha256(record(2)["text"].encode()).hexdigest()
    assert receipt["files_searched"] > 10
    assert receipt["bytes_searched"] > 100_000
    with sqlite3.connect(folder / "truth.db") as connection:
        row = connection.execute("SELECT finished IS NOT NULL, salt, marks, targets FROM forgets").fetchone()
    connection.close()
    assert row == (1, b"", b"", "[]")


def sentences(words: list[str]) -> str:
    """A text whose chunks repeat the last sentences of the one before."""
    return " ".join(f"The {word} is here." for word in words)


# --- single chunks -----------------------------------------------------------------------------------------------


def test_a_forgotten_chunk_is_blanked_and_its_neighbours_keep_their_places(tmp_path: Path) -> None:
    words = [marker(i, "w") for i in range(200)]
    with open_(tmp_path / "c") as collection:
        collection.add([{"id": "long", "text": sentences(words)}, {"id": "other", "text": "something else entirely"}])
        before = collection.get("long")
        chunk = before.chunks[2]
        overlap = [c for c in before.chunks if c is not chunk and c.start < chunk.end and chunk.start < c.end]
        assert overlap, "the test needs chunks that repeat some of their neighbour's text"
        gone = vectors_of(collection, f"chunk:{chunk.id}")
        (receipt,) = forgetting.forget(collection, [f"chunk:{chunk.id}"])
        after = collection.get("long")
        assert len(after.text) == len(before.text)
        assert after.text[chunk.start : chunk.end].strip() == ""
        assert after.text[: chunk.start] + before.text[chunk.start : chunk.end] + after.text[chunk.end :] == before.text
        assert [c.position for c in after.chunks] == [c.position for c in before.chunks if c is not chunk]
        for c in after.chunks:
            assert c.text == after.text[c.start : c.end] == c.text.strip()
            assert collection.search(embedded_input(c.headings, c.text), k=1)[0].id == f"chunk:{c.id}"
        (row,) = [row for row in collection.ledger() if row.key == "long"]
        assert (row.chunks, row.tokens) == (len(after.chunks), sum(c.kept for c in after.chunks))
        assert receipt["forgotten"][0]["neighbours_embedded_again"] == len(overlap)
        with pytest.raises(NotFound):
            collection.get(f"chunk:{chunk.id}")
    assert_gone(tmp_path, [word for word in words if word in chunk.text], gone)


def test_a_chunk_is_taken_out_of_a_backup_too(tmp_path: Path) -> None:
    words = [marker(i, "w") for i in range(200)]
    with open_(tmp_path / "c") as collection:
        collection.add([{"id": "long", "text": sentences(words)}])
        backups.backup(collection, tmp_path / "b")
        chunk = collection.get("long").chunks[1]
        (receipt,) = forgetting.forget(collection, [f"chunk:{chunk.id}"])
        assert receipt["backups"] == [{"path": str(tmp_path / "b"), "state": "rewritten"}]
        left = collection.get("long")
        wanted = [(c.position, c.text) for c in left.chunks]
    assert_gone(tmp_path, [word for word in words if word in chunk.text], [])
    backups.restore(tmp_path / "b", tmp_path / "back")
    with open_(tmp_path / "back") as collection:
        restored = collection.get("long")
        assert restored.text == left.text
        assert [(c.position, c.text) for c in restored.chunks] == wanted


def test_the_last_chunk_of_a_document_takes_the_document_with_it(tmp_path: Path) -> None:
    with open_(tmp_path / "c") as collection:
        collection.add([{"id": "a", "text": "one chunk alone"}, {"id": "b", "text": "another one"}])
        (chunk,) = collection.get("a").chunks
        (receipt,) = forgetting.forget(collection, [f"chunk:{chunk.id}"])
        assert [row["kind"] for row in receipt["forgotten"]] == ["document"]
        assert [row.key for row in collection.ledger()] == ["b"]


# --- files that hold many documents, and what is said of documents ---------------------------------------------------


def packed(folder: Path, name: str, numbers: range, *, said: dict[str, Any] | None = None) -> Path:
    """An archive of texts, a picture and an archive in it; what is said of it lies beside it."""
    path = folder / "docs" / name
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path.with_name("inner.zip"), "w") as inner:
        inner.writestr(f"{marker(numbers[0], 'inner')}.txt", f"inside {marker(numbers[0], 'deepest')} it lies")
    with zipfile.ZipFile(path, "w") as box:
        for number in numbers:
            box.writestr(f"{marker(number, 'part')}.txt", f"the text {marker(number, 'text')} of {number}")
        box.writestr(f"{marker(numbers[0], 'picture')}.png", b"\x89PNG\r\n\x1a\n" + bytes(100))
        box.write(path.with_name("inner.zip"), f"{marker(numbers[0], 'box')}.zip")
    path.with_name("inner.zip").unlink()
    if said is not None:
        path.with_name(f"{name}.metadata.json").write_text(json.dumps(said))
    then = time.time() - 60
    os.utime(path, (then, then))
    return path


def packed_marks(number: int) -> list[str]:
    return [marker(number, part) for part in ("part", "text")]


def box_marks(number: int) -> list[str]:
    return [marker(number, part) for part in ("inner", "deepest", "picture", "box")]


def rows_of(folder: Path, sql: str) -> list[Any]:
    with sqlite3.connect(folder / "truth.db") as connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return [row[0] for row in found]


def test_a_file_of_many_documents_is_forgotten_with_all_that_is_in_it_from_backups_too(tmp_path: Path) -> None:
    said = {"customer": marker(0, "said"), "only": {marker(0, "field"): True}}
    packed(tmp_path, f"{marker(0, 'file')}.zip", range(3), said=said)
    packed(tmp_path, "other.zip", range(3, 6), said={"customer": marker(3, "said")})
    with open_(tmp_path / "c") as collection:
        collection.sync(tmp_path / "docs")
        backups.backup(collection, tmp_path / "b", indexes=True)
        key = f"docs/{marker(0, 'file')}.zip"
        wanted = {row["kind"]: row for row in forgetting.preview(collection, [key])}
        assert wanted.keys() == {"document", "container", "input"}
        (receipt,) = forgetting.forget(collection, [key])
        kinds = [row["kind"] for row in receipt["forgotten"]]
        assert {kind: kinds.count(kind) for kind in kinds} == {"document": 4, "container": 2, "input": 1}
        assert not [row.key for row in collection.ledger() if row.key.startswith(key)]
        assert collection.report().totals.documents == 4
        assert set(collection.report().fields) == {"customer", "member", "path"}
        assert [hit.document for hit in collection.search(f"the text {marker(4, 'text')} of 4", k=1)] == [
            f"docs/other.zip!/{marker(4, 'part')}.txt"
        ]
    marks = [mark for number in range(3) for mark in packed_marks(number)]
    marks += [*box_marks(0), marker(0, "file"), marker(0, "said"), marker(0, "field")]
    for folder in (tmp_path / "c", tmp_path / "b"):
        assert_gone(folder, marks, [])
        assert rows_of(folder, "SELECT key FROM containers ORDER BY key") == [
            "docs/other.zip", f"docs/other.zip!/{marker(3, 'box')}.zip"
        ]  # fmt: skip
        assert marker(0, "field") not in "".join(rows_of(folder, "SELECT path FROM fields"))


def test_a_part_is_forgotten_by_itself_and_comes_back_while_the_file_still_holds_it(tmp_path: Path) -> None:
    packed(tmp_path, "box.zip", range(3))
    part, inner = (f"docs/box.zip!/{name}" for name in (
        f"{marker(1, 'part')}.txt", f"{marker(0, 'box')}.zip!/{marker(0, 'inner')}.txt"
    ))  # fmt: skip
    with open_(tmp_path / "c") as collection:
        collection.sync(tmp_path / "docs")
        backups.backup(collection, tmp_path / "b")
        (receipt,) = forgetting.forget(collection, [part])
        assert [row["kind"] for row in receipt["forgotten"]] == ["document"]
        assert_gone(tmp_path / "c", packed_marks(1), [])
        assert_gone(tmp_path / "b", packed_marks(1), [])
        assert collection.get(inner).text
        # The last document in a file takes with it what is known of the file.
        (receipt,) = forgetting.forget(collection, [inner])
        assert [row["kind"] for row in receipt["forgotten"]] == ["document", "container"]
        assert_gone(tmp_path / "c", [marker(0, "box"), marker(0, "inner")], [])
        summary = collection.sync(tmp_path / "docs")
        assert (summary.documents, summary.embedded) == (2, 2), "the file was read again, and only these were not there"
        assert collection.get(part).text
        assert collection.sync(tmp_path / "docs").unchanged == 1


def test_what_is_said_of_documents_from_outside_goes_unless_others_share_it(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for number in (1, 2):
        (tmp_path / "docs" / f"{number}.txt").write_text(f"what {marker(number, 'text')} said")
        beside = {"name": marker(number, "said"), "shared": marker(0, "shared"), "text": None, "title": None}
        (tmp_path / "docs" / f"{number}.txt.metadata.json").write_text(json.dumps(beside))
    with open_(tmp_path / "c") as collection:
        collection.add_files(tmp_path / "docs", metadata={"given": marker(0, "given")})
        # Covered by another word, it is stored all the same.
        collection.add_files(tmp_path / "docs" / "1.txt", metadata={"name": "covered"})
        assert holding(tmp_path / "c", marker(1, "said").encode())
        (receipt,) = forgetting.forget(collection, ["docs/1.txt"])
        assert receipt["pieces_held_by_others"] >= 2
        assert collection.get("docs/2.txt").document.metadata["given"] == marker(0, "given")
    assert_gone(tmp_path / "c", [marker(1, "said"), marker(1, "text")], [])
    assert holding(tmp_path / "c", marker(0, "shared").encode())


def test_all_documents_of_a_file_that_match_a_filter_take_the_file_with_them(tmp_path: Path) -> None:
    packed(tmp_path, "a.zip", range(2), said={"customer": marker(0, "said")})
    packed(tmp_path, "b.zip", range(2, 4), said={"customer": marker(2, "said")})
    with open_(tmp_path / "c") as collection:
        collection.sync(tmp_path / "docs")
        forgetting.forget(collection, where={"customer": marker(0, "said")}, keep_key=True)
        rows = {row.key: row.reason for row in collection.ledger() if row.key.startswith("docs/a.zip")}
        assert rows == {"docs/a.zip": "it was forgotten"}
    assert_gone(tmp_path / "c", [marker(0, "said"), *packed_marks(0), *box_marks(0)], [])


def test_where_in_its_source_a_text_was_goes_too(tmp_path: Path) -> None:
    with open_(tmp_path / "c") as collection:
        collection.add([{"id": name, "text": f"what {name} has to say"} for name in ("one", "two")])
        store = SQLiteStore(tmp_path / "c")
        with store.transaction() as transaction:
            for number, name in enumerate(("one", "two")):
                document = transaction.live_id(name)
                assert document is not None
                transaction.add_places(document, [(0, f"sheet {marker(number, 'place')}"), (9, "sheet of totals")])
        store.close()
        assert marker(1, "place") in collection.search("what two has to say", k=1)[0].place
        forgetting.forget(collection, ["two"])
    assert_gone(tmp_path / "c", [marker(1, "place")], [])
    assert holding(tmp_path / "c", marker(0, "place").encode())
    assert holding(tmp_path / "c", b"sheet of totals")


# --- backups -------------------------------------------------------------------------------------------------------


def test_a_backup_is_rewritten_and_its_digests_hold_afterwards(folder: Path, tmp_path: Path) -> None:
    with open_(folder) as collection:
        old = backups.backup(collection, tmp_path / "b", indexes=True)
        # An older version of the same document is not the text that is searched for, and goes all the same.
        collection.add({**record(6), "text": "another text"})
        forgetting.forget(collection, [record(6)["id"]])
        (row,) = backups.backups(collection)
    assert row.digest == manifest.read(tmp_path / "b").digest != old.digest
    assert not any(holding(tmp_path / "b", mark.encode()) for mark in marks_of(6))
    backups.restore(tmp_path / "b", tmp_path / "back")
    with open_(tmp_path / "back") as collection:
        assert collection.report().totals.documents == DOCUMENTS - 1


def test_a_backup_that_is_not_at_hand_is_named_in_the_receipt(folder: Path, tmp_path: Path) -> None:
    with open_(folder) as collection:
        backups.backup(collection, tmp_path / "b")
        (tmp_path / "b").rename(tmp_path / "elsewhere")
        (receipt,) = forgetting.forget(collection, [record(1)["id"]])
    assert receipt["backups"] == [{"path": str(tmp_path / "b"), "state": "not at hand: it holds what it held"}]


# --- no claim without proof --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "utf-16", "vector"])
def test_success_is_refused_while_any_file_still_holds_a_piece(folder: Path, form: str) -> None:
    with open_(folder) as collection:
        key = record(8)["id"]
        text = collection.get(key).text
        pieces = {
            "text": text[600:660].encode(), "utf-16": text[600:660].encode("utf-16-le"),
            "vector": vectors_of(collection, key)[-1].astype("<f4").tobytes()[:52],
        }  # fmt: skip
        (folder / "left-behind.tmp").write_bytes(b"odd" + pieces[form] + b"end")
        with pytest.raises(StoreError, match=r"left-behind\.tmp.*forget --finish"):
            forgetting.forget(collection, [key])
        assert forgetting.receipts(collection) == []
        (trouble,) = [finding for finding in doctor.examine(folder) if finding.kind == "trouble"]
        assert (trouble.name, "forget --finish" in trouble.text) == ("forget", True)
        with pytest.raises(NotFound):
            collection.get(key)
        (folder / "left-behind.tmp").unlink()
        (receipt,) = forgetting.forget(collection)
        assert forgetting.receipts(collection) == [receipt]


def test_without_emptying_the_log_nothing_is_claimed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_(folder) as collection:
        collection.add(record(50))
        monkeypatch.setattr(SQLiteStore, "compact", lambda self: None)
        with pytest.raises(StoreError, match=r"truth\.db"):
            forgetting.forget(collection, [record(50)["id"]])
        monkeypatch.undo()
        assert len(forgetting.forget(collection)) == 1
    assert_gone(folder, marks_of(50), [])


def test_a_reader_of_an_older_moment_is_waited_for_and_then_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BUSY_MILLISECONDS", 200)
    reader = SQLiteStore(folder)
    with open_(folder) as collection, reader.snapshot() as snapshot:
        snapshot.seq()
        with pytest.raises(StoreBusy, match="read by another process"):
            forgetting.forget(collection, [record(1)["id"]])
    reader.close()
    with open_(folder) as collection:
        assert len(forgetting.forget(collection)) == 1
    assert_gone(folder, marks_of(1), [])


def test_a_collection_that_is_open_elsewhere_finds_nothing_of_it_at_its_next_search(folder: Path) -> None:
    with open_(folder) as one, open_(folder) as other:
        key, text = record(9)["id"], marker(9, "word5")
        assert other.search(text, mode="lexical")[0].document == key
        forgetting.forget(one, [key])
        assert not other.search(text, mode="lexical")
        assert key not in {hit.document for hit in other.search("anything", k=1000)}


def test_nothing_is_forgotten_when_a_name_is_not_there(folder: Path) -> None:
    with open_(folder) as collection:
        for names, where in ((["nobody"], None), (["chunk:999999"], None), ([], {"number": -1})):
            with pytest.raises(NotFound, match="nothing was forgotten"):
                forgetting.forget(collection, names, where=where)
        with pytest.raises(InputError, match="operator"):
            forgetting.forget(collection, where={"number": {"$near": 1}})
        assert collection.report().totals.documents == DOCUMENTS
        assert forgetting.forget(collection) == []


# --- the search by itself ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(min_size=0, max_size=400), piece=st.binary(min_size=PIECE, max_size=PIECE), at=st.integers(0, 400)
)
def test_a_piece_is_found_wherever_it_stands_and_only_there(data: bytes, piece: bytes, at: int) -> None:
    collected = Collected(b"salt" * 4)
    collected.vector(piece)
    marks = collected.marks()
    with_it = Search(marks, collected.salt)
    with_it.value(data[:at] + piece + data[at:], "here")
    assert bool(with_it.found) == bool(len(marks)) == (len(set(piece)) >= 6)
    without = Search(marks, collected.salt)
    without.value(data, "here")
    assert bool(without.found) == (piece in data and len(marks) > 0)


@pytest.mark.parametrize("before", [0, 1, (1 << 20) - 30, (1 << 20) - 12, (1 << 20) - 1, 1 << 20])
def test_a_piece_is_found_across_the_blocks_of_a_file(tmp_path: Path, before: int) -> None:
    collected = Collected(b"salt" * 4)
    collected.text("what nobody else would ever write")
    collected.text("short one")
    file = tmp_path / "file"
    file.write_bytes(bytes(before) + b"what nobody else would ever write" + bytes(before) + b"short one")
    search = Search(collected.marks(), collected.salt)
    search.file(file)
    assert len(search.found) == 3
    assert search.size == file.stat().st_size


# --- from the command line, and killed -----------------------------------------------------------------------------


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("run_cli.py")
    return subprocess.run(
        [sys.executable, str(script), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_command_shows_what_it_would_do_forgets_and_prints_a_receipt(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text(f"what {marker(1, 'a')} said\n")
    (tmp_path / "docs" / "b.txt").write_text("what stays\n")
    assert run(tmp_path, "add", "docs").returncode == 0
    dry = run(tmp_path, "forget", "docs/a.txt", "--dry-run", "--json")
    assert json.loads(dry.stdout)["id"] == "docs/a.txt"
    assert holding(tmp_path / ".sememe", marker(1, "a").encode())
    done = run(tmp_path, "forget", "docs/a.txt", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads(run(tmp_path, "forget", "--receipts", "--json").stdout)
    assert not holding(tmp_path / ".sememe", marker(1, "a").encode())
    again = run(tmp_path, "forget", "docs/a.txt")
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert run(tmp_path, "forget").returncode == 1
    assert run(tmp_path, "forget", "--finish").returncode == 0


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    from test_crash import Workers

    made = Workers()
    yield made
    made.close()


PLACES = (
    "database copied", "backup in place", "before commit", "forget taken out", "slab switched", "lexical switched",
    "forget indexes made anew", "compacted", "log emptied", "backup rewritten", "forget backups rewritten",
    "forget finished",
)  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_kill_leaves_nothing_forgotten_or_a_forget_that_the_next_run_finishes(
    workers: Any, filled: Path, tmp_path: Path
) -> None:
    kill(workers, filled, tmp_path, everywhere=False)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_kill_at_every_call_of_every_named_place_does_the_same(workers: Any, filled: Path, tmp_path: Path) -> None:
    kill(workers, filled, tmp_path, everywhere=True)


def kill(workers: Any, filled: Path, folder: Path, *, everywhere: bool) -> None:
    """Kill a backup and a forget at places that an uninterrupted run passes, and look at what is left."""
    key, source = record(11)["id"], folder / "source"
    shutil.copytree(filled, source / "collection")
    with open_(source / "collection") as collection:
        forgetting.forget(collection, where={"number": {"$gte": 14}})
        with sqlite3.connect(source / "collection" / "truth.db") as connection:
            connection.execute("DELETE FROM forgets")
        connection.close()
        vectors = vectors_of(collection, key)[-2:]
    whole = _scene(source, folder / "whole", key)
    workers.start(whole)
    assert workers.ended() == 0
    names = (whole.folder / "trace").read_text().split("\n")[:-1]
    places = range(len(names)) if everywhere else [len(names) - 1 - names[::-1].index(name) for name in PLACES]
    outcomes = set()
    for number in places:
        scene = _scene(source, folder / f"{number}", key)
        workers.start(scene, kill_at=number + 1)
        assert workers.ended() == -signal.SIGKILL
        outcomes.add(_examined(scene.folder, key, vectors))
        shutil.rmtree(scene.folder)
    assert outcomes == {"whole", "finished later", "finished"}


def _scene(source: Path, folder: Path, key: str) -> Any:
    from test_crash import Scenario

    scene = Scenario(shutil.copytree(source, folder))
    scene.then("backup", str(scene.folder / "backup"))
    scene.then("forget", [key])
    return scene


def _examined(folder: Path, key: str, vectors: list[np.ndarray]) -> str:
    with open_(folder / "collection") as collection:
        under_way = _under_way(folder / "collection")
        done = forgetting.receipts(collection)
        if not under_way and not done:
            assert collection.get(key).text == record(11)["text"]
            assert collection.report().totals.documents == 14
            return "whole"
        with pytest.raises(NotFound):
            collection.get(key)
        assert len(collection.search(vector_of("query"), k=10_000, recall=1)) == len(collection.vectors()[0])
        assert len(forgetting.forget(collection)) == (1 if under_way else 0)
        assert len(forgetting.receipts(collection)) == 1
        (state,) = forgetting.receipts(collection)[0]["backups"]
        assert state["state"] == "rewritten"
    (folder / "trace").unlink()
    (folder / "acks").unlink(missing_ok=True)
    assert_gone(folder, marks_of(11), vectors)
    backups.restore(folder / "backup", folder / "back")
    return "finished later" if under_way else "finished"


def _under_way(folder: Path) -> bool:
    store = SQLiteStore(folder)
    with store.snapshot() as snapshot:
        found = bool(snapshot.forgets(under_way=True))
    store.close()
    return found


# --- golden sets -----------------------------------------------------------------------------------------------


def test_what_asks_for_a_forgotten_document_or_quotes_it_leaves_the_golden_sets_and_their_backups(
    tmp_path: Path,
) -> None:
    quote = f"{marker(3, 'word1')} and so on {marker(3, 'word2')} and so on"
    with open_(tmp_path / "c") as collection:
        collection.add(record(number) for number in range(6))
        keys = {number: str(record(number)["id"]) for number in range(6)}
        for query, number in (("about three", 3), (quote, 4), ("about four", 4), (LICENCE[:80], 5)):
            golden.add(collection, query, [keys[number]])
        backups.backup(collection, tmp_path / "b")
        forgetting.forget(collection, [keys[3]])
        assert {one.query for one in golden.judgements(collection, "hand")} == {"about four", LICENCE[:80]}
        for folder in (tmp_path / "c", tmp_path / "b"):
            assert_gone(folder, [quote, "about three"], [])


def test_what_is_there_goes_before_a_deleted_key_of_the_name_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "sub/a.txt"):
        (tmp_path / name).write_text(f"pepper {name}")
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        monkeypatch.chdir(tmp_path)
        collection.add_files([Path("a.txt"), Path("sub/a.txt")])
        collection.delete("a.txt")
        monkeypatch.chdir(tmp_path / "sub")
        assert "sub/a.txt" in collection.get("a.txt").text
        forgetting.forget(collection, ["a.txt"])
        assert collection.search("pepper") == []


def test_that_a_document_was_deleted_is_forgotten_in_backups_and_never_kept_of_parts_of_a_file(tmp_path: Path) -> None:
    box = tmp_path / "box.jsonl"
    box.write_text('{"id": "x", "text": "one"}\n{"id": "y", "text": "two"}\n')
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.add([{"id": "d", "text": "alpha"}])
        collection.add_files([box])
        box.write_text('{"id": "x", "text": "one"}\n')
        collection.add_files([box])
        collection.delete("d")
        backups.backup(collection, tmp_path / "b")
        with sqlite3.connect(tmp_path / "b" / "truth.db") as kept:
            assert kept.execute("SELECT count(*) FROM removed").fetchone() == (1,)
        kept.close()
        forgetting.forget(collection, ["d"])
    with sqlite3.connect(tmp_path / "b" / "truth.db") as kept:
        assert kept.execute("SELECT count(*) FROM removed").fetchone() == (0,)
    kept.close()
