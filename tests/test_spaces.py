"""Several spaces a collection: vectors by other models beside the own ones, made from the texts that are stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEmbedder, vector_of

import sememe
from sememe import doctor
from sememe.errors import InputError, ModelError, NotFound, SpaceMismatch
from sememe.keeping import backups, forgetting, moving
from sememe.search.query import Route
from sememe.spaces import add_space, drop_space, preview_space, spaces
from sememe.store import SQLiteStore
from sememe.types import Embedded

TEXTS = [f"text number {i} of the collection" for i in range(30)]
FINE = Route(space="fine")


def second(*, dim: int = 8, max_tokens: int = 64, digest: str = "1" * 64) -> FakeEmbedder:
    """Another model: other vectors, of another length."""
    return FakeEmbedder(model="second", digest=digest, dim=dim, max_tokens=max_tokens)


@pytest.fixture
def opened(tmp_path: Path) -> sememe.Collection:
    """A collection of 30 texts, each with a key of its own."""
    made = sememe.open(tmp_path / "c", model=FakeEmbedder())
    made.add([{"id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)])
    return made


def found(opened: sememe.Collection, text: str) -> tuple[str, float]:
    """The document nearest to a text in the further space, and its score."""
    hit = opened.search(text, k=1, route=FINE)[0]
    return hit.document, round(hit.score, 4)


def test_a_backfill_embeds_what_is_stored_and_reads_no_source_again(tmp_path: Path) -> None:
    source = tmp_path / "note.txt"
    source.write_text("a note about the sea")
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add_files(source)
        source.unlink()
        filled = add_space(opened, "fine", second())
        assert (filled.embedded, filled.complete) == (1, True)
        hits = opened.search("a note about the sea", route=FINE)
        assert hits[0].document.endswith("note.txt")
        assert "of space 'fine'" in str(hits.plan)
        assert opened.search("a note about the sea")[0].score == pytest.approx(1)


def test_what_is_added_later_gets_a_vector_in_every_space(opened: sememe.Collection, tmp_path: Path) -> None:
    add_space(opened, "fine", second())
    opened.add({"id": "new", "text": "something entirely new"})
    assert found(opened, "something entirely new") == ("new", 1.0)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("from a folder")
    opened.sync(folder)
    assert found(opened, "from a folder")[1] == 1.0
    (report,) = spaces(opened)
    assert (report.vectors, report.lacking) == (32, 0)


def test_the_answers_of_a_space_are_those_of_its_vectors(opened: sememe.Collection) -> None:
    add_space(opened, "fine", second())
    query = vector_of("whatever", 8)
    table = np.array([vector_of(text, 8, "1" * 64) for text in TEXTS])
    best = [f"d{i}" for i in np.argsort(-(table @ query), kind="stable")[:10]]
    assert [hit.document for hit in opened.search(query, route=FINE)] == best
    opened.optimize()
    assert [hit.document for hit in opened.search(query, route=FINE)] == best


def test_a_filter_holds_in_every_space(opened: sememe.Collection) -> None:
    add_space(opened, "fine", second())
    hits = opened.search("text number 3 of the collection", where={"@key": "d7"}, route=FINE)
    assert [hit.document for hit in hits] == ["d7"]


def test_an_interrupted_backfill_keeps_what_it_made_and_goes_on(
    opened: sememe.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sememe.ingest.backfill.BATCH", 8)
    model = second()

    def stop(done: int, total: int | None) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_space(opened, "fine", model, progress=stop)
    assert [(report.vectors, report.lacking) for report in spaces(opened)] == [(16, 14)]
    hits = opened.search(TEXTS[0], route=FINE)
    assert hits[0].document == "d0"
    assert "14 inputs have no vector in space 'fine'" in hits.notes[0]
    embedded = len(model.texts)
    assert add_space(opened, "fine").embedded == 14
    assert len(model.texts) - embedded == 14
    assert opened.search(TEXTS[29], route=FINE)[0].document == "d29"
    assert not opened.search(TEXTS[29], route=FINE).notes


def test_what_another_process_adds_without_the_space_is_known_to_be_lacking(
    opened: sememe.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as other:
        monkeypatch.setattr(other.further, "targets", list)
        add_space(opened, "fine", second())
        other.add({"id": "late", "text": "it came without"})
    assert spaces(opened)[0].lacking == 1
    assert opened.search("it came without", route=FINE).notes
    assert add_space(opened, "fine").embedded == 1
    assert found(opened, "it came without") == ("late", 1.0)


def test_a_deleted_document_leaves_no_vector_in_any_space(opened: sememe.Collection, tmp_path: Path) -> None:
    add_space(opened, "fine", second())
    opened.delete("d3")
    assert spaces(opened)[0].vectors == 29
    assert all(hit.document != "d3" for hit in opened.search(TEXTS[3], k=30, route=FINE))
    opened.add({"id": "twin", "text": TEXTS[4]})
    opened.delete("d4")
    assert found(opened, TEXTS[4]) == ("twin", 1.0)


def test_a_forgotten_document_is_in_no_file_of_a_further_space(opened: sememe.Collection, tmp_path: Path) -> None:
    add_space(opened, "fine", second())
    blob = vector_of(TEXTS[5], 8, "1" * 64).tobytes()
    files = [path for path in (tmp_path / "c").rglob("*") if path.is_file()]
    assert sum(blob in path.read_bytes() for path in files) >= 2
    (receipt,) = forgetting.forget(opened, ["d5"])
    assert receipt["pieces_held_by_others"] == 0
    assert not [path for path in (tmp_path / "c").rglob("*") if path.is_file() and blob in path.read_bytes()]
    assert found(opened, TEXTS[6]) == ("d6", 1.0)


@pytest.mark.parametrize("name", ["all.jsonl", "folder", "all.parquet"])
def test_an_export_carries_every_space_and_an_import_brings_it_back(
    opened: sememe.Collection, tmp_path: Path, name: str
) -> None:
    add_space(opened, "fine", second())
    moving.export(opened, tmp_path / name)
    summary = moving.import_(tmp_path / "copy", moving.read(tmp_path / name))
    assert (summary.documents, summary.failed, summary.warning) == (30, 0, "")
    with sememe.open(tmp_path / "copy", model=FakeEmbedder()) as copy:
        assert [report.as_dict() for report in spaces(copy)] == [report.as_dict() for report in spaces(opened)]
        query = vector_of("whatever", 8)
        assert [hit.document for hit in copy.search(query, route=FINE)] == [
            hit.document for hit in opened.search(query, route=FINE)
        ]


def test_an_import_of_documents_without_the_space_says_that_they_lack_it(
    opened: sememe.Collection, tmp_path: Path
) -> None:
    with sememe.open(tmp_path / "other", model=FakeEmbedder()) as other:
        other.add({"id": "foreign", "text": "from elsewhere"})
        moving.export(other, tmp_path / "other.jsonl")
    add_space(opened, "fine", second())
    moving.import_(tmp_path / "c", moving.read(tmp_path / "other.jsonl"))
    assert spaces(opened)[0].lacking == 1


def test_a_backup_with_indexes_holds_every_space(opened: sememe.Collection, tmp_path: Path) -> None:
    add_space(opened, "fine", second())
    backups.backup(opened, tmp_path / "backup", indexes=True)
    backups.restore(tmp_path / "backup", tmp_path / "restored")
    assert list((tmp_path / "restored").glob("space-*/vectors-*.slab"))
    with sememe.open(tmp_path / "restored", model=FakeEmbedder()) as restored:
        assert restored.search(vector_of(TEXTS[9], 8, "1" * 64), route=FINE)[0].document == "d9"


def test_the_doctor_looks_into_every_space(opened: sememe.Collection, tmp_path: Path) -> None:
    add_space(opened, "fine", second())
    kinds = {finding.name: finding.kind for finding in doctor.examine(tmp_path / "c")}
    assert kinds["vectors of fine"] == kinds["vector files of fine"] == "sound"
    (slab,) = (tmp_path / "c").glob("space-*/vectors-*.slab")
    slab.write_bytes(slab.read_bytes()[:-4] + b"\x01\x02\x03\x04")
    kinds = {finding.name: finding.kind for finding in doctor.examine(tmp_path / "c")}
    assert (kinds["vector files of fine"], kinds["vector files"]) == ("trouble", "sound")
    assert found(opened, TEXTS[29]) == ("d29", 1.0)


def test_a_dropped_space_leaves_nothing_and_its_name_is_free(opened: sememe.Collection, tmp_path: Path) -> None:
    add_space(opened, "fine", second())
    opened.search(TEXTS[0], route=FINE)
    assert drop_space(opened, "fine") == 30
    assert not list((tmp_path / "c").glob("space-*"))
    store = SQLiteStore(tmp_path / "c")
    with store.snapshot() as snapshot:
        assert [held.name for held in snapshot.spaces()] == [""]
        assert set(snapshot.index_stamps()) == {"vectors", "lexical"}
    store.close()
    with pytest.raises(NotFound, match="no space 'fine'"):
        opened.search(TEXTS[0], route=FINE)
    add_space(opened, "fine", second(digest="2" * 64, dim=12))
    assert found(opened, TEXTS[1]) == ("d1", 1.0)


def test_a_drop_that_was_killed_is_ended_by_asking_again(opened: sememe.Collection, tmp_path: Path) -> None:
    left = tmp_path / "c" / "space-0123456789abcdef"
    left.mkdir()
    (left / "vectors-0.slab").write_bytes(b"left by a process that was killed")
    with pytest.raises(NotFound, match="no space 'fine' to drop"):
        drop_space(opened, "fine")
    assert not left.exists()


def test_a_model_that_is_another_now_is_refused(opened: sememe.Collection) -> None:
    add_space(opened, "fine", second())
    with pytest.raises(SpaceMismatch, match="no longer makes the vectors that space 'fine'"):
        add_space(opened, "fine", second(digest="9" * 64))
    assert found(opened, TEXTS[1]) == ("d1", 1.0)


@pytest.mark.parametrize(
    ("name", "model", "error", "said"),
    [
        ("", second, InputError, "cannot be the name of a space"),
        ("a/b", second, InputError, "cannot be the name of a space"),
        ("new", lambda: None, NotFound, "name its model"),
        ("own", FakeEmbedder, InputError, "has already"),
        ("twice", second, InputError, "in space 'fine'"),
    ],
)
def test_what_cannot_become_a_space_is_refused_and_nothing_is_written(
    opened: sememe.Collection, name: str, model: Callable[[], FakeEmbedder | None], error: type[Exception], said: str
) -> None:
    add_space(opened, "fine", second())
    with pytest.raises(error, match=said):
        add_space(opened, name, model())
    assert [report.name for report in spaces(opened)] == ["fine"]


def test_an_empty_collection_has_nothing_to_embed(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened, pytest.raises(NotFound, match="is empty"):
        add_space(opened, "fine", second())


def test_vectors_that_are_not_numbers_are_never_stored(opened: sememe.Collection) -> None:
    class Broken(FakeEmbedder):
        def embed(self, texts, **options) -> Embedded:  # type: ignore[no-untyped-def, override]
            made = super().embed(texts, **options)
            if any("number 7" in text for text in texts):
                made.vectors[:] = np.nan
            return made

    with pytest.raises(ModelError, match="not finite"):
        add_space(opened, "fine", Broken(model="broken", digest="3" * 64, dim=8))
    assert spaces(opened)[0].vectors == 0


def test_what_a_shorter_model_cuts_off_is_counted(opened: sememe.Collection) -> None:
    planned = preview_space(opened, "fine", second(max_tokens=5))
    assert (planned.inputs, planned.truncated) == (30, 30)
    assert not spaces(opened)
    assert add_space(opened, "fine", second(max_tokens=5)).truncated == 30
    assert spaces(opened)[0].truncated == 30


def test_a_collection_of_before_opens_and_keeps_its_files(opened: sememe.Collection, tmp_path: Path) -> None:
    before = {path.name for path in (tmp_path / "c").glob("vectors-*")}
    add_space(opened, "fine", second())
    assert {path.name for path in (tmp_path / "c").glob("vectors-*")} == before
    assert opened.search(TEXTS[2])[0].document == "d2"
