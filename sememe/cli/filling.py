"""Commands that fill a collection: add, sync, delete."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from sememe import collection as collections
from sememe.cli.options import (
    DEFAULT,
    AllowPrivateOption,
    ChecksumOption,
    CollectionOption,
    DelayOption,
    DryRunOption,
    HiddenOption,
    IdColumnOption,
    JsonOption,
    LongOption,
    MaxCostOption,
    MaxPagesOption,
    MetaOption,
    ModelOption,
    ShowInputOption,
    SitemapOption,
    StrictOption,
    TableOption,
    TextColumnOption,
    TitleColumnOption,
    TrackedOption,
    WholeOption,
    folder_of,
)
from sememe.cli.session import Shown, no_twice, opened_at, progress_shown, stop_told
from sememe.cli.show import (
    counted,
    end_strictly,
    pass_text,
    print_json,
    print_pairs,
    print_pass,
    print_summary,
    print_troubles,
    printable,
)
from sememe.errors import InputError, SememeError, one_of
from sememe.ingest.about import Given, checked
from sememe.ingest.pages import Pages
from sememe.ingest.pipeline import OnProgress, Summary
from sememe.ingest.sync import Choices
from sememe.memory import hold_memory
from sememe.sources import ReadOptions, key_of
from sememe.sources.web import DELAY, MOST_PAGES, WebOptions, is_address
from sememe.types import LONG, Long
from sememe.watch import Watched, notifier, watch


def add(
    paths: Annotated[list[str], typer.Argument(help="Files, folders to go through, or addresses of pages.")],
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    dry_run: DryRunOption = False,
    show_input: ShowInputOption = False,
    whole: WholeOption = False,
    long: LongOption = "truncate",
    hidden: HiddenOption = False,
    checksum: ChecksumOption = False,
    tracked: TrackedOption = False,
    text_column: TextColumnOption = None,
    title_column: TitleColumnOption = "",
    id_column: IdColumnOption = "",
    table: TableOption = "",
    metric: Annotated[
        str | None, typer.Option("--metric", help="How a new collection compares: cosine, dot or euclidean.")
    ] = None,
    sitemap: SitemapOption = False,
    max_pages: MaxPagesOption = MOST_PAGES,
    delay: DelayOption = DELAY,
    allow_private: AllowPrivateOption = False,
    max_cost: MaxCostOption = None,
    meta: MetaOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add files, folders and pages. What is there already and has not changed costs nothing."""
    web = WebOptions(delay=delay, max_pages=max_pages, allow_private=allow_private)
    wanted = wanted_of(paths, sitemap, web)
    given = Given(meta_of(meta), strict=strict)
    read = ReadOptions(tuple(text_column or ()), title_column, id_column, table)
    chunk = _cutting(whole, long)
    if isinstance(wanted, Pages) and (hidden or checksum or tracked):
        flags = "--hidden, --checksum and --tracked"
        raise InputError(f"{flags} go with files, and {paths[0]} is an address; leave them out")
    if show_input and not dry_run:
        raise SememeError("--show-input prints what an add would embed and goes with --dry-run; say both")
    if dry_run:
        choices = Choices(chunk=chunk, hidden=hidden, checksum=checksum, tracked=tracked, read=read)
        planned = preview(wanted, collection, model, choices=choices, show_input=show_input, as_json=as_json)
        end_strictly(planned, strict)
        return
    with (
        progress_shown() as shown,
        opened_at(collection, model, create=True, progress=shown, metric=metric, max_cost=max_cost) as opened,
        stop_told(shown),
    ):
        if isinstance(wanted, Pages):
            summary = collections.add_pages(
                opened, wanted, chunk=chunk, read=read, metadata=given, progress=shown.ingest
            )
        else:
            summary = opened.add_files(
                list(wanted), chunk=chunk, hidden=hidden, checksum=checksum, tracked=tracked, read=read,
                metadata=given, progress=shown.ingest,
            )  # fmt: skip
        shown.stop()
        print_summary(summary, collection, as_json)
    end_strictly(summary, strict)


