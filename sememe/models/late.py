"""Late interaction: a vector for every token, so that a query's words each find their own place in a text (ColBERT;
Khattab and Zaharia 2020, arXiv:2004.12832).

Three layouts of folders are read: that of ColBERT's makers (artifact.metadata, the projection beside the transformer's
tensors), PyLate's (settings in config_sentence_transformers.json) and that of sentence-transformers 6 (a module for
everything). What differs is told by `Expansion`, markers that stand before a text, and the words that are passed over.
This file knows cards and tokens; it knows nothing of an index.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sememe.errors import ModelError
from sememe.models.cards import Card, Step
from sememe.models.folder import card_files, kinds_of, read_dense, read_modules, read_object
from sememe.models.heads import Opened, dense, open_folder
from sememe.models.network import Network, listed, windows
from sememe.models.tokens import TokenizersCounter
from sememe.settings import Settings
from sememe.space import UNTRAINED, Space
from sememe.types import Piece, Represented, Role, SpaceKind, Vectors
from sememe.vectors import normalise

if TYPE_CHECKING:
    from tokenizers import Encoding

METADATA = "artifact.metadata"
EXPANDED = 32
"""Tokens of a query, where nothing says how many."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """How a query is filled up: `token`s to a length of `length`, which every token sees if they are `attended` to.

    They have vectors of their own, and may so find what the query does not say. A `fixed` length also cuts.
    """

    length: int
    attended: bool = False
    fixed: bool = True
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What is special about how texts are read, by role: a marker behind the first special token, a limit in tokens,
    and the words that get no vector."""

    markers: Mapping[str, str]
    limits: Mapping[str, int]
    skipped: Mapping[str, tuple[str, ...]]
    expansion: Expansion | None = None
    trained: bool = True


PLAIN = Reading({}, {}, {})
STATES = Reading({}, {}, {}, trained=False)


