"""Write the tables of the README and docs from the figures in benchmarks/results; `--check` only compares them.

Usage: python benchmarks/tables.py [--check]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from math import exp
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
MARKS = re.compile(r"(<!-- tables: begin[^\n]*-->\n).*?(<!-- tables: end -->)", flags=re.DOTALL)


def main() -> int:
    stale = []
    for page, writers in PAGES.items():
        text = page.read_text(encoding="utf-8")
        left = iter(writers)
        fresh = MARKS.sub(lambda marks, left=left: f"{marks[1]}{next(left)()}{marks[2]}", text)
        if fresh != text:
            stale.append(page)
            if "--check" not in sys.argv[1:]:
                page.write_text(fresh, encoding="utf-8")
    return 1 if stale and "--check" in sys.argv[1:] else 0


def chunks(result: dict[str, Any]) -> str:
    """Every corpus before and after: chunks, and how many have which fault."""
    before, after = result["before"], result["after"]
    corpora = [name for name, found in after.items() if isinstance(found, dict)]
    rows = []
    for name in corpora:
        pairs = [(str(before[name]["chunks"]), str(after[name]["chunks"]))]
        pairs += [(str(before[name]["faults"][kind]), str(after[name]["faults"][kind])) for kind in FAULTS]
        rows.append([name, str(after[name]["files"]), *(f"{old} → {new}" for old, new in pairs)])
    return markdown(["corpus", "files", "chunks", *FAULTS], rows)


FAULTS = ("cut sentence", "almost empty", "orphan heading", "duplicate", "noise", "truncated")


def tables() -> str:
    """Every table whose results are there, with the machine they were measured on."""
    parts = [
        table(load(path.stem))
        for name, table in TABLES.items()
        # Real vectors before synthetic ones, fewer before more.
        for path in sorted(
            RESULTS.glob(f"{name}.json"), key=lambda path: ("synthetic" in path.stem, len(path.stem), path.stem)
        )
    ]
    return "\n".join(parts)


def load(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def embed(result: dict[str, Any]) -> str:
    rows = []
    for model, found in result["models"].items():
        for name, figures in found["sets"].items():
            for contestant, f in figures["figures"].items():
                faster = "" if contestant == "sememe" else f"{f['sememe_is_faster_by']['median']:.2f} ×"
                less = "" if contestant == "sememe" else f"{f['sememe_takes_less_cpu_by']['median']:.2f} ×"
                rows.append(
                    [model, name, contestant, f"{f['texts_per_second']:,.0f}", f"{f['tokens_per_second']:,.0f}",
                     f"{f['megabytes']:,.0f}", faster, less]
                )  # fmt: skip
    head = ["model", "texts", "engine", "texts/s", "tokens/s", "peak MB", "sememe is faster by", "in CPU seconds"]
    return f"**Embedding**, the same weights and texts, {machine(result)}:\n\n{markdown(head, rows)}"


def ingest(result: dict[str, Any]) -> str:
    rows = [
        [name, f"{f['files']:,}", f"{f['chunks']:,}", f"{f['alone_seconds']:.1f} s", f"{f['end_to_end_seconds']:.1f} s",
         f"{f['ratio']['median']:.2f}"]
        for name, f in result["folders"].items()
    ]  # fmt: skip
    head = ["a folder with", "files", "chunks", "embedding alone", "read, cut, embedded, stored", "ratio"]
    return f"**From files to answers**, {machine(result)}:\n\n{markdown(head, rows)}"


def start(result: dict[str, Any]) -> str:
    rows = [[name, f"{f['median']:.2f} s"] for name, f in result["seconds"].items()]
    return f"**A new process**, {machine(result)}:\n\n{markdown(['process', 'seconds'], rows)}"


def retrieval(result: dict[str, Any]) -> str:
    rows = []
    for corpus, f in result["corpora"].items():
        for way in (key for key, value in f.items() if isinstance(value, dict)):
            gap = f[way].get("difference", {}).get("ndcg@10")
            shown = f"{gap['mean']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})" if gap else ""
            rows.append([corpus, way, f"{f[way]['recall@10']:.3f}", f"{f[way]['ndcg@10']:.4f}", shown])
    head = ["20,000 documents, 1,000 queries", "way", "recall@10", "nDCG@10", "difference in nDCG (95 %)"]
    what = "WordNet (gloss → lemmas and examples) and Debian packages (short → long description)"
    return f"**Finding what it should**, {what}:\n\n{markdown(head, rows)}"


def precision(result: dict[str, Any]) -> str:
    rows = []
    for corpus, f in result["corpora"].items():
        gap = f["sememe int8"]["difference"]["ndcg@10"]
        rows.append(
            [f"{corpus}, {f['documents']:,} documents", *(f"{f[name]['ndcg@10']:.4f}" for name in PRECISIONS),
             f"{gap['mean']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})", "yes" if f["rule met"] else "no"]
        )  # fmt: skip
    return markdown(["nDCG@10", "f32", "int8", "difference (95 %)", "rule met"], rows)


PRECISIONS = ("sememe f32", "sememe int8")


def long(result: dict[str, Any]) -> str:
    """What each way of long texts finds, and how many vectors that takes."""

    def told(gap: dict[str, float], sign: str = "") -> str:
        return (
            f"{gap['mean']:{sign}.3f} ({gap['low']:{sign}.3f} to {gap['high']:{sign}.3f})" if any(gap.values()) else ""
        )

    rows = [
        [row["way"], f"{row['vectors']:.1f}", f"{row['first']:.3f}", told(row["ndcg@10"]), told(row["difference"], "+")]
        for row in result["rows"]
    ]  # fmt: skip
    words = result["words"] / result["documents"]
    what = (
        f"{result['documents']} pages of {words:,.0f} words, {result['queries']} headings, {result['rows'][0]['model']}"
    )
    head = ["", "vectors a page", "found first", "nDCG@10 (95 %)", "against chunks (95 %)"]
    return f"{what}:\n\n{markdown(head, rows)}"


def vectors(result: dict[str, Any]) -> str:
    rows = []
    for name, f in result["contestants"].items():
        if "failed" in f:
            continue
        times = [f["fastest"][target] for target in ("0.95", "0.99")]
        build = f.get("build", {})
        rows.append(
            [NAMES.get(name, name), *(f"{t['p50']:.2f} ms" if t else "not reached" for t in times),
             f"{build['seconds']:,.0f} s" if build else "", f"{build['disk']:,.0f} MB" if build else "",
             f"{f['memory']['searched']['anonymous'] - f['memory']['imported']['anonymous']:,.0f} MB",
             f"{f['open']['seconds']:.2f} s"]
        )  # fmt: skip
    head = ["", "recall@10 ≥ .95", "≥ .99", "build", "disk", "memory", "open"]
    kind = "real" if result["data"] == "lines" else "synthetic, clustered"
    what = f"{result['count']:,} {kind} vectors of {result['dim']} dimensions, one query at a time, median"
    return f"**Vector search**, {what}, {machine(result)}:\n\n{markdown(head, rows)}"


NAMES = {"sememe": "sememe, with texts and metadata", "sememe-bare": "sememe, ids and scores as the others"}


def filters(result: dict[str, Any]) -> str:
    cells = {name: f["cells"] for name, f in result["contestants"].items() if "cells" in f}
    rows = [
        [f"{cell['kind']}, {cell['share']}"]
        + [f"{c['recall']:.3f} · {c['p50']:.1f} ms" for name in cells for c in cells[name]
           if (c["kind"], c["share"]) == (cell["kind"], cell["share"])]
        for cell in cells["sememe"]
    ]  # fmt: skip
    kind = "real" if result["data"] == "lines" else "synthetic, clustered"
    what = f"recall@10 · median, {result['count']:,} {kind} vectors"
    return f"**Filtered search**, {what}, {machine(result)}:\n\n{markdown(['matching rows', *cells], rows)}"


def hybrid(result: dict[str, Any]) -> str:
    speed = result["speed"]
    rows = [[mode, *(f"{speed[mode][p]:.1f} ms" for p in ("p50", "p95"))] for mode in ("vector", "lexical", "hybrid")]
    what = f"{result['documents']:,} one-line documents, embedding of the query included"
    text = f"**By meaning, by words, by both**, {what}, {machine(result)}:\n\n{markdown(['mode', 'p50', 'p95'], rows)}"
    found = [[name, f"{r['sememe']:.4f}", f"{r['bm25s']:.4f}"] for name, r in result["ranking"].items()]
    return f"{text}\n{markdown(['BM25, nDCG@10', 'sememe', 'bm25s'], found)}"


def mixed(result: dict[str, Any]) -> str:
    s = result["settings"]
    rows = []
    for name, key in ((f"add {s['batch']} records", "write"), ("search", "search")):
        found = result[key]
        times = [*(found[share] for share in ("p50", "p95", "p99", "longest")), found["due"]["p95"]]
        rows.append([name, f"{found['calls']:,}", *(f"{time:,.1f} ms" for time in times)])
    what = (
        f"two processes for {s['seconds']:.0f} s after {s['warm']:.0f} s of the same, "
        f"{s['upserts']} upserts and {s['searches']} searches a second wanted, "
        f"{result['upserted'] / s['seconds']:.0f} and {result['search']['calls'] / s['seconds']:.0f} reached, "
        f"{s['documents']:,} documents; {result['missed']} of {result['asked for the newest']:,} searches missed what "
        f"had just been acknowledged, {result['stale']} deletions were still seen"
    )
    head = ["call, embedding included", "calls", "p50", "p95", "p99", "longest", "p95 from when it was due"]
    precision = s.get("precision", "auto")
    model = "" if precision == "auto" else f" (model in {precision})"
    return (
        f"**Writing and searching at once**{model}: {what}, {grown(result)}, {machine(result)}:\n\n"
        f"{markdown(head, rows)}"
    )


def grown(result: dict[str, Any]) -> str:
    """What became of the memory of both processes."""
    writer, searcher = (
        f"{m['first tenth']:.1f} to {m['last tenth']:.1f} MB ({m['growth']:+.1%}, at most {m['peak']:.0f})"
        for m in (result["memory"][name] for name in ("writer", "searcher"))
    )
    anew = result["written anew"]
    return (
        f"between the first and the last tenth of it the writer's memory went from {writer}, the searcher's from "
        f"{searcher}; rebuilds meanwhile: {anew['vectors']} of the vectors' file, {anew['neighbours']} of their index"
    )


def documents() -> str:
    """What became of real files, whether their text is right, and how fast they are read."""
    result = load("formats")
    parts = [part(result[name]) for name, part in (("read", reading), ("check", checking), ("speed", reading_speed))
             if result.get(name)]  # fmt: skip
    return "\n".join(parts) + (f"\nOn {machine(result)}, beside other work.\n" if parts else "")


def fusion() -> str:
    """Hybrid search by evidence and by ranks beside its parts, on queries that nothing was chosen on."""
    corpora = load("fusion")["corpora"]
    kept = next(iter(corpora.values()))["held-out"]
    ways = [way for way in FUSIONS if way in kept]
    judged = ways[:1:-1]
    rows = []
    for name, found in corpora.items():
        held = found["held-out"]
        gaps = [held[way]["difference"] for way in judged]
        rows.append(
            [name, f"{found['documents']:,}", str(held["queries"]), *(f"{held[way]['ndcg@10']:.3f}" for way in ways),
             *(f"{gap['mean']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})" for gap in gaps)]
        )  # fmt: skip
    head = ["", "documents", "queries", *(FUSIONS[way] for way in ways)]
    return markdown([*head, *(f"{FUSIONS[way]} − better part" for way in judged)], rows)


FUSIONS = {
    "meaning": "meaning", "words": "words", "rrf": "ranks", "evidence": "evidence", "mmr": "evidence, MMR .7",
}  # fmt: skip


def reading(found: dict[str, Any]) -> str:
    rows = [
        [name, f"{f['files']:,}", *(f"{f.get(what, 0):,}" for what in ("documents", "chunks", "characters")),
         f"{f['cpu']:.1f} s", f"{sum(f['refused'].values()):,}"]
        for name, f in found.items()
    ]  # fmt: skip
    head = ["", "files", "documents", "chunks", "characters", "seconds of CPU", "refused"]
    why = [
        f"- {name}, {count} ×: {reason}" for name, f in found.items() for reason, count in f["refused"].items()
    ]  # fmt: skip
    return f"**Read and cut**:\n\n{markdown(head, rows)}\nWhat was refused, numbers as #:\n\n" + "\n".join(why) + "\n"


def checking(found: dict[str, Any]) -> str:
    rows = [
        [name, rows[0]["by"], str(len(rows)), f"{sum(row['words'] for row in rows):,}",
         *(f"{min(row[way] for row in rows):.4f} – {max(row[way] for row in rows):.4f}" for way in WAYS)]
        for name, rows in found.items() if rows
    ]  # fmt: skip
    return f"**Words**, against another program:\n\n{markdown(['', 'against', 'files', 'words', *WAYS], rows)}"


WAYS = ("recall", "precision")


def reading_speed(found: dict[str, Any]) -> str:
    rows = [
        [name, str(f["files"]), *(f"{f[what]:,.0f}" for what in ("read by 1", "read by 2", "embedded")),
         *(f"{f[f'ratio of {threads}']:.1f} ×" for threads in (1, 2))]
        for name, f in found.items()
    ]  # fmt: skip
    head = [
        "",
        "files",
        "read and cut, one thread",
        "two threads",
        "embedded",
        "one thread to embedding",
        "two threads",
    ]
    return f"**Tokens a second**, reading and cutting against embedding of the same:\n\n{markdown(head, rows)}"


def machine(result: dict[str, Any]) -> str:
    """The machine in few words, and when."""
    facts = result["machine"]
    widest = "AMX" if "amx_bf16" in facts["flags"] else "bf16" if "avx512_bf16" in facts["flags"] else "no bf16"
    return f"{facts['cores']} cores of an {facts['cpu'].replace('(R)', '')} ({widest}), {result['date'][:10]}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def hosted(result: dict[str, Any]) -> str:
    """What each provider's way adds to its stand-in."""
    rows = [
        [name, str(f["requests"]), f"{f['ideal']:.2f} s", f"{f['bare']:.2f} s", f"{f['seconds']:.2f} s",
         f"{f['overhead']:+.1%}", f"{f['busy']:.1%}", f"{f['cpu']:.1f} s"]
        for name, f in result["models"].items()
    ]  # fmt: skip
    head = ["model", "requests", "ideal", "bare wire", "sememe", "overhead", "lanes busy", "CPU"]
    return f"{result['texts']:,} texts, {machine(result)}:\n\n{markdown(head, rows)}"