def sync(
    path: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to agree with.")],
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    dry_run: DryRunOption = False,
    whole: WholeOption = False,
    long: LongOption = "truncate",
    hidden: HiddenOption = False,
    checksum: ChecksumOption = False,
    tracked: TrackedOption = False,
    text_column: TextColumnOption = None,
    title_column: TitleColumnOption = "",
    id_column: IdColumnOption = "",
    table: TableOption = "",
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Go on even if nothing of the folder would be left.")
    ] = False,
    max_cost: MaxCostOption = None,
    meta: MetaOption = None,
    watched: Annotated[bool, typer.Option("--watch", help="Go on: a pass after every change, until Ctrl-C.")] = False,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Agree with a folder: take in what is new or changed, delete what is gone."""
    folder = folder_of(path)
    if watched and dry_run:
        raise SememeError("--watch goes on writing and --dry-run writes nothing; say one of them")
    if not allow_empty:
        refuse_missing([folder], or_else=", or say --allow-empty if it is gone")
    given = Given(meta_of(meta), strict=strict)
    read = ReadOptions(tuple(text_column or ()), title_column, id_column, table)
    chunk = _cutting(whole, long)
    if dry_run:
        choices = Choices(chunk, hidden, checksum, deleting=True, allow_empty=allow_empty, tracked=tracked, read=read)
        planned = preview([folder], collection, model, choices=choices, show_input=False, as_json=as_json)
        end_strictly(planned, strict)
        return
    with (
        progress_shown() as shown,
        opened_at(collection, model, create=True, progress=shown, max_cost=max_cost) as opened,
    ):
        run = partial(
            opened.sync, folder, chunk=chunk, hidden=hidden, checksum=checksum, allow_empty=allow_empty,
            tracked=tracked, read=read, metadata=given, progress=shown.ingest,
        )  # fmt: skip
        if watched:
            watch_folder(Watched(folder.expanduser().absolute(), opened.path, hidden), run, shown, collection, as_json)
            return
        with stop_told(shown):
            summary = run()
        shown.stop()
        print_summary(summary, collection, as_json)
    end_strictly(summary, strict)


def watch_folder(watched: Watched, run: Callable[[], Summary], shown: Shown, collection: Path, as_json: bool) -> None:
    """Print a line for every pass; at the end, which is Ctrl-C, what all of them did."""
    typer.echo(f"watching {watched.folder} by {notifier()}; Ctrl-C ends it", err=True)
    hold_memory()
    total, passes = Summary(), 0

    def say(text: str) -> None:
        typer.echo(f"sememe: {text}", err=True)

    def once() -> Summary:
        shown.begin()
        try:
            with stop_told(shown):
                return run()
        finally:
            shown.stop()

    try:
        for summary in watch(watched, once, say=say):
            passes += 1
            total.add(summary)
            print_pass(summary, collection, as_json)
    except (KeyboardInterrupt, SystemExit) as end:
        if as_json:
            print_json({"passes": passes, **total.as_dict()})
        else:
            typer.echo(f"{counted(passes, 'passes')}: {pass_text(total)}")
        if isinstance(end, SystemExit):
            raise


def delete(
    keys: Annotated[list[str], typer.Argument(metavar="ID...", help="Keys of documents.")],
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Delete documents, all of those named or none."""
    with opened_at(collection, None, create=False) as opened:
        deleted = opened.delete(keys)
    if as_json:
        print_json({"deleted": deleted})
    else:
        typer.echo(f"{deleted} deleted")


