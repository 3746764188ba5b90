"""A tokenizer from its file, and a `TokenCounter` over it.

Knows when a tokenizer never looks across white space. Knows nothing of chunks, models or their limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sememe.errors import ModelError
from sememe.models.cards import Card

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPLIT_AT_WHITE_SPACE = frozenset({"BertPreTokenizer", "Whitespace", "WhitespaceSplit"})
WORD_BY_WORD = frozenset({"NoneType", "BertNormalizer", "Lowercase", "NFC", "NFD", "StripAccents"})
MOST_WORDS = 50_000
LONGEST_WORD = 64

SURROGATES = re.compile("[\ud800-\udfff]")
"""Half characters, which no encoding knows: they become U+FFFD before a tokenizer sees them."""

_WORD = re.compile(r"[^ \t\n\r]+")


def read_tokenizer(file: Path, *, max_tokens: int | None = None, side: str = "right") -> Tokenizer:
    """The tokenizer of a file with padding off, and truncation at `max_tokens` or off.

    What the file says of both is dropped: that of all-MiniLM-L6-v2 cuts and pads at 128, the model reads 256.
    `side` is where a long text is cut. Raises ModelError when the file is no tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:
        raise ModelError(f"{file} is not a tokenizer that can be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_tokens is not None:
        tokenizer.enable_truncation(max_tokens, direction=side)
    return tokenizer


def load_tokenizer(card: Card, files: Mapping[str, Path], *, max_tokens: int | None = None) -> Tokenizer:
    """The tokenizer of a card, as `read_tokenizer` gives it, with the card's closing token at the end of an input.

    Raises ModelError when the file is no tokenizer, or does not know that token.
    """
    from tokenizers.processors import Sequence as Both
    from tokenizers.processors import TemplateProcessing

    file = files[card.tokenizer]
    tokenizer = read_tokenizer(file, max_tokens=max_tokens, side=card.truncation_side)
    if card.closing:
        number = tokenizer.token_to_id(card.closing)
        if number is None:
            raise ModelError(f"{file} has no token {card.closing!r}, with which this model's inputs end")
        before = [] if tokenizer.post_processor is None else [tokenizer.post_processor]
        closed = TemplateProcessing(single=["$A", card.closing], special_tokens=[(card.closing, number)])
        tokenizer.post_processor = Both([*before, closed])
    return tokenizer


class TokenizersCounter:
    """Counts what `tokenizer` makes of a text, special tokens left out.

    Truncation and padding of the tokenizer are switched off, in place: a counter has to see every token. Where
    words stand for themselves, each is tokenized once and then remembered: text is measured 3 times as fast.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._additive = _is_additive(tokenizer)
        self._known: dict[str, tuple[int, ...]] = {}

    @property
    def additive(self) -> bool:
        """Whether cutting at white space never changes the tokens on either side."""
        return self._additive

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """The character spans of the tokens of `text`: (n, 2), ascending."""
        if not self._additive:
            spans = self._spans(text)
            return np.fromiter(chain.from_iterable(spans), np.int64, 2 * len(spans)).reshape(-1, 2)
        words = [(match.start(), match[0]) for match in _WORD.finditer(text)]
        places = self._places({word for _, word in words})
        flat = [start + place for start, word in words for place in places[word]]
        return np.array(flat, dtype=np.int64).reshape(-1, 2)

    def count(self, text: str) -> int:
        """The number of tokens of `text`."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _spans(self, text: str) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return spans

    def _places(self, words: set[str]) -> dict[str, tuple[int, ...]]:
        """Where the tokens of each word start and end, alternately, counted from the word's start."""
        known = self._known
        places = {word: known[word] for word in words if word in known}
        missing = [word for word in words if word not in places]
        if missing:
            learned = self._learned(missing)
            places |= learned
            if len(known) > MOST_WORDS:
                self._known = known = {}
            known.update((word, found) for word, found in learned.items() if len(word) <= LONGEST_WORD)
        return places

    def _learned(self, words: list[str]) -> dict[str, tuple[int, ...]]:
        """The same for words that were not seen before, all of them tokenized in one call."""
        spans = self._spans(" ".join(words))
        learned: dict[str, tuple[int, ...]] = {}
        start = index = 0
        for word in words:
            first, end = index, start + len(word)
            while index < len(spans) and spans[index][0] < end:
                index += 1
            learned[word] = tuple(place - start for span in spans[first:index] for place in span)
            start = end + 1
        return learned


def _is_additive(tokenizer: Tokenizer) -> bool:
    """True only when every part is known to work word by word: a doubt costs time, an error would cost text."""
    added = tokenizer.get_added_tokens_decoder().values()
    return (
        type(tokenizer.pre_tokenizer).__name__ in SPLIT_AT_WHITE_SPACE
        and type(tokenizer.normalizer).__name__ in WORD_BY_WORD
        and not any(token.lstrip or token.rstrip or len(token.content.split()) != 1 for token in added)
    )
