"""Upserts and searches at once from two processes: latencies, whether anything is missed or stale, and their memory.

Usage: python benchmarks/mixed.py [--seconds 60] [--documents 20000] [--upserts 200] [--searches 50] [--batch 20]
                                  [--precision f32|bf16|int8] [--warm 120]

A collection of real lines is written to by one process (`upserts` records a second in calls of `batch`, one in ten
calls followed by a deletion) and searched by another, both with the real model. Half of the searches ask for the text
of the record that was acknowledged last and must find it; no search may return a record whose deletion was
acknowledged before it began. Nothing of the first seconds (`--warm`) counts, while caches fill: of shapes that are
compiled, of pages of the database, and of words, of which 16,384 different ones come in a good minute. Both processes
have two of malloc's arenas, as `sememe sync --watch` has and docs/way-of-the-data.md advises. What each holds that it
shares with no file is looked at four times a second from outside. Calls are due at a steady rate, whatever the ones
before took; each is timed from its beginning and from when it was due, so that what waits behind a long one counts
(Tene, How not to measure latency, 2013). Draws results/mixed*.svg; the last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import corpora
import harness

import sememe

LOOKS = 4
"""How often a second the memory of a process is looked at."""

LONG = 300
"""Seconds from which on a run has results of its own."""

LEFT, TOP, WIDTH, HEIGHT = 44, 32, 640, 240


def main() -> None:
    parser = argparse.ArgumentParser(description="Writing and searching at the same time.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm", type=float, default=120.0, help="seconds of the same load before them")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--upserts", type=int, default=200, help="records a second")
    parser.add_argument("--searches", type=int, default=50, help="searches a second")
    parser.add_argument("--batch", type=int, default=20, help="records of one call")
    parser.add_argument("--mode", default="vector", help="vector, lexical or hybrid")
    parser.add_argument("--precision", default="auto", help="what the model computes in, in both processes")
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    parser.add_argument("--quick", action="store_true", help="10 seconds over 2,000 documents, no result is kept")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.warm, options.documents = 10.0, 2.0, 2_000
    os.environ["SEMEME_PRECISION"], os.environ["MALLOC_ARENA_MAX"] = options.precision, "2"
    texts, fresh = corpora.lines(options.cache, options.documents, queries=20_000)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "collection"
        with sememe.open(folder) as collection:
            collection.add(({"id": f"k{i}", "text": text} for i, text in enumerate(texts)), chunk=False)
        found = run(folder, fresh, options)
    show(found, options)
    settings = {
        name: getattr(options, name)
        for name in ("seconds", "warm", "documents", "upserts", "searches", "batch", "mode", "precision")
    }
    name = "mixed" if options.precision == "auto" else f"mixed-{options.precision}"
    if options.seconds >= LONG:
        name += "-long"
    if not options.quick:
        (harness.RESULTS / f"{name}.svg").write_text(chart(found["memory"], options.warm), encoding="utf-8")
    harness.finish(name, {"settings": settings, **found}, keep=not options.quick)
    if found["missed"] or found["stale"] or found["errors"]:
        sys.exit("rows were missed, stale, or there were errors")


def run(folder: Path, fresh: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Both processes side by side; what each measured."""
    context = multiprocessing.get_context("spawn")
    said, results, ready = context.Queue(), context.Queue(), context.Barrier(3)
    arguments = (str(folder), fresh, vars(options), said, results, ready)
    processes = {"writer": context.Process(target=write, args=arguments),
                 "searcher": context.Process(target=search, args=arguments)}  # fmt: skip
    for process in processes.values():
        process.start()
    ready.wait()
    watched = watch(folder, {name: process.pid for name, process in processes.items()}, options)
    found: dict[str, Any] = {}
    for _ in processes:
        found.update(results.get())
    for process in processes.values():
        process.join()
    return {**found, "errors": [*found.pop("write errors"), *found.pop("search errors")], **watched}


def watch(folder: Path, processes: Mapping[str, int], options: argparse.Namespace) -> dict[str, Any]:
    """The memory of each process while they run, and how often files of an index were written anew where it counts."""
    sizes: dict[str, list[float]] = {name: [] for name in processes}
    files: list[set[str]] = []
    begun, warm = time.perf_counter(), int(LOOKS * options.warm)
    for number in range(int(LOOKS * (options.warm + options.seconds))):
        time.sleep(max(0.0, begun + number / LOOKS - time.perf_counter()))
        for name, process in processes.items():
            sizes[name].append(resident(process))
        files.append({path.stem for kind in ("vectors-*.slab", "neighbours-*.faiss") for path in folder.glob(kind)})
    before, after = set[str]().union(*files[:warm]), set[str]().union(*files[warm:])
    anew = [name.split("-")[0] for name in after - before]
    return {"memory": {name: level(found, warm) for name, found in sizes.items()},
            "written anew": {kind: anew.count(kind) for kind in ("vectors", "neighbours")}}  # fmt: skip


