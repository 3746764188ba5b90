"""Reading real documents: is every file read, is the text right, and is reading faster than embedding?

    python benchmarks/formats.py collect   # real files: out of Debian and Python packages, and from this machine
    python benchmarks/formats.py read      # every file: documents, chunks, characters, seconds, and why one is not read
    python benchmarks/formats.py check [FORMAT…]   # words against pandoc, pdftotext, LibreOffice and Python's libraries
    python benchmarks/formats.py speed     # reading and cutting against embedding the same, by one thread and two

The last three write benchmarks/results/formats.json; without a word all four are done, one after the other. `collect`
needs apt-get and pip for the packages and says which it could not get; `check` leaves out the formats whose program is
not installed, and makes an environment of its own for the libraries in format-peers.txt.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import harness

import sememe
from sememe.collection import options_for
from sememe.ingest.cutting import CutOptions, Window, Windows
from sememe.ingest.sync import Scope
from sememe.models.encoder import TextEncoder
from sememe.sources.files import read_source
from sememe.sources.source import Source
from sememe.types import Document

FOLDER = harness.DEFAULT_CACHE / "formats"
FILES = FOLDER / "files"
RESULT = harness.RESULTS / "formats.json"

DEBIAN = [
    "asymptote-doc", "debian-faq", "debian-policy", "debian-reference-en", "debmake-doc", "developers-reference",
    "docbook-xsl-doc-pdf", "git-doc", "gnuplot-doc", "live-manual-epub", "live-manual-odf", "live-manual-pdf",
    "maint-guide", "octave-doc", "r-doc-pdf", "sqlite3-doc"
]  # fmt: skip
PYTHON = [
    "docxcompose", "docxtpl", "ebooklib", "nbconvert", "nbformat", "odfpy", "pdfminer.six", "pdfplumber", "pypdf",
    "python-docx", "python-pptx", "tablib", "xlsx2csv"
]  # fmt: skip
LOCAL = [Path(sysconfig.get_path("stdlib")) / "test", Path(sysconfig.get_path("purelib"))]
"""Python's own tests hold mails and archives; numpy's and pyarrow's hold tables."""
SUFFIXES = (
    *(".html", ".rst", ".md", ".py", ".pdf", ".docx", ".pptx", ".xlsx", ".odt", ".ods", ".odp", ".epub", ".ipynb"),
    *(".eml", ".csv", ".jsonl", ".parquet", ".zip", ".tar", ".gz", ".bz2", ".xz"),
)
MOST = 150
"""Files of one suffix; of HTML there are thousands."""
SETS = {"text": ("md", "rst", "py", "html"), "PDF": ("pdf",)}
TIMED = 40
"""Files of a set whose speed is measured, evenly from all of them."""
SAMPLE = 300
"""Chunks of those that are embedded, evenly from all of them."""
LEAST_WORDS = 50


def collect() -> None:
    """Fetch the packages, unpack them, and keep one copy of every document."""
    packages, unpacked = FOLDER / "packages", FOLDER / "unpacked"
    packages.mkdir(parents=True, exist_ok=True)
    unpacked.mkdir(exist_ok=True)
    for name in DEBIAN:
        fetched(name, ["apt-get", "download", "-q", name], packages)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(packages)]
    for name in PYTHON:
        fetched(name, [*pip, name], packages)
    for package in sorted(packages.iterdir()):
        target = unpacked / package.name
        if not target.exists() and package.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", package, target], check=True)
        elif not target.exists() and package.name.endswith(".tar.gz"):
            with tarfile.open(package) as box:
                box.extractall(target, filter="data")
    counts: Counter[str] = Counter()
    seen: set[bytes] = set()
    for path in (path for root in (unpacked, *LOCAL) if root.exists() for path in sorted(root.rglob("*"))):
        suffix = ".eml" if path.match("test_email/data/*.txt") else path.suffix
        if suffix in SUFFIXES and counts[suffix] < MOST and path.is_file() and not path.is_symlink():
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest not in seen:
                seen.add(digest)
                counts[suffix] += 1
                (FILES / suffix[1:]).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, FILES / suffix[1:] / f"{counts[suffix]:03}-{path.stem}{suffix}")
    print(f"{counts.total()} files: {dict(counts)}")


