"""How good the chunks of real corpora are: Python's library, Debian's texts, packages' docs, and a held-out mixture.

The chunker was looked at and improved on the first three. The fourth, manuals of Node.js and CMake and the source of
packages, was only measured.

Texts are read and cut for the default model, by its tokenizer; nothing is embedded, so near duplicates are not counted.
Run it before and after a change of the chunker: python benchmarks/chunks.py --as after
"""

from __future__ import annotations

import argparse
import json
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import sememe
from sememe.chunking import CHUNKER, order_of
from sememe.collection import options_for
from sememe.evaluate.chunks import KINDS, Piece, input_number, measure
from sememe.ingest.cutting import Windows
from sememe.ingest.sync import Scope
from sememe.models import load_model

RESULTS = Path(__file__).parent / "results" / "chunks.json"
MOST = 4_000_000
"""Bytes of each corpus, so that a run takes a minute."""


def corpora() -> dict[str, list[Path]]:
    """The files of each corpus, in a stable order."""
    library, packages = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    debian = Path("/usr/share/doc")
    return {
        "python": _some(sorted(library.glob("*.py"))),
        "debian": _some(sorted(path for path in debian.rglob("*") if path.name.upper().startswith(("README", "NEWS")))),
        "packages": _some(sorted(path for path in packages.rglob("*") if path.suffix in (".md", ".rst"))),
        "held-out": [
            *_some(sorted((debian / "nodejs" / "api").glob("*.md")), MOST // 3),
            *_some(sorted(Path("/usr/share").glob("cmake-*/Help/*/*.rst")), MOST // 3),
            *_some(sorted(packages.rglob("*.py")), MOST // 3),
        ],
    }


def _some(paths: list[Path], most: int = MOST) -> list[Path]:
    taken, size = [], 0
    for path in paths:
        if path.is_file() and size < most and path.suffix not in (".gz", ".html"):
            taken.append(path)
            size += path.stat().st_size
    return taken


def pieces(paths: list[Path], encoder: sememe.TextEncoder) -> Iterator[Piece]:
    """The chunks that an add would store."""
    options = options_for(encoder, chunk=True)
    scope = Scope(paths, base=Path("/"), exclude=Path("/nowhere"))
    number = 0
    for window in Windows(scope.items(), lambda _: None, options, size=2048, keep_text=False):
        for piece in window.pieces:
            prose = "sentence" in order_of(piece.document.reader)
            for chunk in piece.chunks:
                number += 1
                yield Piece(
                    id=number, document=piece.item.key, start=chunk.start, end=chunk.end, text=chunk.text,
                    headings=chunk.headings, tokens=chunk.tokens, kept=min(chunk.tokens, options.max_tokens),
                    input=input_number(chunk.headings, chunk.text), prose=prose,
                )  # fmt: skip


def main() -> None:
    """Measure, print, and write down."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--as", dest="name", default="now", help="the name of this run in the results")
    name = arguments.parse_args().name
    encoder = load_model("all-MiniLM-L6-v2")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = {"chunker": CHUNKER, "date": time.strftime("%Y-%m-%d")}
    for corpus, paths in corpora().items():
        quality = measure(pieces(paths, encoder))
        found = quality.as_dict()
        results[name][corpus] = {"files": len(paths), **{k: found[k] for k in ("chunks", "tokens", "faults")}}
        print(f"{corpus}: {len(paths)} files, {quality.chunks:,} chunks, median {quality.percentile(0.5)} tokens")
        for kind in KINDS:
            if quality.faults[kind]:
                print(f"  {kind:<15} {quality.faults[kind]:>6,} {quality.faults[kind] / quality.chunks:7.2%}")
                for example in quality.examples[kind][:3]:
                    print(f"      {example.document[-40:]}: {example.text}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
