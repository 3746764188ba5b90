"""A space: everything that makes two vectors comparable, and the check that they are.

The id of a space is a digest of its fields, so two collections made on two machines with the same model agree.
How a document was cut and the precision it was computed in are not part of it: they are kept per document.
The `Embedder` seam lives here and not in `types`, because an embedder is what carries a space.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from sememe.errors import SpaceMismatch
from sememe.types import (
    Embedded,
    Metric,
    Progress,
    Represented,
    Role,
    SpaceKind,
    TokenCounter,
    Vectors,
)

CANARY_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "How do I reset a password that I have forgotten?",
    "def add(a: int, b: int) -> int: return a + b",
)
"""Embedded once when a collection is made; embedded again to tell whether another file is the same model."""

CANARY_COSINE = 0.999
"""Below this a canary counts as changed: bf16 against f32 gives at least 0.9999."""

FAMILIES = (
    frozenset({"voyage:voyage-4-large", "voyage:voyage-4", "voyage:voyage-4-lite"}),
    frozenset({"cohere:embed-v5.0-pro", "cohere:embed-v5.0-fast"}),
)
"""Models that share a space by their makers' word: index with the large one, query with the small one."""

INSTRUCTED = re.compile(r"(?P<before>Instruct: |task: ).*(?P<after>\nQuery: ?| \| query: )", re.DOTALL)
"""Query prompts that say what is asked for, and where: those of E5, Qwen3 and GTE, and of EmbeddingGemma."""


@dataclass(frozen=True, slots=True)
class Space:
    """What makes vectors comparable. `prompts` maps a role ("query", "document") to its prefix.

    `codec` is the digest of what the vectors of tokens are written by, empty where vectors are stored whole.
    """

    model: str
    digest: str
    dim: int
    pooling: str
    normalised: bool
    metric: Metric
    max_tokens: int
    prompts: tuple[tuple[str, str], ...] = ()
    modalities: tuple[str, ...] = ("text",)
    codec: str = ""

    @property
    def id(self) -> str:
        """Sixteen hex digits over every field."""
        return id_of(self.to_json())

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks. Without a codec it is not named, as in spaces of before."""
        said = {name: value for name, value in asdict(self).items() if name != "codec" or value}
        return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Space:
        """The inverse of `to_json`."""
        raw: Mapping[str, Any] = json.loads(text)
        prompts = tuple((str(role), str(prompt)) for role, prompt in raw["prompts"])
        return cls(**{**raw, "prompts": prompts, "modalities": tuple(raw["modalities"])})


@dataclass(frozen=True, slots=True)
class Held:
    """A space that a collection has vectors in: its own, which has no `name`, or a further one.

    `model` is what its model was called when it was added. `filled` counts how often vectors came that no change
    tells of; `complete` says that every chunk has one.
    """

    space: Space
    name: str = ""
    kind: SpaceKind = "dense"
    model: str = ""
    filled: int = 0
    complete: bool = True

    @property
    def key(self) -> str:
        """The id of a further space, "" of the collection's own."""
        return self.space.id if self.name else ""

    def index(self, name: str) -> str:
        """What the truth calls an index over this space's vectors."""
        return f"{name}.{self.key}" if self.name else name

    def folder(self, collection: Path) -> Path:
        """Where the files of its indexes are."""
        return collection / f"{SPACE_FOLDER}{self.key}" if self.name else collection

    @property
    def details(self) -> str:
        """What the record of an index over all of its vectors has to say, or the index lacks some."""
        format_ = {"format": LATE_FORMAT} if self.kind == "late" else {}
        return json.dumps({"filled": self.filled, **format_}) if self.name else "{}"


LATE_FORMAT = 2
"""Of the files of spaces of tokens. Those of another one are made again, from the vectors in the truth."""

UNTRAINED = "untrained for late interaction"
"""What the pooling of a space says whose model gives the states of its tokens without having been taught to compare
them."""

SPACE_FOLDER = "space-"
"""What the folder of a further space is called, before the id of the space."""


def codec_digest(body: bytes) -> str:
    """What a space says of the codec that its vectors of tokens are written by."""
    return hashlib.sha256(body).hexdigest()[:16]


def id_of(body: str) -> str:
    """The id of a space that is written as JSON."""
    return hashlib.sha256(body.encode()).hexdigest()[:16]


class Model(Protocol):
    """What every model that makes vectors says of them."""

    @property
    def space(self) -> Space:
        """The space of every vector that it makes."""

    @property
    def counter(self) -> TokenCounter:
        """The model's own tokenizer, for cutting."""

    @property
    def reserved(self) -> int:
        """Tokens that every document input carries besides its text: special tokens and the prompt."""

    @property
    def precision(self) -> str:
        """What the arithmetic runs in, "f32", "bf16" or "int8": provenance, not part of the space."""


@runtime_checkable
class Embedder(Model, Protocol):
    """Inputs in, vectors of one space out, one each."""

    def embed(self, texts: Sequence[str], *, role: Role, progress: Progress | None = None) -> Embedded:
        """Vectors in the order of `texts`, with the counts that a ledger needs."""


@runtime_checkable
class Representer(Model, Protocol):
    """Inputs in, the weights of their words or the vectors of their tokens out."""

    @property
    def kind(self) -> SpaceKind:
        """Which of the two: "sparse" or "late"."""

    def represent(self, texts: Sequence[str]) -> Represented:
        """Documents in the order of `texts`, with the counts that a ledger needs."""

    def stand_ins(self, texts: Sequence[str]) -> Vectors:
        """One vector for all that a text gets, to tell models apart: (n, dim of the space) float32."""