def fetched(name: str, command: list[str], folder: Path) -> None:
    """Run a command that fetches a package, unless it is there; say so when it does not come."""
    if any(folder.glob(f"{re.sub('[-.]', '?', name)}[-_]*")):
        return
    try:
        done = subprocess.run(command, cwd=folder, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        print(f"{name} could not be fetched by {command[0]}; its files are not among those that are read")


def windows(path: Path, options: CutOptions) -> Iterator[Window]:
    """What `sememe add` makes of a file or folder before it embeds."""
    items = Scope([path], base=FILES, exclude=FOLDER / "no collection").items()
    return iter(Windows(items, lambda _: None, options, size=2048, keep_text=False))


def read(model: TextEncoder) -> dict[str, Any]:
    """Every file of every format."""
    options = options_for(model, chunk=True)
    return {folder.name: read_folder(folder, options) for folder in sorted(FILES.iterdir())}


def read_folder(folder: Path, options: CutOptions) -> dict[str, Any]:
    """What became of the files of one format, and what it took."""
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()

    def run() -> None:
        for window in windows(folder, options):
            for piece in window.pieces:
                counts["chunks"] += len(piece.chunks)
                counts["tokens"] += sum(chunk.tokens for chunk in piece.chunks)
                if piece.last and piece.failure is None:
                    counts["documents"] += 1
                    counts["characters"] += piece.characters
            failures = [one.failure for one in (*window.pieces, *window.containers) if one.failure is not None]
            reasons.update(general(row.key, row.reason) for row in (*window.refused, *failures))

    sizes = [path.stat().st_size for path in folder.iterdir()]
    row = {"files": len(sizes), "MB": sum(sizes) / 1e6, **harness.timed(run), **counts, "refused": dict(reasons)}
    print(folder.name, json.dumps(row))
    return row


def general(key: str, reason: str) -> str:
    """A reason without the name and the numbers of the one file."""
    for name in (key.rpartition("!/")[2], Path(key.partition("!/")[0]).name, Path(key).name):
        reason = reason.replace(name, "it")
    return re.sub(r"\d+", "#", reason)[:120]


def speed(model: TextEncoder) -> dict[str, Any]:
    """Tokens a second: read and cut by one thread and by two, and embedded by all that embedding uses."""
    options = options_for(model, chunk=True)
    model.embed(["warm up"])
    return {name: speed_of(kinds, model, options) for name, kinds in SETS.items()}


def speed_of(kinds: tuple[str, ...], model: TextEncoder, options: CutOptions) -> dict[str, Any]:
    """One set of formats."""
    paths = [path for kind in kinds for path in sorted((FILES / kind).iterdir())]
    paths = paths[:: max(1, len(paths) // TIMED)]
    row: dict[str, Any] = {"files": len(paths)}
    for threads in (1, 2):
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            chunks = [chunk for found in pool.map(partial(chunks_of, options=options), paths) for chunk in found]
        row["tokens"] = sum(tokens for _, tokens in chunks)
        row[f"read by {threads}"] = row["tokens"] / (time.perf_counter() - start)
    sample = chunks[:: max(1, len(chunks) // SAMPLE)]
    start = time.perf_counter()
    model.embed([text for text, _ in sample])
    row["embedded"] = sum(tokens for _, tokens in sample) / (time.perf_counter() - start)
    row |= {f"ratio of {threads}": row[f"read by {threads}"] / row["embedded"] for threads in (1, 2)}
    print(kinds, json.dumps(row))
    return row


def chunks_of(path: Path, options: CutOptions) -> list[tuple[str, int]]:
    """The inputs of a file's chunks with their tokens."""
    return [(c.input, c.tokens) for window in windows(path, options) for piece in window.pieces for c in piece.chunks]


def text_of(path: Path) -> str | None:
    """Our text of a file; None where it gives no single document."""
    found = read_source(Source(path.name, path.stat().st_size, lambda: path.open("rb"), path), path.name)
    return "".join(block.text for block in found.blocks) if isinstance(found, Document) else None


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\W_]+", re.sub(r"https?://\S+", " ", text).casefold()))


def by_pdftotext(path: Path) -> str | None:
    return output(["pdftotext", "-enc", "UTF-8", path, "-"])


def by_pandoc(path: Path) -> str | None:
    return output(["pandoc", "-f", path.suffix[1:], "-t", "plain", "--wrap=none", path])


def by_library(path: Path) -> str | None:
    return output([harness.format_peers_python(), Path(__file__).with_name("format_peers.py"), path])


def by_libreoffice(path: Path) -> str | None:
    """Slides, through PDF."""
    made = FOLDER / "made"
    output(["soffice", "--headless", "--convert-to", "pdf", "--outdir", made, path])
    pdf = made / f"{path.stem}.pdf"
    return by_pdftotext(pdf) if pdf.exists() else None


def output(command: list[str | Path]) -> str | None:
    """What a program prints; None where it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


OTHERS: dict[str, tuple[str, Callable[[Path], str | None]]] = {
    "pdf": ("pdftotext", by_pdftotext),
    **dict.fromkeys(("docx", "odt", "epub", "html", "ipynb", "rst"), ("pandoc", by_pandoc)),
    "pptx": ("python-pptx", by_library), "xlsx": ("openpyxl", by_library), "ods": ("odfpy", by_library),
    "odp": ("LibreOffice", by_libreoffice),
}  # fmt: skip


def check(formats: list[str], each: int = 5) -> dict[str, Any]:
    """Words that both programs found, over those of the other (recall) and ours (precision), the largest files."""
    table: dict[str, Any] = defaultdict(list)
    for kind in formats or OTHERS:
        name, other = OTHERS[kind]
        paths = sorted((FILES / kind).iterdir(), key=lambda path: -path.stat().st_size)
        for path in paths[:: max(1, len(paths) // 40)]:
            if len(table[kind]) >= each:
                break
            our_text = text_of(path)
            their_text = other(path) if our_text is not None else None
            if our_text is None or their_text is None:
                continue
            our, their = words(our_text), words(their_text)
            both = (our & their).total()
            if their.total() >= LEAST_WORDS:
                row = {"file": path.name, "by": name, "words": their.total(), "recall": both / their.total(),
                       "precision": both / max(1, our.total())}  # fmt: skip
                table[kind].append(row)
                print(f"{kind:6} {path.name[:44]:44} {row['words']:8} recall {row['recall']:.4f} "
                      f"precision {row['precision']:.4f}")  # fmt: skip
    return dict(table)


def main() -> None:
    """Do what is named on the command line."""
    wanted = sys.argv[1:2] or ["collect", "read", "check", "speed"]
    if not set(wanted) <= {"collect", "read", "check", "speed"}:
        sys.exit(__doc__)
    if "collect" in wanted:
        collect()
    made: dict[str, Any] = {}
    if "check" in wanted:
        made["check"] = check(sys.argv[2:])
    if {"read", "speed"} & set(wanted):
        model = sememe.load_model()
        made |= {name: {"read": read, "speed": speed}[name](model) for name in wanted if name in ("read", "speed")}
    if made:
        kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        results = {name: kept[name] for name in ("read", "check", "speed") if name in kept} | made
        results["check"] = kept.get("check", {}) | results.get("check", {})
        harness.finish("formats", results)


if __name__ == "__main__":
    main()