def representations() -> str:
    """What every representation is worth and costs, as far as it was measured, and what peers make of the same."""
    found = {"quality": quality, "representations": shortened, "representation_peers": beside}
    return "\n".join(table(result) for name, table in found.items() if (result := load(name)))


def quality(result: dict[str, Any]) -> str:
    """A row a way: nDCG@10 of every set, then what a query and a document cost, the mean over the sets that have it."""
    sets = result["corpora"]
    rows = []
    for way in dict.fromkeys(way for one in sets.values() for way in one["ways"]):
        each = [one["ways"][way] for one in sets.values() if way in one["ways"]]
        values = [one["ways"].get(way, {}).get("ndcg@10") for one in sets.values()]
        took = [f"{fmean(f['milliseconds'][p] for f in each):.1f}" for p in ("p50", "p95")]
        encoding = f"{fmean(f['encoding']['p50'] for f in each):.1f}" if each[0]["encoding"] else ""
        sizes = [fmean(f[size] for f in each) for size in ("scanned", "kept")]
        rows.append(
            [way, *(f"{v['mean']:.3f} ({v['low']:.3f}–{v['high']:.3f})" if v else "" for v in values), *took, encoding,
             f"{sizes[0]:,.0f}" if sizes[0] else "", f"{sizes[1]:,.0f}"]
        )  # fmt: skip
    heads = [f"{name}, {one['documents']:,} documents, {one['queries']} queries" for name, one in sets.items()]
    head = ["nDCG@10", *heads, "ms p50", "p95", "of that encoding", "bytes scanned", "bytes kept"]
    return f"{machine(result)}:\n\n{markdown(head, rows)}"


