"""A collection is asked as its users ask it, and what is said of the answers is true: runs, comparisons, sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from fakes import FakeEmbedder
from hypothesis import given
from hypothesis import strategies as st
from test_rerankers import HEADS
from typer.testing import CliRunner

import sememe
import sememe.collection
from sememe.cli import application
from sememe.cli.parts import setting_of
from sememe.errors import InputError, NotFound
from sememe.evaluate import comparing, golden, running
from sememe.evaluate.datasets import Dataset, query_id
from sememe.evaluate.metrics import measure
from sememe.evaluate.running import Asked, Place, Run, Setting
from sememe.filters import parse
from sememe.search.query import Query, Route
from sememe.search.shape import DAY, Boost, Recency, Shape

GUIDE = "# Guide\n\nIt begins here and says little.\n\n## Taps in kitchens\n\nA plumber repairs the tap.\n"
TEXTS = {f"d{number}": f"document number {number} speaks of subject{number} alone" for number in range(12)}
Command = Callable[..., Result]


@pytest.fixture
def collection(tmp_path: Path) -> sememe.Collection:
    """Twelve documents of one chunk each; with hashed vectors, a text is its own best answer and no other's."""
    opened = sememe.open(tmp_path / ".sememe", model=FakeEmbedder())
    opened.add({"id": key, "text": text} for key, text in TEXTS.items())
    return opened


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collection: sememe.Collection) -> Command:
    """`sememe` in the folder of the collection."""
    collection.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sememe.collection, "load_model", lambda *_, **__: FakeEmbedder())
    return lambda *arguments: CliRunner().invoke(application(), list(map(str, arguments)))


def told(done: Result) -> Any:
    """The one line of JSON that a command printed."""
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def data(pairs: dict[str, tuple[str, dict[str, int]]]) -> Dataset:
    return Dataset("set", {key: text for key, (text, _) in pairs.items()}, {key: g for key, (_, g) in pairs.items()})


def known_items() -> Dataset:
    return data({key: (text, {key: 1}) for key, text in TEXTS.items()})


def run_of(places: dict[str, list[str]], grades: dict[str, dict[str, int]], *, depth: int = 10) -> Run:
    asked = {key: Asked(key, grades[key], tuple(map(Place, found))) for key, found in places.items()}
    return Run("set", "made here", depth, "document", asked)


# --- running ---------------------------------------------------------------------------------------------------


def test_a_run_holds_what_a_search_gives(collection: sememe.Collection) -> None:
    found = running.run(collection, known_items(), Setting(), k=3)
    for key, one in found.asked.items():
        hits = collection.search(TEXTS[key], k=3)
        assert one.ranking == [hit.document for hit in hits]
        assert [(place.chunk, place.score) for place in one.places] == [(hit.id, hit.score) for hit in hits]
    assert comparing.summary(found, measure("mrr@1")).mean == 1.0


def test_a_document_stands_once_where_its_best_chunk_stands(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder(max_tokens=18)) as opened:
        opened.add([{"id": "long", "text": " ".join(f"word{n}" for n in range(200))}, *(
            {"id": key, "text": text} for key, text in TEXTS.items())])  # fmt: skip
        ranking = running.run(opened, data({"q": ("word7", {"long": 1})}), Setting(), k=13).asked["q"].ranking
    assert len(ranking) == len(set(ranking)) == 13


def test_a_judged_document_that_is_not_there_is_said_and_counts_as_not_found(collection: sememe.Collection) -> None:
    found = running.run(collection, data({"q": (TEXTS["d1"], {"d1": 1, "gone": 1})}), Setting())
    assert found.remarks == (f"1 of 2 relevant documents are not in {collection.path}",)
    assert found.values(measure("recall@10")) == {"q": 0.5}


def test_a_run_that_was_saved_is_the_same_run(collection: sememe.Collection, tmp_path: Path) -> None:
    found = running.run(collection, known_items(), setting_of("mode=hybrid alpha=0.5"))
    running.save(found, tmp_path / "run.json")
    assert running.load(tmp_path / "run.json") == found


