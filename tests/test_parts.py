"""Files that hold many documents: every part a document of its own, nothing read twice, nothing left behind."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

import sememe
from sememe.collection import preview
from sememe.errors import NotFound
from sememe.ingest import containers, cutting, pipeline, sync
from sememe.ingest.cutting import CutOptions, Windows
from sememe.ingest.items import Item, part_key
from sememe.sources import Part, Parts, files
from sememe.sources.formats import Format
from sememe.types import Block, Document

LONG_AGO = time.time() - 3600


def zip_of(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as box:
        for name, content in members.items():
            box.writestr(name, content)
    return buffer.getvalue()


def put(path: Path, content: bytes | str, *, at: float = LONG_AGO) -> Path:
    """Write a file as if some time had passed since: its stamp can be trusted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (at, at))
    return path


class Project:
    """A folder with a collection beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.docs = folder / "docs"
        self.docs.mkdir()
        self.embedder = FakeEmbedder()

    def open(self) -> sememe.Collection:
        return sememe.open(self.folder / "c", model=self.embedder)

    def sync(self, **options: Any) -> pipeline.Summary:
        with self.open() as collection:
            return collection.sync(self.docs, **options)

    def dry(self, **options: Any) -> pipeline.Summary:
        choices = sync.Choices(deleting=True, **options)
        return preview(self.docs, path=self.folder / "c", model=self.embedder, choices=choices)

    def ledger(self) -> dict[str, tuple[str, str]]:
        with self.open() as collection:
            return {row.key: (row.status, row.reason) for row in collection.ledger()}

    def texts(self) -> dict[str, str]:
        with self.open() as collection:
            keys = [row.key for row in collection.ledger() if row.status == "embedded"]
            found = {}
            for key in keys:
                try:
                    found[key] = collection.get(key).text
                except NotFound:
                    assert "document" in self.ledger()[key][1]
            assert collection.report().totals.documents == len(found)
            assert collection.report().totals.statuses["embedded"] == len(found)
            return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all that is opened for reading, in its order."""
    names: list[str] = []
    count_opened(monkeypatch, names)
    return names


