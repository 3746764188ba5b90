"""Learned sparse encoders: a text as weights of words, most of them zero (SPLADE; Formal et al. 2021,
arXiv:2107.05720).

The head of a masked language model says of every token which words of the vocabulary it calls up; log(1 + max(x, 0))
dampens, and the maximum over the tokens (or their sum) is the text's weight of a word. Queries may instead be a table
of weights for the words that stand in them, which needs no network. Folders are read as sentence-transformers lays
them out. This file knows cards and tokens; it knows nothing of an index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sememe.errors import ModelError
from sememe.models.cards import TOKENIZER, WEIGHTS, Card, Step
from sememe.models.folder import Module, card_files, kinds_of, least, read_limits, read_object
from sememe.models.heads import ROUTER, Opened, language_head, open_folder, routed
from sememe.models.network import Network, listed, windows
from sememe.models.tokens import read_tokenizer
from sememe.models.weights import Tensors
from sememe.settings import Settings
from sememe.types import Role, SparseVector, Vectors

BATCH_TOKENS = 512
"""Every token has a number for every word of the vocabulary before they are pooled: 60 MB at 30,000 words."""

LONGEST_QUERY = 1 << 20
"""Tokens that a table reads where its folder sets no limit."""

POOLINGS = ("max", "sum")
SATURATIONS = {"relu": 1, "log1p_relu": 2}
"""How often an activation dampens."""


class WordTable:
    """Weights of the words that stand in a text, whatever stands beside them: (vocabulary,) float32."""

    def __init__(self, weights: Vectors, tokenizer: Path, *, max_tokens: int) -> None:
        self._weights = weights
        self._tokenizer = read_tokenizer(tokenizer, max_tokens=max_tokens)

    def __call__(self, texts: Sequence[str]) -> list[SparseVector]:
        """One vector a text."""
        found = []
        for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            rows = np.unique(np.array(encoding.ids, dtype=np.int64))
            rows = rows[self._weights[rows] != 0]
            found.append(SparseVector(rows.astype(np.int32), self._weights[rows]))
        return found


class LocalSparseEncoder:
    """A transformer that weighs words. Safe to call from several threads of one process."""

    def __init__(
        self, card: Card, files: Mapping[str, Path], *, settings: Settings, queries: WordTable | None = None
    ) -> None:
        self.name = card.name
        self.dim = card.dim
        self.digest = card.digest
        settings = replace(settings, batch_tokens=min(settings.batch_tokens, BATCH_TOKENS))
        self._network = Network(card, files, settings=settings)
        self._queries = queries

    @property
    def max_tokens(self) -> int:
        """What the model reads of one text, special tokens included."""
        return self._network.card.max_tokens

    def encode_sparse(self, texts: Sequence[str], *, role: Role = "document") -> list[SparseVector]:
        """The words of each text and their weights above 0, words ascending. Raises InputError for what is no text."""
        texts = listed(texts)
        prompt = self._network.card.prompts.get(role, "")
        found: list[SparseVector] = []
        for start, stop in windows(texts, self._network.settings.window):
            cleaned = [self._network.clean(prompt + text)[0] for text in texts[start:stop]]
            weigh = self._queries if role == "query" and self._queries else self._weighed
            found.extend(weigh(cleaned))
        return found

    def words(self, index: int) -> str:
        """The piece of a word that an index stands for, as the tokenizer writes it; empty beyond its vocabulary."""
        return self._network.tokenizer.id_to_token(index) or ""

    def _weighed(self, texts: list[str]) -> list[SparseVector]:
        encodings, _ = self._network.tokenised(texts)
        found: dict[int, SparseVector] = {}
        for rows, weights in self._network.run([encoding.ids for encoding in encodings]):
            for place, row in zip(rows.tolist(), weights, strict=True):
                words = np.flatnonzero(row > 0)
                found[place] = SparseVector(words.astype(np.int32), row[words])
        return [found[i] for i in range(len(texts))]


def open_sparse(folder: Path, *, name: str, revision: str = "", settings: Settings) -> LocalSparseEncoder:
    """The sparse encoder in a folder. Raises NotFound, and ModelError for a folder that holds no such model."""
    found = open_folder(folder)
    asked = routed(found.folder, "query")
    table = _table(found.folder, asked) if asked and asked != found.modules else None
    pooling = found.module("SpladePooling")
    if pooling is None:
        raise ModelError(
            f"{found.folder} lists no SpladePooling; give the folder of a sparse encoder, or load it with load_model"
        )
    card = _card(found, pooling)
    files = {file.name: found.folder / file.name for file in card.files}
    return LocalSparseEncoder(
        replace(card, name=name, revision=revision), files, settings=settings, queries=table
    )  # fmt: skip


def _card(found: Opened, pooling: Mapping[str, object]) -> Card:
    strategy, activation = pooling.get("pooling_strategy", "max"), pooling.get("activation_function", "relu")
    if strategy not in POOLINGS or activation not in SATURATIONS:
        raise ModelError(
            f"{found.folder}: SpladePooling is {strategy!r} of {activation!r}; supported: {', '.join(POOLINGS)} of "
            f"{', '.join(SATURATIONS)}"
        )
    head = language_head(found)
    width = head[-1].width
    dampened = (Step("log1p_relu", width, width),) * SATURATIONS[str(activation)]
    # Dampening keeps the order, so that what is greatest can be found before it: once a word instead of once a token.
    before, after = (head, dampened) if strategy == "max" else ((*head, *dampened), ())
    prompts = read_object(found.folder / "config_sentence_transformers.json").get("prompts") or {}
    return Card(
        name=found.folder.name, dim=width, max_tokens=found.max_tokens, pooling=str(strategy), normalize=False,
        architecture=found.architecture, files=card_files(found.folder, found.inner), token_steps=before, steps=after,
        prompts={role: text for role, text in prompts.items() if text},
        lower_case=bool(found.limits.get("do_lower_case", False)),
    )  # fmt: skip


def _table(folder: Path, modules: list[Module]) -> WordTable:
    """The table that a Router sends queries to. Raises ModelError when that is something else."""
    if [module.kind for module in modules] != ["SparseStaticEmbedding"]:
        raise ModelError(
            f"{folder / ROUTER} sends queries to {kinds_of(modules)}; supported: SparseStaticEmbedding, or one "
            "model for queries and documents"
        )
    inner = folder / modules[0].folder
    limit = least(read_limits(inner, ""), LONGEST_QUERY)
    return WordTable(Tensors([inner / WEIGHTS]).get("weight", None), inner / TOKENIZER, max_tokens=limit)
