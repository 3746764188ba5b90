"""Commands that look after a collection: report, space, optimize, doctor."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sememe.cli.options import DEFAULT, CollectionOption, JsonOption, StrictOption
from sememe.cli.session import opened_at, progress_shown
from sememe.cli.show import STRICT_FAILED, print_fields, print_json, print_pairs, print_quality, trouble_text, troubled
from sememe.errors import InputError


def report(
    collection: CollectionOption = DEFAULT,
    strict: StrictOption = False,
    every: Annotated[bool, typer.Option("--all", help="List every input, not only those with trouble.")] = False,
    chunks: Annotated[bool, typer.Option("--chunks", help="Judge the chunks instead: lengths, cuts, repeats.")] = False,
    fields: Annotated[bool, typer.Option("--fields", help="List the metadata fields and their types instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is stored, and which inputs did not end as they should."""
    if chunks:
        from sememe.evaluate.chunks import of_collection

        print_quality(of_collection(collection.expanduser().absolute()), as_json)
        return
    with opened_at(collection, None, create=False) as opened:
        found = opened.report()
        if fields:
            print_fields(found.fields, as_json)
            return
        rows = list(opened.ledger()) if every else list(found.troubles)
    totals = found.totals
    if as_json:
        print_json({**asdict(totals)})
        for row in rows:
            print_json(asdict(row))
    else:
        names = ("documents", "chunks", "tokens", "characters")
        inputs = [(f"inputs {status}", count) for status, count in totals.statuses.items()]
        print_pairs([*((name, getattr(totals, name)) for name in names), *inputs])
        for row in rows:
            typer.echo(trouble_text(row))
    if strict and troubled(totals.statuses):
        raise typer.Exit(STRICT_FAILED)


def optimize(
    recall: Annotated[
        float | None, typer.Option("--recall", help="Let searches find so much of the true neighbours, from now on.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", help="With --recall: of these queries, one on a line.")
    ] = None,
    name: Annotated[str | None, typer.Option("--set", help="With --recall: of the queries of a golden set.")] = None,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Write the indexes anew from the truth, fitted to what there is now; with --recall, probed and aimed too."""
    if recall is None and (queries is not None or name is not None):
        raise InputError("--queries and --set say what --recall is measured with; give --recall, as in --recall 0.99")
    from sememe.evaluate.golden import texts

    chosen = None
    with progress_shown() as shown, opened_at(collection, None, create=False, progress=shown) as opened:
        asked = texts(opened, queries, name)
        opened.optimize(progress=shown.named)
        if recall is not None:
            from sememe.evaluate.probe import aim

            chosen = aim(opened, recall, asked, progress=shown.named("probe"))
    typer.echo(f"The indexes of {collection} are new.", err=True)
    if chosen is not None and as_json:
        print_json(asdict(chosen))
    elif chosen is not None:
        typer.echo(
            f"Searches ask for a recall of {chosen.asked:g} from now on: {chosen.how}. {chosen.found:.4f} of the true "
            f"neighbours of {chosen.count:,} {chosen.queries} were found, {chosen.p50:.2f} ms a search."
        )


def doctor(
    context: typer.Context,
    collection: CollectionOption = DEFAULT,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Write every derived file anew from the truth.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what this installation is, and check a collection from end to end.

    Ends with status 0 if no trouble was found, with 1 if there is some, or no collection in a folder that was named.
    """
    from sememe import doctor as doctors

    source = context.get_parameter_source("collection")
    named = source is not None and source.name != "DEFAULT"
    wanted = named or os.path.lexists(collection)
    if rebuild:
        with progress_shown() as shown, opened_at(collection, None, create=False) as opened:
            opened.optimize(progress=shown.named)
    findings = doctors.examine(collection if wanted else None)
    if as_json:
        for finding in findings:
            print_json(asdict(finding))
    else:
        for finding in findings:
            mark = {"fact": " ", "sound": "+", "trouble": "!"}[finding.kind]
            typer.echo(f"{mark} {finding.name:<16} {finding.text}")
    if not wanted:
        typer.echo(f"There is no collection {collection}; only the installation was looked at.", err=True)
    if any(finding.kind == "trouble" for finding in findings):
        raise typer.Exit(1)
