"""Training of a cross-encoder, in the Python of the peers: see cross_encoder, which calls this and says what it is for.

Usage: python benchmarks/cross_encoder_training.py EXAMPLES MODEL FOLDER

EXAMPLES is JSON: by corpus "groups", each a query, the text that answers it and texts that do not; and "pairs" to
score. MODEL is BERT, FOLDER becomes the cross-encoder, and `scores.json` beside its weights what sentence-transformers
makes of the pairs. The loss is the softmax of the right text among those of its group.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, BertForSequenceClassification, logging

SEED = 17
MAX_TOKENS = 96
GROUPS, POOL = 8, 64
"""Queries of a step, and steps whose queries are sorted by length together."""

TOGETHER = 10
"""Pairs of like length that go through the model at once, so that little is padded."""

RATE, HEAD_RATE, WARM = 1e-4, 1e-3, 0.05
PARTS = 6
"""What was learnt is kept after each of so many parts of the steps, so that a run that is ended goes on from there."""

SAID = 50
"""Steps between two lines of output."""

Group = list[str]


def main(examples: Path, base: Path, folder: Path) -> None:
    given = json.loads(examples.read_text(encoding="utf-8"))
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    random.seed(SEED)
    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(base, model_max_length=MAX_TOKENS)
    steps = batches([group for found in given["groups"].values() for group in found])
    kept = [folder.with_name(f"{folder.name}-part-{part}") for part in range(PARTS + 1)]
    done = max((part for part in range(1, PARTS + 1) if kept[part].exists()), default=0)
    for part in range(done, PARTS):
        train(kept[part] if part else base, tokenizer, steps, part).save_pretrained(kept[0])
        kept[0].rename(kept[part + 1])
        shutil.rmtree(kept[part], ignore_errors=True)
    BertForSequenceClassification.from_pretrained(kept[PARTS]).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    scores = CrossEncoder(str(folder), device="cpu").predict(given["pairs"], activation_fn=torch.nn.Sigmoid())
    (folder / "scores.json").write_text(json.dumps(scores.tolist()), encoding="utf-8")
    shutil.rmtree(kept[PARTS])


def train(base: Path, tokenizer: Any, steps: Sequence[list[Group]], part: int) -> Any:
    """The model after one part of the steps, from what it was before that."""
    # One pass over few texts: dropout would take a third of the time and has nothing to prevent.
    model = BertForSequenceClassification.from_pretrained(
        base, num_labels=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model.bert.embeddings.requires_grad_(False)
    model.train()
    head = list(model.classifier.parameters())
    body = [p for name, p in model.named_parameters() if p.requires_grad and not name.startswith("classifier")]
    optimizer = torch.optim.AdamW([{"params": body}, {"params": head}])
    begun, losses = time.perf_counter(), []
    first, last = (len(steps) * edge // PARTS for edge in (part, part + 1))
    for number in range(first, last):
        share = min((number + 1) / (WARM * len(steps)), (len(steps) - number) / ((1 - WARM) * len(steps)))
        for group, rate in zip(optimizer.param_groups, (RATE, HEAD_RATE), strict=True):
            group["lr"] = share * rate
        loss = loss_of(model, tokenizer, steps[number])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(body, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        if (number + 1) % SAID == 0 or number + 1 == last:
            mean, spent = sum(losses) / len(losses), time.perf_counter() - begun
            print(f"step {number + 1:,} of {len(steps):,}: loss {mean:.3f}, {spent:.0f} s", flush=True)
            losses.clear()
    return model.eval()


def batches(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups of like length together, in an order of the seed."""
    mixed = random.sample(groups, len(groups))
    found = []
    for start in range(0, len(mixed), GROUPS * POOL):
        pool = sorted(mixed[start : start + GROUPS * POOL], key=lambda group: max(map(len, group[1:])))
        found += random.sample(cut := [pool[i : i + GROUPS] for i in range(0, len(pool), GROUPS)], len(cut))
    return found


def loss_of(model: Any, tokenizer: Any, batch: Sequence[Group]) -> Any:
    """The mean over the groups."""
    pairs = [(group[0], text) for group in batch for text in group[1:]]
    rows = tokenizer(pairs, truncation="longest_first", max_length=MAX_TOKENS)["input_ids"]
    order = sorted(range(len(pairs)), key=lambda row: len(rows[row]))
    logits = []
    for start in range(0, len(order), TOGETHER):
        part = [pairs[row] for row in order[start : start + TOGETHER]]
        inputs = tokenizer(part, padding=True, truncation="longest_first", max_length=MAX_TOKENS, return_tensors="pt")
        logits.append(model(**inputs).logits)
    found = torch.cat(logits)[torch.argsort(torch.tensor(order))].view(len(batch), -1)
    return torch.nn.functional.cross_entropy(found, torch.zeros(len(batch), dtype=torch.long))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
