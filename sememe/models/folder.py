"""A model's card out of the files of its folder, as sentence-transformers, model2vec and WordLlama lay them out.

Reads JSON and names of files, computes digests, and decides what runs the model. Opens no weights but to learn the
width of a table, unpickles nothing, follows no path out of the folder, and runs no code that lies in it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sememe.errors import ModelError, NotFound
from sememe.models.architecture import Architecture, read_architecture
from sememe.models.cards import CARDS, FILE_NAME, POOLINGS, TOKENIZER, TOKENIZERS, WEIGHTS, Card, CardFile, Runs, Step
from sememe.models.catalogue import Profile, profile_of
from sememe.models.weights import Tensors

LIMIT_FILES = tuple(
    f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta")
)
GRAPH_FILES = ("openvino/openvino_model.xml", "openvino_model.xml", "onnx/model.onnx", "model.onnx")
"""Where an exported graph lies, the first that there is."""

PICKLED = "pytorch_model.bin"
SENTENCE = "sentence_embedding"
INDEX = f"{WEIGHTS}.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
WORDLLAMA = re.compile(r"(.+)_(\d+)\.safetensors")
"""The name of a table among WordLlama's weights, and how wide it is."""

STATIC_TOKENS = 512
"""What is read of a text where the mean of ever more tokens would say ever less, as model2vec has it."""

LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = {
    "Identity": "identity", "Tanh": "tanh", "GELU": "gelu", "ReLU": "relu", "SiLU": "silu", "Sigmoid": "sigmoid",
}  # fmt: skip
ROUTER = "Router"
EXTRA = "or install an extra that runs it with torch: pip install 'sememe[torch]'"


@dataclass(frozen=True, slots=True)
class Module:
    """One entry of modules.json: the last name of its type, and its folder, "" for the model's own."""

    kind: str
    folder: str


@dataclass(frozen=True, slots=True)
class Pooled:
    """What a pooling's configuration says; `width` is that of the token states, where it is told."""

    modes: str
    reads_prompt: bool
    width: int | None


def card_from_folder(path: str | Path, *, name: str | None = None, revision: str = "") -> Card:
    """Read a model's card from its folder; digests are computed.

    `max_tokens` is the least of what the folder's files allow. A folder with a model that we know, unchanged, gives
    the known card, so that its vectors are of the same space; one that is `name`d, or bears the name of a model in the
    catalogue, gets the prompts from there that its own files lack. Raises NotFound when there is no such folder, and
    ModelError when a file is missing, cannot be understood, or asks for what nothing here can run.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder; give the folder that holds the model's config.json")
    folder = folder.resolve()
    card = replace(_wordllama_card(folder) or _listed_card(folder), name=name or folder.name, revision=revision)
    card = _profiled(card, profile_of(card.name))
    if is_reranker(folder):
        card = replace(card, remarks=(*card.remarks, "it was trained to rank pairs of texts and not to make vectors"))
    return next((known for known in CARDS if _same_model(known, card)), card)


def is_reranker(folder: Path) -> bool:
    """Whether a folder was saved as a cross-encoder: a classifier that gives one number, with no pooling behind it.

    Decoders that rank are not told from those that write.
    """
    if read_object(folder / "config_sentence_transformers.json").get("model_type") == "CrossEncoder":
        return True
    pooled = (folder / "modules.json").exists() and any(
        module.kind == "Pooling" for module in read_modules(folder / "modules.json")
    )
    config = read_object(folder / "config.json")
    names, labels = config.get("architectures"), config.get("id2label")
    classifies = isinstance(names, list) and any(str(name).endswith("ForSequenceClassification") for name in names)
    return not pooled and classifies and isinstance(labels, dict) and len(labels) == 1


def _listed_card(folder: Path) -> Card:
    """The card of a folder whose modules.json, or whose lack of one, says what is done."""
    modules = read_modules(folder / "modules.json")
    return _router_card(folder, modules) if modules[:1] and modules[0].kind == ROUTER else _tower(folder, modules)


def _profiled(card: Card, profile: Profile | None) -> Card:
    """The card with what the catalogue knows beyond the folder's files."""
    if profile is None or profile.dim != card.dim:
        return card
    return replace(
        card, licence=profile.licence, languages=profile.languages, remarks=(*card.remarks, *profile.remarks),
        prompts=card.prompts or profile.prompts,
    )  # fmt: skip