@pytest.mark.parametrize("text", ["{", '{"run": 1}', '{"run": 9, "asked": {}}', '{"run": 1, "asked": {"a": 3}}', "[]"])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json"):
        running.load(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [("mode=fuzzy", "use one of vector"), ("mode", "'mode' is no setting"), ("depth=3", "'depth' is no setting"),
     ("hybrid mmr=0.5", "'hybrid' is no setting"), ("alpha=0.5", "hybrid"), ("recall=2", "from 0 to 1"),
     ("recall=all", "give a number"), ("where={", "not JSON"), ("mmr=2", "from 0 to 1"), ("mmr=", "give a number"),
     ("rerank=", "rerank is empty"), ("rerank=a:0", "depth to rerank is 0"), ("mode=vector mode=lexical", "said twice"),
     ("mode=lexical funnel=64,full", "a funnel compares vectors"), ("fusion=sum", "use one of evidence, rrf"),
     ("dedupe=1", "yes or no"), ("per-group=two", "whole number"), ("group-by=year per-group=0", "from 1 on"),
     ("boost=stars", "no field with a weight"), ("recency=day", "half-life"), ("threshold-expected=0", "above 0"),
     ("where=null", "no filter"), ("fusion=rrf", "goes with 'hybrid'"), ("mode=lexical recall=1", "misses nothing"),
     ("mode=hybrid fusion=rrf alpha=0.5", "by one of them"), ("mode=lexical space=fine", "looks in no space"),
     ("recall=1 funnel=64,full", "says its stages"), ("mode=hybrid space=@own space=a fusion=evidence", "by ranks")],
)  # fmt: skip
def test_a_setting_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        setting_of(text)


def test_a_setting_of_several_spaces_names_each() -> None:
    setting = setting_of("mode=hybrid space=@own space=fine")
    assert setting.route.space == ("@own", "fine")
    assert setting_of(str(setting)) == setting


SHARES = st.floats(0, 1)
FIELDS = st.sampled_from(["stars", "@added", "a.b"])
NUMBERS = st.floats(-1e6, 1e6)
ROUTES = partial(
    st.builds, Route, space=st.sampled_from(["", "fine"]),
    rerank=st.sampled_from(["owner/name", "voyage:rerank-2.5", "./a folder, or two"]), depth=st.integers(1, 99),
    expected=st.none() | st.floats(1e-9, 1e9),
)  # fmt: skip
BOOSTS = st.builds(Boost, FIELDS, NUMBERS) | st.builds(
    Recency, FIELDS, st.integers(1, 999).map(lambda days: days * DAY), st.none() | NUMBERS
)
SHAPES = st.builds(
    Shape, boosts=st.lists(BOOSTS, max_size=3).map(lambda found: tuple(sorted(found, key=lambda b: b.name[0]))),
    threshold=st.none() | NUMBERS, dedupe=st.booleans(), group_by=st.sampled_from(["", "document", "year"]),
    per_group=st.integers(1, 3), mmr=st.none() | SHARES,
).map(lambda shape: shape if shape.group_by else replace(shape, per_group=1))  # fmt: skip
WHERES = st.none() | st.fixed_dictionaries({"year": st.integers()}) | st.just({"said": "mode=vector where=here"})


FUNNELS, FUSIONS = st.sampled_from(["", "bits:500,64:100,full"]), st.sampled_from([None, "evidence", "rrf"])
SETTINGS = st.builds(
    Setting, recall=st.none() | SHARES, where=WHERES, shape=SHAPES,
    route=st.just(Route()) | ROUTES(funnel=st.sampled_from(["", "auto"])),
) | st.builds(
    Setting, mode=st.just("hybrid"), where=WHERES, shape=SHAPES, route=ROUTES(funnel=FUNNELS, fusion=FUSIONS)
)  # fmt: skip


@given(SETTINGS)
def test_a_setting_reads_as_it_is_said(setting: Setting) -> None:
    said = str(setting)
    again = setting_of(said)
    assert str(again) == said
    assert replace(again, shape=again.shape or Shape()) == setting


@pytest.mark.parametrize(
    "text",
    ["mode=hybrid fusion=rrf", "mode=hybrid mmr=0.3", "group-by=kind per-group=2", f"rerank={HEADS / 'rank-bert'}:4",
     "recall=1 threshold=0.2", "boost=number:0.5", 'funnel=bits:5,full where={"number": {"$lt": 9}}'],
)  # fmt: skip
def test_a_run_in_any_setting_has_what_a_search_has(collection: sememe.Collection, text: str) -> None:
    collection.add(
        {"id": key, "text": said, "metadata": {"number": number, "kind": number % 3}}
        for number, (key, said) in enumerate(TEXTS.items())
    )
    setting = setting_of(text)
    query = "document number 3 speaks"
    found = running.run(collection, data({"q": (query, {"d3": 1})}), setting, k=6)
    hits = collection.search(
        Query(text=query, k=6, mode=setting.mode, recall=setting.recall, route=setting.route, shape=setting.shape,
              where=None if setting.where is None else parse(setting.where))
    )  # fmt: skip
    assert [(place.chunk, place.score) for place in found.asked["q"].places] == [(hit.id, hit.score) for hit in hits]
    plain = running.run(collection, data({"q": (query, {"d3": 1})}), Setting(), k=6)
    assert found.asked["q"].places != plain.asked["q"].places


