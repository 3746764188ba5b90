"""Parts of a query and the shape of its answer as a person types them, and what they cost whoever types neither."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from fakes import DIM, FakeEmbedder, vector_of
from typer.testing import CliRunner

import sememe
from sememe.cli import application
from sememe.errors import SememeError

Say = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection of twenty texts about shoes."""
    path = tmp_path_factory.mktemp("asking")
    with sememe.open(path / ".sememe", model=FakeEmbedder()) as opened:
        opened.add([
            {"id": f"k{i}", "text": f"shoe {i}", "metadata": {"colour": "rg"[i % 2], "stars": i, "day": "2024-05-01"}}
            for i in range(20)
        ])  # fmt: skip
    return path


@pytest.fixture
def say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run a command in that folder, and give what it printed."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sememe.collection.load_model", lambda *_, **__: FakeEmbedder())

    def run(*arguments: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(application(arguments[0]), arguments, input=stdin)

    return run


def lines(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_texts_with_weights_are_typed_with_the_weight_first(say: Say) -> None:
    done = say("search", "shoe 1", "--also", "0.5 shoe 2", "--also", "-0.7 shoe 3", "--also", "shoe 4", "--plan")
    assert "combine  1 x 'shoe 1' + 0.5 x 'shoe 2' - 0.7 x 'shoe 3' + 1 x 'shoe 4'" in done.stdout


def test_what_is_stored_is_liked_disliked_or_near(say: Say) -> None:
    done = say("search", "--like", "k1", "--like", "k2", "--unlike", "k3", "--near", "k4:0-4", "--plan", "-k", "30")
    assert "combine  0.375 x k1 + 0.375 x k2 - 0.15 x k3 + 1 x k4:0-4" in done.stdout
    assert not any(f"  {key}  (" in done.stdout for key in ("k1", "k2", "k3", "k4"))


@pytest.mark.parametrize("kind", ["npy", "json"])
def test_a_vector_comes_from_a_file_or_from_stdin(say: Say, tmp_path: Path, kind: str) -> None:
    path, vector = tmp_path / f"v.{kind}", vector_of("shoe 7")
    if kind == "npy":
        np.save(path, vector)
    else:
        path.write_text(json.dumps(vector.tolist()))
    assert lines(say("search", "--vector", str(path), "--json"))[0]["document"] == "k7"
    assert lines(say("search", "--vector", "-", "--json", stdin=path.read_bytes()))[0]["document"] == "k7"


def test_json_carries_terms_context_facets_and_the_cursor_of_the_next_page(say: Say) -> None:
    done = say(
        "search", "shoe 1", "--boost", "stars:0.01", "--recency", "day:1y:0.2", "--context", "section", "--facet",
        "colour", "--page", "1", "-k", "4", "--json", "--plan",
    )  # fmt: skip
    plan, *hits, facets, cursor = lines(done)
    assert [step["step"] for step in plan["plan"]][-4:] == ["boosting", "fetch", "around", "count"]  # type: ignore[attr-defined]
    assert [term["name"] for term in hits[0]["terms"]] == ["cosine", "boost stars", "recency day"]  # type: ignore[attr-defined, index]
    assert hits[0]["context"] == {"text": hits[0]["text"], "span": [0, len(str(hits[0]["text"]))]}
    assert {facet["value"]: facet["count"] for facet in facets["facets"]["colour"]} == {"r": 10, "g": 10}  # type: ignore[index]
    second = lines(
        say("search", "shoe 1", "--boost", "stars:0.01", "--recency", "day:1y:0.2", "-k", "4", "--json", "--after",
            str(cursor["next"]))
    )  # fmt: skip
    assert len({hit["id"] for hit in (*hits, *second[:-1])}) == 8


def test_a_page_tells_people_how_to_go_on_and_shows_values(say: Say) -> None:
    done = say("search", "shoe 1", "--page", "2", "-k", "3", "--facet", "colour", "--group-by", "document", "--dedupe",
               "--mmr", "0.5", "--threshold", "-1", "--per-group", "2", "--plan")  # fmt: skip
    for step in ("cut      scores below -1", "dedupe   ", "group    by document, keep the best 2", "mmr      0.5 x ",
                 "skip     the best 3", "count    values of colour in all 20 chunks"):  # fmt: skip
        assert step in done.stdout
    assert "Next page: --after " in done.stdout
    assert "colour: in chunks that may be found, and in hits" in done.stdout


def test_explain_says_the_terms_of_a_score(say: Say) -> None:
    done = say("explain", "shoe 1", "k19", "--boost", "stars:0.5", "--no-heat", "-k", "20", "--also", "0.5 shoe 2")
    assert "score     cosine " in done.stdout
    assert "+ boost stars 1.498 = " in done.stdout
    told = json.loads(say("explain", "shoe 1", "k19", "--boost", "stars:0.5", "--no-heat", "--json").stdout)
    assert [term["name"] for term in told["score"]] == ["cosine", "boost stars"]


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_recency_alone_is_since_a_document_was_added(say: Say, mode: str) -> None:
    hits = lines(say("search", "shoe 1", "--recency", "30d", "--mode", mode, "--json", "-k", "3"))
    for hit in hits[:3]:
        (_, score), (name, recency) = (term.values() for term in hit["terms"])  # type: ignore[attr-defined]
        assert name == "recency @added"
        assert 0 < recency <= 1
        assert hit["score"] == pytest.approx(score + recency)


def test_explain_takes_a_vector(say: Say, tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(json.dumps(vector_of("shoe 7").tolist()))
    done = say("explain", "", "k7", "--vector", str(tmp_path / "v.json"), "--no-heat")
    assert "of k7 is hit 1 of the 10" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "the query is empty"),
        (["x", "--also", "0"], ""),
        (["--also", "0 shoe"], "weighs 0"),
        (["--also", "-0.5  "], "combine"),
        (["x", "--near", "k99"], "'k99' is neither a document nor a chunk"),
        (["x", "--near", "k1:5-90"], "asks for the characters 5 to 90 of a text of 6"),
        (["x", "--boost", "stars"], "write it like stars:0.02"),
        (["x", "--boost", "stars:many"], "write it like stars:0.02"),
        (["x", "--boost", "stars:nan"], "the weight of 'stars' is nan"),
        (["x", "--recency", "day:soon"], "write it like day:30d"),
        (["x", "--recency", "soon"], "write it like day:30d"),
        (["x", "--group-by", ""], "--group-by is empty"),
        (["x", "--per-group", "2"], "nothing is grouped; add --group-by"),
        (["x", "--recency", "day:30d:much"], "write it like day:30d"),
        (["x", "--recency", "colour:30d"], "needs a field of dates"),
        (["x", "--vector", "none.npy"], "cannot be read"),
        (["x", "--vector", "-"], "holds no vector"),
        (["x", "--after", "nonsense"], "no cursor"),
        (["x", "--page", "-1"], "the page is -1"),
        (["x", "--context", "wide"], "the context is 'wide'"),
        (["x", "--facet", "size"], "no document has a field 'size'"),
        (["x", "--mode", "lexical", "--like", "k1"], "use 'hybrid'"),
    ],
)
def test_what_cannot_be_understood_is_one_sentence(say: Say, arguments: list[str], said: str) -> None:
    done = say("search", *arguments, "--plan")
    if done.exit_code == 0:
        assert said in done.stdout
    else:
        assert isinstance(done.exception, SememeError)
        assert said in str(done.exception)
        assert said