class LocalLateEncoder:
    """A transformer that gives every token a vector. Safe to call from several threads of one process."""

    def __init__(self, card: Card, files: Mapping[str, Path], *, settings: Settings, reading: Reading = PLAIN) -> None:
        self.name = card.name
        self.dim = card.dim
        self.digest = card.digest
        self._reading = reading
        self._network = Network(card, files, settings=settings)
        self._counter = TokenizersCounter(self._network.tokenizer)
        known = self._network.tokenizer.token_to_id
        self._passed = {
            role: frozenset(known(word) for word in words) - {None, _unknown(self._network)}
            for role, words in reading.skipped.items()
        }

    @property
    def kind(self) -> SpaceKind:
        """Its spaces are late."""
        return "late"

    @property
    def space(self) -> Space:
        """What makes its vectors comparable: near is max-sim. Who stores them adds by what codec."""
        reading, prompts = self._reading, self._network.card.prompts
        told = [self._network.card.pooling, *([] if reading.trained else [UNTRAINED])]
        if reading.skipped:
            told.append(f"{sum(map(len, reading.skipped.values()))} words passed over")
        if reading.expansion is not None:
            told.append(f"queries filled to {reading.expansion.length}")
        begins = {role: reading.markers.get(role, "") + prompts.get(role, "") for role in ("document", "query")}
        return Space(
            model=self.name, digest=self.digest, dim=self.dim, pooling=", ".join(told), normalised=True, metric="dot",
            max_tokens=self.max_tokens, prompts=tuple((role, text) for role, text in begins.items() if text),
        )  # fmt: skip

    @property
    def counter(self) -> TokenizersCounter:
        """The model's own tokenizer."""
        return self._counter

    @property
    def reserved(self) -> int:
        """Special tokens, marker and document prompt of every input."""
        prompt = self._network.card.prompts.get("document", "")
        return self._network.reserved(prompt) + bool(self._reading.markers.get("document"))

    @property
    def precision(self) -> str:
        """What the arithmetic runs in."""
        return self._network.precision

    @property
    def max_tokens(self) -> int:
        """What the model reads of one document, special tokens included."""
        return self._reading.limits.get("document", self._network.card.max_tokens)

    def encode_tokens(self, texts: Sequence[str], *, role: Role = "document") -> list[Vectors]:
        """For each text (tokens, dim) float32, rows of unit length, in the order of the texts.

        Special tokens and markers have vectors too; punctuation of documents has none where the model was trained so.
        """
        texts = listed(texts)
        found: list[Vectors] = []
        for start, stop in windows(texts, self._network.settings.window):
            found.extend(self._vectors(self._tokens(texts[start:stop], role)[0], role))
        return found

    def represent(self, texts: Sequence[str]) -> Represented:
        """The tokens of documents, with what was truncated and replaced."""
        found: list[Vectors] = []
        tokens, replaced = list[int](), list[int]()
        for start, stop in windows(texts, self._network.settings.window):
            ids, there, others = self._tokens(texts[start:stop], "document")
            found.extend(self._vectors(ids, "document"))
            tokens += there
            replaced += others
        counts = np.array(tokens, np.int64)
        return Represented(found, counts, np.minimum(counts, self.max_tokens), np.array(replaced, np.int64))

    def stand_ins(self, texts: Sequence[str]) -> Vectors:
        """The mean of the tokens of each text: (n, dim) float32."""
        return normalise(np.array([rows.sum(axis=0) for rows in self.encode_tokens(texts)], np.float32))

    def pieces(self, text: str, *, role: Role = "document") -> list[Piece]:
        """One for every vector that `encode_tokens` gives for the text, in their order."""
        network, (inserted, before) = self._network, self._opening(role)
        encoding = network.located(network.clean(before + text)[0], self._limit(role) - (inserted is not None))
        shift, places = len(network.clean(before)[0]), _places(text, lowered=network.card.lower_case)
        spans = [_within(places, start - shift, stop - shift) for start, stop in encoding.offsets]
        if inserted is not None:
            spans.insert(_opened(encoding), (0, 0))
        ids = self._filled(_marked(encoding, inserted), role)
        spans += [(0, 0)] * (len(ids) - len(spans))
        passed = self._passed.get(role, frozenset())
        return [
            Piece(network.tokenizer.id_to_token(token) or "", *span)
            for token, span in zip(ids, spans, strict=True)
            if token not in passed
        ]

    def _limit(self, role: Role) -> int:
        return self._reading.limits.get(role, self._network.card.max_tokens)

    def _opening(self, role: Role) -> tuple[int | None, str]:
        """The token that is the marker of a role, None where it is written out or there is none; and what is written
        before a text."""
        prefix, marker = self._network.card.prompts.get(role, ""), self._reading.markers.get(role, "")
        known = self._network.tokenizer.token_to_id
        # Written out, a marker would fall into pieces: it is one token, behind the one that opens a text.
        inserted = next((known(one) for one in (marker, marker.strip()) if one and known(one) is not None), None)
        return inserted, prefix if inserted is not None else marker + prefix

    def _tokens(self, texts: Sequence[str], role: Role) -> tuple[list[list[int]], list[int], list[int]]:
        """The tokens of each text, with the marker of the role; how many they were before they were cut, and how many
        lone surrogates were replaced."""
        inserted, before = self._opening(role)
        cleaned = [self._network.clean(before + text) for text in texts]
        added = int(inserted is not None)
        encodings, counts = self._network.tokenised([text for text, _ in cleaned], self._limit(role) - added)
        ids = [_marked(encoding, inserted) for encoding in encodings]
        return ids, [count + added for count in counts], [count for _, count in cleaned]

    def _filled(self, tokens: list[int], role: Role) -> list[int]:
        """The tokens of a query filled up, those of a document as they are."""
        expansion = self._reading.expansion if role == "query" else None
        return tokens if expansion is None else [*tokens, *[self._filler] * (expansion.length - len(tokens))]

    def _vectors(self, ids: list[list[int]], role: Role) -> list[Vectors]:
        seen = np.array([len(tokens) for tokens in ids])
        ids = [self._filled(tokens, role) for tokens in ids]
        if self._reading.expansion is not None and self._reading.expansion.attended:
            seen = np.array([len(tokens) for tokens in ids])
        passed = self._passed.get(role, frozenset())
        found: dict[int, Vectors] = {}
        for rows, states in self._network.run(ids, {"lengths": seen}):
            for place, row in zip(rows.tolist(), states, strict=True):
                kept = [i for i, token in enumerate(ids[place]) if token not in passed]
                found[place] = row[kept]
        return [found[i] for i in range(len(ids))]

    @property
    def _filler(self) -> int:
        """The token that fills queries up: what the folder names, else the mask, else the end of a text."""
        expansion = self._reading.expansion
        known = self._network.tokenizer.token_to_id
        names = (expansion.token if expansion else None, "[MASK]", "<mask>", "</s>", "<|endoftext|>", "<eos>")
        found = next((known(name) for name in names if name and known(name) is not None), None)
        if found is None:
            raise ModelError(f"{self.name}: no token is known to fill queries up with; known would be {names[1:]}")
        return found