def shortened(result: dict[str, Any]) -> str:
    """What a vector may be shortened to."""
    rows = [
        [row["form"], f"{row['bytes']:,}", f"{row['recall@10']:.3f}", f"{row['recall@10 after rescoring 100']:.3f}"]
        for row in result["table"]
    ]  # fmt: skip
    what = (
        f"{result['rows']:,} vectors of {result['dim']} dimensions by all-MiniLM-L6-v2, {result['queries']} as queries"
    )
    head = ["form", "bytes", "true 10 neighbours found", "among the best 100"]
    return f"**Fewer bytes**, {what}:\n\n{markdown(head, rows)}"


def beside(result: dict[str, Any]) -> str:
    """Encoding beside the references, and both indexes over the same tokens."""
    parts = result["parts"]
    rows = []
    for name in (name for name in parts if name != "index"):
        for label, f in parts[name]["sets"].items():
            (ours, peer), faster = f["texts a second"].items(), f["faster"]
            rows.append(
                [f"{name}, {f['texts']:,} {label}", peer[0], f"{ours[1]:,.0f}", f"{peer[1]:,.0f}",
                 f"{faster['median']:.2f} ({faster['min']:.2f}–{faster['max']:.2f})", f"{f['less CPU']['median']:.2f}",
                 f"{f['greatest difference']:.0e}"]
            )  # fmt: skip
    head = ["", "beside", "texts/s, sememe", "the other", "faster by", "less CPU by", "greatest difference"]
    text = f"**Beside their references**, {machine(result)}:\n\n{markdown(head, rows)}"
    if "index" not in parts:
        return text
    found = parts["index"]
    cells = []
    for name, f in ((name, f) for name, f in found.items() if isinstance(f, dict) and "p50" in f):
        cells.append(
            [name, f"{f['build seconds']:.1f} s", f"{f['bytes a token']:.1f}", f"{f['recall@10']:.3f}",
             f"{f['p50']:.1f} ms", f"{f['p95']:.1f} ms"]
        )  # fmt: skip
        cells += [
            [f"{name}, {setting} {SETTINGS[name]}", "", "", f"{point['recall@10']:.3f}", f"{point['p50']:.1f} ms", ""]
            for setting, point in f["curve"].items()
        ]
    what = f"{found['tokens']:,} tokens of {found['texts']:,} texts, {found['dim']} dimensions"
    return f"{text}\n{markdown([what, 'build', 'bytes a token', 'recall@10', 'p50', 'p95'], cells)}"


