"""The arithmetic against a naive float64 oracle, and the promises that every index inherits from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sememe.types import Ids, Scores, Vectors
from sememe.vectors import (
    SCAN_ROWS,
    Precision,
    best,
    dequantise,
    normalise,
    quantise,
    ranges_of,
    similarity,
    truncate,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
MATRICES = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=FLOATS)
QUARTERS = st.integers(-2, 2).map(lambda i: i / 4)
"""Numbers whose products and sums are exact in float32: few of them, so that ties are many."""


def oracle(
    queries: Vectors, vectors: Vectors, ids: Ids, k: int, dead: npt.NDArray[np.bool_] | None = None
) -> tuple[Ids, Scores]:
    """What `best` must give: all products in float64, sorted by falling score and then by id."""
    alive = np.ones(len(ids), bool) if dead is None else ~dead
    ids, vectors = ids[alive], vectors[alive]
    products = [(vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1) for query in queries]
    found_ids, found_scores = [], []
    for product in products:
        scores = product.astype(np.float32)
        order = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))[:k]
        found_ids.append([int(ids[row]) for row in order])
        found_scores.append([float(scores[row]) for row in order])
    shape = (len(queries), min(k, len(ids)))
    return np.array(found_ids, np.int64).reshape(shape), np.array(found_scores, np.float32).reshape(shape)


@st.composite
def searches(draw: st.DrawFn) -> dict[str, Any]:
    """A search with few dimensions and many ties: ids in no order, some rows dead, k from 1 to beyond the end."""
    rows, dim = draw(st.integers(0, 30)), draw(st.integers(1, 4))
    number = draw(st.integers(1, 3))
    return {
        "queries": draw(arrays(np.float32, (number, dim), elements=QUARTERS)),
        "vectors": draw(arrays(np.float32, (rows, dim), elements=QUARTERS)),
        "ids": np.array(draw(st.lists(st.integers(1, 10**15), min_size=rows, max_size=rows, unique=True)), np.int64),
        "k": draw(st.integers(1, rows + 3)),
        "dead": draw(st.none() | arrays(np.bool_, rows)),
    }


def random_units(rows: int, dim: int, *, seed: int = 0) -> Vectors:
    """Unit vectors (rows, dim)."""
    return normalise(np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32))


def assert_same(found: tuple[Ids, Scores], expected: tuple[Ids, Scores]) -> None:
    """Ids and scores are equal to the last bit, and have the types that travel through the house."""
    assert found[0].dtype == np.int64
    assert found[1].dtype == np.float32
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@given(MATRICES)
def test_a_normalised_row_has_length_one_and_its_old_direction(matrix: Vectors) -> None:
    before = matrix.copy()
    unit = normalise(matrix)
    wide = matrix.astype(np.float64)
    lengths = np.sqrt((wide**2).sum(axis=1, keepdims=True))
    expected = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, expected, atol=1e-6)
    np.testing.assert_array_equal(matrix, before)


def test_a_row_of_zeros_stays_zeros_and_the_others_become_units() -> None:
    unit = normalise(np.array([[0, 0], [3, 4]], np.float32))
    np.testing.assert_array_equal(unit, np.array([[0, 0], [0.6, 0.8]], np.float32))


@pytest.mark.parametrize("scale", [1e30, 1e19, 1e-20, 1e-30])
def test_a_row_is_normalised_however_long_or_short_it_is(scale: float) -> None:
    np.testing.assert_allclose(normalise(np.array([[3, 4]], np.float32) * np.float32(scale)), [[0.6, 0.8]], rtol=1e-6)


def test_a_single_vector_is_normalised_without_becoming_a_matrix() -> None:
    np.testing.assert_array_equal(normalise(np.array([0, 5, 0], np.float32)), [0, 1, 0])


@given(MATRICES)
def test_normalising_twice_changes_nothing_that_matters(matrix: Vectors) -> None:
    once = normalise(matrix)
    np.testing.assert_allclose(normalise(once), once, atol=1e-6)


@given(MATRICES, st.data())
def test_similarity_is_the_cosine_of_every_pair(a: Vectors, data: st.DataObject) -> None:
    b = data.draw(arrays(np.float32, (data.draw(st.integers(1, 5)), a.shape[1]), elements=FLOATS))
    cosines = similarity(a, b)
    assert cosines.shape == (len(a), len(b))
    for i, j in np.ndindex(cosines.shape):
        x, y = a[i].astype(np.float64), b[j].astype(np.float64)
        lengths = np.sqrt((x**2).sum()) * np.sqrt((y**2).sum())
        assert cosines[i, j] == pytest.approx(float(x @ y) / lengths if lengths else 0.0, abs=1e-5)


def test_the_similarity_of_two_single_vectors_is_one_number_in_a_matrix() -> None:
    cosines = similarity(np.array([1, 0], np.float32), np.array([1, 1], np.float32))
    np.testing.assert_allclose(cosines, [[0.5**0.5]], rtol=1e-6)


@given(MATRICES, st.data())
def test_truncating_keeps_the_first_columns_at_unit_length(matrix: Vectors, data: st.DataObject) -> None:
    dim = data.draw(st.integers(1, matrix.shape[1]))
    short = truncate(matrix, dim)
    assert short.shape == (len(matrix), dim)
    assert short.flags.c_contiguous
    np.testing.assert_array_equal(short, normalise(matrix[:, :dim].copy()))


@pytest.mark.parametrize("dim", [0, -1, 4])
def test_truncating_to_more_or_less_than_there_is_says_what_can_be_chosen(dim: int) -> None:
    with pytest.raises(ValueError, match=f"cannot keep {dim} of 3 dimensions; choose 1 to 3"):
        truncate(np.ones((2, 3), np.float32), dim)


@given(searches())
def test_the_best_rows_are_those_of_the_oracle_with_ties_by_ascending_id(search: dict[str, Any]) -> None:
    assert_same(best(**search), oracle(**search))


@given(searches(), st.data())
def test_the_order_of_rows_does_not_matter(search: dict[str, Any], data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(search["ids"])))), np.int64)
    dead = search["dead"]
    shuffled = search | {
        "ids": search["ids"][order],
        "vectors": search["vectors"][order],
        "dead": None if dead is None else dead[order],
    }
    assert_same(best(**shuffled), best(**search))


@given(searches())
def test_a_dead_row_is_as_good_as_one_that_is_not_there(search: dict[str, Any]) -> None:
    dead = np.zeros(len(search["ids"]), bool) if search["dead"] is None else search["dead"]
    without = {"ids": search["ids"][~dead], "vectors": search["vectors"][~dead], "dead": None}
    assert_same(best(**search), best(**(search | without)))


@pytest.mark.parametrize("dim", [3, 16, 384])
def test_a_larger_k_extends_a_smaller_one_to_the_last_bit(dim: int) -> None:
    vectors, queries = random_units(700, dim), random_units(3, dim, seed=1)
    ids = np.arange(700, dtype=np.int64)
    all_ids, all_scores = best(queries, vectors, ids, k=700)
    for k in (1, 2, 10, 699):
        assert_same(best(queries, vectors, ids, k=k), (all_ids[:, :k], all_scores[:, :k]))


def test_vectors_that_differ_by_less_than_float32_rounds_are_ranked_as_float64_ranks_them() -> None:
    rng = np.random.default_rng(2)
    centre = random_units(1, 384)
    vectors = normalise(centre + rng.normal(0, 1e-7, (500, 384)).astype(np.float32))
    queries, ids = random_units(2, 384, seed=3), rng.permutation(500).astype(np.int64)
    assert_same(best(queries, vectors, ids, k=7), oracle(queries, vectors, ids, 7))


def test_equal_vectors_are_all_found_and_ordered_by_id_though_a_query_for_one_would_do() -> None:
    vectors = np.repeat(random_units(1, 8), 50, axis=0)
    ids = np.arange(50, dtype=np.int64)[::-1].copy()
    found, scores = best(vectors[:1], vectors, ids, k=5)
    assert found.tolist() == [[0, 1, 2, 3, 4]]
    assert scores[0] == pytest.approx(1.0)


def test_a_scan_of_several_blocks_finds_what_one_block_would() -> None:
    rows, dim = SCAN_ROWS + 500, 8
    vectors, queries = random_units(rows, dim), random_units(2, dim, seed=1)
    # The same best row on both sides of the border, and two dead ones that would have been better.
    vectors[[SCAN_ROWS - 1, SCAN_ROWS]] = queries[0]
    vectors[[3, rows - 1]] = normalise(queries[1])
    dead = np.zeros(rows, bool)
    dead[[3, rows - 1]] = True
    ids = np.arange(rows, 0, -1, dtype=np.int64)
    found = best(queries, vectors, ids, k=20, dead=dead)
    assert_same(found, oracle(queries, vectors, ids, 20, dead))
    assert found[0][0, :2].tolist() == [ids[SCAN_ROWS], ids[SCAN_ROWS - 1]]
    assert not np.isin(found[0], ids[dead]).any()


def test_more_than_a_block_of_results_is_complete() -> None:
    rows = SCAN_ROWS + 10
    vectors, ids = random_units(rows, 2), np.arange(rows, dtype=np.int64)
    found, scores = best(vectors[:1], vectors, ids, k=rows + 1)
    assert sorted(found[0].tolist()) == ids.tolist()
    assert (np.diff(scores[0]) <= 0).all()


@pytest.mark.parametrize(
    ("rows", "dead", "shape"),
    [(0, None, (2, 0)), (3, [True, True, True], (2, 0)), (3, [True, False, True], (2, 1)), (3, None, (2, 3))],
)
def test_fewer_rows_than_asked_for_give_fewer_results(
    rows: int, dead: list[bool] | None, shape: tuple[int, int]
) -> None:
    found, scores = best(
        random_units(2, 4), random_units(rows, 4, seed=1), np.arange(rows, dtype=np.int64), k=5,
        dead=None if dead is None else np.array(dead),
    )  # fmt: skip
    assert found.shape == scores.shape == shape


def test_no_queries_give_no_results() -> None:
    found, scores = best(np.empty((0, 4), np.float32), random_units(3, 4), np.arange(3, dtype=np.int64), k=2)
    assert found.shape == scores.shape == (0, 2)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_vectors_are_quantised_as_sentence_transformers_does(precision: Precision) -> None:
    with np.load(Path(__file__).parent / "reference" / "quantised.npz") as stored:
        vectors, ranges, expected = stored["vectors"], ranges_of(stored["calibration"]), stored[precision]
    codes = quantise(vectors, precision, ranges=ranges)
    assert codes.dtype == expected.dtype
    np.testing.assert_array_equal(codes, expected)
    restored = dequantise(codes, precision, dim=20, ranges=ranges)
    if "binary" in precision:
        np.testing.assert_array_equal(restored > 0, vectors > 0)
    else:
        inside = np.clip(vectors, ranges[0], ranges[1])
        varied = np.ptp(ranges, axis=0) > 0
        assert (np.abs(restored - inside) <= np.ptp(ranges, axis=0) / 255)[:, varied].all()


def test_half_precision_needs_no_calibration_and_eight_bits_do() -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
    np.testing.assert_allclose(dequantise(quantise(vectors, "float16"), "float16", dim=9), vectors, rtol=1e-3)
    assert quantise(vectors, "ubinary").shape == (5, 2)
    with pytest.raises(ValueError, match="int8 needs ranges"):
        quantise(vectors, "int8")
    with pytest.raises(ValueError, match="uint8 needs the ranges"):
        dequantise(np.zeros((5, 9), np.uint8), "uint8", dim=9)
