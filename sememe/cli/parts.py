"""What a command line says of a query's parts, of the shape of its answer, and of a whole setting, as values.

A plain text loads nothing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sememe.cli.session import no_twice
from sememe.errors import InputError, meant
from sememe.types import Vectors

if TYPE_CHECKING:
    from sememe.evaluate.running import Setting
    from sememe.search.parts import Part
    from sememe.search.query import Route
    from sememe.search.shape import Boost, Recency, Shape

ADDED = "@added"
"""The date that recency is of unless a field is named."""

DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "y": 365.25}
"""Of the units that a half-life is said in."""

SETTINGS = (
    "mode", "fusion", "alpha", "recall", "space", "funnel", "rerank", "instruction", "threshold-expected", "boost",
    "recency", "threshold", "dedupe", "group-by", "per-group", "mmr",
)  # fmt: skip
"""What changes a ranking, by the names of the options of a search; `where`, which comes last, is beside them."""

REPEATED = ("boost", "recency", "space")


def parts_of(
    also: Sequence[str] | None, *, like: Sequence[str] | None, unlike: Sequence[str] | None,
    near: Sequence[str] | None, vector: str = "",
) -> tuple[Part, ...]:  # fmt: skip
    """The parts beside the text."""
    if not (also or like or unlike or near or vector):
        return ()
    from sememe.search.parts import Part, Stored, feedback

    texts = [Part.parse(text) for text in also or ()]
    for text, part in zip(also or (), texts, strict=True):
        _refuse_nothing(f"--also {text!r}", part.weight)
    return (
        *texts,
        *feedback(like=like or (), unlike=unlike or ()),
        *(Part(Stored.parse(name)) for name in near or ()),
        *([Part(_vector_in(vector))] if vector else []),
    )


def shape_of(
    *, boosts: tuple[Boost | Recency, ...], threshold: float | None, dedupe: bool, group: tuple[str | None, int | None],
    mmr: float | None, page: tuple[int, str | None] = (0, None), context: str = "0",
    facets: Sequence[str] | None = None,
) -> Shape | None:  # fmt: skip
    """The shape of the answer; None for the best as they are. `group` is by what and how many, `page` which and after
    what."""
    by, most = group
    if by == "":
        raise InputError("--group-by is empty; name a field, or document, or leave it out")
    if by is None and most is not None:
        raise InputError(f"--per-group is {most}, but nothing is grouped; add --group-by document, or leave it out")
    if page[1] == "":
        raise InputError("--after is empty, as it is behind the last page; leave it out for the first one")
    if all(page):
        raise InputError(f"--page {page[0]} is a page and --after what comes behind another; leave one of them out")
    chosen = boosts or dedupe or by or facets or any(page) or context != "0"
    if not chosen and threshold is None and mmr is None:
        return None
    from sememe.search.shape import Context, Shape

    around: Context = int(context) if re.fullmatch(r"[0-9]{1,4300}", context) else context  # type: ignore[assignment]
    return Shape(
        boosts=boosts, threshold=threshold, dedupe=dedupe, group_by=by or "", per_group=1 if most is None else most,
        mmr=mmr, page=page[0] or 1, after=page[1] or "", context=around, facets=tuple(facets or ()),
    )  # fmt: skip


def funnel_of(text: str | None) -> str:
    """The stages of a funnel, "" for none."""
    if text == "":
        raise InputError("the funnel is empty; write it like bits:500,full, say auto, or leave it out")
    return text or ""


def boosts_of(
    boost: Sequence[str] | None, recency: Sequence[str] | None, *, idle: bool = False
) -> tuple[Boost | Recency, ...]:
    """The terms that are added to scores. Raises InputError for one of weight 0, unless it may be `idle`."""
    if not (boost or recency):
        return ()
    from sememe.search.shape import Boost

    found: list[Boost | Recency] = []
    for text in boost or ():
        field, _, weight = text.rpartition(":")
        number = _number(weight)
        if not field or number is None:
            raise InputError(f"--boost {text!r} is no field with a weight; write it like stars:0.02")
        found.append(Boost(field, number))
    found += map(_recency, recency or ())
    for term in found:
        _refuse_nothing(term.name, term.weight, idle=idle)
    return tuple(found)


def _refuse_nothing(name: str, weight: float | None, *, idle: bool = False) -> None:
    if weight == 0 and not idle:
        raise InputError(f"{name} weighs 0 and changes nothing; give it another weight, or leave it out")


def _recency(text: str) -> Recency:
    from sememe.search.shape import DAY, Recency

    said = re.fullmatch(r"(?:(?P<field>.+?):)?(?P<count>\d+(?:\.\d+)?)(?P<unit>[hdwy])(?::(?P<weight>[^:]+))?", text)
    weight = None if said is None or said["weight"] is None else _number(said["weight"])
    if said is None or (said["weight"] is not None and weight is None):
        raise InputError(f"--recency {text!r} is no half-life; write it like day:30d, 30d or day:1y:0.2")
    return Recency(said["field"] or ADDED, float(said["count"]) * DAYS[said["unit"]] * DAY, weight)


def setting_of(text: str) -> Setting:
    """Read "mode=hybrid mmr=0.7 rerank=FOLDER:30 where={…}". Raises InputError for what no search takes."""
    from sememe.evaluate.running import Setting

    text, *conditions = re.split(r"(?:^|[\s,]+)where=", text, maxsplit=1)
    before, *pairs = re.split(r"(?:^|[\s,]+)([\w-]+)=", text)
    said: dict[str, list[str]] = {}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        said.setdefault(name, []).append(value.strip())
    if wrong := [*before.split(), *(name for name in said if name not in SETTINGS)]:
        known = f"{', '.join(SETTINGS)} or, last, where={{…}}{meant(wrong[0], (*SETTINGS, 'where'))}"
        raise InputError(f"{wrong[0]!r} is no setting; write NAME=… with {known}")
    if twice := [name for name, values in said.items() if len(values) > 1 and name not in REPEATED]:
        raise InputError(f"{twice[0]} is said twice, as {' and as '.join(said[twice[0]])}; leave one out")
    single = {name: values[0] for name, values in said.items()}
    setting = Setting(
        mode=single.get("mode", "vector"),  # type: ignore[arg-type]
        alpha=_amount(single, "alpha"), recall=_amount(single, "recall"),
        where=_condition(conditions[0]) if conditions else None, route=_route(single, said.get("space", [])),
        shape=shape_of(
            boosts=boosts_of(said.get("boost"), said.get("recency"), idle=True), threshold=_amount(single, "threshold"),
            dedupe=_is_yes("dedupe", single.get("dedupe", "no")),
            group=(single.get("group-by"), _count("per-group", single["per-group"]) if "per-group" in single else None),
            mmr=_amount(single, "mmr"),
        ),
    )  # fmt: skip
    setting.check()
    return setting


def _route(said: Mapping[str, str], spaces: Sequence[str]) -> Route:
    from sememe.search.query import Route

    found = re.fullmatch(r"(?P<model>.+?)(?::(?P<depth>\d{1,9}))?", said.get("rerank", ""), re.DOTALL)
    if "rerank" in said and found is None:
        raise InputError("rerank is empty; name a model, and how many of the best it reads: rerank=FOLDER:30")
    return Route(
        space=tuple(spaces) if len(spaces) > 1 else "".join(spaces), funnel=funnel_of(said.get("funnel")),
        rerank=found and found["model"],
        depth=int(found["depth"]) if found and found["depth"] else None, instruction=said.get("instruction"),
        fusion=said.get("fusion"),  # type: ignore[arg-type]
        expected=_amount(said, "threshold-expected"),
    )  # fmt: skip


def _amount(said: Mapping[str, str], name: str) -> float | None:
    if name not in said:
        return None
    number = _number(said[name])
    if number is None:
        raise InputError(f"{name} is {said[name]!r}; give a number")
    return number


def _count(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise InputError(f"{name} is {text!r}; give a whole number")
    return int(text)


def _is_yes(name: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise InputError(f"{name} is {text!r}; write yes or no")
    return text == "yes"


def _condition(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text, object_pairs_hook=no_twice)
    except (ValueError, RecursionError) as error:
        raise InputError(f"where={text} is not JSON ({error}); write a filter, and nothing behind it") from error
    if found is None:
        raise InputError("where=null is no filter; write {} for every document, or leave it out")
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _vector_in(name: str) -> Vectors:
    """The vector in a file, or from stdin: .npy, or a list of numbers in JSON."""
    import io
    from pathlib import Path

    import numpy as np

    try:
        held = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        vector = np.load(io.BytesIO(held), allow_pickle=False) if held[:6] == b"\x93NUMPY" else json.loads(held)
        with np.errstate(over="ignore"):
            # What is too large is refused as not finite.
            found: Vectors = np.asarray(vector).astype(np.float32, casting="same_kind")
    except OSError as error:
        raise InputError(f"{name!r} cannot be read ({error.strerror}); name a .npy file") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{name!r} holds no vector; give a .npy file, or a list of numbers in JSON") from error
    return found[0] if found.ndim == 2 and len(found) == 1 else found
