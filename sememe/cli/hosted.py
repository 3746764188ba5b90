"""What is known of hosted models: `sememe hosted`."""

from __future__ import annotations

import typer

from sememe.cli.options import JsonOption
from sememe.cli.show import print_json
from sememe.models.providers.catalogue import AS_OF, MODELS, PROVIDERS, HostedModel, Provider

_PROVIDER = {provider.name: provider for provider in PROVIDERS}


def hosted(as_json: JsonOption = False) -> None:
    """List hosted models: dimensions, limits, price, and the date of the figures."""
    for model in MODELS:
        if as_json:
            print_json(described(model))
    if not as_json:
        print_table()


def described(model: HostedModel) -> dict[str, object]:
    """What is known of a model, by name."""
    provider = _PROVIDER[model.provider]
    return {
        "name": f"{model.provider}:{model.name}", "kind": model.kind, "dims": list(model.dims),
        "smallest_dim": model.smallest, "tokens": model.tokens, "inputs_per_request": provider.items,
        "tokens_per_request": model.request_tokens or provider.tokens, "modalities": list(model.modalities),
        "dollars_per_million_tokens": model.price, "extra": provider.extra, "key": provider.keys[0], "as_of": AS_OF,
    }  # fmt: skip


def print_table() -> None:
    """Every model on a line; below, what any other name may be."""
    typer.echo(f"{'model':<42} {'dims':<32} {'tokens':>8} {'$/M tokens':>10}  reads")
    for model in MODELS:
        price = "?" if model.price is None else f"{model.price:.2f}"
        reads = ", ".join(model.modalities) if model.kind == "embed" else "ranks text"
        name = f"{model.provider}:{model.name}"
        typer.echo(f"{name:<42} {_dims(model):<32} {model.tokens:>8,} {price:>10}  {reads}")
    typer.echo("")
    for provider in PROVIDERS:
        typer.echo(_provider(provider))
    typer.echo(f"Figures of {AS_OF}. Any other name works too: PROVIDER:MODEL[,dimensions=N][,tokens=N][@URL]")


def _dims(model: HostedModel) -> str:
    if model.smallest is not None:
        return f"{model.smallest}-{max(model.dims)} ({model.dims[0]})"
    rest = sorted(set(model.dims[1:]))
    return ", ".join(map(str, model.dims[:1])) + (f" ({', '.join(map(str, rest))})" if rest else "")


def _provider(provider: Provider) -> str:
    tokens = f" and {provider.tokens:,} tokens" if provider.tokens else ""
    key = f"{provider.keys[0]}{' (optional)' if provider.open else ''}"
    return f"{provider.name:<8} sememe[{provider.extra}], {key}; at most {provider.items:,} inputs{tokens} a request"