def test_a_reranker_a_space_or_a_funnel_that_is_not_there_ends_a_run(collection: sememe.Collection) -> None:
    for text, says in (
        ("rerank=nobody", "no model is named 'nobody'"),
        ("space=fine", "'fine'"),
        ("funnel=auto", "no funnel was measured"),
    ):
        with pytest.raises(InputError, match=says):
            running.run(collection, known_items(), setting_of(text))


def test_a_measure_that_looks_further_than_a_run_is_refused() -> None:
    with pytest.raises(InputError, match="recall@100 looks at 100 hits"):
        run_of({"a": ["x"]}, {"a": {"x": 1}}).values(measure("recall@100"))


# --- comparing -------------------------------------------------------------------------------------------------


def test_a_run_differs_from_itself_by_nothing() -> None:
    one = run_of({"a": ["x", "y"], "b": []}, {"a": {"y": 1}, "b": {"z": 1}})
    found = comparing.compare(one, one, measure("mrr"))
    assert (found.difference, found.wins, found.losses) == (comparing.Interval(0.0, 0.0, 0.0), [], [])


def test_wins_and_losses_are_sorted_by_what_they_changed_and_count_once() -> None:
    grades = {key: {"right": 1} for key in "abcd"}
    one = run_of({"a": ["right"], "b": ["x", "right"], "c": [], "d": ["right"]}, grades)
    other = run_of({"a": ["x", "x2", "right"], "b": ["right"], "c": ["right"], "d": ["right"]}, grades)
    found = comparing.compare(one, other, measure("mrr"))
    assert [pair.key for pair in found.wins] == ["c", "b"]
    assert [pair.key for pair in found.losses] == ["a"]
    assert found.difference.mean == pytest.approx(np.mean([1 / 3 - 1, 0.5, 1, 0]))
    assert (found.losses[0].one.first, found.losses[0].other.first) == (1, 3)


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(3).binomial(1, 0.3, size=(100, 120)).astype(float)
    intervals = [comparing.bootstrap(values) for values in draws]
    assert 88 <= sum(found.low <= 0.3 <= found.high for found in intervals) <= 99


def test_runs_without_a_common_query_or_unit_are_refused() -> None:
    one, other = (run_of({key: ["x"]}, {key: {"x": 1}}) for key in "ab")
    with pytest.raises(InputError, match="no query in common"):
        comparing.compare(one, other, measure("mrr"))
    with pytest.raises(InputError, match="judge both alike"):
        comparing.compare(one, Run("set", "x", 10, "chunk", one.asked), measure("mrr"))


def test_queries_of_one_run_alone_are_left_out_and_said() -> None:
    one = run_of({"a": ["x"], "b": ["x"]}, {"a": {"x": 1}, "b": {"x": 1}})
    found = comparing.compare(one, run_of({"a": ["x"]}, {"a": {"x": 1}}), measure("mrr"))
    assert len(found.pairs) == 1
    assert "1 queries are in one run only and left out" in found.remarks


@pytest.mark.parametrize(
    ("least", "tolerance", "passes"), [(0.4, 0.0, True), (0.6, 0.0, False), (None, 0.6, True), (None, 0.4, False)]
)
def test_a_gate_passes_at_its_limit_and_not_below(least: float | None, tolerance: float, passes: bool) -> None:
    found, best = (run_of({"a": ranking}, {"a": {"y": 1}}) for ranking in (["x", "y"], ["y"]))
    reason = comparing.falls_short(
        found, measure("mrr"), least=least, against=None if least else best, tolerance=tolerance
    )
    assert (not reason) is passes


# --- golden sets -----------------------------------------------------------------------------------------------


