"""Commands that ask a collection: search, similar, get."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, cast

import typer

from sememe.cli.options import (
    DEFAULT,
    CollectionOption,
    FunnelOption,
    FusionOption,
    InstructionOption,
    JsonOption,
    KOption,
    ModelOption,
    PlanOption,
    RecallOption,
    RerankDepthOption,
    RerankOption,
    ShowInputOption,
    SpaceOption,
    ThresholdOption,
    WhereOption,
)
from sememe.cli.session import opened_at, progress_shown, where_of
from sememe.cli.show import print_hits, print_json
from sememe.collection import Collection
from sememe.search.plan import Embed
from sememe.search.query import RERANKED, Fusion, Mode, Route
from sememe.types import CHUNK_PREFIX


def search(
    query: Annotated[str, typer.Argument(help="What you are looking for, in your own words.")],
    k: KOption = 10,
    where: WhereOption = None,
    mode: Annotated[str, typer.Option("--mode", help="Compare by vector (meaning), lexical (words) or hybrid.")] = (
        "vector"
    ),
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="With hybrid: weigh scores, 1 is meaning alone, 0 words alone.")
    ] = None,
    recall: RecallOption = None,
    space: SpaceOption = "",
    funnel: FunnelOption = "",
    rerank: RerankOption = None,
    rerank_depth: RerankDepthOption = RERANKED,
    instruction: InstructionOption = None,
    fusion: FusionOption = "rrf",
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Say how many random chunks would be expected to score as high.")
    ] = False,
    threshold_expected: ThresholdOption = None,
    plan: PlanOption = False,
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    show_input: ShowInputOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the chunks that are nearest to a text: in meaning, in words, or both.

    In a lexical query "quotes" keep words together and a star* stands for any ending.
    """
    with progress_shown() as shown, opened_at(collection, model, create=False, progress=shown) as opened:
        hits = opened.search(
            query, k=k, where=where_of(where), mode=cast("Mode", mode), alpha=alpha, recall=recall,
            route=Route(
                space=space, funnel=funnel, rerank=rerank, depth=rerank_depth, instruction=instruction,
                fusion=cast("Fusion", fusion), calibrated=calibrated, expected=threshold_expected,
            ),
        )  # fmt: skip
        shown.stop()
        asked = next((step.input for step in hits.plan.steps if isinstance(step, Embed)), query)
        if mode != "lexical":
            say_if_long(asked, opened)
        if show_input and not as_json:
            typer.echo(f"query  {asked}\n")
        print_hits(hits, plan=plan, show_input=show_input, as_json=as_json)


def similar(
    name: Annotated[str, typer.Argument(metavar="ID", help="A document's key, or a chunk's id such as chunk:12.")],
    k: KOption = 10,
    where: WhereOption = None,
    recall: RecallOption = None,
    plan: PlanOption = False,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Find the chunks that are nearest to one that is stored, or to a document."""
    with opened_at(collection, None, create=False) as opened:
        hits = opened.similar(name, k=k, where=where_of(where), recall=recall)
    print_hits(hits, plan=plan, show_input=False, as_json=as_json)


def get(
    name: Annotated[str, typer.Argument(metavar="ID", help="A document's key, or a chunk's id such as chunk:12.")],
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Print a document's text, or a chunk's."""
    with opened_at(collection, None, create=False) as opened:
        record = opened.get(name)
    if not as_json:
        typer.echo(record.text, nl=not record.text.endswith("\n"))
        return
    document = record.document
    chunks = [
        {"id": f"{CHUNK_PREFIX}{c.id}", "position": c.position, "span": [c.start, c.end], "place": c.place,
         "headings": c.headings, "tokens": c.tokens, "kept": c.kept, "text": c.text}
        for c in record.chunks
    ]  # fmt: skip
    print_json(
        {"id": document.key, "title": document.title, "media_type": document.media_type,
         "metadata": document.metadata, "recipe": asdict(document.recipe), "precision": document.precision,
         "characters": document.characters, "text": record.text, "chunks": chunks}
    )  # fmt: skip


def say_if_long(text: str, opened: Collection) -> None:
    """A query is cut at the model's limit like anything else, and nothing is cut silently."""
    embedder = opened.embedder
    limit = embedder.space.max_tokens - 2
    if len(text) > limit and embedder.counter.count(text) > limit:
        typer.echo(f"The query is longer than the {limit} tokens the model reads; the rest was left out.", err=True)
