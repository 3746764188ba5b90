"""Killed at any instant, a collection keeps what it acknowledged, shows nothing half, and goes on where it was.

Every commit, file switch and stamp calls `failpoints.reach`; the process is killed there, and at random times, by
SIGKILL. What the disk holds afterwards is compared with what the steps that were acknowledged must have left.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import numpy as np
import pytest
from crash_worker import take_step
from fakes import DIM, FakeEmbedder, vector_of
from test_words_and_tokens import FOLDERS, assert_exact

import sememe
from sememe import doctor
from sememe.errors import NotFound
from sememe.ingest import derived
from sememe.ingest.cutting import input_digest
from sememe.models import load_encoder
from sememe.search.query import Route
from sememe.space import CANARY_TEXTS, Encoder
from sememe.store import SQLiteStore
from sememe.store.schema import APPLICATION_ID, MIGRATIONS
from sememe.types import embedded_input

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

Texts: TypeAlias = dict[str, str]
"""What is stored, by key."""

WORKER = Path(__file__).with_name("crash_worker.py")
RANDOM_KILLS = 20
LONG_KILLS = 400
DELAY = 0.001
SPACE_PLACES = ("space written", "token rows written", "space switched", "old files of a space removed")
QUIET = {"OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def words(seed: str, count: int) -> str:
    """Paragraphs of words that occur in no text of another seed."""
    rng = random.Random(seed)
    made = [f"{seed}{rng.randrange(10**6)}" for _ in range(count)]
    return "\n\n".join(" ".join(made[i : i + 40]) for i in range(0, count, 40)) + "\n"


ALPHA, BETA, GAMMA, LONG = words("alpha", 150), words("beta", 60), words("gamma", 90), words("long", 2200)
OTHER_BETA, OTHER_LONG, NEW = words("otherbeta", 130), LONG[:9000] + words("tail", 300), words("new", 70)
MARKDOWN = f"# One\n\n{words('one', 70)}\n## Two\n\n{words('two', 30)}"
NOTE, OTHER_NOTE, LAST = words("note", 40), words("othernote", 100), words("last", 5)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps, and what is stored after each: `states[i]` before step i, `states[i + 1]` after it."""

    folder: Path
    steps: list[tuple[str, Any]] = field(default_factory=list)
    states: list[Texts] = field(default_factory=lambda: [{}])

    @property
    def collection(self) -> Path:
        """Where the collection lies."""
        return self.folder / "collection"

    def then(self, verb: str, argument: Any, changes: Mapping[str, str | None] | None = None) -> None:
        """One more step and what it changes: None for what is deleted."""
        state = {**self.states[-1], **(changes or {})}
        self.steps.append((verb, argument))
        self.states.append({key: text for key, text in state.items() if text is not None})


def everything(folder: Path) -> Scenario:
    """A collection is made, filled, swapped, shrunk and built anew."""
    made = Scenario(folder)
    docs = folder / "docs"
    first = {"a.txt": ALPHA, "b.txt": BETA, "c.md": MARKDOWN, "gone.txt": GAMMA, "long.txt": LONG}
    made.then("write", {str(docs / name): text for name, text in first.items()})
    made.then("files", str(docs), {f"docs/{name}": text for name, text in first.items()})
    made.then("given", [{"id": "note", "text": NOTE}, {"id": "last", "text": LAST}], {"note": NOTE, "last": LAST})
    second = {"b.txt": OTHER_BETA, "gone.txt": None, "long.txt": OTHER_LONG, "moved.md": MARKDOWN, "c.md": None}
    made.then("write", {str(docs / name): text for name, text in {**second, "new.txt": NEW}.items()})
    made.then("sync", str(docs), {f"docs/{name}": text for name, text in {**second, "new.txt": NEW}.items()})
    made.then("given", {"id": "note", "text": OTHER_NOTE}, {"note": OTHER_NOTE})
    made.then("delete", ["last", "docs/a.txt"], {"last": None, "docs/a.txt": None})
    made.then("optimize", None)
    return made


