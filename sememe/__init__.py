"""sememe: search your documents by meaning.

`open` a folder as a `Collection`, `add` to it and `search` it; or `load_model` and `encode`; or `load_reranker` and
`rerank`. Everything here can be imported without loading a model or a database. `__version__` is that of the installed
package.
"""

from sememe.collection import Collection, open
from sememe.errors import SememeError
from sememe.models import load_model, load_reranker
from sememe.settings import Settings
from sememe.space import Space
from sememe.types import Hit

__all__ = ["Collection", "Hit", "SememeError", "Settings", "Space", "load_model", "load_reranker", "open"]


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version(__name__)
