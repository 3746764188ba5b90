"""Write the README's tables from the figures in benchmarks/results; `--check` only says whether they are current.

Usage: python benchmarks/tables.py [--check]
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
MARKS = re.compile(r"(<!-- tables: begin[^\n]*-->\n).*?(<!-- tables: end -->)", flags=re.DOTALL)


def main() -> int:
    text = README.read_text(encoding="utf-8")
    fresh = MARKS.sub(lambda marks: marks[1] + tables() + marks[2], text)
    if "--check" in sys.argv[1:]:
        return 0 if fresh == text else 1
    README.write_text(fresh, encoding="utf-8")
    return 0


def tables() -> str:
    """Every table whose results are there, with the machine they were measured on."""
    found = {name: load(name) for name in ("embed", "ingest", "start", "retrieval")}
    parts = [table(found[name]) for name, table in TABLES.items() if found[name]]
    return "\n".join(parts)


def load(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def embed(result: dict[str, Any]) -> str:
    rows = []
    for name, figures in result["sets"].items():
        for contestant, f in figures["figures"].items():
            faster = "" if contestant == "sememe" else f"{f['sememe_is_faster_by']['median']:.2f} ×"
            rows.append(
                [name, contestant, f"{f['texts_per_second']:,.0f}", f"{f['tokens_per_second']:,.0f}",
                 f"{f['megabytes']:,.0f}", faster]
            )  # fmt: skip
    head = ["texts", "engine", "texts/s", "tokens/s", "peak MB", "sememe is faster by"]
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


def machine(result: dict[str, Any]) -> str:
    """The machine in few words, and when."""
    facts = result["machine"]
    widest = "AMX" if "amx_bf16" in facts["flags"] else "bf16" if "avx512_bf16" in facts["flags"] else "no bf16"
    return f"{facts['cores']} cores of an {facts['cpu'].replace('(R)', '')} ({widest}), {result['date'][:10]}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


TABLES = {"embed": embed, "ingest": ingest, "start": start, "retrieval": retrieval}

if __name__ == "__main__":
    raise SystemExit(main())