def _opened(encoding: Encoding) -> int:
    """How many tokens stand before a marker: the one that opens a text, if one does."""
    return int(encoding.special_tokens_mask[:1] == [1])


def _marked(encoding: Encoding, inserted: int | None) -> list[int]:
    """The tokens of a text with the marker among them."""
    ids, at = encoding.ids, _opened(encoding)
    return ids if inserted is None else [*ids[:at], inserted, *ids[at:]]


def _places(text: str, *, lowered: bool) -> list[int]:
    """For each character of a text as the model reads it the one that it comes from: some have a longer lower case."""
    return [place for place, sign in enumerate(text) for _ in range(len(sign.lower()) if lowered else 1)]


def _within(places: list[int], start: int, stop: int) -> tuple[int, int]:
    """The characters [start, stop) of a text, where it begins at 0; none of what stands before it."""
    return (places[max(start, 0)], places[stop - 1] + 1) if stop > max(start, 0) else (0, 0)


def _unknown(network: Network) -> int | None:
    """The token of what the vocabulary lacks: passing over it would pass over every rare word."""
    unknown = getattr(network.tokenizer.model, "unk_token", None)
    return network.tokenizer.token_to_id(unknown) if isinstance(unknown, str) else None


def untrained(card: Card) -> Card:
    """A card that gives the states of its tokens, scaled to unit length, where it gave one vector a text."""
    if card.architecture is None or card.runs != "graph":
        raise ModelError(f"{card.name} has no states of tokens here; give a model with its weights")
    return replace(
        card, pooling="tokens", steps=(), token_steps=(), normalize=True, dim=card.architecture.hidden,
    )  # fmt: skip


def is_late(folder: Path) -> bool:
    """Whether a folder was saved as a late-interaction model, in any of the three layouts."""
    said = read_object(folder / "config_sentence_transformers.json").get("model_type")
    makers = "HF_ColBERT" in (read_object(folder / "config.json").get("architectures") or [])
    kinds = {module.kind for module in read_modules(folder / "modules.json")}
    return makers or said in ("ColBERT", "MultiVectorEncoder") or "MultiVectorMask" in kinds


def open_late(folder: Path, *, name: str, revision: str = "", settings: Settings) -> LocalLateEncoder:
    """The late-interaction encoder in a folder. Raises NotFound, and ModelError for what cannot be read."""
    found = open_folder(folder)
    makers = "HF_ColBERT" in (found.config.get("architectures") or [])
    said = read_object(found.folder / "config_sentence_transformers.json")
    steps = (dense(found.tensors, "linear"),) if makers else _projections(found)
    reading = _makers(found) if makers else _pylate(said) if said.get("model_type") == "ColBERT" else _newest(found)
    reading = replace(reading, limits=_limits(found, reading))
    prompts = said.get("prompts") or {}
    card = Card(
        name=name, revision=revision, dim=steps[-1].width if steps else found.architecture.hidden, pooling="tokens",
        max_tokens=max(found.max_tokens, *reading.limits.values()), normalize=True, architecture=found.architecture,
        files=card_files(found.folder, found.inner, steps if not makers else ()), token_steps=steps,
        prompts={role: text for role, text in prompts.items() if text},
        lower_case=bool(found.limits.get("do_lower_case", False)),
    )  # fmt: skip
    files = {file.name: found.folder / file.name for file in card.files}
    return LocalLateEncoder(card, files, settings=settings, reading=reading)