def test_heading_paths_and_sentences_ask_for_their_chunk(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add([{"id": "guide", "text": GUIDE, "media_type": "text/markdown"}, {"id": "x", "text": "Some text."}])
        assert golden.make(opened, "headings").queries == 1
        assert golden.make(opened, "sentences", count=9).remarks == ("only 2 sentences could be asked for",)
        headings, sentences = (golden.dataset(opened, name) for name in ("headings", "sentences"))
        assert list(headings.queries.values()) == ["Guide Taps in kitchens"]
        for found in (headings, sentences):
            for key, query in found.queries.items():
                (chunk,) = found.grades[key]
                text = opened.get(chunk).text
                assert query in text or query.split()[-1] in text
        assert set(sentences.origins.values()) == {"sentence"}
        assert any("very easy" in remark for remark in sentences.remarks)


def test_a_set_survives_cutting_the_same_text_anew(tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {n} says that thing{n} is near place{n} today." for n in range(20))
    with sememe.open(tmp_path / "c", model=FakeEmbedder(max_tokens=30)) as opened:
        opened.add([{"id": "a", "text": text}])
        golden.make(opened, "sentences")
        before = golden.dataset(opened, "sentences")
        opened.add([{"id": "a", "text": text}], chunk=False)
        after = golden.dataset(opened, "sentences")
        ((only,),) = {tuple(grades) for grades in after.grades.values()}
        assert opened.get(only).chunks[0].end == len(text)
        assert after.queries == before.queries


def test_a_judgement_on_text_that_is_gone_counts_as_not_found(collection: sememe.Collection) -> None:
    collection.add([{"id": "guide", "text": GUIDE, "media_type": "text/markdown"}])
    golden.make(collection, "headings")
    collection.delete("guide")
    found = running.run(collection, golden.dataset(collection, "headings"), Setting())
    assert any(remark.startswith("1 of 1 relevant chunks are not in") for remark in found.remarks)
    assert found.values(measure("recall@10")) == dict.fromkeys(found.asked, 0.0)


def test_what_is_judged_by_hand_can_be_taken_back(collection: sememe.Collection) -> None:
    golden.add(collection, "subjects", ["d1", "d2"], grade=2)
    golden.add(collection, "others", ["d3"])
    assert golden.dataset(collection, "hand").grades == {
        query_id("subjects"): {"d1": 2, "d2": 2},
        query_id("others"): {"d3": 1},
    }
    assert golden.remove(collection, "hand", "subjects") == 2
    assert golden.remove(collection, "hand") == 1
    with pytest.raises(NotFound, match="no golden set 'hand'"):
        golden.dataset(collection, "hand")


def test_a_set_judges_documents_or_chunks_and_names_what_is_not_there(collection: sememe.Collection) -> None:
    golden.add(collection, "one", ["d1"])
    with pytest.raises(InputError, match="would judge both"):
        golden.add(collection, "two", [collection.search("x", k=1)[0].id])
    with pytest.raises(NotFound, match="'nowhere' is neither a document nor a chunk"):
        golden.add(collection, "two", ["nowhere"])
    with pytest.raises(InputError, match="the query is empty"):
        golden.add(collection, " ", ["d1"])
    with pytest.raises(InputError, match="headings or sentences"):
        golden.make(collection, "thin air")


def test_clicks_become_judgements_and_unknown_ids_are_counted(collection: sememe.Collection, tmp_path: Path) -> None:
    chunk = collection.get("d2").chunks[0].id
    clicks = [("tap", "d1"), ("tap", "d1"), ("tap", f"chunk:{chunk}"), ("law", "gone"), ("law", "d3")]
    lines = [json.dumps({"query": query, "id": one}) for query, one in clicks]
    (tmp_path / "clicks.jsonl").write_text("\n".join(lines))
    made = golden.import_clicks(collection, tmp_path / "clicks.jsonl")
    assert made.remarks == (f"1 of 4 pairs name what is not in {collection.path}, and are left out",)
    assert golden.dataset(collection, "clicks").grades == {
        query_id("tap"): {"d1": 1, "d2": 1},
        query_id("law"): {"d3": 1},
    }
    assert golden.import_clicks(collection, tmp_path / "clicks.jsonl", name="often", least=2).judgements == 1
    (tmp_path / "clicks.jsonl").write_text(lines[0] + '\n{"query": "tap"}\n')
    with pytest.raises(InputError, match=r"line 2 of .*clicks\.jsonl is no click"):
        golden.import_clicks(collection, tmp_path / "clicks.jsonl")


# --- from the command line -------------------------------------------------------------------------------------


def beir(folder: Path, *, corpus: bool = True) -> Path:
    """The twelve documents as a BEIR folder, each asked for by its own text; one more is judged and not there."""
    (folder / "qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": key, "text": text}) for key, text in TEXTS.items()]
    if corpus:
        (folder / "corpus.jsonl").write_text("\n".join(rows))
    (folder / "queries.jsonl").write_text("\n".join(rows))
    (folder / "qrels" / "test.tsv").write_text("".join(f"{key}\t{key}\t1\n" for key in TEXTS) + "d0\tgone\t1\n")
    return folder


