"""What every representation is worth and costs: nDCG@10, time a query, bytes a document, in one table.

Usage: python benchmarks/quality.py [--quick] [--corpora NAME...] [--ways BEGINNING...] [--cache FOLDER]

Three corpora (see corpora) and the queries of the half that nothing was ever chosen on. All ways look through the same
chunks, by what serves a search: a collection's own `search`, and the indexes of words and tokens. A document stands
where its best chunk stands. Every query goes the ways in turns, the first of them another one each time, so that what
else runs on the machine slows all down alike. Prints the table with 95 % intervals (bootstrap over queries) and the
paired differences from dense vectors compared exactly; the last line is JSON. What was made is kept in the cache.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import corpora
import cross_encoder
import harness
import numpy as np
from fusion import MMR, QUERIES, SIZES, collection_of, folder_of

import sememe
from sememe import spaces
from sememe.evaluate.comparing import bootstrap
from sememe.evaluate.metrics import measure
from sememe.index import late, sparse
from sememe.index.exact import in_memory
from sememe.models import load_late, load_sparse
from sememe.search.query import Query, Route
from sememe.search.shape import Shape
from sememe.store import SQLiteStore
from sememe.types import Ids, Vectors, embedded_input
from sememe.vectors import dequantise, maxsim, normalise, quantise, ranges_of

NDCG = measure("ndcg@10")
TOKEN_FILES = ("tokens.npy", "tokens.starts.npy", "codes")
"""Beside a collection: the vectors of tokens, where each chunk's begin, and the index over them."""

K, CHUNKS = 10, 30
"""Documents that are judged, and chunks that are asked for to have so many."""

KEPT = 100
"""Candidates that a funnel leaves for whole vectors."""

WORDS = "words"
"""The space of learnt words in the collection."""

DENSE, EVIDENCE = "dense, 384 dimensions", "both, by evidence"
Encode = Callable[[str], object]


@dataclass(frozen=True)
class Way:
    """A row of the table: from a text to keys of documents, that of the best chunk first; each may come again.

    `encoder` names what makes something of the text first, "" when nothing does; its time is told apart. Bytes are
    those of a document: `scanned` by every query (0 where that depends on its words), and `kept` for this way alone.
    """

    ask: Callable[[str], list[str]]
    encoder: str
    scanned: float
    kept: float


@dataclass(frozen=True)
class Stored:
    """The chunks of a collection that everything is made of: ids (n,), their documents, and what is embedded."""

    folder: Path
    opened: sememe.Collection
    ids: Ids
    keys: dict[int, str]
    inputs: list[str]

    def documents(self, chunks: Ids) -> list[str]:
        """The documents of some chunks, in their order."""
        return [self.keys[chunk] for chunk in chunks.tolist()]

    @property
    def ratio(self) -> float:
        """Chunks a document."""
        return len(self.ids) / len(set(self.keys.values()))

    def size(self, pattern: str) -> float:
        """Bytes a document of some of the collection's files."""
        found = [file for path in self.folder.glob(pattern) for file in (path, *path.rglob("*")) if file.is_file()]
        return sum(file.stat().st_size for file in found) * self.ratio / len(self.ids)


def main() -> None:
    parser = argparse.ArgumentParser(description="Every representation on three held-out sets.")
    parser.add_argument("--quick", action="store_true", help="300 documents and about 50 queries a corpus")
    parser.add_argument("--corpora", nargs="+", choices=sorted(SIZES), default=list(SIZES))
    parser.add_argument("--ways", nargs="+", default=[""], help="record only those whose names begin so")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    chosen = parser.parse_args()
    # A corpus or a way that was left out keeps its figures.
    kept = harness.RESULTS / "quality.json"
    earlier = json.loads(kept.read_text(encoding="utf-8"))["corpora"] if kept.exists() else {}
    result = {}
    reranker = cross_encoder.trained(chosen.cache, quick=chosen.quick)
    for name in chosen.corpora:
        size = (300, 100) if chosen.quick else (SIZES[name], QUERIES)
        corpus = corpora.labelled(name, chosen.cache, *size).part("held-out")
        result[name] = measured(corpus, chosen.cache, reranker, tuple(chosen.ways))
        show(name, result[name])
        fresh = {way: f for way, f in result[name]["ways"].items() if way.startswith(tuple(chosen.ways))}
        result[name]["ways"] = earlier.get(name, {"ways": {}})["ways"] | fresh
    harness.finish("quality", {"corpora": {**earlier, **result}}, keep=not chosen.quick)


