"""Quantised neighbours: an inverted file of product-quantised codes over the rows of a slab, made by faiss.

The vectors are grouped into cells (k-means), and each is kept as one 4-bit code for every few dimensions (Jégou et
al. 2011; the codes are compared in registers, André et al. 2017). A search scans the codes of the cells nearest to the
query and returns row numbers; whoever asked scores those rows exactly, from the slab. The codes are those of the
vectors themselves, not of what is left when the cell's centre is taken away: one table of distances then serves all
cells, which makes a cell cost so little that many can be scanned.

`neighbours-<generation>.faiss` is written once and never changed. How many rows it covers, its checksum, and the table
of what each setting costs and finds are `Details`, which the truth keeps. This file knows no ids and no deletions: rows
that went since are left out by the caller, through `allowed`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from sememe import failpoints
from sememe.errors import StoreDamaged
from sememe.index.probe import POOLS, Setting, measure, recall_of
from sememe.index.slab import sync_folder
from sememe.settings import cores
from sememe.types import Ids, Metric, Progress, Scores, Vectors
from sememe.vectors import products

NAME = "neighbours"
"""What the truth calls this index: its writer and its readers have to agree."""

MIN_ROWS = 10_000
"""Below it an exact scan answers in about the time of the index."""

CELLS_PER_ROOT = 2
"""Cells for n rows are twice the square root of n: more find the same in fewer rows, but take longer to train."""

TRAINING_ROWS_PER_CELL = 48
TRAINING_ROUNDS = 6
"""More rows or rounds gain less than .002 in recall, at twice and four times the time."""

CODE_ROWS = 8_192
"""Rows that the codes are trained on; each has 16 values."""

BATCH = 65_536
DIMENSIONS_PER_CODE = {"cosine": 4, "euclidean": 4, "dot": 2}
"""Under dot, rows of any length compete, so that small errors matter more: twice the codes."""

COUNTED_ROWS = 65_536
"""Rows at most by which the matches of a filter in each cell are counted; of more, every nth is."""

LONG_QUERY = 100.0
"""A query's length, in that of the longest row: 2qx can then outweigh |x|² 200 times, within what float32 resolves."""

DIVIDED = 256_000
"""Rows in the cells that are scanned, from which on a second thread takes half of them: of 600,000, in 4.2 ms where one
takes 5.9. Fewer are scanned sooner than two threads have met."""

UNEVEN, CHECKED, LOST = 1.5, 0.95, 0.02
"""Rows that were written anew are put in the old cells while a search costs at most half as much again, and the
setting for a recall of .95 finds no .02 less than it did: 200 queries tell it to .01."""

STORED_MISSES = 2 / 3
"""Neighbours that are missed of a stored vector, for one that is missed of a new query."""

SUFFIX = ".faiss"
READ_BYTES = 1 << 20
Mask: TypeAlias = npt.NDArray[np.bool_]
Bits: TypeAlias = npt.NDArray[np.uint8]
Allowed: TypeAlias = npt.NDArray[np.bool_] | npt.NDArray[np.uint8]
"""Of every covered row whether it may be returned: one bool a row, or one bit a row, the lowest first."""

