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

from sememe.errors import InputError

Precision = Literal["auto", "f32", "bf16"]
EngineName = Literal["auto", "openvino", "onnxruntime"]
DEFAULT_FOLDER = ".sememe"
"""The folder of a collection, unless another one is named."""

PRECISIONS: tuple[Precision, ...] = ("auto", "f32", "bf16")
ENGINES: tuple[EngineName, ...] = ("auto", "openvino", "onnxruntime")


def default_home() -> Path:
    """The folder of models and caches when SEMEME_HOME does not name one."""
    return Path(platformdirs.user_cache_dir("sememe", appauthor=False))


@dataclass(frozen=True, slots=True)
class Settings:
    """Where files live and how much of the machine may be used.

    `threads` 0 means every core. `precision` "auto" is bf16 where the CPU multiplies bf16 itself, else f32.
    `engine` "auto" is OpenVINO where it is installed, else onnxruntime.
    `batch_tokens` bounds the padded tokens of one inference, `window` the number of texts held at a time.
    """

    home: Path = field(default_factory=default_home)
    offline: bool = False
    threads: int = 0
    precision: Precision = "auto"
    batch_tokens: int = 2048
    window: int = 2048
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

    Raises InputError when a value cannot be used.
    """
    env = os.environ if environ is None else environ
    precision = env.get("SEMEME_PRECISION", "auto")
    if precision not in PRECISIONS:
        raise InputError(f"SEMEME_PRECISION is {precision!r}; use one of {', '.join(PRECISIONS)}")
    engine = env.get("SEMEME_ENGINE", "auto")
    if engine not in ENGINES:
        raise InputError(f"SEMEME_ENGINE is {engine!r}; use one of {', '.join(ENGINES)}")
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
        engine=engine,
    )


OFFLINE_NAMES = ("SEMEME_OFFLINE", "HF_HUB_OFFLINE")
