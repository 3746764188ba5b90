"""Spaces of words and of tokens in a collection, against the arithmetic written out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEmbedder
from safetensors.numpy import load_file, save_file
from test_families import REFERENCE

import sememe
from sememe import doctor, failpoints
from sememe.errors import InputError, ModelError, SpaceMismatch
from sememe.explain import as_dict, explain, marked, page
from sememe.index import late
from sememe.index.arrays import crc_of
from sememe.index.tokens import from_bytes, from_stored, token_parts
from sememe.ingest import backfill
from sememe.keeping import backups, forgetting, moving
from sememe.models import load_encoder
from sememe.search.query import Query, Route
from sememe.space import Encoder
from sememe.spaces import add_space, drop_space, preview_space, spaces
from sememe.store import SQLiteStore
from sememe.types import LateEncoder, Piece, PieceEncoder, SpaceKind, SparseEncoder, embedded_input

HEADS = REFERENCE / "heads"
FOLDERS: dict[SpaceKind, Path] = {"sparse": HEADS / "sparse-bert", "late": HEADS / "late-stanford"}
KINDS: tuple[SpaceKind, ...] = ("sparse", "late")
EITHER = pytest.mark.parametrize("kind", KINDS)
INDEXES = {"sparse": "inverted", "late": "tokens"}
SUBJECTS = ("pump", "valve", "garden", "letter", "river", "market", "engine", "winter")
TEXTS = [f"the {SUBJECTS[i % 8]} and the {SUBJECTS[i * 3 % 7]} of house {i}" for i in range(40)]
QUERY = "where is the garden of the market"


@pytest.fixture(scope="module")
def encoders() -> dict[SpaceKind, Encoder]:
    return {kind: load_encoder(folder) for kind, folder in FOLDERS.items()}


@pytest.fixture
def opened(tmp_path: Path, encoders: dict[SpaceKind, Encoder]) -> Iterator[sememe.Collection]:
    """A collection of 40 texts with a space of each kind, of which no index has more than it must."""
    with reopened(tmp_path / "c", encoders) as made:
        made.add([{"id": f"d{i}", "text": text, "metadata": {"n": i}} for i, text in enumerate(TEXTS)])
        for kind in KINDS:
            assert add_space(made, kind, FOLDERS[kind]).complete
        yield made


def reopened(folder: Path, encoders: dict[SpaceKind, Encoder]) -> sememe.Collection:
    """The collection, whose models are loaded already."""
    found = sememe.open(folder, model=FakeEmbedder())
    found.further.load = lambda name, kind: encoders[kind or next(k for k in KINDS if str(FOLDERS[k]) == str(name))]
    return found


def oracle(opened: sememe.Collection, encoder: Encoder, kind: str) -> dict[str, float]:
    """The score of every document that is stored: inner products, or max-sim of what the codec keeps."""
    store = SQLiteStore(opened.path)
    with store.snapshot() as snapshot:
        held = snapshot.held(kind)
        assert held is not None
        chunks = snapshot.live_chunks()
        texts = {chunk: found.text for chunk, found in snapshot.chunks(chunks).items()}
        keys = {chunk: found.key for chunk, found in snapshot.found(chunks).items()}
        ids, blobs = snapshot.stored(chunks, held)
        codec = from_bytes(snapshot.codec(held)) if kind == "late" else None
    store.close()
    assert len(ids) == len(chunks)
    if isinstance(encoder, SparseEncoder):
        asked = np.zeros(held.space.dim)
        (vector,) = encoder.encode_sparse([QUERY], role="query")
        asked[vector.indices] = vector.values
        made = encoder.encode_sparse([texts[chunk] for chunk in chunks])
        scores = {keys[c]: float(asked[v.indices] @ v.values) for c, v in zip(chunks, made, strict=True)}
        return {key: score for key, score in scores.items() if score > 0}
    assert isinstance(encoder, LateEncoder)
    assert codec is not None
    query = encoder.encode_tokens([QUERY], role="query")[0] @ codec.axes
    decoded = [codec.decode(*from_stored(codec, blob)) for blob in blobs]
    return {keys[c]: float((query @ rows.T).max(1).sum()) for c, rows in zip(chunks, decoded, strict=True)}


def assert_exact(opened: sememe.Collection, encoder: Encoder, kind: str, *, k: int = 10) -> None:
    hits = opened.search(QUERY, k=k, route=Route(space=kind))
    expected = oracle(opened, encoder, kind)
    best = sorted(expected.values(), reverse=True)[:k]
    np.testing.assert_allclose([hit.score for hit in hits], best, rtol=1e-4)
    assert all(expected[hit.document] == pytest.approx(hit.score, rel=1e-4) for hit in hits)


def index_files(opened: sememe.Collection, kind: str) -> list[Path]:
    return sorted(opened.path.glob(f"space-*/{INDEXES[kind]}-*/*.npy"))


@EITHER
def test_the_best_are_those_of_the_arithmetic_whatever_came_and_went(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder], kind: SpaceKind
) -> None:
    assert_exact(opened, encoders[kind], kind)
    assert index_files(opened, kind)
    opened.add([{"id": "new", "text": "the garden of the new market"}, {"id": "d3", "text": "another text for d3"}])
    opened.delete(["d1", "d9", "d17"])
    assert_exact(opened, encoders[kind], kind, k=40)
    with reopened(opened.path, encoders) as again:
        assert_exact(again, encoders[kind], kind, k=40)
        again.optimize()
    assert_exact(opened, encoders[kind], kind, k=40)
    assert not {"d1", "d9", "d17"} & {hit.document for hit in opened.search(QUERY, k=50, route=Route(space=kind))}


@EITHER
def test_a_source_is_not_read_again_and_sync_keeps_the_space_current(
    tmp_path: Path, encoders: dict[SpaceKind, Encoder], kind: SpaceKind
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("the garden of the market")
    with reopened(tmp_path / "c", encoders) as opened:
        opened.add_files(folder)
        (folder / "a.txt").rename(tmp_path / "elsewhere")
        assert add_space(opened, kind, FOLDERS[kind]).embedded == 1
        (folder / "b.txt").write_text("the pump of the river")
        opened.sync(folder)
        assert [hit.title for hit in opened.search(QUERY, route=Route(space=kind))] == ["b"]
        assert [(report.vectors, report.lacking) for report in spaces(opened)] == [(1, 0)]


@EITHER
def test_deleted_or_damaged_files_are_never_wrong_and_are_made_again(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder], kind: SpaceKind
) -> None:
    def states() -> dict[str, str]:
        return {finding.name: finding.kind for finding in doctor.examine(opened.path)}

    name = f"{INDEXES[kind]} files of {kind}"
    assert states()[name] == "sound"
    for file in index_files(opened, kind):
        before = file.read_bytes()
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert states()[name] == "trouble", file.name
        with reopened(opened.path, encoders) as again:
            assert_exact(again, encoders[kind], kind)
        file.write_bytes(before)
    file.write_bytes(b"")  # as a lost flush leaves it
    assert states()[name] == "trouble"
    with reopened(opened.path, encoders) as again:
        assert_exact(again, encoders[kind], kind)
    shutil.rmtree(index_files(opened, kind)[0].parent)
    with reopened(opened.path, encoders) as again:
        assert_exact(again, encoders[kind], kind)
        assert not index_files(opened, kind), "a search writes nothing"
        again.add({"id": "one more", "text": "the winter market"})
        assert_exact(again, encoders[kind], kind)
    assert states()[name] == "sound"


def test_a_process_reads_an_index_once_however_often_it_adds(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    monkeypatch.setattr(
        "sememe.index.represented.crc_of", lambda arrays: compared.append(sorted(arrays)) or crc_of(arrays)
    )
    with reopened(opened.path, encoders) as again:
        again.add({"id": "first", "text": "the winter market"})
        assert len(compared) == len(KINDS), "the first look compares what is there with its checksum"
        again.add({"id": "second", "text": "the winter garden"})
        again.delete(["first", "d2"])
        assert len(compared) == len(KINDS)
        monkeypatch.setattr("sememe.ingest.represented.READ_THROUGH", 0)
    with reopened(opened.path, encoders) as again:
        again.add({"id": "third", "text": "the winter river"})
        assert len(compared) == len(KINDS), "and none that is large"
        for kind in KINDS:
            assert_exact(again, encoders[kind], kind, k=50)


@EITHER
def test_damaged_files_are_made_anew_by_the_first_change_of_a_process(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder], kind: SpaceKind
) -> None:
    (file,) = (file for file in index_files(opened, kind) if file.name == "ids.npy")
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with reopened(opened.path, encoders) as again:
        again.add({"id": "one more", "text": "the winter market"})
        assert not file.exists()
        assert index_files(opened, kind)
        assert_exact(again, encoders[kind], kind, k=50)


class _Killed(BaseException):
    """Raised where a process would die."""


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("late", "token rows written"), ("late", "space written"), ("late", "space switched"),
        ("late", "old files of a space removed"), ("sparse", "space written"), ("sparse", "window stored"),
    ],
)  # fmt: skip
def test_a_kill_in_the_middle_leaves_the_old_state_or_the_new_one(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder], kind: SpaceKind, place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("sememe.ingest.represented.TAIL", 0)
    monkeypatch.setattr("sememe.ingest.represented.TAIL_SHARE", 0)

    def kill(name: str) -> None:
        if name == place:
            raise _Killed

    monkeypatch.setattr(failpoints, "hook", kill)
    with pytest.raises(_Killed):
        opened.add({"id": "new", "text": "the garden of the new market"})
    monkeypatch.setattr(failpoints, "hook", None)
    with reopened(opened.path, encoders) as again:
        assert_exact(again, encoders[kind], kind, k=50)
        again.add({"id": "new", "text": "the garden of the new market"})
        assert_exact(again, encoders[kind], kind, k=50)
    # Nothing is left of what was begun.
    assert len({file.parent for file in index_files(opened, kind)}) == 1


@EITHER
def test_a_new_generation_takes_what_lives_from_the_one_before(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder], kind: SpaceKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sememe.ingest.represented.TAIL", 0)
    monkeypatch.setattr("sememe.ingest.represented.TAIL_SHARE", 0)
    opened.delete(["d5", "d6"])
    before = index_files(opened, kind)[0].parent.name
    opened.add([{"id": "new", "text": "the garden of the new market"}])
    assert index_files(opened, kind)[0].parent.name != before
    assert_exact(opened, encoders[kind], kind, k=50)
    rows = len(np.load(next(file for file in index_files(opened, kind) if file.name == "ids.npy")))
    assert rows == 39


def test_files_of_an_earlier_format_are_made_again_from_the_truth(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = index_files(opened, "late")[0].parent.name
    monkeypatch.setattr("sememe.space.LATE_FORMAT", 99)
    with reopened(opened.path, encoders) as again:
        assert_exact(again, encoders["late"], "late", k=40)
        (told,) = (one for one in doctor.examine(again.path) if one.name == "tokens files of late")
        assert told.kind == "fact"
        again.optimize()
        assert_exact(again, encoders["late"], "late", k=40)
        assert before not in {file.parent.name for file in index_files(again, "late")}


def test_a_codec_is_trained_on_more_of_short_texts_than_of_long_ones(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as made:
        made.add([{"id": f"d{i}", "text": f"text {i} " + "word " * 40} for i in range(50)])
        store = SQLiteStore(made.path)
        whole = backfill.sample(store)
        assert len(whole) == 50
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backfill, "SAMPLE_CHARACTERS", sum(map(len, whole)) - 1)
            assert backfill.sample(store) == whole[::2]
            patch.setattr(backfill, "SAMPLE", 4)
            assert len(backfill.sample(store)) == 4
        store.close()


@EITHER
def test_filters_reranking_and_words_go_with_every_space(opened: sememe.Collection, kind: SpaceKind) -> None:
    hits = opened.search(QUERY, k=5, where={"n": {"$lt": 3}}, route=Route(space=kind))
    assert sorted(hit.document for hit in hits) == ["d0", "d1", "d2"]
    assert hits.matched == 3
    hybrid = opened.search(QUERY, k=5, mode="hybrid", route=Route(space=kind))
    assert {hit.kind for hit in hybrid} == {"rrf"}
    assert {stage.name for hit in hybrid for stage in hit.stages} == {"maxsim" if kind == "late" else "dot", "bm25"}

    class Backwards:
        name = "backwards"

        def rerank(self, query: str, texts: list[str], *, instruction: str | None = None) -> np.ndarray:
            return np.array([int(text.rsplit(" ", 1)[1]) / 100 for text in texts], np.float32)

    best = opened.search(QUERY, k=2, where={"n": {"$lt": 9}}, route=Route(space=kind, rerank=Backwards(), depth=20))
    assert [hit.document for hit in best] == ["d8", "d7"]


def test_the_plan_that_is_printed_is_the_one_that_ran(
    opened: sememe.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, looked_up, _) = opened.search(QUERY, k=3, route=Route(space="sparse")).plan.as_dicts()
    assert (looked_up["step"], looked_up["rows"], looked_up["space"], looked_up["depth"]) == (
        "weights",
        40,
        "sparse",
        3,
    )
    few = opened.search(QUERY, k=3, route=Route(space="late"))
    assert "those of all 40 texts of space 'late'" in str(few.plan)
    opened.add([{"id": f"m{i}", "text": f"{text} again"} for i, text in enumerate(TEXTS * 4)])
    opened.optimize()
    monkeypatch.setattr(late, "DECODED", 1)
    monkeypatch.setattr(late, "SHARE", 34)
    many = opened.search(QUERY, k=3, route=Route(space="late"))
    assert "of the query in 200 texts of space 'late': their centroids name 102" in str(many.plan)
    every = opened.search(QUERY, k=3, route=Route(space="late"), recall=1)
    assert "those of all 200 texts" in str(every.plan)
    assert every[0].id == many[0].id


def test_a_sparse_score_is_explained_by_the_words_that_made_it(opened: sememe.Collection) -> None:
    (hit,) = opened.search(QUERY, k=1, route=Route(space="sparse"))
    found = explain(opened, Query(text=QUERY, k=1, route=Route(space="sparse")), hit.id)
    assert found.rank == 1
    assert found.standings[0].name == "dot"
    assert sum(part.score for part in found.terms) == pytest.approx(hit.score, rel=1e-4)
    assert [part.score for part in found.terms] == sorted((part.score for part in found.terms), reverse=True)
    for part in found.terms:
        assert all(found.text[a:b].lower() == part.term.lower() for a, b in part.spans)
        assert 0 < part.rows <= 40
    assert as_dict(found)["plan"][1]["step"] == "weights"
    other = explain(opened, Query(text=QUERY, k=1, route=Route(space="late")), "d7")
    assert other.standings[0].name == "maxsim"


def test_a_max_sim_is_explained_by_the_tokens_that_made_it(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder]
) -> None:
    opened.add([{"id": "book", "text": f"# The Market\n\nNothing.\n\n## Gardens\n\n{TEXTS[2]}, and İstanbul",
                 "media_type": "text/markdown"}])  # fmt: skip
    encoder = encoders["late"]
    assert isinstance(encoder, PieceEncoder)
    asked = [piece.token for piece in encoder.pieces(QUERY, role="query")]
    hits = opened.search(QUERY, k=50, route=Route(space="late"))
    for hit in hits[::9] + [hit for hit in hits if hit.headings]:
        found = explain(opened, Query(text=QUERY, k=50, route=Route(space="late")), hit.id)
        assert sum(part.score for part in found.tokens) == pytest.approx(hit.score, rel=1e-4)
        assert [part.asked for part in found.tokens] == asked
        pieces = encoder.pieces(embedded_input(hit.headings, hit.text))
        for part in found.tokens:
            assert part.found in {piece.token for piece in pieces}
            if part.span is not None:
                bare = part.found.removeprefix("##").lower()
                assert not bare.isalnum() or not bare.isascii() or bare in hit.text[slice(*part.span)].lower()
        assert not found.terms
        assert not found.heat
    nothing = explain(opened, Query(text=QUERY, route=Route(space="sparse")), "d7")
    assert nothing.tokens == ()


def test_a_token_of_the_headings_has_no_place_in_the_text() -> None:
    products = np.array([[0.9, 0.1, 0.2, 0.3], [0.1, 0.2, 0.8, 0.3], [0, 0.5, 0.1, 0.6]], np.float32)
    pieces = [Piece("up", 0, 2), Piece("and", 3, 6), Piece("in", 7, 9), Piece("[SEP]", 0, 0)]
    parts = token_parts(products, [Piece(name, 0, 1) for name in "abc"], pieces, before=5)
    assert [(part.asked, part.found, part.span) for part in parts] == [
        ("a", "up", None), ("b", "in", (2, 4)), ("c", "[SEP]", None),
    ]  # fmt: skip
    assert [part.score for part in parts] == pytest.approx([0.9, 0.8, 0.6])


def test_tokens_that_are_found_are_shown_in_the_terminal_as_json_and_in_a_page(opened: sememe.Collection) -> None:
    found = explain(opened, Query(text=QUERY, route=Route(space="late")), "d2")
    told = json.loads(json.dumps(as_dict(found)))["tokens"]
    assert len(told) == len(found.tokens)
    assert set(told[0]) == {"asked", "found", "score", "span"}
    hot = {place for span in found.nearest(12) for place in range(*span)}
    marks = [mark for piece, mark in marked(found) for _ in piece]
    assert hot
    assert {place for place, mark in enumerate(marks) if mark == "heat"} == hot
    assert "".join(piece for piece, _ in marked(found)) == found.text
    html = page(found)
    assert html.count("→") == len(found.tokens) + 1
    assert 'class="heat"' in html


@pytest.mark.parametrize("name", ["all.jsonl", "folder", "all.parquet"])
def test_an_export_carries_words_tokens_and_the_codec(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder], tmp_path: Path, name: str
) -> None:
    moving.export(opened, tmp_path / name)
    summary = moving.import_(tmp_path / "copy", moving.read(tmp_path / name))
    assert (summary.documents, summary.warning) == (40, "")
    with reopened(tmp_path / "copy", encoders) as copy:
        assert [report.as_dict() for report in spaces(copy)] == [report.as_dict() for report in spaces(opened)]
        for kind in KINDS:
            assert_exact(copy, encoders[kind], kind)


def test_a_backup_restores_words_and_tokens(
    opened: sememe.Collection, encoders: dict[SpaceKind, Encoder], tmp_path: Path
) -> None:
    backups.backup(opened, tmp_path / "backup", indexes=True)
    backups.restore(tmp_path / "backup", tmp_path / "restored")
    with reopened(tmp_path / "restored", encoders) as restored:
        for kind in KINDS:
            assert index_files(restored, kind)
            assert_exact(restored, encoders[kind], kind)


def test_what_is_forgotten_is_in_no_file_of_words_or_tokens(opened: sememe.Collection) -> None:
    store = SQLiteStore(opened.path)
    with store.snapshot() as snapshot:
        numbers = [chunk.id for chunk in opened.get("d5").chunks]
        blobs = [snapshot.stored(numbers, held)[1][0] for held in snapshot.further()]
    store.close()
    (receipt,) = forgetting.forget(opened, ["d5"])
    for path in opened.path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(blob in content for blob in blobs), path
    assert receipt["pieces_searched"]
    assert "d5" not in {hit.document for hit in opened.search(QUERY, k=50, route=Route(space="late"))}


def test_a_token_takes_at_most_forty_bytes_in_the_database(opened: sememe.Collection) -> None:
    store = SQLiteStore(opened.path)
    with store.snapshot() as snapshot:
        held = snapshot.held("late")
        assert held is not None
        _, blobs = snapshot.stored(snapshot.live_chunks(), held)
        codec = from_bytes(snapshot.codec(held))
    store.close()
    assert codec.bytes <= 40
    assert {len(blob) % codec.bytes for blob in blobs} == {0}


def test_states_of_a_model_for_whole_texts_are_labelled(
    tmp_path: Path, make_model_folder, encoders: dict[SpaceKind, Encoder]
) -> None:
    folder = make_model_folder("states")
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add(TEXTS[:5])
        with pytest.warns(UserWarning, match="not trained for late interaction"):
            add_space(opened, "states", folder, kind="late")
        assert "untrained" in spaces(opened)[0].pooling
        hits = opened.search(QUERY, route=Route(space="states"))
        assert "untrained" in str(hits.plan)
        assert "not trained for late interaction" in hits.notes[0]
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as again:
        # Its answers say so; loading its model another time is no warning, which would be an error here.
        assert again.search(QUERY, route=Route(space="states")).notes == hits.notes
        assert add_space(again, "states").embedded == 0


@EITHER
def test_a_codec_or_a_vector_that_was_changed_is_noticed(opened: sememe.Collection, kind: SpaceKind) -> None:
    store = SQLiteStore(opened.path)
    with store.transaction() as transaction:
        table = "codecs SET body = x'00'" if kind == "late" else "vectors SET vector = x'00'"
        transaction._connection.execute(f"UPDATE {table}")
    store.close()
    findings = [finding for finding in doctor.examine(opened.path) if finding.kind == "trouble"]
    assert "not what was written" in findings[0].text


@pytest.mark.parametrize("name", ["late", "sparse"])
def test_another_model_behind_a_space_is_refused(opened: sememe.Collection, tmp_path: Path, name: SpaceKind) -> None:
    other = shutil.copytree(FOLDERS[name], tmp_path / "moved")
    opened.further.load = lambda model, kind: load_encoder(model, kind=kind)
    assert add_space(opened, name, other).embedded == 0, "the same model in another folder"
    weights = load_file(other / "model.safetensors")
    save_file({key: value[::-1].copy() for key, value in weights.items()}, other / "model.safetensors")
    with pytest.raises(SpaceMismatch, match=f"space '{name}' .* holds the vectors of .*drop this one"):
        add_space(opened, name, shutil.copytree(other, tmp_path / "again"))


def test_what_cannot_become_a_space_of_words_or_tokens_is_refused(
    opened: sememe.Collection, tmp_path: Path, make_model_folder
) -> None:
    opened.further.load = lambda model, kind: load_encoder(model, kind=kind)
    dense = make_model_folder("dense")
    with pytest.raises(ModelError, match="lists no SpladePooling"):
        add_space(opened, "new", dense, kind="sparse")
    with pytest.raises(InputError, match="in space 'late'"):
        add_space(opened, "new", FOLDERS["late"])
    with pytest.raises(InputError, match="is late, and sparse was asked for"):
        add_space(opened, "late", kind="sparse")
    for kind, folder in FOLDERS.items():
        broken = shutil.copytree(folder, tmp_path / f"broken-{kind}")
        weights = load_file(broken / "model.safetensors")
        save_file({key: np.full_like(value, np.nan) for key, value in weights.items()}, broken / "model.safetensors")
        with pytest.raises(ModelError, match="not finite"):
            add_space(opened, "new", broken)
    assert [report.name for report in spaces(opened)] == ["late", "sparse"]
    assert preview_space(opened, "late").inputs == 0


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (Route(space="sparse", funnel="bits:500"), "leave the funnel out"),
        (Route(space="late", calibrated=True), "leave the calibration out"),
        (Route(space="late", expected=0.1), "leave the calibration out"),
    ],
)
def test_what_such_a_space_cannot_answer_is_refused(opened: sememe.Collection, route: Route, said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened.search(QUERY, route=route)
    with pytest.raises(InputError, match="the query is a vector"):
        opened.search(np.ones(opened.further.held(route.space).space.dim, np.float32), route=Route(space=route.space))
    with pytest.raises(InputError, match="use the fusion 'rrf'"):
        opened.search(QUERY, mode="hybrid", route=Route(space=route.space, fusion="evidence"))


def test_a_query_without_a_known_word_finds_nothing_and_says_so(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        opened.add([*TEXTS[:3], "…", "!"])
        assert add_space(opened, "table", HEADS / "sparse-router").complete
        assert opened.search("pump", route=Route(space="table"))
        hits = opened.search("\x01", route=Route(space="table"))
        assert not hits
        assert hits.notes == ("the query has no word that space 'table' knows; say it in other words",)


def test_a_dropped_space_leaves_no_file_and_no_codec(opened: sememe.Collection) -> None:
    for kind in KINDS:
        assert drop_space(opened, kind) == 40
    assert not list(opened.path.glob("space-*"))
    store = SQLiteStore(opened.path)
    with store.snapshot() as snapshot:
        assert not snapshot._rows("SELECT * FROM codecs")
    store.close()


def sememe_(*arguments: str, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "sememe.cli", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


def test_the_command_line_makes_searches_and_explains_both(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for i, text in enumerate(TEXTS[:6]):
        (notes / f"n{i}.txt").write_text(text)
    bert = str(REFERENCE / "families" / "bert")
    sememe_("add", "notes", "--model", bert, cwd=tmp_path)
    for kind, folder in FOLDERS.items():
        planned = json.loads(
            sememe_("space", "add", kind, "--model", str(folder), "--dry-run", "--json", cwd=tmp_path).stdout
        )
        assert planned["inputs"] == 6
        done = json.loads(sememe_("space", "add", kind, "--model", str(folder), "--json", cwd=tmp_path).stdout)
        assert (done["embedded"], done["complete"]) == (6, True)
        hits = sememe_("search", QUERY, "--space", kind, "--json", "-k", "2", cwd=tmp_path).stdout.splitlines()
        assert json.loads(hits[0])["kind"] == ("maxsim" if kind == "late" else "dot")
    assert (
        "The inner product in space 'sparse' is the sum of"
        in sememe_("explain", QUERY, "notes/n1.txt", "--space", "sparse", cwd=tmp_path).stdout
    )
    told = sememe_("explain", QUERY, "notes/n1.txt", "--space", "late", cwd=tmp_path).stdout
    assert "Max-sim in space 'late' is the sum of" in told
    assert told.count(" → ") == 12
    told = sememe_(
        "search", QUERY, "--space", "late", "--space", "@own", "--model", bert, "--plan", cwd=tmp_path
    ).stdout
    assert [line.split()[0] for line in told.splitlines()[:6]] == ["embed", "embed", "maxsim", "scan", "fuse", "fetch"]
    told = sememe_("space", "add", "states", "--kind", "late", "--model", bert, cwd=tmp_path).stderr
    assert told.splitlines() == ["Note: bert: it was not trained for late interaction."]
    told = sememe_("search", QUERY, "--space", "states", cwd=tmp_path).stderr
    assert told.splitlines() == ["Note: bert was not trained for late interaction; its ranking may be poor."]
    assert "the kind is 'odd'" in sememe_("space", "add", "x", "--kind", "odd", cwd=tmp_path, status=1).stderr
