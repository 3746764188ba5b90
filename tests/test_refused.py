"""What people type by mistake: one sentence that names it and the next step, and nothing is written or lost."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from fakes import FakeEmbedder
from test_families import REFERENCE
from typer.testing import CliRunner

import sememe
from sememe.cli import application
from sememe.errors import SememeError
from sememe.evaluate import golden, running
from sememe.search.query import Route

Say = Callable[..., Result]


HEADS = REFERENCE / "heads"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection of twenty texts, a golden set and a saved run of it, and files that are none."""
    path = tmp_path_factory.mktemp("refused")
    with sememe.open(path / ".sememe", model=FakeEmbedder()) as opened:
        opened.add([{"id": f"k{i}", "text": f"shoe {i}", "metadata": {"colour": "rg"[i % 2]}} for i in range(20)])
        golden.add(opened, "shoe 1", ["k1"])
        running.save(running.run(opened, golden.dataset(opened, "hand"), running.Setting()), path / "run.json")
    files = {"note.txt": "a note", "shape.json": '{"a": 1}', "cut.json": "{", "empty": "", "three.json": "[1, 2, 3]",
             "words": "queen\nprince\n"}  # fmt: skip
    for name, text in files.items():
        (path / name).write_text(text)
    return path


@pytest.fixture
def say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run a command in that folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sememe.collection.load_model", lambda *_, **__: FakeEmbedder())
    return lambda *said: CliRunner().invoke(application(said[0]), list(map(str, said)))


def check_refused(done: Result, *parts: str) -> None:
    """It ended with an error of ours, which holds the parts."""
    assert isinstance(done.exception, SememeError), done.output + repr(done.exception)
    for part in parts:
        assert part in str(done.exception)


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("search shoe --rerank-depth 3", ["depth to rerank is 3", "name one"]),
        ("search shoe --fusion rrf", ["'rrf'", "'vector'", "'hybrid'"]),
        ("explain shoe k1 --fusion rrf", ["'rrf'", "'vector'", "'hybrid'"]),
        ("search shoe --mode hybrid --alpha 0.5 --fusion rrf", ["0.5", "'rrf'", "one of them"]),
        ("search shoe --mode lexical --recall 1", ["recall is 1", "leave it out"]),
        ("search shoe --page 1 --after x", ["leave one of them out"]),
        ("eval run hand --split dev", ["--split dev", "--beir"]),
        ("eval run hand --queries note.txt", ["--queries note.txt", "--qrels"]),
        ("eval gate note.txt --min 0.1 --mode lexical", ["note.txt is a saved run", "leave out"]),
        ("eval gate hand --min 0.1 --tolerance 0.1", ["--tolerance 0.1", "--against"]),
        ("add note.txt --delay 3", ["--delay", "note.txt is a path"]),
        ("add https://example.org --checksum", ["--checksum", "https://example.org is an address"]),
    ],
)  # fmt: skip
def test_an_option_that_cannot_act_is_refused(say: Say, said: str, parts: list[str]) -> None:
    check_refused(say(*said.split()), *parts)


