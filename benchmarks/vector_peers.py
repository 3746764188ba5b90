"""The vector indexes that are compared: each builds, opens and searches the way its makers mean it to be used.

Run as a script this file is a worker (see harness) for one contestant. A name is an engine and a kind of index
("usearch-bf16"); `VARIANTS` lists what is worth comparing, with the settings of its curve, and `CHOSEN` the best of
each engine on the development half of the queries. A filter travels as (column, low, high): low <= column < high.
What is measured and how often is the caller's business; sememe itself is in `vector_ours`.
"""

from __future__ import annotations

import argparse
import faulthandler
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from harness import peak_megabytes, serve, timed, versions

Vectors = npt.NDArray[np.float32]
Columns = Mapping[str, npt.NDArray[np.int64]]
Setting = Mapping[str, float]
Where = tuple[str, int, int]
Answer = tuple[Sequence[int], Sequence[float]]

DIM = 384
LIMIT = 3600
"""Seconds after which one operation counts as hanging."""
PACKAGES = (
    "sememe", "numpy", "faiss-cpu", "usearch", "lancedb", "pyarrow", "zvec", "qdrant-edge-py", "chromadb",
)  # fmt: skip


class Contestant(Protocol):
    """One engine with one kind of index, in a folder of its own."""

    curve: Sequence[Setting]

    def build(self, vectors: Vectors, columns: Columns, folder: Path) -> None:
        """Store the rows, numbered from 0, and their columns, and make everything durable in `folder`."""

    def open(self, folder: Path) -> None:
        """Make ready to search what was built."""

    def use(self, setting: Setting) -> None:
        """Search with these settings from now on."""

    def search(self, query: Vectors, k: int, where: Where | None = None) -> Answer:
        """The rows nearest to a unit vector (dim,), best first, and their scores or distances."""


def cells_for(count: int) -> int:
    """How many cells an inverted file gets: the power of two nearest to four times the root of the rows."""
    return int(2 ** round(math.log2(4 * math.sqrt(count))))


def _grid(name: str, *values: float) -> list[Setting]:
    return [{name: value} for value in values]


