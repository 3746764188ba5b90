"""Vector search side by side on real embeddings: recall against latency, and what it costs in time, disk and memory.

Usage: python benchmarks/vectors.py [--count N] [--synthetic N] [--contestants a,b|all] [--rounds N] [--quick]
                                    [--half development|held-out] [--cache FOLDER]

Every contestant builds in a process of its own, is opened in new ones, and then answers all queries one at a time at
every setting of its curve, in rounds that rotate. Recall@10 is against exact search. The kinds of index and their
parameters were chosen on the development half of the queries; what is reported is the held-out half. Above 200,000
rows only sememe and the best two of the last run at 200,000 take part, unless contestants are named. Synthetic
vectors are clustered Gaussians from a fixed seed. The last line is JSON, also kept in benchmarks/results/ with the
curves as SVG beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import embedded
import harness
import numpy as np
import numpy.typing as npt
import vector_peers
from vector_peers import DIM, Vectors

K = 10
HALVES = {"development": (0, 500), "held-out": (500, 1000)}
TARGETS = (0.95, 0.99)
FULL_FIELD = 200_000
TIE = 1e-6
"""Cosines that differ by less are equal: float32 sums in another order differ by that much."""
OPENINGS = 3
BLOCK = 50_000

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Data:
    """Unit vectors in a .npy file, of which the first `count` rows are used, and unit queries in another."""

    name: str
    count: int
    file: Path
    queries_file: Path

    @property
    def vectors(self) -> Vectors:
        """The rows (count, dim), mapped."""
        rows: Vectors = np.load(self.file, mmap_mode="r")[: self.count]
        return rows

    @property
    def queries(self) -> Vectors:
        """All queries (1000, dim), both halves."""
        rows: Vectors = np.load(self.queries_file)
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Recall against latency of sememe and its peers.")
    parser.add_argument("--contestants", default="", help="names of vector_peers.VARIANTS with commas between, or all")
    parser.add_argument("--half", choices=HALVES, default="held-out", help="development: for choosing settings")
    options = parsed(parser)
    data = data_of(options)
    names = chosen(options.contestants, data)
    first, last = HALVES[options.half]
    asked = {"k": K, "first": first, "last": last}
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folders = {name: Path(scratch) / name.removesuffix("-bare") for name in names}
        found = {name: built_and_opened(name, folders[name], data) for name in names}
        measured = searched(folders, found, data, asked, options.rounds)
    truth = exact(data.vectors, data.queries[first:last], K)
    for name, one in found.items():
        if "failed" not in one:
            one["curve"] = curve(measured, name, data, truth, first)
            one["fastest"] = {str(target): fastest(one["curve"], target) for target in TARGETS}
    report(options, data, found)


def parsed(parser: argparse.ArgumentParser, *, count: int = 200_000, rounds: int = 3) -> argparse.Namespace:
    """The options of a benchmark on vectors: those added by the caller, and the common ones."""
    parser.add_argument("--count", type=int, default=count, help="so many real vectors")
    parser.add_argument("--synthetic", type=int, default=0, metavar="N", help="so many synthetic vectors instead")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--quick", action="store_true", help="20,000 vectors, one round, no result is kept")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    parser.add_argument("--scratch", type=Path, help="where the indexes are built, instead of the temporary folder")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
        options.count, options.synthetic = 20_000, min(options.synthetic, 20_000)
    return options


def data_of(options: argparse.Namespace) -> Data:
    """The vectors that the options ask for, from the cache when they were made before."""
    cache: Path = options.cache
    if options.synthetic:
        return synthetic(cache, options.synthetic)
    vectors, queries = embedded.embedded(cache, options.count)
    return Data("lines", options.count, Path(vectors.filename), Path(queries.filename))


def synthetic(cache: Path, count: int, queries: int = 1000, seed: int = 17) -> Data:
    """Clustered Gaussians: a cluster for every 500 rows, its centre and a row's offset of equal expected length."""
    folder = cache / "synthetic"
    file, queries_file = folder / f"first-{count}.npy", folder / f"queries-{count}.npy"
    if not queries_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(seed)
        centres = random.standard_normal((max(1, count // 500), DIM), dtype=np.float32)
        rows = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(count, DIM))
        for start in range(0, count, BLOCK):
            rows[start : start + BLOCK] = around(centres, random, min(BLOCK, count - start))
        rows.flush()
        np.save(queries_file, around(centres, random, queries))
    return Data("synthetic", count, file, queries_file)


def around(centres: Vectors, random: np.random.Generator, count: int) -> Vectors:
    """`count` unit vectors about randomly drawn centres."""
    rows = centres[random.integers(len(centres), size=count)] + random.standard_normal((count, DIM), dtype=np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def chosen(names: str, data: Data) -> list[str]:
    """The contestants that are named, or those that take part at this size."""
    if names == "all":
        return list(vector_peers.VARIANTS)
    if names:
        given = names.split(",")
        unknown = [name for name in given if name not in vector_peers.VARIANTS]
        if unknown:
            raise SystemExit(f"{', '.join(unknown)}: no contestant; there are {', '.join(vector_peers.VARIANTS)}")
        return given
    if data.count <= FULL_FIELD:
        return [*vector_peers.OURS, *vector_peers.CHOSEN]
    return [*vector_peers.OURS, *best_two()]


def best_two() -> list[str]:
    """The two peers that were fastest at the first target among all at 200,000 rows."""
    kept = harness.RESULTS / f"vectors-lines-{FULL_FIELD}.json"
    if not kept.exists():
        return list(vector_peers.CHOSEN[:2])
    before = json.loads(kept.read_text(encoding="utf-8"))["contestants"]
    reached = {name: one["fastest"][str(TARGETS[0])] for name, one in before.items() if "fastest" in one}
    times = {n: f["p50"] for n, f in reached.items() if f and n not in vector_peers.OURS and n in vector_peers.VARIANTS}
    return sorted(times, key=times.__getitem__)[:2]


class Contender(harness.Worker):
    """A worker whose failure is a result: from then on it answers {"failed": the last words of its log}."""

    def __init__(self, name: str, folder: Path) -> None:
        self._log = folder.parent / f"{folder.name}.log"
        self._failure = ""
        python = sys.executable if name.startswith("sememe") else harness.index_peers_python()
        super().__init__(name, python, [vector_peers.__file__, name, str(folder), str(self._log)])

    def call(self, operation: str, argument: Any = None) -> Any:
        """As a worker's, but never raises."""
        if not self._failure:
            try:
                return super().call(operation, argument)
            except (RuntimeError, OSError) as error:
                said = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
                self._failure = f"{error}: {said[-1][:300] if said else 'it said nothing'}"
        return {"failed": self._failure}

    def close(self) -> None:
        """End the process; one that died before has nothing to say to that."""
        with contextlib.suppress(OSError):
            super().close()


def built_and_opened(name: str, folder: Path, data: Data) -> dict[str, Any]:
    """Build in one process and open in others; what both took, or {"failed": why}."""
    say(f"{name}: building")
    result: dict[str, Any] = {}
    if not folder.exists():
        result["build"] = once(name, folder, "build", {"vectors": str(data.file), "count": data.count})[0]
    opened = [once(name, folder, "open", {"queries": str(data.queries_file)}) for _ in range(OPENINGS)]
    failures = [one for one in (result.get("build", {}), *(answer for answer, _ in opened)) if "failed" in one]
    if failures:
        say(f"{name}: failed: {failures[0]['failed']}")
        return {"failed": failures[0]["failed"]}
    result["open"] = {
        "seconds": statistics.median(answer["seconds"] for answer, _ in opened),
        "process_seconds": statistics.median(seconds for _, seconds in opened),
    }
    return result


def once(name: str, folder: Path, operation: str, argument: Any) -> tuple[dict[str, Any], float]:
    """One operation in a new process: its answer, and the seconds from starting the process to the answer."""
    start = time.perf_counter()
    contender = Contender(name, folder)
    answer = contender.call(operation, argument)
    seconds = time.perf_counter() - start
    contender.close()
    return answer, seconds


def searched(
    folders: Mapping[str, Path], found: dict[str, dict[str, Any]], data: Data, asked: Mapping[str, int], rounds: int
) -> list[dict[str, Any]]:
    """Rounds in which every contestant answers all queries at all settings, after one with the other half.

    Writes each one's memory into `found`: after opening, and after the other half's queries. Whoever fails is
    marked there and left out of the rounds.
    """
    other = next(half for half in HALVES.values() if half[0] != asked["first"])
    alive = []
    for name in [name for name, one in found.items() if "failed" not in one]:
        say(f"{name}: warming up")
        contender = Contender(name, folders[name])
        opened = contender.call("open", {"queries": str(data.queries_file)})
        settled = contender.call("settle", {**asked, "first": other[0], "last": other[1]})
        warm = contender.call("run", {**asked, "first": other[0], "last": other[1]})
        if "failed" in warm:
            found[name]["failed"] = warm["failed"]
            continue
        found[name]["memory"] = {
            "imported": opened["imported"], "opened": opened["memory"], "searched": settled
        }  # fmt: skip
        alive.append(contender)
    say(f"{rounds} rounds of {len(alive)} contestants")
    measured = harness.rounds(alive, "run", asked, rounds)
    for contender in alive:
        contender.close()
        failures = [one[contender.name]["failed"] for one in measured if "failed" in one[contender.name]]
        if failures:
            found[contender.name]["failed"] = failures[0]
    return measured


def exact(vectors: Vectors, queries: Vectors, k: int) -> Vectors:
    """The k highest cosines of each query, best first: (q, k)."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(vectors), BLOCK):
        scores = queries @ np.asarray(vectors[start : start + BLOCK]).T
        best = np.sort(np.concatenate([best, np.partition(scores, -min(k, scores.shape[1]))[:, -k:]], axis=1))[:, -k:]
    return best[:, ::-1]


def recall(ids: Sequence[int], query: Vectors, vectors: Vectors, best: Vectors) -> float:
    """The share of the best (their cosines, best first) that was found; rows as near as the last one count as well."""
    distinct = np.unique(np.asarray(ids, dtype=np.int64))
    hits = int((np.asarray(vectors[distinct]) @ query >= best[-1] - TIE).sum())
    return min(hits, len(best)) / len(best)


def curve(
    measured: Sequence[Mapping[str, Any]], name: str, data: Data, truth: Vectors, first: int
) -> list[dict[str, Any]]:
    """For each setting: recall, and percentiles of the milliseconds of a query over all rounds."""
    queries, vectors = data.queries[first : first + len(truth)], data.vectors
    points = []
    for number, point in enumerate(measured[0][name]["points"]):
        rounds = [one[name]["points"][number] for one in measured]
        pooled = np.concatenate([one["milliseconds"] for one in rounds])
        p50, p95, p99 = np.percentile(pooled, (50, 95, 99)).tolist()
        shares = [recall(ids, q, vectors, best) for ids, q, best in zip(point["ids"], queries, truth, strict=True)]
        points.append(
            {
                "setting": point["setting"], "recall": statistics.fmean(shares), "p50": p50, "p95": p95, "p99": p99,
                "cpu": statistics.fmean(one["cpu"] for one in rounds) * 1000,
                "p50_of_rounds": [statistics.median(one["milliseconds"]) for one in rounds],
            }
        )  # fmt: skip
    return points


def fastest(points: Sequence[dict[str, Any]], target: float) -> dict[str, Any] | None:
    """The point with the smallest median among those that reach the target; None when none does."""
    reached = [point for point in points if point["recall"] >= target]
    return min(reached, key=lambda point: float(point["p50"])) if reached else None


def report(options: argparse.Namespace, data: Data, found: Mapping[str, dict[str, Any]]) -> None:
    """Print the tables, and keep the result and its chart."""
    harness.table([["contestant", "setting", "recall@10", "p50 ms", "p95", "p99", "CPU ms"], *curve_rows(found)])
    head = ["contestant", "build s", "disk MB", "open s", "process s", "opened MB", "anonymous", "files",
            "searched MB", "anonymous", "files", *(f"p50 at {target}" for target in TARGETS)]  # fmt: skip
    harness.table([head, *(summary_row(name, one) for name, one in found.items() if "failed" not in one)])
    for name, one in found.items():
        if "failed" in one:
            print(f"{name} failed: {one['failed']}\n")
    kept = not options.quick and options.half == "held-out"
    name = f"vectors-{data.name}-{data.count}"
    if kept:
        lines = {one: [(p["p50"], p["recall"]) for p in f["curve"]] for one, f in found.items() if "curve" in f}
        title = f"{data.count:,} {'real' if data.name == 'lines' else 'synthetic'} vectors, {DIM} dimensions, k = {K}"
        harness.RESULTS.mkdir(parents=True, exist_ok=True)
        (harness.RESULTS / f"{name}.svg").write_text(line_chart(lines, title), encoding="utf-8")
    facts = {"data": data.name, "count": data.count, "dim": DIM, "k": K, "half": options.half}
    harness.finish(name, {**facts, "rounds": options.rounds, "contestants": found}, keep=kept)


def curve_rows(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    return [
        [name, " ".join(f"{key}={value:g}" for key, value in point["setting"].items()), f"{point['recall']:.4f}",
         *(f"{point[at]:.3f}" for at in ("p50", "p95", "p99", "cpu"))]
        for name, one in found.items() for point in one.get("curve", ())
    ]  # fmt: skip


def summary_row(name: str, one: Mapping[str, Any]) -> list[str]:
    """One line of the summary; who shares the files of another has no figures of building."""
    build = one.get("build")
    times = [one["fastest"][str(target)] for target in TARGETS]
    return [
        name, f"{build['seconds']:.1f}" if build else "", f"{build['disk']:.0f}" if build else "",
        f"{one['open']['seconds']:.3f}", f"{one['open']['process_seconds']:.2f}",
        *(f"{one['memory'][when][part]:.0f}" for when in ("opened", "searched")
          for part in ("resident", "anonymous", "files")),
        *(f"{best['p50']:.3f}" if best else "not reached" for best in times),
    ]  # fmt: skip


COLOURS = ("#0b6e4f", "#d1495b", "#00798c", "#edae49", "#6a4c93", "#30638e", "#8d6346", "#7a7a7a", "#c2255c", "#5c940d")
RECALLS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 520, 70, 230, 40, 60


def line_chart(lines: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """An SVG of (milliseconds, recall) points: both axes logarithmic, recall by its distance from 1."""
    times = [x for points in lines.values() for x, _ in points]
    low, high = math.log10(min(times)) - 0.05, math.log10(max(times)) + 0.05

    def across(milliseconds: float) -> float:
        return LEFT + (math.log10(milliseconds) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(share: float) -> float:
        height = -math.log10(1 - min(max(share, RECALLS[0]), RECALLS[-1]))
        ends = [-math.log10(1 - end) for end in (RECALLS[0], RECALLS[-1])]
        return HEIGHT - BOTTOM - (height - ends[0]) / (ends[1] - ends[0]) * (HEIGHT - TOP - BOTTOM)

    steps = (base * 10.0**power for power in range(-3, 5) for base in (1, 2, 5))
    ticks = [step for step in steps if low <= math.log10(step) <= high]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="13"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            _text(LEFT, 24, title, weight="bold"),
            _text((WIDTH - RIGHT + LEFT) / 2, HEIGHT - 14, "median milliseconds of one query", anchor="middle"),
            f'<g transform="translate(18 {HEIGHT / 2}) rotate(-90)">{_text(0, 0, "recall@10", anchor="middle")}</g>',
            *(_rule(across(tick), TOP, across(tick), HEIGHT - BOTTOM) for tick in ticks),
            *(_text(across(tick), HEIGHT - BOTTOM + 18, f"{tick:g}", anchor="middle") for tick in ticks),
            *(_rule(LEFT, down(share), WIDTH - RIGHT, down(share)) for share in RECALLS),
            *(_text(LEFT - 8, down(share) + 4, f"{share:g}", anchor="end") for share in RECALLS),
            *(
                _line(number, name, sorted((across(x), down(y)) for x, y in points))
                for number, (name, points) in enumerate(lines.items())
            ),
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _line(number: int, name: str, points: Sequence[tuple[float, float]]) -> str:
    """One contestant: its line, its points, and its place in the legend; dashed when the colours come round again."""
    colour, dashes = COLOURS[number % len(COLOURS)], "5 3" if number >= len(COLOURS) else "none"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    x, y = WIDTH - RIGHT + 20, TOP + 10 + number * 22
    key = f'<line x1="{x}" y1="{y}" x2="{x + 24}" y2="{y}" {stroke}/>{_text(x + 32, y + 4, name)}'
    return f'<polyline points="{path}" {stroke}/>{dots}{key}'


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
