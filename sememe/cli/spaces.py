"""Commands about the spaces of a collection: what its vectors are, and further ones by other models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sememe.cli.options import DEFAULT, CollectionOption, DryRunOption, JsonOption, MaxCostOption, ModelOption
from sememe.cli.session import opened_at, progress_shown, stop_told
from sememe.cli.show import print_json, print_pairs
from sememe.errors import InputError, SememeError

space = typer.Typer(rich_markup_mode=None)
KindOption = Annotated[
    str | None, typer.Option("--kind", help="What the model is to make: dense, sparse or late; else as its files say.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the space.")]


@space.callback(invoke_without_command=True)
def shown(context: typer.Context, collection: CollectionOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Show what the vectors are: model, digest, prompts, pooling, dimensions; and the further spaces."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from sememe.spaces import spaces

    with opened_at(collection, None, create=False) as opened:
        found = opened.space
        further = spaces(opened)
    if found is None:
        raise SememeError(f"{collection} has no space yet: it is empty; add to it with: sememe add PATH")
    if as_json:
        print_json({"id": found.id, **asdict(found), "prompts": dict(found.prompts)})
        for report in further:
            print_json(report.as_dict())
        return
    fields = {"id": found.id, **asdict(found)}
    fields["prompts"] = ", ".join(f"{role}={prompt!r}" for role, prompt in found.prompts) or "none"
    fields["modalities"] = ", ".join(found.modalities)
    print_pairs(list(fields.items()))
    for report in further:
        typer.echo("")
        print_pairs(list(report.as_dict().items()))


def _refuse_options(context: typer.Context) -> None:
    """An option before the name of the command would go nowhere."""
    for name, flag in (("collection", "--collection"), ("as_json", "--json")):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            command = context.invoked_subcommand
            raise InputError(f"{flag} stands before {command}; say it behind: sememe space {command} NAME {flag} …")


@space.command()
def add(
    name: NameArgument,
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    kind: KindOption = None,
    dry_run: DryRunOption = False,
    max_cost: MaxCostOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give every chunk a vector by another model too; say it again to complete what was interrupted.

    The texts that are stored are embedded, no source is read again. What is added later gets both vectors. The folder
    of a sparse encoder (SPLADE) makes weights of words, that of a late-interaction encoder (ColBERT) a vector for every
    token; --kind late takes the states of the tokens of a model for whole texts.
    """
    from sememe.spaces import add_space, checked_kind, preview_space

    with (
        progress_shown() as shown,
        opened_at(collection, None, create=False, progress=shown, max_cost=max_cost) as opened,
    ):
        if dry_run:
            done = preview_space(opened, name, model, kind=checked_kind(kind)).as_dict()
        else:
            progress = shown.named(f"space {name}")
            with stop_told(shown):
                done = add_space(opened, name, model, kind=checked_kind(kind), progress=progress).as_dict()
        shown.stop()
    if as_json:
        print_json(done)
    else:
        print_pairs([(field.replace("_", " "), value) for field, value in done.items() if value not in (None, "", 0)])
    if not dry_run and done["complete"] and not done["embedded"]:
        typer.echo(f"Space {name!r} had a vector of every chunk already; search it with --space {name}.", err=True)
    if dry_run:
        typer.echo("Nothing was written (dry run).", err=True)


@space.command()
def drop(name: NameArgument, collection: CollectionOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Take a further space out, with its vectors and files."""
    from sememe.spaces import drop_space

    with opened_at(collection, None, create=False) as opened:
        dropped = drop_space(opened, name)
    if as_json:
        print_json({"dropped": dropped})
    else:
        typer.echo(f"{dropped:,} vectors dropped")
