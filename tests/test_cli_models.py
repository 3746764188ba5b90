"""The commands about models as a person types them, on tiny models and on the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sememe.collection import open as opened
from sememe.models import load_model
from sememe.search.query import Route

FAMILIES = Path(__file__).parent / "reference" / "families"
BERT, STATIC = str(FAMILIES / "bert"), str(FAMILIES / "static")


def sememe(*arguments: str | Path, status: int = 0, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sememe.cli", *map(str, arguments)]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, timeout=120, errors="surrogateescape"
    )
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def test_the_list_has_the_default_model_first_and_every_line_is_json() -> None:
    rows = [json.loads(line) for line in sememe("model", "list", "--json").stdout.splitlines()]
    assert rows[0]["name"] == "all-MiniLM-L6-v2"
    assert {"BAAI/bge-large-en-v1.5", "intfloat/e5-mistral-7b-instruct"} <= {row["name"] for row in rows}
    assert "BAAI/bge-m3" in sememe("model", "list").stdout


def test_show_tells_of_a_card_a_folder_and_a_model_that_is_not_fetched() -> None:
    assert len(json.loads(sememe("model", "show", "all-minilm", "--json").stdout)["digest"]) == 64
    assert json.loads(sememe("model", "show", STATIC, "--json").stdout)["runs"] == "static"
    shown = sememe("model", "show", "bge-base-en-v1.5").stdout
    assert "'Represent this sentence for searching relevant passages: '" in shown


def test_embed_gives_a_line_a_text_or_an_array_of_the_same_vectors(tmp_path: Path) -> None:
    done = sememe("model", "embed", "--model", BERT, given="tea\nsugar\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["tea", "sugar"]
    sememe("model", "embed", "tea", "sugar", "--model", BERT, "--out", str(tmp_path / "v.npy"))
    assert np.load(tmp_path / "v.npy") == pytest.approx(np.array([row["vector"] for row in rows]), abs=2e-2)
    short = json.loads(sememe("model", "embed", "tea", "--model", BERT, "--dim", "4").stdout)["vector"]
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-5)


def test_a_text_that_is_not_read_to_its_end_is_told_and_one_that_is_no_text_is_shown_as_read() -> None:
    done = sememe("model", "embed", "--model", BERT, given="tea\n" + "tea " * 100 + "\n\udcff sugar\n")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()][2] == "\ufffd sugar"
    assert done.stderr == "sememe: text 2 has 302 tokens, bert reads 64: the rest is not in its vector\n"


def test_similarity_gives_three_measures_that_agree() -> None:
    found = json.loads(sememe("model", "similarity", "tea", "sugar", "--model", STATIC, "--json").stdout)
    assert found["dot"] == pytest.approx(found["cosine"], abs=1e-5)
    assert found["euclidean"] ** 2 == pytest.approx(2 - 2 * found["cosine"], abs=1e-4)


def test_compare_ranks_each_query_s_own_document(tmp_path: Path) -> None:
    pairs = [{"query": text, "document": text} for text in ("a cup of tea", "the law of the land", "a leaking tap")]
    file = tmp_path / "queries.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    done = sememe("model", "compare", BERT, STATIC, "--on", str(file), "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["model"] for row in rows] == ["bert", "static"]
    assert all(row["first"] == row["reciprocal_rank"] == 1 and row["queries"] == 3 for row in rows)


def test_bench_tells_the_rates_of_each_model() -> None:
    (row,) = [json.loads(line) for line in sememe("model", "bench", STATIC, "--json").stdout.splitlines()]
    assert row["model"] == "static"
    assert row["lines"] > 0 < row["chunks"]


def test_an_analogy_is_read_with_and_without_quotation_marks(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("king\nqueen\ntable\ncarrot\nwoman\n")
    for terms in (["king", "-", "man", "+", "woman"], ["king - man + woman"], ["king", "-man", "+woman"]):
        done = sememe("analogy", *terms, "--words", str(words), "--json", "-k", "2")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert rows[0]["word"] == "queen"
        assert len(rows) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analogy", "king"], "is no analogy"),
        (["analogy", "king man"], "lacks a sign before 'man'"),
        (["analogy", "king", "-man", "queen"], "lacks a sign before 'queen'; write: king - man + woman"),
        (["analogy", "king - - man"], "two signs in a row"),
        (["analogy", "king - man", "-k", "0"], "at least one answer"),
        (["model", "show", "nothing like it"], "no model is named"),
        (["--precision", "int9", "model", "list"], "--precision is 'int9'; use one of auto, f32, bf16, int8"),
        (["model", "embed", "a", "--role", "poem"], "--role is 'poem'"),
        (["model", "embed", "a", "--out", "v.txt"], "ends in .npy"),
        (["model", "embed", "a", "--model", BERT, "--dim", "99"], "has 32 dimensions"),
        (["model", "compare", BERT, "--on", "/nowhere.jsonl"], "cannot be read"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(arguments: list[str], said: str) -> None:
    done = sememe(*arguments, status=1)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rerank_prints_the_best_text_first(tmp_path: Path) -> None:
    folder = str(FAMILIES.parent / "heads" / "rank-bert")
    wanted = ["the valve was replaced", "pump 7: 3 bar", "nobody knows"]
    (tmp_path / "lines.txt").write_text("\n\n".join(wanted))
    command = ("rerank", "where is the valve", "--model", folder)
    done = sememe(*command, str(tmp_path / "lines.txt"), "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == [wanted[row["place"] - 1] for row in rows]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    one = sememe(*command, "-k", "1", given="\n".join(wanted))
    assert one.stdout == f"{rows[0]['score']:.4f}  {rows[0]['text']}\n"
    assert "has no classifier" in sememe("rerank", "a", "--model", BERT, given="b", status=1).stderr
    assert "--k is -1" in sememe(*command, "-k", "-1", given="b", status=1).stderr


def test_search_tells_a_model_an_instruction_and_shows_what_it_was_asked(
    make_model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    prompt = "Instruct: Find passages\nQuery: "
    folder = make_model_folder("told", prompts={"query": prompt})
    with opened(tmp_path / "told", model=folder) as collection:
        collection.add(["a leaky tap", "a firewall rule"])
    told = "Instruct: from a cybersecurity perspective\nQuery: leaks"
    asked = (
        "search",
        "leaks",
        "--collection",
        tmp_path / "told",
        "--model",
        folder,
        "--instruction",
        "from a cybersecurity perspective",
    )
    shown = sememe(*asked, "--plan", "--show-input").stdout
    assert f"query  {told}\n" in shown
    assert f"embed    {told!r}" in shown
    by_hand = load_model(folder).encode_query("leaks", instruction="from a cybersecurity perspective")
    with opened(tmp_path / "told", model=folder) as collection:
        expected = collection.search(by_hand)
        found = collection.search("leaks", route=Route(instruction="from a cybersecurity perspective"))
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)


def test_an_instruction_to_a_model_that_was_never_told_any_is_one_sentence(
    make_model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model_folder("untold", prompts={"query": "query: "})
    with opened(tmp_path / "untold", model=folder) as collection:
        collection.add("a leaky tap")
    asked = ("search", "leaks", "--collection", tmp_path / "untold", "--model", folder, "--instruction", "as a plumber")
    said = sememe(*asked, status=1).stderr
    assert said.count("\n") == 1
    assert "untold was not trained to be told an instruction (its query prompt is 'query: ')" in said
    assert "a leaky tap" in sememe(*asked[:-2], "--show-input").stdout


@pytest.mark.parametrize("group", [["eval"], ["eval", "golden"], ["model"]])
def test_a_group_without_a_command_prints_its_help_as_it_is(group: list[str]) -> None:
    done = sememe(*group, status=2)
    assert done.stderr.startswith("Usage: ")
    assert f"{' '.join(group)} [OPTIONS] COMMAND" in done.stderr
    assert done.stdout == ""