class Faiss:
    """faiss used by hand: an index from the factory, and optionally exact scores from the mapped vectors.

    The vectors are unit vectors, so inner product is cosine. Searches run on one thread.
    """

    def __init__(self, factory: str, curve: Sequence[Setting]) -> None:
        self._factory, self.curve = factory, curve

    def build(self, vectors: Vectors, columns: Columns, folder: Path) -> None:
        import faiss

        assert not columns, "filters are not part of what one gets by hand"
        cells = cells_for(len(vectors))
        index = faiss.index_factory(DIM, self._factory.format(cells=cells), faiss.METRIC_INNER_PRODUCT)
        if hasattr(index, "hnsw"):
            index.hnsw.efConstruction = 200
        if not index.is_trained:
            index.train(np.ascontiguousarray(vectors[:: max(1, len(vectors) // (64 * cells))]))
        index.add(np.asarray(vectors))
        faiss.write_index(index, str(folder / "faiss.index"))
        if self._refines():
            np.save(folder / "vectors.npy", vectors)

    def open(self, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(folder / "faiss.index"))
        self._vectors = np.load(folder / "vectors.npy", mmap_mode="r") if self._refines() else None

    def use(self, setting: Setting) -> None:
        import faiss

        self._refine = int(setting.get("refine", 0))
        if "ef" in setting:
            self._params = faiss.SearchParametersHNSW(efSearch=int(setting["ef"]))
        elif "RaBitQ" in self._factory:
            self._params = faiss.IVFRaBitQSearchParameters(nprobe=int(setting["nprobe"]), qb=8)
        else:
            self._params = faiss.SearchParametersIVF(nprobe=int(setting["nprobe"]))

    def search(self, query: Vectors, k: int, where: Where | None = None) -> Answer:
        assert where is None, "filters are not part of what one gets by hand"
        scores, ids = self._index.search(query[None, :], self._refine or k, params=self._params)
        if not self._refine:
            return ids[0], scores[0]
        found = ids[0][ids[0] >= 0]
        exact = self._vectors[found] @ query
        order = np.argsort(-exact)[:k]
        return found[order], exact[order]

    def _refines(self) -> bool:
        return any("refine" in setting for setting in self.curve)


class Usearch:
    """usearch: HNSW over vectors of a smaller type, loaded from one file."""

    def __init__(self, dtype: str, *, connectivity: int = 16, curve: Sequence[Setting]) -> None:
        self._dtype, self._connectivity, self.curve = dtype, connectivity, curve

    def build(self, vectors: Vectors, columns: Columns, folder: Path) -> None:
        from usearch.index import Index

        assert not columns, "usearch has no filters by columns"
        index = Index(
            ndim=DIM, metric="ip", dtype=self._dtype, connectivity=self._connectivity, expansion_add=256
        )  # fmt: skip
        index.add(np.arange(len(vectors)), np.asarray(vectors))
        index.save(str(folder / "index.usearch"))

    def open(self, folder: Path) -> None:
        from usearch.index import Index

        self._index = Index.restore(str(folder / "index.usearch"))

    def use(self, setting: Setting) -> None:
        self._index.expansion_search = int(setting["ef"])

    def search(self, query: Vectors, k: int, where: Where | None = None) -> Answer:
        assert where is None, "usearch has no filters by columns"
        found = self._index.search(query, k, threads=1)
        return found.keys, found.distances


class LanceDB:
    """LanceDB: a table with a vector index, warmed up when it is opened; scalar indexes on the columns."""

    def __init__(self, kind: str, options: Mapping[str, Any], curve: Sequence[Setting]) -> None:
        self._kind, self._options, self.curve = kind, options, curve

    def build(self, vectors: Vectors, columns: Columns, folder: Path) -> None:
        import lancedb
        import pyarrow as pa
        from lancedb import index as kinds

        values = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).reshape(-1)), DIM)
        ids = pa.array(np.arange(len(vectors)))
        given = {"id": ids, "vector": values, **{name: pa.array(column) for name, column in columns.items()}}
        table = lancedb.connect(str(folder)).create_table("rows", pa.table(given))
        options = {"num_partitions": cells_for(len(vectors)), **self._options}
        table.create_index("vector", config=getattr(kinds, self._kind)(distance_type="cosine", **options))
        for name in columns:
            table.create_index(name, config=kinds.BTree())
        # No optimize() afterwards: the table is one fragment already, and it would merge the cells of the index.

    def open(self, folder: Path) -> None:
        import lancedb

        self._table = lancedb.connect(str(folder)).open_table("rows")
        for index in self._table.list_indices():
            self._table.prewarm_index(index.name)

    def use(self, setting: Setting) -> None:
        self._setting = {name: int(value) for name, value in setting.items()}

    def search(self, query: Vectors, k: int, where: Where | None = None) -> Answer:
        asked = self._table.search(query, vector_column_name="vector", query_type="vector")
        asked = asked.distance_type("cosine").select(["id", "_distance"]).limit(k).fast_search()
        if "ef" in self._setting:
            asked = asked.ef(self._setting["ef"])
        if "nprobes" in self._setting:
            asked = asked.minimum_nprobes(self._setting["nprobes"]).maximum_nprobes(
                0 if where else self._setting["nprobes"]
            )
        if "refine" in self._setting:
            asked = asked.refine_factor(self._setting["refine"])
        if where:
            name, low, high = where
            asked = asked.where(f"{name} >= {low} AND {name} < {high}", prefilter=True)
        found = asked.to_arrow()
        return found["id"].to_pylist(), found["_distance"].to_pylist()


class Zvec:
    """zvec: a collection with one HNSW index, quantised or not; inverted indexes on the columns."""

    BATCH = 1000

    def __init__(
        self, quantize: str, curve: Sequence[Setting], *, m: int = 24, ef: int = 300, contiguous: bool = True
    ) -> None:  # fmt: skip
        self._quantize, self.curve, self._m, self._ef, self._contiguous = quantize, curve, m, ef, contiguous

    def build(self, vectors: Vectors, columns: Columns, folder: Path) -> None:
        import zvec

        self._quiet()
        invert = zvec.InvertIndexParam(enable_range_optimization=True)
        schema = zvec.CollectionSchema(
            name="rows",
            fields=[zvec.FieldSchema(name, zvec.DataType.INT32, index_param=invert) for name in columns],
            vectors=[zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, DIM, index_param=self._index())],
        )
        collection = zvec.create_and_open(str(folder / "zvec"), schema)
        for first in range(0, len(vectors), self.BATCH):
            rows = range(first, min(first + self.BATCH, len(vectors)))
            collection.insert(
                [
                    zvec.Doc(str(i), vectors={"vector": vectors[i]}, fields={n: int(c[i]) for n, c in columns.items()})
                    for i in rows
                ]
            )
        collection.optimize()
        collection.close()

    def open(self, folder: Path) -> None:
        import zvec

        self._quiet()
        option = zvec.CollectionOption(read_only=True, enable_mmap=not self._contiguous)
        self._collection = zvec.open(str(folder / "zvec"), option)

    def use(self, setting: Setting) -> None:
        import zvec

        refines = bool(setting.get("refine", 0))
        given = {"ef": int(setting["ef"]), "is_using_refiner": refines}
        if refines:
            given["scale_factor"] = float(setting["refine"])
        kind = zvec.HnswRabitqQueryParam if self._quantize == "RABITQ" else zvec.HnswQueryParam
        self._param = kind(**given)

    def search(self, query: Vectors, k: int, where: Where | None = None) -> Answer:
        import zvec

        asked = zvec.Query(field_name="vector", vector=query, param=self._param)
        condition = f"{where[0]} >= {where[1]} AND {where[0]} < {where[2]}" if where else None
        found = self._collection.query(asked, topk=k, filter=condition, output_fields=[])
        return [int(one.id) for one in found], [one.score for one in found]

    def _index(self) -> Any:
        import zvec

        metric = zvec.MetricType.L2 if self._quantize.startswith("UNIFORM") else zvec.MetricType.IP
        if self._quantize == "RABITQ":
            return zvec.HnswRabitqIndexParam(metric_type=metric, m=self._m, ef_construction=self._ef)
        return zvec.HnswIndexParam(
            metric_type=metric, m=self._m, ef_construction=self._ef, use_contiguous_memory=self._contiguous,
            quantize_type=getattr(zvec.QuantizeType, self._quantize),
        )  # fmt: skip

    def _quiet(self) -> None:
        import zvec

        zvec.init(log_level=zvec.LogLevel.ERROR)


