"""Folders: what a sync adds, keeps, renames and deletes, and how little it does when nothing has changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fakes import FakeEmbedder

import sememe
from sememe.collection import preview
from sememe.errors import InputError
from sememe.ingest.sync import Choices


@pytest.fixture
def fake() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    for i in range(5):
        write(folder / f"{i}.txt", f"file number {i}")
    write(folder / "deep" / "notes.md", "# Notes\n\nsome words\n")
    return folder


@pytest.fixture
def collection(tmp_path: Path, fake: FakeEmbedder) -> sememe.Collection:
    return sememe.open(tmp_path / ".sememe", model=fake)


def write(path: Path, text: str, *, age: float = 60) -> None:
    """A file that was last written `age` seconds ago: a fresher one might still change within its time stamp."""
    path.write_text(text, encoding="utf-8")
    then = time.time() - age
    os.utime(path, (then, then))


def keys(collection: sememe.Collection) -> set[str]:
    return {hit.document for hit in collection.search("anything", k=1000)}


def test_a_second_sync_of_an_unchanged_folder_embeds_and_reads_nothing(
    collection: sememe.Collection, folder: Path, fake: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert collection.sync(folder).documents == 6
    calls = fake.calls
    opened: list[str] = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self.name) or original(self, *a, **k))
    again = collection.sync(folder)
    assert (again.unchanged, again.documents, again.embedded) == (6, 0, 0)
    assert fake.calls == calls
    assert not [name for name in opened if name.endswith((".txt", ".md"))]


def test_keys_are_relative_to_the_folder_of_the_collection(collection: sememe.Collection, folder: Path) -> None:
    collection.sync(folder)
    assert keys(collection) == {*(f"docs/{i}.txt" for i in range(5)), "docs/deep/notes.md"}


def test_a_changed_file_is_read_again_and_only_its_new_chunks_embedded(
    collection: sememe.Collection, folder: Path, fake: FakeEmbedder
) -> None:
    write(folder / "long.md", "# A\n\nfirst\n\n# B\n\nsecond\n")
    collection.sync(folder)
    before = len(fake.texts)
    write(folder / "long.md", "# A\n\nfirst\n\n# B\n\nchanged\n", age=30)
    summary = collection.sync(folder)
    assert (summary.documents, summary.chunks, summary.embedded) == (1, 2, 1)
    assert fake.texts[before:] == ["# B\n\nchanged"]


def test_a_touched_file_is_not_embedded_again(collection: sememe.Collection, folder: Path, fake: FakeEmbedder) -> None:
    collection.sync(folder)
    os.utime(folder / "1.txt", (1, 1))
    before = len(fake.texts)
    assert collection.sync(folder).unchanged == 6
    assert len(fake.texts) == before


def test_a_change_within_the_grain_of_the_clock_is_seen(collection: sememe.Collection, folder: Path) -> None:
    path = folder / "0.txt"
    path.write_text("before")
    stamp = path.stat()
    collection.sync(folder)
    path.write_text("after!")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert collection.sync(folder).documents == 1
    assert collection.get("docs/0.txt").text == "after!"


def test_checksum_sees_a_change_that_hides_its_time(collection: sememe.Collection, folder: Path) -> None:
    collection.sync(folder)
    stamp = (folder / "0.txt").stat()
    (folder / "0.txt").write_text("FILE NUMBER 0")
    os.utime(folder / "0.txt", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert collection.sync(folder).documents == 0
    assert collection.sync(folder, checksum=True).documents == 1


def test_removed_files_go(collection: sememe.Collection, folder: Path) -> None:
    collection.sync(folder)
    (folder / "3.txt").unlink()
    assert collection.sync(folder).deleted == 1
    assert "docs/3.txt" not in keys(collection)
    assert "docs/3.txt" not in {row.key for row in collection.ledger()}


def test_a_renamed_file_is_found_under_its_new_name_without_embedding(
    collection: sememe.Collection, folder: Path, fake: FakeEmbedder
) -> None:
    collection.sync(folder)
    before = len(fake.texts)
    (folder / "3.txt").rename(folder / "three.txt")
    summary = collection.sync(folder)
    assert (summary.renamed, summary.embedded, len(fake.texts)) == (1, 0, before)
    assert "docs/three.txt" in keys(collection)
    assert "docs/3.txt" not in keys(collection)


def test_add_never_deletes(collection: sememe.Collection, folder: Path) -> None:
    collection.add_files(folder)
    (folder / "3.txt").unlink()
    assert collection.add_files(folder).deleted == 0
    assert "docs/3.txt" in keys(collection)


def test_sync_leaves_what_lies_elsewhere_alone(collection: sememe.Collection, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "other.txt", "other")
    write(tmp_path / "docs2.txt", "a name that begins alike")
    collection.add_files([tmp_path / "other.txt", tmp_path / "docs2.txt"])
    collection.add({"id": "docs/given", "text": "not from a file"})
    collection.sync(folder)
    assert {"other.txt", "docs2.txt", "docs/given"} <= keys(collection)


def test_an_emptied_folder_is_an_unmounted_disk_until_said_otherwise(
    collection: sememe.Collection, folder: Path
) -> None:
    collection.sync(folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match="allow-empty"):
        collection.sync(folder)
    assert len(keys(collection)) == 6
    assert collection.sync(folder, allow_empty=True).deleted == 6
    assert keys(collection) == set()


def test_a_file_that_turns_binary_is_refused_and_its_old_text_is_not_served(
    collection: sememe.Collection, folder: Path
) -> None:
    collection.sync(folder)
    (folder / "0.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    summary = collection.sync(folder)
    assert summary.skipped == 1
    (row,) = [row for row in collection.report().troubles if row.key == "docs/0.txt"]
    assert "PNG" in row.reason
    assert "docs/0.txt" not in keys(collection)


def test_the_collection_never_takes_in_itself(tmp_path: Path, fake: FakeEmbedder) -> None:
    write(tmp_path / "a.txt", "words")
    with sememe.open(tmp_path / "visible", model=fake) as collection:
        collection.sync(tmp_path)
        collection.sync(tmp_path)
        assert keys(collection) == {"a.txt"}


def test_a_moved_project_needs_nothing_embedded(tmp_path: Path, fake: FakeEmbedder) -> None:
    project = tmp_path / "here"
    project.mkdir()
    write(project / "a.txt", "words")
    with sememe.open(project / ".sememe", model=fake) as collection:
        collection.sync(project)
    calls = len(fake.texts)
    project.rename(tmp_path / "there")
    with sememe.open(tmp_path / "there" / ".sememe", model=fake) as collection:
        assert collection.sync(tmp_path / "there").unchanged == 1
        assert len(fake.texts) == calls


def test_sync_takes_one_folder(collection: sememe.Collection, folder: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        collection.sync(folder / "0.txt")
    with pytest.raises(InputError, match="there is no folder"):
        collection.sync(folder / "nowhere")


def test_what_a_rule_leaves_out_is_counted(collection: sememe.Collection, folder: Path) -> None:
    write(folder / ".secret", "hidden")
    (folder / "__pycache__").mkdir()
    summary = collection.sync(folder)
    assert (summary.documents, summary.passed_over) == (6, 2)
    assert collection.sync(folder, hidden=True).documents == 1


def test_another_collection_in_the_folder_is_passed_over(collection: sememe.Collection, folder: Path) -> None:
    with sememe.open(folder / "mine", model=FakeEmbedder()) as other:
        other.add("words")
    summary = collection.sync(folder)
    assert (summary.documents, summary.skipped, summary.passed_over) == (6, 0, 1)


def test_a_folder_that_is_gone_can_be_synced_away(collection: sememe.Collection, folder: Path) -> None:
    collection.sync(folder)
    folder.rename(folder.parent / "elsewhere")
    with pytest.raises(InputError, match="allow-empty"):
        collection.sync(folder)
    assert collection.sync(folder, allow_empty=True).deleted == 6


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_two_names_never_share_a_key(collection: sememe.Collection, folder: Path) -> None:
    for name in (b"bad\xff.txt", b"bad\\xff.txt"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text(repr(name))
    assert collection.sync(folder).documents == 8
    assert len(keys(collection)) == 8
    assert collection.sync(folder).deleted == 0


def test_a_dry_run_counts_a_renamed_file_as_one_event(collection: sememe.Collection, folder: Path) -> None:
    collection.sync(folder)
    (folder / "3.txt").rename(folder / "three.txt")
    (folder / "4.txt").unlink()
    planned = preview([folder], path=collection.path, model=FakeEmbedder(), choices=Choices(deleting=True))
    assert (planned.renamed, planned.deleted, planned.documents) == (1, 1, 0)
    done = collection.sync(folder)
    assert (done.renamed, done.deleted, done.documents) == (1, 1, 0)


def test_a_file_has_its_own_name_and_not_that_of_a_link_which_comes_before_it(
    collection: sememe.Collection, folder: Path
) -> None:
    (folder / "zoo").mkdir()
    (folder / "zoo" / "ape.txt").write_text("an ape")
    (folder / "a link").symlink_to("zoo")
    (folder / "also.txt").symlink_to("zoo/ape.txt")
    collection.sync(folder)
    assert "docs/zoo/ape.txt" in keys(collection)
    assert not {"docs/a link/ape.txt", "docs/also.txt"} & set(keys(collection))
