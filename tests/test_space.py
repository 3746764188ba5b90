"""A space is a contract: its id depends on every field and on nothing else, and vectors of two never meet."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEmbedder
from hypothesis import given
from hypothesis import strategies as st

import sememe
from sememe.errors import SpaceMismatch
from sememe.space import CANARY_TEXTS, Space, canaries_agree, check, differences
from sememe.types import Embedded, Role, Vectors

SPACE = Space(
    model="all-MiniLM-L6-v2", digest="ab" * 32, dim=384, pooling="mean", normalised=True, metric="cosine",
    max_tokens=256, prompts=(("query", "query: "), ("document", "passage: ")),
)  # fmt: skip
CHANGED = {
    "model": "other-model",
    "digest": "cd" * 32,
    "dim": 128,
    "pooling": "cls",
    "normalised": False,
    "metric": "dot",
    "max_tokens": 512,
    "prompts": (("query", "query: "), ("document", "text: ")),
    "modalities": ("text", "image"),
    "codec": "cd" * 8,
}
TEXT = st.text(max_size=20)
SPACES = st.builds(
    Space, model=TEXT, digest=TEXT, dim=st.integers(1, 4096), pooling=TEXT, normalised=st.booleans(), metric=TEXT,
    max_tokens=st.integers(1, 10**6), prompts=st.lists(st.tuples(TEXT, TEXT)).map(tuple),
    modalities=st.lists(TEXT).map(tuple), codec=TEXT,
)  # fmt: skip


class Export(FakeEmbedder):
    """The same model in another file: its vectors are those of the fake, turned by `drift` of their length."""

    def __init__(self, *, drift: float = 0.0, digest: str = "e" * 64, model: str = "fake") -> None:
        super().__init__(model=model)
        self.space = replace(self.space, digest=digest)
        self._drift = drift

    def embed(self, texts: list[str], *, role: Role = "document", progress: object = None) -> Embedded:  # type: ignore[override]
        made = FakeEmbedder().embed(texts, role=role)
        vectors = made.vectors + self._drift * np.roll(made.vectors, 1, axis=1)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return replace(made, vectors=vectors.astype(np.float32))


def canaries_of(embedder: FakeEmbedder) -> Vectors:
    """What a collection made with the embedder keeps."""
    return embedder.embed(CANARY_TEXTS).vectors


def refusal(stored: Space, offered: Space) -> str:
    """The message with which an embedder of space `offered` is refused."""
    embedder = FakeEmbedder(dim=offered.dim)
    embedder.space = offered
    with pytest.raises(SpaceMismatch) as caught:
        check(stored, canaries_of(FakeEmbedder(dim=stored.dim, digest="f" * 64)), embedder, where="notes/.sememe")
    return str(caught.value)


def test_the_id_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert SPACE.id == "1aa2d7d0f99e3145"


def test_the_id_is_the_same_in_another_process_with_another_hash_seed() -> None:
    code = f"from sememe.space import Space; print(Space.from_json({SPACE.to_json()!r}).id)"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == SPACE.id


@given(SPACES)
def test_a_space_comes_back_from_json_with_the_same_id(space: Space) -> None:
    again = Space.from_json(space.to_json())
    assert again == space
    assert again.id == space.id


@given(SPACES, SPACES)
def test_two_spaces_have_one_id_exactly_when_they_are_equal(a: Space, b: Space) -> None:
    assert (a.id == b.id) == (a == b)


def test_the_list_of_changes_covers_every_field() -> None:
    assert set(CHANGED) == {field.name for field in fields(Space)}


@pytest.mark.parametrize("name", CHANGED)
def test_every_field_changes_the_id_and_is_named_with_both_values_and_the_next_step(name: str) -> None:
    offered = replace(SPACE, **{name: CHANGED[name]})
    assert offered.id != SPACE.id
    message = refusal(SPACE, offered)
    assert f"{name} {shown(getattr(SPACE, name))} against {shown(CHANGED[name])}" in message
    assert SPACE.id in message
    assert offered.id in message
    assert "notes/.sememe" in message
    assert f"--model {SPACE.model}" in message
    assert len(differences(SPACE, offered)) == 1


def test_several_differing_fields_are_all_named() -> None:
    offered = replace(SPACE, **CHANGED)
    message = refusal(SPACE, offered)
    assert [name for name in CHANGED if f"{name} " not in message] == []
    assert len(differences(SPACE, offered)) == len(CHANGED)


def shown(value: object) -> str:
    """A value as the message shows it: a digest by its beginning."""
    if isinstance(value, str):
        return f"{value[:12]}…" if len(value) == 64 else value or "(none)"
    return repr(value)


def test_equal_spaces_meet_without_a_look_at_the_canaries() -> None:
    embedder = FakeEmbedder()
    check(embedder.space, np.zeros((3, 16), np.float32), embedder, where="here")
    assert embedder.calls == 0


@pytest.mark.parametrize("drift", [0.0, 1e-2])
@pytest.mark.parametrize("model", ["fake", "the-same-in-another-file"])
def test_another_file_of_the_same_model_is_admitted(drift: float, model: str) -> None:
    stored = FakeEmbedder()
    check(stored.space, canaries_of(stored), Export(drift=drift, model=model), where="here")


@pytest.mark.parametrize("drift", [0.2, -1.0])
def test_another_file_that_gives_other_vectors_is_refused(drift: float) -> None:
    stored = FakeEmbedder()
    with pytest.raises(SpaceMismatch, match="digest 000000000000… against eeeeeeeeeeee…"):
        check(stored.space, canaries_of(stored), Export(drift=drift), where="here")


@pytest.mark.parametrize(
    "change",
    [{"prompts": (("document", "passage: "),)}, {"pooling": "cls"}, {"max_tokens": 128}, {"metric": "dot"}],
    ids=lambda change: next(iter(change)),
)
def test_equal_canaries_do_not_excuse_another_contract(change: dict[str, object]) -> None:
    stored, offered = FakeEmbedder(), FakeEmbedder()
    offered.space = replace(offered.space, **change)  # type: ignore[arg-type]
    with pytest.raises(SpaceMismatch, match=next(iter(change))):
        check(stored.space, canaries_of(stored), offered, where="here")


def test_canaries_of_another_dimension_do_not_agree() -> None:
    assert not canaries_agree(canaries_of(FakeEmbedder(dim=8)), FakeEmbedder(dim=16))


def test_canaries_of_a_model_that_gives_no_numbers_do_not_agree() -> None:
    assert not canaries_agree(np.full((3, 16), np.nan, np.float32), FakeEmbedder())


def test_canaries_that_are_zeros_do_not_agree() -> None:
    assert not canaries_agree(np.zeros((3, 16), np.float32), FakeEmbedder())


def test_a_collection_goes_on_with_another_file_of_the_same_model_and_embeds_nothing_twice(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.add([{"id": "old", "text": "the first text"}])
    export = Export()
    with sememe.open(tmp_path / "c", model=export) as collection:
        collection.add([{"id": "new", "text": "the second text"}, {"id": "copy", "text": "the first text"}])
        assert "the first text" not in export.texts
        assert [hit.document for hit in collection.search("the second text", k=1)] == ["new"]
        assert {hit.document for hit in collection.search("the first text", k=2)} == {"old", "copy"}
        assert collection.space == FakeEmbedder().space


def test_a_collection_refuses_a_model_of_another_space_and_stays_as_it_was(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        collection.add(["the first text"])
    with pytest.raises(SpaceMismatch, match="dim 16 against 8"):
        sememe.open(tmp_path / "c", model=FakeEmbedder(dim=8))
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as collection:
        assert len(collection.search("the first text")) == 1