def _same_model(card: Card, other: Card) -> bool:
    """Whether two cards promise the same vectors for the same texts."""

    def decisive(card: Card) -> tuple[object, ...]:
        numbers = (card.digest, card.architecture, card.max_tokens, card.pooling, card.normalize, card.lower_case)
        return (*numbers, card.steps, card.pools_prompt, dict(card.prompts), card.closing, card.truncation_side)

    return decisive(card) == decisive(other)


# --- JSON


def _is_number(value: Any) -> bool:
    # A flag is an int to Python, but not to whoever wrote the file.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_json(path: Path) -> Any:
    """What a file holds, None when it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from error


def read_object(path: Path, *, required: bool = False) -> dict[str, Any]:
    """The JSON object in a file, empty when it is not there and not `required`. Raises ModelError for anything else."""
    value = _read_json(path)
    if value is None and not required:
        return {}
    if value is None:
        raise ModelError(f"{path} is missing; a model's folder needs config.json, {TOKENIZER} and {WEIGHTS}")
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__}; expected an object of names and values")
    return value


# --- modules


def read_modules(path: Path) -> list[Module]:
    """The modules in their order; without the file a Transformer and the mean of its states."""
    listed = _read_json(path)
    if listed is None:
        return [Module("Transformer", ""), Module("Pooling", "1_Pooling")]
    try:
        modules = [Module(module["type"].rsplit(".", 1)[-1], module["path"]) for module in listed]
    except (TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path} is not a list of modules with a type and a path each") from error
    for module in modules:
        if module.folder != "" and not (isinstance(module.folder, str) and FILE_NAME.fullmatch(module.folder)):
            raise ModelError(
                f"{path} keeps its {module.kind} in {module.folder!r}; supported: '' (the folder itself) and a "
                "folder inside it"
            )
    return [module for module in modules if module.kind != "Dropout"]


def _tower(folder: Path, modules: list[Module]) -> Card:
    return _static_card(folder, modules) if _is_static(folder, modules) else _transformer_card(folder, modules)


def _router_card(folder: Path, modules: list[Module]) -> Card:
    """The card of a model that makes the vectors of queries and of documents in different ways."""
    path = folder / modules[0].folder / "router_config.json"
    config = read_object(path, required=True)
    document, query = (_routed(config, path, modules, role) for role in ("document", "query"))
    card = _tower(folder, document)
    asks = None if query == document else _tower(folder, query)
    if "torch" in (card.runs, asks.runs if asks else ""):
        raise ModelError(f"{path} names modules that torch would have to run; supported in a {ROUTER}: those run here")
    return replace(card, query=asks)


def _routed(config: Mapping[str, Any], path: Path, modules: list[Module], role: str) -> list[Module]:
    """The modules that a text of a role goes through, in the order of precedence that sentence-transformers has."""
    try:
        types, structure, parameters = config["types"], config["structure"], config["parameters"]
        mapped = parameters.get("route_mappings") or {}
        asked = (str(key) for key in ((role, "text"), (role, None), (None, "text"), (None, None)))
        names = [*(mapped[key] for key in asked if key in mapped), role, "text", parameters.get("default_route")]
        route = next(name for name in names if name in structure)
        first = f"{modules[0].folder}/" if modules[0].folder else ""
        routed = [Module(types[name].rsplit(".", 1)[-1], first + name) for name in structure[route]]
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ModelError(f"{path} names no modules for a {role}; it needs types, structure and parameters") from error
    for module in routed:
        if not FILE_NAME.fullmatch(module.folder):
            raise ModelError(f"{path} keeps its {module.kind} in {module.folder!r}; supported: a folder inside it")
    return [module for module in (*routed, *modules[1:]) if module.kind != "Dropout"]


def kinds_of(modules: list[Module]) -> str:
    """The kinds of modules for a sentence."""
    return ", ".join(module.kind for module in modules) or "nothing"


def _transformer_card(folder: Path, modules: list[Module]) -> Card:
    """The card of a Transformer with a Pooling and what may follow it."""
    first = modules[0].folder if modules else ""
    config_path = folder / first / "config.json"
    config = read_object(config_path, required=True)
    reason, architecture = _graph_of(folder, modules, config, config_path)
    runs = _runner(folder, first, reason)
    if runs == "torch":
        # What its modules do is theirs; what they give is said by the last of them that changes the width.
        architecture = None
    hidden = architecture.hidden if architecture else int(config.get("hidden_size", 0) or 1)
    pooling = _pooling(
        folder / next((module.folder for module in modules if module.kind == "Pooling"), "1_Pooling") / "config.json",
        hidden,
    )
    width = hidden * len(pooling.modes.split("+"))
    steps: tuple[Step, ...] = ()
    if runs == "torch":
        normalize, width = modules[-1].kind == "Normalize", _torch_width(folder, modules, width)
    else:
        steps, normalize = _steps(folder, modules[2:], width)
    limits = read_limits(folder, first)
    files, closing = card_files(folder, first, steps, runs=runs), _closing(folder, first, limits)
    side = str(limits.get("truncation_side", "right"))
    if closing or side != "right":
        files = (*files, _card_file(folder, f"{first}/{TOKENIZER_CONFIG}".lstrip("/")))
    return Card(
        name=folder.name,
        dim=steps[-1].width if steps else width,
        max_tokens=least(limits, architecture.most_tokens if architecture else _positions(config)),
        pooling=pooling.modes,
        normalize=normalize,
        architecture=architecture,
        files=files,
        closing=closing,
        truncation_side=side,
        prompts=read_prompts(folder / "config_sentence_transformers.json"),
        lower_case=bool(limits.get("do_lower_case", False)),
        runs=runs,
        steps=steps,
        pools_prompt=pooling.reads_prompt,
    )


def _graph_of(
    folder: Path, modules: list[Module], config: Mapping[str, Any], path: Path
) -> tuple[str, Architecture | None]:
    """Why no graph can be built from the weights, empty if it can; and the description, where there is one."""
    kinds = [module.kind for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Dense", "LayerNorm", "Normalize"}:
        supported = "Transformer, Pooling, then any of Dense, LayerNorm, Normalize; or StaticEmbedding"
        return f"{folder / 'modules.json'} lists {kinds_of(modules)}; supported: {supported}", None
    try:
        architecture = read_architecture(config, path)
    except ModelError as error:
        return str(error), None
    if not any((path.parent / name).is_file() for name in (WEIGHTS, INDEX)):
        return _no_weights(path.parent), architecture
    return "", architecture


def _no_weights(folder: Path) -> str:
    others = sorted(other.name for other in folder.iterdir() if other.is_file())
    pickled = f"; {PICKLED} is pickled and is never opened: save the model again with safe_serialization=True"
    return (
        f"{folder / WEIGHTS} is missing; supported: weights in {WEIGHTS} with a {TOKENIZER} beside it; the folder "
        f"has: {', '.join(others)}{pickled if PICKLED in others else ''}"
    )


def _runner(folder: Path, first: str, reason: str) -> Runs:
    """What runs the model: the graph of its weights, a graph that lies there, else torch; else the reason why not."""
    if not reason:
        return "graph"
    if _graph_file(folder):
        return "file"
    weights = any((folder / first / name).is_file() for name in (WEIGHTS, INDEX))
    if weights and importlib.util.find_spec("sentence_transformers") and ROUTER not in reason:
        return "torch"
    hint = f"; put an ONNX or OpenVINO export into the folder, {EXTRA}" if weights else ""
    raise ModelError(reason + hint)


def _graph_file(folder: Path) -> str:
    """The name of an exported graph in the folder, empty when there is none."""
    return next((name for name in GRAPH_FILES if (folder / name).is_file()), "")


def _pooling(path: Path, hidden: int) -> Pooled:
    """How token states become one vector. Without a file: the mean of all of them."""
    config = read_object(path)
    mode = config.get("pooling_mode")
    if mode is None:
        # The older generation has one flag for each mode, and takes the mean when none is set.
        on = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
        mode = [LEGACY_MODES.get(name, name) for name in on] or ["mean"]
        mode.sort(key=lambda one: POOLINGS.index(one) if one in POOLINGS else -1)
    modes = [str(one).removesuffix("_tokens") if one != "mean_tokens" else one for one in _listed(mode)]
    said = "+".join(modes)
    if not set(modes) <= set(POOLINGS) or len(set(modes)) != len(modes) or not modes:
        raise ModelError(f"{path} says pooling {said!r}; supported: {', '.join(POOLINGS)}, or several of them")
    width = config.get("embedding_dimension", config.get("word_embedding_dimension", hidden))
    if width != hidden:
        raise ModelError(f"{path} pools vectors of {width} dimensions, config.json says hidden_size {hidden}")
    return Pooled(said, config.get("include_prompt", True) is not False, width)


def _torch_width(folder: Path, modules: list[Module], width: int) -> int:
    for module in modules:
        if module.kind == "Dense":
            path = folder / module.folder / "config.json"
            width = _size(read_object(path), "out_features", path)
    return width


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _steps(folder: Path, modules: list[Module], width: int) -> tuple[tuple[Step, ...], bool]:
    """The modules behind the pooling, and whether the last of them scales to unit length."""
    steps: list[Step] = []
    for module in modules:
        config = read_object(folder / module.folder / "config.json")
        step = _step(folder, module, config, steps[-1].width if steps else width)
        if step is not None:
            steps.append(step)
    normalize = bool(steps) and steps[-1].kind == "normalize"
    return tuple(steps[:-1] if normalize else steps), normalize


def _step(folder: Path, module: Module, config: Mapping[str, Any], width: int) -> Step | None:
    if module.kind == "Normalize":
        _check_level(folder, module, config, level=SENTENCE)
        return Step("normalize", width, width)
    if module.kind == "Dense":
        return read_dense(folder, module)
    _check_level(folder, module, config, level=SENTENCE)
    return Step(
        "layer_norm", _size(config, "dimension", folder / module.folder / "config.json"), width,
        _module_weights(folder, module),
    )  # fmt: skip


def read_dense(folder: Path, module: Module, *, level: str = SENTENCE) -> Step:
    """A Dense module that works on texts, or on another `level`. Raises ModelError."""
    path = folder / module.folder / "config.json"
    config = read_object(path)
    _check_level(folder, module, config, level=level)
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if activation.rsplit(".", 1)[-1] not in ACTIVATIONS or not activation.startswith("torch.nn."):
        raise ModelError(f"{path} says activation_function {activation!r}; supported: {', '.join(ACTIVATIONS)}")
    return Step(
        "dense", _size(config, "in_features", path), _size(config, "out_features", path),
        _module_weights(folder, module), ACTIVATIONS[activation.rsplit(".", 1)[-1]],
        bool(config.get("bias", True)), bool(config.get("use_residual", False)),
    )  # fmt: skip


def _check_level(folder: Path, module: Module, config: Mapping[str, Any], *, level: str) -> None:
    """Refuse a module that works on something else than what it gets here."""
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, level):
            path = folder / module.folder / "config.json"
            raise ModelError(f"{path} says {key} {config[key]!r}; supported: {level}")


def _module_weights(folder: Path, module: Module) -> str:
    """The name of a module's file of weights."""
    file = f"{module.folder}/{WEIGHTS}".lstrip("/")
    if not (folder / file).is_file():
        raise ModelError(_no_weights(folder / module.folder))
    return file


