"""Reading real documents: is every file read, is the text right, and is reading faster than embedding?

    python benchmarks/formats.py collect   # real files, out of Debian and Python packages, by their ordinary clients
    python benchmarks/formats.py read      # every file: what became of it, MB/s, characters/s, tokens/s when cut
    python benchmarks/formats.py check [FORMAT…]   # words against pandoc, pdftotext, LibreOffice

`read` and `check` write benchmarks/results/formats.json. Speed is that of one thread; of PDF, that of two as well.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness import DEFAULT_CACHE, RESULTS

import sememe
from sememe.chunking import cut
from sememe.errors import ReadError
from sememe.sources.files import read_source
from sememe.sources.source import Refused, Source
from sememe.types import Document

FOLDER = DEFAULT_CACHE / "formats"
FILES = FOLDER / "files"
RESULT = RESULTS / "formats.json"
EMBEDDING = 12_000
"""Tokens a second that two cores embed (benchmarks/results/ingest.json)."""

DEBIAN = [
    "asymptote-doc", "debian-faq", "debian-policy", "debian-reference-en", "debmake-doc", "developers-reference",
    "docbook-xsl-doc-pdf", "git-doc", "gnuplot-doc", "live-manual-epub", "live-manual-odf", "live-manual-pdf",
    "maint-guide", "octave-doc", "r-doc-pdf", "sqlite3-doc"
]  # fmt: skip
PYTHON = [
    "docxcompose", "docxtpl", "ebooklib", "nbconvert", "nbformat", "odfpy", "pdfminer.six", "pdfplumber", "pypdf",
    "python-docx", "python-pptx", "tablib", "xlsx2csv"
]  # fmt: skip
SUFFIXES = (".html", ".rst", ".pdf", ".docx", ".pptx", ".xlsx", ".odt", ".ods", ".odp", ".epub", ".ipynb")
MOST = 150
"""Files of one suffix; of HTML there are thousands."""


def collect() -> None:
    """Fetch the packages, unpack them, and keep one copy of every document."""
    packages, unpacked = FOLDER / "packages", FOLDER / "unpacked"
    packages.mkdir(parents=True, exist_ok=True)
    for name in DEBIAN:
        subprocess.run(["apt-get", "download", "-q", name], cwd=packages, check=False)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(packages)]
    for name in PYTHON:
        subprocess.run([*pip, name], check=False)
    for package in sorted(packages.iterdir()):
        target = unpacked / package.name
        if not target.exists() and package.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", package, target], check=True)
        elif not target.exists() and package.name.endswith(".tar.gz"):
            with tarfile.open(package) as box:
                box.extractall(target, filter="data")
    counts: Counter[str] = Counter()
    seen: set[bytes] = set()
    for path in sorted(unpacked.rglob("*")):
        if path.suffix in SUFFIXES and counts[path.suffix] < MOST and path.is_file() and not path.is_symlink():
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest not in seen:
                seen.add(digest)
                counts[path.suffix] += 1
                (FILES / path.suffix[1:]).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, FILES / path.suffix[1:] / f"{counts[path.suffix]:03}-{path.name}")
    print(f"{sum(counts.values())} files: {dict(counts)}")


def opened(path: Path) -> Document | Refused:
    found = read_source(Source(path.name, path.stat().st_size, lambda: path.open("rb"), path), path.name)
    assert isinstance(found, Document | Refused)
    return found


def read_one(path: Path) -> tuple[str, int]:
    """What became of a file, and the characters of its text."""
    found = opened(path)
    if isinstance(found, Refused):
        return found.reason.replace(path.name, "it"), 0
    try:
        size = sum(len(block.text) for block in found.blocks)
    except ReadError as error:
        return str(error).replace(path.name, "it"), 0
    return ("read" if size else "no text"), size


def read() -> dict[str, Any]:
    """Every file of every format."""
    encoder = sememe.load_model("all-MiniLM-L6-v2")
    table: dict[str, Any] = {}
    for folder in sorted(FILES.iterdir()):
        paths = sorted(folder.iterdir())
        start = time.perf_counter()
        outcomes = [read_one(path) for path in paths]
        seconds = time.perf_counter() - start
        size, characters = sum(path.stat().st_size for path in paths), sum(found for _, found in outcomes)
        row = {"files": len(paths), "read": sum(outcome == "read" for outcome, _ in outcomes),
               "others": dict(Counter(outcome for outcome, _ in outcomes if outcome != "read")),
               "MB": size / 1e6, "characters": characters, "seconds": seconds,
               "MB/s": size / 1e6 / seconds, "characters/s": characters / seconds}  # fmt: skip
        row |= cutting(paths, encoder)
        if folder.name == "pdf":
            start = time.perf_counter()
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(read_one, paths))
            row["characters/s, two threads"] = characters / (time.perf_counter() - start)
        table[folder.name] = row
        print(folder.name, json.dumps(row))
    return table


def cutting(paths: list[Path], encoder: Any, most: float = 20.0) -> dict[str, float]:
    """Tokens a second when files are read and cut, for up to some `most` seconds."""
    tokens, start = 0, time.perf_counter()
    for path in paths:
        found = opened(path)
        if isinstance(found, Document):
            try:
                for chunk in cut(found.blocks, encoder.counter, max_tokens=encoder.space.max_tokens, reserved=2):
                    tokens += chunk.tokens
            except ReadError:
                continue
        if time.perf_counter() - start > most:
            break
    rate = tokens / (time.perf_counter() - start)
    return {"tokens/s, read and cut": rate, "times embedding": rate / EMBEDDING}


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\W_]+", re.sub(r"https?://\S+", " ", text).casefold()))


def independent(path: Path) -> str | None:
    """The text of a file by another program; None where there is none for it or it fails."""
    suffix = path.suffix[1:]
    command: list[str | Path]
    if suffix == "pdf":
        command = ["pdftotext", "-enc", "UTF-8", path, "-"]
    elif suffix in ("docx", "odt", "epub", "html", "ipynb", "rst"):
        command = ["pandoc", "-f", suffix, "-t", "plain", "--wrap=none", path]
    elif suffix in ("pptx", "odp", "xlsx", "ods"):
        return office(path)
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, check=False)
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def office(path: Path) -> str | None:
    """By LibreOffice: a spreadsheet as CSV (all sheets), slides through PDF."""
    if shutil.which("soffice") is None:
        return None
    made = FOLDER / "made" / path.stem
    shutil.rmtree(made, ignore_errors=True)
    is_sheet = path.suffix in (".xlsx", ".ods")
    kind = "csv:Text - txt - csv (StarCalc):9,34,76,1,,0,false,true,false,false,false,-1" if is_sheet else "pdf"
    command = ["soffice", "--headless", "--convert-to", kind, "--outdir", made, path]
    subprocess.run(command, capture_output=True, check=False, timeout=120)
    found = sorted(made.glob("*")) if made.exists() else []
    if is_sheet:
        return "\n".join(file.read_text("utf-8", "replace") for file in found) or None
    return independent(found[0]) if found else None


def check(formats: list[str], each: int = 5) -> dict[str, Any]:
    """Words that both programs found, over those of the other (recall) and ours (precision), the largest files."""
    table: dict[str, Any] = defaultdict(list)
    for folder in [FILES / name for name in formats] or sorted(FILES.iterdir()):
        step = max(1, len(list(folder.iterdir())) // 40)
        for path in sorted(folder.iterdir(), key=lambda path: -path.stat().st_size)[::step]:
            if len(table[folder.name]) >= each:
                break
            found = opened(path)
            theirs = independent(path) if isinstance(found, Document) else None
            if theirs is None or not isinstance(found, Document):
                continue
            our, their = words("".join(block.text for block in found.blocks)), words(theirs)
            both = sum((our & their).values())
            if their.total() >= 100:
                row = {"file": path.name, "words": their.total(), "recall": both / their.total(),
                       "precision": both / max(1, our.total())}  # fmt: skip
                table[folder.name].append(row)
                print(f"{folder.name:6} {path.name[:44]:44} {row['words']:8} recall {row['recall']:.4f} "
                      f"precision {row['precision']:.4f}")  # fmt: skip
    return dict(table)


def main() -> None:
    """Do what is named on the command line."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    if wanted == "collect":
        collect()
    elif wanted in ("read", "check"):
        results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        results.setdefault(wanted, {}).update(read() if wanted == "read" else check(sys.argv[2:]))
        RESULT.write_text(json.dumps(results, indent=1) + "\n")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
