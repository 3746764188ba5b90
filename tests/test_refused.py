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
        ("search shoe --mode lexical --space @own", ["looks in no space", "'@own'", "leave it out"]),
        ("search shoe --boost year:0", ["boost year weighs 0"]),
        ("search shoe --recency 30d:0", ["recency @added weighs 0"]),
        ("explain shoe k1 --overwrite", ["--overwrite", "no file to write is named"]),
        ("eval run hand --overwrite", ["--overwrite", "no file to write is named"]),
        ("eval compare mode=vector mode=hybrid --set hand --overwrite", ["--overwrite", "no file to write is named"]),
        ("model embed shoe --overwrite", ["--overwrite", "no file to write is named"]),
        ("backup --overwrite", ["--overwrite", "no folder for a backup is named"]),
        ("backup --indexes", ["--indexes", "no folder for a backup is named"]),
        ("eval compare funnel= mode=hybrid --set hand", ["funnel is empty", "leave it out"]),
    ],
)  # fmt: skip
def test_an_option_that_cannot_act_is_refused(say: Say, said: str, parts: list[str]) -> None:
    check_refused(say(*said.split()), *parts)


def test_a_part_or_a_funnel_that_is_nothing_is_refused_and_a_number_is_a_text(say: Say) -> None:
    check_refused(say("search", "shoe", "--also", "0 boot"), "--also '0 boot' weighs 0")
    for said in (["search", "shoe"], ["explain", "shoe", "k1"]):
        check_refused(say(*said, "--funnel", ""), "funnel is empty", "leave it out")
    assert "+ 1 x '5'" in say("search", "shoe", "--also", "5", "--plan").stdout


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("search shoe --context 99999999999", ["context is 99,999,999,999 chunks", "at most 999,999,999"]),
        ("search shoe --page -1", ["the page is -1", "from 1 on"]),
        ("analogy shoe + boot --words nope", ["nope cannot be read (No such file or directory); give"]),
        ("analogy shoe + boot --words latin", ["latin is not UTF-8 (byte 2); give"]),
        ("rerank shoe nope --model x", ["nope cannot be read (No such file or directory); give"]),
        ("add nope/x.jsonl", ["no file or folder nope/x.jsonl", "spelling"]),
        ("export nope/x.jsonl", ["there is no folder", "make it first"]),
    ],
)  # fmt: skip
def test_what_is_told_of_a_number_or_a_path_is_plain(say: Say, folder: Path, said: str, parts: list[str]) -> None:
    (folder / "latin").write_bytes(b"sh\xf6n\n")
    check_refused(say(*said.split()), *parts)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder in which nothing can be made")
def test_an_export_where_nothing_can_be_made_does_not_ask_for_a_folder_that_is_there(say: Say) -> None:
    check_refused(say("export", "/proc/x.jsonl"), "/proc/x.jsonl cannot be written", "name another place")


def test_a_plan_shows_the_signs_of_a_filter_and_keeps_those_escaped_that_no_line_can_show(say: Say) -> None:
    where = '{"colour": {"$in": ["rosé", "a\\u202eb", {"ë": "ß"}]}}'
    (told,) = (line for line in say("search", "shoe", "--plan", "--where", where).stdout.splitlines() if "$" not in line
               and line.startswith("filter"))  # fmt: skip
    assert all(part in told for part in ('"rosé"', '"a\\u202eb"', '{"ë": "ß"}')), told


@pytest.mark.parametrize(
    "said",
    [
        ["search", "shoe", "--where", '{"a": 1, "a": 2}'], ["search", "shoe", "--where", '{"b": {"a": 1, "a": 1}}'],
        ["eval", "run", "hand", "--setting", 'where={"a": 1, "a": 2}'],
        ["add", "note.txt", "--meta", 'b={"a": 1, "a": 2}'],
    ],
)  # fmt: skip
def test_a_name_that_stands_twice_in_an_object_is_refused(say: Say, said: list[str]) -> None:
    check_refused(say(*said), "'a' stands twice", "say it once")


def test_a_finish_with_nothing_to_finish_is_told(say: Say) -> None:
    done = say("forget", "--finish")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No forget was left to finish.\n")


@pytest.mark.parametrize("model", ["all-MiniLM-L6-v2", "openai:text-embedding-3-small", "bge-small-en-v1.5"])
def test_a_model_that_is_known_to_be_dense_makes_no_sparse_space(say: Say, model: str) -> None:
    check_refused(say("space", "add", "x", "--kind", "sparse", "--model", model), model, "one dense vector a text",
                  "--kind dense")  # fmt: skip


def test_a_model_that_others_run_gives_no_states_of_tokens(say: Say) -> None:
    done = say("space", "add", "x", "--kind", "late", "--model", "openai:text-embedding-3-small")
    check_refused(done, "one dense vector a text", "--kind dense")


@pytest.mark.parametrize(
    "said",
    [
        "add note.txt --max-pages 0", "add note.txt --delay -1", "eval compare a b --shown -1",
        "eval gate hand --min 0.1 --tolerance -1", "eval golden import-clicks note.txt --set x --least 0",
    ],
)  # fmt: skip
def test_a_number_that_cannot_be_used_is_refused_and_is_no_wrong_usage(say: Say, said: str) -> None:
    check_refused(say(*said.split()), said.split()[-2], "give at least")


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