class Workers:
    """A process that forks a child for every plan."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **QUIET},
        )  # fmt: skip

    def start(self, scenario: Scenario, *, first: int = 0, kill_at: int = 0, delay: float = 0.0) -> int:
        """Let a child take the steps from the `first`; its process id."""
        assert self._process.stdin is not None
        plan = {
            "collection": str(scenario.collection), "steps": scenario.steps, "first": first, "kill_at": kill_at,
            "acks": str(scenario.folder / "acks"), "trace": str(scenario.folder / "trace"), "delay": delay,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(plan) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def ended(self) -> int:
        """Wait for the child: its exit status, or minus the signal that killed it."""
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a killed process leaves the same there, and syncing costs nothing."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


Contents: TypeAlias = tuple[dict[str, Any], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def uninterrupted(workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Contents, float]:
    """The failpoints that a whole run reaches, what it leaves, and the seconds it takes at the pace of random kills."""
    scenario = everything(tmp_path_factory.mktemp("whole"))
    workers.start(scenario)
    assert workers.ended() == 0
    reached = (scenario.folder / "trace").read_text().split("\n")[:-1]
    assert acknowledged(scenario) == len(scenario.steps)
    examine(scenario)
    timed = everything(tmp_path_factory.mktemp("timed"))
    began = time.monotonic()
    workers.start(timed, delay=DELAY)
    assert workers.ended() == 0
    return reached, contents(scenario.collection), time.monotonic() - began


def acknowledged(scenario: Scenario) -> int:
    """How many steps have returned."""
    path = scenario.folder / "acks"
    return len(path.read_text().split()) // 2 if path.exists() else 0


def contents(path: Path) -> Contents:
    """Everything that two collections have in common which were made alike: documents, chunks, vectors, ledger."""
    with sememe.open(path, model=FakeEmbedder()) as collection:
        ids, vectors = collection.vectors()
        vector = dict(zip(ids.tolist(), vectors, strict=True))
        documents = {}
        for row in collection.ledger():
            record = collection.get(row.key)
            chunks = [
                (c.position, c.start, c.end, c.headings, c.text, c.tokens, c.kept, vector[c.id].tobytes())
                for c in record.chunks
            ]
            documents[row.key] = (record.text, record.document.title, record.document.media_type, chunks)
        check_search(collection)
        ledger = [(r.key, r.status, r.reason, r.chunks, r.tokens, r.remarks, r.origin) for r in collection.ledger()]
    return documents, ledger


def examine(scenario: Scenario) -> None:
    """Open what a killed process left and compare it with the steps that it acknowledged."""
    done = acknowledged(scenario)
    before = scenario.states[done]
    after = scenario.states[min(done + 1, len(scenario.steps))]
    if not scenario.collection.exists():
        assert not before
        return
    with sememe.open(scenario.collection, model=FakeEmbedder()) as collection:
        stored = _examine_documents(collection, before, after)
        verb, argument = scenario.steps[min(done, len(scenario.steps) - 1)]
        if verb == "delete":
            assert len(stored.keys() & set(argument)) in (0, len(argument)), "a delete was done in part"
        _examine_search(collection, stored, {**scenario_texts(scenario), **before, **after})
    with raw(scenario.collection) as connection:
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        assert connection.execute("PRAGMA foreign_key_check").get is None


def scenario_texts(scenario: Scenario) -> Texts:
    """Every text that any state holds, under the last key that held it."""
    return {key: text for state in scenario.states for key, text in state.items()}


def _examine_documents(collection: sememe.Collection, before: Texts, after: Texts) -> Texts:
    """Every document is whole, and is what was acknowledged or what the step in progress makes of it."""
    ledger = {row.key: row for row in collection.ledger()}
    stored = {}
    for key in sorted({**before, **after}):
        try:
            record = collection.get(key)
        except NotFound:
            assert key not in before or key not in after, f"{key} is lost"
            assert key not in ledger, f"{key} is in the ledger, but not stored"
            continue
        stored[key] = record.text
        assert record.text in (before.get(key), after.get(key)), f"{key} is neither its old nor its new version"
        row = ledger.pop(key)
        assert (row.status, row.chunks) == ("embedded", len(record.chunks))
        assert row.tokens == sum(chunk.kept for chunk in record.chunks)
        assert [chunk.position for chunk in record.chunks] == list(range(len(record.chunks)))
        assert all(chunk.text == record.text[chunk.start : chunk.end] for chunk in record.chunks)
        covered = np.zeros(len(record.text), dtype=bool)
        for chunk in record.chunks:
            covered[chunk.start : chunk.end] = True
        assert not record.text or not "".join(np.array(list(record.text))[~covered]).strip(), f"{key} has a gap"
    assert not ledger, "the ledger tells of what is not stored"
    return stored


def _examine_search(collection: sememe.Collection, stored: Texts, ever: Texts) -> None:
    """Every chunk is found by its own text, what is not stored is not; and all scores are those of plain NumPy."""
    ids, vectors = collection.vectors()
    by_id = dict(zip(ids.tolist(), vectors, strict=True))
    records = {key: collection.get(key) for key in stored}
    assert len(ids) == sum(len(record.chunks) for record in records.values())
    for key, record in records.items():
        for chunk in record.chunks:
            text = embedded_input(chunk.headings, chunk.text)
            assert np.array_equal(by_id[chunk.id], vector_of(text)), f"a vector of {key} is wrong"
            best = collection.search(text, k=1)[0]
            assert (best.text, best.headings) == (chunk.text, chunk.headings)
            assert best.score == pytest.approx(1.0, abs=1e-6)
    check_search(collection)
    for key in ever.keys() - stored.keys():
        assert all(hit.document != key for hit in collection.search(ever[key], k=10))


def check_search(collection: sememe.Collection) -> None:
    """Exact search over the vector files gives what NumPy gives over the stored vectors."""
    ids, vectors = collection.vectors()
    if not len(ids):
        assert collection.search(ALPHA) == []
        return
    rng = np.random.default_rng(1)
    for query in rng.standard_normal((3, DIM)).astype(np.float32):
        hits = collection.search(query, k=len(ids) + 5)
        scores = vectors.astype(np.float64) @ (query / np.linalg.norm(query))
        order = np.lexsort((ids, -scores))
        assert [hit.id for hit in hits] == [f"chunk:{i}" for i in ids[order]]
        assert np.allclose([hit.score for hit in hits], scores[order], atol=1e-6)


@contextlib.contextmanager
def raw(path: Path) -> Iterator[apsw.Connection]:
    """The database itself, past the store."""
    connection = apsw.Connection(str(path / "truth.db"))
    try:
        yield connection
    finally:
        connection.close()


def go_on(scenario: Scenario) -> None:
    """Take the interrupted command again and those after it; nothing is embedded whose vector was committed."""
    made = {row for (row,) in _rows(scenario.collection, "SELECT input FROM vectors")}
    embedder = FakeEmbedder()
    with sememe.open(scenario.collection, model=embedder) as collection:
        for verb, argument in [*scenario.steps[acknowledged(scenario) :], ("given", [])]:
            try:
                take_step(collection, verb, argument)
            except NotFound:
                # The delete was committed, and killed before it said so.
                assert verb == "delete"
    again = [t for t in embedder.texts if t not in CANARY_TEXTS and input_digest(t) in made]
    assert not again, "a text was embedded whose vector was committed"


def _rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    if not (path / "truth.db").exists():
        return []
    with raw(path) as connection:
        try:
            return connection.execute(sql).fetchall()
        except apsw.SQLError:
            return []  # killed before there were tables


def check_clean(scenario: Scenario) -> None:
    """Nothing is left of killed runs: no staged document, vector, lock or file; and the slab is used."""
    path = scenario.collection
    assert _rows(path, "SELECT key FROM documents WHERE live = 0") == []
    assert _rows(path, "SELECT id FROM runs WHERE finished IS NULL") == []
    assert _rows(path, "SELECT id FROM vectors WHERE id NOT IN (SELECT vector FROM chunks)") == []
    assert not list((path / "locks").glob("run-*"))
    store = SQLiteStore(path)
    with store.snapshot() as snapshot:
        record = derived.usable_record(snapshot, path, snapshot.spaces()[0])
        assert record is not None
        assert record.seq == snapshot.seq()
    store.close()
    assert {file.stem for file in path.glob("vectors-*")} == {f"vectors-{record.generation}"}


def check_after_kill(scenario: Scenario, expected: Contents) -> None:
    """All that is promised of a killed collection, and of the run that goes on."""
    examine(scenario)
    go_on(scenario)
    check_clean(scenario)
    assert contents(scenario.collection) == expected
    shutil.rmtree(scenario.folder)


# --- at named places ---------------------------------------------------------------------------------------


def test_every_named_place_is_reached(uninterrupted: tuple[list[str], Contents, float]) -> None:
    named = {
        line.split('reach("')[1].split('"')[0]
        for module in Path(sememe.__file__).parent.rglob("*.py")
        if module.parent.name != "keeping"
        for line in module.read_text().splitlines()
        if "failpoints.reach(" in line
    }
    assert len(named) > 10
    # Only a run that follows a killed one clears it; the random kills pass there. Files of many documents are killed
    # at every named place in test_parts; backups and forgets in tests of their own, spaces of words and tokens below.
    assert named - set(uninterrupted[0]) == {
        *("dead run cleared", "container remembered", "parts removed", "compacted", "log emptied"),
        *SPACE_PLACES,
    }


def test_a_kill_at_any_named_place_loses_nothing_and_shows_nothing_half(
    workers: Workers, uninterrupted: tuple[list[str], Contents, float], folder: Path
) -> None:
    reached = uninterrupted[0]
    chosen = {
        place for name in reached for place in (reached.index(name), len(reached) - 1 - reached[::-1].index(name))
    }
    kill_at_places(workers, folder, uninterrupted, sorted(chosen | set(range(0, len(reached), 7))))


@pytest.mark.slow
def test_a_kill_at_every_call_of_every_named_place_loses_nothing_and_shows_nothing_half(
    workers: Workers, uninterrupted: tuple[list[str], Contents, float], folder: Path
) -> None:
    kill_at_places(workers, folder, uninterrupted, range(len(uninterrupted[0])))


def kill_at_places(
    workers: Workers, folder: Path, uninterrupted: tuple[list[str], Contents, float], places: Iterable[int]
) -> None:
    """Kill a run at each of the places that an uninterrupted one passes, by their number."""
    reached, expected, _ = uninterrupted
    for number in places:
        scenario = everything(folder / f"{number}")
        scenario.folder.mkdir()
        workers.start(scenario, kill_at=number + 1)
        assert workers.ended() == -signal.SIGKILL, f"{reached[number]} ({number}) was not reached"
        check_after_kill(scenario, expected)


# --- at any time -------------------------------------------------------------------------------------------


def test_a_kill_at_any_time_loses_nothing_and_shows_nothing_half(
    workers: Workers, uninterrupted: tuple[list[str], Contents, float], folder: Path
) -> None:
    _, expected, seconds = uninterrupted
    kill_at_random(workers, folder, expected, seconds=seconds, kills=RANDOM_KILLS)


@pytest.mark.slow
def test_hundreds_of_kills_at_any_time_lose_nothing_and_show_nothing_half(
    workers: Workers, uninterrupted: tuple[list[str], Contents, float], folder: Path
) -> None:
    _, expected, seconds = uninterrupted
    kill_at_random(workers, folder, expected, seconds=seconds, kills=LONG_KILLS)


def kill_at_random(workers: Workers, folder: Path, expected: Contents, *, seconds: float, kills: int) -> None:
    """Kill `kills` runs, each at a random moment of the time that a run takes."""
    rng = random.Random(20)
    killed = 0
    for number in range(4 * kills):
        scenario = everything(folder / f"{number}")
        scenario.folder.mkdir()
        process = workers.start(scenario, delay=DELAY)
        time.sleep(seconds * rng.random())
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        if workers.ended() == 0:
            seconds *= 0.9  # the machine is faster now than when it was measured
            continue
        check_after_kill(scenario, expected)
        killed += 1
        if killed == kills:
            return
    raise AssertionError(f"only {killed} runs were killed before they ended")


@pytest.mark.slow
def test_runs_that_are_killed_one_after_the_other_come_to_an_end(
    workers: Workers, uninterrupted: tuple[list[str], Contents, float], folder: Path
) -> None:
    reached, expected, _ = uninterrupted
    rng = random.Random(21)
    for number in range(LONG_KILLS // 4):
        scenario = everything(folder / f"{number}")
        scenario.folder.mkdir()
        for _ in range(6):
            workers.start(scenario, first=acknowledged(scenario), kill_at=rng.randrange(1, len(reached)))
            workers.ended()
            examine(scenario)
        check_after_kill(scenario, expected)


# --- while a collection is made or brought to another schema ---------------------------------------------------


def test_a_kill_while_an_older_schema_is_brought_to_the_current_one_keeps_all_data(
    workers: Workers, uninterrupted: tuple[list[str], Contents, float], folder: Path
) -> None:
    source = everything(folder / "source")
    source.folder.mkdir()
    workers.start(source)
    assert workers.ended() == 0
    for number in range(1, 80):
        scenario = Scenario(folder / f"{number}", states=[source.states[-1]])
        scenario.collection.mkdir(parents=True)
        write_first_schema(source.collection / "truth.db", scenario.collection / "truth.db")
        scenario.then("given", [{"id": "more", "text": GAMMA}], {"more": GAMMA})
        workers.start(scenario, kill_at=number)
        status = workers.ended()
        examine(scenario)
        if status == 0:
            assert number > len(MIGRATIONS)
            return
        go_on(scenario)
        check_clean(scenario)
    raise AssertionError("the run never came to its end")


def write_first_schema(source: Path, target: Path) -> None:
    """Make a database as the first version of the schema had it, with all that `source` holds."""
    connection = apsw.Connection(str(target))
    connection.pragma("journal_mode", "WAL")
    connection.execute(MIGRATIONS[0][1])
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 1)
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE TABLE%'")]
    connection.execute("ATTACH ? AS source", (str(source),))
    connection.execute("BEGIN")
    connection.execute("PRAGMA defer_foreign_keys = 1")
    for table in tables:
        if table != "sqlite_sequence":
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM source.{table}")
    connection.execute("DELETE FROM main.sqlite_sequence")
    connection.execute("INSERT INTO main.sqlite_sequence SELECT * FROM source.sqlite_sequence")
    connection.execute("COMMIT")
    connection.close()


# --- while spaces of words and of tokens are made and kept ----------------------------------------------------


def with_spaces(folder: Path) -> Scenario:
    """A collection gets a space of each kind, which are kept current, made anew, and one of which is dropped."""
    made = Scenario(folder)
    first = {f"n{i}": words(f"n{i}", 12) for i in range(5)}
    made.then("given", [{"id": key, "text": text} for key, text in first.items()], first)
    for kind, model in FOLDERS.items():
        made.then("space", [kind, str(model)])
    made.then("given", [{"id": "n1", "text": NOTE}, {"id": "last", "text": LAST}], {"n1": NOTE, "last": LAST})
    made.then("delete", ["n2"], {"n2": None})
    made.then("optimize", None)
    made.then("drop", "sparse")
    return made


@pytest.fixture(scope="module")
def encoders() -> dict[str, Encoder]:
    return {str(folder): load_encoder(folder) for folder in FOLDERS.values()}


@pytest.fixture(scope="module")
def spaces_made(workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The failpoints that a whole run with spaces reaches."""
    scenario = with_spaces(tmp_path_factory.mktemp("spaces"))
    workers.start(scenario)
    assert workers.ended() == 0
    return (scenario.folder / "trace").read_text().split("\n")[:-1]


