"""Documents → chunks: slices of a document's text that fit into a model, with spans back into the text.

Knows blocks and a `TokenCounter`. Knows nothing of files, models or stores.
"""

from sememe.chunking.boundaries import LINES, PROSE, Kind, order_of
from sememe.chunking.structure import CHUNKER, DEFAULT_OVERLAP, cut
from sememe.chunking.whole import WHOLE, whole

__all__ = ["CHUNKER", "DEFAULT_OVERLAP", "LINES", "PROSE", "WHOLE", "Kind", "cut", "order_of", "whole"]
