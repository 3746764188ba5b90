"""Makes metrics.json: random rankings and judgements, and what ir-measures 0.4 (trec_eval) says of them.

Usage: pip install ir-measures, then python tests/reference/make_metrics.py. Rankings hold ties and
unjudged documents; some find nothing, some are longer than any cutoff. RR@k is left out: ir-measures takes it from
another program, which breaks ties the other way; and so are negative grades, which nDCG alone counts there.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import ir_measures

QUERIES = 60
MEASURES = {
    "ndcg": "nDCG", "ndcg@1": "nDCG@1", "ndcg@3": "nDCG@3", "ndcg@10": "nDCG@10", "recall@1": "R@1", "recall@3": "R@3",
    "recall@10": "R@10", "mrr": "RR", "map": "AP", "map@3": "AP@3", "map@10": "AP@10",
    "success@1": "Success@1", "success@10": "Success@10", "precision@1": "P@1", "precision@10": "P@10",
}  # fmt: skip
"""Our names, and those of ir-measures."""


def main() -> None:
    draw = random.Random(8)
    grades, run = {}, {}
    for number in range(QUERIES):
        documents = [f"d{one}" for one in range(40)]
        judged = draw.sample(documents, draw.randint(1, 25))
        found = draw.sample(documents, draw.randint(0 if number % 7 == 0 else 1, 30))
        query = f"q{number}"
        grades[query] = {one: draw.choice((0, 0, 1, 1, 2, 3)) for one in judged} | {judged[0]: draw.randint(1, 3)}
        run[query] = {one: draw.choice((draw.random(), draw.randint(0, 3) / 4)) for one in found}
    found_values: dict[str, dict[str, float]] = {ours: {} for ours in MEASURES}
    names = {ir_measures.parse_measure(theirs): ours for ours, theirs in MEASURES.items()}
    for one in ir_measures.iter_calc(list(names), grades, run):
        found_values[names[one.measure]][one.query_id] = one.value
    result: dict[str, Any] = {"grades": grades, "run": run, "values": found_values}
    path = Path(__file__).with_name("metrics.json")
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