Encoder: TypeAlias = Embedder | Representer


def kind_of(encoder: Encoder) -> SpaceKind:
    """What spaces an encoder makes."""
    return encoder.kind if isinstance(encoder, Representer) else "dense"


@runtime_checkable
class Instructable(Protocol):
    """An embedder that may be told what a query is asked for."""

    def instructed(self, instruction: str) -> str:
        """The query prompt with this instruction in it. Raises InputError when it has no place for one."""

    def encode_query(self, texts: str, *, instruction: str | None = None) -> Vectors:
        """The vector (dim,) of a query behind that prompt."""


def prompted(prompt: str, text: str) -> str:
    """A text behind its prompt; one that begins with it already has it, and gets no other."""
    return text if text.startswith(prompt) else prompt + text


def instructed(prompt: str, instruction: str) -> str | None:
    """A query prompt with another instruction in it; None when it has no place for one."""
    found = INSTRUCTED.fullmatch(prompt)
    return None if found is None else f"{found['before']}{instruction}{found['after']}"


@runtime_checkable
class Interruptible(Protocol):
    """An embedder that may wait long for somebody else, costs money, and can be told to stop."""

    def interrupt(self) -> None:
        """End the calls that are under way, as soon as the requests that were sent are answered."""


def differences(stored: Space, offered: Space) -> list[str]:
    """The fields in which two spaces differ, each as "name stored against offered"."""
    result = []
    for field in fields(Space):
        a, b = getattr(stored, field.name), getattr(offered, field.name)
        if a != b:
            result.append(f"{field.name} {_short(a)} against {_short(b)}")
    return result


def check(stored: Space, canaries: Vectors, embedder: Embedder, *, where: str, offered: Space | None = None) -> None:
    """Raise SpaceMismatch unless the embedder's vectors, of the space `offered`, may meet the stored ones.

    They may when the ids are equal, when the models are of one family, or when only the name or the file of the
    model differs and the canary texts give the stored vectors: another export of the same model.
    """
    offered = offered or embedder.space
    if stored.id == offered.id:
        return
    differing = {f.name for f in fields(Space) if getattr(stored, f.name) != getattr(offered, f.name)}
    if differing <= {"model", "digest"} and (related(stored, offered) or canaries_agree(canaries, embedder)):
        return
    raise SpaceMismatch(
        f"{where} holds vectors of space {stored.id} ({stored.model}), but the model at hand makes space "
        f"{offered.id} ({offered.model}): {'; '.join(differences(stored, offered))}. Open it with "
        f"model={stored.model!r} (--model {stored.model}), or make a new collection for {offered.model}"
    )


def related(a: Space, b: Space) -> bool:
    """Whether two spaces are of different models that their maker says share one. Options and addresses aside."""
    first, second = (space.model.partition("@")[0].partition(",")[0] for space in (a, b))
    return first != second and any({first, second} <= family for family in FAMILIES)


def check_unchanged(stored: Space, canaries: Vectors, embedder: Embedder, *, where: str) -> None:
    """Raise SpaceMismatch when a model without a digest no longer gives the stored vectors for the canary texts.

    Somebody else runs such a model, and may put another one behind its name. A relative of the stored model cannot
    be told in this way and is believed; a model with a digest is known by it.
    """
    if embedder.space.digest or related(stored, embedder.space) or canaries_agree(canaries, embedder):
        return
    raise SpaceMismatch(
        f"{stored.model} has changed behind its name: it no longer gives the vectors that {where} keeps of three "
        f"known texts (cosine below {CANARY_COSINE}); what is stored cannot be compared with what it makes now, so "
        f"make a new collection and add the sources again"
    )


def check_further(stored: Space, canaries: Vectors, embedder: Encoder, *, name: str, where: str) -> None:
    """Raise SpaceMismatch unless the embedder is still the one that a further space of a collection was made by."""
    offered = replace(embedder.space, metric=stored.metric, codec=stored.codec)
    differing = {f.name for f in fields(Space) if getattr(stored, f.name) != getattr(offered, f.name)}
    unknown = not offered.digest and not related(stored, offered)
    if differing <= {"model", "digest"} and (
        (not differing and not unknown) or related(stored, offered) or canaries_agree(canaries, embedder)
    ):
        return
    what = "; ".join(differences(stored, offered)) or "three known texts get other vectors"
    raise SpaceMismatch(
        f"{stored.model} no longer makes the vectors that space {name!r} of {where} holds ({what}); put the model's "
        f"files back, or drop the space and add it again: sememe space drop {name}"
    )


def canaries_of(encoder: Encoder) -> Vectors:
    """What the canary texts get: (3, dim)."""
    if isinstance(encoder, Representer):
        return encoder.stand_ins(CANARY_TEXTS)
    return encoder.embed(CANARY_TEXTS, role="document").vectors


def canaries_agree(canaries: Vectors, embedder: Encoder) -> bool:
    """Whether the embedder gives the stored vectors for the canary texts."""
    fresh = canaries_of(embedder)
    if fresh.shape != canaries.shape:
        return False
    products = np.einsum("nd,nd->n", fresh, canaries)
    lengths = np.linalg.norm(fresh, axis=1) * np.linalg.norm(canaries, axis=1)
    return bool(np.all((lengths > 0) & (products >= CANARY_COSINE * lengths)))


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, str) else value or "(none)"
    return f"{text[:12]}…" if len(text) == 64 else text
