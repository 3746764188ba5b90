"""One frozen value with everything that is not said per call.

Library code takes a `Settings`; only the front doors (`sememe.open`, `sememe.load_model`, the command line and the
server) read the environment, through `from_environment`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import platformdirs

from sememe.errors import InputError, one_of

Precision = Literal["auto", "f32", "bf16", "int8"]
EngineName = Literal["auto", "openvino", "onnxruntime"]
DEFAULT_FOLDER = ".sememe"
"""The folder of a collection, unless another one is named."""

PRECISIONS: tuple[Precision, ...] = ("auto", "f32", "bf16", "int8")
ENGINES: tuple[EngineName, ...] = ("auto", "openvino", "onnxruntime")


def default_home() -> Path:
    """The folder of models and caches when SEMEME_HOME does not name one."""
    return Path(platformdirs.user_cache_dir("sememe", appauthor=False))


HOSTED_NAMES = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "CO_API_KEY", "COHERE_API_KEY", "CO_API_URL"),
    *("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL", "JINA_API_KEY", "JINA_BASE_URL"),
    *("VOYAGE_API_KEY", "VOYAGE_BASE_URL", "MISTRAL_API_KEY", "MISTRAL_BASE_URL", "OLLAMA_API_KEY", "OLLAMA_HOST"),
    *("TEI_API_KEY", "TEI_BASE_URL"),
)
"""Where the keys and addresses of hosted models are looked for, beside names that begin with SEMEME_KEY_."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """How hosted models are asked. `environ` holds keys and addresses by their usual names, and is never shown.

    `concurrency` requests are under way at once, each for `timeout` seconds at most, and sent up to `attempts` times
    with `backoff` seconds, doubled each time, between them. `max_cost` is in dollars for a model's life in memory.
    """

    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    concurrency: int = 8
    timeout: float = 60.0
    attempts: int = 6
    backoff: float = 0.5
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    max_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Where files live and how much of the machine may be used.

    `threads` 0 means every core. `precision` "auto" is bf16 where the CPU multiplies bf16 itself, else f32;
    "int8" multiplies whole numbers, where that leaves a model's vectors what they are.
    `engine` "auto" is OpenVINO where it is installed, else onnxruntime.
    `batch_tokens` bounds the padded tokens of one inference, `window` the number of texts held at a time.
    """

    home: Path = field(default_factory=default_home)
    offline: bool = False
    threads: int = 0
    precision: Precision = "auto"
    batch_tokens: int = 2048
    window: int = 2048
    hosted: Hosted = field(default_factory=Hosted)
    engine: EngineName = "auto"


def cores(threads: int = 0) -> int:
    """The threads to use where `threads` are allowed: 0 means one for every core that this process may run on."""
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Read SEMEME_HOME, SEMEME_OFFLINE, SEMEME_THREADS, SEMEME_PRECISION, SEMEME_ENGINE and HF_HUB_OFFLINE.

    For hosted models: keys and addresses (HOSTED_NAMES), SEMEME_CONCURRENCY, SEMEME_TIMEOUT (seconds),
    SEMEME_REQUESTS_PER_MINUTE and SEMEME_TOKENS_PER_MINUTE. Raises InputError when a value cannot be used.
    """
    env = os.environ if environ is None else environ
    precision = known_precision(env.get("SEMEME_PRECISION", "auto"), "SEMEME_PRECISION")
    engine = env.get("SEMEME_ENGINE", "auto")
    if engine not in ENGINES:
        raise InputError(f"SEMEME_ENGINE is {engine!r}; {one_of(engine, ENGINES)}")
    threads = env.get("SEMEME_THREADS", "0")
    if not threads.isdecimal():
        raise InputError(f"SEMEME_THREADS is {threads!r}; use a whole number, 0 for every core")
    home = env.get("SEMEME_HOME")
    offline = any(env.get(name, "").lower() in ("1", "true", "yes", "on") for name in OFFLINE_NAMES)
    return Settings(
        home=Path(home).expanduser() if home else default_home(),
        offline=offline,
        threads=int(threads),
        precision=precision,
        hosted=_hosted(env),
        engine=engine,
    )


def known_precision(given: str, where: str) -> Precision:
    """One of PRECISIONS. Raises InputError that says where another one was given."""
    for precision in PRECISIONS:
        if given == precision:
            return precision
    raise InputError(f"{where} is {given!r}; {one_of(given, PRECISIONS)}")


def _hosted(env: Mapping[str, str]) -> Hosted:
    default = Hosted()
    named = {name: value.strip() for name, value in env.items() if name in HOSTED_NAMES or name.startswith(KEY_PREFIX)}
    return Hosted(
        environ=named,
        concurrency=_number(env, "SEMEME_CONCURRENCY", default.concurrency),
        timeout=float(_number(env, "SEMEME_TIMEOUT", int(default.timeout))),
        requests_per_minute=_number(env, "SEMEME_REQUESTS_PER_MINUTE", default.requests_per_minute),
        tokens_per_minute=_number(env, "SEMEME_TOKENS_PER_MINUTE", default.tokens_per_minute),
    )


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name, "")
    if value and (not value.isdecimal() or int(value) < 1):
        raise InputError(f"{name} is {value!r}; use a whole number from 1, or leave it out")
    return int(value) if value else default


KEY_PREFIX = "SEMEME_KEY_"
OFFLINE_NAMES = ("SEMEME_OFFLINE", "HF_HUB_OFFLINE")
