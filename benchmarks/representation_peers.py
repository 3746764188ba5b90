"""Static tables, learnt words and vectors of tokens beside their references: the same weights, in turns.

Usage: python benchmarks/representation_peers.py [--quick] [--rounds N] [--parts NAME...] [--cache FOLDER]

Three pairs encode: a static table (WordLlama's) beside model2vec, a small SPLADE beside sentence-transformers'
SparseEncoder, MiniLM's token states beside its MultiVectorEncoder; all in f32. They have to agree, and their rounds
alternate. Then the same token vectors go into sememe's index and into fast-plaid's, two bits a dimension there:
recall@10 is against comparing all tokens exactly. Prints the tables; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import corpora
import harness
import numpy as np
import representation_contestants as contestants

from sememe.vectors import maxsim

K = 10
PAIRS = {
    "static": ("sememe static", "model2vec"),
    "sparse": ("sememe sparse", "SparseEncoder"),
    "tokens": ("sememe tokens", "MultiVectorEncoder"),
}
INDEX = ("sememe index", "fast-plaid")
QUERIES = 200
SETTINGS = {"sememe index": (50, 100, 200, 500, 2_000), "fast-plaid": (2, 16)}
"""What else is asked of each: how many texts are compared token by token, and how many centroids a token of the query
looks through, where it chooses 8."""
LATE_MODULES = {
    "": "sentence_transformers.base.modules.transformer.Transformer",
    "1_MultiVectorMask": "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
    "2_Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Representations beside their references.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the texts, two rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=[*PAIRS, "index"], default=[*PAIRS, "index"])
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    chosen = parser.parse_args()
    os.environ["SEMEME_PRECISION"] = "f32"
    scratch = chosen.cache / "representations"
    scratch.mkdir(parents=True, exist_ok=True)
    part, rounds = (10, 2) if chosen.quick else (1, chosen.rounds)
    result: dict[str, Any] = {}
    for name in (name for name in PAIRS if name in chosen.parts):
        result[name] = encoding(name, chosen.cache, scratch, part=part, rounds=rounds)
    if "index" in chosen.parts:
        result["index"] = indexing(chosen.cache, scratch, part=part, rounds=rounds)
    # A part that was left out keeps its figures.
    kept = harness.RESULTS / "representation_peers.json"
    earlier = json.loads(kept.read_text(encoding="utf-8"))["parts"] if kept.exists() else {}
    harness.finish("representation_peers", {"parts": {**earlier, **result}}, keep=not chosen.quick)


def encoding(name: str, cache: Path, scratch: Path, *, part: int, rounds: int) -> dict[str, Any]:
    """Both of a pair over every set of texts."""
    folder, sets = setup(name, cache)
    workers = [contestants.start(one, folder) for one in PAIRS[name]]
    ours, peer = PAIRS[name]
    found: dict[str, Any] = {"versions": {one.name: one.call("versions") for one in workers}, "sets": {}}
    for label, texts in sets.items():
        # What an engine remembers of a text must not help it: every round has texts of its own.
        size = len(texts) // part // (rounds + 1)
        paths = [scratch / f"{name}-{label}-{turn}.json" for turn in range(rounds + 1)]
        for turn, path in enumerate(paths):
            path.write_text(json.dumps(texts[turn * size : (turn + 1) * size]), encoding="utf-8")
        made = [str(scratch / f"{name}-{label}-{one.name}.npz") for one in workers]
        for one, to in zip(workers, made, strict=True):
            one.call("encode", {"texts": str(paths[0]), "to": to})
        measured = [
            harness.rounds(workers[:: (-1) ** turn], "encode", {"texts": str(path)}, 1)[0]
            for turn, path in enumerate(paths[1:])
        ]
        found["sets"][label] = {
            "texts": size * rounds, **apart(*made),
            "texts a second": {one: size / harness.median(measured, one, "seconds") for one in PAIRS[name]},
            "faster": harness.ratios(measured, ours, peer, "seconds"),
            "less CPU": harness.ratios(measured, ours, peer, "cpu"),
        }  # fmt: skip
        show(name, label, found["sets"][label])
    for one in workers:
        one.close()
    return found


def setup(name: str, cache: Path) -> tuple[Path, dict[str, list[str]]]:
    """The model of a pair, and the texts that it is given."""
    words = list(corpora.labelled("wordnet", cache, 10_000, 1_000).documents.values())
    long = list(corpora.labelled("debian", cache, 5_000, 1_000).documents.values())
    if name == "static":
        # Another 10,000 lines make model2vec start processes of its own.
        lines = list(corpora.labelled("wordnet", cache, 10_000, 1_000).queries.values())
        return corpora.table_folder(cache), {"lines": words, "many lines": [*words, *lines], "descriptions": long}
    if name == "sparse":
        return corpora.sparse_folder(cache), {"descriptions": long[:300]}
    return late_folder(cache), {"descriptions": long[:180]}


def late_folder(cache: Path) -> Path:
    """MiniLM laid out as a late-interaction model of sentence-transformers; it was not trained for that."""
    folder = cache / "model-late"
    folder.mkdir(exist_ok=True)
    for path in corpora.model_folder(cache).iterdir():
        link = folder / path.name
        if path.is_file() and not link.exists():
            link.symlink_to(path.resolve())
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(LATE_MODULES.items())
    ]
    settings = {"model_type": "MultiVectorEncoder", "prompts": {}}
    written = {
        "modules.json": modules, "config_sentence_transformers.json": settings,
        "1_MultiVectorMask/config.json": {"skiplist_words": [], "skiplist_tasks": ["document"]},
        "2_Normalize/config.json": {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"},
    }  # fmt: skip
    for name, content in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def apart(ours: str, theirs: str) -> dict[str, float]:
    """The greatest difference of any number, and the least cosine of any vector."""
    with np.load(ours) as a, np.load(theirs) as b:
        if a["vectors"].shape != b["vectors"].shape:
            raise SystemExit(f"{ours} holds {a['vectors'].shape}, {theirs} {b['vectors'].shape}")
        one, other = a["vectors"].astype(np.float64), b["vectors"].astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = np.einsum("nd,nd->n", one, other)[lengths > 0] / lengths[lengths > 0]
    return {"greatest difference": float(np.abs(one - other).max()), "least cosine": float(cosines.min())}


def indexing(cache: Path, scratch: Path, *, part: int, rounds: int) -> dict[str, Any]:
    """The tokens of Debian's descriptions in both indexes, asked by the tokens of short descriptions of the half that
    nothing was chosen on."""
    corpus = corpora.labelled("debian", cache, 5_000, 1_000).part("held-out")
    texts = list(corpus.documents.values())[: 2_000 // part]
    documents, queries = tokens(texts, cache, scratch), tokens(list(corpus.queries.values())[:QUERIES], cache, scratch)
    workers = [contestants.start(name, scratch) for name in INDEX]
    built = {
        one.name: one.call("build", {"arrays": str(documents), "to": str(scratch / f"index-{one.name}")})
        for one in workers
    }
    asked = {"arrays": str(queries), "k": K}
    measured = harness.rounds(workers, "search", asked, rounds)
    truth = exactly(documents, queries)
    settings = {
        one.name: {setting: one.call("search", {**asked, "setting": setting}) for setting in SETTINGS[one.name]}
        for one in workers
    }
    with np.load(documents) as arrays:
        count, dim = arrays["vectors"].shape
    found: dict[str, Any] = {"texts": len(texts), "tokens": int(count), "dim": int(dim), "queries": QUERIES}
    for one in workers:
        each = np.concatenate([turn[one.name]["each"] for turn in measured])
        found[one.name] = {
            "versions": one.call("versions"), "build seconds": built[one.name]["seconds"],
            "bytes a token": built[one.name]["bytes"] / count,
            "recall@10": recall(measured[0][one.name]["found"], truth),
            "p50": 1000 * float(np.median(each)), "p95": 1000 * float(np.percentile(each, 95)),
            "curve": {
                str(setting): {"recall@10": recall(f["found"], truth), "p50": 1000 * float(np.median(f["each"]))}
                for setting, f in settings[one.name].items()
            },
        }  # fmt: skip
        one.close()
    found["faster"] = harness.ratios(measured, *INDEX, "seconds")
    rows = [["index", "build s", "bytes a token", "recall@10", "p50 ms", "p95 ms"]]
    for name in INDEX:
        rows.append([name, *(f"{value:.3f}" for value in found[name].values() if isinstance(value, float))])
        rows += [
            [f"{name}, {setting}", "", "", f"{f['recall@10']:.3f}", f"{f['p50']:.3f}", ""]
            for setting, f in found[name]["curve"].items()
        ]
    harness.table(rows)
    return found


def recall(found: list[list[int]], truth: list[list[int]]) -> float:
    """The mean share of the true K that was found."""
    return float(np.mean([len({*a} & {*b}) / K for a, b in zip(found, truth, strict=True)]))


def tokens(texts: list[str], cache: Path, scratch: Path) -> Path:
    """A file with the token vectors of texts, by sememe."""
    path = scratch / f"tokens-{len(texts)}-{corpora.digest('tokens', ' '.join(texts))[:8]}.npz"
    if not path.exists():
        said = scratch / "tokens.json"
        said.write_text(json.dumps(texts), encoding="utf-8")
        worker = contestants.start("sememe tokens", late_folder(cache))
        worker.call("encode", {"texts": str(said), "to": str(path)})
        worker.close()
    return path


def exactly(documents: Path, queries: Path) -> list[list[int]]:
    """The K best texts of every query when all tokens are compared."""
    with np.load(documents) as found, np.load(queries) as asked:
        vectors, starts = found["vectors"], found["starts"]
        each = np.split(asked["vectors"], asked["starts"][1:-1])
    scores = (maxsim(query, vectors, starts) for query in each)
    return [np.argsort(-score, kind="stable")[:K].tolist() for score in scores]


def show(name: str, label: str, found: dict[str, Any]) -> None:
    """Print what became of one set."""
    rows = [[f"{name}, {found['texts']:,} {label}", "texts a second"]]
    rows += [[one, f"{rate:,.0f}"] for one, rate in found["texts a second"].items()]
    harness.table(rows)
    print(
        f"faster by {spread(found['faster'])}, less CPU by {spread(found['less CPU'])}; at most "
        f"{found['greatest difference']:.1e} apart, least cosine {found['least cosine']:.6f}\n"
    )


def spread(ratio: dict[str, float]) -> str:
    """A ratio over the rounds: the median, and from the least to the greatest."""
    return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"


if __name__ == "__main__":
    main()
