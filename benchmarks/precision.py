"""What eight bits cost: retrieval with int8 against f32, on samples that nothing was ever chosen on.

Usage: python benchmarks/precision.py --seed NAME [--documents N] [--queries N] [--corpora NAME...] [--cache FOLDER]

WordNet and Debian's packages (see corpora), drawn by a seed; exact search over whole documents cut at the model's
limit. The rule: int8 may lose LOSS of nDCG@10 on each. Prints nDCG@10 and recall@10 of both, the differences and
their paired bootstrap 95 % intervals; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import corpora
import harness
import retrieval

FLOATS, WHOLE = "sememe f32", "sememe int8"
LOSS = 0.002


def main() -> None:
    parser = argparse.ArgumentParser(description="Retrieval with int8 against f32.")
    parser.add_argument("--seed", required=True, help="any word that was not used before")
    parser.add_argument("--documents", type=int, default=corpora.DOCUMENTS)
    parser.add_argument("--queries", type=int, default=2 * corpora.QUERIES)
    parser.add_argument("--corpora", nargs="+", choices=sorted(corpora.SOURCES), default=sorted(corpora.SOURCES))
    parser.add_argument("--cache", type=Path, default=harness.DEFAULT_CACHE)
    arguments = parser.parse_args()
    result = {}
    for name in arguments.corpora:
        size = (arguments.documents, arguments.queries)
        corpus = corpora.labelled(name, arguments.cache, *size, seed=arguments.seed)
        result[name] = {"seed": arguments.seed, **compare(corpus, arguments.cache)}
    # A corpus that was left out keeps its figures.
    kept = harness.RESULTS / "precision.json"
    earlier = json.loads(kept.read_text(encoding="utf-8"))["corpora"] if kept.exists() else {}
    harness.finish("precision", {"loss allowed": LOSS, "corpora": {**earlier, **result}})


def compare(corpus: corpora.Labelled, cache: Path) -> dict[str, Any]:
    """Rank with both, print the table, and return the figures."""
    answers = list(corpus.answers.values())
    scored = {name: retrieval.scores(retrieval.exact(name, corpus, cache), answers) for name in (FLOATS, WHOLE)}
    figures: dict[str, Any] = {
        name: {measure: float(values.mean()) for measure, values in found.items()} for name, found in scored.items()
    }
    figures[WHOLE]["difference"] = {
        measure: retrieval.difference(values, scored[FLOATS][measure]) for measure, values in scored[WHOLE].items()
    }
    retrieval.show(corpus, figures)
    return {
        "source": corpus.source, "documents": len(corpus.documents), "queries": len(corpus.queries),
        "rule met": figures[WHOLE]["difference"]["ndcg@10"]["mean"] >= -LOSS, **figures,
    }  # fmt: skip


if __name__ == "__main__":
    main()
