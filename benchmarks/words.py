"""Pairs of words and analogies: how models of sentences do on what models of words were made for.

Usage: python benchmarks/words.py DATA [MODEL …]

DATA is a folder with wordsim353.tsv, simlex999.txt and questions-words.txt (the wheel of gensim carries them under
gensim/test/test_data; each has terms of its own). Prints Spearman's rho of the cosine with people's ratings, and the
share of analogies whose answer comes first among all words of the questions, those of the question left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import sememe
from sememe.models.cards import DEFAULT_MODEL
from sememe.models.encoder import TextEncoder
from sememe.models.trials import rank_correlation


def main() -> None:
    parser = argparse.ArgumentParser(description="Pairs of words and analogies.")
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="*", default=[DEFAULT_MODEL])
    arguments = parser.parse_args()
    for name in arguments.models:
        model = sememe.load_model(name)
        right, asked = analogies(model, arguments.data / "questions-words.txt")
        row = {
            "model": model.space.model,
            "wordsim353": rated(model, arguments.data / "wordsim353.tsv"),
            "simlex999": rated(model, arguments.data / "simlex999.txt"),
            **{f"analogies, {kind}": right[kind] / asked[kind] for kind in right},
            "questions": sum(asked.values()),
        }
        print(json.dumps(row))


def pairs(path: Path) -> Iterator[tuple[str, str, float]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        parts = line.split("\t")
        if not line.startswith("#") and len(parts) >= 3:
            try:
                yield parts[0], parts[1], float(parts[2])
            except ValueError:
                continue


def rated(model: TextEncoder, path: Path) -> float:
    rows = list(pairs(path))
    a, b = model.encode([row[0] for row in rows]), model.encode([row[1] for row in rows])
    return rank_correlation((a * b).sum(1).tolist(), [row[2] for row in rows])


def analogies(model: TextEncoder, path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """How many were right and how many were asked: of meaning (capitals, families), and of grammar (gram…)."""
    questions: list[tuple[str, list[str]]] = []
    kind = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(":"):
            kind = "grammar" if line.startswith(": gram") else "meaning"
        elif len(line.split()) == 4:
            questions.append((kind, line.split()))
    words = list(dict.fromkeys(word for _, question in questions for word in question))
    place = {word: i for i, word in enumerate(words)}
    vectors = model.encode(words)
    right, asked = {"meaning": 0, "grammar": 0}, {"meaning": 0, "grammar": 0}
    for start in range(0, len(questions), 512):
        block = questions[start : start + 512]
        a, b, c, wanted = np.array([[place[word] for word in question] for _, question in block]).T
        target = vectors[b] - vectors[a] + vectors[c]
        scores = target @ vectors.T
        for used in (a, b, c):
            scores[np.arange(len(block)), used] = -np.inf
        for (kind, _), best, one in zip(block, scores.argmax(1), wanted, strict=True):
            asked[kind] += 1
            right[kind] += int(best == one)
    return right, asked


if __name__ == "__main__":
    main()
