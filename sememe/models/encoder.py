"""The local text encoder: texts in, vectors of one space out.

The way of a call: clean the texts, tokenise a window of them, sort the window by length, cut it into batches of a
bounded number of padded tokens, run the batches through an asynchronous queue (longest first), and put every vector
at the place of its text. Memory is bounded by the window, whatever the number of texts.
This file knows a card and its files; it does not know where they came from, nor what the vectors are for.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sememe.errors import InputError, ModelError
from sememe.models import engine, late
from sememe.models.cards import Card
from sememe.models.long import checked, in_windows
from sememe.models.tokens import TokenizersCounter, load_tokenizer
from sememe.settings import Settings
from sememe.space import Space
from sememe.types import Embedded, Long, Progress, Role, Vectors
from sememe.vectors import similarity, truncate

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

SURROGATES = re.compile("[\ud800-\udfff]")
WINDOW_CHARACTERS = 4_000_000


def space_of(card: Card) -> Space:
    """The space of every vector that a card's model makes; needs no file of the model."""
    return Space(
        model=card.name,
        digest=card.digest,
        dim=card.dim,
        pooling=card.pooling,
        normalised=card.normalize,
        metric="cosine",
        max_tokens=card.max_tokens,
        prompts=tuple(sorted(card.prompts.items())),
    )