class QdrantEdge:
    """Qdrant Edge: a shard with HNSW, optimised into as few segments as it makes; integer indexes on the columns."""

    BATCH = 1000

    def __init__(self, quantization: str, curve: Sequence[Setting], *, m: int = 24, ef: int = 200) -> None:
        self._quantization, self.curve, self._m, self._ef = quantization, curve, m, ef

    def build(self, vectors: Vectors, columns: Columns, folder: Path) -> None:
        import qdrant_edge as qe

        shard = qe.EdgeShard.create(str(folder / "shard"), self._config())
        for name in columns:
            schema = qe.IntegerIndexParams(lookup=False, range=True)
            shard.update(qe.UpdateOperation.create_field_index(name, schema))
        for first in range(0, len(vectors), self.BATCH):
            points = [
                qe.Point(i, {"v": vectors[i].tolist()}, {n: int(c[i]) for n, c in columns.items()})
                for i in range(first, min(first + self.BATCH, len(vectors)))
            ]
            shard.update(qe.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self, folder: Path) -> None:
        import qdrant_edge as qe

        self._shard = qe.EdgeShard.load(str(folder / "shard"))

    def use(self, setting: Setting) -> None:
        import qdrant_edge as qe

        over = setting.get("oversampling")
        quantised = qe.QuantizationSearchParams(rescore=over is not None, oversampling=over)
        acorn = qe.AcornSearchParams(enable=True) if setting.get("acorn") else None
        self._params = qe.SearchParams(
            hnsw_ef=int(setting["ef"]), quantization=None if self._quantization == "none" else quantised, acorn=acorn
        )

    def search(self, query: Vectors, k: int, where: Where | None = None) -> Answer:
        import qdrant_edge as qe

        condition = None
        if where:
            within = qe.RangeFloat(gte=float(where[1]), lt=float(where[2]))
            condition = qe.Filter(must=[qe.FieldCondition(where[0], range=within)])
        found = self._shard.query(
            qe.QueryRequest(
                limit=k, query=qe.Query.Nearest(query.tolist(), using="v"), with_vector=False, with_payload=False,
                filter=condition, params=self._params,
            )
        )  # fmt: skip
        return [one.id for one in found], [one.score for one in found]

    def _config(self) -> Any:
        import qdrant_edge as qe

        pinned = qe.Memory.Pinned
        quantization = {
            "none": lambda: None,
            "int8": lambda: qe.ScalarQuantizationConfig(qe.ScalarType.Int8, quantile=0.99, memory=pinned),
            "turbo4": lambda: qe.TurboQuantQuantizationConfig(bits=qe.TurboQuantBitSize.Bits4, memory=pinned),
        }[self._quantization]()
        graph = qe.HnswIndexConfig(m=self._m, ef_construct=self._ef, full_scan_threshold=1000, memory=pinned)
        vector = qe.EdgeVectorParams(DIM, qe.Distance.Dot, quantization_config=quantization, hnsw_config=graph)
        optimizers = qe.EdgeOptimizersConfig(default_segment_number=1, max_segment_size=16_000_000)
        return qe.EdgeConfig(vectors={"v": vector}, optimizers=optimizers)


