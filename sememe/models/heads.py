"""What stands behind a transformer when it is no pooling: a classifier, the head of a language model, a projection.

Heads are found by the names of their tensors in the files of a folder, and told as steps of a card. This file knows
those names; it does not know what the numbers are used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sememe.errors import ModelError, NotFound
from sememe.models.architecture import ACTIVATION_NAMES, FAMILIES, Architecture, Config, read_architecture
from sememe.models.cards import FILE_NAME, Step
from sememe.models.folder import Module, card_files, least, read_limits, read_modules, read_object
from sememe.models.weights import Tensors

LANGUAGE_HEADS = (
    ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"),
    ("cls.predictions.transform.dense", "cls.predictions.transform.layer_norm", "cls.predictions.decoder"),
    ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    ("lm_head.dense", "lm_head.norm", "lm_head.decoder"),
    ("vocab_transform", "vocab_layer_norm", "vocab_projector"),
    ("head.dense", "head.norm", "decoder"),
)
"""How families call the product, the norm and the words of their masked language models."""


ROUTER = "router_config.json"


@dataclass(frozen=True, slots=True)
class Opened:
    """A model's folder, read as far as every kind of head needs it. `inner` is where the transformer lies."""

    folder: Path
    modules: list[Module]
    inner: str
    config: Config
    architecture: Architecture
    tensors: Tensors
    limits: Mapping[str, Any]

    @property
    def max_tokens(self) -> int:
        """What the model reads, special tokens included."""
        return least(self.limits, self.architecture.most_tokens)

    def module(self, kind: str) -> Config | None:
        """The configuration of the first module of a kind, None without such a module."""
        found = next((module for module in self.modules if module.kind == kind), None)
        return read_object(self.folder / found.folder / "config.json") if found else None


def open_folder(path: Path) -> Opened:
    """Read a folder. Raises NotFound when it is not there, and ModelError when no graph can be built from it."""
    folder = path.expanduser()
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder; give the folder that holds the model's config.json")
    folder = folder.resolve()
    modules = routed(folder, "document") or read_modules(folder / "modules.json")
    inner = modules[0].folder if modules else ""
    config_path = folder / inner / "config.json"
    config = read_object(config_path, required=True)
    files = [folder / file.name for file in card_files(folder, inner)]
    weights = [file for file in files if file.suffix == ".safetensors"]
    return Opened(
        folder, modules, inner, config, read_architecture(config, config_path), Tensors(weights),
        read_limits(folder, inner),
    )  # fmt: skip


def routed(folder: Path, side: str) -> list[Module]:
    """The modules that a Router sends the texts of one side to; none without a Router. Raises ModelError."""
    config = read_object(folder / ROUTER)
    if not config:
        return []
    structure, types = config.get("structure"), config.get("types")
    if not isinstance(structure, dict) or not isinstance(types, dict) or side not in structure:
        raise ModelError(f"{folder / ROUTER} names no modules for a {side}")
    modules = [Module(str(types.get(name, "")).rsplit(".", 1)[-1], str(name)) for name in structure[side]]
    if not all(FILE_NAME.fullmatch(module.folder) for module in modules):
        raise ModelError(f"{folder / ROUTER} names folders outside of its own")
    return modules


def classifier(found: Opened) -> tuple[str, tuple[Step, ...]]:
    """The pooling and the layers of a sequence classifier. Raises ModelError when the files hold none."""
    tensors = found.tensors
    pooler = next((name.removesuffix(".weight") for name in tensors if name.endswith("pooler.dense.weight")), "")
    if "score.weight" in tensors:
        return "lasttoken", (dense(tensors, "score"),)
    if "classifier.out_proj.weight" in tensors:
        return "cls", (dense(tensors, "classifier.dense", "tanh"), dense(tensors, "classifier.out_proj"))
    if "classifier.weight" not in tensors:
        raise ModelError(
            f"{found.folder} has no classifier beside its transformer, so it is no reranker; give the folder of a "
            "cross-encoder, or of a decoder that was trained to answer yes or no"
        )
    last = dense(tensors, "classifier")
    if "pre_classifier.weight" in tensors:
        return "cls", (dense(tensors, "pre_classifier", "relu"), last)
    if "head.dense.weight" in tensors:
        activation = _activation(found.config, "classifier_activation")
        first = (dense(tensors, "head.dense", activation), norm(tensors, "head.norm", found.architecture))
        return str(found.config.get("classifier_pooling", "cls")), (*first, last)
    return "cls", (dense(tensors, pooler, "tanh"), last) if pooler else (last,)


def language_head(found: Opened) -> tuple[Step, ...]:
    """The layers from a token's state to a number for each word. Raises ModelError when the files hold none."""
    tensors = found.tensors
    for product, middle, words in LANGUAGE_HEADS:
        if f"{product}.weight" in tensors and tensor_names(tensors, middle)[0] in tensors:
            activation = "gelu" if product.startswith("lm_head") else _activation(found.config, "hidden_act")
            return dense(tensors, product, activation), norm(tensors, middle, found.architecture), word(found, words)
    raise ModelError(
        f"{found.folder} has no head of a masked language model beside its transformer; give a folder that was saved "
        "with it, as SPLADE's are"
    )


def word(found: Opened, name: str, rows: tuple[int, ...] = ()) -> Step:
    """The product with the vectors of words, or of some `rows`; models that share them save them as the table alone."""
    tensors, family = found.tensors, FAMILIES[found.architecture.family]
    table = f"{family.layout['words']}.weight"
    shared = next((prefix + table for prefix in family.prefixes if prefix + table in tensors), table)
    weight = f"{name}.weight" if f"{name}.weight" in tensors else shared
    biases = (f"{name}.bias", f"{name.rpartition('.')[0]}.bias")
    bias = next((one for one in biases if one in tensors), "")
    count, takes = tensors.shape(weight)
    return Step(
        "dense", takes, len(rows) or count, bias=bool(bias) and not rows, tensors=(weight, bias), rows=rows
    )  # fmt: skip


def dense(tensors: Tensors, name: str, activation: str = "identity") -> Step:
    """A linear layer by the name of its tensors."""
    weight, bias = tensor_names(tensors, name)
    width, takes = tensors.shape(weight)
    return Step("dense", takes, width, activation=activation, bias=bias in tensors, tensors=(weight, bias))


def norm(tensors: Tensors, name: str, architecture: Architecture) -> Step:
    """A layer norm by the name of its tensors."""
    weight, bias = tensor_names(tensors, name)
    (width,) = tensors.shape(weight)
    return Step(
        "layer_norm", width, width, bias=bias in tensors, tensors=(weight, bias), eps=architecture.layer_norm_eps
    )  # fmt: skip


def tensor_names(tensors: Tensors, name: str) -> tuple[str, str]:
    """The names of a weight and its bias, which old checkpoints call gamma and beta."""
    old = f"{name}.gamma" in tensors
    return (f"{name}.gamma", f"{name}.beta") if old else (f"{name}.weight", f"{name}.bias")


def _activation(config: Config, name: str) -> str:
    said = config.get(name, config.get("activation", "gelu"))
    if said not in ACTIVATION_NAMES:
        raise ModelError(f"{name} is {said!r}; supported: {', '.join(ACTIVATION_NAMES)}")
    return ACTIVATION_NAMES[said]