def _size(config: Mapping[str, Any], name: str, path: Path) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{path}: {name} is {value!r}; expected a whole number above 0")
    return value


# --- static embeddings


def _is_static(folder: Path, modules: list[Module]) -> bool:
    if modules and modules[0].kind == "StaticEmbedding":
        return True
    if (folder / "modules.json").exists():
        return False
    return (_read_json(folder / "config.json") or {}) != {} and read_object(folder / "config.json").get(
        "model_type"
    ) == "model2vec"


def _static_card(folder: Path, modules: list[Module]) -> Card:
    """The card of a table of token vectors, of which a text's vector is the mean."""
    listed = modules[0].kind == "StaticEmbedding"
    inner = modules[0].folder if listed else ""
    config = read_object(folder / "config.json")
    files = card_files(folder, inner, runs="static")
    tensors = Tensors([folder / inner / WEIGHTS])
    table = next((name for name in ("embedding.weight", "embeddings") if name in tensors), "embedding.weight")
    width = tensors.get(table, None, None).shape[1]
    steps, normalize = _steps(folder, modules[1:], width) if listed else ((), bool(config.get("normalize", True)))
    if steps:
        raise ModelError(f"{folder / 'modules.json'} lists {kinds_of(modules)}; supported after a table: Normalize")
    return Card(
        name=folder.name, dim=width, max_tokens=STATIC_TOKENS, pooling="mean", normalize=normalize,
        architecture=None, files=files, prompts=read_prompts(folder / "config_sentence_transformers.json"),
        runs="static", special_tokens=False,
    )  # fmt: skip


