"""The one table of formats: what a file is taken for, what it needs, and that the page about it is true."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import formats_page
import pytest
from fakes import FakeEmbedder

import sememe
from sememe.errors import InputError
from sememe.sources import Found, ReadOptions, Refused, Source, formats, read_file, walk
from sememe.sources.formats import BY_NAME, FORMATS, Format, current, recognise

ZIPPED = [form for form in FORMATS if form.member[0]]


def source(name: str, content: bytes) -> Source:
    return Source(name, len(content), lambda: io.BytesIO(content))


def taken_for(name: str, content: bytes) -> str:
    """The name of the format, or what is said of a file that has none."""
    found = recognise(source(name, content), content[: 64 * 1024])
    return found.name if isinstance(found, Format) else found


def zip_of(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as box:
        for name, content in members:
            box.writestr(name, content)
    return buffer.getvalue()


def test_names_suffixes_and_their_readers_are_unique_and_there() -> None:
    assert len({form.name for form in FORMATS}) == len(FORMATS)
    suffixes = [suffix for form in FORMATS for suffix in form.suffixes.split()]
    assert len(set(suffixes)) == len(suffixes)
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in suffixes)
    missing = {form.module for form in FORMATS if importlib.util.find_spec(f"sememe.sources.{form.module}") is None}
    assert missing == set()


def test_every_extra_is_one_of_the_project(request: pytest.FixtureRequest) -> None:
    import tomllib

    project = tomllib.loads((request.config.rootpath / "pyproject.toml").read_text())["project"]
    for form in FORMATS:
        assert bool(form.extra) == bool(form.needs)
        assert not form.extra or form.extra in project["optional-dependencies"], form.name


def test_the_page_of_formats_is_current() -> None:
    text = formats_page.PAGE.read_text()
    assert text == formats_page.page(text), "run: python tests/formats_page.py"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pdf", b"%PDF-1.7 \x00", "pdf"),
        ("no-suffix", b"%PDF-1.7 \x00", "pdf"),
        ("a.txt", b"%PDF-1.7 \x00", "pdf"),
        ("late.pdf", b"\x00junk\n%PDF-1.7", "pdf"),
        ("a.md", b"what %PDF-1.7 means", "markdown"),
        ("a.db", b"SQLite format 3\x00....", "sqlite"),
        ("a.db", b"\x00\x01\x02", "binary file"),
        ("a.parquet", b"PAR1\x00\x00", "parquet"),
        ("a.txt", b"PAR1 is how a Parquet file begins", "text"),
        ("a.html", b"<p>text", "html"),
        ("page", b"<!DOCTYPE html>\n<title>", "html"),
        ("page", b'<?xml version="1.0"?>\n<html xmlns="">', "html"),
        ("page.txt", b"<!DOCTYPE html>\n<title>", "text"),
        ("page", b"<htmlish>", "text"),
        ("Inbox", b"From a@b.c Sat Jan  3 01:05:34 1996\nFrom: a\n\nwords", "mbox"),
        ("letter", b"From here on all is well\n", "text"),
        ("1234.M5", b"Return-Path: <a@b.c>\nFrom: a\n\nwords", "eml"),
        ("script", b"#!/usr/bin/env python3\n", "python"),
        ("script.txt", b"#!/usr/bin/env python3\n", "python"),
        ("a.CSV", b"a,b\n1,2\n", "csv"),
        ("a.csv", b"\x1f\x8b\x08\x00", "packed"),
        ("a.tar", b"\x00" * 257 + b"ustar" + b"\x00" * 250, "tar"),
        ("a.zip", b"only a text", "text"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "binary file (Office document, no Word)"),
        ("a.docx", b"\x00\x01", "binary file (no Word)"),
        ("a.jar", zip_of(("a.class", b"")), "binary file (Java archive)"),
        ("a.zip", zip_of(("a.txt", b"")), "zip"),
        ("a.exe", b"MZ\x00\x00", "binary file (Windows program)"),
    ],
)
def test_first_bytes_then_the_suffix_then_the_beginning_of_the_text_tell(
    name: str, content: bytes, expected: str
) -> None:
    assert taken_for(name, content) == expected


@pytest.mark.parametrize("form", ZIPPED, ids=lambda form: form.name)
def test_a_zip_of_a_known_kind_is_known_without_its_suffix(form: Format) -> None:
    name, beginning = form.member
    content = zip_of((name, beginning), ("other.xml", b"<xml/>"))
    assert taken_for(f"a{form.suffixes.split()[0]}", content) == form.name
    assert taken_for("a.bin", content) == form.name
    assert taken_for("a.zip", content) == form.name


def test_a_missing_extra_is_named_and_the_file_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    needed = {form.needs for form in FORMATS if form.needs}
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name in needed else find(name))
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 \x00")
    (found,) = walk([tmp_path / "a.pdf"])
    assert isinstance(found, Found)
    refused = read_file(found, "key")
    assert isinstance(refused, Refused)
    assert refused.reason == "PDF needs the extra: pip install 'sememe[pdf]'"
    assert (refused.status, refused.retryable) == ("failed", True)


def test_what_was_chosen_of_rows_is_part_of_the_readers_name_and_of_no_others() -> None:
    chosen = ReadOptions(text=("body", "head"), id="n")
    assert BY_NAME["csv"].reader(ReadOptions()) == "csv/1"
    assert BY_NAME["csv"].reader(chosen) == 'csv/1 {"text": ["body", "head"], "id": "n"}'
    assert BY_NAME["markdown"].reader(chosen) == "markdown/2"


def test_a_stored_document_is_current_until_its_reader_or_what_was_chosen_changes() -> None:
    plain, chosen = ReadOptions(), ReadOptions(text=("body",))
    for form in FORMATS:
        assert current("", form.reader(plain), plain) == form.reader(plain)
        assert (current("", form.reader(plain), chosen) == form.reader(plain)) == (not form.columns)
    assert current("", "csv/0", plain) == "csv/1"
    assert current("a", "unheard-of/3", plain) == ""
    # Files that were plain text before there was a reader for them.
    assert current("a.html", "text/1", plain) == "html/1"
    assert current("a.json", "lines/1", plain) == "json/1"
    assert current("script.txt", "python/1", plain) == "python/2"
    assert current("a.rs", "lines/1", plain) == "lines/1"


def test_files_of_an_older_reader_are_read_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Title\n\nwords")
    (docs / "b.txt").write_text("words")
    os.utime(docs / "a.md", (1, 1))
    older = Format("markdown", "Markdown", "markdown", ".md", "text/markdown", version=0, plain=True)
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        with monkeypatch.context() as patched:
            patched.setitem(formats.BY_SUFFIX, ".md", older)
            collection.sync(docs)
        assert collection.get(str(docs / "a.md")).document.recipe.reader == "markdown/0"
        summary = collection.sync(docs)
        assert (summary.documents, summary.unchanged, summary.embedded) == (1, 1, 0)
        assert collection.sync(docs).unchanged == 2


# Only what Git tracks


@pytest.fixture
def work_tree(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path / "tree"), *arguments], check=True, capture_output=True)

    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    git("init", "-q")
    for name in ("a.txt", "sub/b.txt", "odd\nname.txt", "ünï.txt", ".hidden", "gone.txt", "*.txt"):
        (tree / name).write_text(f"words of {name}")
    (tree / "loop").symlink_to(".")
    git("add", "-A")
    (tree / "gone.txt").unlink()
    (tree / "untracked.txt").write_text("words")
    (tree / "sub/untracked.txt").write_text("words")
    return tree


def test_only_what_git_tracks_is_taken(work_tree: Path) -> None:
    with sememe.open(work_tree / ".sememe", model=FakeEmbedder()) as collection:
        summary = collection.sync(work_tree, tracked=True)
        assert (summary.documents, summary.passed_over) == (5, 1)
        keys = [row.key for row in collection.ledger()]
        assert keys == ["*.txt", "a.txt", "odd\nname.txt", "sub/b.txt", "ünï.txt"]
        (work_tree / "a.txt").unlink()
        assert collection.sync(work_tree, tracked=True).deleted == 1
        assert collection.add_files([work_tree / "untracked.txt", work_tree / "sub"], tracked=True).unchanged == 1
        assert collection.sync(work_tree).documents == 2


def test_a_folder_that_git_does_not_know_and_a_missing_git_are_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        with pytest.raises(InputError, match=r"lists no tracked files of .*docs \(fatal: not a git repository"):
            collection.add_files(tmp_path / "docs", tracked=True)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(InputError, match="git is not installed"):
            collection.add_files(tmp_path / "docs", tracked=True)
        assert list(collection.ledger()) == []


def test_what_is_chosen_of_reading_comes_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "box.zip").write_bytes(zip_of(("a.txt", b"some words"), ("b.png", b"\x89PNG\r\n\x1a\n")))
    options = ["--dry-run", "--json", "--text-column", "x", "--table", "y"]
    command = [sys.executable, str(Path(__file__).with_name("run_cli.py")), "add", "box.zip", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"documents": 1' in done.stdout
    assert '"skipped": 1' in done.stdout
    assert not (tmp_path / ".sememe").exists()
