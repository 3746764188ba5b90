"""A backup is one moment of a collection, whatever others do meanwhile, and a restore is that moment or nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEmbedder

import sememe
from sememe import doctor, failpoints
from sememe.errors import DigestMismatch, InputError, NotFound, StoreBusy, StoreError
from sememe.ingest import derived
from sememe.ingest.runs import running
from sememe.keeping import backups, forgetting
from sememe.store import SQLiteStore

WRITER = """
import sys
sys.path.insert(0, {tests!r})
from fakes import FakeEmbedder
import sememe
with sememe.open({folder!r}, model=FakeEmbedder()) as collection:
    number = 0
    while True:
        collection.add([{{"id": f"{{number}}-{{side}}", "text": f"pair {{number}} {{side}} " * 9}} for side in "ab"])
        if number % 3 == 2:
            collection.delete([f"{{number - 2}}-a", f"{{number - 2}}-b"])
        print(number, flush=True)
        number += 1
"""


def open_(folder: Path) -> sememe.Collection:
    return sememe.open(folder, model=FakeEmbedder())


def filled(folder: Path, count: int = 5) -> sememe.Collection:
    collection = open_(folder)
    collection.add([{"id": f"n{i}", "text": f"the text number {i}", "metadata": {"i": i}} for i in range(count)])
    return collection


def contents(folder: Path) -> dict[str, Any]:
    with open_(folder) as collection:
        return {row.key: (row.status, collection.get(row.key).text) for row in collection.ledger()}


def test_a_backup_that_is_restored_is_the_collection(tmp_path: Path) -> None:
    with filled(tmp_path / "c") as collection:
        made = backups.backup(collection, tmp_path / "b")
        before = [(h.id, h.score, h.text) for h in collection.search("the text number 3", k=9)]
        (row,) = backups.backups(collection)
        assert (row.path, row.seq, row.digest) == (str(tmp_path / "b"), made.seq, made.digest)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["backup.json", "truth.db"]
    found, warning = backups.restore(tmp_path / "b", tmp_path / "new")
    assert (found, warning) == (made, "")
    with open_(tmp_path / "new") as collection:
        assert [(h.id, h.score, h.text) for h in collection.search("the text number 3", k=9)] == before
        assert [row.path for row in backups.backups(collection)] == [str(tmp_path / "b")]
    assert contents(tmp_path / "new") == contents(tmp_path / "c")


def test_the_doctor_finds_no_fault_in_what_was_just_restored_and_says_what_to_run(tmp_path: Path) -> None:
    with filled(tmp_path / "c") as collection:
        backups.backup(collection, tmp_path / "b")
    backups.restore(tmp_path / "b", tmp_path / "new")
    findings = {finding.name: finding for finding in doctor.examine(tmp_path / "new")}
    assert "trouble" not in {finding.kind for finding in findings.values()}
    assert "make them with: sememe doctor --rebuild" in findings["vector files"].text
    assert findings["vector files"].kind == findings["words"].kind == "fact"
    (slab,) = (tmp_path / "c").glob("vectors-*.slab")
    slab.write_bytes(slab.read_bytes()[:-1])
    damaged = {finding.name: finding for finding in doctor.examine(tmp_path / "c")}["vector files"]
    assert (damaged.kind, "damaged" in damaged.text) == ("trouble", True)


@pytest.mark.parametrize("indexes", [False, True])
def test_backups_that_are_taken_while_another_process_writes_restore_whole(tmp_path: Path, indexes: bool) -> None:
    filled(tmp_path / "c").close()
    code = WRITER.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "c"))
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        seqs = []
        for number in range(4):
            for _ in range(4):
                assert writer.stdout.readline()
            with open_(tmp_path / "c") as collection:
                seqs.append(backups.backup(collection, tmp_path / f"b{number}", indexes=indexes).seq)
    finally:
        writer.kill()
        writer.communicate()
    assert seqs == sorted(set(seqs))
    for number in range(4):
        found, _ = backups.restore(tmp_path / f"b{number}", tmp_path / f"r{number}")
        with open_(tmp_path / f"r{number}") as collection:
            keys = {row.key for row in collection.ledger()}
            pairs = {key[:-2] for key in keys if key[0] != "n"}
            assert keys == {f"n{i}" for i in range(5)} | {f"{pair}-{side}" for pair in pairs for side in "ab"}
            assert found.documents == len(keys) == collection.report().totals.documents
            for pair in pairs:
                text = (f"pair {pair} a " * 9).strip()
                assert collection.search(text, k=1)[0].document == f"{pair}-a"
        store = SQLiteStore(tmp_path / f"r{number}")
        with store.snapshot() as snapshot:
            assert snapshot.seq() == seqs[number]
        assert store.check() == []
        store.close()


def test_a_backup_with_indexes_needs_no_others_to_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "TAIL", 1)
    with filled(tmp_path / "c", 40) as collection:
        collection.optimize()
        backups.backup(collection, tmp_path / "b", indexes=True)
    backups.restore(tmp_path / "b", tmp_path / "new")
    names = {path.name for path in (tmp_path / "c").iterdir()} - {"locks", "truth.db"}
    assert names <= {path.name for path in (tmp_path / "new").iterdir()}
    assert any(name.startswith("lexical-") for name in names)
    with open_(tmp_path / "new") as collection:
        assert collection.search("number 7", mode="lexical", k=1)[0].document == "n7"


def test_a_restore_refuses_a_collection_that_is_there_unless_it_is_told_to(tmp_path: Path) -> None:
    with filled(tmp_path / "c") as collection:
        backups.backup(collection, tmp_path / "b")
        collection.add([{"id": "later", "text": "came after the backup"}])
    with pytest.raises(InputError, match="--overwrite"):
        backups.restore(tmp_path / "b", tmp_path / "c")
    assert "later" in contents(tmp_path / "c")
    backups.restore(tmp_path / "b", tmp_path / "c", overwrite=True)
    assert sorted(contents(tmp_path / "c")) == ["n0", "n1", "n2", "n3", "n4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("not ours")
    with pytest.raises(InputError, match="holds no collection"):
        backups.restore(tmp_path / "b", tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "letter.txt").read_text() == "not ours"


def test_a_restore_waits_for_nobody_who_is_adding(tmp_path: Path) -> None:
    with filled(tmp_path / "c") as collection:
        backups.backup(collection, tmp_path / "b")
    store = SQLiteStore(tmp_path / "c")
    with running(store, "add"), pytest.raises(StoreBusy, match="restore when that is done"):
        backups.restore(tmp_path / "b", tmp_path / "c", overwrite=True)
    store.close()
    assert len(contents(tmp_path / "c")) == 5


def test_a_restore_says_that_something_was_forgotten_since(tmp_path: Path) -> None:
    with filled(tmp_path / "c") as collection:
        backups.backup(collection, tmp_path / "b")
        shutil.copytree(tmp_path / "b", tmp_path / "kept")
        forgetting.forget(collection, ["n1"])
    _, warning = backups.restore(tmp_path / "kept", tmp_path / "c", overwrite=True)
    assert "forget it again" in warning
    assert "n1" in contents(tmp_path / "c")


@pytest.mark.parametrize("damage", ["changed", "shorter", "missing"])
def test_a_damaged_backup_is_refused_and_nothing_is_touched(tmp_path: Path, damage: str) -> None:
    with filled(tmp_path / "c") as collection:
        backups.backup(collection, tmp_path / "b")
    file = tmp_path / "b" / "truth.db"
    data = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(data[:-1] + (b"!" if damage == "changed" else b""))
    before = contents(tmp_path / "c")
    with pytest.raises((DigestMismatch, StoreError), match="use another backup"):
        backups.restore(tmp_path / "b", tmp_path / "c", overwrite=True)
    with pytest.raises((DigestMismatch, StoreError), match="use another backup"):
        backups.restore(tmp_path / "b", tmp_path / "new")
    assert contents(tmp_path / "c") == before
    assert not (tmp_path / "new").exists()


def test_a_manifest_that_names_files_outside_of_it_writes_nothing_there(tmp_path: Path) -> None:
    with filled(tmp_path / "c") as collection:
        backups.backup(collection, tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "backup.json").read_text())
    for name in ("../outside.txt", "/tmp/outside.txt", "a/../../outside.txt"):
        manifest["files"] = {name: ["0" * 64, 3]}
        (tmp_path / "b" / "backup.json").write_text(json.dumps(manifest))
        with pytest.raises(InputError, match="lies outside"):
            backups.restore(tmp_path / "b", tmp_path / "new")
    for text in ("", "{}", "[1]", '{"backup": 99}', '{"backup": 1, "files": 3}'):
        (tmp_path / "b" / "backup.json").write_text(text)
        with pytest.raises(InputError, match=r"use another backup|upgrade"):
            backups.restore(tmp_path / "b", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]


def test_a_backup_is_put_where_nothing_is_lost_by_it(tmp_path: Path) -> None:
    with filled(tmp_path / "c") as collection:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "letter.txt").write_text("keep me")
        for target, words in ((tmp_path / "full", "is no backup"), (tmp_path / "c" / "b", "lies in the collection")):
            with pytest.raises(InputError, match=words):
                backups.backup(collection, target, overwrite=True)
        backups.backup(collection, tmp_path / "b")
        with pytest.raises(InputError, match="--overwrite"):
            backups.backup(collection, tmp_path / "b")
        collection.add([{"id": "more", "text": "more text"}])
        assert backups.backup(collection, tmp_path / "b", overwrite=True).documents == 6
        assert len(backups.backups(collection)) == 1
    with pytest.raises(NotFound, match="no backup"):
        backups.restore(tmp_path / "full", tmp_path / "new")


def stop_at(monkeypatch: pytest.MonkeyPatch, place: str, error: type[BaseException] | BaseException) -> None:
    """Let whatever reaches a failpoint end there with an error."""

    def stop(name: str) -> None:
        if name == place:
            raise error

    monkeypatch.setattr(failpoints, "hook", stop)


@pytest.mark.parametrize("place", ["database copied", "collection set aside"])
def test_what_an_interruption_leaves_is_no_obstacle(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(tmp_path / "c") as collection:
        if place == "collection set aside":
            backups.backup(collection, tmp_path / "b")
        stop_at(monkeypatch, place, KeyboardInterrupt)
        if place == "database copied":
            with pytest.raises(KeyboardInterrupt):
                backups.backup(collection, tmp_path / "b")
        else:
            with pytest.raises(KeyboardInterrupt):
                backups.restore(tmp_path / "b", tmp_path / "c", overwrite=True)
        monkeypatch.undo()
        if place == "database copied":
            backups.backup(collection, tmp_path / "b")
    backups.restore(tmp_path / "b", tmp_path / "c", overwrite=True)
    assert len(contents(tmp_path / "c")) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]


@pytest.mark.parametrize("place", ["backup set aside", "backup in place"])
def test_an_interruption_while_a_backup_is_replaced_loses_neither_the_old_nor_the_new_one(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(tmp_path / "c") as collection:
        backups.backup(collection, tmp_path / "b")
        collection.add([{"id": "more", "text": "more text"}])
        stop_at(monkeypatch, place, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            backups.backup(collection, tmp_path / "b", overwrite=True)
        monkeypatch.undo()
        there = backups.restore(tmp_path / "b", tmp_path / "new")[0].documents
        assert there == (5 if place == "backup set aside" else 6)
        assert backups.backup(collection, tmp_path / "b", overwrite=True).documents == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c", "new"]


def test_a_backup_that_cannot_be_put_in_place_leaves_the_one_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(tmp_path / "c") as collection:
        made = backups.backup(collection, tmp_path / "b")
        stop_at(monkeypatch, "backup set aside", OSError(5, "Input/output error"))
        with pytest.raises(StoreError, match="cannot be written"):
            backups.backup(collection, tmp_path / "b", overwrite=True)
        monkeypatch.undo()
        assert [row.digest for row in backups.backups(collection)] == [made.digest]
    assert backups.restore(tmp_path / "b", tmp_path / "new")[0] == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c", "new"]


def test_what_is_forgotten_is_taken_out_of_a_backup_that_was_being_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(tmp_path / "c") as collection:
        collection.add([{"id": "secret", "text": "the combination is opossum twelve"}])
        backups.backup(collection, tmp_path / "b")
        stop_at(monkeypatch, "backup set aside", KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            backups.backup(collection, tmp_path / "b", overwrite=True)
        monkeypatch.undo()
        shutil.rmtree(tmp_path / "b.sememe-partial")
        with pytest.raises(InputError, match="replaced is there"):
            backups.drop(collection, tmp_path / "b")
        (receipt,) = forgetting.forget(collection, ["secret"])
    assert [state["state"] for state in receipt["backups"]] == ["rewritten"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]
    assert b"opossum" not in b"".join(file.read_bytes() for file in (tmp_path / "b").rglob("*") if file.is_file())


def test_a_forget_and_a_backup_never_overlap(tmp_path: Path) -> None:
    from sememe.ingest.runs import take_lock

    with filled(tmp_path / "c"):
        lock = take_lock(tmp_path / "c", "backup.lock", wait=True)
        assert lock is not None
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from fakes import FakeEmbedder\nimport sememe\nfrom sememe.keeping import backups\n"
            f"with sememe.open({str(tmp_path / 'c')!r}, model=FakeEmbedder()) as c:\n"
            f"    backups.backup(c, {str(tmp_path / 'b')!r})\n"
        )
        other = subprocess.Popen([sys.executable, "-c", code])
        time.sleep(2.0)
        assert other.poll() is None
        assert not (tmp_path / "b").exists()
        lock.release()
        assert other.wait(60) == 0
    assert (tmp_path / "b" / "backup.json").exists()


def test_the_commands_back_up_list_and_restore(tmp_path: Path) -> None:
    script = str(Path(__file__).with_name("run_cli.py"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    (tmp_path / "a.txt").write_text("a text to keep\n")
    run("add", "a.txt")
    made = json.loads(run("backup", "b", "--json").stdout)
    assert made["documents"] == 1
    assert json.loads(run("backup", "--json").stdout)["digest"] == made["digest"]
    assert run("restore", "b").returncode == 1
    assert run("restore", "b", "-c", "new", "--json").returncode == 0
    assert run("get", "a.txt", "-c", "new").stdout == "a text to keep\n"


def test_the_doctor_names_every_backup_and_says_which_are_not_at_hand(tmp_path: Path) -> None:
    with filled(tmp_path / "c") as collection:
        for name in ("here", "gone"):
            backups.backup(collection, tmp_path / name)
    shutil.rmtree(tmp_path / "gone")
    said = {finding.text for finding in doctor.examine(tmp_path / "c") if finding.name == "backup"}
    assert said == {
        f"{tmp_path / 'here'}, of change 5; now it is 5",
        f"{tmp_path / 'gone'} is not at hand; what is forgotten stays in it; if it is gone for good: "
        f"sememe backup {tmp_path / 'gone'} --drop",
    }
    with open_(tmp_path / "c") as collection:
        backups.drop(collection, tmp_path / "gone")
        with pytest.raises(InputError, match="remove the folder first"):
            backups.drop(collection, tmp_path / "here")
        with pytest.raises(NotFound, match="knows of no backup"):
            backups.drop(collection, tmp_path / "gone")
        assert [row.path for row in backups.backups(collection)] == [str(tmp_path / "here")]


def test_a_backup_that_could_not_be_written_is_not_known_and_one_that_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(place: str) -> None:
        if place == "database copied":
            raise OSError(28, "No space left on device")

    (tmp_path / "file").write_text("in the way")
    with filled(tmp_path / "c") as collection:
        made = backups.backup(collection, tmp_path / "b")
        with pytest.raises(StoreError, match="cannot be written"):
            backups.backup(collection, tmp_path / "file" / "b")
        monkeypatch.setattr(failpoints, "hook", stop)
        for name in ("b", "other"):
            with pytest.raises(StoreError, match="No space"):
                backups.backup(collection, tmp_path / name, overwrite=True)
        (row,) = backups.backups(collection)
    assert (row.path, row.digest) == (str(tmp_path / "b"), made.digest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c", "file"]