def count_opened(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    names.clear()
    read = files.read_source

    def noted(source: Any, key: str, *rest: Any) -> Any:
        names.append(key)
        return read(source, key, *rest)

    monkeypatch.setattr(files, "read_source", noted)
    monkeypatch.setattr("sememe.sources.archive.read_source", noted)


THREE: dict[str, str | bytes] = {"a.txt": "alpha words", "b.md": "# Beta\n\nbeta words", "sub/c.txt": "gamma words"}


def test_every_part_is_a_document_with_a_ledger_row_and_the_file_says_how_many(project: Project) -> None:
    put(project.docs / "box.zip", zip_of(THREE | {"picture.png": b"\x89PNG\r\n\x1a\n..."}))
    summary = project.sync()
    assert (summary.documents, summary.skipped, summary.deleted) == (3, 1, 0)
    box = "docs/box.zip"
    assert project.texts() == {f"{box}!/{name}": text for name, text in THREE.items()}
    assert project.ledger()[box] == ("embedded", "3 documents in 4 parts")
    assert project.ledger()[f"{box}!/picture.png"] == (
        "skipped", "binary file (PNG image): pictures are not read by add and sync"
    )  # fmt: skip


def test_an_unchanged_file_is_not_opened_and_a_touched_one_gives_nothing_to_do(
    project: Project, opened: list[str]
) -> None:
    box = put(project.docs / "box.zip", zip_of(THREE))
    project.sync()
    opened.clear()
    assert project.sync().unchanged == 1
    os.utime(box, (LONG_AGO + 60, LONG_AGO + 60))
    assert project.sync().unchanged == 1
    box.chmod(0o600)
    assert project.sync().unchanged == 1
    assert opened == []


def test_of_a_changed_file_only_the_changed_parts_are_opened_and_embedded(project: Project, opened: list[str]) -> None:
    box = project.docs / "box.zip"
    put(box, zip_of(THREE))
    project.sync()
    opened.clear()
    project.embedder.texts.clear()
    put(box, zip_of({"a.txt": "alpha words", "sub/c.txt": "other words", "d.txt": "delta words"}), at=LONG_AGO + 9)
    planned = project.dry()
    assert (planned.documents, planned.unchanged, planned.deleted) == (2, 1, 1)
    opened.clear()
    summary = project.sync()
    assert (summary.documents, summary.unchanged, summary.deleted) == (2, 1, 1)
    assert opened == ["docs/box.zip", "docs/box.zip!/sub/c.txt", "docs/box.zip!/d.txt"]
    assert project.embedder.texts == ["other words", "delta words"]
    assert set(project.texts()) == {f"docs/box.zip!/{name}" for name in ("a.txt", "sub/c.txt", "d.txt")}
    assert "docs/box.zip!/b.md" not in project.ledger()


def test_a_file_that_is_gone_takes_its_parts_along(project: Project) -> None:
    put(project.docs / "box.zip", zip_of(THREE))
    put(project.docs / "a.txt", "a file")
    project.sync()
    (project.docs / "box.zip").unlink()
    assert project.dry().deleted == 3
    assert project.sync().deleted == 3
    assert set(project.ledger()) == {"docs/a.txt"}
    with project.open() as collection:
        assert len(collection.vectors()[0]) == 1


def test_a_renamed_file_is_embedded_no_second_time(project: Project) -> None:
    box = put(project.docs / "box.zip", zip_of(THREE))
    project.sync()
    project.embedder.texts.clear()
    box.rename(project.docs / "other.zip")
    summary = project.sync()
    assert (summary.documents, summary.renamed, summary.deleted) == (0, 3, 0)
    assert project.embedder.texts == []
    assert set(project.texts()) == {f"docs/other.zip!/{name}" for name in THREE}


def test_deleting_a_file_deletes_its_parts_and_the_next_sync_brings_them_back(project: Project) -> None:
    put(project.docs / "box.zip", zip_of(THREE))
    put(project.docs / "box.zip.txt", "of nearly the same name")
    project.sync()
    with project.open() as collection:
        collection.delete("docs/box.zip")
    assert set(project.ledger()) == {"docs/box.zip.txt"}
    assert project.sync().documents == 3


def test_a_deleted_part_comes_back_as_a_deleted_file_does(project: Project) -> None:
    put(project.docs / "box.zip", zip_of({"in.zip": zip_of(THREE), "a.txt": "words"}))
    project.sync()
    with project.open() as collection:
        collection.delete("docs/box.zip!/in.zip!/a.txt")
        with pytest.raises(NotFound):
            collection.get("docs/box.zip!/in.zip!/a.txt")
    summary = project.sync()
    assert (summary.documents, summary.unchanged) == (1, 3)


def test_files_within_files_are_read_to_a_limit(project: Project) -> None:
    box: dict[str, str | bytes] = {"a.txt": "the innermost words"}
    for depth in range(cutting.DEEPEST + 2):
        box = {f"{depth}.zip": zip_of(box), f"{depth}.txt": f"words of depth {depth}"}
    put(project.docs / "box.zip", zip_of(box))
    summary = project.sync()
    assert (summary.documents, summary.skipped) == (cutting.DEEPEST, 1)
    ((reason),) = [reason for status, reason in project.ledger().values() if status == "skipped"]
    assert reason.startswith("it lies in 5 files")
    assert project.sync().unchanged == 1


def test_a_changed_outer_file_passes_over_unchanged_inner_ones(project: Project, opened: list[str]) -> None:
    inner = zip_of(THREE)
    put(project.docs / "box.zip", zip_of({"in.zip": inner, "gone.zip": inner, "a.txt": "words"}))
    project.sync()
    opened.clear()
    put(project.docs / "box.zip", zip_of({"in.zip": inner, "a.txt": "other words"}), at=LONG_AGO + 9)
    summary = project.sync()
    assert opened == ["docs/box.zip", "docs/box.zip!/a.txt"]
    assert (summary.documents, summary.unchanged, summary.deleted) == (1, 1, 3)
    assert len(project.texts()) == 4
    assert not [key for key in project.ledger() if "gone.zip" in key]


def test_a_file_that_turns_into_a_document_and_back_leaves_nothing_behind(project: Project) -> None:
    path = project.docs / "thing"
    for step, content in enumerate((zip_of(THREE), "plain words", zip_of({"x.txt": "words of x"}), b"", "words")):
        put(path, content, at=LONG_AGO + step)
        project.sync()
        expected: dict[str, str] = {}
        if isinstance(content, str):
            expected = {"docs/thing": content}
        elif content:
            with zipfile.ZipFile(path) as box:
                expected = {f"docs/thing!/{name}": box.read(name).decode() for name in box.namelist()}
        assert project.texts() == expected
        with project.open() as collection:
            assert len(collection.vectors()[0]) == len(expected)


def test_what_cannot_be_read_to_its_end_keeps_what_came_before_and_what_was_stored(project: Project) -> None:
    def packed(members: dict[str, str]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, text in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
        return buffer.getvalue()

    noise = "".join(f"{number * 7919 % 100003} " for number in range(40_000))
    box = put(project.docs / "box.tar.gz", packed({"a.txt": "alpha", "b.txt": "beta", "z.txt": "zeta"}))
    project.sync()
    whole = packed({"a.txt": "other alpha", "b.txt": "beta", "long.txt": noise, "z.txt": "zeta"})
    put(box, whole[: len(whole) // 2], at=LONG_AGO + 9)
    summary = project.sync()
    assert (summary.documents, summary.failed, summary.deleted) == (1, 1, 0)
    kept = {f"docs/box.tar.gz!/{name}": text for name, text in (("a.txt", "other alpha"), ("b.txt", "beta"))}
    assert project.texts() == kept | {"docs/box.tar.gz!/z.txt": "zeta"}
    status, reason = project.ledger()["docs/box.tar.gz"]
    assert status == "failed"
    assert "breaks off" in reason
    put(box, whole, at=LONG_AGO + 10)
    assert project.sync().failed == 0
    assert project.texts()["docs/box.tar.gz!/long.txt"] == noise


def test_a_part_whose_extra_is_missing_is_tried_again_and_only_then_is_the_file_settled(
    project: Project, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    said = "gzip needs the extra: pip install 'sememe[some]'"
    monkeypatch.setattr(Format, "missing", property(lambda form: said if form.name == "packed" else ""))
    put(project.docs / "box.zip", zip_of(THREE | {"d.txt.gz": gzip.compress(b"delta words")}))
    for _ in range(2):
        assert project.sync().failed == 1
        assert project.ledger()["docs/box.zip!/d.txt.gz"] == ("failed", said)
    monkeypatch.undo()
    assert project.sync().documents == 1
    assert project.texts()["docs/box.zip!/d.txt.gz!/d.txt"] == "delta words"
    count_opened(monkeypatch, opened)
    project.sync()
    assert opened == []


def test_names_cannot_be_mistaken_for_parts() -> None:
    names = ["a!/b", "a!\\/b", "a", "a!", "!/", "\\", "a\\!/b", "\ud800", "\udc80"]
    keys = {part_key("box", name) for name in names}
    assert len(keys) == len(names)
    assert all(key.count("!/") == 1 for key in keys)


def test_a_folder_named_like_a_part_is_not_taken_for_one(project: Project) -> None:
    put(project.docs / "box.zip", zip_of({"a.txt": "in the box"}))
    put(project.docs / "box.zip!" / "a.txt", "in the folder")
    project.sync()
    assert sorted(project.texts().values()) == ["in the box", "in the folder"]
    (project.docs / "box.zip").unlink()
    project.sync()
    assert list(project.texts().values()) == ["in the folder"]


@settings(max_examples=25, deadline=None)
@given(
    states=st.lists(
        st.dictionaries(st.sampled_from(["a.txt", "b.txt", "in/c.txt", "d.zip", "e.zip"]), st.integers(0, 3)),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_syncing_any_sequence_of_contents_leaves_what_the_last_one_holds(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, int]]
) -> None:
    project = Project(tmp_path_factory.mktemp("any"))
    for step, state in enumerate(states):
        members: dict[str, str | bytes] = {}
        expected: dict[str, str] = {}
        for name, number in state.items():
            inner = {f"{i}.txt": f"inner {number} {i}" for i in range(number)}
            members[name] = zip_of(inner) if name.endswith(".zip") else f"text {number}"
            if name.endswith(".zip"):
                expected |= {f"docs/box.zip!/{name}!/{part}": text for part, text in inner.items()}
            else:
                expected[f"docs/box.zip!/{name}"] = f"text {number}"
        put(project.docs / "box.zip", zip_of(members), at=LONG_AGO + step)
        project.sync()
        assert project.texts() == expected
        keys = {key for key in project.ledger() if "!/" in key and not key.endswith(".zip")}
        assert keys == set(expected)


# Where a text was


def test_places_are_stored_with_the_text_and_said_of_every_chunk(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = ["alpha " * 40, "beta " * 40, "gamma " * 10]

    def paged(found: Any, key: str, options: Any) -> Document:
        blocks = [Block(f"{text}\n\n", place=f"page {number}") for number, text in enumerate(pages, 1)]
        return Document(key, [*blocks, Block("the end")], reader="text/1")

    monkeypatch.setattr("sememe.ingest.items.read_file", paged)
    put(project.docs / "a.txt", "read by the stand-in")
    project.sync()
    with project.open() as collection:
        record = collection.get("docs/a.txt")
        text = "".join(f"{page}\n\n" for page in pages) + "the end"
        assert record.text == text
        starts = [text.index("beta"), text.index("gamma"), text.index("the end")]
        for chunk in record.chunks:
            first = 1 + sum(start <= chunk.start for start in starts)
            last = 1 + sum(start < chunk.end for start in starts)
            named = [f"page {number}" for number in (first, min(last, 3)) if number < 4]
            assert chunk.place == (named[0] if named[0] == named[-1] else " – ".join(named))
            (hit,) = collection.search(chunk.text, k=1)
            assert hit.place == chunk.place
        assert {chunk.place for chunk in record.chunks} >= {"page 1"}


def test_text_without_places_has_none(project: Project) -> None:
    put(project.docs / "a.txt", "words")
    project.sync()
    with project.open() as collection:
        assert collection.search("words")[0].place == ""
        assert collection.get("docs/a.txt").chunks[0].place == ""


# Killed in the middle


def test_a_kill_at_any_commit_of_a_large_file_is_made_good_by_the_next_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "WINDOW_TOKENS", 60)
    monkeypatch.setattr(cutting, "FIRST_WINDOW_TOKENS", 60)
    monkeypatch.setattr(containers, "BATCH", 3)
    first = {f"{n}.txt": f"text {n} " * 5 for n in range(20)}
    second = {f"{n}.txt": f"text {n * (1 + n % 2)} " * 5 for n in range(0, 30, 2)} | {"x.zip": zip_of(THREE)}
    for attempt in range(100):
        folder = project.folder / f"{attempt}"
        folder.mkdir()
        killed = Project(folder)
        put(killed.docs / "box.zip", zip_of(dict(first)))
        killed.sync()
        put(killed.docs / "box.zip", zip_of(dict(second)), at=LONG_AGO + 9)
        if not _killed(killed, after=attempt):
            break
        embedded = set(killed.embedder.texts)
        killed.embedder.texts.clear()
        killed.sync()
        assert not embedded & set(killed.embedder.texts)
        expected = {f"docs/box.zip!/{name}": text for name, text in second.items() if isinstance(text, str)}
        expected |= {f"docs/box.zip!/x.zip!/{name}": str(text) for name, text in THREE.items()}
        assert killed.texts() == expected
        assert {key for key in killed.ledger() if not key.endswith(".zip")} == set(expected)
        (killed.docs / "box.zip").unlink()
        killed.sync(allow_empty=True)
        assert killed.ledger() == {}
        shutil.rmtree(folder)
    assert attempt > 5


def _killed(project: Project, *, after: int) -> bool:
    """Sync in a child that is killed at the nth named place; False when it came to its end before."""
    from sememe import failpoints

    child = os.fork()
    if child == 0:
        count = 0

        def reached(_: str) -> None:
            nonlocal count
            if count == after:
                os._exit(9)
            count += 1

        failpoints.hook = reached
        project.sync()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_file_that_was_never_read_to_its_end_and_is_gone_leaves_no_parts(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "FIRST_WINDOW_TOKENS", 20)
    monkeypatch.setattr(cutting, "WINDOW_TOKENS", 20)
    put(project.docs / "a.txt", "stays")
    project.sync()
    put(project.docs / "box.zip", zip_of({f"{n}.txt": f"text {n} " * 5 for n in range(20)}))
    for after in range(30):
        if _killed(project, after=after) and len(project.texts()) > 1:
            break
    assert len(project.texts()) in range(2, 21)
    (project.docs / "box.zip").unlink()
    project.sync()
    assert set(project.ledger()) == {"docs/a.txt"}


# How much memory


def test_a_million_parts_are_never_held_together() -> None:
    count = 200_000

    def rows() -> Iterator[Part]:
        for number in range(count):
            yield Part(f"{number}", number.to_bytes(32), lambda key: Document(key, [Block("text")], "text/1"))

    class Known:
        recipe = CutOptions(FakeEmbedder().counter, 64, 2).recipe("text/1")

    def known(key: str) -> Any:
        from sememe.store.records import KnownDocument, SourceStamp

        number = key.rpartition("!/")[2]
        stamp = SourceStamp("part", int(number or 0).to_bytes(32) if number.isdigit() else b"")
        return KnownDocument(1, key, stamp, Known.recipe, 0.0)

    item = Item("rows", "file", digest=lambda: b"", open=lambda: Parts("text/1", "text/csv", rows()))
    options = CutOptions(FakeEmbedder().counter, 64, 2)
    windows = Windows([item], lambda _: None, options, size=1024, known_part=known)
    tracemalloc.start()
    unchanged = sum(len(window.unchanged) for window in windows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert unchanged == count
    # Eight bytes a part that is stored, and one window.
    assert peak < 8 * count * 1.5 + 16_000_000


def test_to_get_a_file_of_many_documents_says_how_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n')
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.add_files(tmp_path / "rows.jsonl")
        with pytest.raises(
            NotFound, match=r"is a file of many documents .* one of its 2, which begin with 'rows.jsonl!/'"
        ):
            collection.get("rows.jsonl")