def _wordllama_card(folder: Path) -> Card | None:
    """The card of the widest table in the folder of WordLlama's package, or None when it is not that.

    The table is weights/NAME_WIDTH.safetensors, its tokenizer tokenizers/NAME_tokenizer_config.json. Its vectors are
    scaled to unit length, as that package compares them.
    """
    found = [match for path in folder.glob("weights/*") if (match := WORDLLAMA.fullmatch(path.name))]
    if not found or not (folder / "tokenizers").is_dir():
        return None
    widest = max(found, key=lambda match: int(match[2]))
    table = f"weights/{widest[0]}"
    return Card(
        name=folder.name, dim=Tensors([folder / table]).shape("embedding.weight")[-1], max_tokens=STATIC_TOKENS,
        pooling="mean", normalize=True, architecture=None,
        files=tuple(_card_file(folder, name) for name in (table, f"tokenizers/{widest[1]}{TOKENIZERS[1]}")),
        runs="static", special_tokens=False,
    )  # fmt: skip


# --- limits, prompts, files


def read_limits(folder: Path, first: str) -> dict[str, Any]:
    """`max_seq_length`, `do_lower_case`, `model_max_length` and more of the kind, whatever file says them."""
    said: dict[str, Any] = {}
    for name in (*LIMIT_FILES, TOKENIZER_CONFIG):
        said = {**read_object(folder / first / name), **said}
    return said