def _limits(found: Opened, reading: Reading) -> dict[str, int]:
    """The limit of each role, within what positions can tell."""
    limits = {role: reading.limits.get(role) or found.max_tokens for role in ("query", "document")}
    if reading.expansion is not None:
        least = reading.expansion.length
        limits["query"] = least if reading.expansion.fixed else max(limits["query"], least)
    return {role: min(limit, found.architecture.most_tokens) for role, limit in limits.items()}


def _projections(found: Opened) -> tuple[Step, ...]:
    """The Dense modules, each token's; the vectors are scaled to unit length behind them in any case."""
    kinds = {module.kind for module in found.modules}
    if not {"Transformer"} <= kinds <= {"Transformer", "Dense", "MultiVectorMask", "Normalize", "Pooling"}:
        raise ModelError(
            f"{found.folder / 'modules.json'} lists {kinds_of(found.modules)}; supported: Transformer, Dense, "
            "MultiVectorMask, Normalize"
        )
    dense_modules = [module for module in found.modules if module.kind == "Dense"]
    return tuple(read_dense(found.folder, module, level="token_embeddings") for module in dense_modules)


def _makers(found: Opened) -> Reading:
    """The layout of ColBERT's makers: 32 tokens a query, punctuation passed over, markers of the vocabulary."""
    said = read_object(found.folder / METADATA)
    query, document = said.get("query_token_id"), said.get("doc_token_id")
    return Reading(
        markers={"query": query or "[unused0]", "document": document or "[unused1]"},
        limits=_counts(document=said.get("doc_maxlen")),
        skipped={"document": tuple(string.punctuation) if said.get("mask_punctuation", True) else ()},
        expansion=Expansion(said.get("query_maxlen") or EXPANDED, bool(said.get("attend_to_mask_tokens"))),
    )  # fmt: skip


def _pylate(said: Mapping[str, Any]) -> Reading:
    """PyLate's layout: everything beside the weights in one file of settings."""
    words = said.get("skiplist_words")
    attended = bool(said.get("attend_to_expansion_tokens", said.get("attend_to_mask_tokens")))
    length = said.get("query_length") or EXPANDED
    return Reading(
        markers={"query": said.get("query_prefix") or "", "document": said.get("document_prefix") or ""},
        limits=_counts(query=length, document=said.get("document_length")),
        skipped={"document": tuple(string.punctuation if words is None else words)},
        expansion=Expansion(length, attended) if said.get("do_query_expansion") is not False else None,
    )  # fmt: skip


def _newest(found: Opened) -> Reading:
    """The layout of sentence-transformers 6: lengths and expansion are the Transformer's, words those of the mask."""
    mask = found.module("MultiVectorMask") or {}
    if mask.get("keep_only_token_ids"):
        raise ModelError(f"{found.folder} keeps the vectors of some tokens alone, as models of pictures do; texts only")
    said = found.limits.get("query_expansion")
    words = tuple(mask.get("skiplist_words") or ())
    expansion = None
    if isinstance(said, dict):
        fixed = said.get("strategy") == "fixed"
        expansion = Expansion(int(said["length"]), bool(said.get("attend")), fixed, said.get("token"))
    return Reading(
        markers={}, skipped=dict.fromkeys(mask.get("skiplist_tasks") or ["document"], words), expansion=expansion,
        limits=_counts(query=found.limits.get("query_length"), document=found.limits.get("document_length")),
    )  # fmt: skip


def _counts(*, query: Any = None, document: Any = None) -> dict[str, int]:
    return {role: count for role, count in (("query", query), ("document", document)) if isinstance(count, int)}
