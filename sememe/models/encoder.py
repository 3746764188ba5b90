"""The local text encoder: texts in, vectors of one space out.

The way of a call: clean the texts, tokenise a window of them, sort the window by length, cut it into batches of a
bounded number of padded tokens, run the batches through an asynchronous queue (longest first), and put every vector
at the place of its text. Memory is bounded by the window, whatever the number of texts.
This file knows a card and its files; it does not know where they came from, nor what the vectors are for.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sememe.errors import InputError
from sememe.models import together
from sememe.models.cards import Card
from sememe.models.catalogue import profile_of
from sememe.models.long import checked, in_windows
from sememe.models.network import Network, listed, windows
from sememe.models.tokens import TokenizersCounter
from sememe.settings import Settings
from sememe.space import Space, instructed, prompted
from sememe.types import Embedded, Long, Progress, Role, Vectors
from sememe.vectors import similarity, truncate


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
        self._files = files
        self._network = Network(card, files, settings=settings)
        self._lock = threading.Lock()
        self._together: together.TogetherEngine | None = None
        self._tokenizer = tokenizer = self._network.tokenizer
        self._counter = TokenizersCounter(tokenizer)
        self._specials = tokenizer.num_special_tokens_to_add(is_pair=False) if card.special_tokens else 0
        self._reserved = self._specials + self._counter.count(self.prompt("document"))

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
        return self._network.precision

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

        `prompt` is put before every text that does not begin with it; `prompt_name` takes one of the model's own.
        `truncate_dim` keeps the first dimensions and scales to unit length again, with a warning for a model that was
        not trained so. With `long` "windows" a text beyond the limit is the mean of its windows' vectors, weighted by
        tokens. Raises InputError when a text is no string, both prompts are given, or the prompt, the dimension or the
        way of long texts does not exist.
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
            vectors = in_windows(embed, listed(texts), counter=self._counter, room=room, unit=normal).vectors
        else:
            vectors = embed(listed(texts)).vectors
        if truncate_dim is not None and truncate_dim < self.dim:
            self._warn_if_untrained(truncate_dim)
            vectors = truncate(vectors, truncate_dim)
        return vectors[0] if single else vectors

    def encode_query(
        self, texts: str | Iterable[str], *, instruction: str | None = None, truncate_dim: int | None = None
    ) -> Vectors:
        """As `encode`, with the model's query prompt.

        An `instruction` ("from a cybersecurity perspective") takes the place of the one in that prompt. Raises
        InputError when the prompt has no place for one, as that of a model has not that was never told any.
        """
        prompt = self.prompt("query") if instruction is None else self.instructed(instruction)
        return self.encode(texts, prompt=prompt, truncate_dim=truncate_dim)

    def _warn_if_untrained(self, dim: int) -> None:
        """Only models trained for it (Kusupati et al. 2022, arXiv:2205.13147) put what matters most first."""
        profile = profile_of(self._card.name)
        if profile is None or not profile.matryoshka:
            warnings.warn(
                f"{self._card.name} is not known to be trained for fewer dimensions; its first {dim} of {self.dim} "
                "may find less", UserWarning, stacklevel=4,
            )  # fmt: skip

    def instructed(self, instruction: str) -> str:
        """The query prompt with another instruction in it. Raises InputError when it has no place for one."""
        prompt = instructed(self.prompt("query"), instruction)
        if prompt is None:
            raise InputError(
                f"{self._card.name} was not trained to be told an instruction (its query prompt is "
                f"{self.prompt('query')!r}); leave it out, or put it into the query"
            )
        return prompt

    def encode_document(self, texts: str | Iterable[str], *, truncate_dim: int | None = None) -> Vectors:
        """As `encode`, with the model's document prompt."""
        return self.encode(texts, prompt=self.prompt("document"), truncate_dim=truncate_dim)

    def encode_together(self, chunks: Sequence[str]) -> Vectors:
        """Vectors of the chunks of one document, each in the light of the others (late chunking): (n, dim) float32.

        A document that is longer than the model reads is divided between chunks, and a chunk that is too long alone
        is cut. Raises ModelError for models whose vectors are not means of token states.
        """
        with self._lock:
            if self._together is None:
                self._together = together.load(self._card, self._files, settings=self._network.settings)
        clean = [self._network.clean(text)[0] for text in checked(listed(chunks))]
        return together.together(
            self._together, self._tokenizer, clean, prefix=self.prompt("document"), card=self._card
        )

    def similarity(self, a: Vectors, b: Vectors) -> Vectors:
        """Cosine of every row of a with every row of b: (n, m) float32."""
        return similarity(a, b)

    def embed(self, texts: Sequence[str], *, role: Role = "document", progress: Progress | None = None) -> Embedded:
        """Vectors in the order of `texts`, with what was truncated and replaced."""
        return self._embed(texts, self.prompt(role), progress)

    def _embed(self, texts: Sequence[str], prefix: str, progress: Progress | None) -> Embedded:
        n = len(texts)
        vectors = np.zeros((n, self.dim), dtype=np.float32)
        tokens, kept, replaced = (np.zeros(n, dtype=np.int64) for _ in range(3))
        skipped = self._prompt_tokens(prefix)
        for start, stop in windows(texts, self._network.settings.window):
            cleaned = [self._network.clean(prompted(prefix, texts[i])) for i in range(start, stop)]
            replaced[start:stop] = [count for _, count in cleaned]
            encodings, tokens[start:stop] = self._network.tokenised([text for text, _ in cleaned])
            kept[start:stop] = np.minimum(tokens[start:stop], self.max_tokens)
            told = {"skipped": np.full(stop - start, skipped)}
            for rows, found in self._network.run([encoding.ids for encoding in encodings], told):
                vectors[rows + start] = found
            if progress is not None:
                progress(stop, n)
        return Embedded(vectors=vectors, tokens=tokens, kept=kept, replaced=replaced)

    def _prompt_tokens(self, prefix: str) -> int:
        """How many tokens at the start of an input are the prompt's, for models that do not pool them."""
        if self._card.pools_prompt or not prefix:
            return 0
        encoded = self._tokenizer.encode(prefix)
        # The special token at the end closes the whole input, not the prompt.
        return len(encoded) - (encoded.special_tokens_mask[-1:] == [1])