CORPORA = {"wordnet": "WordNet", "debian": "Debian", "functions": "functions"}
ASKED = {
    "meaning": "meaning", "static": "meaning, static model", "words": "words", "evidence": "both, by evidence",
}  # fmt: skip


def calibration() -> str:
    """Observed for one that is stated, with intervals where they are wide, and the answers that a threshold keeps."""
    result = load("calibration")
    stated = result["stated"]
    head = ["expected", *(short(number) for number in stated)]
    head += ["answers at .3", "at 1", "at 10"]
    rows = []
    for name, corpus in CORPORA.items():
        for key, how in ASKED.items():
            found = result["corpora"][name][key]
            ratios = []
            for i, number in enumerate(stated):
                mean, low, high = (f"{found[which][i] / number:.2f}" for which in ("observed", "low", "high"))
                ratios.append(short(mean) if number >= WIDE else f"{short(mean)} ({short(low)}–{short(high)})")
            kept = [f"{found['kept'][stated.index(number)]:.0%}" for number in (0.3, 1, 10)]
            rows.append([f"{corpus}, {how}", *ratios, *kept])
    return markdown(head, rows)


WIDE = 100
"""From which number on the intervals are within two hundredths."""


def deletion() -> str:
    """What becomes of an answer when the words that were marked are cut out, or random ones."""
    rows = []
    for name, corpus in CORPORA.items():
        found = load("calibration")["corpora"][name]["deletion"]
        cells = []
        for what, show in DELETED.items():
            cells += [show(found[what][which]) for which in ("marked", "random")]
        rows.append([corpus, *cells])
    head = ["", "rank falls, marked", "random", "times deeper, marked", "random", "cosine falls by, marked", "random"]
    return markdown(head, rows)


