"""Commands that ask a collection: search, similar, get."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, cast

import typer

from sememe.cli.options import (
    DEFAULT,
    AfterOption,
    AlsoOption,
    BoostOption,
    CollectionOption,
    ContextOption,
    DedupeOption,
    FacetOption,
    FunnelOption,
    FusionOption,
    GroupByOption,
    InstructionOption,
    JsonOption,
    KOption,
    LikeOption,
    MinScoreOption,
    MmrOption,
    ModelOption,
    NearOption,
    PageOption,
    PerGroupOption,
    PlanOption,
    RecallOption,
    RecencyOption,
    RerankDepthOption,
    RerankOption,
    ShowInputOption,
    SpaceOption,
    ThresholdOption,
    UnlikeOption,
    VectorOption,
    WhereOption,
)
from sememe.cli.parts import boosts_of, funnel_of, parts_of, shape_of
from sememe.cli.session import opened_at, progress_shown, where_of
from sememe.cli.show import print_hits, print_inputs, print_json
from sememe.collection import Collection
from sememe.filters import parse
from sememe.search.plan import Embed
from sememe.search.query import Fusion, Mode, Query, Route
from sememe.types import CHUNK_PREFIX


def search(
    query: Annotated[str | None, typer.Argument(help="What you are looking for, in your own words.")] = None,
    also: AlsoOption = None,
    like: LikeOption = None,
    unlike: UnlikeOption = None,
    near: NearOption = None,
    vector: VectorOption = "",
    k: KOption = 10,
    where: WhereOption = None,
    mode: Annotated[str, typer.Option("--mode", help="Compare by vector (meaning), lexical (words) or hybrid.")] = (
        "vector"
    ),
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="With hybrid: weigh scores, 1 is meaning alone, 0 words alone.")
    ] = None,
    recall: RecallOption = None,
    space: SpaceOption = None,
    funnel: FunnelOption = None,
    rerank: RerankOption = None,
    rerank_depth: RerankDepthOption = None,
    instruction: InstructionOption = None,
    fusion: FusionOption = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Say how many random chunks would be expected to score as high.")
    ] = False,
    threshold_expected: ThresholdOption = None,
    boost: BoostOption = None,
    recency: RecencyOption = None,
    threshold: MinScoreOption = None,
    dedupe: DedupeOption = False,
    group_by: GroupByOption = None,
    per_group: PerGroupOption = None,
    mmr: MmrOption = None,
    page: PageOption = 0,
    after: AfterOption = None,
    context: ContextOption = "0",
    facet: FacetOption = None,
    plan: PlanOption = False,
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    show_input: ShowInputOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the chunks that are nearest to a text: in meaning, in words, or both.

    In a lexical query "quotes" keep words together and a star* stands for any ending. A query may have further parts,
    as texts with weights (--also), as what is stored (--like, --unlike, --near) and as a vector.
    """
    condition = where_of(where)
    parts = parts_of(also, like=like, unlike=unlike, near=near, vector=vector)
    if query is None and not parts:
        raise typer.BadParameter("Missing argument 'QUERY', or a part to look for such as --near ID")
    asked = Query(
        text=query, k=k, where=None if condition is None else parse(condition), mode=cast("Mode", mode),
        alpha=alpha, recall=recall, parts=parts,
        shape=shape_of(
            boosts=boosts_of(boost, recency), threshold=threshold, dedupe=dedupe, group=(group_by, per_group), mmr=mmr,
            page=(page, after), context=context, facets=facet,
        ),
        route=Route(
            space=tuple(space or ()), funnel=funnel_of(funnel), rerank=rerank, depth=rerank_depth,
            instruction=instruction, fusion=cast("Fusion | None", fusion), calibrated=calibrated,
            expected=threshold_expected,
        ),
    )  # fmt: skip
    with progress_shown() as shown, opened_at(collection, model, create=False, progress=shown) as opened:
        hits = opened.search(asked)
        shown.stop()
        embedded = next((step.input for step in hits.plan.steps if isinstance(step, Embed)), query or "")
        if mode != "lexical" and not space and query and not asked.parts:
            say_if_long(embedded, opened)
        if show_input and not as_json:
            print_inputs(hits.plan)
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
