"""Commands that keep a collection: export, import, backup, restore, forget."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from sememe.cli.filling import refuse_missing
from sememe.cli.options import DEFAULT, CollectionOption, JsonOption, OverwriteOption, StrictOption, WhereOption
from sememe.cli.session import opened_at, progress_shown, where_of
from sememe.cli.show import end_strictly, print_json, print_pairs, print_summary, printable
from sememe.errors import InputError, one_of
from sememe.settings import from_environment
from sememe.types import Metric

if TYPE_CHECKING:
    from sememe.keeping.manifest import Backup


def export(
    target: Annotated[Path, typer.Argument(help="A file.jsonl, a folder.parquet, or a folder.", readable=False)],
    form: Annotated[
        str | None, typer.Option("--format", help="file, folder or parquet; without it, the name says it.")
    ] = None,
    overwrite: OverwriteOption = False,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Write a collection with its vectors, its space and its ledger to open formats."""
    from sememe.keeping import moving

    if form is not None and form not in get_args(moving.Form):
        raise InputError(f"the format is {form!r}; {one_of(form, get_args(moving.Form))}")
    with progress_shown() as shown, opened_at(collection, None, create=False) as opened:
        counts = moving.export(
            opened, target, form=cast("moving.Form | None", form), overwrite=overwrite, progress=shown.named("export")
        )  # fmt: skip
    print_json(counts) if as_json else print_pairs(list(counts.items()))


