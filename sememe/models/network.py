"""A card's tokenizer and the engine that runs it: texts to tokens, tokens to whatever the model gives for them.

Every local model stands on this: encoders of all kinds and rerankers. Texts come in windows, so that memory is bounded
whatever their number. This file does not know what the numbers mean that come out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sememe.errors import InputError, ModelError
from sememe.models import engine
from sememe.models.batching import NOTHING, Told
from sememe.models.cards import Card
from sememe.models.tokens import SURROGATES, load_tokenizer
from sememe.settings import Settings
from sememe.types import Ids, Vectors

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Input: TypeAlias = str | tuple[str, str]
"""A text, or a pair of them that is read together."""

WINDOW_CHARACTERS = 4_000_000


class Network:
    """The tokenizer of a card and, from the first run on, its engine. Safe to use from several threads."""

    def __init__(self, card: Card, files: Mapping[str, Path], *, settings: Settings) -> None:
        self.card = card
        self.settings = settings
        self.tokenizer = load_tokenizer(card, files)
        self._files = files
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._loaded: engine.Engine | None = None
        self._truncating: dict[int, Tokenizer] = {}
        _check_vocabulary(card, self.tokenizer)

    @property
    def precision(self) -> str:
        """What the arithmetic runs in: "f32", "bf16" or "int8"."""
        return self._engine().precision

    def reserved(self, prefix: str) -> int:
        """Tokens of every input besides its text: special tokens and a prefix."""
        specials = self.tokenizer.num_special_tokens_to_add(is_pair=False) if self.card.special_tokens else 0
        return specials + (len(self.tokenizer.encode(prefix, add_special_tokens=False)) if prefix else 0)

    def clean(self, text: str) -> tuple[str, int]:
        """A text as the model reads it, and how many lone surrogates were replaced, so that it is UTF-8."""
        replaced = 0
        if not text.isascii():
            text, replaced = SURROGATES.subn("\ufffd", text)
        return (text.lower() if self.card.lower_case else text), replaced

    def tokenised(self, inputs: Sequence[Input], limit: int = 0) -> tuple[list[Encoding], list[int]]:
        """The tokens of each input, cut at the model's limit or another one, and how many there were before."""
        self._check_process()
        limit = limit or self.card.max_tokens
        encodings = self.tokenizer.encode_batch_fast(inputs, add_special_tokens=self.card.special_tokens)
        counts = [len(encoding) for encoding in encodings]
        long = [i for i, count in enumerate(counts) if count > limit]
        for i, encoding in zip(long, self._cut([inputs[i] for i in long], limit), strict=True):
            encodings[i] = encoding
        return encodings, counts

    def located(self, text: str, limit: int) -> Encoding:
        """The tokens of a text with their places in it, cut as `tokenised` cuts; looking for places takes its time."""
        self._check_process()
        encoding = self.tokenizer.encode(text, add_special_tokens=self.card.special_tokens)
        if len(encoding) <= limit:
            return encoding
        return self._truncated(limit).encode(text, add_special_tokens=self.card.special_tokens)

    def run(self, ids: Sequence[list[int]], told: Told = NOTHING) -> Iterator[tuple[Ids, Vectors]]:
        """What the model gives for lists of token ids, in pieces, as `Engine.run` does. Raises ModelError in a fork."""
        self._check_process()
        yield from self._engine().run(ids, self.settings.batch_tokens, told)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ModelError(
                f"{self.card.name} was loaded in process {self._process} and cannot be used in its fork "
                f"{os.getpid()}; load it there, or start processes with the spawn method"
            )

    def _engine(self) -> engine.Engine:
        """The network, compiled when the first vector is wanted: counting and cutting do without it."""
        with self._lock:
            if self._loaded is None:
                self._loaded = engine.load(self.card, self._files, settings=self.settings)
            return self._loaded

    def _cut(self, inputs: list[Input], limit: int) -> list[Encoding]:
        """What the tokenizer itself makes of inputs at the limit; of a pair the longer one loses first."""
        if not inputs:
            return []
        result: list[Any] = self._truncated(limit).encode_batch_fast(
            inputs, add_special_tokens=self.card.special_tokens
        )
        return result

    def _truncated(self, limit: int) -> Tokenizer:
        if limit not in self._truncating:
            # Loading one takes 25 ms, which most searches need not spend.
            self._truncating[limit] = load_tokenizer(self.card, self._files, max_tokens=limit)
        return self._truncating[limit]


def listed(texts: str | Iterable[str]) -> Sequence[str]:
    """What was given as a sequence of texts; a generator is read to its end. Raises InputError for anything else."""
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes | Mapping) or not isinstance(texts, Iterable):
        raise InputError(f"texts is a {type(texts).__name__}; give a string or a sequence of strings")
    return texts if isinstance(texts, Sequence) else list(texts)


def windows(texts: Sequence[str], size: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `size` texts and about WINDOW_CHARACTERS characters, at least one text each."""
    start, characters = 0, 0
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {i} is a {type(text).__name__}, not a string")
        if i > start and (i - start == size or characters + len(text) > WINDOW_CHARACTERS):
            yield start, i
            start, characters = i, 0
        characters += len(text)
    if len(texts) > start:
        yield start, len(texts)


def _check_vocabulary(card: Card, tokenizer: Tokenizer) -> None:
    """A tokenizer of another model would ask for words that the table does not have."""
    rows = card.architecture.vocabulary if card.architecture else 0
    words = tokenizer.get_vocab_size(with_added_tokens=False)
    if 0 < rows < words:
        raise ModelError(
            f"{card.name}: {card.tokenizer} knows {words} words, the model's table has {rows}; they belong to "
            "different models: put the tokenizer of this model beside its weights"
        )
