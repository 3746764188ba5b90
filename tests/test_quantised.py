"""Eight bits: nearly the vectors of the floats, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sememe
from sememe.errors import InputError, ModelError
from sememe.models import load_late, quantised
from sememe.models.encoder import TextEncoder
from sememe.settings import Settings, from_environment
from sememe.space import CANARY_COSINE, CANARY_TEXTS, check

TEXTS = ["A cat sat.", "", "word " * 400, "Ünïcödé ☃", "The valve of pump seven leaks; close it before you go.", "x"]


@pytest.fixture(scope="module")
def whole() -> TextEncoder:
    model = sememe.load_model(precision="int8")
    assert isinstance(model, TextEncoder)
    return model


def test_whole_numbers_make_nearly_the_vectors_of_floats(model: TextEncoder, whole: TextEncoder) -> None:
    assert whole.precision == "int8"
    assert (whole.encode(TEXTS) * model.encode(TEXTS)).sum(1).min() > 0.98
    assert np.abs(whole.encode(TEXTS) - model.encode(TEXTS)).max() > 1e-4


def test_known_texts_are_near_enough_to_share_a_space(model: TextEncoder, whole: TextEncoder) -> None:
    canaries = model.encode(list(CANARY_TEXTS))
    assert (whole.encode(list(CANARY_TEXTS)) * canaries).sum(1).min() >= CANARY_COSINE
    check(model.space, canaries, whole, where="here")


def test_the_tokens_of_a_text_come_out_of_whole_numbers_too() -> None:
    there = from_environment()
    with pytest.warns(UserWarning, match="not trained for late interaction"):
        ours, floats = (
            load_late(settings=replace(there, precision=precision)).encode_tokens(["a dripping tap"])[0]
            for precision in ("int8", "f32")
        )
    assert ours.shape == floats.shape
    assert (ours * floats).sum(1).mean() >= 0.98


def test_the_same_model_comes_out_of_the_cache(whole: TextEncoder) -> None:
    again = sememe.load_model(precision="int8").encode(TEXTS)
    assert again == pytest.approx(whole.encode(TEXTS), abs=1e-5)


def test_a_model_that_would_make_other_vectors_is_refused(
    make_model_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "LEVELS", 4)
    model = sememe.load_model(make_model_folder("coarse"), settings=Settings(home=tmp_path), precision="int8")
    with pytest.raises(ModelError, match=r"in int8 makes other vectors than in floats: .* use precision f32 or auto"):
        model.encode("tea")


def test_onnxruntime_refuses_what_it_does_not_compute_in(make_model_folder: Callable[..., Path]) -> None:
    settings = Settings(home=from_environment().home, engine="onnxruntime", precision="int8")
    with pytest.raises(ModelError, match="precision int8 was asked for, but onnxruntime computes in f32"):
        sememe.load_model(make_model_folder("onnx"), settings=settings).encode("tea")


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(InputError, match="precision is 'int4'; use one of auto, f32, bf16, int8"):
        sememe.load_model(precision="int4")  # type: ignore[arg-type]
