"""Texts that are longer than a model reads: in windows, or as chunks that are embedded together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sememe
from sememe.chunking import CHUNKER, WHOLE
from sememe.errors import InputError, ModelError
from sememe.keeping.forgetting import forget
from sememe.models.encoder import TextEncoder
from sememe.models.long import contexts, windows
from sememe.settings import EngineName, from_environment
from sememe.types import Ids, Long

FAMILIES = Path(__file__).parent / "reference" / "families"
F32 = replace(from_environment(), precision="f32")
STORY = (
    " ".join(f"The engineers replaced valve {i} and wrote its pressure down." for i in range(12)) + " They drank tea."
)


class Words:
    """Counts words."""

    additive = True

    def count(self, text: str) -> int:
        return len(text.split())

    def offsets(self, text: str) -> Ids:
        found, end = [], 0
        for word in text.split():
            start = text.index(word, end)
            end = start + len(word)
            found.append((start, end))
        return np.array(found, dtype=np.int64).reshape(-1, 2)


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def model(request: pytest.FixtureRequest) -> TextEncoder:
    engine: EngineName = request.param
    return sememe.load_model(FAMILIES / "bert", settings=replace(F32, engine=engine))


@given(st.lists(st.text("abc", min_size=1, max_size=5)).map(" ".join), st.integers(8, 40))
@settings(deadline=None, max_examples=60)
def test_windows_hold_no_more_than_the_room_and_leave_nothing_out(text: str, room: int) -> None:
    spans = list(windows(text, Words(), room))
    assert all(Words().count(text[start:end]) <= room for start, end in spans)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    for (start, end), (following, _) in itertools.pairwise(spans):
        assert start < following <= end


def test_a_long_text_in_windows_is_read_to_its_end(model: TextEncoder) -> None:
    other = STORY.replace("drank tea", "were all asleep")
    assert (model.encode(STORY) == model.encode(other)).all()
    assert np.abs(model.encode(STORY, long="windows") - model.encode(other, long="windows")).max() > 1e-3
    assert np.linalg.norm(model.encode(STORY, long="windows")) == pytest.approx(1, abs=1e-5)
    assert model.encode("short", long="windows") == pytest.approx(model.encode("short"), abs=1e-5)
    assert model.encode([], long="windows").shape == (0, 32)


def test_a_chunk_alone_is_the_mean_of_its_own_tokens_and_others_change_it(model: TextEncoder) -> None:
    alone = model.encode_together(["It has many people."])[0]
    after = model.encode_together(["Berlin is a city.", "It has many people."])[1]
    assert np.linalg.norm(alone) == pytest.approx(1, abs=1e-5)
    assert np.abs(alone - after).max() > 1e-3
    assert model.encode_together([]).shape == (0, 32)


def test_a_document_beyond_the_limit_is_divided_between_chunks(model: TextEncoder) -> None:
    chunks = [f"chunk number {i} of a long document" for i in range(12)]
    whole = model.encode_together(chunks)
    assert whole.shape == (12, 32)
    assert np.isfinite(whole).all()
    assert model.encode_together(["word " * 500]).shape == (1, 32)


def test_models_that_pool_otherwise_cannot_embed_together_and_say_so() -> None:
    for name, how in (("modernbert", "pools by cls"), ("static", "runs as static")):
        with pytest.raises(ModelError, match=how):
            sememe.load_model(FAMILIES / name, settings=F32).encode_together(["a"])
    with pytest.raises(InputError, match="long is 'late'; use truncate or windows"):
        sememe.load_model(FAMILIES / "bert", settings=F32).encode("a", long="late")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 20))
def test_contexts_keep_order_and_stay_within_the_limit(counts: Sequence[int], most: int) -> None:
    inputs = [str(i) for i in range(len(counts))]
    found = contexts(inputs, counts, most)
    assert list(found) == inputs
    assert all(one.among[one.place] == one for one in found)
    for one in found:
        assert len(one.among) == 1 or sum(counts[int(text)] for text in one.among) <= most


@pytest.mark.parametrize(("chunk", "recipe"), [("windows", f"{WHOLE}+windows"), ("late", f"{CHUNKER}+late")])
def test_the_way_of_long_texts_is_kept_in_the_recipe_and_a_change_embeds_again(
    tmp_path: Path, chunk: Long, recipe: str
) -> None:
    with sememe.open(tmp_path / "c", model=FAMILIES / "bert") as collection:
        record = {"id": "story", "text": STORY}
        assert collection.add(record, chunk=False).truncated == 1
        made = collection.add(record, chunk=chunk)
        assert (made.documents, made.truncated) == (1, 0)
        assert made.embedded == made.chunks
        assert collection.add(record, chunk=chunk).unchanged == 1
        assert collection.get("story").document.recipe.chunker == recipe
        assert collection.search("tea", k=1)[0].document == "story"


def test_a_part_of_what_was_embedded_together_cannot_be_forgotten_alone(tmp_path: Path) -> None:
    with sememe.open(tmp_path / "c", model=FAMILIES / "bert") as collection:
        collection.add({"id": "story", "text": STORY}, chunk="late")
        with pytest.raises(InputError, match="forget the whole document"):
            forget(collection, [collection.search("tea", k=1)[0].id])
