"""Make the reference vectors of all-MiniLM-L6-v2 with sentence-transformers: texts.jsonl.gz and minilm.npy.

Usage: python tests/reference/make_minilm.py FOLDER [--texts]

FOLDER is the model as sentence-transformers lays it out. Needs the `torch` extra. With --texts the texts are
drawn anew from the running Python's standard library (they differ from one Python version to the next);
without it, the stored texts are embedded again.

The 500 plain texts are slices of docstrings, comments and language-reference topics (pydoc_data) of CPython,
copyright the Python Software Foundation, under the PSF licence. The odd ones are made here.

Each line holds `kind`, `text`, `tokens` (length with special tokens, not truncated) and `replaced` (lone
surrogates, each read as U+FFFD). Vectors are float16 in the same order: rounding moves a cosine by less than
1e-6, which is checked here. This file knows sentence-transformers and nothing of sememe, so that the two
cannot err together.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import io
import json
import random
import re
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parent
TEXTS = HERE / "texts.jsonl.gz"
VECTORS = HERE / "minilm.npy"
PLAIN = 500
LONGEST_WORDS = 600
SEED = 20_260_101
MAX_ROUNDING = 1e-6
SURROGATE = re.compile("[\ud800-\udfff]")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the reference vectors of all-MiniLM-L6-v2.")
    parser.add_argument("folder", type=Path, help="the model, as sentence-transformers lays it out")
    parser.add_argument("--texts", action="store_true", help="draw the texts anew")
    arguments = parser.parse_args()
    rows = drawn() if arguments.texts else stored()
    vectors = embed(arguments.folder, rows)
    write(rows)
    np.save(VECTORS, rounded(vectors))
    print(f"{len(rows)} texts, {TEXTS.stat().st_size:,} + {VECTORS.stat().st_size:,} bytes")


def stored() -> list[dict[str, Any]]:
    """The rows of texts.jsonl.gz."""
    with gzip.open(TEXTS, "rt", encoding="ascii") as lines:
        return [json.loads(line) for line in lines]


def write(rows: list[dict[str, Any]]) -> None:
    """Write the rows: pure ASCII, so that lone surrogates survive, and without a time stamp."""
    body = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
    TEXTS.write_bytes(gzip.compress(body.encode("ascii"), compresslevel=9, mtime=0))


def embed(folder: Path, rows: list[dict[str, Any]]) -> npt.NDArray[np.float32]:
    """Fill in `tokens` and `replaced`, and return the vectors (n, dim)."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    readable = [SURROGATE.sub("\ufffd", row["text"]) for row in rows]
    for row, text in zip(rows, readable, strict=True):
        row["replaced"] = len(SURROGATE.findall(row["text"]))
        row["tokens"] = len(model.tokenizer(text, truncation=False, verbose=False)["input_ids"])
    vectors = model.encode(readable, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float32)


def rounded(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """The vectors in float16; stops when that moves any cosine by MAX_ROUNDING or more."""
    exact = vectors.astype(np.float64)
    half = vectors.astype(np.float16)
    read = half.astype(np.float64)
    cosines = (exact * read).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(read, axis=1)
    gap = float((1 - cosines).max())
    if gap >= MAX_ROUNDING:
        raise SystemExit(f"float16 moves a cosine by {gap:.1e}; store float32 instead")
    print(f"float16 moves a cosine by at most {gap:.1e}")
    return half


def drawn() -> list[dict[str, Any]]:
    """PLAIN real texts whose word counts are spread evenly on a logarithmic scale, then the odd ones."""
    sources = sorted({text for text in prose() if text.strip()})
    spans = [[match.span() for match in re.finditer(r"\S+", text)] for text in sources]
    pick = random.Random(SEED)
    texts: dict[str, None] = {}  # a set that keeps its order
    while len(texts) < PLAIN:
        words = round(LONGEST_WORDS ** (len(texts) / (PLAIN - 1)))
        source = pick.choice([n for n, found in enumerate(spans) if len(found) >= words])
        first = pick.randrange(len(spans[source]) - words + 1)
        start, end = spans[source][first][0], spans[source][first + words - 1][1]
        texts[sources[source][start:end]] = None
    plain = [{"kind": "plain", "text": text} for text in texts]
    return plain + [{"kind": kind, "text": text} for kind, text in odd(sources)]


def odd(sources: list[str]) -> list[tuple[str, str]]:
    """What people and machines also send: (kind, text)."""
    long = "\n\n".join(sorted(sources, key=len)[-40:])
    return [
        ("empty", ""),
        ("white space", " \t\n\r\u00a0\u2003\u3000  "),
        ("emoji", "Ship it 🚀🚀 – 👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 👍🏽 thumbs, 🇩🇪🇯🇵, ☕️"),
        ("emoji only", "😀😃😄😁"),
        ("arabic", "البحث عن المعنى أهم من البحث عن الكلمات، أليس كذلك؟"),
        ("arabic with marks", "بِسْمِ اللَّهِ ٢٠٢٤ \u200fabc\u200e ١٢٣"),
        ("hebrew", "חיפוש לפי משמעות עדיף על חיפוש לפי מילים: שָׁלוֹם עולם"),
        ("chinese", "語義搜索根據含義而不是關鍵詞查找文件。你好，世界！"),
        ("japanese", "意味による検索は、ｶﾞｷﾞｸﾞやひらがな・カタカナも扱う。"),
        ("korean", "의미 기반 검색은 단어가 아니라 뜻을 찾습니다."),
        ("rare ideographs", "𠀀𠀁𪛖 and 〇〆"),
        ("thai and hindi", "การค้นหาเชิงความหมาย हिन्दी में अर्थ की खोज"),
        ("greek, cyrillic, accents", "ΣΊΣΥΦΟΣ Ёжик naïve Ångström İstanbul straße e\u0301 \ufb01n"),
        ("control characters", "one\x01two\x02 \x1b[31mred\x1b[0m\x7f \x07 \x85next \u200bzero\ufeffwidth"),
        ("nul", "before\x00after \x00 end"),
        ("replacement character", "caf\ufffd and \ufffd\ufffd alone"),
        ("lone surrogates", "file \udcff name \ud83d and \udc00\udc01 end"),
        ("lone surrogate only", "\ud800"),
        ("private use and unassigned", "\ue000 \U000f0000 \u0378 \uffff end"),
        ("one very long word", "pneumono" * 1000),
        ("a word of 100 letters", "a" * 100),
        ("a word of 101 letters", "a" * 101),
        ("punctuation", "!?.,;:-–—…\"'()[]{}<>/\\|@#$%^&*_+=~`" * 60),
        ("special tokens as text", "[CLS] the [MASK] is [SEP] not [PAD] here [UNK]"),
        ("254 words", "cat " * 254),
        ("255 words", "cat " * 255),
        ("100,000 characters", (long * (1 + 100_000 // len(long)))[:100_000]),
    ]


def prose() -> Iterator[str]:
    """Docstrings and comment blocks of the standard library, then the topics of pydoc_data."""
    from pydoc_data.topics import topics

    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        source = path.read_text(encoding="utf-8", errors="replace")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""
        yield from comments(source)
    for name in sorted(topics):
        yield topics[name]


def comments(source: str) -> Iterator[str]:
    """Runs of comment lines, without their marks."""
    lines: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] != last + 1 and lines:
            yield "\n".join(lines)
            lines = []
        lines.append(token.string.lstrip("#! ").rstrip())
        last = token.start[0]
    yield "\n".join(lines)


if __name__ == "__main__":
    main()