def level(sizes: list[float], warm: int) -> dict[str, Any]:
    """Megabytes: how they stood when the load began, the medians of the first and the last tenth of what counts, and
    the most, which is while indexes are made anew.

    `a minute` is the growth by the median of the slopes between any two seconds (Theil 1950, Sen 1968), `seconds` the
    whole curve, warm-up and all.
    """
    counted, seconds = sizes[warm:], sizes[warm::LOOKS]
    tenth = max(1, len(counted) // 10)
    first, last = statistics.median(counted[:tenth]), statistics.median(counted[-tenth:])
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in itertools.combinations(enumerate(seconds), 2)]
    return {
        "begin": sizes[0], "first tenth": first, "last tenth": last, "growth": last / first - 1,
        "a minute": 60 * statistics.median(slopes), "peak": max(counted), "seconds": sizes[::LOOKS],
    }  # fmt: skip


def write(folder: str, fresh: list[str], options: dict[str, Any], said: Any, results: Any, ready: Any) -> None:
    """Upsert at a steady rate and say what was acknowledged."""
    dice, took, errors, deletions = random.Random(1), Took(), [], 0
    rate = options["upserts"] / options["batch"]
    with sememe.open(folder) as collection:
        collection.embedder.embed(["warm up"], role="document")
        ready.wait()
        for number, (due, counts) in enumerate(ticks(rate, options["warm"], options["seconds"])):
            chosen = [dice.randrange(2 * options["documents"]) for _ in range(options["batch"])]
            records = [{"id": f"k{key}", "text": f"{dice.choice(fresh)} ({number}.{key})"} for key in set(chosen)]
            begun = time.perf_counter()
            try:
                collection.add(records, chunk=False)
                took.note(begun, due, counts=counts)
                said.put(("there", time.time(), [(record["id"], record["text"]) for record in records]))
                if number % 10 == 9:
                    gone = dice.choice(records)["id"]
                    collection.delete(gone)
                    said.put(("gone", time.time(), [(gone, "")]))
                    deletions += counts
            except sememe.SememeError as error:
                errors.append(str(error))
    results.put({
        "write": took.timings(rate), "deletions": deletions,
        "upserted": len(took.call) * options["batch"], "write errors": errors,
    })  # fmt: skip


def search(folder: str, fresh: list[str], options: dict[str, Any], said: Any, results: Any, ready: Any) -> None:
    """Search at a steady rate; every second time for what was acknowledged last."""
    dice, took, errors = random.Random(2), Took(), []
    missed, stale, asked_new = 0, 0, 0
    there: dict[str, str] = {}
    gone: set[str] = set()
    with sememe.open(folder) as collection:
        collection.search("warm up", mode=options["mode"])
        ready.wait()
        for number, (due, counts) in enumerate(ticks(options["searches"], options["warm"], options["seconds"])):
            last = heard(said, there, gone)
            # A record may be replaced while it is searched for: only the search that begins at once counts.
            key = last if number % 2 and last in there else None
            query = there[key] if key is not None else dice.choice(fresh)
            dead = set(gone)
            begun = time.perf_counter()
            try:
                hits = collection.search(query, k=10, mode=options["mode"])
            except sememe.SememeError as error:
                errors.append(str(error))
                continue
            took.note(begun, due, counts=counts)
            found = {hit.document: hit.text for hit in hits}
            asked_new += counts and key is not None
            if (key is not None and found.get(key) != query) or dead & found.keys():
                # What was written since, and is acknowledged a moment later, is no fault.
                time.sleep(0.2)
                heard(said, there, gone)
                missed += key is not None and found.get(key) != query and there.get(key) == query
                stale += sum(name not in there for name in dead & found.keys())
    results.put({
        "search": took.timings(options["searches"]), "asked for the newest": asked_new, "missed": missed,
        "stale": stale, "search errors": errors,
    })  # fmt: skip


def heard(said: Any, there: dict[str, str], gone: set[str]) -> str:
    """Take in what was acknowledged; the key of the last record."""
    last = ""
    while not said.empty():
        what, _, records = said.get()
        for key, text in records:
            if what == "there":
                there[key], last = text, key
                gone.discard(key)
            else:
                there.pop(key, None)
                gone.add(key)
    return last


