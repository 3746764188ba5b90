"""A golden set by a language model: what it is shown, what is kept of what it asks, and what it could not do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from fakes import FakeEmbedder
from providers_server import KEY, TRAP, Fault, StandIn, serving
from typer.testing import CliRunner

import sememe
from sememe.cli import application
from sememe.cli.parts import setting_of
from sememe.errors import InputError, ProviderError
from sememe.evaluate import golden, questions
from sememe.evaluate.running import run
from sememe.keeping import moving
from sememe.models.providers.writing import HostedWriter, load_writer
from sememe.settings import Hosted, Settings

MODEL = "openai:tiny-chat"
Command = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[StandIn]:
    with serving() as found:
        yield found


def writer_at(server: StandIn, **hosted: object) -> HostedWriter:
    settings = Settings(hosted=replace(Hosted(environ=server.environ(), backoff=0.01, attempts=2), **hosted))
    return load_writer(MODEL, settings=settings)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[sememe.Collection]:
    """Eight chunks that are long enough to be asked about, and one that is not."""
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(
            {"id": f"d{n}", "text": f"subject{n} is what this document of a dozen words and one more speaks of"}
            for n in range(8)
        )
        opened.add({"id": "short", "text": "too short"})
        yield opened


def test_every_question_of_a_model_is_kept_with_its_chunk_and_the_models_name(
    server: StandIn, collection: sememe.Collection
) -> None:
    made = questions.make(collection, writer_at(server), name="asked")
    assert (made.queries, made.judgements, made.failed) == (8, 8, ())
    assert {one.origin for one in golden.judgements(collection, "asked")} == {"model openai:tiny-chat"}
    assert {one.query: one.key for one in golden.judgements(collection, "asked")}["What of subject3?"] == "d3"
    data = golden.dataset(collection, "asked")
    assert data.unit == "chunk"
    assert "after it had read the chunk" in data.remarks[0]
    assert len(run(collection, data, setting_of("mode=lexical")).asked) == 8


def test_the_model_is_given_what_is_shown_and_the_same_chunks_again(
    server: StandIn, collection: sememe.Collection
) -> None:
    chosen = questions.shown(collection, 3)
    questions.make(collection, writer_at(server), count=3)
    sent = [seen.body["messages"] for seen in server.seen]
    assert sorted(messages[1]["content"] for messages in sent) == sorted(one.text for one in chosen)
    assert {messages[0]["content"] for messages in sent} == {questions.INSTRUCTION}
    assert chosen == questions.shown(collection, 3)


@pytest.mark.parametrize("written", ["", "one\ntwo", "x" * 301, None])
def test_what_is_no_question_is_told_by_its_chunk_and_the_rest_is_kept(
    server: StandIn, collection: sememe.Collection, written: str | None
) -> None:
    server.write = lambda text: written if "subject2" in text else f' "What of {text.split()[0]}?"\n'
    made = questions.make(collection, writer_at(server))
    assert made.queries == 7
    assert [chunk for chunk, _ in made.failed] == [f"chunk:{collection.get('d2').chunks[0].id}"]
    assert "What of subject1?" in {one.query for one in golden.judgements(collection, "model")}


def test_a_text_that_is_refused_stops_nothing(server: StandIn, tmp_path: Path) -> None:
    with sememe.open(tmp_path / "t", model=FakeEmbedder()) as opened:
        opened.add([f"{TRAP} says a text of twelve words and more that nobody will answer",
                    "this one of twelve words and some more is answered as it should be"])  # fmt: skip
        made = questions.make(opened, writer_at(server))
    assert made.queries == 1
    ((_, reason),) = made.failed
    assert "flagged by a filter" in reason


def test_what_is_asked_of_two_chunks_answers_neither(server: StandIn, collection: sememe.Collection) -> None:
    server.write = lambda text: "The same?" if "subject1" in text or "subject2" in text else f"{text.split()[0]}?"
    made = questions.make(collection, writer_at(server))
    assert (made.queries, len(made.failed)) == (6, 2)


def test_a_busy_server_is_asked_again(server: StandIn, collection: sememe.Collection) -> None:
    server.faults.append(Fault(status=429, headers={"retry-after-ms": "5"}))
    assert questions.make(collection, writer_at(server)).queries == 8


def test_what_was_asked_before_the_model_went_is_kept_and_no_key_is_shown(
    server: StandIn, collection: sememe.Collection
) -> None:
    answered: list[str] = []

    def write(text: str) -> str:
        answered.append(text)
        if len(answered) == 4:
            server.key = "another"
        return f"What of {text.split()[0]}?"

    server.write = write
    with pytest.raises(ProviderError, match="4 queries were made before") as told:
        questions.make(collection, writer_at(server, concurrency=1))
    assert KEY not in str(told.value)
    assert len(golden.judgements(collection, "model")) == 4


@pytest.mark.parametrize(
    ("name", "stored"),
    [("http://localhost:8080/v1/Qwen/Qwen3", "openai:Qwen/Qwen3"), ("https://h/api/tiny", "openai:tiny"),
     ("openai:tiny@http://h:1/v1", "openai:tiny")],
)  # fmt: skip
def test_an_address_with_a_model_behind_it_is_a_name(name: str, stored: str) -> None:
    assert load_writer(name, settings=Settings()).name == stored


@pytest.mark.parametrize("name", ["http://localhost:8080/v1/", "gpt", "voyage"])
def test_what_names_no_model_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="write"):
        load_writer(name, settings=Settings())


@pytest.fixture
def command(collection: sememe.Collection, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`sememe eval golden` on the collection, with the server in the environment."""
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    where = ["-c", str(collection.path)]
    return lambda *given: CliRunner().invoke(application(), ["eval", "golden", *given, *where])


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(command: Command, server: StandIn) -> None:
    done = command("make", "--from-model", MODEL, "--show-input", "--dry-run", "--count", "2")
    assert done.exit_code == 0, done.output
    assert done.stdout.count(questions.INSTRUCTION) == 2
    assert "subject" in done.stdout
    assert server.seen == []
    assert KEY not in done.output


def test_the_command_says_what_came_of_it(command: Command, server: StandIn) -> None:
    server.write = lambda text: "" if "subject2" in text else f"What of {text.split()[0]}?"
    done = command("make", "--from-model", MODEL, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["name"], told["queries"], len(told["failed"])) == ("model", 7, 1)
    listed = json.loads(command("list", "--json").stdout)
    assert listed["origins"] == {"model openai:tiny-chat": 7}
    assert command("make", "--dry-run").exit_code != 0


@pytest.mark.parametrize("form", ["file", "folder", "parquet"])
def test_golden_sets_go_with_an_export_and_stay_what_they_are(
    collection: sememe.Collection, tmp_path: Path, form: moving.Form
) -> None:
    golden.add(collection, "what is first", ["d1"], name="mine")
    before = golden.judgements(collection, "mine")
    moving.export(collection, tmp_path / "out", form=form)
    for _ in range(2):
        moving.import_(tmp_path / "other", moving.read(tmp_path / "out"))
    with sememe.open(tmp_path / "other", model=FakeEmbedder()) as other:
        assert golden.judgements(other, "mine") == before
        golden.add(other, "another", ["d2"], name="mine")
        moving.import_(tmp_path / "other", moving.read(tmp_path / "out"))
        assert len(golden.judgements(other, "mine")) == 2
