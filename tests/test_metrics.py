"""Measures of rankings are those of trec_eval, and datasets are read and written in the forms that people have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sememe.errors import InputError
from sememe.evaluate import datasets
from sememe.evaluate.datasets import (
    Dataset,
    read_beir,
    read_qrels,
    read_run,
    usable,
    write_beir,
    write_qrels,
    write_run,
)
from sememe.evaluate.metrics import NAMES, measure

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "reference" / "metrics.json").read_text())
IDS = st.text("abcdefgh0123456789-:/.", min_size=1, max_size=6)
GRADES = st.dictionaries(IDS, st.integers(-2, 4), max_size=12)
RANKING = st.lists(IDS, max_size=30, unique=True)


@pytest.mark.parametrize("name", REFERENCE["values"])
def test_a_measure_has_the_value_that_ir_measures_gives_it(name: str, tmp_path: Path) -> None:
    lines = (
        f"{query} Q0 {document} 0 {score!r} x\n"
        for query, hits in REFERENCE["run"].items() for document, score in hits.items()
    )  # fmt: skip
    (tmp_path / "run.trec").write_text("".join(lines))
    rankings = read_run(tmp_path / "run.trec")
    for query, value in REFERENCE["values"][name].items():
        assert measure(name).of(rankings.get(query, []), REFERENCE["grades"][query]) == pytest.approx(value, abs=1e-9)


@given(RANKING, GRADES, st.sampled_from(sorted(NAMES)), st.integers(1, 12))
def test_a_measure_lies_between_0_and_1_and_looks_no_further_than_its_cutoff(
    ranking: list[str], grades: dict[str, int], name: str, k: int
) -> None:
    found = measure(f"{name}@{k}")
    assert 0.0 <= found.of(ranking, grades) <= 1.0 + 1e-12
    assert found.of(ranking, grades) == found.of(ranking[:k], grades)


@given(RANKING, GRADES, st.sampled_from(sorted(NAMES)))
def test_a_negative_grade_is_worth_what_none_is(ranking: list[str], grades: dict[str, int], name: str) -> None:
    plain = {one: max(grade, 0) for one, grade in grades.items()}
    assert measure(name).of(ranking, grades) == measure(name).of(ranking, plain)


@given(GRADES.filter(lambda grades: any(grade > 0 for grade in grades.values())), st.integers(1, 12))
def test_the_best_order_has_an_ndcg_of_1(grades: dict[str, int], k: int) -> None:
    best = sorted(grades, key=lambda one: -grades[one])
    assert measure(f"ndcg@{k}").of(best, grades) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [("dcg@10", "ndcg, recall, mrr, map"), ("ndcg@0", "from 1"), ("ndcg@ten", "from 1"), ("ndcg@", "from 1"),
     ("", "use one of")],
)  # fmt: skip
def test_a_name_that_is_no_measure_is_refused_with_those_that_are(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        measure(text)


# --- datasets --------------------------------------------------------------------------------------------------


@given(rankings=st.dictionaries(IDS, RANKING, max_size=3))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_run_that_is_written_is_read_in_the_same_order(rankings: dict[str, list[str]], tmp_path: Path) -> None:
    write_run(tmp_path / "run.trec", rankings)
    assert read_run(tmp_path / "run.trec") == {query: ranking for query, ranking in rankings.items() if ranking}


def folder_of(tmp_path: Path, *, queries: str = "", qrels: str = "") -> Path:
    """A BEIR folder with the lines that are given, and sound ones otherwise."""
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(queries or '{"_id": "1", "text": "a tap"}\n{"_id": "2", "text": "a law"}\n')
    (folder / "qrels" / "test.tsv").write_text(qrels or "query-id\tcorpus-id\tscore\n1\ttap\t1\n2\tlaw\t2\n")
    return folder


def test_a_beir_folder_is_written_and_read_as_it_was(tmp_path: Path) -> None:
    data = Dataset("set", {"1": "ein Hahn\nund \u2028 mehr", "2": "b"}, {"1": {"a key": 1}, "2": {"x": 0, "y": 3}})
    corpus = [("a key", "Title", "some text"), ("x", "", ""), ("y", "", "more \u2028 text")]
    assert write_beir(tmp_path / "set", data, corpus) == {"documents": 3, "queries": 2, "judgements": 3}
    found = read_beir(tmp_path / "set")
    assert (found.queries, found.grades, found.remarks) == (data.queries, data.grades, ())
    records = list(datasets.corpus_of(tmp_path / "set"))
    assert [(one["id"], one["text"]) for one in records] == [("a key", "some text"), ("y", "more \u2028 text")]


def test_trec_judgements_are_written_and_read_as_they_were(tmp_path: Path) -> None:
    write_qrels(tmp_path / "q", {"1": {"a": 1, "b": -1}, "2": {"c": 0}})
    assert read_qrels(tmp_path / "q") == [("1", "a", 1), ("1", "b", -1), ("2", "c", 0)]
    with pytest.raises(InputError, match="white space"):
        write_qrels(tmp_path / "q", {"1": {"a key": 1}})


def test_what_cannot_be_used_is_counted_and_said(tmp_path: Path) -> None:
    lines = ('"1", "text": "a"', '"1", "text": "b"', '"2", "text": " "', '3, "text": "c"')
    queries = "\n\n".join(f'{{"_id": {line}}}' for line in lines)
    qrels = "1\td\t1\n1\td\t2\n2\td\t1\n9\td\t1\n9\te\t1\n"
    found = read_beir(folder_of(tmp_path, queries=queries, qrels=qrels))
    assert (found.queries, found.grades) == ({"1": "a"}, {"1": {"d": 2}})
    assert found.remarks == (
        "1 queries have the id of an earlier one", "1 judgements were given twice; the last ones count",
        "2 judgements are on queries that are not there", "1 queries are empty and left out",
        "1 queries have no judgement and are left out",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("queries", "qrels", "says"),
    [
        ('{"_id": "1", "text": "a"}\nnot json\n', "", "line 2 of .*queries.jsonl is not JSON"),
        ('{"_id": "1"}\n', "", "line 1 of .*queries.jsonl is"), ("[1]\n", "", "line 1 of .* no JSON object"),
        ("", "1\ttap\t1\n2\tlaw\n", "line 2 of .*test.tsv is '2.tlaw'"),
        ("", "1\ttap\t1\n2\tlaw\thigh\n", "line 2 of .*with tabs between"),
        ("", "8\ttap\t1\n", "no query that can be judged"),
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_named_by_its_number(tmp_path: Path, queries: str, qrels: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_beir(folder_of(tmp_path, queries=queries, qrels=qrels))


@pytest.mark.parametrize("name", ["queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_of_a_folder_is_named(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}; a BEIR folder holds"):
        read_beir(folder)
    with pytest.raises(InputError, match="is not a folder"):
        read_beir(tmp_path / "nowhere")


@pytest.mark.parametrize("line", ["1 Q0 d", "1 Q0 d 1 high x", "1 Q0 d 1 2"])
def test_a_line_of_a_run_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "run").write_text(f"1 Q0 d 1 2.0 x\n{line}\n")
    with pytest.raises(InputError, match=r"line 2 of .*write: query Q0 document rank score tag"):
        read_run(tmp_path / "run")


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes("1 Q0 \xfc 1 2.0 x\n".encode("latin-1"))
    with pytest.raises(InputError, match="not text in UTF-8"):
        read_run(tmp_path / "run")


def test_queries_with_nothing_relevant_are_left_out_and_a_set_of_those_alone_refused() -> None:
    found = usable("set", [("1", "a"), ("2", "b")], [("1", "d", 0), ("2", "d", 1)])
    assert list(found.queries) == ["2"]
    assert found.remarks == ("1 queries have nothing relevant and are left out",)
    with pytest.raises(InputError, match="no query that can be judged"):
        usable("set", [("1", "a")], [("1", "d", 0)])