def test_a_vector_of_another_length_or_with_no_numbers_is_refused(say: Say, tmp_path: Path) -> None:
    for vector, said in ((np.ones(DIM + 1), "has shape (17,)"), (np.full(DIM, np.nan), "not finite")):
        np.save(tmp_path / "v.npy", vector)
        assert said in str(say("search", "--vector", str(tmp_path / "v.npy")).exception)
    np.save(tmp_path / "v.npy", np.array(["a"], dtype=object), allow_pickle=True)
    assert "holds no vector" in str(say("search", "--vector", str(tmp_path / "v.npy")).exception)


def test_a_plain_search_loads_nothing_of_parts_and_shapes(folder: Path) -> None:
    runner = Path(__file__).with_name("run_cli.py")
    command = [sys.executable, "-X", "importtime", str(runner), "search", "shoe 1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"\bsememe\.search\.(\w+)$", done.stderr, re.MULTILINE))
    assert "run" in loaded
    assert not loaded & {"parts", "forms", "shape", "arrange", "diversify", "pages", "around"}


def test_what_cannot_be_meant_is_one_sentence(say: Say, tmp_path: Path) -> None:
    np.save(tmp_path / "complex.npy", vector_of("shoe 7") * 1j)
    np.save(tmp_path / "huge.npy", vector_of("shoe 7").astype(np.float64) * 1e300)
    for arguments, reason in (
        (("shoe", "--after", ""), "--after is empty"),
        (("--vector", str(tmp_path / "complex.npy")), "holds no vector"),
        (("--vector", str(tmp_path / "huge.npy")), "not finite"),
        (("shoe", "--boost", "stars:1e300"), "at most 1,000,000"),
        (("--like", "k1", "--mode", "lexical"), "use 'vector'"),
        (("shoe", "--also", "boot", "--mode", "lexical"), "use 'hybrid'"),
    ):
        done = say("search", *arguments)
        assert isinstance(done.exception, SememeError), arguments
        assert reason in str(done.exception)


def test_the_strings_that_are_embedded_are_shown_and_no_others(say: Say) -> None:
    shown = say("search", "shoe 1", "--also", "0.5 boot", "--show-input").stdout
    assert [line for line in shown.splitlines() if line.startswith("query ")] == ["query  shoe 1", "query  boot"]
    assert "query  " not in say("search", "shoe 1", "--mode", "lexical", "--show-input").stdout


def test_too_few_chunks_to_judge_scores_by_are_said_to_be(say: Say) -> None:
    assert "20 chunks are too few to judge scores by" in say("search", "shoe", "--calibrated").output