def test_a_doctor_that_is_asked_for_a_collection_which_is_not_there_ends_with_trouble(say: Say, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("empty", "nowhere"):
        done = say("doctor", "-c", tmp_path / place)
        assert (done.exit_code, f"! collection       there is no collection at {tmp_path / place}" in done.stdout) == (
            1,
            True,
        )
    assert say("doctor").exit_code == 0


def test_without_a_collection_that_is_named_or_there_the_doctor_looks_at_the_installation(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = say("doctor")
    assert (done.exit_code, "only the installation" in done.stderr) == (0, True)
    monkeypatch.setenv("SEMEME_COLLECTION", "nowhere")
    assert say("doctor").exit_code == 1


def test_a_database_that_is_gone_from_beside_its_indexes_is_told_with_what_to_do(
    say: Say, folder: Path, tmp_path: Path
) -> None:
    assert say("backup", tmp_path / "backup").exit_code == 0
    shutil.copytree(folder / ".sememe", tmp_path / "c")
    for file in (tmp_path / "c").glob("truth.db*"):
        file.unlink()
    check_refused(
        say("search", "shoe", "-c", tmp_path / "c"), "truth.db is missing", "vectors-", "sememe restore BACKUP"
    )
    assert "truth.db is missing" in say("doctor", "-c", tmp_path / "c").stdout
    assert say("restore", tmp_path / "backup", "-c", tmp_path / "again").exit_code == 0
    assert say("search", "shoe", "-c", tmp_path / "again").exit_code == 0


@pytest.mark.parametrize("damage", ["[]", "3", '["meta.json"]', None])
def test_the_doctor_tells_of_a_list_of_files_that_does_not_name_them_and_makes_it_anew(
    say: Say, folder: Path, tmp_path: Path, damage: str | None
) -> None:
    shutil.copytree(folder / ".sememe", tmp_path / "c")
    assert say("doctor", "-c", tmp_path / "c").exit_code == 0
    (listed,) = (tmp_path / "c").glob("lexical-*/.managed.json")
    listed.unlink() if damage is None else listed.write_text(damage)
    done = say("doctor", "-c", tmp_path / "c")
    assert (done.exit_code, "! words" in done.stdout) == (1, True)
    assert say("doctor", "--rebuild", "-c", tmp_path / "c").exit_code == 0


@pytest.mark.parametrize("said", [["add", ""], ["sync", " "], ["search", "shoe", "-c", ""], ["report", "-c", " "]])
def test_an_empty_path_is_not_the_folder_one_stands_in(say: Say, said: list[str]) -> None:
    check_refused(say(*said), "empty", "the one you stand in")


def test_a_filter_with_too_long_a_number_is_refused(say: Say) -> None:
    check_refused(say("search", "shoe", "--where", '{"year": ' + "9" * 5000 + "}"), "--where", "4,300 digits")


def test_the_name_of_a_model_is_guessed_and_an_empty_one_is_no_folder(say: Say) -> None:
    check_refused(say("model", "show", "bge-smal-en"), "'bge-smal-en'", "(did you mean 'bge-small-en-v1.5'?)")
    for said in (["model", "embed", "x"], ["rerank", "x", "words"]):
        check_refused(say(*said, "--model", " "), "the model has no name", "model list")


def test_a_reranker_without_a_name_is_refused(say: Say) -> None:
    check_refused(say("search", "shoe", "--rerank", ""), "no name", "leave it out")


@pytest.mark.parametrize("name", ["rank-bert", "rank-newer"])
def test_a_reranker_makes_no_space_unless_its_kind_is_said(say: Say, folder: Path, name: str) -> None:
    check_refused(say("space", "add", "x", "--model", HEADS / name), name, "is a reranker", "--rerank", "--kind dense")
    assert say("space", "--json").stdout.count("\n") == 1


def test_a_cross_encoder_that_is_taken_for_an_encoder_is_told_to_be_none() -> None:
    with pytest.warns(UserWarning, match="trained to rank pairs"):
        sememe.load_model(HEADS / "rank-distilbert")


def test_a_space_that_is_there_or_is_not_is_told_with_what_to_do(say: Say, folder: Path) -> None:
    words = HEADS / "sparse-bert"
    check_refused(say("space", "drop", "words"), "no space 'words' to drop", "none beside its own")
    assert say("space", "add", "words", "--model", words).exit_code == 0
    again = say("space", "add", "words", "--model", words)
    assert "every chunk already; search it with --space words" in again.stderr
    check_refused(say("space", "add", "words", "--model", HEADS / "sparse-distilbert"), "sparse-bert", "another name")
    check_refused(say("search", "shoe", "--space", "word"), "'word'", "did you mean 'words'?", "space add word")
    check_refused(say("space", "drop", "wrods"), "'wrods' to drop", "it has words (did you mean 'words'?)")
    assert say("space", "drop", "words").exit_code == 0


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("search shoe --mode lexcal", "lexical"), ("search shoe --mode hybrid --fusion evidnce", "evidence"),
        ("search shoe --facet color", "colour"), ("space add x --kind spars", "sparse"),
        ("add note.txt --long windws", "windows"), ("eval compare mod=vector mode=hybrid --set hand", "mode"),
        ("eval run hnd", "hand"), ("eval run hand --metric ndgc@10", "ndcg"), ("export x --format foldr", "folder"),
        ("model embed shoe --role qery", "query"),
    ],
)  # fmt: skip
def test_a_name_that_is_nearly_one_is_guessed(say: Say, said: str, meant: str) -> None:
    check_refused(say(*said.split()), f"(did you mean '{meant}'?)")