def preview(
    paths: list[Path] | Pages, collection: Path, model: str | None, *, choices: Choices, show_input: bool, as_json: bool
) -> Summary:
    """Print what an add or a sync would do; nothing is written."""

    def show(key: str, text: str) -> None:
        typer.echo(json.dumps({"document": key, "input": text}) if as_json else f"--- {key}\n{text}")

    with progress_shown() as shown:
        report_to: OnProgress | None = None if show_input else shown.ingest
        summary = collections.preview(
            paths, path=collection, model=model, choices=choices, inputs=show if show_input else None,
            progress=report_to,
        )  # fmt: skip
    if as_json:
        print_json(summary.as_dict())
    else:
        names = ["documents", "chunks", "tokens", "unchanged", "truncated", "skipped", "failed"]
        names += ["renamed", "deleted"] if choices.deleting else []
        print_pairs([("files" if n == "documents" else n, getattr(summary, n)) for n in names])
        if summary.dollars is not None:
            from sememe.models.providers.calling import dollars

            print_pairs([("dollars", f"{dollars(summary.dollars)} at most")])
        print_troubles(summary, collection)
    typer.echo("Nothing was written (dry run).", err=True)
    return summary


def _cutting(whole: bool, long: str) -> bool | Long:
    """What `--whole` and `--long` say together. Raises InputError where they say nothing that can be done."""
    if long not in LONG:
        raise InputError(f"--long is {long!r}; {one_of(long, LONG)}")
    if whole and long == "late":
        raise InputError("--whole makes one chunk a document and --long late embeds chunks together; say one of them")
    return not whole if long == "truncate" else next(one for one in LONG if one == long)


def refuse_missing(paths: list[Path], *, or_else: str = "") -> None:
    """Before a collection is made for nothing. `or_else` is what else than a misspelling it may be."""
    for path in paths:
        if not os.path.lexists(path.expanduser()):
            raise InputError(f"there is no file or folder {printable(key_of(path))}; check the spelling{or_else}")


def wanted_of(names: list[str], sitemap: bool, options: WebOptions) -> list[Path] | Pages:
    """The paths or pages of a command line. Raises InputError for both at once, and for what is not there."""
    if not all(map(str.strip, names)):
        raise InputError("a path is empty; name a file or a folder, . for the one you stand in")
    addresses = [name for name in names if is_address(name)]
    for name in names:
        scheme = re.match("([a-z][a-z0-9+.-]+)://", name, re.IGNORECASE)
        if scheme and name not in addresses and not os.path.lexists(name):
            raise InputError(
                f"{printable(name)} begins with {scheme[1]}://, and only http:// and https:// are fetched; bring it "
                f"here by other means and add the file"
            )
    if addresses and len(addresses) < len(names):
        other = next(name for name in names if not is_address(name))
        raise InputError(f"{addresses[0]} is an address and {printable(other)} is a path; add them one after the other")
    if not addresses and options != WebOptions():
        flags = "--delay, --max-pages and --allow-private"
        raise InputError(f"{flags} go with addresses, and {printable(names[0])} is a path; leave them out")
    if addresses:
        return Pages(addresses, sitemap, options).checked()
    if sitemap:
        raise InputError(f"--sitemap goes with an address, and {printable(names[0])} is a path; leave it out")
    paths = [Path(name) for name in names]
    refuse_missing(paths)
    return paths


def meta_of(pairs: list[str] | None) -> dict[str, Any]:
    """The metadata of a command line: values in JSON, and what is no JSON is a string. `a.b=1` goes into an object."""
    found: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--meta {pair!r} has no value; write it like --meta year=2024")
        *outer, last = name.split(".")
        place: Any = found
        for step in outer:
            place = place.setdefault(step, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict) or last in place:
            raise InputError(
                f"--meta {pair!r} gives {name!r} a second value; give a field once, or a list: "
                f"""'{name}=["a", "b"]'"""
            )
        place[last] = _value_of(text, pair)
    return checked(found, "--meta gives")


def _value_of(text: str, pair: str) -> object:
    try:
        return json.loads(text, parse_constant=_refused, object_pairs_hook=no_twice)
    except (ValueError, RecursionError) as error:
        if text[:1] in ("{", "[", '"') or text in ("NaN", "Infinity", "-Infinity"):
            raise InputError(f"--meta {pair!r} is not JSON ({error}); write a string without signs, or JSON") from error
        return text


def _refused(name: str) -> None:
    raise ValueError(f"JSON has no {name}")
