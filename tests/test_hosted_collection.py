"""Collections whose vectors somebody else makes: from `sememe add --model openai:…` to a search, and bad days."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import numpy as np
import pytest
from providers_server import KEY, NAMES, TRAP, Fault, StandIn, hashed, serving

import sememe
from sememe.errors import Incomplete, InputError, ProviderError, SpaceMismatch
from sememe.keeping.forgetting import forget
from sememe.settings import Hosted, Settings
from sememe.space import CANARY_TEXTS, FAMILIES, Space, related

OPENAI = "openai:text-embedding-3-small,dimensions=64"


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A stand-in of its own for every test."""
    with serving() as stand_in:
        yield stand_in


@pytest.fixture
def settings(server: StandIn) -> Callable[..., Settings]:
    """Settings with the server's addresses and keys, and more of hosted models by keyword."""

    def made(**changes: object) -> Settings:
        return Settings(hosted=Hosted(environ=server.environ(), backoff=0.01, timeout=5, **changes))  # type: ignore[arg-type]

    return made


@pytest.fixture
def command(server: StandIn, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own, in a folder of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        env = {**clean, **server.environ(), **environ}
        return subprocess.run(
            [sys.executable, "-m", "sememe.cli", *arguments], cwd=tmp_path, env=env, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    return run


def write(folder: Path, n: int) -> Path:
    """A folder of small documents that all differ."""
    docs = folder / "docs"
    docs.mkdir(exist_ok=True)
    for i in range(n):
        (docs / f"{i:03}.md").write_text(f"# Number {i}\n\nWhat is said of the number {i} in words.\n")
    return docs


def one_line(run: subprocess.CompletedProcess[str]) -> str:
    """What a command that was refused says."""
    assert run.returncode == 1, run.stderr
    [line] = [line for line in run.stderr.splitlines() if line.startswith("sememe: ")]
    assert "Traceback" not in run.stderr
    return line


# --- on the command line ------------------------------------------------------------------------------------------


def test_add_and_search_from_the_command_line(command: Callable, server: StandIn, tmp_path: Path) -> None:  # type: ignore[type-arg]
    write(tmp_path, 12)
    added = command("add", "docs", "--model", OPENAI, "--json")
    assert added.returncode == 0, added.stderr
    summary = json.loads(added.stdout)
    assert (summary["documents"], summary["failed"]) == (12, 0)
    assert summary["billed_tokens"] == server.billed_tokens
    assert summary["dollars"] == pytest.approx(server.billed_tokens * 0.02e-6)
    found = command("search", "# Number 7\n\nWhat is said of the number 7 in words.", "--json", "-k", "1")
    assert json.loads(found.stdout)["document"] == "docs/007.md"
    texts = [text for text in server.billed if text not in CANARY_TEXTS]
    assert sum(server.billed[text] for text in texts) == 13, "twelve documents and a query"
    again = json.loads(command("add", "docs", "--json").stdout)
    assert (again["unchanged"], again["embedded"]) == (12, 0)


def test_a_dry_run_tells_tokens_and_money_and_asks_nobody(command: Callable, server: StandIn, tmp_path: Path) -> None:  # type: ignore[type-arg]
    write(tmp_path, 30)
    planned = command("add", "docs", "--model", OPENAI, "--dry-run", "--json", OPENAI_API_KEY="")
    summary = json.loads(planned.stdout)
    assert not server.seen
    assert not (tmp_path / ".sememe").exists()
    assert summary["dollars"] == pytest.approx(summary["tokens"] * 0.02e-6)
    assert "at most" in command("add", "docs", "--model", OPENAI, "--dry-run").stdout
    done = json.loads(command("add", "docs", "--model", OPENAI, "--json").stdout)
    assert done["billed_tokens"] <= summary["tokens"] + 60, "it cost more than was said; three canaries aside"


def test_a_cost_limit_stops_and_the_same_command_goes_on(command: Callable, server: StandIn, tmp_path: Path) -> None:  # type: ignore[type-arg]
    write(tmp_path, 200)
    environ = {"SEMEME_CONCURRENCY": "1"}
    limit = 0.02e-6 * 3000
    arguments = ("add", "docs", "--model", "cohere:embed-v4.0,dimensions=256", "--max-cost")
    runs = 0
    while True:
        before, runs = server.billed_tokens, runs + 1
        run = command(*arguments, f"{limit * 6:.9f}", **environ)
        assert (server.billed_tokens - before) * 0.12e-6 <= limit * 6
        if run.returncode == 0:
            break
        assert "--max-cost" in one_line(run)
        assert runs < 10
    assert runs > 1
    once = {text: times for text, times in server.billed.items() if text not in CANARY_TEXTS}
    assert len(once) == 200
    assert set(once.values()) == {1}, "a text was paid for twice"
    assert "200" in command("report").stdout


def test_a_missing_and_a_wrong_key_leave_nothing_behind(command: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    write(tmp_path, 1)
    assert "OPENAI_API_KEY" in one_line(command("add", "docs", "--model", OPENAI, OPENAI_API_KEY=""))
    wrong = one_line(command("add", "docs", "--model", OPENAI, OPENAI_API_KEY="sk-wrong-123456"))
    assert "OPENAI_API_KEY" in wrong
    assert "sk-wrong" not in wrong
    assert "did you mean" in one_line(command("add", "docs", "--model", "openai:text-embedding-3-smal"))
    assert not (tmp_path / ".sememe").exists()


def test_no_key_is_in_any_file_of_a_collection(command: Callable, server: StandIn, tmp_path: Path) -> None:  # type: ignore[type-arg]
    write(tmp_path, 5)
    (tmp_path / "docs" / "bad.md").write_text(f"please {TRAP}")
    server.faults.extend([Fault("slow"), Fault(status=400, message=f"bad key {KEY}")])
    for arguments in (("add", "docs", "--model", OPENAI), ("search", "tea"), ("report", "--json"), ("doctor",)):
        run = command(*arguments, SEMEME_DEBUG="1")
        assert KEY not in run.stdout + run.stderr
    files = [path for path in (tmp_path / ".sememe").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_no_key_is_in_what_is_exported_explained_or_planned(
    command: Callable,
    server: StandIn,
    tmp_path: Path,  # type: ignore[type-arg]
) -> None:
    write(tmp_path, 3)
    for arguments in (
        ("add", "docs", "--model", OPENAI, "--dry-run", "--json"), ("add", "docs", "--model", OPENAI, "--json"),
        ("search", "tea", "--json"), ("doctor", "--json"), ("export", "out"),
    ):  # fmt: skip
        run = command(*arguments)
        assert run.returncode == 0, run.stderr
        assert KEY not in run.stdout + run.stderr
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_the_commands_and_the_python_of_the_page_on_hosted_models_run_as_written(
    command: Callable,
    server: StandIn,
    tmp_path: Path,  # type: ignore[type-arg]
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "hosted.md").read_text(encoding="utf-8")
    [shell], [python] = (re.findall(rf"```{name}\n(.*?)```", page, flags=re.DOTALL) for name in ("sh", "python"))
    lines = [shlex.split(line, comments=True) for line in shell.splitlines() if line.startswith("sememe ")]
    assert len(lines) == 4
    write(tmp_path, 3)
    for line in lines:
        run = command(*line[1:])
        assert run.returncode == 0, run.stderr
    (tmp_path / "tap.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(64)))
    environ = {**os.environ, **server.environ()}
    done = subprocess.run(
        [sys.executable, "-c", python], cwd=tmp_path, env=environ, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_interrupted_command_does_not_wait_for_a_busy_provider(server: StandIn, tmp_path: Path) -> None:
    write(tmp_path, 5)
    env = {**os.environ, **server.environ()}
    arguments = [sys.executable, "-m", "sememe.cli", "add", "docs", "--model", OPENAI]
    assert subprocess.run(arguments, cwd=tmp_path, env=env, capture_output=True, check=False).returncode == 0
    (tmp_path / "docs" / "new.md").write_text("something new")
    seen = len(server.seen)
    server.faults.extend([Fault("slow"), Fault(status=429, headers={"Retry-After": "100"})])
    process = subprocess.Popen(arguments, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    while len(server.seen) < seen + 2:
        time.sleep(0.02)
    time.sleep(0.3)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 130, said
    assert time.monotonic() - started < 20


def test_hosted_models_are_listed_with_limits_prices_and_a_date(command: Callable) -> None:  # type: ignore[type-arg]
    shown = command("model", "list", "--hosted").stdout
    assert "Figures of 2026-" in shown
    [line] = [line for line in shown.splitlines() if "openai:text-embedding-3-small" in line]
    assert all(figure in line for figure in ("1536", "8,192", "0.02")), line
    assert command("hosted").stdout == shown
    rows = [json.loads(line) for line in command("model", "list", "--hosted", "--json").stdout.splitlines()]
    small = next(row for row in rows if row["name"] == "openai:text-embedding-3-small")
    assert (small["dims"], small["tokens"], small["dollars_per_million_tokens"]) == ([1536], 8192, 0.02)
    assert {row["name"].partition(":")[0] for row in rows} == {
        "openai",
        "cohere",
        "google",
        "jina",
        "voyage",
        "mistral",
    }


def test_a_picture_ends_in_the_ledger_in_one_sentence_also_with_a_model_that_reads_pictures(
    command: Callable,
    tmp_path: Path,  # type: ignore[type-arg]
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)))
    added = command("add", "photo.jpg", "--model", "cohere:embed-v4.0")
    assert added.returncode == 0, added.stderr
    sentence = "photo.jpg: binary file (JPEG image): pictures are not read by add and sync"
    assert sentence in added.stdout + added.stderr
    assert sentence in command("report").stdout


# --- the ledger -----------------------------------------------------------------------------------------------------


def test_an_input_that_is_refused_ends_in_the_ledger_with_the_providers_reason(
    settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    records = [{"id": f"d{i}", "text": f"text {i}"} for i in range(100)]
    records[37]["text"] = f"please {TRAP}"
    with sememe.open(tmp_path / "c", model=OPENAI, settings=settings()) as collection:
        summary = collection.add(records)
        assert (summary.documents, summary.failed) == (99, 1)
        [row] = collection.report().troubles
        assert (row.key, row.status, row.retryable) == ("d37", "failed", False)
        assert row.reason == "chunk 0: openai refused it: 400: the input was flagged by a filter"
        assert collection.search("text 36", k=1)[0].document == "d36"


def test_a_document_with_one_refused_chunk_is_not_stored_in_part_and_keeps_its_old_version(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    good = "\n\n".join(f"# Part {i}\n\n" + "some words of it " * 40 for i in range(6))
    bad = good + f"\n\n# Last\n\nplease {TRAP}"
    with sememe.open(tmp_path / "c", model=OPENAI, settings=settings()) as collection:
        assert collection.add({"id": "d", "text": bad, "media_type": "text/markdown"}).failed == 1
        assert not len(collection.vectors()[0])
        assert collection.add({"id": "d", "text": good, "media_type": "text/markdown"}).documents == 1
        chunks = len(collection.vectors()[0])
        assert chunks >= 6
        assert collection.add({"id": "d", "text": bad, "media_type": "text/markdown"}).failed == 1
        assert len(collection.vectors()[0]) == chunks
        [row] = collection.ledger()
        assert "the version stored before is kept" in row.reason


def test_the_other_chunks_of_a_document_that_was_refused_are_not_paid_for_again(
    settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    parts = [f"# Part {i}\n\n{f'some words of part {i} ' * 40}" for i in range(6)]
    bad = "\n\n".join([*parts, f"# Last\n\nplease {TRAP}"])
    for document in (bad, bad, "\n\n".join([*parts, "# Last\n\nplease"])):
        with sememe.open(tmp_path / "c", model=OPENAI, settings=settings()) as collection:
            collection.add({"id": "another", "text": f"of a run by itself, {len(server.seen)}"})
            summary = collection.add({"id": "d", "text": document, "media_type": "text/markdown"})
            assert (summary.documents, summary.failed) == ((0, 1) if document is bad else (1, 0))
            assert len(collection.vectors()[0]) == (1 if document is bad else 8)
    sections = [text for text in server.billed if "some words" in text]
    assert len(sections) == 6
    assert {server.billed[text] for text in sections} == {1}


@pytest.mark.parametrize("provider", NAMES)
def test_no_key_of_any_provider_is_in_a_collection_or_its_ledger(
    provider: str, settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    with sememe.open(tmp_path / "c", model=NAMES[provider], settings=settings()) as collection:
        # The second add looks at the known texts again, and would meet the fault with them.
        collection.add("tea")
        collection.add("milk")
        server.faults.append(Fault(status=422, message=f"{KEY} is odd"))
        assert collection.add({"id": "odd", "text": "coffee"}).failed == 1
        [row] = collection.report().troubles
        assert "[key] is odd" in row.reason
    files = [path for path in (tmp_path / "c").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize("end", ["deleted", "forgotten", "replaced", "gone from its folder"])
def test_vectors_that_were_kept_for_a_document_that_was_refused_go_with_it(
    end: str, settings: Callable[..., Settings], tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "good.md").write_text("what is stored")
    parts = [f"# Part {i}\n\n{f'some words of part {i} ' * 40}" for i in range(4)]
    (folder / "bad.md").write_text("\n\n".join([*parts, f"# Last\n\nplease {TRAP}"]))
    with sememe.open(tmp_path / "c", model=OPENAI, settings=settings()) as collection:
        assert collection.sync(folder).failed == 1
        assert vectors_in(tmp_path / "c") == 5, "one is stored, four are kept"
        if end == "deleted":
            collection.delete([row.key for row in collection.report().troubles])
        elif end == "forgotten":
            forget(collection, [row.key for row in collection.report().troubles])
        elif end == "replaced":
            (folder / "bad.md").write_text("something else")
            collection.sync(folder)
        else:
            (folder / "bad.md").unlink()
            collection.sync(folder)
        assert vectors_in(tmp_path / "c") == len(collection.vectors()[0]) == (2 if end == "replaced" else 1)


def test_vectors_kept_for_a_document_that_is_refused_in_every_version_do_not_grow(
    settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    def version(number: int) -> dict[str, str]:
        changed = [number if i == number % 4 else i - 100 for i in range(4)]
        parts = [f"# Part {i}\n\n{f'some words of part {i} ' * 40}" for i in changed]
        return {"id": "d", "text": "\n\n".join([*parts, f"# Last\n\nplease {TRAP}"]), "media_type": "text/markdown"}

    with sememe.open(tmp_path / "c", model=OPENAI, settings=settings()) as collection:
        collection.add("what is stored")
        counts = []
        for number in range(20):
            assert collection.add(version(number)).failed == 1
            counts.append(vectors_in(tmp_path / "c") - 1)
        assert counts[0] == 4
        assert max(counts) == counts[-1] == 8, "twice as many as the document has chunks"
        paid = sum(times for text, times in server.billed.items() if "some words" in text)
        assert paid <= 4 + 2 * 19, "more than one other was paid for again for each that is new"
        collection.add(version(19))
        again = sum(times for text, times in server.billed.items() if "some words" in text)
        assert again == paid, "the version that came last was paid for again"


def vectors_in(folder: Path) -> int:
    """The vectors in the truth of a collection, those included that no chunk has."""
    connection = apsw.Connection(str(folder / "truth.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.execute("SELECT count(*) FROM vectors").get)
    finally:
        connection.close()


def test_what_was_made_before_the_provider_stopped_is_not_paid_for_again(
    settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    records = [{"id": f"d{i}", "text": f"text {i}"} for i in range(300)]
    cohere = "cohere:embed-v4.0,dimensions=256"
    with sememe.open(tmp_path / "c", model=cohere, settings=settings(concurrency=1, attempts=1)) as collection:
        server.faults.extend([Fault("slow"), Fault(status=503, message="closed")])
        with pytest.raises(ProviderError, match="closed"):
            collection.add(records)
        assert sum(server.billed[f"text {i}"] for i in range(300)) == 96
        collection.add(records)
        assert {server.billed[f"text {i}"] for i in range(300)} == {1}
        assert len(collection.vectors()[0]) == 300


def test_chunks_are_within_what_the_model_reads_whatever_the_text(
    settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    odd = ["x" * 30_000, "漢字" * 6000, "🙂" * 4000, "a b " * 9000, "\t\n " * 2000 + "end", "Ünïcödé " * 2000]
    for model, limit in (("google:gemini-embedding-001,dimensions=128", 2048), ("cohere:embed-english-v3.0", 512)):
        server.seen.clear()
        with sememe.open(tmp_path / model.replace(":", "_"), model=model, settings=settings()) as collection:
            assert collection.add(odd).failed == 0
        sent = [text for seen in server.seen for text in seen.inputs]
        assert len(sent) > len(odd)
        assert max(len(text.encode()) for text in sent) <= limit


def test_a_refused_query_is_one_sentence(settings: Callable[..., Settings], tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=OPENAI, settings=settings()) as collection:
        collection.add("tea")
        with pytest.raises(Incomplete, match="flagged by a filter"):
            collection.search(f"please {TRAP}")


# --- one space --------------------------------------------------------------------------------------------------------


def test_a_model_that_changed_behind_its_name_is_noticed_before_anything_meets(
    settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    with sememe.open(tmp_path / "c", model=OPENAI, settings=settings()) as collection:
        collection.add("tea")
    server.embed = lambda text, dim: hashed(f"{text} ", dim)
    with sememe.open(tmp_path / "c", settings=settings()) as collection:
        with pytest.raises(SpaceMismatch, match="changed behind its name"):
            collection.search("tea")
        with pytest.raises(SpaceMismatch, match="changed behind its name"):
            collection.add("coffee")
        assert collection.search("tea", mode="lexical")[0].text == "tea"
        assert len(collection.vectors()[0]) == 1


def test_a_model_that_only_rounds_otherwise_is_the_same(
    settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    with sememe.open(tmp_path / "c", model=OPENAI, settings=settings()) as collection:
        collection.add("tea")
    server.embed = lambda text, dim: np.round(hashed(text, dim), 2)
    with sememe.open(tmp_path / "c", settings=settings()) as collection:
        assert collection.search("tea")[0].score > 0.999


def test_a_family_shares_a_space_and_strangers_do_not(
    settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    with sememe.open(tmp_path / "c", model="voyage:voyage-4-large", settings=settings()) as collection:
        collection.add(["tea", "coffee"])
    server.seen.clear()
    with sememe.open(tmp_path / "c", model="voyage:voyage-4-lite", settings=settings()) as collection:
        assert collection.search("coffee", k=1)[0].text == "coffee"
        assert {seen.body["model"] for seen in server.seen} == {"voyage-4-lite"}
        assert collection.space is not None
        assert collection.space.model == "voyage:voyage-4-large"
    server.embed = lambda text, dim: hashed(f"another model: {text}", dim)
    for stranger in ("voyage:voyage-4-lite,dimensions=512", "voyage:voyage-3.5", "jina:jina-embeddings-v3"):
        with pytest.raises(SpaceMismatch, match="voyage-4-large"):
            sememe.open(tmp_path / "c", model=stranger, settings=settings())


def test_what_the_large_model_of_cohere_indexed_the_small_one_searches_and_no_other_does(
    command: Callable, server: StandIn, settings: Callable[..., Settings], tmp_path: Path  # type: ignore[type-arg]
) -> None:  # fmt: skip
    write(tmp_path, 12)
    added = command("add", "docs", "--model", "cohere:embed-v5.0-pro,dimensions=256", "--json")
    assert json.loads(added.stdout)["documents"] == 12, added.stderr
    assert {(seen.body["model"], seen.body["input_type"]) for seen in server.seen} == {
        ("embed-v5.0-pro", "search_document")
    }
    server.seen.clear()
    query = "# Number 7\n\nWhat is said of the number 7 in words."
    found = command("search", query, "--model", "cohere:embed-v5.0-fast,dimensions=256", "--json", "-k", "1")
    hit = json.loads(found.stdout)
    assert hit["document"] == "docs/007.md", found.stderr
    assert {(seen.body["model"], seen.body["input_type"]) for seen in server.seen} == {
        ("embed-v5.0-fast", "search_query")
    }
    server.embed = lambda text, dim: hashed(f"another model: {text}", dim)
    for stranger in ("cohere:embed-v5.0-fast", "voyage:voyage-4-lite,dimensions=256"):
        with pytest.raises(SpaceMismatch, match=r"embed-v5\.0-pro"):
            sememe.open(tmp_path / ".sememe", model=stranger, settings=settings())
    assert "embed-v5.0-pro" in one_line(command("search", query, "--model", "cohere:embed-v4.0,dimensions=256"))


def test_families_are_of_models_that_are_known_and_a_model_is_no_relative_of_itself() -> None:
    def space(model: str) -> Space:
        return Space(model, "", 64, "hosted", True, "cosine", 100)

    for family in FAMILIES:
        for model in family:
            settings = Settings()
            assert sememe.load_model(model, settings=settings).space.dim > 0
            assert not related(space(model), space(f"{model}@http://localhost:1"))
    assert related(space("voyage:voyage-4,dimensions=256"), space("voyage:voyage-4-lite,dimensions=256@http://x"))
    assert not related(space("voyage:voyage-4"), space("cohere:embed-v5.0-pro"))


def test_the_same_server_at_another_address_is_told_by_its_canaries(
    settings: Callable[..., Settings], server: StandIn, tmp_path: Path
) -> None:
    server.key = "none"
    first = f"openai:bge-m3@{server.url}/v1"
    with sememe.open(tmp_path / "c", model=first, settings=settings()) as collection:
        collection.add("tea")
    other = f"openai:bge-m3@{server.url.replace('127.0.0.1', 'localhost')}/v1"
    with sememe.open(tmp_path / "c", model=other, settings=settings()) as collection:
        assert collection.search("tea")[0].score == pytest.approx(1, abs=1e-5)


def test_a_cost_limit_without_a_price_is_refused_before_anything_is_made(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="price"):
        sememe.open(tmp_path / "c", model="ollama:nomic-embed-text", settings=settings(max_cost=1.0))
    assert not (tmp_path / "c").exists()
