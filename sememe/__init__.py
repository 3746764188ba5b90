"""sememe: search your documents by meaning.

`open` a folder as a `Collection`, `add` to it and `search` it; or `load_model` and `encode`; or `load_reranker` and
`rerank`. Everything here can be imported without loading a model or a database; a name loads what it needs when it is
first used. `__version__` is that of the installed package.
"""

from __future__ import annotations

import importlib
import typing

if typing.TYPE_CHECKING:
    from sememe.collection import Collection, open
    from sememe.errors import SememeError
    from sememe.models import load_model, load_reranker
    from sememe.settings import Settings
    from sememe.space import Space
    from sememe.types import Hit

__all__ = ["Collection", "Hit", "SememeError", "Settings", "Space", "load_model", "load_reranker", "open"]

_HOMES = {
    "Collection": "collection", "Hit": "types", "SememeError": "errors", "Settings": "settings", "Space": "space",
    "load_model": "models", "load_reranker": "models", "open": "collection",
}  # fmt: skip
"""The module of each name."""


def __getattr__(name: str) -> typing.Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