def measured(corpus: corpora.Labelled, cache: Path, reranker: Path | None, named: tuple[str, ...]) -> dict[str, Any]:
    """The figures on one corpus of every way whose name begins with one of those, and of dense vectors."""
    start = time.perf_counter()
    folder = folder_of(corpus, cache)
    stored = filled(corpus, folder, None)
    static = filled(corpus, folder.with_name(f"{folder.name}-static"), corpora.table_folder(cache))
    ways, encoders = by_vectors(stored, static)
    ways |= by_both(stored, reranker)
    for more in (by_words(stored, cache), by_tokens(stored, cache)):
        ways, encoders = ways | more[0], encoders | more[1]
    ways = {name: way for name, way in ways.items() if name == DENSE or name.startswith(named)}
    made = time.perf_counter() - start
    gains, times = timed(ways, encoders, corpus)
    values = {name: np.array(gain) for name, gain in gains.items()}
    return {
        "source": corpus.source, "documents": len(corpus.documents), "chunks": len(stored.ids),
        "queries": len(corpus.queries),
        "seconds to make": made, "seconds": time.perf_counter() - start,
        "ways": {
            name: {
                "ndcg@10": asdict(bootstrap(values[name])),
                "difference": asdict(bootstrap(values[name] - values[DENSE])),
                "milliseconds": percentiles(times[name]),
                "encoding": percentiles(times[way.encoder]) if way.encoder else None,
                "scanned": way.scanned, "kept": way.kept,
            }
            for name, way in ways.items()
        },
    }  # fmt: skip


def filled(corpus: corpora.Labelled, folder: Path, model: Path | None) -> Stored:
    """A collection of the corpus and its chunks."""
    opened = collection_of(corpus, folder, model)
    ids, _ = opened.vectors()
    store = SQLiteStore(folder)
    try:
        with store.snapshot() as snapshot:
            found = snapshot.found(ids.tolist())
    finally:
        store.close()
    inputs = [embedded_input(found[number].headings, found[number].text) for number in ids.tolist()]
    return Stored(folder, opened, ids, {number: chunk.key for number, chunk in found.items()}, inputs)


def by_vectors(stored: Stored, static: Stored) -> tuple[dict[str, Way], dict[str, Encode]]:
    """One vector a chunk, whole and in short forms; and a static model's."""
    row, encoder = 4 * 384 * stored.ratio, "dense"
    ways = {
        DENSE: searched(stored, encoder, (row, row), Query(recall=1)),
        "dense, int8": eight_bits(stored),
        **{
            f"first {dim} dimensions, the best {KEPT} by all": searched(
                stored, encoder, (4 * dim * stored.ratio, row), through(f"{dim}:{KEPT},full")
            )
            for dim in (64, 128, 256)
        },
        f"sign bits, the best {KEPT} by all": searched(
            stored, encoder, (384 / 8 * stored.ratio, row), through(f"bits:{KEPT},full")
        ),
        "static, 256 dimensions": searched(static, "static", (4 * 256 * static.ratio,) * 2, Query(recall=1)),
        f"static, first 64 dimensions, the best {KEPT} by all": searched(
            static, "static", (4 * 64 * static.ratio, 4 * 256 * static.ratio), through(f"64:{KEPT},full")
        ),
    }  # fmt: skip
    return ways, {name: embedding(one.opened) for name, one in ((encoder, stored), ("static", static))}


def by_both(stored: Stored, reranker: Path | None) -> dict[str, Way]:
    """Words, and words and vectors together: by ranks, by evidence, and what may be made of the best of these."""
    row, words = 4 * 384 * stored.ratio, stored.size("lexical-*")
    asked = {
        "both, by ranks": Query(mode="hybrid", route=Route(fusion="rrf")),
        EVIDENCE: Query(mode="hybrid"),
        f"{EVIDENCE}, MMR {MMR}": Query(mode="hybrid", shape=Shape(mmr=MMR)),
    }
    if reranker is not None:
        route = Route(rerank=reranker, depth=cross_encoder.DEPTH)
        asked[f"{EVIDENCE}, the best {route.depth} reranked"] = Query(mode="hybrid", route=route)
    return {
        "words (BM25)": searched(stored, "", (0, words), Query(mode="lexical")),
        **{name: searched(stored, "dense", (row, row + words), query) for name, query in asked.items()},
    }


def searched(stored: Stored, encoder: str, bytes_: tuple[float, float], query: Query) -> Way:
    """A way through the collection's own search."""

    def ask(text: str) -> list[str]:
        return [hit.document for hit in stored.opened.search(replace(query, text=text, k=CHUNKS))]

    return Way(ask, encoder, *bytes_)


def through(funnel: str) -> Query:
    """A query that goes through a funnel."""
    return Query(route=Route(funnel=funnel))


def embedding(opened: sememe.Collection) -> Encode:
    """What a search does with a text first."""
    return lambda text: opened.embedder.embed([text], role="query")


def eight_bits(stored: Stored) -> Way:
    """Vectors that were kept as int8 and are decoded when they are loaded."""
    ids, vectors = stored.opened.vectors()
    ranges = ranges_of(vectors)
    decoded = dequantise(quantise(vectors, "int8", ranges=ranges), "int8", dim=vectors.shape[1], ranges=ranges)
    index = in_memory(ids, normalise(decoded))

    def ask(text: str) -> list[str]:
        query = stored.opened.embedder.embed([text], role="query").vectors
        return stored.documents(index.search(query, CHUNKS)[0][0])

    return Way(ask, "dense", 4 * 384 * stored.ratio, 384 * stored.ratio)


