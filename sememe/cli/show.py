"""What commands print: results on stdout, troubles and remarks on stderr. Knows values, opens nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sememe.cli.options import DEFAULT
from sememe.search.plan import Embed, Plan
from sememe.search.run import Hits
from sememe.types import Hit, LedgerRow, embedded_input

if TYPE_CHECKING:
    from sememe.evaluate.chunks import Quality
    from sememe.ingest.pipeline import Summary

STRICT_FAILED = 3
SAID = {"embedded": "new chunks", "passed_over": "passed over", "repeated": "came twice"}
"""What a count is called where its name would not tell what it counts."""
SHOWN_TROUBLES = 5
SHOWN_VALUES = 10


def print_inputs(plan: Plan) -> None:
    """The exact strings that were embedded for a query, if any were."""
    from sememe.search.parts import Combine

    parts = [one for step in plan.steps if isinstance(step, Combine) for one in step.inputs]
    inputs = [*parts, *(step.input for step in plan.steps if isinstance(step, Embed))]
    if inputs:
        typer.echo("\n".join(f"query  {text}" for text in inputs) + "\n")


def print_summary(summary: Summary, collection: Path, as_json: bool) -> None:
    """What a run did, and its first troubles."""
    if as_json:
        print_json(summary.as_dict())
    else:
        fields = summary.as_dict()
        optional = ("unchanged", "repeated", "described", "mistyped", "renamed", "deleted", "passed_over")
        names = ("documents", "chunks", "tokens", "embedded", "truncated", "skipped", "failed")
        print_pairs([(SAID.get(n, n), fields[n]) for n in (*names, *(n for n in optional if fields[n]))])
        print_pairs([("seconds", f"{summary.seconds:.1f}")])
        if summary.billed_tokens:
            from sememe.models.providers.calling import dollars

            cost = "price unknown" if summary.dollars is None else f"${dollars(summary.dollars)}"
            print_pairs([("billed", f"{summary.billed_tokens:,} tokens, {cost}")])
        print_troubles(summary, collection)
    if summary.warning:
        typer.echo(f"sememe: {summary.warning}", err=True)


def print_pass(summary: Summary, collection: Path, as_json: bool) -> None:
    """What one pass of a watch did, on one line, and its first troubles."""
    if as_json:
        print_json(summary.as_dict())
        return
    typer.echo(f"{datetime.now():%H:%M:%S}  {pass_text(summary)}, {summary.seconds:.1f} s")
    print_troubles(summary, collection)


def pass_text(summary: Summary) -> str:
    """The counts that are not nothing."""
    names = ("documents", "chunks", "embedded", "described", "renamed", "deleted", "truncated", "skipped", "failed")
    said = (counted(getattr(summary, name), SAID.get(name, name)) for name in names if getattr(summary, name))
    return ", ".join(said) or "no change"


def counted(count: int, things: str) -> str:
    """`1 pass`, `2 passes`, `1 deleted`: a number with what it counts, given in the plural."""
    one = things.removesuffix("es" if things.endswith("sses") else "s")
    return f"{count:,} {one if count == 1 else things}"


def end_strictly(summary: Summary, strict: bool) -> None:
    """End with status 3 if any input was not embedded whole and that was asked for."""
    if strict and (summary.truncated or summary.skipped or summary.failed):
        raise typer.Exit(STRICT_FAILED)


def print_troubles(summary: Summary, collection: Path) -> None:
    """The first inputs that did not end as they should, and how many more there are."""
    for row in summary.troubles[:SHOWN_TROUBLES]:
        typer.echo(trouble_text(row), err=True)
    more = len(summary.troubles) - SHOWN_TROUBLES
    if more > 0:
        where = "" if collection == DEFAULT else f" --collection {collection}"
        hint = "" if summary.dry_run else f": sememe report{where}"
        typer.echo(f"and {more} more{hint}", err=True)


def print_fields(fields: Mapping[str, str], as_json: bool) -> None:
    """Metadata fields by path, and their types."""
    for path, kind in fields.items():
        if as_json:
            print_json({"field": path, "type": kind})
        else:
            typer.echo(f"{kind:<8} {printable(path)}")


def print_quality(quality: Quality, as_json: bool) -> None:
    """How long chunks are, and what is wrong with them."""
    from sememe.evaluate.chunks import KINDS

    if as_json:
        print_json(quality.as_dict())
        return
    shares = ", ".join(f"{name} {quality.percentile(share)}" for name, share in (("median", 0.5), ("95 %", 0.95)))
    typer.echo(f"{quality.chunks:,} chunks; tokens: {shares}, longest {quality.percentile(1.0)}")
    bars = quality.histogram()
    most = max((count for _, _, count in bars), default=1)
    for first, last, count in bars:
        typer.echo(f"{first:>5}–{last:<5} {'█' * round(40 * count / most):<40} {count:,}")
    for kind, meaning in KINDS.items():
        count = quality.faults[kind]
        typer.echo(f"\n{kind:<15} {count:>8,}  {count / max(quality.of(kind), 1):6.2%}  {meaning}")
        for example in quality.examples.get(kind, []):
            typer.echo(f"    {example.id}  {printable(example.document)}: {printable(example.text)}")


def troubled(statuses: dict[str, int]) -> bool:
    """Whether any input did not end as it should."""
    return any(count for status, count in statuses.items() if status != "embedded")


def trouble_text(row: LedgerRow) -> str:
    """A row of the ledger on one line."""
    reasons = "; ".join(part for part in (row.reason, *row.remarks) if part)
    return f"{row.status:<9}  {printable(row.key)}{':' if reasons else ''} {reasons}".rstrip()


def print_hits(hits: Hits, *, plan: bool, show_input: bool, as_json: bool) -> None:
    """Hits, best first; before them the plan that ran, behind them its notes."""
    if plan and as_json:
        print_json({"plan": hits.plan.as_dicts()})
    elif plan:
        typer.echo(f"{hits.plan}\n")
    for rank, hit in enumerate(hits, start=1):
        typer.echo(_hit_json(hit, show_input) if as_json else _hit_text(rank, hit, show_input))
    if hits.facets:
        print_facets(hits, as_json)
    if hits.next:
        typer.echo(json.dumps({"next": hits.next}) if as_json else f"Next page: --after {hits.next}")
    for note in hits.notes:
        typer.echo(f"Note: {note}.", err=True)
    if not hits and not hits.notes:
        typer.echo("Nothing was found.", err=True)


def print_facets(hits: Hits, as_json: bool) -> None:
    """The values of fields: how many chunks that may be found have each, and how many of the hits."""
    if as_json:
        print_json({"facets": {name: [asdict(facet) for facet in found] for name, found in hits.facets.items()}})
        return
    for name, found in hits.facets.items():
        typer.echo(f"{printable(name)}: in chunks that may be found, and in hits")
        for facet in found[:SHOWN_VALUES]:
            typer.echo(f"{facet.count:>9,} {facet.hits:>5,}  {printable(str(facet.value))}")
        if len(found) > SHOWN_VALUES:
            typer.echo(f"{'':>15}  and {len(found) - SHOWN_VALUES:,} more values")


def _hit_text(rank: int, hit: Hit, show_input: bool) -> str:
    where = " > ".join([printable(hit.document), *hit.headings])
    text = embedded_input(hit.headings, hit.text) if show_input else _snippet(hit.text)
    text = text if hit.context is None else hit.context.text
    indented = "\n".join(f"    {line}" for line in text.splitlines())
    place = f", {printable(hit.place)}" if hit.place else ""
    expected = "" if hit.expected is None else f", {hit.expected:.2g} expected by chance"
    terms = "".join(f"    {term.value:+.3f}  {term.name}\n" for term in hit.terms)
    return f"{rank:>2}  {hit.score:.3f}{expected}  {where}{place}  ({hit.id})\n{terms}{indented}\n"


def _snippet(text: str, width: int = 280) -> str:
    """The beginning of a chunk on a few short lines."""
    import textwrap

    folded = " ".join(text.split())
    short = folded if len(folded) <= width else f"{folded[:width].rsplit(' ', 1)[0]} …"
    return "\n".join(textwrap.wrap(short, 96)) or short


def _hit_json(hit: Hit, show_input: bool) -> str:
    fields = asdict(hit)
    if show_input:
        fields["input"] = embedded_input(hit.headings, hit.text)
    return json.dumps(fields, ensure_ascii=False)


def print_json(value: object) -> None:
    """One value on a line of its own."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def print_pairs(pairs: list[tuple[str, object]]) -> None:
    """Names and values in two columns."""
    for name, value in pairs:
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        typer.echo(f"{name:<16} {shown}")


def printable(key: str) -> str:
    """A key on one line, whatever is in a file's name."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in key)