def import_(
    source: Annotated[Path, typer.Argument(help="An export, or the vectors of another program.", readable=False)],
    kind: Annotated[
        str | None, typer.Option("--from", help="What it is: npy, faiss, chroma, lance or llm; mostly seen by itself.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", help="Lines of JSON (id, text, metadata) for an .npy or a FAISS index.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Which collection or table of the source.")] = None,
    text_field: Annotated[str | None, typer.Option("--text-field", help="The field that holds the text.")] = None,
    id_field: Annotated[str | None, typer.Option("--id-field", help="The field that holds the id.")] = None,
    vector_field: Annotated[str | None, typer.Option("--vector-field", help="The field that holds the vector.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="The model that made the vectors.")] = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="Or a file that describes their space: sememe space --json.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="Compare by cosine, dot or euclidean.")] = None,
    strict: StrictOption = False,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Take in an export, or vectors that another program keeps. Run again, it goes on where it was."""
    from sememe.keeping import adopting, foreign, moving

    if kind is not None and kind not in get_args(foreign.Kind):
        raise InputError(f"--from {kind!r} is unknown; {one_of(kind, get_args(foreign.Kind))}")
    refuse_missing([source])
    chosen = cast("foreign.Kind | None", kind) or foreign.kind_of(source)
    settings, warning = from_environment(), ""
    with progress_shown() as shown:
        if chosen is None:
            stream = moving.read(source)
        else:
            if (model is None) == (space is None):
                raise InputError(
                    f"nobody knows what the vectors in {source} are; name the model that made them (--model NAME), or "
                    f"a file that describes their space (--space FILE), one of both"
                )
            fields = foreign.Fields(text=text_field, id=id_field, vector=vector_field)
            opened = foreign.open_source(source, chosen, texts=texts, name=name, fields=fields)
            adopted = (
                adopting.by_model(str(model), metric=cast("Metric | None", metric), settings=settings)
                if space is None
                else adopting.by_file(space, metric=cast("Metric | None", metric), settings=settings)
            )
            stream = adopting.entries(opened, adopted)
            if adopted.cosine is None:
                warning = f"{adopted.space.model} is not at hand or there was no text, so the vectors were not compared"
        summary = moving.import_(collection, stream, where=str(source), progress=shown.named("import"))
    summary.warning = "; ".join(part for part in (summary.warning, warning) if part)
    print_summary(summary, collection, as_json)
    end_strictly(summary, strict)


def backup(
    target: Annotated[Path | None, typer.Argument(help="The folder to make.", readable=False)] = None,
    indexes: Annotated[bool, typer.Option("--indexes", help="Copy the indexes too; else they are made anew.")] = False,
    overwrite: OverwriteOption = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Copy nothing: know the backup no more, which is gone for good.")
    ] = False,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Copy a collection as it is at one moment, while others read and write. Without a folder, list its backups."""
    from sememe.keeping import backups

    if drop and (target is None or indexes or overwrite):
        raise InputError("--drop goes with the folder of a backup, and nothing else is done then; name it alone")
    if target is None and (indexes or overwrite):
        flag = "--overwrite" if overwrite else "--indexes"
        raise InputError(f"{flag} is said, but no folder for a backup is named; name one, or leave it out")
    with progress_shown() as shown, opened_at(collection, None, create=False) as opened:
        if target is None:
            for row in backups.backups(opened):
                print_json(asdict(row)) if as_json else typer.echo(
                    f"change {row.seq:,}  {row.digest[:16] or 'not completed'}  {row.path}"
                )
            return
        if drop:
            backups.drop(opened, target)
            print_json({"dropped": str(target)}) if as_json else typer.echo(f"{target} is known no more")
            return
        made = backups.backup(opened, target, indexes=indexes, overwrite=overwrite, progress=shown.named("backup"))
    _print_backup(made, as_json)


def restore(
    source: Annotated[Path, typer.Argument(help="The folder of a backup.", readable=False)],
    overwrite: OverwriteOption = False,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Make a collection from a backup, every file compared with its digest."""
    from sememe.keeping import backups

    with progress_shown() as shown:
        made, warning = backups.restore(source, collection, overwrite=overwrite, progress=shown.named("restore"))
    _print_backup(made, as_json)
    if warning:
        typer.echo(f"sememe: {warning}", err=True)


def _print_backup(made: Backup, as_json: bool) -> None:
    from sememe.keeping import backups

    said = backups.as_dict(made)
    if as_json:
        print_json(said)
    else:
        print_pairs(list({**said, "at": datetime.fromtimestamp(made.at, UTC).isoformat(timespec="seconds")}.items()))


def forget(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Keys of documents, or chunks such as chunk:12.")
    ] = None,
    where: WhereOption = None,
    keep_key: Annotated[bool, typer.Option("--keep-key", help="Keep the keys in the ledger.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be forgotten; write nothing.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Finish a forget that was interrupted.")] = False,
    receipts: Annotated[bool, typer.Option("--receipts", help="Print the receipts of what was forgotten.")] = False,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Remove documents, chunks or what matches a filter from every file and backup, prove it, and print a receipt."""
    from sememe.keeping import forgetting

    if not names and where is None and not finish and not receipts:
        raise InputError("nothing was named to forget; give keys, chunks or --where, or finish one with --finish")
    with progress_shown() as shown, opened_at(collection, None, create=False) as opened:
        if receipts:
            found = forgetting.receipts(opened)
        elif dry_run:
            for row in forgetting.preview(opened, names or (), where=where_of(where)):
                print_json(row) if as_json else typer.echo(f"{row['kind']:<9} {printable(row['id'])}")
            typer.echo("Nothing was written (dry run).", err=True)
            return
        else:
            found = forgetting.forget(
                opened, names or (), where=where_of(where), keep_key=keep_key, progress=shown.named
            )  # fmt: skip
    if finish and not found:
        typer.echo("No forget was left to finish.", err=True)
    for receipt in found:
        print_json(receipt) if as_json else print_pairs(_receipt_pairs(receipt))


def _receipt_pairs(receipt: dict[str, object]) -> list[tuple[str, object]]:
    forgotten = receipt["forgotten"]
    kinds = [row["kind"] for row in forgotten] if isinstance(forgotten, list) else []
    counts = [(f"{kind}s", kinds.count(kind)) for kind in ("document", "chunk", "container", "input") if kind in kinds]
    names = ("receipt", "finished", "pieces_searched", "pieces_held_by_others", "too_short_to_search",
             "files_searched", "bytes_searched")  # fmt: skip
    pairs: list[tuple[str, object]] = [*counts, *((name.replace("_", " "), receipt[name]) for name in names)]
    backups = receipt["backups"]
    for state in backups if isinstance(backups, list) else []:
        pairs.append(("backup", f"{state['path']}: {state['state']}"))
    return pairs
