"""Whatever is given, broken or taken away: one sentence that says what to do, and nothing lost that was stored.

The command line runs in processes of its own, with an embedder by hashing (see `run_cli.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw
import numpy as np
import pytest
from fakes import DIM, FakeEmbedder, vector_of
from run_cli import drop_capabilities
from test_crash import check_search, raw, words, write_first_schema

import sememe
from sememe.errors import InputError, SchemaError, SememeError, StoreDamaged, StoreError
from sememe.index.slab import Slab
from sememe.ingest import derived
from sememe.store.schema import VERSION
from sememe.types import Embedded, Progress, Role

RUNNER = Path(__file__).with_name("run_cli.py")
SAMPLES = Path(__file__).with_name("samples")
MEGABYTE = 1 << 20
PLAIN = "the house by a river where water runs under old stone bridges and people walk home in rain"
UNPRIVILEGED = {"RUN_UNPRIVILEGED": "1"}
TEXTS = {"a.txt": words("alpha", 150), "b.txt": words("beta", 60), "sub/c.txt": words("gamma", 90)}


def environment(**extra: str) -> dict[str, str]:
    """This process's environment, without settings of the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEMEME_")}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", **extra}


def run(*arguments: str | Path, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, str(RUNNER), *map(str, arguments)], cwd=cwd, env=environment(**extra), capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


def start(*arguments: str | Path, cwd: Path, **extra: str) -> subprocess.Popen[str]:
    """Run the command line and do not wait."""
    return subprocess.Popen(
        [sys.executable, str(RUNNER), *map(str, arguments)], cwd=cwd, env=environment(**extra), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def words_of(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines()]


def done(*arguments: str | Path, cwd: Path, **extra: str) -> str:
    """The output of a command that ends well."""
    ended = run(*arguments, cwd=cwd, **extra)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def check_sentence(stderr: str, *parts: str) -> None:
    """One line for a person, which names what is wrong and is no accident."""
    assert stderr.startswith("sememe: "), stderr
    assert stderr.count("\n") == 1, stderr
    assert "Traceback" not in stderr
    assert "should not have" not in stderr, stderr
    for part in parts:
        assert part in stderr, stderr


def refused(*arguments: str | Path, cwd: Path, parts: tuple[str, ...], **extra: str) -> None:
    """A command that is refused in one sentence which holds the parts."""
    ended = run(*arguments, cwd=cwd, **extra)
    assert ended.returncode == 1, f"{ended.stdout}\n{ended.stderr}"
    check_sentence(ended.stderr, *parts)
    assert ended.stdout == ""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents and a collection of them."""
    folder = tmp_path_factory.mktemp("made")
    for name, text in TEXTS.items():
        (folder / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "docs" / name).write_text(text)
    done("add", "docs", cwd=folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it that a test may spoil."""
    folder = shutil.copytree(made, tmp_path / "project")
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755)


def truth(project: Path) -> Path:
    """The database."""
    return project / ".sememe" / "truth.db"


def open_project(project: Path) -> sememe.Collection:
    """The project's collection, in this process."""
    return sememe.open(project / ".sememe", model=FakeEmbedder())


def check_kept(project: Path, **others: str) -> None:
    """Everything that was stored at first is still there, and `others`, whole and found."""
    expected = {**{f"docs/{name}": text for name, text in TEXTS.items()}, **others}
    with open_project(project) as collection:
        assert {row.key for row in collection.ledger() if row.status == "embedded"} == set(expected)
        for key, text in expected.items():
            record = collection.get(key)
            assert record.text == text
            for chunk in record.chunks:
                assert collection.search(chunk.text, k=1)[0].text == chunk.text
        check_search(collection)
    with raw(project / ".sememe") as connection:
        assert connection.execute("PRAGMA integrity_check").get == "ok"


