"""Upserts and searches at once from two processes: latencies, whether anything is missed, stale or leaks.

Usage: python benchmarks/mixed.py [--seconds 60] [--documents 20000] [--upserts 200] [--searches 50] [--batch 20]
                                  [--precision f32|bf16|int8] [--warm 30]

A collection of real lines is written to by one process (`upserts` records a second in calls of `batch`, one in ten
calls followed by a deletion) and searched by another, both with the real model. Half of the searches ask for the text
of the record that was acknowledged last and must find it; no search may return a record whose deletion was
acknowledged before it began. Nothing of the first seconds (`--warm`) counts, while caches fill. Both processes have
two of malloc's arenas, as `sememe sync --watch` has and docs/way-of-the-data.md advises. The last line is JSON.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import corpora
import harness

import sememe


def main() -> None:
    parser = argparse.ArgumentParser(description="Writing and searching at the same time.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm", type=float, default=30.0, help="seconds of the same load before them")
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
    harness.finish(name, {"settings": settings, **found}, keep=not options.quick)
    if found["missed"] or found["stale"] or found["errors"]:
        sys.exit("rows were missed, stale, or there were errors")


def run(folder: Path, fresh: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Both processes side by side; what each measured."""
    context = multiprocessing.get_context("spawn")
    said, results, ready = context.Queue(), context.Queue(), context.Barrier(2)
    arguments = (str(folder), fresh, vars(options), said, results, ready)
    processes = [context.Process(target=target, args=arguments) for target in (write, search)]
    for process in processes:
        process.start()
    found: dict[str, Any] = {}
    for _ in processes:
        found.update(results.get())
    for process in processes:
        process.join()
    found["errors"] = [*found.pop("write errors"), *found.pop("search errors")]
    return found


def write(folder: str, fresh: list[str], options: dict[str, Any], said: Any, results: Any, ready: Any) -> None:
    """Upsert at a steady rate and say what was acknowledged."""
    dice, latencies, errors, sizes, deletions = random.Random(1), [], [], [], 0
    rate = options["upserts"] / options["batch"]
    with sememe.open(folder) as collection:
        collection.embedder.embed(["warm up"], role="document")
        ready.wait()
        for number, counts in enumerate(ticks(rate, options["warm"], options["seconds"])):
            chosen = [dice.randrange(2 * options["documents"]) for _ in range(options["batch"])]
            records = [{"id": f"k{key}", "text": f"{dice.choice(fresh)} ({number}.{key})"} for key in set(chosen)]
            begun = time.perf_counter()
            try:
                collection.add(records, chunk=False)
                latencies += [time.perf_counter() - begun] * counts
                said.put(("there", time.time(), [(record["id"], record["text"]) for record in records]))
                if number % 10 == 9:
                    gone = dice.choice(records)["id"]
                    collection.delete(gone)
                    said.put(("gone", time.time(), [(gone, "")]))
                    deletions += counts
            except sememe.SememeError as error:
                errors.append(str(error))
            if counts and number % 50 == 0:
                sizes.append(resident())
    results.put({
        "write": timings(latencies, rate), "deletions": deletions,
        "upserted": len(latencies) * options["batch"], "write errors": errors, "writer megabytes": sizes,
    })  # fmt: skip


def search(folder: str, fresh: list[str], options: dict[str, Any], said: Any, results: Any, ready: Any) -> None:
    """Search at a steady rate; every second time for what was acknowledged last."""
    dice, latencies, errors, sizes = random.Random(2), [], [], []
    missed, stale, asked_new = 0, 0, 0
    there: dict[str, str] = {}
    gone: set[str] = set()
    with sememe.open(folder) as collection:
        collection.search("warm up", mode=options["mode"])
        ready.wait()
        for number, counts in enumerate(ticks(options["searches"], options["warm"], options["seconds"])):
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
            latencies += [time.perf_counter() - begun] * counts
            found = {hit.document: hit.text for hit in hits}
            asked_new += counts and key is not None
            if (key is not None and found.get(key) != query) or dead & found.keys():
                # What was written since, and is acknowledged a moment later, is no fault.
                time.sleep(0.2)
                heard(said, there, gone)
                missed += key is not None and found.get(key) != query and there.get(key) == query
                stale += sum(name not in there for name in dead & found.keys())
            if counts and number % 100 == 0:
                sizes.append(resident())
    results.put({
        "search": timings(latencies, options["searches"]), "asked for the newest": asked_new, "missed": missed,
        "stale": stale, "search errors": errors, "searcher megabytes": sizes,
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


def ticks(rate: float, warm: float, seconds: float) -> Iterator[bool]:
    """At a steady rate, or as fast as the caller can where that is slower: whether it counts, after `warm` seconds."""
    begun = time.perf_counter()
    at = begun
    while at - begun < warm + seconds:
        time.sleep(max(0.0, at - time.perf_counter()))
        yield at - begun >= warm
        # What came too late is not made up for in a burst.
        at = max(at + 1 / rate, time.perf_counter() - 1.0)


def timings(latencies: list[float], wanted: float) -> dict[str, float]:
    """Milliseconds by share, and the rate that was reached beside the one that was wanted."""
    ordered = sorted(latencies)
    at = {f"p{share}": 1000 * ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 95, 99)}
    return {**at, "mean": 1000 * statistics.fmean(ordered), "calls": len(ordered), "wanted_a_second": wanted}


def resident() -> float:
    """Megabytes that this process has in memory and shares with no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def show(found: dict[str, Any], options: argparse.Namespace) -> None:
    """A table for people."""
    rows = [["", "calls", "p50", "p95", "p99", "memory at first", "at the end"]]
    for name, sizes in (("write", found["writer megabytes"]), ("search", found["searcher megabytes"])):
        f = found[name]
        at = [f"{f[share]:.1f} ms" for share in ("p50", "p95", "p99")]
        rows.append([name, f"{f['calls']:,}", *at, f"{sizes[0]:.0f} MB", f"{sizes[-1]:.0f} MB"])
    harness.table(rows)
    print(
        f"{found['upserted']:,} upserts in {options.seconds:.0f} s, {found['deletions']} deletions; "
        f"{found['asked for the newest']:,} searches for what was acknowledged last: {found['missed']} missed; "
        f"{found['stale']} stale; {len(found['errors'])} errors {found['errors'][:2]}\n"
    )


if __name__ == "__main__":
    main()
