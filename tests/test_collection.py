"""A collection seen from Python: what is added is found, kept whole, replaced, deleted, and never embedded twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEmbedder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sememe
from sememe.errors import InputError, NotFound, SpaceMismatch
from sememe.models.encoder import TextEncoder

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)


@pytest.fixture
def fake() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def collection(tmp_path: Path, fake: FakeEmbedder) -> sememe.Collection:
    return sememe.open(tmp_path / "c", model=fake)


def test_meaning_is_found_with_the_real_model(tmp_path: Path, model: TextEncoder) -> None:
    with sememe.open(tmp_path / "c", model=model) as collection:
        collection.add(
            ["The plumber replaced a dripping faucet.", "Parliament passed the budget.", "Bake for an hour."]
        )
        best = collection.search("fixing a leaky tap", k=1)[0]
    assert best.text == "The plumber replaced a dripping faucet."
    assert best.kind == "cosine"


def test_a_hit_says_where_it_comes_from(collection: sememe.Collection) -> None:
    collection.add(
        {"id": "guide", "text": "# Guide\n\nfirst part\n\n## Install\n\nsecond part", "media_type": "text/markdown",
         "metadata": {"year": 2026}}
    )  # fmt: skip
    hit = collection.search("Guide\n## Install\n\nsecond part", k=1)[0]
    assert (hit.document, hit.title, hit.headings) == ("guide", "Guide", ("Guide",))
    assert hit.metadata == {"year": 2026}
    assert hit.score == pytest.approx(1, abs=1e-5)
    assert collection.get("guide").text[hit.span[0] : hit.span[1]] == hit.text
    assert collection.get(hit.id).text == hit.text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.dictionaries(st.sampled_from("abcdef"), TEXTS, min_size=1))
def test_what_is_stored_comes_back_character_for_character(tmp_path_factory, texts: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    with sememe.open(tmp_path_factory.mktemp("x") / "c", model=FakeEmbedder()) as collection:
        summary = collection.add([{"id": key, "text": text} for key, text in texts.items()])
        for key, text in texts.items():
            if text.strip():
                record = collection.get(key)
                assert record.text == text
                assert all(text[c.start : c.end] == c.text for c in record.chunks)
        assert summary.documents + summary.skipped == len(texts)


def test_adding_the_same_again_embeds_nothing(collection: sememe.Collection, fake: FakeEmbedder) -> None:
    records = [{"id": str(i), "text": f"text {i}"} for i in range(10)]
    collection.add(records)
    before = len(fake.texts)
    again = collection.add(records)
    assert (again.unchanged, again.documents, again.embedded) == (10, 0, 0)
    assert len(fake.texts) == before


def test_a_changed_record_replaces_the_old_one(collection: sememe.Collection) -> None:
    collection.add({"id": "a", "text": "old words"})
    collection.add({"id": "a", "text": "new words"})
    assert collection.get("a").text == "new words"
    assert [hit.text for hit in collection.search("old words")] == ["new words"]


def test_changed_metadata_alone_costs_no_embedding(collection: sememe.Collection, fake: FakeEmbedder) -> None:
    collection.add({"id": "a", "text": "words", "metadata": {"year": 1}})
    before = len(fake.texts)
    assert collection.add({"id": "a", "text": "words", "metadata": {"year": 2}}).embedded == 0
    assert collection.search("words")[0].metadata == {"year": 2}
    assert len(fake.texts) == before + 1  # the query


def test_two_documents_with_one_text_share_a_vector_and_lose_it_last(collection: sememe.Collection) -> None:
    assert collection.add([{"id": "a", "text": "same"}, {"id": "b", "text": "same"}]).embedded == 1
    collection.delete("a")
    assert [hit.document for hit in collection.search("same")] == ["b"]
    collection.delete("b")
    assert collection.search("same") == []


def test_a_deleted_document_is_gone_from_every_answer(collection: sememe.Collection) -> None:
    collection.add([{"id": str(i), "text": f"text {i}"} for i in range(20)])
    assert collection.delete(["3", "7"]) == 2
    assert {hit.document for hit in collection.search("text 3", k=50)} == {str(i) for i in range(20)} - {"3", "7"}
    with pytest.raises(NotFound, match="'3'"):
        collection.get("3")


def test_deleting_an_unknown_document_deletes_nothing(collection: sememe.Collection) -> None:
    collection.add({"id": "a", "text": "words"})
    with pytest.raises(NotFound, match="'nope'"):
        collection.delete(["a", "nope"])
    assert collection.get("a").text == "words"


def test_search_agrees_with_numpy_over_all_vectors(collection: sememe.Collection, fake: FakeEmbedder) -> None:
    collection.add([f"text number {i}" for i in range(300)])
    ids, vectors = collection.vectors()
    query = fake.embed(["something else"]).vectors[0]
    expected = ids[np.argsort(-(vectors @ query), kind="stable")[:20]]
    assert [hit.id for hit in collection.search(query, k=20)] == [f"chunk:{i}" for i in expected]


def test_a_larger_k_extends_a_smaller_one(collection: sememe.Collection) -> None:
    collection.add([f"text {i}" for i in range(50)])
    ten = [hit.id for hit in collection.search("q", k=10)]
    assert [hit.id for hit in collection.search("q", k=30)][:10] == ten
    assert len(collection.search("q", k=1000)) == 50


def test_a_text_too_long_for_the_model_is_reported_with_both_counts(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder(max_tokens=16)) as collection:
        summary = collection.add({"id": "long", "text": "word " * 50}, chunk=False)
        (row,) = collection.report().troubles
    assert summary.truncated == 1
    assert (row.status, row.truncated) == ("truncated", ((0, 52, 16),))
    assert "52 tokens, the model reads 16" in row.reason


def test_cut_into_chunks_nothing_is_truncated(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder(max_tokens=32)) as collection:
        summary = collection.add({"id": "long", "text": "word " * 500})
    assert summary.truncated == 0
    assert summary.chunks > 10


def test_every_input_ends_in_the_ledger(collection: sememe.Collection) -> None:
    collection.add([{"id": "a", "text": "words"}, {"id": "b", "text": "   "}, {"id": "c", "text": "x \ud800 y"}])
    rows = {row.key: row for row in collection.ledger()}
    assert {key: row.status for key, row in rows.items()} == {"a": "embedded", "b": "skipped", "c": "embedded"}
    assert rows["b"].reason == "no text"
    assert "surrogate" in rows["c"].remarks[0]
    assert collection.get("c").text == "x \ufffd y"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (5, "record 1 is a int"),
        ({"id": "x"}, "record 1 has a text of type NoneType"),
        ({"text": "x", "colour": "red"}, r"record 1 has unknown fields \['colour'\]"),
        ({"text": "x", "id": ""}, "record 1 has id ''"),
        ({"text": "x", "metadata": {"a": float("nan")}}, "record 1 has metadata that JSON cannot hold"),
        ({"text": "x", "media_type": "image/png"}, "image/png"),
    ],
    ids=["number", "no text", "unknown field", "blank id", "nan", "media type"],
)
def test_a_bad_record_is_named_and_those_before_it_are_kept(
    collection: sememe.Collection, record: object, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        collection.add(["good one", record])  # type: ignore[list-item]
    collection.add(["good one"])
    assert len(collection.search("good one")) == 1


@pytest.mark.parametrize(
    ("query", "k", "words"),
    [
        ("", 1, "the query is empty"),
        ("x", 0, "k is 0"),
        (np.zeros(3, np.float32), 1, r"shape \(3,\), the collection has \(16,\)"),
        (np.full(16, np.nan, np.float32), 1, "not finite"),
        (np.zeros(16, np.float32), 1, "only zeros"),
    ],
    ids=["empty", "k", "dimension", "nan", "zeros"],
)
def test_a_bad_query_is_refused_in_words(collection: sememe.Collection, query: object, k: int, words: str) -> None:
    collection.add(["something"])
    with pytest.raises(InputError, match=words):
        collection.search(query, k=k)  # type: ignore[arg-type]


def test_an_empty_collection_answers_with_nothing(collection: sememe.Collection) -> None:
    assert collection.search("anything") == []
    assert collection.report().totals.documents == 0


def test_another_model_is_refused_and_named(collection: sememe.Collection, tmp_path: Path) -> None:
    collection.add(["words"])
    with pytest.raises(SpaceMismatch) as refusal:
        sememe.open(tmp_path / "c", model=FakeEmbedder(model="other", digest="1" * 64, dim=8))
    message = str(refusal.value)
    for part in ("fake", "other", "dim 16 against 8", "--model fake", collection.space.id):  # type: ignore[union-attr]
        assert part in message


def test_the_same_model_from_another_file_is_admitted(collection: sememe.Collection, tmp_path: Path) -> None:
    collection.add(["words"])

    class Renamed(FakeEmbedder):
        def embed(self, texts, *, role="document", progress=None):  # type: ignore[no-untyped-def]
            return FakeEmbedder().embed(texts, role=role)

    with sememe.open(tmp_path / "c", model=Renamed(model="fake-onnx", digest="2" * 64)) as again:
        assert again.search("words")[0].text == "words"


def test_reopening_without_a_model_takes_the_stored_one(tmp_path: Path, model: TextEncoder) -> None:
    with sememe.open(tmp_path / "c") as collection:
        collection.add(["The plumber replaced a dripping faucet."])
    with sememe.open(tmp_path / "c") as collection:
        assert collection.space == model.space
        assert len(collection.search("tap")) == 1


def test_a_second_process_sees_new_rows_and_loses_deleted_ones(collection: sememe.Collection) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import sememe; from fakes import FakeEmbedder\n"
        "c = sememe.open(sys.argv[1], model=FakeEmbedder())\n"
        "for line in sys.stdin:\n"
        "    print(sorted(h.document for h in c.search(line.strip(), k=99)), flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(collection.path), str(Path(__file__).parent)]
    collection.add({"id": "a", "text": "one"})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None

        def ask() -> str:
            other.stdin.write("one\n")  # type: ignore[union-attr]
            other.stdin.flush()  # type: ignore[union-attr]
            return other.stdout.readline().strip()  # type: ignore[union-attr]

        assert ask() == "['a']"
        collection.add({"id": "b", "text": "two"})
        assert ask() == "['a', 'b']"
        collection.delete("a")
        assert ask() == "['b']"
        collection.optimize()
        assert ask() == "['b']"
        other.stdin.close()


def test_deleting_every_derived_file_loses_nothing(collection: sememe.Collection, fake: FakeEmbedder) -> None:
    collection.add([f"text {i}" for i in range(30)])
    before = [(hit.id, hit.score) for hit in collection.search("q", k=30)]
    for path in collection.path.glob("vectors-*"):
        path.unlink()
    with sememe.open(collection.path, model=fake) as again:
        assert [(hit.id, hit.score) for hit in again.search("q", k=30)] == before
        again.optimize()
        assert list(collection.path.glob("vectors-*.slab"))
        assert [(hit.id, hit.score) for hit in again.search("q", k=30)] == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_told_to_open_it_again(collection: sememe.Collection) -> None:
    collection.add(["words"])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            collection.search("words")
            os.write(write, b"no error")
        except sememe.SememeError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"cannot be used in its fork" in os.read(read, 4096)


def test_threads_may_search_while_another_adds(collection: sememe.Collection) -> None:
    from concurrent.futures import ThreadPoolExecutor

    collection.add([f"text {i}" for i in range(50)])
    with ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(collection.search, f"text {i}", k=1) for i in range(40)]
        collection.add([f"more {i}" for i in range(50)])
        assert [search.result()[0].text for search in searches] == [f"text {i}" for i in range(40)]


def test_vectors_that_are_no_numbers_are_never_stored(tmp_path: Path) -> None:
    class Broken(FakeEmbedder):
        def embed(self, texts, *, role="document", progress=None):  # type: ignore[no-untyped-def]
            embedded = super().embed(texts, role=role)
            if "bad" in texts:
                embedded.vectors[0] = np.nan
            return embedded

    with sememe.open(tmp_path / "c", model=Broken()) as collection:
        collection.add("good")
        with pytest.raises(sememe.SememeError, match="not finite"):
            collection.add("bad")
        assert [hit.text for hit in collection.search("good")] == ["good"]


def test_a_title_with_a_lone_surrogate_is_stored(collection: sememe.Collection) -> None:
    collection.add({"id": "a", "text": "words", "title": "t \ud800"})
    assert collection.get("a").document.title == "t ?"


def test_scores_are_cosines_also_for_a_model_that_does_not_normalise(
    tmp_path: Path, make_model_folder: Callable[..., Path]
) -> None:
    folder = make_model_folder("unnormalised")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:2]))
    loaded = sememe.load_model(folder)
    texts = ["tea", "coffee with milk", "a long walk along the river", "rain"]
    with sememe.open(tmp_path / "c", model=folder) as collection:
        collection.add(texts)
        hits = collection.search("hot drinks", k=4)
        by_vector = collection.search(loaded.encode_query("hot drinks"), k=4)
    cosines = loaded.similarity(loaded.encode_query("hot drinks"), loaded.encode_document(texts))[0]
    assert [hit.text for hit in hits] == [texts[i] for i in np.argsort(-cosines)]
    assert [hit.score for hit in hits] == pytest.approx(sorted(cosines, reverse=True), abs=1e-4)
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in by_vector], abs=1e-4)


def test_no_document_can_hide_a_chunk(collection: sememe.Collection) -> None:
    collection.add({"id": "c1", "text": "words"})
    assert collection.get("chunk:1").text == "words"
    with pytest.raises(InputError, match="those of chunks"):
        collection.add({"id": "chunk:1", "text": "hiding"})


@pytest.mark.parametrize("k", [None, "3", 2.5, True])
def test_k_is_a_whole_number(collection: sememe.Collection, k: object) -> None:
    with pytest.raises(InputError, match="whole number"):
        collection.search("words", k=k)  # type: ignore[arg-type]


def test_a_query_of_another_kind_is_named(collection: sememe.Collection) -> None:
    with pytest.raises(InputError, match="the query is a list"):
        collection.search(["a", "b"])  # type: ignore[arg-type]


def test_an_id_that_comes_again_in_one_add_is_counted_once_and_the_last_one_stays(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        texts = ["first of them", "other", "the second and last"]
        summary = collection.add([{"id": name, "text": text} for name, text in zip("aba", texts, strict=True)])
        assert (summary.documents, summary.repeated, summary.chunks) == (2, 1, 2)
        assert collection.get("a").text == "the second and last"
        assert [(row.key, "more than once" in row.remarks[0]) for row in collection.report().troubles] == [("a", True)]


def test_an_id_is_counted_once_however_far_apart_it_comes(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        records = [{"id": i % 3000, "text": f"number {i} of many"} for i in range(6000)]
        summary = collection.add(records)
        assert (summary.documents, summary.repeated, summary.chunks) == (3000, 3000, 3000)
        assert collection.get("7").text == "number 3007 of many"
