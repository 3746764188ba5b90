"""Watching a folder: a real process, real events, and what editors and disks do to files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEmbedder

import sememe
from sememe import watch as watching
from sememe.ingest.pipeline import Summary
from sememe.watch import Watched

PATIENCE = 60.0
RUN = Path(__file__).with_name("run_cli.py")


class Watch:
    """`sememe sync docs --watch --json` in a process of its own."""

    def __init__(self, project: Path, *options: str) -> None:
        self.project = project
        self.output = project / "output.jsonl"
        with self.output.open("w") as file, (project / "errors.txt").open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(RUN), "sync", "docs", "--watch", "--json", *options], cwd=project, stdout=file,
                stderr=errors, env={**os.environ, "PYTHONPATH": str(RUN.parent), "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def errors(self) -> str:
        return (self.project / "errors.txt").read_text()

    def until(self, reached: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, self.errors()
            assert time.monotonic() < end, f"never: {what}; {self.lines()} {self.errors()}"
            time.sleep(0.05)

    def stored(self) -> set[str]:
        with sememe.open(self.project / ".sememe", model=FakeEmbedder(), create=False) as collection:
            return {row.key.removeprefix("docs/") for row in collection.ledger()}

    def until_stored(self, *names: str) -> None:
        self.until(lambda: bool(self.lines()) and self.stored() == set(names), f"{names} are stored")

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("the first text")
    return tmp_path


@pytest.fixture(params=["watchfiles", "polling"])
def watch(request: pytest.FixtureRequest, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setenv("RUN_NOTIFIER", request.param)
    running = Watch(project)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def test_what_comes_changes_moves_and_goes_is_followed_and_ctrl_c_ends_with_the_sum(
    watch: Watch, project: Path
) -> None:
    docs = project / "docs"
    watch.until_stored("a.txt")
    (docs / "b.txt").write_text("a second text")
    watch.until_stored("a.txt", "b.txt")
    # As vim and others save: beside it, and over it.
    (docs / "b.txt~").write_text("a second text")
    (docs / ".b.txt.swp").write_text("swap")
    (docs / "b.txt.tmp").write_text("a changed text")
    (docs / "b.txt.tmp").replace(docs / "b.txt")
    watch.until(lambda: "a changed text" in text_of(project, "docs/b.txt"), "the change is stored")
    (docs / "deep").mkdir()
    (docs / "a.txt").rename(docs / "deep" / "moved.txt")
    watch.until_stored("b.txt", "deep/moved.txt")
    # The line of a pass comes when everything of it is stored.
    watch.until(lambda: sum(line["renamed"] for line in watch.lines()) == 1, "a pass is told as one that renamed")
    (docs / "b.txt").unlink()
    watch.until_stored("deep/moved.txt")
    watch.until(lambda: sum(line["deleted"] for line in watch.lines()) == 1, "a pass is told as one that deleted")
    assert watch.end() == 0
    last = watch.lines()[-1]
    assert last["passes"] == len(watch.lines()) - 1
    assert last["deleted"] == 1
    assert "Traceback" not in watch.errors()


def test_a_burst_of_a_thousand_files_is_few_passes(watch: Watch, project: Path) -> None:
    watch.until_stored("a.txt")
    for i in range(1000):
        (project / "docs" / f"{i}.txt").write_text(f"text {i}")
    watch.until(lambda: sum(line["documents"] for line in watch.lines()) >= 1001, "all are stored")
    assert len(watch.stored()) == 1001
    assert len(watch.lines()) <= 8
    assert watch.end() == 0


def test_a_person_reads_one_line_a_pass_and_where_the_rest_of_its_troubles_is(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("the only text")
    for i in range(7):
        (tmp_path / "docs" / f"empty {i} größe\n.txt").touch()
    with subprocess.Popen(
        [sys.executable, str(RUN), "sync", "docs", "--watch", "-c", "kept"], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(RUN.parent), "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        troubles = ""
        while " more: " not in troubles and (line := process.stderr.readline()):
            troubles += line
        process.send_signal(signal.SIGINT)
        last, _ = process.communicate(timeout=PATIENCE)
    assert " 1 document, 1 chunk, 1 new chunk, 7 skipped, " in first
    assert last == "1 pass: 1 document, 1 chunk, 1 new chunk, 7 skipped\n"
    assert "skipped    docs/empty 0 größe\\n.txt: empty file\n" in troubles
    assert "and 2 more: sememe report --collection kept\n" in troubles


def test_a_folder_that_goes_deletes_nothing_and_is_followed_when_it_is_back(watch: Watch, project: Path) -> None:
    watch.until_stored("a.txt")
    (project / "docs").rename(project / "elsewhere")
    watch.until(lambda: "waiting for it to come back" in watch.errors(), "it is said")
    assert watch.stored() == {"a.txt"}
    shutil.copytree(project / "elsewhere", project / "docs")
    (project / "docs" / "b.txt").write_text("new")
    watch.until_stored("a.txt", "b.txt")
    (project / "docs" / "c.txt").write_text("newer")
    watch.until_stored("a.txt", "b.txt", "c.txt")
    assert watch.end(signal.SIGTERM) in (0, 143)


def text_of(project: Path, key: str) -> str:
    with sememe.open(project / ".sememe", model=FakeEmbedder(), create=False) as collection:
        return collection.get(key).text


def test_the_collection_and_hidden_and_temporary_names_wake_nobody(tmp_path: Path) -> None:
    watched = Watched(tmp_path, tmp_path / "collection")
    for name in ("collection/truth.db", ".git/index", "a.txt~", "#a.txt#", ".a.txt.swp", "x/a.tmp", "~$a.docx"):
        assert not watched.matters(str(tmp_path / name)), name
    for name in ("a.txt", "x/a.md", "a.txt.metadata.json", "tmp/a.swift"):
        assert watched.matters(str(tmp_path / name)), name


def test_an_error_of_a_later_pass_is_said_and_of_the_first_raised(tmp_path: Path) -> None:
    said: list[str] = []
    outcomes: list[Summary | sememe.SememeError] = [Summary(), sememe.SememeError("busy"), Summary(documents=7)]

    def sync() -> Summary:
        (tmp_path / f"{len(outcomes)}.txt").write_text("wake")
        outcome = outcomes.pop(0)
        if isinstance(outcome, sememe.SememeError):
            raise outcome
        return outcome

    passes = watching.watch(Watched(tmp_path, tmp_path / "none"), sync, say=said.append, using="polling")
    assert [next(passes).documents, next(passes).documents] == [0, 7]
    assert said == ["busy"]
    outcomes[:] = [sememe.SememeError("refused")]
    with pytest.raises(sememe.SememeError, match="refused"):
        next(watching.watch(Watched(tmp_path, tmp_path / "none"), sync, say=said.append, using="polling"))
