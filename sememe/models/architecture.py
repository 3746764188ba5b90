"""One description of a transformer, and the families of models as rows of a table.

A description says everything that a graph has to know besides the weights: sizes, how positions are told, where the
norms stand, how attention looks around, what the feed-forward part is. A family says where its configuration and its
tensors keep these things under which name. This file reads no weights and builds no graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from sememe.errors import ModelError
from sememe.models import layouts, rotary
from sememe.models.rotary import Rope, require

Norm = Literal["layer", "rms", "rms+1"]
Placement = Literal["post", "pre", "sandwich"]
Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
ACTIVATION_NAMES: Mapping[str, Activation] = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu", "swish": "silu", "swiglu": "silu", "relu": "relu",
}  # fmt: skip
"""What configurations call an activation, and what it is."""

Config: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a transformer: what a graph needs to know besides the weights.

    `vocabulary` is the rows of the table of words, 0 where nobody said. `positions` is the most tokens that the
    positions can tell, the `offset` rows before the first one included;
    `token_types` the rows of their table, 0 for none; activation "gelu" is the exact (erf) one. Zero `head_dim`,
    `key_heads` and `scale` mean hidden / heads, heads, and head_dim ** -0.5. With `causal` a token looks only
    back; `window` is the farthest distance at which the layers in `windowed` look. The first of `ropes` turns the
    other layers, the last one those. `placement` "post" is norm(x + f(x)), "pre" x + f(norm(x)), "sandwich"
    x + norm(f(norm(x))). `biased` names the products with a bias. `buckets` are MPNet's relative positions.
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
    vocabulary: int = 0
    learned: bool = True
    offset: int = 0
    padding: int | None = None
    buckets: int = 0
    ropes: tuple[Rope, ...] = ()
    head_dim: int = 0
    key_heads: int = 0
    scale: float = 0.0
    causal: bool = False
    window: int = 0
    windowed: tuple[int, ...] = ()
    query_key_norm: bool = False
    norm: Norm = "layer"
    norm_bias: bool = True
    placement: Placement = "post"
    bare_first: bool = False
    embedding_norm: bool = True
    final_norm: bool = False
    embedding_scale: float = 1.0
    gated: bool = False
    biased: tuple[str, ...] = ("query", "key", "value", "output", "up", "down")

    def __post_init__(self) -> None:
        require(self.family in FAMILIES, f"family is {self.family!r}; supported: {', '.join(FAMILIES)}")
        require(
            self.activation in ACTIVATIONS,
            f"activation is {self.activation!r}; supported: {', '.join(ACTIVATIONS)}",
        )
        for name in ("layers", "hidden", "heads", "intermediate", "positions"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("vocabulary", "token_types", "head_dim", "key_heads", "window", "buckets"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must be at least 0")
        require(
            self.head_dim or self.hidden % self.heads == 0,
            f"hidden is {self.hidden}, which {self.heads} heads cannot share evenly",
        )
        require(
            not self.key_heads or self.heads % self.key_heads == 0,
            f"heads is {self.heads}, which {self.key_heads} key heads cannot share evenly",
        )
        for rope in self.ropes:
            require(rope.dims <= self.head_width, f"{rope.dims} of {self.head_width} dimensions of a head cannot turn")
        eps = self.layer_norm_eps
        require(0 < eps < 1, f"layer_norm_eps is {eps}; it lies between 0 and 1")

    @property
    def head_width(self) -> int:
        """The dimensions of one head."""
        return self.head_dim or self.hidden // self.heads

    @property
    def most_tokens(self) -> int:
        """The longest input that every token of has a position."""
        return self.positions - self.offset

    def rope(self, layer: int) -> Rope | None:
        """How a layer turns its queries and keys, if it does."""
        return (self.ropes[-1] if layer in self.windowed else self.ropes[0]) if self.ropes else None


@dataclass(frozen=True, slots=True)
class Family:
    """What models of one `model_type` have in common: fields of the description, and their tensors' names.

    `reads` finds what differs from model to model and is not under one of the usual names.
    """

    layout: layouts.Layout
    fixed: Mapping[str, Any] = field(default_factory=dict)
    reads: Callable[[_Reader], Mapping[str, Any]] | None = None
    prefixes: tuple[str, ...] = ("",)


class _Reader:
    """A configuration, and the errors that name its file."""

    def __init__(self, config: Config, path: Path) -> None:
        self.config, self.path = config, path

    def number(self, *names: str, default: float | None = None) -> float:
        """The first of the names that the configuration has."""
        name = next((name for name in names if self.config.get(name) is not None), names[0])
        value = self.config.get(name, default)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ModelError(f"{self.path}: {name} is {value!r}; expected a number")
        try:
            return float(value)
        except OverflowError as error:
            raise ModelError(f"{self.path}: {name} is too large") from error

    def count(self, *names: str, default: int | None = None) -> int:
        """The same for a whole number."""
        value = self.number(*names, default=default)
        if not value.is_integer():
            raise ModelError(f"{self.path}: {names[0]} is {value}; expected a whole number")
        return int(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Whether a setting is on."""
        return bool(self.config.get(name, default))

    def table(self, name: str) -> Config:
        """A setting with settings of its own, empty when it is not there."""
        value = self.config.get(name) or {}
        if not isinstance(value, dict):
            raise ModelError(f"{self.path}: {name} is {value!r}; expected an object of names and values")
        return value

    def supported(self, name: str, values: tuple[Any, ...], default: Any = None) -> None:
        """Refuse a setting with a value that no graph here follows."""
        value = self.config.get(name, default)
        if not any(value is one or (type(value) is type(one) and value == one) for one in values):
            names = ", ".join(str(one) for one in values)
            raise ModelError(f"{self.path} says {name} {value!r}; supported: {names}")

    def windowed(self, default: list[str]) -> tuple[int, ...]:
        """The layers that look through a window."""
        kinds = self.config.get("layer_types") or default
        known = {"full_attention", "sliding_attention"}
        if not isinstance(kinds, list) or not {str(kind) for kind in kinds} <= known:
            raise ModelError(f"{self.path}: layer_types is {kinds!r}; expected a list of {' and '.join(sorted(known))}")
        layers = self.count(*LAYERS)
        if len(kinds) != layers:
            raise ModelError(f"{self.path} lists {len(kinds)} layer_types for {layers} layers")
        return tuple(i for i, kind in enumerate(kinds) if kind == "sliding_attention")

    def rope(self, head_dim: int, theta: float, kind: str = "") -> Rope:
        """Rotary positions by the newer `rope_parameters` or the older `rope_theta` and `rope_scaling`."""
        given = self.table("rope_parameters")
        inner = given.get(kind) if kind else given
        trained = self.config.get(TRAINED) or self.config.get("max_position_embeddings")
        scaled = {**self.table("rope_scaling"), **(inner if isinstance(inner, dict) else {})}
        values = _Reader({TRAINED: trained, **scaled}, self.path)
        scaling = values.config.get("rope_type", values.config.get("type", "default"))
        if scaling not in rotary.SCALINGS:
            raise ModelError(f"{self.path} says rope_type {scaling!r}; supported: {', '.join(rotary.SCALINGS)}")
        part = self.number("partial_rotary_factor", "rotary_emb_fraction", default=1.0)
        dims = int(head_dim * values.number("partial_rotary_factor", default=part))
        return rotary.SCALINGS[scaling](values.number("rope_theta", default=theta), dims, values)