__all__ = [
    "MIN_ROWS", "NAME", "Allowed", "Cells", "Details", "NeighbourIndex", "Setting", "build", "choose", "compiled_for",
    "extend", "products_at", "refill", "remove_others",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Details:
    """What the truth keeps of an index beside its generation.

    It covers the first `rows` of the slab, in `cells`; `trained` were there when cells and codes were learnt.
    `checksum` is the CRC-32 of the file; `table` is what the probe measured.
    """

    kind: str
    metric: Metric
    rows: int
    cells: int
    trained: int
    checksum: int
    table: tuple[Setting, ...]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Details:
        """The inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "table": tuple(Setting(**row) for row in fields["table"])})


def choose(details: Details, *, recall: float) -> Setting:
    """The quickest setting that finds the share `recall` of true neighbours, else the one that finds most.

    Stored vectors are easier to look for than new queries: of real lines, where 1.0 % of a stored one's neighbours
    were missed, up to 1.5 % of a new one's were. So the table has to show two thirds of the misses that are allowed.
    """
    shown = 1.0 - (1.0 - recall) * STORED_MISSES
    enough = [setting for setting in details.table if setting.recall >= shown]
    if enough:
        return min(enough, key=lambda setting: setting.milliseconds)
    everything = Setting(details.cells, max(POOLS), 0.0, 0.0)
    return max(details.table, key=lambda setting: setting.recall, default=everything)


def build(
    folder: Path, vectors: Vectors, live: Mask, *, metric: Metric, threads: int, progress: Progress | None = None
) -> tuple[str, Details]:
    """Index the `live (n,)` of `vectors (n, dim)`, measure it, and write it; returns its generation and details.

    Cosine expects unit vectors, or zeros. The same rows in the same order give the same file. Memory: the codes, a
    sample of 48 rows a cell (150 MB of a million rows), and a batch. Raises OSError when the file cannot be written;
    nothing is left of it then.
    """
    rows = np.flatnonzero(live)
    cells = max(1, min(len(rows), int(CELLS_PER_ROOT * len(rows) ** 0.5)))
    with _threads(threads):
        index = _trained(vectors, rows, cells, metric)
        _add(index, vectors, live, start=0, progress=progress)
    details = Details(
        kind=f"IVF{cells},PQ{index.pq.M}x4fs", metric=metric, rows=len(vectors), cells=cells, trained=len(vectors),
        checksum=0, table=(),
    )  # fmt: skip
    found = NeighbourIndex(index, details, vectors.shape[1])

    def search(query: Vectors, setting: Setting, count: int) -> Ids:
        return found.candidates(query, setting=setting, count=count)

    def gaps(query: Vectors) -> Scores:
        nearness = found.cells_near(query, EVERY_CELL).nearness
        return np.asarray(nearness[0] - nearness)

    table = measure(search, vectors, live, gaps=gaps, metric=metric, cells=cells)
    generation, checksum = _write(folder, index)
    return generation, replace(details, checksum=checksum, table=table)


def extend(
    folder: Path, generation: str, details: Details, *, vectors: Vectors, live: Mask, metric: Metric, threads: int
) -> tuple[str, Details]:
    """Add the live rows from `details.rows` on to a copy of an index; returns the new generation and details.

    Cells, codes and the table stay: a share of the cells finds the same share of neighbours while what comes is like
    what was there. Build anew when `len(vectors)` is twice `details.trained`. Raises StoreDamaged when the file is not
    what was written, OSError when the new one cannot be.
    """
    index = _former(folder, generation, details, vectors.shape[1], metric)
    with _threads(threads):
        _add(index, vectors, live, start=details.rows, progress=None)
    new, checksum = _write(folder, index)
    return new, replace(details, rows=len(vectors), checksum=checksum)


def refill(
    folder: Path, generation: str, details: Details, *, vectors: Vectors, live: Mask, metric: Metric, threads: int
) -> tuple[str, Details] | None:
    """Index rows that were written anew in the cells and codes of an index over the former ones: a tenth of `build`.

    None, and no file, when they no longer serve: there are twice the rows that they were learnt of, or half, the rows
    lie less evenly in the cells, or the share of neighbours that is found is not what the table says. Raises as
    `extend`.
    """
    rows = int(np.count_nonzero(live))
    if not details.trained / 2 < rows < 2 * details.trained:
        return None
    index = _former(folder, generation, details, vectors.shape[1], metric)
    even = index.invlists.imbalance_factor()
    index.reset()
    with _threads(threads):
        _add(index, vectors, live, start=0, progress=None)
    if index.invlists.imbalance_factor() > UNEVEN * even:
        return None
    found = NeighbourIndex(index, replace(details, rows=len(vectors)), vectors.shape[1])
    setting = found.setting_for(CHECKED)

    def search(query: Vectors, setting: Setting, count: int) -> Ids:
        return found.candidates(query, setting=setting, count=count)

    if recall_of(search, vectors, live, setting=setting, metric=metric) < setting.recall - LOST:
        return None
    new, checksum = _write(folder, index)
    return new, replace(details, rows=len(vectors), checksum=checksum)


def _former(folder: Path, generation: str, details: Details, dim: int, metric: Metric) -> Any:
    """An index that another one is to be made from."""
    if metric != details.metric:
        raise StoreDamaged(f"index {generation} is for {details.metric}, the space for {metric}; run: sememe optimize")
    index = _read(folder, generation, details, dim)
    if index is None:
        raise StoreDamaged(f"index file {_file(folder, generation).name} is missing or damaged; run: sememe optimize")
    return index


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells in the order in which they are scanned: `numbers (m,)`, and how near each is to the query, `nearness (m,)`.

    That is the cosine with the cell's centre, or, under Euclidean distance, the squared distance, negated. `query
    (1, columns)` is the query as the index compares it.
    """

    numbers: Ids
    nearness: Scores
    query: Vectors


UNIT = 1e-6
"""A query whose length differs by no more is left as it is: that is what normalising it left."""

EVERY_CELL = Setting(1 << 31, 0, 1.0, 0.0)
LEAST_SHARE, MOST_TIMES = 4, 4
"""Of the cells that half of the queries scan, a query scans a quarter at least, and at most four times as many."""


class NeighbourIndex:
    """An index that was opened: a value that several threads may search at once."""

    def __init__(self, index: Any, details: Details, dim: int, *, threads: int = 1) -> None:
        # Of faiss's ways to scan for one query, 11 takes the cells in their order and keeps a reservoir.
        index.implem = 11
        self._index = index
        self._centres, self._squares = _centres(index)
        self._chosen: dict[float, Setting] = {}
        self._sample: npt.NDArray[np.int32] | None = None
        self._query_length = _query_length(index, details.metric)
        self._several = cores(threads) > 1
        self.details = details
        self.dim = dim

    @classmethod
    def open(
        cls, folder: Path, generation: str, details: Details, *, dim: int, threads: int = 1
    ) -> NeighbourIndex | None:
        """The index in memory; None when its file is missing or is not what was written. With more than one of
        `threads`, 0 for every core, a search of very many cells has two."""
        index = _read(folder, generation, details, dim)
        return None if index is None else cls(index, details, dim, threads=threads)

    @property
    def all_cells(self) -> int:
        """How many probes scan everything."""
        return self.details.cells

    @property
    def memory(self) -> int:
        """Bytes held: codes, row numbers, centres, and what `probes_for` counts by, once it was called."""
        index = self._index
        # Codes lie in blocks of 32 rows, two codes a byte.
        blocks = sum(-(-int(index.invlists.list_size(cell)) // 32) for cell in range(self.all_cells))
        codes = blocks * 32 * int(index.M2) // 2 + int(index.ntotal) * 8
        centres = (self.all_cells + 16) * int(index.d) * 4
        return int(codes + centres + (0 if self._sample is None else self._sample.nbytes))

    def setting_for(self, recall: float) -> Setting:
        """What `choose` says of this index's table; remembered."""
        found = self._chosen.get(recall)
        if found is None:
            found = self._chosen[recall] = choose(self.details, recall=recall)
        return found

    def cells_near(self, query: Vectors, setting: Setting) -> Cells:
        """The cells that a setting scans for the finite query (dim,), the nearest first."""
        shaped = self._shaped(query)
        near = self._nearness(shaped[0])
        probes, every = setting.probes, len(near)
        if setting.spread is not None:
            inside = int(np.count_nonzero(near >= near.max() - setting.spread))
            probes = min(max(inside, probes // LEAST_SHARE), MOST_TIMES * probes)
        probes = max(1, min(probes, every))
        least = np.partition(near, every - probes)[every - probes]
        # Of cells that are equally near the first ones, as in every other place where cells are put in order.
        level = np.flatnonzero(near == least)
        if len(level) == 1:
            first = np.flatnonzero(near >= least)
        else:
            above = np.flatnonzero(near > least)
            first = np.sort(np.concatenate([above, level[: probes - len(above)]]))
        numbers = first[np.argsort(-near[first], kind="stable")]
        return Cells(numbers, near[numbers], shaped)

    def candidates(
        self, query: Vectors, *, setting: Setting, count: int, allowed: Allowed | None = None,
        cells: Cells | None = None,
    ) -> Ids:  # fmt: skip
        """Row numbers (m,), m <= count, that are probably nearest to the finite query (dim,): the nearest first.

        Only rows that are `allowed`, each once, of `cells`, or of those that `setting` says. Fewer than `count` means
        that the scanned cells hold no more: widen them up to `all_cells`. The same call always gives the same rows;
        those for a smaller count are mostly, but need not be, the first of those for a larger one.
        """
        count = min(count, int(self._index.ntotal))
        if count < 1:
            return np.empty(0, np.int64)
        if cells is None:
            cells = self.cells_near(query, setting)
        bits = None if allowed is None else self._bits(allowed)
        wide = len(cells.numbers) * int(self._index.ntotal) >= DIVIDED * self.all_cells
        return self._divided(cells, count, bits) if wide and self._several else self._scan(cells, count, bits)[1]

    def _divided(self, cells: Cells, count: int, bits: Bits | None) -> Ids:
        """What `_scan` finds, of every other cell in a second thread; in this one too where that is busy."""
        mine, other = (
            Cells(cells.numbers[first::2].copy(), cells.nearness[first::2].copy(), cells.query) for first in (0, 1)
        )
        later = _second_thread().submit(self._scan, other, count, bits)
        distances, rows = self._scan(mine, count, bits)
        more, others = self._scan(other, count, bits) if later.cancel() else later.result()
        order = np.argsort(np.concatenate([distances, more]), kind="stable")[:count]
        found: Ids = np.concatenate([rows, others])[order]
        return found

    def _scan(self, cells: Cells, count: int, bits: Bits | None) -> tuple[Scores, Ids]:
        """The rows whose codes are nearest, nearest first, and how far they are: (m,), (m,), m <= count."""
        faiss = _faiss()
        faiss.omp_set_num_threads(1)
        options = faiss.SearchParametersIVF()
        options.nprobe = len(cells.numbers)
        if bits is not None:
            options.sel = selector = faiss.IDSelectorBitmap(bits)  # noqa: F841 - faiss holds no reference
        distances, found = np.empty(count, np.float32), np.empty(count, np.int64)
        # The library's own wrapper takes the number of cells from the index, which other threads search too.
        self._index.search_preassigned_c(
            1, faiss.swig_ptr(cells.query), count, faiss.swig_ptr(cells.numbers), faiss.swig_ptr(cells.nearness),
            faiss.swig_ptr(distances), faiss.swig_ptr(found), False, options,
        )  # fmt: skip
        there = found >= 0
        return distances[there], found[there]

    def probes_for(self, query: Vectors, allowed: Mask, want: int) -> int:
        """How many cells have to be scanned so that they hold `want` allowed rows; all cells when there are no more.

        Matches of a filter may lie far from the query; the usual number of cells then holds few of them, or none.
        Counted by at most 65,536 rows: of a larger index the number is an estimate.
        """
        sample = self._cells_of_rows()
        step = self._step()
        # Through positions: four times quicker than picking by bools.
        inside = sample[np.flatnonzero(self._checked(allowed)[::step])]
        # Rows that were dead when the index was built are in no cell: they have the number behind the last.
        counts = np.bincount(inside, minlength=self.all_cells + 1)[: self.all_cells] * step
        held = np.cumsum(counts[self.cells_near(query, EVERY_CELL).numbers])
        return min(int(np.searchsorted(held, want)) + 1, self.all_cells)

    def _nearness(self, shaped: Vectors) -> Scores:
        """How near every cell's centre is (cells,), as `Cells` has it."""
        near = products(self._centres, shaped)
        if self._squares is not None:
            return np.asarray(2.0 * near - self._squares - np.float32(shaped @ shaped), dtype=np.float32)
        return near if self._query_length in (0.0, 1.0) else near / np.float32(self._query_length)

    def _shaped(self, query: Vectors) -> Vectors:
        """The query as the index wants it: (1, columns), its length made to serve the metric."""
        row = np.asarray(query, np.float32).reshape(1, self.dim)
        # In float64: squares of float32 overflow beyond 1e19 and vanish below 1e-23.
        length = math.sqrt(np.dot(wide := row[0].astype(np.float64), wide))
        if length > 0 and self._query_length and abs(length - self._query_length) > UNIT * self._query_length:
            row = (row * (self._query_length / length)).astype(np.float32)
        return _columns(row, int(self._index.d))

    def _bits(self, allowed: Allowed) -> Bits:
        if allowed.dtype != np.uint8:
            return np.packbits(self._checked(allowed), bitorder="little")
        if len(allowed) != -(-self.details.rows // 8):
            raise ValueError(f"{len(allowed)} bytes of bits for {self.details.rows} rows; give one bit a row")
        return np.ascontiguousarray(allowed, dtype=np.uint8)

    def _checked(self, allowed: Allowed) -> Mask:
        if len(allowed) != self.details.rows or allowed.dtype != np.bool_:
            raise ValueError(f"{len(allowed)} {allowed.dtype} for {self.details.rows} rows; give one bool a row")
        return np.asarray(allowed, dtype=np.bool_)

    def _step(self) -> int:
        return max(1, -(-self.details.rows // COUNTED_ROWS))

    def _cells_of_rows(self) -> npt.NDArray[np.int32]:
        """The cell of every counted row. Two threads may both make it: the same, so either will do."""
        if self._sample is None:
            faiss, lists = _faiss(), self._index.invlists
            cell_of = np.full(self.details.rows, self.all_cells, np.int32)
            for cell in range(self.all_cells):
                size = lists.list_size(cell)
                if size:
                    cell_of[faiss.rev_swig_ptr(lists.get_ids(cell), size)] = cell
            self._sample = cell_of[:: self._step()].copy()
        return self._sample


@cache
def _second_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="sememe-scan")


def _centres(index: Any) -> tuple[Vectors, Scores | None]:
    """The cells' centres (cells, width), where faiss holds them; under Euclidean distance their squared lengths."""
    faiss = _faiss()
    quantizer = faiss.downcast_index(index.quantizer)
    centres = faiss.rev_swig_ptr(quantizer.get_xb(), index.nlist * index.d).reshape(index.nlist, index.d)
    if quantizer.metric_type != faiss.METRIC_L2:
        return centres, None
    return centres, np.einsum("cd,cd->c", centres, centres)


def remove_others(folder: Path, keep: str | None) -> None:
    """Delete the files of every generation but `keep`. One that is held elsewhere may refuse; it is left."""
    for path in folder.glob(f"{NAME}-*{SUFFIX}"):
        if keep is None or path != _file(folder, keep):
            with contextlib.suppress(OSError):
                path.unlink()
                failpoints.reach("old neighbours file removed")


def products_at(vectors: Vectors, rows: Ids, query: Vectors) -> Scores:
    """The products of some `rows (m,)` of `vectors (n, dim)`, each at least 0 and below n, with a query (dim,): (m,).

    They are read where they lie: half the time of copying them together first.
    """
    faiss = _faiss()
    faiss.omp_set_num_threads(1)
    rows, query = np.ascontiguousarray(rows, np.int64), np.ascontiguousarray(query, np.float32)
    found = np.empty(len(rows), np.float32)
    pointers = (faiss.swig_ptr(one) for one in (found, query, vectors, rows))
    faiss.fvec_inner_products_by_idx(*pointers, vectors.shape[1], 1, len(rows))
    return found


def compiled_for() -> str:
    """The instructions of this CPU that faiss uses, in its own words."""
    return str(_faiss().SIMDConfig.get_level_name())


# --- learning and filling ----------------------------------------------------------------------------------


def _trained(vectors: Vectors, rows: npt.NDArray[np.intp], cells: int, metric: Metric) -> Any:
    """An index that has learnt cells and codes from a sample, and holds no rows."""
    faiss = _faiss()
    per_code = DIMENSIONS_PER_CODE[metric]
    codes = -(-vectors.shape[1] // per_code)
    width = codes * per_code
    sample = _sample(vectors, rows, cells * TRAINING_ROWS_PER_CELL, width)
    quantizer = faiss.IndexFlatL2(width) if metric == "euclidean" else faiss.IndexFlatIP(width)
    # Centres of unit length, compared by the angle: on unit vectors they find more than Euclidean ones.
    clustering = faiss.Clustering(width, cells)
    clustering.spherical = metric != "euclidean"
    clustering.niter, clustering.seed = TRAINING_ROUNDS, 1
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, TRAINING_ROWS_PER_CELL + 1
    clustering.train(sample, quantizer)
    # Codes are compared by distance even under dot, see `_shaped`: faiss drops rows of the least inner product.
    index = faiss.IndexIVFPQFastScan(quantizer, width, cells, codes, 4, faiss.METRIC_L2)
    index.by_residual = False
    index.quantizer_trains_alone = 1
    index.pq.cp.min_points_per_centroid = 1
    # Hundreds of tiny clusterings: a second on one thread, while several wait for each other for up to a minute.
    sample = np.resize(sample, (max(len(sample[:CODE_ROWS]), 16), width))
    with _threads(1):
        index.train(sample)
    return index


def _sample(vectors: Vectors, rows: npt.NDArray[np.intp], size: int, width: int) -> Vectors:
    """Up to `size` of the rows, drawn with a fixed seed, in random order; one of zeros when there are none."""
    if len(rows) == 0:
        return np.zeros((1, width), np.float32)
    rng = np.random.default_rng(0)
    # Read in the order of the file, and then shuffled: the codes are learnt from the first of them.
    drawn = np.sort(rng.choice(rows, size=min(size, len(rows)), replace=False))
    sample = _columns(vectors[drawn], width)
    rng.shuffle(sample)
    return sample


def _add(index: Any, vectors: Vectors, live: Mask, *, start: int, progress: Progress | None) -> None:
    for first in range(start, len(vectors), BATCH):
        stop = min(first + BATCH, len(vectors))
        rows = np.flatnonzero(live[first:stop])
        part = vectors[first:stop] if len(rows) == stop - first else vectors[first:stop][rows]
        if len(rows):
            index.add_with_ids(_columns(part, int(index.d)), (rows + first).astype(np.int64))
        if progress is not None:
            progress(stop, len(vectors))


def _columns(vectors: Vectors, width: int) -> Vectors:
    """The vectors with columns of zeros up to `width`: (n, width), contiguous."""
    missing = width - vectors.shape[1]
    return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors, dtype=np.float32)


def _query_length(index: Any, metric: Metric) -> float:
    """The length that queries are given before they are compared with codes; 0 to leave them as they are.

    The squared distance is |q|² - 2qx + |x|². Under cosine rows are of unit length, but their codes are not quite:
    against a unit query that matters least. Under dot the query is made so long that |x|² does not count beside qx.
    """
    if metric == "euclidean":
        return 0.0
    if metric == "cosine":
        return 1.0
    centroids = _faiss().vector_to_array(index.pq.centroids).reshape(index.pq.M, index.pq.ksub, -1)
    longest = float(np.sqrt(np.square(centroids).sum(axis=2).max(axis=1).sum()))
    return LONG_QUERY * longest


# --- files -------------------------------------------------------------------------------------------------


def _file(folder: Path, generation: str) -> Path:
    return folder / f"{NAME}-{generation}{SUFFIX}"


def _write(folder: Path, index: Any) -> tuple[str, int]:
    """Write an index under a new generation and sync it; returns the generation and the checksum of the file."""
    generation = os.urandom(8).hex()
    path = _file(folder, generation)
    content = _faiss().serialize_index(index)
    try:
        with path.open("xb") as file:
            file.write(content.data)
            failpoints.reach("neighbours file written")
            file.flush()
            os.fsync(file.fileno())
        failpoints.reach("neighbours file synced")
        sync_folder(folder)
    except BaseException:
        # Nobody would ever look for a file of this name, and the disk may be full already.
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return generation, zlib.crc32(content.data)


def _read(folder: Path, generation: str, details: Details, dim: int) -> Any | None:
    """The index, if its file is what `details` says; checked before faiss sees a byte of it, which trusts its input."""
    faiss = _faiss()
    try:
        with _file(folder, generation).open("rb") as file:
            if _checksum(file) != details.checksum:
                return None
            file.seek(0)
            index = faiss.read_index(faiss.PyCallbackIOReader(file.read, READ_BYTES))
    except (OSError, RuntimeError):
        # RuntimeError: another version of faiss, to which the right bytes mean nothing.
        return None
    per_code = DIMENSIONS_PER_CODE[details.metric]
    if not isinstance(index, faiss.IndexIVFPQFastScan) or index.d != -(-dim // per_code) * per_code:
        return None
    return index if index.nlist == details.cells and index.ntotal <= details.rows else None


def _checksum(file: BinaryIO) -> int:
    found = 0
    while part := file.read(READ_BYTES):
        found = zlib.crc32(part, found)
    return found


def _faiss() -> Any:
    """The library, whose import takes a quarter of a second: when it is needed."""
    import faiss

    return faiss


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """faiss on so many threads inside; the count belongs to the calling thread."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
