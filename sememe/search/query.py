"""What may be asked, and the check that it can be answered."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from sememe.errors import InputError, one_of
from sememe.filters import Condition
from sememe.types import Reranker, Vectors

if TYPE_CHECKING:
    # Most queries have a text and nothing else.
    from sememe.search.parts import Part, Sought
    from sememe.search.shape import Shape

Mode = Literal["vector", "lexical", "hybrid"]
MODES: tuple[Mode, ...] = get_args(Mode)
Fusion = Literal["evidence", "rrf"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)


OWN = "@own"
"""What the collection's own space, which has no name, is called beside others."""

RERANKED = 50
"""Hits that a reranker reads, unless said otherwise: what a small one does in some seconds."""


@dataclass(frozen=True, slots=True)
class Route:
    """By which way the best are found: in the further `space` of this name, or in the collection's own; in several, of
    which OWN may be one, their rankings are fused by reciprocal ranks.

    `funnel` compares all vectors by something short first, "bits:2000,128:200,full", or, with "auto", by what was
    measured here to find enough. `rerank` is a model, or what it is loaded by, that reads the best `depth` of them
    with the query, RERANKED unless that is said and always all that are asked for, and puts them in order.
    `instruction` tells both models, those of them that were trained so, what the query is asked for: "from a
    cybersecurity perspective". `fusion` is how a hybrid search without `alpha` joins its parts: by how surprising their
    scores are ("evidence", unless it is said), or by reciprocal ranks ("rrf"). `calibrated` hits say how many random
    chunks would be expected to score as high, and with `expected` those are left out of which that number is greater.
    """

    space: str | tuple[str, ...] = ""
    funnel: str = ""
    rerank: str | Path | Reranker | None = None
    depth: int | None = None
    instruction: str | None = None
    fusion: Fusion | None = None
    calibrated: bool = False
    expected: float | None = None

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of the spaces, "" for the collection's own."""
        names = (self.space,) if isinstance(self.space, str) else tuple(self.space)
        return tuple("" if name == OWN else name for name in names) or ("",)

    @property
    def read(self) -> int:
        """How many of the best a reranker reads; 0 without one."""
        return 0 if self.rerank is None else RERANKED if self.depth is None else self.depth

    @property
    def ranked_by(self) -> str:
        """The name of the reranker; empty without one."""
        model = self.rerank
        return (
            str(model or "") if isinstance(model, str | Path | None) else getattr(model, "name", type(model).__name__)
        )


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: a text, a vector of the space, further `parts`, or several of these; `k` hits at most.

    `where` leaves out what it does not match, and `exclude` chunks by number. `mode` compares meanings, words, or
    both; then `alpha` weighs the scores (1: meaning alone), and without it the route says how they are fused.
    `recall` is the share of the true neighbours that will do, 1 for all of them. `shape` says what is made of the best.
    `sought` is what the parts came to, when they have.
    """

    text: str | None = None
    vector: Vectors | None = None
    k: int = 10
    where: Condition | None = None
    mode: Mode = "vector"
    alpha: float | None = None
    recall: float | None = None
    exclude: frozenset[int] = frozenset()
    route: Route = Route()
    parts: tuple[Part, ...] = ()
    shape: Shape | None = None
    sought: Sought | None = None

    @property
    def needs_model(self) -> bool:
        """Whether something has to be embedded."""
        texts = self.text is not None or any(part.is_text for part in self.parts)
        return texts and self.mode != "lexical"

    @property
    def is_fused(self) -> bool:
        """Whether the answer is made of several rankings."""
        return self.mode == "hybrid" or len(self.route.spaces) > 1

    @property
    def has_words(self) -> bool:
        """Whether there is a text that does not lead away."""
        return self.text is not None or any(isinstance(part.what, str) and part.weight > 0 for part in self.parts)


def checked(query: Query, dim: int) -> Query:
    """The query, its vector as float32 (dim,). Raises InputError naming what is wrong with it."""
    if not isinstance(query.k, int) or isinstance(query.k, bool):
        raise InputError(f"k is {query.k!r}; give a whole number")
    if query.k < 1:
        raise InputError(f"k is {query.k}; ask for at least 1 hit")
    if query.parts:
        _refuse_parts(query)
    elif (query.text is None) == (query.vector is None):
        raise InputError("a query has either a text or a vector")
    if query.text is not None and not query.text.strip():
        raise InputError("the query is empty; say what you are looking for")
    if query.mode not in MODES:
        raise InputError(f"the mode is {query.mode!r}; {one_of(query.mode, MODES)}")
    if not query.has_words and query.mode != "vector":
        raise InputError(f"the mode is {query.mode!r}, but the query is a vector and has no words; give a text")
    if query.alpha is not None and query.mode != "hybrid":
        raise InputError(f"alpha is {query.alpha!r}, but the mode is {query.mode!r}; alpha goes with mode 'hybrid'")
    _refuse_route(query)
    _refuse_outside("alpha", query.alpha, "1 is meaning alone, 0 words alone")
    _refuse_outside("recall", query.recall, "1 compares every vector")
    if query.shape is not None:
        from sememe.search.shape import refuse_shape

        refuse_shape(query.shape)
    return query if query.vector is None else replace(query, vector=checked_vector(query.vector, dim))


def _refuse_parts(query: Query) -> None:
    from sememe.search.parts import refuse_parts

    refuse_parts(query.parts)
    if query.mode == "lexical":
        other = "hybrid" if query.has_words else "vector"
        raise InputError(f"the mode is 'lexical', but parts of a query are compared as vectors; use {other!r}")


def _refuse_route(query: Query) -> None:
    route = query.route
    if route.rerank is not None and not query.has_words:
        raise InputError("a reranker reads the query with every text, but the query is a vector; give a text")
    if len(route.spaces) > 1:
        _refuse_several(query)
    if isinstance(route.rerank, str) and not route.rerank.strip():
        raise InputError("the reranker has no name; give the folder of a model or its name, or leave it out")
    whole = isinstance(route.depth, int) and not isinstance(route.depth, bool) and route.depth >= 1
    if route.depth is not None and not whole:
        raise InputError(f"the depth to rerank is {route.depth!r}; give a whole number from 1 on")
    if route.funnel and query.mode == "lexical":
        raise InputError(f"a funnel compares vectors, but the mode is {query.mode!r}; leave it out")
    if route.fusion is not None and route.fusion not in FUSIONS:
        raise InputError(f"the fusion is {route.fusion!r}; {one_of(route.fusion, FUSIONS)}")
    number = isinstance(route.expected, int | float) and not isinstance(route.expected, bool)
    if route.expected is not None and not (number and math.isfinite(route.expected) and route.expected > 0):
        raise InputError(f"the threshold is {route.expected!r}; give a number of random chunks above 0, such as 0.3")
    if route.instruction is not None and not route.instruction.strip():
        raise InputError("the instruction is empty; say what the query is asked for, or leave it out")
    if route.instruction is not None and route.rerank is None:
        _refuse_untold(query)
    _refuse_idle(query)


def _refuse_idle(query: Query) -> None:
    """Raise InputError for what was said and would change nothing."""
    route, lexical = query.route, query.mode == "lexical"
    if route.depth is not None and route.rerank is None:
        raise InputError(f"the depth to rerank is {route.depth}, but no reranker is named; name one, or leave it out")
    if route.fusion is not None and not query.is_fused:
        raise InputError(f"the fusion is {route.fusion!r}, but the mode is {query.mode!r}; fusion goes with 'hybrid'")
    if route.fusion is not None and query.alpha is not None:
        raise InputError(f"alpha is {query.alpha!r} and the fusion {route.fusion!r}; scores are joined by one of them")
    if route.fusion == "evidence" and len(route.spaces) > 1:
        raise InputError("the fusion is 'evidence', but several spaces are fused by ranks; use 'rrf' or one space")
    if lexical and route.space:
        named = route.spaces[0] or OWN
        raise InputError(f"the mode is 'lexical' and looks in no space, but {named!r} is named; leave it out")
    if lexical and query.recall is not None:
        raise InputError(f"recall is {query.recall!r}, but the mode is 'lexical' and misses nothing; leave it out")
    if query.recall is not None and route.funnel not in ("", "auto"):
        raise InputError(f"recall is {query.recall!r}, but the funnel {route.funnel!r} says its stages; use 'auto'")


def _refuse_several(query: Query) -> None:
    """Raise InputError for what cannot be asked of several spaces at once."""
    route, names = query.route, [name or OWN for name in query.route.spaces]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"space {twice!r} is named twice; name each space once")
    why = (
        "parts of a query are added up in one space" if query.parts
        else "the query is a vector, which is of one space" if query.text is None
        else "the mode is 'lexical' and looks in none" if query.mode == "lexical"
        else "alpha weighs one space against words" if query.alpha is not None
        else "a funnel goes through one space" if route.funnel
        else "scores are calibrated in one space" if route.calibrated or route.expected is not None
        else "an instruction is told to the model of one space" if route.instruction and route.rerank is None
        else ""
    )  # fmt: skip
    if why:
        raise InputError(f"the spaces {', '.join(names)} are asked together, but {why}; name one, or leave that out")


def _refuse_untold(query: Query) -> None:
    """Raise InputError where no model would be told the instruction."""
    why = (
        f"the mode is {query.mode!r}" if query.mode == "lexical"
        else "the query is made of parts" if query.parts
        else "the query is a vector" if query.text is None
        else ""
    )  # fmt: skip
    if why:
        raise InputError(f"an instruction is told to a model, but {why}; leave it out, or name a reranker to tell it")


def _refuse_outside(name: str, value: float | None, meaning: str) -> None:
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= 1:
        raise InputError(f"{name} is {value!r}; give a number from 0 to 1 ({meaning})")


def checked_vector(given: Vectors, dim: int) -> Vectors:
    """A vector to look for as float32 (dim,). Raises InputError for one that cannot be looked for."""
    try:
        if np.iscomplexobj(given):
            raise TypeError
        # What float32 cannot hold becomes infinite, and is refused below.
        with np.errstate(over="ignore"):
            vector = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the query is a {type(given).__name__}; give a string or a vector of real numbers") from error
    if vector.shape != (dim,):
        raise InputError(
            f"the query vector has shape {vector.shape}, the collection has ({dim},); give one of {dim} "
            f"numbers by the model that makes its vectors, which is told by: sememe space"
        )
    if not np.isfinite(vector).all():
        raise InputError("the query vector has values that are not finite numbers")
    if not vector.any():
        raise InputError("the query vector holds only zeros, which point nowhere; embed a text for one")
    return vector