DELETED: dict[str, Callable[[float], str]] = {
    "rank falls": lambda share: f"{share:.0%}",
    "log of times": lambda log: f"{exp(log):.1f}",
    "cosine falls by": lambda fall: short(f"{fall:.3f}"),
}


def short(number: float | str) -> str:
    """Without the nought before the point."""
    return f"{number:g}".removeprefix("0") if isinstance(number, float) else number.removeprefix("0")


SETTINGS = {"sememe index": "texts compared", "fast-plaid": "centroids a token"}
"""What `representation_peers` varies of each index."""

TABLES = {
    "embed": embed, "ingest": ingest, "start": start, "retrieval": retrieval, "vectors-*": vectors,
    "filters-*": filters, "hybrid": hybrid, "mixed*": mixed,
}  # fmt: skip

PAGES = {
    README: [tables],
    ROOT / "docs" / "documents.md": [documents],
    ROOT / "docs" / "hosted.md": [lambda: hosted(load("hosted"))],
    ROOT / "docs" / "models.md": [lambda: precision(load("precision"))],
    ROOT / "docs" / "searching.md": [fusion, calibration, deletion],
    ROOT / "docs" / "long.md": [lambda: long(load("long"))],
    ROOT / "docs" / "representations.md": [representations],
    ROOT / "docs" / "chunks.md": [lambda: chunks(load("chunks"))],
}
"""What writes the tables of each page, in their order there."""

if __name__ == "__main__":
    raise SystemExit(main())
