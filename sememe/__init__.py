"""sememe: search your documents by meaning.

`open` a folder as a `Collection`, `add` to it and `search` it; or `load_model` and `encode`; or `load_reranker` and
`rerank`. Everything here can be imported without loading a model or a database.
"""

from sememe.collection import Collection, open
from sememe.errors import SememeError
from sememe.models import load_model, load_reranker
from sememe.settings import Settings
from sememe.space import Space
from sememe.types import Hit

__all__ = ["Collection", "Hit", "SememeError", "Settings", "Space", "load_model", "load_reranker", "open"]
