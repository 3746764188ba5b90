"""What is exported and imported answers as before; what others made comes in under a named space, or not at all."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import DIM, FakeEmbedder, vector_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import sememe
from sememe.errors import InputError, NotFound, SpaceMismatch
from sememe.keeping import adopting, entries, foreign, moving, parquet
from sememe.keeping.foreign import Fields
from sememe.settings import from_environment
from sememe.sources import files
from sememe.store import SQLiteStore
from sememe.types import Metric

FORMS = ("export.jsonl", "export", "export.parquet")
COUNT = 60
TEXTS = [f"a note about thing {i}" for i in range(COUNT)]
VECTORS = np.stack([vector_of(text) for text in TEXTS])


def open_(folder: Path) -> sememe.Collection:
    return sememe.open(folder, model=FakeEmbedder())


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A collection with files, records, two long documents and every kind of ledger row."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# One\n\nSome words.\n\n## Two\n\n" + "Other words stand here. " * 80)
    (docs / "wörter.txt").write_text("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 🥊\n")
    (docs / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    (docs / "empty.txt").write_text("")
    (docs / "bytes.txt").write_bytes(b"caf\xe9 \x81\x8d au lait and more of it " * 4)
    long = " ".join(f"word{i}" for i in range(30_000))
    with open_(tmp_path / "c") as collection:
        collection.add_files(docs)
        collection.add([{"id": "long", "text": long, "metadata": {"year": 2020, "tags": ["a", "ß"], "x": None}}])
        collection.add([{"id": "cut", "text": " ".join(["many"] * 99), "title": "T"}], chunk=False)
        collection.add([{"id": "same 1", "text": "said twice"}, {"id": "same 2", "text": "said twice"}])
    return tmp_path / "c"


def contents(folder: Path) -> Any:
    """Documents, chunks, vectors and the ledger, without the numbers that only one collection has."""
    with open_(folder) as collection:
        ids, vectors = collection.vectors()
        vector = dict(zip(ids.tolist(), vectors, strict=True))
        documents = {}
        for row in collection.ledger():
            try:
                record = collection.get(row.key)
            except NotFound:
                continue
            d = record.document
            chunks = [
                (c.position, c.start, c.end, c.headings, c.text, c.tokens, c.kept, vector[c.id].tobytes())
                for c in record.chunks
            ]
            documents[d.key] = (
                record.text, d.title, d.media_type, d.metadata, d.recipe, d.precision, d.stamp, d.added, chunks
            )  # fmt: skip
        return documents, list(collection.ledger()), collection.space


def answers(folder: Path) -> Any:
    with open_(folder) as collection:
        return [
            [
                (h.document, h.position, h.score, h.text, h.metadata)
                for h in collection.search(query, k=500, where=where)
            ]
            for query in ("said twice", "word17 word18", vector_of("x"))
            for where in (None, {"year": {"$gte": 2000}}, {"@added": {"$gt": "2020-01-01"}})
        ]


def take(source: Path, folder: Path) -> Any:
    return moving.import_(folder, moving.read(source), where=str(source))


@pytest.mark.parametrize("name", FORMS)
def test_what_is_exported_and_imported_is_the_same_and_answers_the_same(
    filled: Path, tmp_path: Path, name: str
) -> None:
    with open_(filled) as collection:
        counts = moving.export(collection, tmp_path / name)
    summary = take(tmp_path / name, tmp_path / "new")
    assert counts["documents"] == summary.documents == 7
    assert (summary.skipped, summary.truncated, summary.failed) == (2, 1, 0)
    assert contents(tmp_path / "new") == contents(filled)
    assert answers(tmp_path / "new") == answers(filled)
    again = take(tmp_path / name, tmp_path / "new")
    assert (again.documents, again.unchanged) == (0, 7)
    assert contents(tmp_path / "new") == contents(filled)


def test_an_imported_file_that_has_not_changed_is_not_embedded_again(filled: Path, tmp_path: Path) -> None:
    with open_(filled) as collection:
        moving.export(collection, tmp_path / "e")
    take(tmp_path / "e", tmp_path / "new")
    embedder = FakeEmbedder()
    with sememe.open(tmp_path / "new", model=embedder) as collection:
        summary = collection.sync(tmp_path / "docs")
    assert (summary.embedded, summary.unchanged) == (0, 3)


def put(path: Path, content: bytes) -> Path:
    """Write a file as if some time had passed since: its stamp can be trusted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = time.time() - 60
    os.utime(path, (then, then))
    return path


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A collection with files of many documents, pages of a PDF, and metadata from everywhere."""
    docs = tmp_path / "docs"
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as box:
        box.writestr("deep.txt", "it lies deep")
    with zipfile.ZipFile(outer, "w") as box:
        box.writestr("a.txt", "alpha words")
        box.writestr("inner.zip", inner.getvalue())
        box.writestr("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(100))
    put(docs / "box.zip", outer.getvalue())
    put(docs / "box.zip.metadata.json", json.dumps({"team": "red", "when": "2024-05-01"}).encode())
    put(docs / "rows.csv", b"id,text\n" + b"".join(b"r%d,row number %d of a table\n" % (i, i) for i in range(30)))
    put(docs / "note.md", b"---\ntitle: Its own\nyear: 2001\n---\nA note.\n")
    put(docs / "note.md.metadata.json", json.dumps({"title": "From beside", "year": 2002}).encode())
    put(docs / "odd.txt", b"It has a year of another type.")
    with open_(tmp_path / "c") as collection:
        collection.add_files(docs, metadata={"given": [1, {"x": None}], "suffix": None})
        collection.add_files(docs / "odd.txt", metadata={"year": "a word"})
        store = SQLiteStore(tmp_path / "c")
        with store.transaction() as transaction:
            document = transaction.live_id("docs/note.md")
            assert document is not None
            transaction.add_places(document, [(i, f"page {i}") for i in range(3)])
        store.close()
    return tmp_path / "c"


def remembered(folder: Path) -> Any:
    """Containers, places, layers and types of fields, without numbers and runs."""
    store = SQLiteStore(folder)
    with store.snapshot() as snapshot:
        documents = snapshot.documents(snapshot.live_documents()).values()
        found = (
            snapshot.containers(), snapshot.fields(),
            {d.key: (list(snapshot.places(d.id)), snapshot.layers(d.id)) for d in documents},
        )  # fmt: skip
    store.close()
    return found


@pytest.mark.parametrize("name", FORMS)
def test_files_of_many_documents_places_and_the_layers_of_metadata_move_along(
    packed: Path, tmp_path: Path, name: str
) -> None:
    with open_(packed) as collection:
        documents = collection.report().totals.documents
        moving.export(collection, tmp_path / name)
    summary = take(tmp_path / name, tmp_path / "new")
    assert (summary.documents, summary.failed, summary.mistyped) == (documents, 0, 1)
    assert remembered(tmp_path / "new") == remembered(packed)
    assert contents(tmp_path / "new") == contents(packed)
    boxes, types, _ = remembered(packed)
    assert [box.key for box in boxes] == ["docs/box.zip", "docs/box.zip!/inner.zip", "docs/rows.csv"]
    assert all(box.settled for box in boxes)
    assert types["when"] == "date"
    with open_(tmp_path / "new") as collection:
        (hit,) = collection.search("anything", where={"year": 2002})
        assert (hit.document, hit.place, hit.title) == ("docs/note.md", "page 0 – page 2", "From beside")
        statuses = collection.report().totals.statuses
    with open_(packed) as collection:
        assert statuses == collection.report().totals.statuses
    again = take(tmp_path / name, tmp_path / "new")
    assert (again.documents, again.unchanged) == (0, documents)
    assert remembered(tmp_path / "new") == remembered(packed)


@pytest.mark.parametrize("name", FORMS)
def test_a_sync_after_an_import_opens_no_file_and_embeds_nothing(
    packed: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_(packed) as collection:
        moving.export(collection, tmp_path / name)
    take(tmp_path / name, tmp_path / "new")
    opened: list[str] = []
    read = files.read_source
    monkeypatch.setattr(
        files, "read_source", lambda source, key, *rest: (opened.append(key), read(source, key, *rest))[1]
    )
    embedder = FakeEmbedder()
    with sememe.open(tmp_path / "new", model=embedder) as collection:
        before = collection.report().totals
        summary = collection.sync(tmp_path / "docs")
        assert (summary.unchanged, summary.documents, summary.embedded, summary.deleted) == (4, 0, 0, 0)
        assert collection.report().totals.documents == before.documents
    assert (opened, embedder.calls) == ([], 0)


def test_a_file_of_which_a_document_is_damaged_is_read_again_and_is_whole_then(packed: Path, tmp_path: Path) -> None:
    with open_(packed) as collection:
        moving.export(collection, tmp_path / "e.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    (start,) = [i for i, line in enumerate(lines) if line.get("id", "").endswith("deep.txt") and "digest" in line]
    lines[start + 1]["text"] = "it lies"
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert take(tmp_path / "e.jsonl", tmp_path / "new").failed == 1
    with open_(tmp_path / "new") as collection:
        summary = collection.sync(tmp_path / "docs")
        assert (summary.documents, summary.deleted) == (1, 0)
        assert collection.get("docs/box.zip!/inner.zip!/deep.txt").text == "it lies deep"
    assert contents(tmp_path / "new")[0].keys() == contents(packed)[0].keys()


def test_files_of_many_documents_of_an_import_that_ended_early_are_read_again(packed: Path, tmp_path: Path) -> None:
    with open_(packed) as collection:
        moving.export(collection, tmp_path / "e.jsonl")
    lines = (tmp_path / "e.jsonl").read_text().splitlines(keepends=True)
    (start,) = [i for i, line in enumerate(lines) if '"docs/rows.csv!/r20"' in line and '"document"' in line]
    (tmp_path / "e.jsonl").write_text("".join(lines[:start]))
    with pytest.raises(InputError, match="not written whole"):
        take(tmp_path / "e.jsonl", tmp_path / "new")
    assert not any(box.settled for box in remembered(tmp_path / "new")[0])
    (tmp_path / "docs" / "rows.csv").write_bytes(b"id,text\nr1,row number 1 of a table\nr2,another row now\n")
    with open_(tmp_path / "new") as collection:
        collection.sync(tmp_path / "docs")
        rows = {row.key for row in collection.ledger() if row.key.startswith("docs/rows.csv!/")}
        assert rows == {"docs/rows.csv!/r1", "docs/rows.csv!/r2"}
    assert all(box.settled for box in remembered(tmp_path / "new")[0])


@pytest.mark.parametrize("name", FORMS)
def test_an_export_of_before_comes_in_still(packed: Path, tmp_path: Path, name: str) -> None:
    """One without containers, places, layers and types of fields, as the first version wrote it."""
    new = entries.entries

    def old(snapshot: Any) -> Any:
        for entry in new(snapshot):
            if entry["kind"] not in ("container", "place"):
                yield {name: value for name, value in entry.items() if name not in ("layers", "places", "fields")}

    with pytest.MonkeyPatch.context() as patch, open_(packed) as collection:
        patch.setattr(moving, "entries", old)
        schemas = parquet._schemas
        patch.setattr(parquet, "_schemas", lambda pa, dim: _without(pa, schemas(pa, dim)))
        moving.export(collection, tmp_path / name)
    for table in tmp_path.glob(f"{name}/*.parquet"):
        if table.name in (parquet.CONTAINERS, parquet.PLACES):
            table.unlink()
    summary = take(tmp_path / name, tmp_path / "new")
    assert summary.failed == 0
    wanted, found = contents(packed), contents(tmp_path / "new")
    assert found[0] == wanted[0]
    assert remembered(tmp_path / "new")[1]["team"] == "string"
    with open_(tmp_path / "new") as collection:
        assert collection.sync(tmp_path / "docs").embedded == 0


def _without(pa: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        name: pa.schema([field for field in schema if field.name not in ("layers", "places")])
        for name, schema in schemas.items()
    }


def test_an_archive_that_comes_in_where_a_text_had_its_name_takes_its_place(packed: Path, tmp_path: Path) -> None:
    with open_(packed) as collection:
        moving.export(collection, tmp_path / "packed")
    with open_(tmp_path / "new") as collection:
        collection.add({"id": "docs/box.zip", "text": "a text by that name"})
        collection.add({"id": "docs/note.md", "text": "another"})
        moving.export(collection, tmp_path / "texts")
    take(tmp_path / "packed", tmp_path / "new")
    assert remembered(tmp_path / "new")[0] == remembered(packed)[0]
    assert contents(tmp_path / "new")[0] == contents(packed)[0]
    take(tmp_path / "texts", tmp_path / "new")
    with open_(tmp_path / "new") as collection:
        assert collection.get("docs/box.zip").text == "a text by that name"
        assert not [row.key for row in collection.ledger() if row.key.startswith("docs/box.zip!/")]
    assert [box.key for box in remembered(tmp_path / "new")[0]] == ["docs/rows.csv"]


def test_an_export_is_of_one_moment_and_needs_no_model(filled: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from sememe import collection; from sememe.keeping import moving\n"
        f"with collection.open({str(filled)!r}, create=False) as c: moving.export(c, {str(tmp_path / 'e')!r})\n"
        f"moving.import_({str(tmp_path / 'n')!r}, moving.read(__import__('pathlib').Path({str(tmp_path / 'e')!r})))\n"
        "assert 'openvino' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert contents(tmp_path / "n") == contents(filled)


def test_an_import_into_a_collection_of_another_space_is_refused_in_one_sentence(filled: Path, tmp_path: Path) -> None:
    with open_(filled) as collection:
        moving.export(collection, tmp_path / "e.jsonl")
    with sememe.open(tmp_path / "new", model=FakeEmbedder(dim=8, model="other")) as collection:
        collection.add("one text")
    with pytest.raises(SpaceMismatch, match=r"other.*fake.*dim 8 against 16.*--collection") as error:
        take(tmp_path / "e.jsonl", tmp_path / "new")
    assert "\n" not in str(error.value)


def test_another_export_of_the_same_model_is_let_in(filled: Path, tmp_path: Path) -> None:
    with open_(filled) as collection:
        moving.export(collection, tmp_path / "e")
    first = json.loads((tmp_path / "e" / "space.json").read_text())
    first["space"]["model"] = "fake, by another name"
    first["id"] = moving.Space.from_json(json.dumps(first["space"])).id
    (tmp_path / "e" / "space.json").write_text(json.dumps(first))
    with open_(tmp_path / "new") as collection:
        collection.add("one text")
    assert take(tmp_path / "e", tmp_path / "new").documents == 7
    first["canaries"] = base64.b64encode(np.ones((3, DIM), "<f4").tobytes()).decode()
    (tmp_path / "e" / "space.json").write_text(json.dumps(first))
    with pytest.raises(SpaceMismatch):
        take(tmp_path / "e", tmp_path / "new")


@settings(
    max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_line_costs_its_document_and_nothing_else(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    with open_(folder / "c") as collection:
        collection.add([{"id": f"n{i}", "text": text} for i, text in enumerate(TEXTS[:8])])
        moving.export(collection, folder / "e.jsonl")
    lines = [json.loads(line) for line in (folder / "e.jsonl").read_text().splitlines()]
    victims = [i for i, line in enumerate(lines) if line["kind"] in ("chunk", "text")]
    victim = lines[data.draw(st.sampled_from(victims))]
    field = data.draw(
        st.sampled_from(["vector", "crc", "end"] if victim["kind"] == "chunk" else ["text", "crc", "start"])
    )
    wrong: dict[str, Any] = {
        "vector": [base64.b64encode(bytes(64)).decode(), "!!", 7, base64.b64encode(bytes(8)).decode()],
        "crc": [1, "x", None], "end": [10**9, None], "text": ["", "other", 7], "start": [5, "a", None],
    }  # fmt: skip
    victim[field] = data.draw(st.sampled_from(wrong[field]))
    (folder / "e.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = take(folder / "e.jsonl", folder / "new")
    assert (summary.documents, summary.failed) == (7, 1)
    with open_(folder / "new") as collection:
        (row,) = [row for row in collection.ledger() if row.status == "failed"]
        assert row.reason.startswith("its export is damaged: ")
        assert collection.report().totals.documents == 7


@pytest.mark.parametrize("name", FORMS)
def test_an_export_that_ends_too_early_is_said_and_what_it_holds_is_kept(
    filled: Path, tmp_path: Path, name: str
) -> None:
    with open_(filled) as collection:
        moving.export(collection, tmp_path / name)
    for path in (tmp_path / name, tmp_path / name / "entries.jsonl", tmp_path / name / "texts.parquet"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"stored|export it again"):
        take(tmp_path / name, tmp_path / "new")
    with open_(tmp_path / "new") as collection:
        assert {row.status for row in collection.ledger()} <= {"embedded", "truncated", "skipped"}
        assert len(collection.vectors()[0]) == collection.report().totals.chunks


def test_a_killed_import_goes_on_where_it_was(tmp_path: Path) -> None:
    with open_(tmp_path / "c") as collection:
        collection.add([{"id": f"n{i}", "text": " ".join([text] * 40)} for i, text in enumerate(TEXTS)])
        moving.export(collection, tmp_path / "e")
    for stop_at in (1, 2, 3):
        code = (
            "import os, signal\nfrom pathlib import Path\nfrom sememe import failpoints\n"
            "from sememe.keeping import moving\nmoving.WINDOW_CHUNKS, seen = 32, []\n"
            "def reached(name):\n    seen.append(name)\n"
            f"    if seen.count('import window stored') == {stop_at}: os.kill(os.getpid(), signal.SIGKILL)\n"
            "failpoints.hook = reached\nmoving.import_('new', moving.read(Path('e')))\n"
        )
        killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
        assert killed.returncode == -signal.SIGKILL
        with open_(tmp_path / "new") as collection:
            for row in collection.ledger():
                assert collection.get(row.key).text
    summary = take(tmp_path / "e", tmp_path / "new")
    assert 0 < summary.unchanged < COUNT
    assert summary.unchanged + summary.documents == COUNT
    assert contents(tmp_path / "new") == contents(tmp_path / "c")


def test_a_long_document_moves_in_windows_that_are_small(filled: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(moving, "WINDOW_CHUNKS", 16)
    monkeypatch.setattr(moving, "WINDOW_CHARACTERS", 50_000)
    sizes: list[int] = []
    flush = moving._Import._flush
    monkeypatch.setattr(moving._Import, "_flush", lambda self: (sizes.append(len(self._window)), flush(self))[1])
    with open_(filled) as collection:
        moving.export(collection, tmp_path / "e.parquet")
    take(tmp_path / "e.parquet", tmp_path / "new")
    assert len(sizes) > 10
    assert max(sizes) < 60
    assert contents(tmp_path / "new") == contents(filled)


def test_an_export_replaces_nothing_unless_it_is_told_to(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with open_(filled) as collection:
        for target in (tmp_path / "mine", filled, filled / "inside"):
            with pytest.raises(InputError, match=r"another place|outside"):
                moving.export(collection, target, overwrite=True)
        moving.export(collection, tmp_path / "e")
        with pytest.raises(InputError, match="--overwrite"):
            moving.export(collection, tmp_path / "e")
        collection.delete("long")
        assert moving.export(collection, tmp_path / "e", overwrite=True)["documents"] == 6
    assert not list(tmp_path.glob("*.sememe-partial"))


# --- from others -----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopting, "load_model", lambda *_, **__: FakeEmbedder())


def write_lines(path: Path, rows: list[Any] | None = None) -> Path:
    rows = rows if rows is not None else [
        {"id": f"n{i}", "text": text, "metadata": {"n": i}} for i, text in enumerate(TEXTS)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def npy(folder: Path) -> dict[str, Any]:
    np.save(folder / "v.npy", VECTORS)
    return {"path": folder / "v.npy", "texts": write_lines(folder / "t.jsonl")}


def faiss_with(kind: str) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        import faiss

        index = faiss.index_factory(DIM, kind)
        index.train(VECTORS)
        index.add_with_ids(VECTORS, np.arange(COUNT)) if "IDMap" in kind else index.add(VECTORS)
        faiss.write_index(index, str(folder / "v.faiss"))
        return {"path": folder / "v.faiss", "texts": write_lines(folder / "t.jsonl")}

    return make


def chroma(folder: Path) -> dict[str, Any]:
    import chromadb

    client = chromadb.PersistentClient(str(folder / "v"), settings=chromadb.Settings(anonymized_telemetry=False))
    collection = client.create_collection("notes", embedding_function=None)
    collection.add(
        ids=[f"n{i}" for i in range(COUNT)], embeddings=VECTORS, documents=TEXTS,
        metadatas=[{"n": i} for i in range(COUNT)],
    )  # fmt: skip
    return {"path": folder / "v"}


def lance(folder: Path) -> dict[str, Any]:
    import lance as library
    import pyarrow as pa

    columns = {
        "id": [f"n{i}" for i in range(COUNT)], "text": TEXTS, "n": list(range(COUNT)),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.ravel()), DIM),
    }  # fmt: skip
    library.write_dataset(pa.table(columns), str(folder / "notes.lance"))
    return {"path": folder / "notes.lance"}


def llm(folder: Path) -> dict[str, Any]:
    """As `llm embed-multi --store` makes it."""
    with sqlite3.connect(folder / "embeddings.db") as connection:
        connection.executescript(
            "CREATE TABLE [collections] ([id] INTEGER PRIMARY KEY, [name] TEXT, [model] TEXT);"
            "CREATE TABLE 'embeddings' ([collection_id] INTEGER REFERENCES [collections]([id]), [id] TEXT,"
            " [embedding] BLOB, [content] TEXT, [content_blob] BLOB, [content_hash] BLOB, [metadata] TEXT,"
            " [updated] INTEGER, PRIMARY KEY ([collection_id], [id]));"
            "INSERT INTO collections VALUES (1, 'notes', 'mini');"
        )
        connection.executemany(
            "INSERT INTO embeddings VALUES (1, ?, ?, ?, NULL, NULL, ?, 0)",
            [
                (f"n{i}", struct.pack(f"<{DIM}f", *VECTORS[i]), text, json.dumps({"n": i}))
                for i, text in enumerate(TEXTS)
            ],
        )
    connection.close()
    return {"path": folder / "embeddings.db"}


def adopt(folder: Path, *, path: Path, space: Path | None = None, metric: Metric | None = None, **how: Any) -> Any:
    kind = foreign.kind_of(path)
    assert kind is not None
    source = foreign.open_source(path, kind, **how)
    if space is None:
        adopted = adopting.by_model("fake", metric=metric, settings=from_environment())
    else:
        adopted = adopting.by_file(space, metric=metric, settings=from_environment())
    return moving.import_(folder, adopting.entries(source, adopted))


SOURCES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "npy": npy, "flat": faiss_with("Flat"), "ivf": faiss_with("IVF2,Flat"), "hnsw": faiss_with("HNSW8,Flat"),
    "ids": faiss_with("IDMap,Flat"), "chroma": chroma, "lance": lance, "llm": llm,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", SOURCES)
def test_the_vectors_of_others_are_found_as_they_were(tmp_path: Path, name: str) -> None:
    made = SOURCES[name](tmp_path)
    if name == "ids":
        write_lines(tmp_path / "t.jsonl", [{"text": text, "n": i} for i, text in enumerate(TEXTS)])
    summary = adopt(tmp_path / "c", **made)
    assert (summary.documents, summary.failed, summary.embedded) == (COUNT, 0, 0)
    with open_(tmp_path / "c") as collection:
        for i in range(0, COUNT, 7):
            (hit,) = collection.search(TEXTS[i], k=1)
            assert (hit.document, hit.text, hit.metadata) == (f"{i}" if name == "ids" else f"n{i}", TEXTS[i], {"n": i})
            assert hit.score == pytest.approx(1, abs=1e-6)
        embedder = FakeEmbedder()
    with sememe.open(tmp_path / "c", model=embedder) as collection:
        assert collection.add(TEXTS[3]).embedded == 0, "a vector that was tried serves as the cache of its text"


def test_vectors_of_another_model_are_refused_with_the_cosine(tmp_path: Path) -> None:
    made = npy(tmp_path)
    np.save(tmp_path / "v.npy", np.roll(VECTORS, 1, axis=0))
    with pytest.raises(SpaceMismatch, match=r"the cosine is -?0\.\d{4}, and 0\.999 is asked for"):
        adopt(tmp_path / "c", **made)
    np.save(tmp_path / "v.npy", VECTORS[:, :8].copy())
    with pytest.raises(SpaceMismatch, match=r"8 dimensions, and fake makes 16"):
        adopt(tmp_path / "c", **made)
    assert not (tmp_path / "c").exists()


def test_a_space_in_a_file_is_enough_where_the_model_is_not_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> Any:
        raise NotFound("not here")

    monkeypatch.setattr(adopting, "load_model", none)
    fields = json.loads(FakeEmbedder().space.to_json())
    (tmp_path / "space.json").write_text(json.dumps({"id": "x", **fields, "prompts": {"query": "q: "}}))
    adopt(tmp_path / "c", **npy(tmp_path), space=tmp_path / "space.json", metric="dot")
    with sememe.open(tmp_path / "c", create=False) as collection:
        assert collection.space is not None
        assert (collection.space.metric, collection.space.prompts) == ("dot", (("query", "q: "),))
        assert collection.search(VECTORS[4], k=1)[0].document == "n4"
        (chunk,) = collection.get("n4").chunks
        assert (chunk.tokens, chunk.kept) == (0, 0), "nobody counted what the model reads"
    with pytest.raises(InputError, match="describes no space"):
        adopt(tmp_path / "c2", **npy(tmp_path), space=write_lines(tmp_path / "no.json", [{"model": "x"}]))
    coded = faiss_with("SQ8")(tmp_path)
    with pytest.raises(InputError, match="keeps codes"):
        adopt(tmp_path / "c3", **coded, space=tmp_path / "space.json")


def test_an_index_that_keeps_no_vectors_is_refused_with_the_reason(tmp_path: Path) -> None:
    import faiss

    made = faiss_with("LSH")(tmp_path)
    with pytest.raises(SpaceMismatch, match="the cosine is"):
        adopt(tmp_path / "c", **made)
    faiss.write_index_binary(faiss.IndexBinaryFlat(64), str(tmp_path / "v.faiss"))
    with pytest.raises(InputError, match="cannot be read as a FAISS index"):
        adopt(tmp_path / "c", **made)


def test_every_row_that_cannot_be_used_ends_in_the_ledger_and_the_rest_comes_in(tmp_path: Path) -> None:
    bad = VECTORS[:9].copy()
    bad[1], bad[2, 3] = 0, np.nan
    np.save(tmp_path / "v.npy", bad)
    rows: list[Any] = [{"id": f"n{i}", "text": TEXTS[i]} for i in range(9)]
    rows[3], rows[4], rows[5] = [1, 2], {"id": "n0", "text": TEXTS[4]}, {"id": "chunk:5", "text": TEXTS[5]}
    rows[6], rows[7] = {"id": "n6", "text": 17}, {"id": "n7"}
    lines = write_lines(tmp_path / "t.jsonl", rows)
    lines.write_bytes(lines.read_bytes().replace(b'{"id": "n8"', b'{"id": "n8\xff"'))
    summary = adopt(tmp_path / "c", path=tmp_path / "v.npy", texts=lines)
    assert (summary.documents, summary.failed) == (2, 7)
    with open_(tmp_path / "c") as collection:
        reasons = {row.key: row.reason for row in collection.ledger() if row.status == "failed"}
        assert {key: reason.split(",")[0][:34] for key, reason in reasons.items()} == {
            "n1": "its vector has length zero", "n2": "its vector has values that are not",
            "row 4 of v.npy": "it is a list", "row 5 of v.npy": "its id 'n0' was there before",
            "row 6 of v.npy": "its id 'chunk:5' begins with 'chunk"[:34], "n6": "its text is a int",
            "row 9 of v.npy": reasons["row 9 of v.npy"].split(",")[0][:34],
        }  # fmt: skip
        assert "not JSON in UTF-8" in reasons["row 9 of v.npy"]
        (silent,) = [row for row in collection.ledger() if row.key == "n7"]
        assert silent.remarks == ("no text was stored with its vector",)
        assert collection.search(VECTORS[7], k=1)[0].document == "n7"


def test_lines_and_vectors_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    made = npy(tmp_path)
    write_lines(tmp_path / "t.jsonl", [{"text": "one"}])
    with pytest.raises(InputError, match=r"60 vectors and .* 1 lines"):
        adopt(tmp_path / "c", **made)
    with pytest.raises(InputError, match="--texts"):
        adopt(tmp_path / "c", path=made["path"])
    for data in (b"", b"not an array", b"\x93NUMPY\x01\x00"):
        (tmp_path / "v.npy").write_bytes(data)
        with pytest.raises(InputError, match="cannot be read"):
            adopt(tmp_path / "c", **made)
    np.save(tmp_path / "v.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        adopt(tmp_path / "c", **made)
    np.save(tmp_path / "v.npy", np.arange(5))
    with pytest.raises(InputError, match="shape"):
        adopt(tmp_path / "c", **made)


def test_tables_and_fields_are_chosen_by_name(tmp_path: Path) -> None:
    made = llm(tmp_path)
    with sqlite3.connect(made["path"]) as connection:
        connection.execute("INSERT INTO collections VALUES (2, 'more', 'mini')")
    connection.close()
    with pytest.raises(InputError, match=r"its collections are more, notes; say which: --name"):
        adopt(tmp_path / "c", **made)
    with pytest.raises(InputError, match="none of them"):
        adopt(tmp_path / "c", **made, name="nothing")
    assert adopt(tmp_path / "c", **made, name="notes").documents == COUNT
    lines = write_lines(tmp_path / "t.jsonl", [{"nr": i, "body": text, "n": 1} for i, text in enumerate(TEXTS)])
    np.save(tmp_path / "v.npy", VECTORS)
    adopt(tmp_path / "d", path=tmp_path / "v.npy", texts=lines, fields=Fields(text="body", id="nr"))
    with open_(tmp_path / "d") as collection:
        assert (collection.get("7").text, collection.get("7").document.metadata) == (TEXTS[7], {"n": 1})


def test_a_database_of_others_is_no_traceback(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(InputError, match="no database of llm"):
        adopt(tmp_path / "c", path=tmp_path / "x.db")
    with pytest.raises(InputError, match="say what it is"):
        list(moving.read(write_lines(tmp_path / "t.jsonl")))
    with pytest.raises(InputError, match="there is no"):
        moving.read(tmp_path / "nowhere")
    (tmp_path / "empty.lance").mkdir()
    with pytest.raises(InputError, match="cannot be read as a table"):
        adopt(tmp_path / "c", path=tmp_path / "empty.lance")


def test_a_large_array_comes_in_with_little_memory(tmp_path: Path) -> None:
    count, dim = 20_000, 256
    array = np.lib.format.open_memmap(tmp_path / "v.npy", mode="w+", dtype="<f4", shape=(count, dim))
    array[:] = np.random.default_rng(0).standard_normal((count, dim), dtype=np.float32)
    array.flush()
    write_lines(tmp_path / "t.jsonl", [{"id": i, "text": f"row {i}"} for i in range(count)])
    fields = {**json.loads(FakeEmbedder(dim=dim).space.to_json()), "model": "unknown"}
    (tmp_path / "space.json").write_text(json.dumps(fields))
    script = Path(__file__).with_name("run_cli.py")
    code = (
        f"import sys, resource; sys.path.insert(0, {str(script.parent)!r})\n"
        "from pathlib import Path\nfrom sememe.errors import NotFound\n"
        "from sememe.keeping import adopting, foreign, moving\n"
        "from sememe.settings import from_environment\n"
        "def none(*_, **__): raise NotFound('')\nadopting.load_model = none\n"
        "moving.derived.catch_up = lambda *_, **__: True\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "source = foreign.open_source(Path('v.npy'), 'npy', texts=Path('t.jsonl'))\n"
        "adopted = adopting.by_file(Path('space.json'), metric=None, settings=from_environment())\n"
        "print(moving.import_('c', adopting.entries(source, adopted)).documents)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    documents, megabytes = map(int, done.stdout.split())
    assert documents == count
    assert megabytes < 150, "the vectors alone are 20 MB, the database cache and map the most of the rest"


def test_the_commands_move_a_collection_and_take_in_an_array(tmp_path: Path) -> None:
    script = str(Path(__file__).with_name("run_cli.py"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    npy(tmp_path)
    refused = run("import", "v.npy", "--texts", "t.jsonl")
    assert refused.returncode == 1
    assert "--model NAME" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert json.loads(run("import", "v.npy", "--texts", "t.jsonl", "-m", "fake", "--json").stdout)["documents"] == COUNT
    assert json.loads(run("export", "e.jsonl", "--json").stdout)["chunks"] == COUNT
    assert run("import", "e.jsonl", "-c", "new").returncode == 0
    hit = json.loads(run("search", TEXTS[5], "-k", "1", "-c", "new", "--json").stdout)
    assert (hit["document"], hit["text"]) == ("n5", TEXTS[5])


def test_an_export_into_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.add("one text")
        with pytest.raises(InputError, match=r"there is no folder .*nowhere; make it first"):
            moving.export(collection, tmp_path / "nowhere" / "e.jsonl")


@pytest.mark.parametrize("name", ["nothing.npy", "nothing.faiss", "nowhere"])
def test_the_command_says_first_that_there_is_nothing_to_import(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-m", "sememe.cli", "import", name, "-c", "made"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"sememe: there is no file or folder {name}; check the spelling\n"
    assert not (tmp_path / "made").exists()