def ticks(rate: float, warm: float, seconds: float) -> Iterator[tuple[float, bool]]:
    """When a call is due, at a steady rate, and whether it is begun after `warm` seconds, when it counts.

    Whoever is late has the next ones at once, as long as the time goes.
    """
    begun = time.perf_counter()
    for number in itertools.count():
        due = begun + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        late = time.perf_counter() - begun
        if max(late, due - begun) >= warm + seconds:
            return
        yield due, late >= warm


@dataclass
class Took:
    """Seconds that calls took, from their beginning and from when they were due."""

    call: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def note(self, begun: float, due: float, *, counts: bool) -> None:
        """A call that ended now."""
        if counts:
            ended = time.perf_counter()
            self.call.append(ended - begun)
            self.waited.append(ended - due)

    def timings(self, wanted: float) -> dict[str, Any]:
        """Milliseconds by share, `due` from when calls were due; how many, beside the rate that was wanted."""
        return {**shares(self.call), "due": shares(self.waited), "calls": len(self.call), "wanted_a_second": wanted}


def shares(seconds: list[float]) -> dict[str, float]:
    """Milliseconds by share of the calls, their mean and the longest."""
    ordered = sorted(seconds)
    at = {f"p{share}": 1000 * ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 95, 99)}
    return {**at, "mean": 1000 * statistics.fmean(ordered), "longest": 1000 * ordered[-1]}


def resident(process: int) -> float:
    """Megabytes that a process has in memory and shares with no file."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def show(found: dict[str, Any], options: argparse.Namespace) -> None:
    """A table for people."""
    head = ["", "calls", "p50", "p95", "p99", "longest", "p95 since due"]
    rows = [[*head, "memory, first tenth", "last tenth", "growth", "a minute", "peak"]]
    for name, process in (("write", "writer"), ("search", "searcher")):
        f, m = found[name], found["memory"][process]
        at = [f"{ms:.1f} ms" for ms in (f["p50"], f["p95"], f["p99"], f["longest"], f["due"]["p95"])]
        sizes = [f"{m[when]:.1f} MB" for when in ("first tenth", "last tenth")]
        rest = [f"{m['growth']:+.1%}", f"{m['a minute']:+.1f} MB", f"{m['peak']:.1f} MB"]
        rows.append([name, f"{f['calls']:,}", *at, *sizes, *rest])
    harness.table(rows)
    anew = found["written anew"]
    print(
        f"{found['upserted']:,} upserts in {options.seconds:.0f} s, {found['deletions']} deletions; "
        f"{found['asked for the newest']:,} searches for what was acknowledged last: {found['missed']} missed; "
        f"{found['stale']} stale; {len(found['errors'])} errors {found['errors'][:2]}; vectors written anew "
        f"{anew['vectors']} times, the index of neighbours {anew['neighbours']} times\n"
    )


def chart(memory: Mapping[str, Mapping[str, Any]], warm: float) -> str:
    """An SVG of both processes' megabytes by second; what counts is right of the line."""
    most = 100 * -(-max(max(found["seconds"]) for found in memory.values()) // 100)
    span = max(len(found["seconds"]) for found in memory.values())

    def at(second: float, size: float) -> str:
        return f"{LEFT + second / span * WIDTH:.1f},{TOP + (1 - size / most) * HEIGHT:.1f}"

    def text(x: float, y: float, words: str, anchor: str) -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'

    parts = [text(LEFT, 18, "megabytes shared with no file, by second; the load begins at 0", "start")]
    for size in range(0, int(most) + 1, 100):
        y = TOP + (1 - size / most) * HEIGHT
        parts.append(f'<polyline points="{at(0, size)} {at(span, size)}" stroke="#ddd"/>')
        parts.append(text(LEFT - 8, y + 4, f"{size}", "end"))
    for second in (0, warm, span):
        parts.append(text(LEFT + second / span * WIDTH, TOP + HEIGHT + 18, f"{second:.0f} s", "middle"))
    parts.append(f'<polyline points="{at(warm, 0)} {at(warm, most)}" stroke="#888" stroke-dasharray="4 4"/>')
    for colour, (name, found) in zip(("#0b6e4f", "#d1495b"), memory.items(), strict=True):
        points = " ".join(at(second, size) for second, size in enumerate(found["seconds"]))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = float(at(0, found["seconds"][-1]).split(",")[1])
        parts.append(f'<g fill="{colour}">{text(LEFT + WIDTH + 8, y + 4, name, "start")}</g>')
    box = f"0 0 {LEFT + WIDTH + 80} {TOP + HEIGHT + 30}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


if __name__ == "__main__":
    main()