def digest(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- what is given -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("add", "nowhere"), ("nowhere", "check the spelling")),
        (("add", "docs", "nowhere.txt"), ("nowhere.txt", "check the spelling")),
        (("sync", "nowhere"), ("nowhere", "check the spelling")),
        (("sync", "docs/a.txt"), ("docs/a.txt is not a folder", "add takes files")),
        (("delete", "nothing"), ("'nothing' is not a document", "sememe report")),
        (("delete", "docs/a.txt", "nothing"), ("'nothing' is not a document",)),
        (("get", "nothing"), ("'nothing' is neither a document nor a chunk",)),
        (("get", "c999999"), ("'c999999' is neither a document nor a chunk",)),
        (("search", "  "), ("the query is empty",)),
        (("search", "alpha", "-k", "0"), ("k is 0", "at least 1")),
        (("search", "alpha", "-c", "elsewhere"), ("there is no collection at", "elsewhere", "sememe add PATH")),
        (("report", "-c", "docs/a.txt"), ("docs/a.txt is a file", "name another one")),
        (("add", "docs", "-c", "docs/a.txt"), ("docs/a.txt is a file", "name another one")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    project: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    refused(*arguments, cwd=project, parts=parts)
    check_kept(project)
    assert not (project / "elsewhere").exists()


def test_an_unreadable_file_is_in_the_ledger_and_is_taken_in_when_it_can_be_read(project: Path) -> None:
    closed, text = project / "docs" / "closed.txt", words("closed", 30)
    closed.write_text(text)
    closed.chmod(0)
    summary = json.loads(done("add", "docs", "docs/closed.txt", "--json", cwd=project, **UNPRIVILEGED))
    assert (summary["failed"], summary["unchanged"]) == (1, 3)
    with open_project(project) as collection:
        (row,) = collection.report().troubles
        assert (row.key, row.status, row.retryable) == ("docs/closed.txt", "failed", True)
        assert "Permission denied" in row.reason
    assert run("add", "docs", "--strict", cwd=project, **UNPRIVILEGED).returncode == 3
    closed.chmod(0o644)
    done("add", "docs", "--strict", cwd=project, **UNPRIVILEGED)
    check_kept(project, **{"docs/closed.txt": text})


def test_a_stored_file_that_cannot_be_read_for_a_while_stays_and_the_ledger_agrees_again(project: Path) -> None:
    closed = project / "docs" / "a.txt"
    os.utime(closed)
    closed.chmod(0)
    assert ["failed", "1"] in words_of(done("sync", "docs", cwd=project, **UNPRIVILEGED))
    with open_project(project) as collection:
        assert collection.get("docs/a.txt").text == TEXTS["a.txt"]
    closed.chmod(0o644)
    summary = json.loads(done("sync", "docs", "--json", cwd=project, **UNPRIVILEGED))
    assert (summary["failed"], summary["embedded"]) == (0, 0)
    check_kept(project)


@pytest.mark.parametrize("name", ["docs", "docs/sub"])
def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(project: Path, name: str) -> None:
    (project / name).chmod(0)
    ended = run("sync", "docs", "--allow-empty", cwd=project, **UNPRIVILEGED)
    assert "Traceback" not in ended.stderr
    (project / name).chmod(0o755)
    with open_project(project) as collection:
        assert {row.key for row in collection.ledger() if row.status == "embedded"} == {f"docs/{n}" for n in TEXTS}


def test_the_folder_of_the_collection_itself_is_not_taken_for_an_empty_one(project: Path) -> None:
    inside = project / "docs"
    shutil.move(project / ".sememe", inside / ".sememe")
    done("add", ".", cwd=inside)
    inside.chmod(0o100)
    ended = run("sync", ".", "--allow-empty", cwd=inside, **UNPRIVILEGED)
    assert "Traceback" not in ended.stderr
    inside.chmod(0o755)
    with sememe.open(inside / ".sememe", model=FakeEmbedder()) as collection:
        assert {row.key for row in collection.ledger() if row.status == "embedded"} >= set(TEXTS)


def test_files_without_text_and_loops_are_skipped_with_a_reason(project: Path) -> None:
    docs = project / "docs"
    (docs / "empty.txt").write_bytes(b"")
    (docs / "blank.txt").write_text(" \n\n\t")
    (docs / "image.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (docs / "sub" / "loop").symlink_to(docs)
    (docs / "dangling.txt").symlink_to(docs / "nowhere")
    os.mkfifo(docs / "pipe")
    summary = json.loads(done("add", "docs", "--json", cwd=project))
    assert (summary["skipped"], summary["failed"], summary["documents"]) == (6, 0, 0)
    with open_project(project) as collection:
        reasons = {row.key: row.reason for row in collection.report().troubles}
    assert reasons["docs/empty.txt"] == "empty file"
    assert reasons["docs/blank.txt"] == "no text"
    assert "PNG" in reasons["docs/image.txt"]
    assert "leads back into" in reasons["docs/sub/loop"]
    assert "link to nothing" in reasons["docs/dangling.txt"]
    assert "named pipe" in reasons["docs/pipe"]
    check_kept(project)


def test_invalid_utf_8_is_replaced_and_remarked(project: Path) -> None:
    (project / "docs" / "bad.txt").write_bytes("Grüße aus dem Süden, schöne Tage. ".encode() * 20 + b"\xff\xfe\x81 end")
    done("add", "docs", cwd=project)
    with open_project(project) as collection:
        record = collection.get("docs/bad.txt")
        assert record.text.endswith("\ufffd\ufffd\ufffd end")
        (row,) = collection.report().troubles
    assert "3 invalid bytes replaced" in row.remarks[0]


def test_names_that_are_no_text_are_stored_and_shown(project: Path) -> None:
    odd = os.fsencode(project / "docs") + b"/odd-\xff-\n.txt"
    try:
        with open(odd, "w") as file:  # noqa: PTH123 - a name of bytes
            file.write("odd words\n")
    except OSError:
        pytest.skip("this file system takes no such name")
    done("add", "docs", cwd=project)
    assert "odd-" in done("search", "odd words", cwd=project).splitlines()[0]
    assert "odd-" in done("report", "--all", cwd=project)


SCRIPTS = (
    *("日本語", "кириллица", "ελληνικά", "עברית", "العربية", "हिन्दी", "ไทย", "한국어", "emoji-🌷", "e\u0301", "\u00e9"),
    *(
        "two\nlines",
        "tab\t",
        "bell\x07",
        "right-\u202e-to-left",
        "-dash",
        'quo"te',
        "back\\slash",
        "per%cent",
        "a!b",
        " ",
    ),
)


def test_names_in_every_script_and_with_any_sign_are_each_one_document(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number, name in enumerate(SCRIPTS):
        try:
            (folder / f"{name}.txt").write_text(f"text{number} of its own")
        except OSError:
            pytest.skip("this file system does not take every name")
    there = len(list(folder.iterdir()))
    with sememe.open(tmp_path / ".sememe", model=FakeEmbedder()) as collection:
        assert collection.add_files(folder).documents == there
        assert collection.sync(folder).unchanged == there
        found = {hit.document: hit.text for hit in collection.search("text", k=50)}
        assert len(found) == there
        assert all(collection.get(key).text == text for key, text in found.items())
    printed = done("report", "--all", cwd=tmp_path)
    assert "\x07" not in printed
    assert "\u202e" not in printed


class _Writer(FakeEmbedder):
    """Appends to a file when it embeds for the first time, while the file is still being read."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def embed(self, texts: Sequence[str], *, role: Role = "document", progress: Progress | None = None) -> Embedded:
        """As before."""
        if self.calls == 0:
            with self.file.open("a") as file:
                file.write("one more line\n")
        return super().embed(texts, role=role, progress=progress)


def test_a_file_that_changes_while_it_is_read_keeps_its_old_text_and_is_read_again(tmp_path: Path) -> None:
    file, other = tmp_path / "log.txt", tmp_path / "other.txt"
    file.write_text("the first version\n")
    other.write_text("another text\n")
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.add_files(file)
    file.write_text(f"{PLAIN}\n" * 30_000)
    with sememe.open(tmp_path / "c", model=_Writer(file)) as collection:
        summary = collection.add_files([file, other])
        (row,) = collection.report().troubles
        assert (summary.documents, summary.failed, row.retryable) == (1, 1, True)
        assert "changed while it was read" in row.reason
        assert collection.search("the first version", k=1)[0].text == "the first version"
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        assert collection.add_files([file, other]).documents == 1
        assert not collection.report().troubles
        assert collection.get("log.txt").text.endswith("one more line\n")


def zipped(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def fill_badly(folder: Path) -> dict[str, str]:
    """Put into a folder what is hard to read, each in its own way; returns what each file's row has to say, by name."""
    (folder / "wide.csv").write_text(",".join(["c"] * 2_000_000) + "\n1,2\n")
    (folder / "bomb.html").write_text(f"<html><body>{'<div>' * 50_000}deep inside</body></html>")
    zipped(folder / "bomb.zip", big=bytes(80 * MEGABYTE))
    zipped(folder / "outside.zip", **{"../outside.txt": b"it climbs out", "/absolute.txt": b"it starts at the root"})
    (folder / "cut.zip").write_bytes((folder / "outside.zip").read_bytes()[:90])
    shutil.copy(SAMPLES / "locked.pdf", folder)
    whole = (SAMPLES / "garden.pdf").read_bytes()
    (folder / "half.pdf").write_bytes(whole[: len(whole) // 2])
    (folder / "mixed.txt").write_bytes("schöne Grüße. ".encode() * 20 + "schöne Grüße. ".encode("latin-1"))
    os.mkfifo(folder / "pipe.txt")
    (folder / "device.txt").symlink_to("/dev/zero")
    (folder / "one").symlink_to("other")
    (folder / "other").symlink_to("one")
    (folder / "round").symlink_to(".")
    for number, name in enumerate(SCRIPTS):
        (folder / f"{name}.txt").write_text(f"text{number} of its own")
    return {
        "wide.csv": "2000000 columns", "bomb.html": "", "bomb.zip": "unpacks to more than", "cut.zip": "archive",
        "outside.zip!/../outside.txt": "", "outside.zip!//absolute.txt": "", "locked.pdf": "is encrypted",
        "half.pdf": "no sound PDF", "mixed.txt": "3 invalid bytes replaced", "pipe.txt": "a named pipe",
        "device.txt": "a device", "one": "into a circle of links: other", "other": "into a circle of links: one",
        "round": "leads back into",
        "a.socket": "a socket", "growing.log": "",
    }  # fmt: skip


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file that somebody never stops writing to."""
    folder, end = tmp_path / "docs", threading.Event()
    folder.mkdir()

    def grow() -> None:
        with (folder / "growing.log").open("w") as file:
            while not end.wait(0.002):
                file.write("one more line\n")
                file.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    yield folder
    end.set()
    writer.join()


def test_a_folder_of_everything_that_is_hard_to_read_ends_in_the_ledger_row_by_row(
    growing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fill_badly(growing)
    monkeypatch.chdir(growing)  # the path of a socket may have a hundred bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.socket")
        summary = json.loads(done("add", "docs", "--json", cwd=growing.parent))
    with sememe.open(growing.parent / ".sememe", model=FakeEmbedder()) as collection:
        rows = {row.key.removeprefix("docs/"): row for row in collection.ledger()}
        said = {name: " ".join([rows[name].reason, *rows[name].remarks]) for name in expected}
        for name, part in expected.items():
            assert part in said[name], name
        read = ("bomb.html", "outside.zip!/../outside.txt", "outside.zip!//absolute.txt", "mixed.txt")
        assert {rows[name].status for name in read} == {"embedded"}
        assert len(rows) - len(expected) == len({*SCRIPTS}) + 1, "names in every script, and the row of outside.zip"
        assert (summary["failed"], summary["documents"]) == (4 + (rows["growing.log"].status == "failed"), len(
            [row for name, row in rows.items() if row.status == "embedded" and name != "outside.zip"]
        ))  # fmt: skip
    assert {path.name for path in growing.parent.iterdir()} == {"docs", ".sememe"}
    assert not Path("/absolute.txt").exists()


def test_a_file_is_one_document_by_whatever_way_it_is_reached(project: Path) -> None:
    done("add", "docs/sub/../a.txt", str(project / "docs" / ".." / "docs" / "b.txt"), cwd=project)
    done("add", "../docs", "-c", "../docs/../.sememe", cwd=project / "docs")
    check_kept(project)


def test_records_before_one_that_cannot_be_used_are_stored(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        with pytest.raises(InputError, match=r"record 1 .*int"):
            collection.add([{"id": "good", "text": "good words"}, {"id": "bad", "text": 5}])
        assert collection.get("good").text == "good words"
        assert [row.key for row in collection.ledger()] == ["good"]


# --- memory ------------------------------------------------------------------------------------------------


def write_text(path: Path, size: int) -> None:
    """A file of about `size` bytes of words in lines."""
    rng = random.Random(1)
    plain = PLAIN.split()
    block = "".join(f"{' '.join(rng.choices(plain, k=14))}\n" for _ in range(12_000)).encode()
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)


def peak_of_dry_run(path: Path, runner: list[str]) -> int:
    """The most memory, in bytes, that a dry run over a file takes."""
    process = subprocess.Popen(
        [sys.executable, *runner, "add", str(path), "--dry-run"], cwd=path.parent, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_memory_does_not_grow_with_the_size_of_a_text(tmp_path: Path) -> None:
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    write_text(small, 4 * MEGABYTE)
    write_text(large, 32 * MEGABYTE)
    growth = peak_of_dry_run(large, [str(RUNNER)]) - peak_of_dry_run(small, [str(RUNNER)])
    assert growth < 10 * MEGABYTE


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_gigabyte_of_text_is_read_and_cut_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    write_text(path, 1024 * MEGABYTE)
    assert peak_of_dry_run(path, ["-m", "sememe.cli"]) < 500 * MEGABYTE


def write_mails(path: Path, size: int) -> None:
    """A mailbox of about `size` bytes, in messages of 8 KB with a picture of as much."""
    body = f"{PLAIN}\n" * 90
    picture = "\n".join([f"{'QUJD' * 18}"] * 110)
    parts = (
        f"--b\nContent-Type: text/plain\n\n{body}\n--b\nContent-Type: image/png\n"
        f"Content-Disposition: attachment; filename=a.png\nContent-Transfer-Encoding: base64\n\n{picture}\n--b--\n"
    )
    with path.open("w") as file:
        for number in range(size // (len(parts) + 200)):
            file.write(
                f"From a@example.org Mon Jan  5 09:00:00 2026\nMessage-ID: <{number}@example.org>\nSubject: {number}\n"
                f"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n{parts}\n"
            )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_gigabytes_of_mail_are_read_and_cut_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "all.mbox"
    write_mails(path, 2048 * MEGABYTE)
    assert peak_of_dry_run(path, [str(RUNNER)]) < 500 * MEGABYTE


# --- places that cannot be written ------------------------------------------------------------------------------


def close_to_writing(folder: Path) -> None:
    """Take away every right to write."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_a_read_only_collection_is_searched_and_not_written(project: Path) -> None:
    with open_project(project) as collection:
        wanted = collection.get("docs/b.txt").chunks[0].text
    close_to_writing(project / ".sememe")
    before = {path.name: path.read_bytes() for path in (project / ".sememe").glob("*.*")}
    found = done("search", wanted, "--json", cwd=project, **UNPRIVILEGED)
    assert json.loads(found.splitlines()[0])["document"] == "docs/b.txt"
    assert ["documents", "3"] in words_of(done("report", cwd=project, **UNPRIVILEGED))
    assert done("get", "docs/b.txt", cwd=project, **UNPRIVILEGED) == TEXTS["b.txt"]
    for command in (("add", "docs"), ("sync", "docs"), ("delete", "docs/a.txt"), ("optimize",)):
        refused(*command, cwd=project, parts=("truth.db cannot be written", "permissions"), **UNPRIVILEGED)
    assert {path.name: path.read_bytes() for path in (project / ".sememe").glob("*.*")} == before


def leave_log(project: Path) -> str:
    """What a process leaves that is killed after it has added a document: its text is in the log alone."""
    text = words("logged", 40).strip()
    with open_project(project) as collection:
        collection.add({"id": "logged", "text": text})
        shutil.copytree(project / ".sememe", project / "copy")
    shutil.rmtree(project / ".sememe")
    (project / "copy").rename(project / ".sememe")
    assert truth(project).with_name("truth.db-wal").stat().st_size > 0
    return text


def test_a_read_only_collection_with_a_log_is_searched_with_what_is_in_the_log(project: Path) -> None:
    text = leave_log(project)
    close_to_writing(project / ".sememe")
    found = done("search", text, "--json", cwd=project, **UNPRIVILEGED)
    assert json.loads(found.splitlines()[0])["document"] == "logged"
    refused("add", "docs", cwd=project, parts=("cannot be written",), **UNPRIVILEGED)


def test_a_log_that_cannot_be_read_without_writing_is_told_and_not_passed_over(project: Path) -> None:
    text = leave_log(project)
    truth(project).with_name("truth.db-shm").unlink()
    close_to_writing(project / ".sememe")
    refused("search", text, cwd=project, parts=("left in the log", "copy the folder"), **UNPRIVILEGED)
    (project / ".sememe").chmod(0o755)
    for path in (project / ".sememe").glob("truth.db*"):
        path.chmod(0o644)
    check_kept(project, logged=text)


def test_a_folder_in_which_nothing_can_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words")
    shut = tmp_path / "shut"
    shut.mkdir()
    shut.chmod(0o555)
    for place in ("shut", "shut/inside"):
        refused("add", "a.txt", "-c", place, cwd=tmp_path, parts=(place, "name another folder"), **UNPRIVILEGED)
    shut.chmod(0)
    refused("add", "a.txt", "-c", "shut/inside", cwd=tmp_path, parts=("shut/inside", "permissions"), **UNPRIVILEGED)
    refused("search", "words", "-c", "shut", cwd=tmp_path, parts=("shut", "permissions"), **UNPRIVILEGED)
    shut.chmod(0o755)
    assert list(shut.iterdir()) == []


def test_a_folder_where_the_database_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words")
    (tmp_path / "odd" / "truth.db").mkdir(parents=True)
    refused("add", "a.txt", "-c", "odd", cwd=tmp_path, parts=("truth.db", "it is a folder"))


# --- full disks --------------------------------------------------------------------------------------------


@pytest.fixture
def more(project: Path) -> dict[str, str]:
    """Files that do not fit, in the project's folder `more`."""
    texts = {f"more/{number:02}.txt": words(f"more{number}x", 2500) for number in range(12)}
    (project / "more").mkdir()
    for name, text in texts.items():
        (project / name).write_text(text)
    return texts


@pytest.mark.parametrize("limit", ["RUN_FILE_SIZE", "RUN_PAGES"])
@pytest.mark.parametrize("window", ["1000", "1000000"], ids=["many-windows", "one-window"])
def test_a_full_disk_ends_an_add_in_one_sentence_and_the_next_one_finishes(
    project: Path, more: dict[str, str], limit: str, window: str
) -> None:
    size = truth(project).stat().st_size + 160_000
    room = {limit: str(size if limit == "RUN_FILE_SIZE" else size // 8192), "RUN_WINDOW": window}
    refused("add", "more", cwd=project, parts=("truth.db cannot grow", "make room and run it again"), **room)
    with open_project(project) as collection:
        stored = {row.key: collection.get(row.key).text for row in collection.ledger()}
    assert all(more[key] == text for key, text in stored.items() if key in more)
    check_kept(project, **{key: text for key, text in stored.items() if key in more})
    refused("add", "more", cwd=project, parts=("truth.db cannot grow",), **room)
    done("add", "more", cwd=project)
    check_kept(project, **more)


def test_what_is_stored_is_found_when_not_one_more_file_fits(project: Path) -> None:
    with open_project(project) as collection:
        wanted = collection.get("docs/b.txt").chunks[0].text
    full = {"RUN_FILE_SIZE": "1000"}
    found = done("search", wanted, "--json", cwd=project, **full)
    assert json.loads(found.splitlines()[0])["document"] == "docs/b.txt"
    for command in (("add", "docs"), ("sync", "docs"), ("delete", "docs/a.txt"), ("optimize",)):
        refused(*command, cwd=project, parts=("truth.db cannot grow", "make room"), **full)
    refused("add", "docs", "-c", "new", cwd=project, parts=("cannot grow", "make room"), **full)
    done("add", "docs", "-c", "new", cwd=project)
    check_kept(project)


def test_vector_files_that_cannot_be_written_are_a_warning_and_all_is_found(project: Path) -> None:
    many = words("delta", 80 * derived.TAIL)  # so much that the files do not wait for more
    (project / "docs" / "d.txt").write_text(many)
    (project / ".sememe" / "locks").mkdir(exist_ok=True)
    for path in (project / ".sememe").glob("vectors-*"):
        path.chmod(0o444)
    ended = run("add", "docs", cwd=project, **UNPRIVILEGED)
    assert ended.returncode == 0
    check_sentence(ended.stderr, "the index files in", "sememe optimize")
    check_kept(project, **{"docs/d.txt": many})
    done("optimize", cwd=project, **UNPRIVILEGED)
    check_kept(project, **{"docs/d.txt": many})


# --- damaged databases -------------------------------------------------------------------------------------


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Change bytes in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def spoil_header(path: Path) -> None:
    overwrite(path, 0, b"\0" * 100)


def spoil_root(path: Path) -> None:
    overwrite(path, 8192, random.Random(2).randbytes(path.stat().st_size - 8192))


def spoil_schema(path: Path) -> None:
    overwrite(path, 100, random.Random(3).randbytes(4000))


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 77)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_database(path: Path) -> None:
    path.write_text("Dear diary, today I was no database at all.\n" * 100)


@pytest.mark.parametrize("spoil", [spoil_header, spoil_root, spoil_schema, cut_in_half, empty, no_database])
def test_a_damaged_database_is_refused_in_one_sentence_and_left_as_it_is(
    project: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(truth(project))
    spoiled = digest(truth(project))
    for command in (("search", "alpha"), ("report",), ("add", "docs")):
        refused(*command, cwd=project, parts=("truth.db", "keep a copy", "backup"))
    assert digest(truth(project)) == spoiled


def test_another_programs_database_is_refused_and_not_touched(project: Path) -> None:
    for number, application in enumerate((0, 0x12345678)):
        folder = project / f"other{number}"
        folder.mkdir()
        connection = apsw.Connection(str(folder / "truth.db"))
        connection.execute(f"PRAGMA application_id = {application}; CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
        connection.close()
        before = digest(folder / "truth.db")
        for command in (("add", "docs", "-c", folder.name), ("search", "alpha", "-c", folder.name)):
            refused(*command, cwd=project, parts=("truth.db", "another program", "name another folder"))
        assert digest(folder / "truth.db") == before
        assert [path.name for path in folder.iterdir()] == ["truth.db"]


def test_a_newer_schema_is_refused_with_both_numbers_and_not_touched(project: Path) -> None:
    with raw(project / ".sememe") as connection:
        connection.pragma("user_version", VERSION + 7)
    before = digest(truth(project))
    parts = (f"has schema {VERSION + 7}", f"knows {VERSION}", "upgrade sememe")
    for command in (("search", "alpha"), ("add", "docs")):
        refused(*command, cwd=project, parts=parts)
    with pytest.raises(SchemaError, match="newer version"):
        open_project(project)
    assert digest(truth(project)) == before


def test_an_older_schema_is_brought_up_to_date_with_its_data(project: Path) -> None:
    old = project / "old"
    old.mkdir()
    write_first_schema(truth(project), old / "truth.db")
    close_to_writing(old)
    refused("search", "alpha", "-c", "old", cwd=project, parts=("schema 1", f"to {VERSION}"), **UNPRIVILEGED)
    old.chmod(0o755)
    (old / "truth.db").chmod(0o644)
    shutil.rmtree(project / ".sememe")
    old.rename(project / ".sememe")
    done("search", "alpha", cwd=project)
    with raw(project / ".sememe") as connection:
        assert connection.pragma("user_version") == VERSION
    check_kept(project)
    done("add", "docs", cwd=project)
    check_kept(project)


def flip(project: Path, table: str, column: str, key: str) -> None:
    """Change one byte of a stored value, so that the database itself stays sound."""
    where = {
        "texts": "document = (SELECT id FROM documents WHERE key = ?)",
        "vectors": "id = (SELECT c.vector FROM chunks c JOIN documents d ON d.id = c.document WHERE d.key = ?)",
    }[table]
    with raw(project / ".sememe") as connection:
        number, value = connection.execute(f"SELECT id, CAST({column} AS BLOB) FROM {table} WHERE {where}", (key,)).get
        spoiled = bytearray(value)
        spoiled[5] ^= 0x81
        kind = "TEXT" if table == "texts" else "BLOB"
        connection.execute(f"UPDATE {table} SET {column} = CAST(? AS {kind}) WHERE id = ?", (bytes(spoiled), number))


def test_a_changed_byte_in_a_stored_text_is_noticed_and_repaired_by_adding_it_again(project: Path) -> None:
    flip(project, "texts", "text", "docs/b.txt")
    refused("get", "docs/b.txt", cwd=project, parts=("'docs/b.txt'", "not what was written", "add it again"))
    assert done("get", "docs/a.txt", cwd=project) == TEXTS["a.txt"]
    done("delete", "docs/b.txt", cwd=project)
    done("add", "docs", cwd=project)
    check_kept(project)


def test_a_changed_byte_in_a_stored_vector_is_noticed_and_repaired_by_adding_it_again(project: Path) -> None:
    flip(project, "vectors", "vector", "docs/b.txt")
    parts = ("'docs/b.txt'", "not what was written", "add it again")
    refused("optimize", cwd=project, parts=parts)
    with open_project(project) as collection, pytest.raises(StoreDamaged, match=r"docs/b\.txt"):
        collection.vectors()
    for path in (project / ".sememe").glob("vectors-*"):
        path.unlink()
    refused("search", "alpha", cwd=project, parts=parts)
    done("delete", "docs/b.txt", cwd=project)
    done("add", "docs", cwd=project)
    check_kept(project)


def test_random_damage_gives_an_error_of_ours_or_what_was_stored(made: Path, tmp_path: Path) -> None:
    sound = truth(made).read_bytes()
    rng = random.Random(4)
    noticed = unnamed = 0
    for number in range(150):
        project = tmp_path / f"{number}"
        shutil.copytree(made / ".sememe", project / ".sememe")
        spoiled = bytearray(sound)
        for _ in range(rng.choice((1, 4, 64))):
            spoiled[rng.randrange(len(sound))] ^= rng.randrange(1, 256)
        truth(project).write_bytes(spoiled)
        try:
            with open_project(project) as collection:
                for name, text in TEXTS.items():
                    assert collection.get(f"docs/{name}").text == text
                    collection.search(text[:200])
                collection.report()
                collection.add({"id": "more", "text": "more words"})
                collection.optimize()
        except SememeError as error:
            noticed += 1
            unnamed += isinstance(error, StoreError) and str(tmp_path) not in str(error)
        shutil.rmtree(project)
    assert noticed > 10
    assert not unnamed, "an error does not name the file"


# --- damaged vector files ----------------------------------------------------------------------------------


def vector_files(project: Path) -> tuple[Path, Path]:
    """The current files of the vectors and of their ids."""
    (vectors,), (ids,) = (list((project / ".sememe").glob(f"*{suffix}")) for suffix in (".slab", ".ids"))
    return vectors, ids


def lose_vectors(vectors: Path, ids: Path) -> None:
    vectors.unlink()


def lose_ids(vectors: Path, ids: Path) -> None:
    ids.unlink()


def shorten_vectors(vectors: Path, ids: Path) -> None:
    os.truncate(vectors, vectors.stat().st_size - 4)


def shorten_ids(vectors: Path, ids: Path) -> None:
    os.truncate(ids, ids.stat().st_size - 8)


def flip_vector(vectors: Path, ids: Path) -> None:
    overwrite(vectors, 4096 + 7, b"\xff")


def blank_vectors(vectors: Path, ids: Path) -> None:
    overwrite(vectors, 4096, bytes(4 * DIM))


def swap_id(vectors: Path, ids: Path) -> None:
    overwrite(ids, 0, (3).to_bytes(8, "little"))


def foreign_vectors(vectors: Path, ids: Path) -> None:
    size = vectors.stat().st_size
    other = Slab(vectors.parent, "0123456789abcdef", DIM)
    other.append(0, iter([(np.arange(9, dtype=np.int64), np.ones((9, DIM), np.float32))]))
    other.vectors_file.replace(vectors)
    other.ids_file.replace(ids)
    os.truncate(vectors, size)


def empty_both(vectors: Path, ids: Path) -> None:
    vectors.write_bytes(b"")
    ids.write_bytes(b"")


SPOILERS = [
    lose_vectors, lose_ids, shorten_vectors, shorten_ids, flip_vector, blank_vectors, swap_id, foreign_vectors,
    empty_both,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS)
@pytest.mark.parametrize("repair", ["optimize", "add"])
def test_search_is_right_with_spoiled_vector_files_and_the_next_write_repairs_them(
    project: Path, spoil: Callable[[Path, Path], None], repair: str
) -> None:
    vectors, ids = vector_files(project)
    spoil(vectors, ids)
    check_kept(project)
    with open_project(project) as collection:
        if repair == "optimize":
            collection.optimize()
        else:
            collection.add({"id": "more", "text": words("more", 20)})
    assert vector_files(project)[0].name != vectors.name
    check_kept(project, **({"more": words("more", 20)} if repair == "add" else {}))


def test_adding_more_appends_to_the_vector_files(project: Path) -> None:
    vectors, ids = vector_files(project)
    rows = ids.stat().st_size // 8
    with open_project(project) as collection:
        collection.add({"id": "more", "text": "more words"})
        assert ids.stat().st_size // 8 == rows, "so little may wait for more"
        collection.add({"id": f"more {i}", "text": f"more words {i}"} for i in range(derived.TAIL))
    assert vector_files(project) == (vectors, ids)
    slab = np.fromfile(vectors, dtype="<f4", offset=4096).reshape(-1, DIM)
    assert len(slab) == ids.stat().st_size // 8 == rows + 1 + derived.TAIL
    assert np.array_equal(slab[-1], vector_of(f"more words {derived.TAIL - 1}"))


# --- several at once, and interrupted ones -----------------------------------------------------------------


def test_two_that_add_different_and_the_same_documents_store_each_once(tmp_path: Path) -> None:
    texts = {f"docs/{number}.txt": words(f"text{number}x", 200) for number in range(8)}
    (tmp_path / "docs").mkdir()
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    names = list(texts)
    # Both make the collection, too.
    writers = [
        start("add", *part, cwd=tmp_path, RUN_DELAY="0.002", RUN_WINDOW="150") for part in (names[:6], names[2:])
    ]
    for writer in writers:
        _, stderr = writer.communicate(timeout=60)
        assert (writer.returncode, stderr) == (0, "")
    with open_project(tmp_path) as collection:
        assert {row.key for row in collection.ledger()} == set(texts)
        assert collection.report().totals.documents == len(texts)
        for key, text in texts.items():
            assert collection.get(key).text == text
        check_search(collection)


def wait_for_documents(project: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until the collection holds so many documents."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with raw(project / ".sememe") as connection:
            if connection.execute("SELECT count(*) FROM documents WHERE live = 1").get >= count:
                return
        time.sleep(0.005)
    raise AssertionError(f"ended or too slow: {process.poll()}")


STOPPING = "sememe: stopping; what is being embedded is stored first, and Ctrl-C again does not wait for it\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_add_ends_with_one_sentence_keeps_what_it_has_and_goes_on(
    project: Path, more: dict[str, str], number: signal.Signals, status: int
) -> None:
    process = start("add", "more", cwd=project, RUN_DELAY="0.002", RUN_WINDOW="1000")
    wait_for_documents(project, len(TEXTS) + 2, process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (status, "")
    told, last = [STOPPING, ""][number == signal.SIGTERM], stderr.removeprefix(STOPPING)
    assert stderr == told + last
    check_sentence(last, "what was stored stays", "again to go on")
    with raw(project / ".sememe") as connection:
        assert connection.execute("SELECT count(*) FROM documents WHERE live = 0").get == 0
        stored = {key for (key,) in connection.execute("SELECT key FROM documents WHERE key LIKE 'more/%'")}
        inputs = connection.execute("SELECT count(*) FROM vectors").get
    assert 2 <= len(stored) < len(more)
    check_kept(project, **{key: more[key] for key in stored})
    summary = json.loads(done("add", "more", "--json", cwd=project))
    check_kept(project, **more)
    with raw(project / ".sememe") as connection:
        assert connection.execute("SELECT count(*) FROM vectors").get == inputs + summary["embedded"]


def test_ctrl_c_is_answered_at_once_and_what_was_being_embedded_is_not_embedded_again(
    project: Path, more: dict[str, str]
) -> None:
    process = start("add", "more", cwd=project, RUN_DELAY="0.002", RUN_WINDOW="1000000")
    interrupt_while_embedding(project, process)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    check_sentence(stderr, "what was stored stays")
    with raw(project / ".sememe") as connection:
        inputs = connection.execute("SELECT count(*) FROM vectors").get
    assert inputs > 100
    assert json.loads(done("add", "more", "--json", cwd=project))["embedded"] == 0
    check_kept(project, **more)


def test_a_second_ctrl_c_does_not_wait_and_the_next_run_goes_on(project: Path, more: dict[str, str]) -> None:
    process = start("add", "more", cwd=project, RUN_DELAY="0.5", RUN_WINDOW="1000000")
    interrupt_while_embedding(project, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (130, "")
    check_sentence(stderr, "at once", "what was stored stays")
    check_kept(project)
    done("add", "more", cwd=project)
    check_kept(project, **more)


def interrupt_while_embedding(project: Path, process: subprocess.Popen[str]) -> None:
    """Once its run has begun; until it has said that it stops."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with raw(project / ".sememe") as connection:
            if connection.execute("SELECT count(*) FROM runs WHERE finished IS NULL").get:
                break
        time.sleep(0.005)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == STOPPING


SLOW_LIBRARY = """
import pathlib, time
pathlib.Path("loading").touch()
try:
    time.sleep(60)
except KeyboardInterrupt as error:
    raise ImportError("initialization failed") from error
"""


@pytest.mark.parametrize(
    ("library", "part"), [("typer", "before anything was done"), ("numpy", "what was stored stays")]
)
def test_ctrl_c_while_a_library_is_loaded_ends_with_one_sentence(tmp_path: Path, library: str, part: str) -> None:
    (tmp_path / f"{library}.py").write_text(SLOW_LIBRARY)
    process = subprocess.Popen(
        [sys.executable, "-m", "sememe", "add", "docs"], cwd=tmp_path, env=environment(PYTHONPATH=str(tmp_path)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (tmp_path / "loading").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, "")
    check_sentence(stderr, "interrupted", part)


def test_an_interrupt_that_is_ignored_from_outside_stays_ignored(tmp_path: Path) -> None:
    """As a shell starts jobs in the background."""
    (tmp_path / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\nraise SystemExit(7)\n")
    code = "import runpy, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); runpy.run_module('sememe.__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}['main']()"], cwd=tmp_path, env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (7, "")


def test_what_an_interrupted_run_left_of_a_document_that_is_gone_is_cleared_by_the_next(
    project: Path, more: dict[str, str]
) -> None:
    process = start("add", "more", cwd=project, RUN_DELAY="0.002", RUN_WINDOW="200")
    wait_for_documents(project, len(TEXTS) + 1, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    shutil.rmtree(project / "more")
    done("add", "docs", cwd=project)
    with raw(project / ".sememe") as connection:
        orphans = "SELECT count(*) FROM vectors WHERE id NOT IN (SELECT vector FROM chunks)"
        assert connection.execute(orphans).get == 0


def test_permissions_hold_in_the_tests_that_need_them(tmp_path: Path) -> None:
    """The tests above would pass for nothing where root may write all the same."""
    tmp_path.chmod(0o555)
    code = "import os, run_cli; run_cli.drop_capabilities(); print(os.access('.', os.W_OK))"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=environment(PYTHONPATH=str(RUNNER.parent)),
    )  # fmt: skip
    tmp_path.chmod(0o755)
    assert ended.stdout == "False\n", ended.stderr
    assert callable(drop_capabilities)
