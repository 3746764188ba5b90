"""sentence-transformers as an engine, for models that no graph here can be built for (extra `torch`).

Tokens are ours, so that limits, prompts and counts are as everywhere; the network and the pooling are theirs, on a GPU
where torch finds one. No code out of a model's folder is run. This file knows torch; nothing else does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sememe.errors import MissingExtra, ModelError
from sememe.models.batching import NOTHING, Told, batches, padded
from sememe.models.cards import Card
from sememe.types import Ids, Vectors


class TorchEngine:
    """A `SentenceTransformer`, fed with token ids."""

    precision = "f32"

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lock = threading.Lock()

    def run(self, ids: Sequence[list[int]], batch_tokens: int, told: Told = NOTHING) -> Iterator[tuple[Ids, Vectors]]:
        """As every engine: longest first, every position once."""
        import torch

        with self._lock, torch.inference_mode():
            for rows in batches([len(row) for row in ids], batch_tokens):
                batch = padded(ids, rows)
                length = batch["input_ids"].shape[1]
                mask = np.arange(length)[None, :] < batch["lengths"][:, None]
                device = self._model.device
                features = {
                    "input_ids": torch.from_numpy(batch["input_ids"]).long().to(device),
                    "attention_mask": torch.from_numpy(mask).long().to(device),
                }
                if "skipped" in told and told["skipped"].any():
                    features["prompt_length"] = int(told["skipped"][0])
                yield rows, self._model(features)["sentence_embedding"].float().cpu().numpy()


def load(card: Card, files: Mapping[str, Path]) -> TorchEngine:
    """The model of the folder that the card's files lie in. Raises MissingExtra, or ModelError with torch's reason."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtra("torch", f"running {card.name}") from error
    file = files[card.tokenizer]
    folder = file.parents[card.tokenizer.count("/")]
    try:
        model = SentenceTransformer(str(folder), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError) as error:
        raise ModelError(f"sentence-transformers cannot load {folder}: {str(error).splitlines()[0]}") from error
    model.eval()
    return TorchEngine(model)