def examine_spaces(scenario: Scenario, encoders: Mapping[str, Encoder], *, whole: bool) -> None:
    """Every space finds what the arithmetic finds over what is stored; a `whole` one lacks nothing, and no file."""
    with sememe.open(scenario.collection, model=FakeEmbedder()) as collection:
        collection.further.load = lambda name, kind: encoders[str(name)]
        store = SQLiteStore(scenario.collection)
        with store.snapshot() as snapshot:
            further = snapshot.further()
        store.close()
        for held in further:
            notes = collection.search(NOTE, route=Route(space=held.name)).notes
            assert held.complete != any("have no vector in space" in note for note in notes)
            if held.complete:
                assert_exact(collection, encoders[held.model], held.kind, k=50)
        if whole:
            assert [held.name for held in further] == ["late"]
            assert further[0].complete
            assert "trouble" not in {finding.kind for finding in doctor.examine(scenario.collection)}
            (index,) = scenario.collection.glob("space-*/*")
            assert index.name.startswith("tokens-")


def test_a_kill_while_spaces_of_words_and_tokens_are_made_and_kept_loses_nothing(
    workers: Workers, spaces_made: list[str], encoders: dict[str, Encoder], folder: Path
) -> None:
    assert set(SPACE_PLACES) <= set(spaces_made)
    for name in SPACE_PLACES:
        calls = [place for place, reached in enumerate(spaces_made) if reached == name]
        kill_with_spaces(workers, folder, encoders, calls[len(calls) // 2])


@pytest.mark.slow
def test_a_kill_at_every_place_of_a_run_with_spaces_loses_nothing(
    workers: Workers, spaces_made: list[str], encoders: dict[str, Encoder], folder: Path
) -> None:
    for place in range(len(spaces_made)):
        kill_with_spaces(workers, folder, encoders, place)


def kill_with_spaces(workers: Workers, folder: Path, encoders: Mapping[str, Encoder], place: int) -> None:
    """Kill a run with spaces at a place; look at what is left, and let another one go on to the end."""
    scenario = with_spaces(folder / f"{place}")
    scenario.folder.mkdir()
    workers.start(scenario, kill_at=place + 1)
    assert workers.ended() == -signal.SIGKILL
    done = acknowledged(scenario)
    if scenario.collection.exists() and done:
        examine_spaces(scenario, encoders, whole=False)
    workers.start(scenario, first=done)
    if workers.ended() != 0:
        # What was to go had gone, and the run was killed before it said so.
        assert scenario.steps[done][0] in ("delete", "drop")
        workers.start(scenario, first=done + 1)
        assert workers.ended() == 0
    examine_spaces(scenario, encoders, whole=True)
    with sememe.open(scenario.collection, model=FakeEmbedder()) as collection:
        assert {row.key: collection.get(row.key).text for row in collection.ledger()} == scenario.states[-1]
    shutil.rmtree(scenario.folder)