def _positions(config: Mapping[str, Any]) -> int:
    value: Any = config.get("max_position_embeddings")
    return int(value) if _is_number(value) and value >= 1 else STATIC_TOKENS


def least(limits: Mapping[str, Any], positions: int) -> int:
    """How many tokens a model reads: the least of what its files say and its positions."""
    values: tuple[Any, ...] = (positions, limits.get("max_seq_length"), limits.get("model_max_length"))
    return int(min(value for value in values if _is_number(value) and value >= 1))


def _closing(folder: Path, first: str, limits: Mapping[str, Any]) -> str:
    """The token at the end of every input, if it is asked for beside a tokenizer that does not put it there."""
    token = limits.get("eos_token")
    token = token.get("content") if isinstance(token, dict) else token
    if limits.get("add_eos_token") is not True or not isinstance(token, str) or not token:
        return ""
    template = read_object(folder / first / TOKENIZER).get("post_processor")
    return "" if json.dumps(token) in json.dumps(template) else token


def read_prompts(path: Path) -> dict[str, str]:
    """The prompts that are not empty; under "" the one for texts without a role, if a default is named."""
    config = read_object(path)
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


def card_files(folder: Path, first: str, steps: tuple[Step, ...] = (), *, runs: Runs = "graph") -> tuple[CardFile, ...]:
    """Every file that the vectors depend on."""
    inside = f"{first}/" if first else ""
    if runs == "file":
        graph = _graph_file(folder)
        data = [graph.removesuffix(".xml") + ".bin"] if graph.endswith(".xml") else []
        names = [graph, *data, *_beside(folder, graph, "*.onnx_data"), *_beside(folder, graph, "*.data")]
    elif (folder / first / WEIGHTS).is_file():
        names = [inside + WEIGHTS]
    else:
        shards = read_object(folder / first / INDEX).get("weight_map", {})
        names = [inside + str(name) for name in sorted(set(shards.values() if isinstance(shards, dict) else []))]
    names += [step.file for step in steps if step.file]
    if not (folder / inside / TOKENIZER).is_file() and (folder / TOKENIZER).is_file():
        inside = ""
    return tuple(_card_file(folder, name) for name in (*names, inside + TOKENIZER))


def _beside(folder: Path, graph: str, pattern: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in (folder / graph).parent.glob(pattern))


def _card_file(folder: Path, name: str) -> CardFile:
    path = folder / name
    if not FILE_NAME.fullmatch(name):
        raise ModelError(f"{folder} names a file {name!r}; supported: files inside of the folder")
    try:
        with path.open("rb") as file:
            return CardFile(name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)
    except FileNotFoundError as error:
        if name.endswith(TOKENIZERS):
            raise ModelError(
                f"{path} is missing; save the fast tokenizer of this model, its {TOKENIZER}, under that name"
            ) from error
        raise ModelError(_no_weights(path.parent if path.parent.is_dir() else folder)) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