def test_judgements_by_chunks_of_elsewhere_are_refused_before_anything_is_added(say: Say, tmp_path: Path) -> None:
    beir = tmp_path / "set"
    (beir / "qrels").mkdir(parents=True)
    (beir / "corpus.jsonl").write_text('{"_id": "chunk:900", "text": "a shoe"}\n')
    (beir / "queries.jsonl").write_text('{"_id": "q", "text": "shoe"}\n')
    (beir / "qrels" / "test.tsv").write_text("q\tchunk:900\t1\n")
    check_refused(say("eval", "run", "--beir", beir), "none of the 1 chunks", "'chunk:900'", "name the collection")
    check_refused(say("eval", "run", "--beir", beir, "--add", "-c", tmp_path / "new"), str(beir), "chunk:12", "--add")
    (beir / "qrels" / "test.tsv").write_text("q\ta\t1\n")
    (beir / "corpus.jsonl").write_text('{"_id": "a", "text": " "}\n')
    check_refused(say("eval", "run", "--beir", beir, "--add", "-c", tmp_path / "new"), "holds no text")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("eval compare run.json nosuch.json", ["no run nosuch.json", "check the path"]),
        ("eval compare run.json note.txt", ["note.txt", "neither", "line 1", "'a note'", "--save"]),
        ("eval compare run.json shape.json", ["shape.json is no saved run (it has no 'run')", "--save"]),
        ("eval compare run.json cut.json", ["cut.json is no saved run (Expecting", "--save"]),
        ("eval compare run.json empty", ["empty is empty", "--save"]),
        ("eval gate run.json --against nosuch.json", ["nosuch.json cannot be read", "No such file"]),
        ("eval gate hand --min 5", ["least value is 5", "from 0 to 1"]),
        ("eval gate hand --min nan", ["least value is nan", "from 0 to 1"]),
        ("eval gate hand --against run.json --tolerance nan", ["tolerance is nan", "from 0 to 1"]),
        ("search --vector three.json", ["(3,)", "(16,)", "sememe space"]),
        ("add ftp://example.org/x", ["ftp://example.org/x", "only http:// and https://"]),
        ("add note.txt S3://bucket/x", ["S3://", "only http:// and https://"]),
        ("similar nowhere", ["'nowhere'"]),
        ("analogy king - king", ["'king - king' cancels out", "king - man + woman"]),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_the_next_step(
    say: Say, make_model_folder: Callable[..., Path], said: str, parts: list[str]
) -> None:
    if said.startswith("analogy"):
        said += f" --words words --model {make_model_folder('tiny')}"
    check_refused(say(*said.split()), *parts)


def test_who_deletes_what_was_deleted_is_told_when_it_went(say: Say, folder: Path) -> None:
    with sememe.open(folder / ".sememe", model=FakeEmbedder()) as opened:
        opened.add({"id": "gone", "text": "a shoe that goes"})
    assert say("delete", "gone", "./gone").stdout == "1 deleted\n"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    check_refused(say("delete", "k1", "gone"), "'gone'", f"deleted or renamed on {today}", "nothing was deleted")
    assert say("get", "k1").stdout == "shoe 1\n"


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("--threshold 5", ["no hit scores 5 or more: the best has 1."]),
        ("--threshold 5 --mode lexical", ["no hit scores 5 or more: the best has 2.7"]),
        ("--page 9999", ["page 9,999 begins behind hit 99,980, and there are 20"]),
        ("--where {\"colour\":\"x\"}", ["no chunk matches the filter"]),
        ("--where {\"hue\":1}", ["no chunk matches the filter", "no document has a field 'hue'; there are: colour"]),
    ],
)  # fmt: skip
def test_an_empty_answer_says_which_step_left_nothing(say: Say, said: str, parts: list[str]) -> None:
    done = say("search", "shoe 1", *said.split())
    assert (done.exit_code, done.stdout) == (0, "")
    assert "Nothing was found" not in done.stderr
    for part in parts:
        assert part in done.stderr


def test_an_empty_answer_is_explained_in_python_too(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        assert "holds no chunk" in opened.search("shoe").notes[0]
        opened.add({"id": "a", "text": "a shoe"})
        assert opened.similar("a").notes == ("there is no other chunk than what was asked for",)
        assert "a word of the query (boot)" in opened.search("boot", mode="lexical").notes[0]
        opened.add({"id": f"k{i}", "text": f"shoe {i}"} for i in range(60))
        (note,) = opened.search("shoe", route=Route(expected=1e-9)).notes
        assert re.match(r"\S+ random chunks would be expected to score as high as the best, and 1e-09 at most", note)
        opened.delete([row.key for row in opened.ledger()])
        assert "holds no chunk" in opened.search("shoe").notes[0]