def by_words(stored: Stored, cache: Path) -> tuple[dict[str, Way], dict[str, Encode]]:
    """Learnt weights of words, by a small model that was trained for it, alone and in one search with dense vectors."""
    model = load_sparse(corpora.sparse_folder(cache))
    folder = stored.folder.with_name(f"{stored.folder.name}-words")
    made = folder.exists()
    index = sparse.SparseIndex(folder) if made else sparse.build(folder, stored.ids, model.encode_sparse(stored.inputs))

    def encode(text: str) -> Any:
        return model.encode_sparse([text], role="query")[0]

    def ask(text: str) -> list[str]:
        return stored.documents(index.search(encode(text), CHUNKS)[0])

    row, kept = 4 * 384 * stored.ratio, index.bytes / len(stored.ids) * stored.ratio
    spaces.add_space(stored.opened, WORDS, corpora.sparse_folder(cache))
    fused = Query(route=Route(space=("@own", WORDS)))
    return {
        "learnt words (SPLADE of two layers)": Way(ask, "sparse", 0, kept),
        "dense and learnt words, by ranks": searched(stored, "dense", (row, row + kept), fused),
    }, {"sparse": encode}


def by_tokens(stored: Stored, cache: Path) -> tuple[dict[str, Way], dict[str, Encode]]:
    """A vector a token: all of them compared as they are, and by the index of codes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it was not trained for it, which the table says
        model = load_late(corpora.model_folder(cache))
    index, tokens, starts = token_index(stored, model.encode_tokens)

    def encode(text: str) -> Vectors:
        return model.encode_tokens([text], role="query")[0]

    def exactly(text: str) -> list[str]:
        scores = maxsim(encode(text), tokens, starts)
        return stored.documents(stored.ids[np.argsort(-scores, kind="stable")[:CHUNKS]])

    def coded(text: str) -> list[str]:
        return stored.documents(index.search(encode(text), CHUNKS)[0])

    count = len(stored.ids) / stored.ratio
    return {
        "tokens, all compared": Way(exactly, "tokens", tokens.nbytes / count, tokens.nbytes / count),
        "tokens, by their index": Way(coded, "tokens", 0, index.bytes / count),
    }, {"tokens": encode}


def token_index(
    stored: Stored, encode: Callable[[Sequence[str]], list[Vectors]]
) -> tuple[late.LateIndex, Vectors, Ids]:
    """The index over the tokens of all chunks, the tokens (t, 384), and where each chunk's begin (n + 1,)."""
    whole, begins, folder = (stored.folder.with_name(f"{stored.folder.name}-{name}") for name in TOKEN_FILES)
    if not begins.exists():
        texts = encode(stored.inputs)
        np.save(whole, np.concatenate(texts))
        np.save(begins, np.cumsum([0, *map(len, texts)]))
    tokens, starts = np.load(whole), np.load(begins)
    if not folder.exists():
        late.build(folder, stored.ids, np.split(tokens, starts[1:-1]))
    return late.LateIndex(folder), tokens, starts


def timed(
    ways: dict[str, Way], encoders: dict[str, Encode], corpus: corpora.Labelled
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """nDCG of every way by query, and seconds of every way and encoder."""
    gains: dict[str, list[float]] = {name: [] for name in ways}
    times: dict[str, list[float]] = {name: [] for name in (*ways, *encoders)}
    turns: list[tuple[str, Encode]] = [*encoders.items(), *((name, way.ask) for name, way in ways.items())]
    for _, call in turns:
        call("what is loaded at the first call")
    for number, (key, text) in enumerate(corpus.queries.items()):
        for place in range(len(turns)):
            name, call = turns[(number + place) % len(turns)]
            start = time.perf_counter()
            found = call(text)
            times[name].append(time.perf_counter() - start)
            if isinstance(found, list):
                gains[name].append(NDCG.of(list(dict.fromkeys(found))[:K], {corpus.answers[key]: 1}))
    return gains, times


def percentiles(seconds: list[float]) -> dict[str, float]:
    """The median and the 95th percentile in milliseconds."""
    low, high = 1000 * np.percentile(seconds, [50, 95])
    return {"p50": float(low), "p95": float(high)}


def show(name: str, found: dict[str, Any]) -> None:
    """Print the table of one corpus."""
    title = f"{name}: {found['documents']:,} documents, {found['queries']} queries"
    rows = [[title, "nDCG@10 (95 %)", "less dense (95 %)", "ms p50", "p95", "encoding", "scanned", "kept"]]
    for way, f in found["ways"].items():
        value, gap, took, encoding = f["ndcg@10"], f["difference"], f["milliseconds"], f["encoding"]
        rows.append(
            [way, f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})",
             f"{gap['mean']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})",
             f"{took['p50']:.1f}", f"{took['p95']:.1f}", f"{encoding['p50']:.1f}" if encoding else "",
             f"{f['scanned']:,.0f}", f"{f['kept']:,.0f}"]
        )  # fmt: skip
    harness.table(rows)


if __name__ == "__main__":
    main()