class Chroma:
    """Chroma, embedded: a persistent client and its HNSW index."""

    def __init__(self, curve: Sequence[Setting], *, m: int = 24, ef: int = 200) -> None:
        self.curve, self._m, self._ef = curve, m, ef

    def build(self, vectors: Vectors, columns: Columns, folder: Path) -> None:
        client = self._client(folder)
        collection = client.create_collection("rows", configuration={"hnsw": self._configuration(len(vectors))})
        size = client.get_max_batch_size()
        for first in range(0, len(vectors), size):
            rows = range(first, min(first + size, len(vectors)))
            facts = [{name: int(column[i]) for name, column in columns.items()} for i in rows] if columns else None
            collection.add(ids=[str(i) for i in rows], embeddings=vectors[first : first + size], metadatas=facts)
        # A query makes it index whatever is still in its log.
        collection.query(query_embeddings=vectors[:1], n_results=1, include=["distances"])

    def open(self, folder: Path) -> None:
        self._folder = folder
        self._connect()

    def use(self, setting: Setting) -> None:
        if self._collection.configuration["hnsw"]["ef_search"] == int(setting["ef"]):
            return
        # An index that is loaded keeps the ef it was loaded with.
        self._collection.modify(configuration={"hnsw": {"ef_search": int(setting["ef"])}})
        self._chroma.clear_system_cache()
        self._connect()
        self.search(np.ones(DIM, np.float32), 1)

    def search(self, query: Vectors, k: int, where: Where | None = None) -> Answer:
        condition: Any = None
        if where:
            condition = {"$and": [{where[0]: {"$gte": where[1]}}, {where[0]: {"$lt": where[2]}}]}
        found = self._collection.query(
            query_embeddings=query[None, :], n_results=k, where=condition, include=["distances"]
        )
        return [int(one) for one in found["ids"][0]], found["distances"][0]

    def _connect(self) -> None:
        self._chroma = self._client(self._folder)
        self._collection = self._chroma.get_collection("rows")

    def _configuration(self, count: int) -> dict[str, Any]:
        return {
            "space": "ip", "max_neighbors": self._m, "ef_construction": self._ef, "batch_size": 1000,
            "sync_threshold": count,
        }  # fmt: skip

    def _client(self, folder: Path) -> Any:
        import chromadb
        from chromadb.config import Settings

        return chromadb.PersistentClient(str(folder / "chroma"), settings=Settings(anonymized_telemetry=False))


