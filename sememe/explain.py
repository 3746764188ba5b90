"""Why a collection gives a chunk for a query, or does not: as a value, and as a page to show to somebody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from html import escape
from typing import Any

from sememe.collection import Collection, ready
from sememe.errors import NotFound
from sememe.index.tokens import TokenPart
from sememe.search.explain import Explanation, Standing, explained
from sememe.search.plan import Plan
from sememe.search.query import Query

HOTTEST = 12
"""Words that are marked in a text: those without which its score falls most, and tokens that add most to it."""


def explain(collection: Collection, query: str | Query, name: str, *, heat: bool = True) -> Explanation:
    """Where the chunk, or the best chunk of the document, that `name` is stands in the answer to a query, and why.

    `heat` embeds the chunk again without each of its words, 64 of them at most, to tell what they mean to its score.
    Raises NotFound when there is no such document or chunk, and InputError as `search` does.
    """
    asked = Query(text=query) if isinstance(query, str) else query
    numbers = [chunk.id for chunk in collection.get(name).chunks]
    asked, store, view, models = ready(collection, asked)
    try:
        return explained(asked, numbers, store=store, view=view, models=models, heat=heat)
    except NotFound as error:
        raise NotFound(f"{name!r} cannot be explained: {error}") from error


def as_dict(explanation: Explanation) -> dict[str, Any]:
    """An explanation for JSON."""
    return asdict(replace(explanation, plan=Plan(()))) | {"plan": explanation.plan.as_dicts()}


def verdict(explanation: Explanation) -> str:
    """What became of the chunk, in a sentence."""
    if explanation.rank is not None:
        return f"{explanation.id} of {explanation.document} is hit {explanation.rank} of the {explanation.k} asked for"
    return f"{explanation.id} of {explanation.document} is not in the answer: {explanation.fell}"


def standing_text(standing: Standing) -> str:
    """Where a chunk stands in one part, in a line."""
    if standing.rank is None or standing.score is None:
        return f"{standing.name:<9} not ranked"
    came = "kept" if standing.passed else "not kept"
    return f"{standing.name:<9} rank {standing.rank:,}, score {standing.score:.4g}; the best {standing.kept:,}: {came}"


def sum_text(explanation: Explanation) -> str:
    """What a boosted score is the sum of, in a line; empty where it was not boosted."""
    parts = explanation.score
    return " + ".join(f"{part.name} {part.value:.4g}" for part in parts) + (
        f" = {sum(part.value for part in parts):.4g}" if parts else ""
    )


def token_text(explanation: Explanation, part: TokenPart) -> str:
    """A token of the query and what it finds: as that stands in the text, or as the vocabulary writes it."""
    found = part.found if part.span is None else explanation.text[slice(*part.span)]
    return f"{part.asked} → {found.strip()}{'' if part.span else ' (not in the text)'}"


def greatest(explanation: Explanation) -> list[TokenPart]:
    """The parts of a max-sim, the greatest first."""
    return sorted(explanation.tokens, key=lambda part: -part.score)


def marked(explanation: Explanation) -> list[tuple[str, str]]:
    """The text in pieces, each with what it is: "" for plain text, "word" for a word that the query looks up, "heat"
    for one that the vector's score hangs on or that a token of the query finds, "word heat" for both.
    """
    marks: list[set[str]] = [set() for _ in explanation.text]
    for part in explanation.terms:
        for start, end in part.spans if part.score else ():
            for place in range(start, end):
                marks[place].add("word")
    hot = [(one.start, one.end) for one in explanation.hottest(HOTTEST)]
    for start, end in (*hot, *explanation.nearest(HOTTEST)):
        for place in range(start, end):
            marks[place].add("heat")
    return list(_pieces(explanation.text, [" ".join(sorted(mark, reverse=True)) for mark in marks]))


def _pieces(text: str, marks: Sequence[str]) -> Iterator[tuple[str, str]]:
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or marks[place] != marks[start]:
            yield text[start:place], marks[start]
            start = place


# --- a page ----------------------------------------------------------------------------------

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:46em;margin:2em auto;padding:0 1em;color:#222}"
    "pre{white-space:pre-wrap;background:#f6f6f6;padding:1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child"
    "{text-align:left}.word{border-bottom:2px solid #00798c}.heat{background:#fbd9a0}"
)


def page(explanation: Explanation) -> str:
    """An explanation as one HTML file that needs no other."""
    body = "".join(f'<span class="{mark}">{escape(piece)}</span>' if mark else escape(piece)
                   for piece, mark in marked(explanation))  # fmt: skip
    standings = [
        (one.name, *(("–", "–") if one.rank is None else (f"{one.rank:,}", f"{one.score:.4g}")), f"{one.kept:,}",
         "yes" if one.passed else "no")
        for one in explanation.standings
    ]  # fmt: skip
    summed = [(part.name, f"{part.value:+.4f}") for part in explanation.score]
    terms = [(part.term, f"{part.rows:,}", f"{part.score:.3f}") for part in explanation.terms]
    heat = [(explanation.text[one.start : one.end], f"{one.drop:+.4f}") for one in explanation.hottest(HOTTEST)]
    tokens = [(token_text(explanation, part), f"{part.score:.3f}") for part in greatest(explanation)]
    return "\n".join([
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(explanation.query)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(explanation.query)}</h1><p>{escape(verdict(explanation))}.</p>",
        _table(("part", "rank", "score", "goes on", "kept"), standings),
        _table(("term", "of the score"), summed),
        _table(("word", "chunks with it", f"part of the score in {explanation.terms_of or 'bm25'}"), terms),
        _table(("token of the query → nearest of the text", f"part of the score in {explanation.tokens_of}"), tokens),
        _table(("left out", "the score falls by"), [(word, drop) for word, drop in heat]),
        f"<h2>{escape(' > '.join([explanation.title or explanation.document, *explanation.headings]))}</h2>",
        f"<pre>{body}</pre><h2>The plan</h2><pre>{escape(str(explanation.plan))}</pre></body></html>\n",
    ])  # fmt: skip


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>{''.join(lines)}</table>"
