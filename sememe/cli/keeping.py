"""Commands that keep a collection: export, import, backup, restore, forget."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sememe.cli.options import DEFAULT, CollectionOption, JsonOption, WhereOption
from sememe.cli.session import opened_at, progress_shown, where_of
from sememe.cli.show import print_json, print_pairs, printable

OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def backup(
    target: Annotated[Path | None, typer.Argument(help="The folder to make.", readable=False)] = None,
    indexes: Annotated[bool, typer.Option("--indexes", help="Copy the indexes too; else they are made anew.")] = False,
    overwrite: OverwriteOption = False,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Copy a collection as it is at one moment, while others read and write. Without a folder, list its backups."""
    from sememe.keeping import backups

    with progress_shown() as shown, opened_at(collection, None, create=False) as opened:
        if target is None:
            for row in backups.backups(opened):
                print_json(asdict(row)) if as_json else typer.echo(f"change {row.seq:,}  {row.digest[:16]}  {row.path}")
            return
        made = backups.backup(opened, target, indexes=indexes, overwrite=overwrite, progress=shown.named("backup"))
    print_json(backups.as_dict(made)) if as_json else print_pairs(list(backups.as_dict(made).items()))


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
    print_json(backups.as_dict(made)) if as_json else print_pairs(list(backups.as_dict(made).items()))
    if warning:
        typer.echo(f"sememe: {warning}", err=True)


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
    from sememe.errors import InputError
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
    for receipt in found:
        print_json(receipt) if as_json else print_pairs(_receipt_pairs(receipt))


def _receipt_pairs(receipt: dict[str, object]) -> list[tuple[str, object]]:
    forgotten = receipt["forgotten"]
    kinds = [row["kind"] for row in forgotten] if isinstance(forgotten, list) else []
    counts = [(f"{kind}s", kinds.count(kind)) for kind in ("document", "chunk", "input") if kind in kinds]
    names = ("receipt", "finished", "pieces_searched", "pieces_held_by_others", "too_short_to_search",
             "files_searched", "bytes_searched")  # fmt: skip
    pairs: list[tuple[str, object]] = [*counts, *((name.replace("_", " "), receipt[name]) for name in names)]
    backups = receipt["backups"]
    for state in backups if isinstance(backups, list) else []:
        pairs.append(("backup", f"{state['path']}: {state['state']}"))
    return pairs
