"""Commands that say why: explain, why-not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from sememe.cli.options import (
    DEFAULT,
    AlsoOption,
    BoostOption,
    CollectionOption,
    DedupeOption,
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
    OverwriteOption,
    PerGroupOption,
    RecallOption,
    RecencyOption,
    RerankDepthOption,
    RerankOption,
    SpaceOption,
    UnlikeOption,
    VectorOption,
    WhereOption,
)
from sememe.cli.parts import boosts_of, funnel_of, parts_of, shape_of
from sememe.cli.session import opened_at, progress_shown, refuse_targets, where_of, written
from sememe.cli.show import print_json, printable
from sememe.explain import HOTTEST, as_dict, greatest, marked, page, standing_text, sum_text, token_text, verdict
from sememe.explain import explain as explain_hit
from sememe.filters import parse
from sememe.search.explain import Explanation
from sememe.search.query import Fusion, Mode, Query, Route


def explain(
    query: Annotated[str, typer.Argument(help="What was looked for; '' for parts alone.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="A document's key, or a chunk's id such as chunk:12.")],
    k: KOption = 10,
    where: WhereOption = None,
    mode: Annotated[str, typer.Option("--mode", help="Compare by vector (meaning), lexical (words) or hybrid.")] = (
        "vector"
    ),
    alpha: Annotated[float | None, typer.Option("--alpha", help="With hybrid: weigh scores as search does.")] = None,
    recall: RecallOption = None,
    space: SpaceOption = None,
    funnel: FunnelOption = None,
    rerank: RerankOption = None,
    rerank_depth: RerankDepthOption = None,
    instruction: InstructionOption = None,
    fusion: FusionOption = None,
    also: AlsoOption = None,
    like: LikeOption = None,
    unlike: UnlikeOption = None,
    near: NearOption = None,
    vector: VectorOption = "",
    boost: BoostOption = None,
    recency: RecencyOption = None,
    threshold: MinScoreOption = None,
    dedupe: DedupeOption = False,
    group_by: GroupByOption = None,
    per_group: PerGroupOption = None,
    mmr: MmrOption = None,
    heat: Annotated[bool, typer.Option(help="Measure what each word means to the vector's score.")] = True,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page to this file.")] = None,
    overwrite: OverwriteOption = False,
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a chunk stands at every step of a search, and which words put it there; say how the search was asked.

    Words that the query looks up are underlined; those that the vector's score hangs on, or that tokens of the query
    find, are in colour.
    """
    refuse_targets(html, overwrite=overwrite)
    condition = None if where is None else parse(where_of(where) or {})
    parts = parts_of(also, like=like, unlike=unlike, near=near, vector=vector)
    asked = Query(
        text=None if parts and not query else query, k=k, where=condition, mode=cast("Mode", mode),
        alpha=alpha, recall=recall, parts=parts,
        route=Route(
            space=tuple(space or ()), funnel=funnel_of(funnel), rerank=rerank, depth=rerank_depth,
            instruction=instruction, fusion=cast("Fusion | None", fusion),
        ),
        shape=shape_of(
            boosts=boosts_of(boost, recency), threshold=threshold, dedupe=dedupe, group=(group_by, per_group), mmr=mmr
        ),
    )  # fmt: skip
    with progress_shown() as shown, opened_at(collection, model, create=False, progress=shown) as opened:
        found = explain_hit(opened, asked, name, heat=heat)
    if html is not None:
        written(html, lambda: html.expanduser().write_text(page(found), encoding="utf-8"))
    if as_json:
        print_json(as_dict(found))
    else:
        _print(found)


why_not = explain


def _print(found: Explanation) -> None:
    typer.echo(f"{printable(verdict(found))}\n\n{found.plan}\n")
    for standing in found.standings:
        typer.echo(standing_text(standing))
    if found.score:
        typer.echo(f"{'score':<9} {sum_text(found)}")
    learnt = bool(found.terms_of)
    if found.terms:
        typer.echo(f"\n{f'The inner product in space {found.terms_of!r}' if learnt else 'BM25'} is the sum of")
    for part in found.terms[: HOTTEST if learnt else None]:
        typer.echo(f"{part.score:>9.3f}  {part.term}  (in {part.rows:,} chunks)" if part.score else
                   f"{'–':>9}  {part.term}  (in {part.rows:,} chunks, not in this one)")  # fmt: skip
    if learnt and len(found.terms) > HOTTEST:
        typer.echo(f"           and {len(found.terms) - HOTTEST:,} words that add less")
    if found.tokens:
        typer.echo(f"\nMax-sim in space {found.tokens_of!r} is the sum of")
    for token in greatest(found)[:HOTTEST]:
        typer.echo(f"{token.score:>9.3f}  {token_text(found, token)}")
    if len(found.tokens) > HOTTEST:
        typer.echo(f"           and {len(found.tokens) - HOTTEST:,} tokens that add less")
    hottest = found.hottest(HOTTEST)
    if hottest:
        typer.echo("\nThe score of the vector falls without")
    for one in hottest:
        typer.echo(f"{one.drop:>+9.4f}  {found.text[one.start : one.end]}")
    pieces = (
        typer.style(piece, fg="yellow" if "heat" in mark else None, underline="word" in mark) if mark else piece
        for piece, mark in marked(found)
    )
    typer.echo(f"\n{''.join(pieces)}")