def test_a_beir_folder_is_added_and_asked(command: Command, tmp_path: Path) -> None:
    folder = beir(tmp_path / "set")
    found = told(command("eval", "run", "--beir", folder, "--add", "-c", "new", "--json"))
    assert found["metrics"]["success@1"]["mean"] == 1.0
    assert found["metrics"]["recall@10"]["mean"] == pytest.approx(11.5 / 12)
    assert any("1 of 13 relevant documents are not in" in remark for remark in found["remarks"])
    assert "has no corpus.jsonl" in str(
        command("eval", "run", "--beir", beir(tmp_path / "b", corpus=False), "--add").exception
    )


def test_runs_are_saved_compared_and_drawn(command: Command, tmp_path: Path) -> None:
    folder = beir(tmp_path / "set")
    for mode in ("vector", "lexical"):
        kept = ("--save", f"{mode}.json", "--trec", f"{mode}.trec", "--report", f"{mode}.html")
        told(command("eval", "run", "--beir", folder, "--mode", mode, *kept, "--json"))
    files = told(command("eval", "compare", "vector.json", "lexical.json", "--report", "both.html", "--json"))
    trec = told(command("eval", "compare", "vector.trec", "mode=lexical", "--beir", folder, "--json"))
    assert files["difference"] == trec["difference"]
    assert "<svg" in Path("both.html").read_text()
    page = Path("vector.html").read_text()
    assert page.count("<svg") == 1
    assert "orphan heading" in page
    refused = command("eval", "compare", "vector.trec", "lexical.trec")
    assert "holds no judgements" in str(refused.exception)


def test_no_file_is_overwritten_unless_told_to_and_no_run_ends_in_a_place_that_cannot_be_written(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, ran = tmp_path / "kept", ["run", "--beir", beir(tmp_path / "set")]
    kept.write_text("precious")
    Path("link").symlink_to("not there yet")
    with monkeypatch.context() as patched:
        patched.setattr(running, "run", lambda *_, **__: pytest.fail("it ran"))
        for said, reason in (
            ((*ran, "--save", kept), "--overwrite"), ((*ran, "--trec", kept), "--overwrite"),
            ((*ran, "--report", kept), "--overwrite"), ((*ran, "--save", "no/run.json"), "cannot be written"),
            ((*ran, "--trec", tmp_path), "--overwrite"), ((*ran, "--save", "a", "--trec", "a"), "two outputs"),
            (("compare", "mode=vector", "mode=lexical", "--report", kept), "--overwrite"),
        ):  # fmt: skip
            assert reason in str(command("eval", *said).exception), said
    assert kept.read_text() == "precious"
    assert not Path("a").exists()
    told(command("eval", *ran, "--save", kept, "--trec", "/dev/null", "--report", "link", "--overwrite", "--json"))
    assert Path("not there yet").read_text().startswith("<!doctype html>")
    assert "precious" not in kept.read_text()


def test_a_report_shows_text_as_text(command: Command, collection: sememe.Collection, tmp_path: Path) -> None:
    with sememe.open(tmp_path / ".sememe", model=FakeEmbedder()) as opened:
        opened.add([{"id": "evil", "text": "<script>alert(1)</script> & more of it"}])
        golden.add(opened, "<img src=x>", ["evil"])
    told(command("eval", "run", "hand", "--report", "page.html", "--json"))
    assert "<script" not in Path("page.html").read_text()
    assert "<img" not in Path("page.html").read_text()


def test_a_gate_ends_with_a_status_of_its_own(command: Command) -> None:
    command("eval", "golden", "add", TEXTS["d1"], "d1")
    told(command("eval", "run", "hand", "--save", "before.json", "--json"))
    assert command("eval", "gate", "hand", "--min", "0.9").exit_code == 0
    assert command("eval", "gate", "hand", "--against", "before.json").exit_code == 0
    command("eval", "golden", "add", TEXTS["d1"], "d2")
    failed = command("eval", "gate", "hand", "--min", "0.9", "--metric", "recall@1", "--json")
    assert failed.exit_code == 4
    assert json.loads(failed.stdout)["reason"] == "recall@1 is 0.5000, and at least 0.9 was wanted"
    assert "nothing to pass" in str(command("eval", "gate", "hand").exception)


def test_golden_sets_are_listed_and_exported(command: Command, tmp_path: Path) -> None:
    command("eval", "golden", "add", "a query", "d1", "d2")
    assert told(command("eval", "golden", "list", "--json"))["origins"] == {"hand": 1}
    assert "a query" in command("eval", "golden", "list", "hand").stdout
    assert told(command("eval", "golden", "export", "hand", "out", "--json")) == {
        "documents": 12,
        "queries": 1,
        "judgements": 2,
    }
    assert told(command("eval", "run", "--beir", "out", "--json"))["metrics"]["recall@10"]["mean"] > 0
    command("eval", "golden", "export", "hand", "q.txt", "--qrels")
    for said in (("out",), ("q.txt", "--qrels")):
        refused = command("eval", "golden", "export", "hand", *said)
        assert "--overwrite" in str(refused.exception)
        assert command("eval", "golden", "export", "hand", *said, "--overwrite").exit_code == 0
    again = told(command("eval", "run", "--qrels", "q.txt", "--queries", "out/queries.jsonl", "--json"))
    assert again["metrics"] == told(command("eval", "run", "hand", "--json"))["metrics"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("run",), "name one golden set"), (("run", "hand", "--beir", "x"), "name one golden set"),
     (("run", "nope"), "no golden set 'nope'"), (("run", "hand", "--k", "0"), "at least 1 hit"),
     (("run", "hand", "--metric", "dcg"), "use one of ndcg"), (("run", "--qrels", "x"), "--queries FILE"),
     (("run", "hand", "--add"), "--beir FOLDER"), (("run", "hand", "--alpha", "0.5"), "alpha goes with"),
     (("compare", "mode=x", "mode=vector", "--set", "hand"), "use one of vector"),
     (("probe", "--queries", "nowhere"), "cannot be read"), (("probe", "--sample", "0"), "at least 1")],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_in_one_sentence(
    command: Command, arguments: tuple[str, ...], says: str
) -> None:
    command("eval", "golden", "add", "a query", "d1")
    assert says in str(command("eval", *arguments).exception)