def _ours(*, bare: bool) -> Contestant:
    # Here, because the peers' environment cannot import it, and it needs the names above.
    from vector_ours import Sememe

    return Sememe(bare=bare)


EF = _grid("ef", 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
CELLS = [
    {"nprobe": n, "refine": r}
    for n, r in ((16, 40), (32, 40), (32, 100), (64, 100), (128, 100), (256, 200), (512, 200))
]
PROBES = [{"nprobes": n, "refine": r} for n, r in ((8, 4), (16, 4), (32, 4), (32, 10), (64, 10), (128, 10), (256, 10))]
VARIANTS: dict[str, Callable[[], Contestant]] = {
    "sememe": lambda: _ours(bare=False),
    "sememe-bare": lambda: _ours(bare=True),
    "faiss-hnsw-sq8-refined": lambda: Faiss("HNSW32,SQ8", [{**one, "refine": 20} for one in EF if one["ef"] > 20]),
    "faiss-hnsw-bf16": lambda: Faiss("HNSW32,SQbf16", EF),
    "faiss-ivf-sq8": lambda: Faiss("IVF{cells},SQ8", _grid("nprobe", 8, 16, 32, 64, 128, 256)),
    "faiss-ivf-rabitq": lambda: Faiss("IVF{cells},RaBitQ", CELLS),
    "usearch-f16": lambda: Usearch("f16", curve=EF),
    "usearch-bf16": lambda: Usearch("bf16", curve=EF),
    "usearch-i8": lambda: Usearch("i8", curve=EF),
    "usearch-bf16-32": lambda: Usearch("bf16", connectivity=32, curve=EF),
    "lancedb-hnsw-sq": lambda: LanceDB(
        "HnswSq", {"num_partitions": 1}, [{"ef": e, "refine": 2} for e in (20, 32, 64, 96, 128, 192, 256, 384)]
    ),
    "lancedb-hnsw-flat": lambda: LanceDB("HnswFlat", {"num_partitions": 1}, EF),
    "lancedb-ivf-rq": lambda: LanceDB("IvfRq", {}, PROBES),
    "lancedb-ivf-rq5": lambda: LanceDB(
        "IvfRq", {"num_bits": 5}, [{"nprobes": n, "refine": 2} for n in (8, 16, 32, 64, 128, 256)]
    ),
    "lancedb-ivf-pq": lambda: LanceDB("IvfPq", {"num_sub_vectors": 48}, PROBES),
    "zvec-hnsw": lambda: Zvec("UNDEFINED", EF),
    "zvec-hnsw-fp16": lambda: Zvec("FP16", EF),
    "zvec-hnsw-int8": lambda: Zvec("INT8", EF),
    "zvec-hnsw-int8-refined": lambda: Zvec("INT8", [{**one, "refine": 2} for one in EF]),
    "zvec-hnsw-uint8-refined": lambda: Zvec("UNIFORM_UINT8", [{**one, "refine": 2} for one in EF]),
    "zvec-hnsw-rabitq": lambda: Zvec("RABITQ", [{**one, "refine": 4} for one in EF]),
    "qdrant-float": lambda: QdrantEdge("none", EF),
    "qdrant-int8": lambda: QdrantEdge("int8", [{**one, "oversampling": 2} for one in EF]),
    "qdrant-turbo4": lambda: QdrantEdge("turbo4", [{**one, "oversampling": 2} for one in EF]),
    "chroma": lambda: Chroma(_grid("ef", 16, 32, 64, 96, 128, 192, 384)),
}
OURS = ("sememe", "sememe-bare")
CHOSEN = (
    "faiss-hnsw-bf16", "faiss-ivf-rabitq", "usearch-bf16", "zvec-hnsw-int8-refined", "qdrant-turbo4",
    "lancedb-hnsw-sq", "chroma",
)  # fmt: skip


def memory() -> dict[str, float]:
    """Megabytes this process has resident, those of it that are anonymous, and those that map files; zero elsewhere."""
    rollup = Path("/proc/self/smaps_rollup")
    lines = rollup.read_text().splitlines()[1:] if rollup.exists() else []
    facts = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    resident, anonymous = facts.get("Rss", 0.0), facts.get("Anonymous", 0.0)
    return {"resident": resident, "anonymous": anonymous, "files": resident - anonymous}


def size_of(folder: Path) -> float:
    """Megabytes that the files of a folder take up on disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / 1024**2


class Operations:
    """What a worker can be asked for; arguments are mappings, see each."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._contestant, self._folder = name, VARIANTS[name](), folder

    def build(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Build from `count` rows of the file `vectors` and the file `columns`, if any."""
        vectors = np.load(asked["vectors"], mmap_mode="r")[: asked["count"]]
        columns = dict(np.load(asked["columns"])) if asked.get("columns") else {}
        self._folder.mkdir(parents=True, exist_ok=True)
        took = timed(lambda: self._contestant.build(vectors, columns, self._folder))
        return {**took, "peak": peak_megabytes(), "disk": size_of(self._folder), "versions": versions(PACKAGES)}

    def open(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Open and answer the first of `queries` with the middle setting; seconds of both, and the memory after."""
        self._queries = np.load(asked["queries"])
        before, start = memory(), time.perf_counter()
        self._contestant.open(self._folder)
        self._contestant.use(self._contestant.curve[len(self._contestant.curve) // 2])
        self._contestant.search(self._queries[0], 10)
        return {"seconds": time.perf_counter() - start, "imported": before, "memory": memory()}

    def settle(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the queries [first, last) as it was opened; the memory after."""
        for query in self._queries[asked["first"] : asked["last"]]:
            self._asked(query, asked["k"], None)
        return memory()

    def run(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the queries [first, last) one by one at every setting; times and answers."""
        return {"points": [self._point(setting, asked) for setting in self._contestant.curve]}

    def filtered(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the queries numbered `rows` for k each, each with its filter of `filters`, until `budget` seconds."""
        self._contestant.use(asked["settings"][self._name])
        milliseconds, answers, begun = [], [], time.perf_counter()
        for row, where in zip(asked["rows"], asked["filters"], strict=True):
            if milliseconds and time.perf_counter() - begun > asked["budget"]:
                break
            took, ids = self._asked(self._queries[row], asked["k"], (where[0], where[1], where[2]))
            milliseconds.append(took)
            answers.append(ids)
        return {"milliseconds": milliseconds, "ids": answers}

    def _point(self, setting: Setting, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._contestant.use(setting)
        found: list[tuple[float, list[int]]] = []

        def work() -> None:
            found.extend(
                self._asked(query, asked["k"], None) for query in self._queries[asked["first"] : asked["last"]]
            )

        took = timed(work)
        return {
            "setting": dict(setting), "milliseconds": [one for one, _ in found], "ids": [ids for _, ids in found],
            "cpu": took["cpu"] / max(1, len(found)),
        }  # fmt: skip

    def _asked(self, query: Vectors, k: int, where: Where | None) -> tuple[float, list[int]]:
        start = time.perf_counter()
        ids, _ = self._contestant.search(query, k, where)
        return (time.perf_counter() - start) * 1000, [int(one) for one in ids]


def main() -> None:
    parser = argparse.ArgumentParser(description="A worker; see harness.py.")
    parser.add_argument("name", choices=VARIANTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path)
    arguments = parser.parse_args()
    log = arguments.log.open("a")
    os.dup2(log.fileno(), 2)
    able = Operations(arguments.name, arguments.folder)

    def limited(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run(asked: Any) -> Any:
            faulthandler.dump_traceback_later(LIMIT, exit=True, file=log)
            try:
                return work(asked)
            finally:
                faulthandler.cancel_dump_traceback_later()

        return run

    offered = (able.build, able.open, able.settle, able.run, able.filtered)
    serve({work.__name__: limited(work) for work in offered})


if __name__ == "__main__":
    main()