TRAINED = "original_max_position_embeddings"
HIDDEN = ("hidden_size", "dim", "n_embd")
HEADS = ("num_attention_heads", "n_heads", "n_head")
LAYERS = ("num_hidden_layers", "n_layers", "n_layer")
EPSILON = ("layer_norm_eps", "norm_eps", "rms_norm_eps", "layer_norm_epsilon")
ACTIVATION = ("hidden_act", "hidden_activation", "activation", "activation_function")


def read_architecture(config: Config, path: Path) -> Architecture:
    """The description in a model's config.json; `path` is named in errors. Raises ModelError when it cannot be."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise ModelError(f"{path} says model_type {kind!r}; supported: {', '.join(FAMILIES)}")
    reader = _Reader(config, path)
    act = next((config[name] for name in ACTIVATION if name in config), "gelu")
    if not isinstance(act, str) or act not in ACTIVATION_NAMES:
        raise ModelError(f"{path} says hidden_act {act!r}; supported: {', '.join(ACTIVATION_NAMES)}")
    fields: dict[str, Any] = {
        "layers": reader.count(*LAYERS),
        "hidden": reader.count(*HIDDEN),
        "heads": reader.count(*HEADS),
        "intermediate": reader.count("intermediate_size", "hidden_dim", "n_inner"),
        "layer_norm_eps": reader.number(*EPSILON, default=1e-12),
        "activation": ACTIVATION_NAMES[act],
        "positions": reader.count("max_position_embeddings", "n_positions"),
        "vocabulary": reader.count("vocab_size", default=0),
    }  # fmt: skip
    if family.fixed.get("token_types") is None:
        fields["token_types"] = reader.count("type_vocab_size", default=0)
    try:
        # The sizes first: what a family reads beyond them divides by them.
        Architecture("bert", **{"token_types": 0, **fields, "head_dim": 1})
        own = family.reads(reader) if family.reads else {}
        return Architecture(**{"family": kind, **fields, **family.fixed, **own})
    except (ModelError, OverflowError) as error:
        said = str(error)
        raise ModelError(said if said.startswith(str(path)) else f"{path}: {said}") from error


def _bert(reader: _Reader) -> Mapping[str, Any]:
    reader.supported("position_embedding_type", ("absolute",), default="absolute")
    reader.supported("is_decoder", (False,), default=False)
    return {}


def _roberta(reader: _Reader) -> Mapping[str, Any]:
    padding = reader.count("pad_token_id", default=1)
    return {**_bert(reader), "offset": padding + 1, "padding": padding}


def _mpnet(reader: _Reader) -> Mapping[str, Any]:
    return {"buckets": reader.count("relative_attention_num_buckets", default=32)}


def _modernbert(reader: _Reader) -> Mapping[str, Any]:
    every = reader.count("global_attn_every_n_layers", default=3)
    layers = reader.count(*LAYERS)
    full = [max(every, 1) * i for i in range(layers)]
    width = reader.count(*HIDDEN) // reader.count(*HEADS)
    biased = ("query", "key", "value", "output") if reader.flag("attention_bias") else ()
    return {
        "ropes": (
            reader.rope(width, reader.number("global_rope_theta", default=160_000.0), "full_attention"),
            reader.rope(width, reader.number("local_rope_theta", default=10_000.0), "sliding_attention"),
        ),
        "window": reader.count("local_attention", default=128) // 2,
        "windowed": reader.windowed(["full_attention" if i in full else "sliding_attention" for i in range(layers)]),
        "norm_bias": reader.flag("norm_bias"),
        "biased": (*biased, *(("gate", "up", "down") if reader.flag("mlp_bias") else ())),
    }


def _nomic(reader: _Reader) -> Mapping[str, Any]:
    for name, value in (("prenorm", False), ("rotary_emb_interleaved", False), ("rotary_scaling_factor", None)):
        reader.supported(name, (value,), default=value)
    width = reader.count("head_dim", default=reader.count(*HIDDEN) // reader.count(*HEADS))
    # The newer names say the intermediate size as it is; so do the older ones.
    attention = ("query", "key", "value", "output") if reader.flag("qkv_proj_bias") else ()
    mlp = (("gate", "up") if reader.flag("mlp_fc1_bias") else ()) + (("down",) if reader.flag("mlp_fc2_bias") else ())
    theta = reader.number("rotary_emb_base", default=1000.0)
    return {"ropes": (reader.rope(width, theta),), "head_dim": width, "biased": attention + mlp, "activation": "silu"}


def _gte(reader: _Reader) -> Mapping[str, Any]:
    reader.supported("position_embedding_type", ("rope",), default="rope")
    reader.supported("layer_norm_type", ("layer_norm",), default="layer_norm")
    reader.supported("pack_qkv", (True,), default=True)
    reader.supported("logn_attention_scale", (False,), default=False)
    width = reader.count(*HIDDEN) // reader.count(*HEADS)
    return {"ropes": (reader.rope(width, reader.number("rope_theta", default=160_000.0)),)}


def _decoder(reader: _Reader) -> Mapping[str, Any]:
    heads = reader.count(*HEADS)
    width = reader.count("head_dim", default=reader.count(*HIDDEN) // heads)
    window = reader.count("sliding_window", default=0) if reader.flag("use_sliding_window", True) else 0
    layers = reader.count(*LAYERS)
    first = reader.count("max_window_layers", default=0) if window else layers
    kinds = ["full_attention" if i < first else "sliding_attention" for i in range(layers)]
    attention = ("query", "key", "value", "output") if reader.flag("attention_bias") else ()
    mlp = ("gate", "up", "down") if reader.flag("mlp_bias") else ()
    return {
        "ropes": (reader.rope(width, reader.number("rope_theta", default=10_000.0)),),
        "head_dim": width,
        "key_heads": reader.count("num_key_value_heads", default=heads),
        # A window of n tokens is the token itself and n - 1 before it.
        "window": max(window - 1, 0),
        "windowed": reader.windowed(kinds),
        "biased": attention + mlp,
    }


def _qwen2(reader: _Reader) -> Mapping[str, Any]:
    # Always biased but for the output; the configuration does not say so.
    return {**_decoder(reader), "biased": ("query", "key", "value")}


def _gemma1(reader: _Reader) -> Mapping[str, Any]:
    # Its first configurations say gelu and mean the approximation, as the reference reads them.
    scale = reader.count(*HIDDEN) ** 0.5
    return {**_decoder(reader), "activation": "gelu_tanh", "embedding_scale": scale}


def _gemma(reader: _Reader) -> Mapping[str, Any]:
    for name in ("attn_logit_softcapping",):
        reader.supported(name, (None,))
    width = reader.count("head_dim", default=256)
    every = reader.count("sliding_window_pattern", "_sliding_window_pattern", default=6)
    window, both_ways = reader.count("sliding_window", default=4096), reader.flag("use_bidirectional_attention")
    layers = reader.count(*LAYERS)
    kinds = ["sliding_attention" if (i + 1) % max(every, 1) else "full_attention" for i in range(layers)]
    hidden = reader.count(*HIDDEN)
    return {
        **_decoder(reader),
        "ropes": (
            reader.rope(width, reader.number("rope_theta", default=1e6), "full_attention"),
            # Scaling concerns the layers that see everything.
            _Reader({**reader.config, "rope_scaling": None}, reader.path).rope(
                width, reader.number("rope_local_base_freq", default=1e4), "sliding_attention"
            ),
        ),
        "head_dim": width,
        "causal": not both_ways,
        "window": window // 2 if both_ways else window - 1,
        "windowed": reader.windowed(kinds),
        "scale": reader.number("query_pre_attn_scalar", default=256.0) ** -0.5,
        "embedding_scale": hidden**0.5,
    }


_DECODER: Mapping[str, Any] = {
    "learned": False, "causal": True, "norm": "rms", "placement": "pre", "embedding_norm": False, "final_norm": True,
    "gated": True, "token_types": 0,
}  # fmt: skip
_ROBERTA = Family(layouts.BERT, {}, _roberta, ("", "roberta."))

FAMILIES: Mapping[str, Family] = {
    "bert": Family(layouts.BERT, {}, _bert, ("", "bert.")),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": Family(layouts.MPNET, {"token_types": 0, "offset": 2, "padding": 1}, _mpnet, ("", "mpnet.")),
    "distilbert": Family(layouts.DISTILBERT, {"token_types": 0}, None, ("", "distilbert.")),
    "modernbert": Family(
        layouts.MODERNBERT,
        {
            "learned": False, "token_types": 0, "placement": "pre", "bare_first": True, "final_norm": True,
            "gated": True,
        },
        _modernbert,
        ("", "model."),
    ),
    "nomic_bert": Family(
        layouts.NOMIC, {"learned": False, "gated": True}, _nomic, ("", "nomic_bert.", "bert.")
    ),
    "gte": Family(
        layouts.GTE,
        {"learned": False, "gated": True, "biased": ("query", "key", "value", "output", "down")},
        _gte,
        ("", "gte.", "new."),
    ),
    "new": Family(
        layouts.GTE,
        {"learned": False, "gated": True, "biased": ("query", "key", "value", "output", "down")},
        _gte,
        ("", "new."),
    ),
    "qwen3": Family(layouts.DECODER, {**_DECODER, "query_key_norm": True}, _decoder, ("", "model.")),
    "qwen2": Family(layouts.DECODER, _DECODER, _qwen2, ("", "model.")),
    "mistral": Family(layouts.DECODER, _DECODER, _decoder, ("", "model.")),
    "llama": Family(layouts.DECODER, _DECODER, _decoder, ("", "model.")),
    "eurobert": Family(layouts.DECODER, {**_DECODER, "causal": False}, _decoder, ("", "model.")),
    "gemma": Family(layouts.DECODER, {**_DECODER, "norm": "rms+1"}, _gemma1, ("", "model.")),
    "gemma3_text": Family(
        layouts.GEMMA,
        {**_DECODER, "norm": "rms+1", "placement": "sandwich", "query_key_norm": True},
        _gemma,
        ("", "model."),
    ),
}  # fmt: skip
"""Every `model_type` that a graph can be built for."""