def test_a_set_of_chunks_that_was_exported_is_judged_by_chunk(command: Command, tmp_path: Path) -> None:
    with sememe.open(tmp_path / ".sememe", model=FakeEmbedder()) as opened:
        golden.add(opened, TEXTS["d1"], [opened.search(TEXTS["d1"], k=1)[0].id], name="chunks")
    told(command("eval", "golden", "export", "chunks", "out", "--json"))
    command("eval", "golden", "export", "chunks", "q.txt", "--qrels")
    expected = told(command("eval", "run", "chunks", "--json"))
    for asked in (("--beir", "out"), ("--qrels", "q.txt", "--queries", "out/queries.jsonl")):
        found = told(command("eval", "run", *asked, "--json"))
        assert (found["unit"], found["metrics"]) == ("chunk", expected["metrics"])
        assert any("those of chunks" in remark for remark in found["remarks"])
    assert expected["metrics"]["success@1"]["mean"] == 1.0


def test_a_run_of_which_no_judged_document_is_there_is_refused(command: Command, tmp_path: Path) -> None:
    folder = beir(tmp_path / "set")
    (folder / "qrels" / "test.tsv").write_text("d1\tD1.txt\t1\nd2\tD2.txt\t1\nd2\td3\t0\n")
    refused = str(command("eval", "run", "--beir", folder).exception)
    assert "none of the 2 documents that set judges relevant is in" in refused
    assert "such as 'D1.txt'" in refused


def test_run_and_gate_take_a_setting_as_compare_does(command: Command) -> None:
    command("eval", "golden", "add", "document number 5 speaks", "d5")
    text = 'mode=hybrid mmr=0.5 where={"@key": {"$ne": "' + 300 * "x" + '"}}'
    ran = told(command("eval", "run", "hand", "--setting", text, "--json"))
    both = told(command("eval", "compare", text, "mode=vector", "--set", "hand", "--json"))
    passed = told(command("eval", "gate", "hand", "--setting", text, "--min", "0", "--json"))
    assert ran["setting"] == both["a"]["setting"] == text
    assert ran["metrics"]["ndcg@10"]["mean"] == both["a"]["mean"] == passed["mean"]
    twice = command("eval", "run", "hand", "--setting", text, "--mode", "lexical")
    assert "says all of it" in str(twice.exception)
