"""Texts of many vectors and texts of weighted words, in indexes, against the arithmetic written out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_families import REFERENCE

from sememe.errors import InputError, StoreDamaged
from sememe.index import late, sparse
from sememe.index.tokens import from_bytes, from_stored, pooled, to_bytes, to_stored, train
from sememe.types import SparseVector
from sememe.vectors import maxsim, normalise

DIM = 128


def clustered(rng: np.random.Generator, count: int, dim: int = DIM) -> np.ndarray:
    """Unit vectors around a few centres, as token vectors lie."""
    centres = np.random.default_rng(5).standard_normal((40, dim))
    return normalise((centres[rng.integers(0, 40, count)] + 0.6 * rng.standard_normal((count, dim))).astype(np.float32))


@pytest.fixture(scope="module")
def texts() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [clustered(rng, int(count)) for count in rng.integers(5, 80, 200)]


@pytest.fixture(scope="module")
def queries(texts: list[np.ndarray]) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [normalise(text[:12] + 0.05 * clustered(rng, len(text[:12]))) for text in texts[::20]]


@pytest.fixture(scope="module")
def index(texts: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> late.LateIndex:
    return late.build(tmp_path_factory.mktemp("late"), np.arange(len(texts)) * 3 + 7, texts)


def naive(query: np.ndarray, texts: list[np.ndarray]) -> np.ndarray:
    return np.array([(query @ text.T).max(1).sum() if len(text) else -np.inf for text in texts])


# --- late interaction


def test_max_sim_is_the_sum_of_the_best_products(texts: list[np.ndarray], queries: list[np.ndarray]) -> None:
    some = [*texts[:5], np.zeros((0, DIM), np.float32), *texts[5:9], np.zeros((0, DIM), np.float32)]
    starts = np.cumsum([0, *(len(text) for text in some)])
    found = maxsim(queries[0], np.concatenate(some), starts)
    np.testing.assert_allclose(found, naive(queries[0], some), rtol=1e-5)


def test_tokens_take_at_most_forty_bytes_and_their_products_stay(texts: list[np.ndarray]) -> None:
    tokens = np.concatenate(texts)
    codec = train(tokens)
    nearest, packed = codec.encode(tokens)
    assert codec.bytes == nearest.itemsize + packed.shape[1] <= 40
    decoded = codec.decode(nearest, packed) @ codec.axes.T
    cosines = np.einsum("nd,nd->n", normalise(decoded), tokens)
    assert cosines.mean() > 0.95


def test_wide_tokens_take_forty_bytes_too() -> None:
    tokens = clustered(np.random.default_rng(3), 3000, 384)
    codec = train(tokens)
    assert codec.bytes <= 40
    nearest, packed = codec.encode(tokens)
    assert (normalise(codec.decode(nearest, packed) @ codec.axes.T) * tokens).sum(1).mean() > 0.8


@pytest.mark.parametrize("dim", [30, DIM, 130, 384])
def test_decoded_tokens_are_of_unit_length_and_near_what_they_were(dim: int) -> None:
    tokens = clustered(np.random.default_rng(4), 3_000, dim)
    codec = train(tokens)
    decoded = codec.decode(*codec.encode(tokens))
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, rtol=1e-5)
    assert (decoded * (tokens @ codec.axes)).sum(1).mean() > 0.9
    assert codec.bytes <= 36


@pytest.mark.parametrize("dim", [3, DIM, 384])
def test_a_codec_is_stored_in_eight_bits_a_number_and_read_as_what_it_was(dim: int) -> None:
    codec = train(clustered(np.random.default_rng(6), 900, dim))
    data = to_bytes(codec)
    read = from_bytes(data)
    for name in ("centroids", "books", "axes"):
        np.testing.assert_array_equal(getattr(read, name), getattr(codec, name))
    assert len(data) < codec.centroids.size + codec.books.size + codec.axes.size + 800


@pytest.mark.parametrize("levels", [(-0.03, -0.01, 0.01, 0.03), (-0.02, 0.02)])
def test_codes_of_an_earlier_codec_are_read_as_it_wrote_them(levels: tuple[float, ...]) -> None:
    """Centroids, bounds, levels and axes as float32: four levels of two bits, or two of one, from the low bits on."""
    rng, bits = np.random.default_rng(7), len(levels).bit_length() - 1
    arrays = [normalise(rng.standard_normal((5, 16))), np.zeros(len(levels) - 1), np.array(levels), np.eye(16)]
    written = io.BytesIO()
    for array in arrays:
        np.save(written, array.astype("<f4"))
    codec = from_bytes(written.getvalue())
    chosen = rng.integers(0, len(levels), (7, 16))
    packed = (chosen.reshape(7, -1, 8 // bits) << np.arange(0, 8, bits)).sum(2).astype(np.uint8)
    nearest = rng.integers(0, 5, 7).astype("<u2")
    expected = normalise((arrays[0][nearest] + np.array(levels)[chosen]).astype(np.float32))
    assert codec.bytes == 2 + packed.shape[1]
    stored = nearest.tobytes() + packed.tobytes()
    np.testing.assert_allclose(codec.decode(*from_stored(codec, stored)), expected, atol=1e-6)
    # And what is written by it from now on is near what it was.
    tokens = normalise(arrays[0].astype(np.float32))
    read = codec.decode(*from_stored(codec, to_stored(codec, tokens)))
    assert (read * tokens).sum(1).min() > 0.9


def test_parts_of_more_bytes_than_tokens_are_any_of_them() -> None:
    """A codec of few tokens decodes every byte: it may be told to, by a damaged file."""
    codec = train(clustered(np.random.default_rng(8), 5, 24))
    decoded = codec.decode(np.zeros(3, np.uint16), np.full((3, codec.bytes - 2), 255, np.uint8))
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, rtol=1e-5)


def test_a_token_of_zeros_is_decoded_without_a_number_that_is_none() -> None:
    codec = train(np.zeros((5, 4), np.float32))
    np.testing.assert_array_equal(codec.decode(*codec.encode(np.zeros((2, 4), np.float32))), np.zeros((2, 4)))


def test_a_search_orders_by_the_max_sim_of_what_is_stored(
    index: late.LateIndex, texts: list[np.ndarray], queries: list[np.ndarray]
) -> None:
    ids = np.arange(len(texts)) * 3 + 7
    codec = train(np.concatenate(texts))
    decoded = [codec.decode(*codec.encode(text)) @ codec.axes.T for text in texts]
    for query in queries:
        exact = naive(query, decoded)
        order = np.lexsort((ids, -exact))[:10]
        found, scores = index.search(query, 10, candidates=len(texts))
        np.testing.assert_array_equal(found, ids[order])
        np.testing.assert_allclose(scores, exact[order], rtol=1e-4)


def test_few_candidates_hold_what_a_whole_scan_finds(
    index: late.LateIndex, texts: list[np.ndarray], queries: list[np.ndarray]
) -> None:
    whole = [set(index.search(query, 10, candidates=len(texts))[0]) for query in queries]
    some = [set(index.search(query, 10, candidates=60)[0]) for query in queries]
    assert sum(len(a & b) for a, b in zip(whole, some, strict=True)) / (10 * len(queries)) > 0.9
    assert [index.search(query, 1, candidates=5)[0][0] for query in queries] == list(range(7, 3 * len(texts), 60))


def test_a_folder_takes_what_it_says_on_disk(tmp_path: Path, texts: list[np.ndarray]) -> None:
    index = late.build(tmp_path / "late", np.arange(30), texts[:30])
    tokens = sum(map(len, texts[:30]))
    parts = {path.stem: path.stat().st_size for path in (tmp_path / "late").iterdir()}
    assert index.bytes == sum(parts.values())
    assert parts["nearest"] + parts["packed"] < 34 * tokens + 300
    assert parts["ids"] + parts["starts"] + parts["dead"] < 17 * 30 + 400
    centroids = 4 * tokens**0.5
    assert parts["centroids"] + parts["books"] + parts["axes"] < DIM * (centroids + 256 + DIM) + 400


def test_centroids_name_the_texts_that_a_scan_over_all_of_them_names(
    texts: list[np.ndarray], queries: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = train(np.concatenate(texts))
    starts = np.cumsum([0, *map(len, texts)])
    codes = late.Codes(codec, starts, *codec.encode(np.concatenate(texts)))
    monkeypatch.setattr(late, "PROBES", len(codec.centroids))
    lists, among = late.Lists(codes), np.setdiff1d(np.arange(len(texts)), [0, 40, 41])
    for query in queries:
        coarse = maxsim(query @ codec.axes, codec.centroids[codes.nearest], starts)[among]
        named = lists.nearest(query, among, 30)
        assert set(named) <= set(among)
        # Scores may be equal: a text that is left out is no nearer than any that is named.
        left = coarse[~np.isin(among, named)]
        assert len(named) == 30
        assert coarse[np.isin(among, named)].min() >= left.max() - 1e-4


def test_more_candidates_of_short_texts_are_compared_than_of_long_ones(texts: list[np.ndarray]) -> None:
    codec = train(np.concatenate(texts))

    def codes(length: int) -> late.Codes:
        tokens = np.zeros(600, np.uint16)
        packed = np.zeros((600, codec.bytes - 2), np.uint8)
        return late.Codes(codec, np.arange(0, 601, length), tokens, packed)

    assert codes(10).candidates(10) == 10 * codes(100).candidates(10) == late.DECODED // 10
    assert codes(300).candidates(1000) == 5000
    assert late.Codes(codec, np.zeros(1, np.int64), np.zeros(0, np.uint16), codes(10).packed[:0]).candidates(1) > 0


def test_deleted_texts_and_those_without_a_token_are_never_found(
    tmp_path: Path, texts: list[np.ndarray], queries: list[np.ndarray]
) -> None:
    some = [*texts[:30], np.zeros((0, DIM), np.float32)]
    index = late.build(tmp_path / "late", np.arange(31), some)
    assert index.search(queries[0], 100)[0].tolist().count(30) == 0
    index.delete(np.array([0, 5, 999]))
    for opened in (index, late.LateIndex(tmp_path / "late")):
        assert len(opened) == 29
        assert not {0, 5} & set(opened.search(queries[0], 100)[0].tolist())
    index.delete(np.arange(31))
    assert index.search(queries[0], 3)[0].shape == (0,)


def test_queries_of_other_dimensions_and_damaged_files_are_told(tmp_path: Path, texts: list[np.ndarray]) -> None:
    index = late.build(tmp_path / "late", np.arange(3), texts[:3])
    with pytest.raises(InputError, match="128 dimensions"):
        index.search(np.zeros((2, 5), np.float32), 1)
    with pytest.raises(InputError, match="no token to calibrate"):
        late.build(tmp_path / "none", np.zeros(0, np.int64), [])
    whole = (tmp_path / "late" / "packed.npy").read_bytes()
    (tmp_path / "late" / "packed.npy").write_bytes(whole[:-50])
    with pytest.raises(StoreDamaged, match=r"packed\.npy"):
        late.LateIndex(tmp_path / "late")


def test_pooling_merges_as_the_reference_does() -> None:
    with np.load(REFERENCE / "heads.npz") as stored:
        whole, lengths = stored["late-attended:document"], stored["late-attended:document:lengths"]
        expected, counts = stored["pooled"], stored["pooled:lengths"]
    parts = [pooled(rows, 2.0) for rows in np.split(whole, np.cumsum(lengths)[:-1])]
    assert [len(part) for part in parts] == counts.tolist()
    # The order of clusters is nobody's promise.
    for part, rows in zip(parts, np.split(expected, np.cumsum(counts)[:-1]), strict=True):
        assert (part @ rows.T).max(1).min() > 1 - 1e-5


def test_pooling_by_one_changes_nothing(texts: list[np.ndarray]) -> None:
    np.testing.assert_allclose(pooled(texts[0], 1.0), texts[0], atol=1e-6)
    assert len(pooled(texts[0][:2], 4.0)) == 2


# --- sparse

weights = st.dictionaries(st.integers(0, 30), st.floats(0.125, 8, width=32), max_size=8)


def vector(entries: dict[int, float]) -> SparseVector:
    words = sorted(entries)
    return SparseVector(np.array(words, np.int32), np.array([entries[word] for word in words], np.float32))


def dense(one: SparseVector) -> np.ndarray:
    row = np.zeros(31)
    row[one.indices] = one.values
    return row


@settings(max_examples=40, deadline=None)
@given(st.lists(weights, max_size=12), weights, st.integers(1, 15), st.sets(st.integers(0, 12)))
def test_an_inverted_index_answers_as_the_dot_product_does(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[int, float]], asked: dict[int, float], k: int,
    deleted: set[int],
) -> None:  # fmt: skip
    vectors, query = [vector(row) for row in rows], vector(asked)
    folder = tmp_path_factory.mktemp("sparse")
    sparse.build(folder, np.arange(len(rows)), vectors).delete(np.array(sorted(deleted), np.int64))
    index = sparse.SparseIndex(folder)
    products = np.array([dense(one) @ dense(query) for one in vectors])
    order = [i for i in np.lexsort((np.arange(len(rows)), -products)) if products[i] > 0 and i not in deleted][:k]
    found, scores = index.search(query, k)
    assert len(index) == len(rows) - len(deleted & set(range(len(rows))))
    np.testing.assert_allclose(scores, products[order], rtol=1e-6)
    np.testing.assert_allclose(products[found], products[order], rtol=1e-6)


def test_a_hit_is_explained_by_the_words_that_it_shares() -> None:
    query, text = vector({1: 2.0, 4: 1.0, 9: 5.0}), vector({1: 0.5, 9: 3.0, 11: 7.0})
    assert sparse.shared(query, text) == [(9, 15.0), (1, 1.0)]
    assert sparse.shared(query, vector({})) == []
