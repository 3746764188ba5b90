"""The options that commands share. Each is one `Annotated` type: its flag, its help, its environment name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sememe.errors import InputError
from sememe.settings import DEFAULT_FOLDER


def folder_of(text: str) -> Path:
    """An empty path, as a variable of a shell that is not set leaves it, would be the folder one stands in."""
    if not str(text).strip():
        raise InputError("the path of a folder is empty; name one, . for the one you stand in")
    return Path(text)


def at_least(least: int) -> Callable[[typer.CallbackParam, Any], Any]:
    """A check of a number: a value that cannot be used is refused as any other is, and is no wrong usage."""

    def check(param: typer.CallbackParam, value: Any) -> Any:
        if value < least:
            raise InputError(f"{param.opts[0]} is {value}; give at least {least}")
        return value

    return check


CollectionOption = Annotated[
    Path,
    typer.Option(
        "--collection",
        "-c",
        envvar="SEMEME_COLLECTION",
        help="The folder of the collection.",
        show_default=True,
        parser=folder_of,
        metavar="PATH",
    ),
]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="A model's name, or the folder of its files.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Count files, chunks and tokens; write nothing.")]
HiddenOption = Annotated[bool, typer.Option("--hidden", help="Take hidden files and folders too.")]
MaxCostOption = Annotated[
    float | None, typer.Option("--max-cost", help="Stop before a hosted model costs more dollars; run again to go on.")
]
ChecksumOption = Annotated[bool, typer.Option("--checksum", help="Read every file, whatever its time says.")]
WholeOption = Annotated[bool, typer.Option("--whole", help="Do not cut: one chunk a document, truncated if long.")]
LongOption = Annotated[
    str,
    typer.Option(
        "--long", metavar="HOW",
        help="Of texts beyond the model's limit: truncate; windows (whole documents, all of them read, one vector "
        "each); late (chunks that are embedded together).",
    ),
]  # fmt: skip
TrackedOption = Annotated[bool, typer.Option("--tracked", help="Only files that Git tracks.")]
TextColumnOption = Annotated[
    list[str] | None,
    typer.Option("--text-column", metavar="NAME", help="Of rows: a column that is text; may be said again."),
]
TitleColumnOption = Annotated[
    str, typer.Option("--title-column", metavar="NAME", help="Of rows: the column with their title.")
]
IdColumnOption = Annotated[
    str, typer.Option("--id-column", metavar="NAME", help="Of rows: the column that names them.")
]
TableOption = Annotated[
    str, typer.Option("--table", metavar="NAME", help="The one table, sheet or key of a file to read.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="End with status 3 if any input was truncated, skipped or failed.")
]
ShowInputOption = Annotated[
    bool, typer.Option("--show-input", help="Print the exact strings that are embedded; with add, needs --dry-run.")
]
SitemapOption = Annotated[bool, typer.Option("--sitemap", help="The addresses are sitemaps: add the pages they list.")]
MaxPagesOption = Annotated[
    int, typer.Option("--max-pages", callback=at_least(1), help="How many pages are fetched at most.")
]
DelayOption = Annotated[
    float, typer.Option("--delay", callback=at_least(0), help="Seconds between two pages of one host.")
]
AllowPrivateOption = Annotated[
    bool, typer.Option("--allow-private", help="Fetch from this machine and private networks too.")
]
MetaOption = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="NAME=VALUE", help="Said of every file: year=2024, draft=false, 'tags=[\"a\"]'."),
]
KOption = Annotated[int, typer.Option("--k", "-k", help="How many hits at most.")]
WhereOption = Annotated[
    str | None, typer.Option("--where", "-w", help='A filter over metadata in JSON: \'{"year": {"$gte": 2020}}\'.')
]
RecallOption = Annotated[
    float | None, typer.Option("--recall", help="The share of the true neighbours that will do; 1 for all of them.")
]
SpaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--space", metavar="NAME",
        help="Look in this further space; said again in all of them, @own is the collection's own; see: sememe space.",
    ),
]  # fmt: skip
FunnelOption = Annotated[
    str | None,
    typer.Option(
        "--funnel", metavar="STAGES", help="Compare by something short first: auto, bits:500,full or 64:1000,full."
    ),
]
RerankOption = Annotated[
    str | None, typer.Option("--rerank", metavar="MODEL", help="Let this model read the best and put them in order.")
]
RerankDepthOption = Annotated[
    int | None,
    typer.Option("--rerank-depth", help="How many of the best it reads: 50, and all that are shown."),
]
InstructionOption = Annotated[
    str | None, typer.Option("--instruction", help="What the query is asked for, to models that can be told.")
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option("--also", metavar="[WEIGHT ]TEXT", help="A further text: '0.5 waterproof', or away: '-0.7 leather'."),
]
LikeOption = Annotated[
    list[str] | None, typer.Option("--like", metavar="ID", help="What is liked: draw near to the mean of these.")
]
UnlikeOption = Annotated[
    list[str] | None,
    typer.Option("--unlike", metavar="ID", help="What is not liked: lead away from the mean of these."),
]
NearOption = Annotated[
    list[str] | None,
    typer.Option("--near", metavar="ID[:START-END]", help="What is stored, or these characters of it."),
]
VectorOption = Annotated[
    str, typer.Option("--vector", metavar="FILE", help="A vector of this space in a .npy file, or - for stdin.")
]
BoostOption = Annotated[
    list[str] | None,
    typer.Option("--boost", metavar="FIELD:WEIGHT", help="Add WEIGHT x ln(1 + number) to scores: stars:0.02."),
]
RecencyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--recency", metavar="[FIELD:]HALFLIFE[:WEIGHT]",
        help="Add what halves with age: 30d (since it was added), day:1y:0.2.",
    ),
]  # fmt: skip
MinScoreOption = Annotated[float | None, typer.Option("--threshold", help="Leave out hits of a lower score.")]
DedupeOption = Annotated[bool, typer.Option("--dedupe", help="Leave out hits that say nearly what a better one says.")]
GroupByOption = Annotated[
    str | None,
    typer.Option("--group-by", metavar="FIELD", help="Keep the best of each document, or of each value of a field."),
]
PerGroupOption = Annotated[
    int | None, typer.Option("--per-group", help="With --group-by: how many hits of each group, 1 unless said.")
]
MmrOption = Annotated[
    float | None, typer.Option("--mmr", help="From 0 to 1: hits that differ from those before first; 1 is by score.")
]
PageOption = Annotated[
    int, typer.Option("--page", help="The page of so many hits, and the cursor of the next; 0 without.")
]
AfterOption = Annotated[
    str | None, typer.Option("--after", metavar="CURSOR", help="Go on behind the page that printed this.")
]
ContextOption = Annotated[
    str, typer.Option("--context", metavar="N|section", help="Show so many chunks around each hit, or its section.")
]
FacetOption = Annotated[list[str] | None, typer.Option("--facet", metavar="FIELD", help="Count the values of a field.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print the plan that ran before the hits.")]
DEFAULT = Path(DEFAULT_FOLDER)
FusionOption = Annotated[
    str | None,
    typer.Option("--fusion", help="With hybrid, without alpha: join by evidence (surprise; the usual) or rrf (ranks)."),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold-expected", metavar="NUMBER", help="Leave out what more random chunks would equal: 0.3."),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