class TextEncoder:
    """A transformer that turns texts into vectors. Safe to call from several threads of one process.

    `encode*` return arrays for people; `embed` returns the counts as well, for a ledger.
    """

    def __init__(self, card: Card, files: Mapping[str, Path], *, settings: Settings) -> None:
        self._card = card
        self._settings = settings
        self._process = os.getpid()
        tokenizer = load_tokenizer(card, files)
        self._tokenizer = tokenizer
        self._truncating: Tokenizer | None = None
        self._counter = TokenizersCounter(tokenizer)
        self._files = files
        self._lock = threading.Lock()
        self._loaded: engine.Engine | None = None
        self._late: late.LateEngine | None = None
        self._specials = tokenizer.num_special_tokens_to_add(is_pair=False) if card.special_tokens else 0
        self._reserved = self._specials + self._counter.count(self.prompt("document"))
        _check_vocabulary(card, tokenizer)

    @property
    def space(self) -> Space:
        """What makes this model's vectors comparable with others."""
        return space_of(self._card)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that the model knows, as ISO 639-1 codes; none when its card does not say."""
        return self._card.languages

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._card.dim

    @property
    def max_tokens(self) -> int:
        """What the model reads of one input, special tokens included."""
        return self._card.max_tokens

    @property
    def counter(self) -> TokenizersCounter:
        """The model's tokenizer, for cutting."""
        return self._counter

    @property
    def reserved(self) -> int:
        """Special tokens and document prompt of every input."""
        return self._reserved

    @property
    def precision(self) -> str:
        """What the arithmetic runs in: "f32", "bf16" or "int8"."""
        return self._compiled().precision

    def _compiled(self) -> engine.Engine:
        """The network, compiled when the first vector is wanted: counting and cutting do without it."""
        with self._lock:
            if self._loaded is None:
                self._loaded = engine.load(self._card, self._files, settings=self._settings)
            return self._loaded

    def words(self) -> list[str]:
        """The lower-case words that are one token of the model, in the order of their numbers."""
        vocabulary = sorted(self._tokenizer.get_vocab().items(), key=lambda pair: pair[1])
        marked = any(piece.startswith("##") for piece, _ in vocabulary)
        if marked:
            return [piece for piece, _ in vocabulary if piece.isalpha() and piece.islower()]
        starts = [piece[1:] for piece, _ in vocabulary if piece[:1] in ("\u2581", "\u0120")]
        return [word for word in starts if word.isalpha() and word.islower()]

    def prompt(self, role: str) -> str:
        """The prefix of a role, empty when the model has none."""
        return self._card.prompts.get(role, "")

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate_dim: int | None = None,
        long: Long = "truncate",
        progress: Progress | None = None,
    ) -> Vectors:
        """Vectors of the texts: (n, dim) float32, or (dim,) for a single string.

        `prompt` is put before every text; `prompt_name` takes one of the model's own. `truncate_dim` keeps the
        first dimensions and scales to unit length again. With `long` "windows" a text beyond the limit is the mean of
        its windows' vectors, weighted by tokens. Raises InputError when a text is no string, both prompts are given,
        or the prompt, the dimension or the way of long texts does not exist.
        """
        if long not in ("truncate", "windows"):
            raise InputError(f"long is {long!r}; use truncate or windows, and encode_together for late chunking")
        if prompt is not None and prompt_name is not None:
            raise InputError("give either prompt or prompt_name, not both")
        if prompt_name is not None and prompt_name not in self._card.prompts:
            known = ", ".join(self._card.prompts) or "none"
            raise InputError(f"{self._card.name} has no prompt named {prompt_name!r}; it has: {known}")
        prefix = prompt if prompt is not None else self.prompt(prompt_name or "")
        if truncate_dim is not None and not 1 <= truncate_dim <= self.dim:
            raise InputError(f"truncate_dim is {truncate_dim}, {self._card.name} has {self.dim} dimensions")
        single = isinstance(texts, str)
        embed = partial(self._embed, prefix=prefix, progress=progress)
        if long == "windows":
            room = self.max_tokens - self._specials - self._counter.count(prefix)
            normal = self._card.normalize
            vectors = in_windows(embed, _listed(texts), counter=self._counter, room=room, unit=normal).vectors
        else:
            vectors = embed(_listed(texts)).vectors
        if truncate_dim is not None:
            vectors = truncate(vectors, truncate_dim)
        return vectors[0] if single else vectors

    def encode_query(self, texts: str | Iterable[str], *, truncate_dim: int | None = None) -> Vectors:
        """As `encode`, with the model's query prompt."""
        return self.encode(texts, prompt=self.prompt("query"), truncate_dim=truncate_dim)

    def encode_document(self, texts: str | Iterable[str], *, truncate_dim: int | None = None) -> Vectors:
        """As `encode`, with the model's document prompt."""
        return self.encode(texts, prompt=self.prompt("document"), truncate_dim=truncate_dim)

    def encode_together(self, chunks: Sequence[str]) -> Vectors:
        """Vectors of the chunks of one document, each in the light of the others (late chunking): (n, dim) float32.

        A document that is longer than the model reads is divided between chunks, and a chunk that is too long alone
        is cut. Raises ModelError for models whose vectors are not means of token states.
        """
        with self._lock:
            if self._late is None:
                self._late = late.load(self._card, self._files, settings=self._settings)
        texts = checked(_listed(chunks))
        clean, _ = self._clean(texts, 0, len(texts), "")
        return late.together(self._late, self._tokenizer, clean, prefix=self.prompt("document"), card=self._card)

    def similarity(self, a: Vectors, b: Vectors) -> Vectors:
        """Cosine of every row of a with every row of b: (n, m) float32."""
        return similarity(a, b)

    def embed(self, texts: Sequence[str], *, role: Role = "document", progress: Progress | None = None) -> Embedded:
        """Vectors in the order of `texts`, with what was truncated and replaced."""
        return self._embed(texts, self.prompt(role), progress)

    def _embed(self, texts: Sequence[str], prefix: str, progress: Progress | None) -> Embedded:
        if os.getpid() != self._process:
            raise ModelError(
                f"{self._card.name} was loaded in process {self._process} and cannot be used in its fork "
                f"{os.getpid()}; load it there, or start processes with the spawn method"
            )
        n = len(texts)
        vectors = np.zeros((n, self.dim), dtype=np.float32)
        tokens, kept, replaced = (np.zeros(n, dtype=np.int64) for _ in range(3))
        skipped = self._prompt_tokens(prefix)
        for start, stop in _windows(texts, self._settings.window):
            clean, replaced[start:stop] = self._clean(texts, start, stop, prefix)
            encodings = self._tokenizer.encode_batch_fast(clean, add_special_tokens=self._card.special_tokens)
            tokens[start:stop] = [len(encoding) for encoding in encodings]
            self._shorten(clean, encodings)
            kept[start:stop] = np.minimum(tokens[start:stop], self.max_tokens)
            offset = start
            ids = [encoding.ids for encoding in encodings]
            for rows, found in self._compiled().run(ids, self._settings.batch_tokens, skipped):
                vectors[rows + offset] = found
            if progress is not None:
                progress(stop, n)
        return Embedded(vectors=vectors, tokens=tokens, kept=kept, replaced=replaced)

    def _clean(self, texts: Sequence[str], start: int, stop: int, prefix: str) -> tuple[list[str], list[int]]:
        """Prefixed texts that can be written as UTF-8, and how many lone surrogates each had."""
        clean, replaced = [], []
        for i in range(start, stop):
            text, count = prefix + texts[i], 0
            if not text.isascii():
                text, count = SURROGATES.subn("\ufffd", text)
            clean.append(text.lower() if self._card.lower_case else text)
            replaced.append(count)
        return clean, replaced

    def _shorten(self, clean: list[str], encodings: list[Encoding]) -> None:
        """Replace the encodings over the limit by what the tokenizer itself makes of them at the limit."""
        long = [i for i, encoding in enumerate(encodings) if len(encoding) > self.max_tokens]
        for i, encoding in zip(long, self._cut([clean[i] for i in long]), strict=True):
            encodings[i] = encoding

    def _cut(self, texts: list[str]) -> list[Encoding]:
        if not texts:
            return []
        if self._truncating is None:
            # Loading one takes 25 ms, which most searches need not spend.
            self._truncating = load_tokenizer(self._card, self._files, truncates=True)
        result: list[Any] = self._truncating.encode_batch_fast(texts, add_special_tokens=self._card.special_tokens)
        return result

    def _prompt_tokens(self, prefix: str) -> int:
        """How many tokens at the start of an input are the prompt's, for models that do not pool them."""
        if self._card.pools_prompt or not prefix:
            return 0
        encoded = self._tokenizer.encode(prefix)
        # The special token at the end closes the whole input, not the prompt.
        return len(encoded) - (encoded.special_tokens_mask[-1:] == [1])


def _check_vocabulary(card: Card, tokenizer: Tokenizer) -> None:
    """A tokenizer of another model would ask for words that the table does not have."""
    rows = card.architecture.vocabulary if card.architecture else 0
    words = tokenizer.get_vocab_size(with_added_tokens=False)
    if 0 < rows < words:
        raise ModelError(
            f"{card.name}: {card.tokenizer} knows {words} words, the model's table has {rows}; they belong to "
            "different models: put the tokenizer of this model beside its weights"
        )


def _listed(texts: str | Iterable[str]) -> Sequence[str]:
    """What was given as a sequence of texts; a generator is read to its end."""
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes | Mapping) or not isinstance(texts, Iterable):
        raise InputError(f"texts is a {type(texts).__name__}; give a string or a sequence of strings")
    return texts if isinstance(texts, Sequence) else list(texts)


def _windows(texts: Sequence[str], size: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `size` texts and about WINDOW_CHARACTERS characters, at least one text each."""
    start, characters = 0, 0
    for i, text in enumerate(checked(texts)):
        if i > start and (i - start == size or characters + len(text) > WINDOW_CHARACTERS):
            yield start, i
            start, characters = i, 0
        characters += len(text)
    if len(texts) > start:
        yield start, len(texts)
