"""The command line: one function a command, which parses, calls the library once and prints.

Results go to stdout (`--json`: one JSON document a line), progress and messages to stderr. Exit status: 0 done,
1 refused or failed with one sentence on stderr, 2 wrong usage, 3 `--strict` and an input was not embedded whole,
130 interrupted, 143 terminated. Libraries for the terminal are imported where they are used, so that a search
starts fast.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.exceptions import TyperException

from sememe import collection as collections
from sememe.collection import Collection
from sememe.errors import InputError, SememeError
from sememe.ingest.pipeline import IngestProgress, OnProgress, Summary
from sememe.ingest.sync import Choices
from sememe.search.query import Mode
from sememe.search.run import Hits
from sememe.sources import key_of
from sememe.types import CHUNK_PREFIX, Hit, LedgerRow, Metric, embedded_input

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(
    name="sememe", add_completion=True, pretty_exceptions_enable=False,
    help="Search your documents by meaning.", rich_markup_mode=None,
)  # fmt: skip

WRONG_USAGE = 2
STRICT_FAILED = 3
INTERRUPTED = 130
STOPPED = {INTERRUPTED: "interrupted", 143: "terminated"}
SHOWN_TROUBLES = 5
SECONDS_BETWEEN_LINES = 10.0

CollectionOption = Annotated[
    Path,
    typer.Option(
        "--collection",
        "-c",
        envvar="SEMEME_COLLECTION",
        help="The folder of the collection.",
        show_default=True,
        readable=False,
    ),
]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="A model's name, or the folder of its files.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Count files, chunks and tokens; write nothing.")]
HiddenOption = Annotated[bool, typer.Option("--hidden", help="Take hidden files and folders too.")]
ChecksumOption = Annotated[bool, typer.Option("--checksum", help="Read every file, whatever its time says.")]
WholeOption = Annotated[bool, typer.Option("--whole", help="Do not cut: one chunk a document, truncated if long.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="End with status 3 if any input was truncated, skipped or failed.")
]
ShowInputOption = Annotated[
    bool, typer.Option("--show-input", help="Print the exact strings that are embedded; with add, needs --dry-run.")
]
KOption = Annotated[int, typer.Option("--k", "-k", help="How many hits at most.")]
WhereOption = Annotated[
    str | None, typer.Option("--where", "-w", help='A filter over metadata in JSON: \'{"year": {"$gte": 2020}}\'.')
]
RecallOption = Annotated[
    float | None, typer.Option("--recall", help="The share of the true neighbours that will do; 1 for all of them.")
]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print the plan that ran before the hits.")]
DEFAULT = Path(collections.DEFAULT_FOLDER)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sememe {version('sememe')}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Search your documents by meaning."""


@app.command()
def add(
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders to go through.", readable=False)],
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    dry_run: DryRunOption = False,
    show_input: ShowInputOption = False,
    whole: WholeOption = False,
    hidden: HiddenOption = False,
    checksum: ChecksumOption = False,
    metric: Annotated[
        str | None, typer.Option("--metric", help="How a new collection compares: cosine, dot or euclidean.")
    ] = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add files and folders. What is there already and has not changed costs nothing."""
    _refuse_missing(paths)
    if show_input and not dry_run:
        raise SememeError("--show-input prints what an add would embed and goes with --dry-run; say both")
    if dry_run:
        choices = Choices(chunk=not whole, hidden=hidden, checksum=checksum)
        planned = _preview(list(paths), collection, model, choices=choices, show_input=show_input, as_json=as_json)
        _end_strictly(planned, strict)
        return
    with _progress() as shown, _opened(collection, model, create=True, progress=shown, metric=metric) as opened:
        summary = opened.add_files(
            list(paths), chunk=not whole, hidden=hidden, checksum=checksum, progress=shown.ingest
        )
        shown.stop()
        _print_summary(summary, collection, as_json)
    _end_strictly(summary, strict)


@app.command()
def sync(
    folder: Annotated[Path, typer.Argument(help="The folder to agree with.", readable=False)],
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    dry_run: DryRunOption = False,
    whole: WholeOption = False,
    hidden: HiddenOption = False,
    checksum: ChecksumOption = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Go on even if nothing of the folder would be left.")
    ] = False,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Agree with a folder: take in what is new or changed, delete what is gone."""
    if not allow_empty:
        _refuse_missing([folder])
    if dry_run:
        choices = Choices(not whole, hidden, checksum, deleting=True, allow_empty=allow_empty)
        planned = _preview([folder], collection, model, choices=choices, show_input=False, as_json=as_json)
        _end_strictly(planned, strict)
        return
    with _progress() as shown, _opened(collection, model, create=True, progress=shown) as opened:
        summary = opened.sync(
            folder, chunk=not whole, hidden=hidden, checksum=checksum, allow_empty=allow_empty,
            progress=shown.ingest,
        )  # fmt: skip
        shown.stop()
        _print_summary(summary, collection, as_json)
    _end_strictly(summary, strict)


@app.command()
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
    plan: PlanOption = False,
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    show_input: ShowInputOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the chunks that are nearest to a text: in meaning, in words, or both.

    In a lexical query "quotes" keep words together and a star* stands for any ending.
    """
    with _progress() as shown, _opened(collection, model, create=False, progress=shown) as opened:
        hits = opened.search(
            query, k=k, where=_where(where), mode=cast("Mode", mode), alpha=alpha, recall=recall
        )  # fmt: skip
        shown.stop()
        prompt = dict(opened.space.prompts).get("query", "") if opened.space else ""
        if mode != "lexical":
            _say_if_long(prompt + query, opened)
        if show_input and not as_json:
            typer.echo(f"query  {prompt + query}\n")
        _print_hits(hits, plan=plan, show_input=show_input, as_json=as_json)


@app.command()
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
    with _opened(collection, None, create=False) as opened:
        hits = opened.similar(name, k=k, where=_where(where), recall=recall)
    _print_hits(hits, plan=plan, show_input=False, as_json=as_json)


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="ID", help="A document's key, or a chunk's id such as chunk:12.")],
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Print a document's text, or a chunk's."""
    with _opened(collection, None, create=False) as opened:
        record = opened.get(name)
    if not as_json:
        typer.echo(record.text, nl=not record.text.endswith("\n"))
        return
    document = record.document
    chunks = [
        {"id": f"{CHUNK_PREFIX}{c.id}", "position": c.position, "span": [c.start, c.end], "headings": c.headings,
         "tokens": c.tokens, "kept": c.kept, "text": c.text}
        for c in record.chunks
    ]  # fmt: skip
    _print_json(
        {"id": document.key, "title": document.title, "media_type": document.media_type,
         "metadata": document.metadata, "recipe": asdict(document.recipe), "precision": document.precision,
         "characters": document.characters, "text": record.text, "chunks": chunks}
    )  # fmt: skip


@app.command()
def delete(
    keys: Annotated[list[str], typer.Argument(metavar="ID...", help="Keys of documents.")],
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Delete documents, all of those named or none."""
    with _opened(collection, None, create=False) as opened:
        deleted = opened.delete(keys)
    if as_json:
        _print_json({"deleted": deleted})
    else:
        typer.echo(f"{deleted} deleted")


@app.command()
def report(
    collection: CollectionOption = DEFAULT,
    strict: StrictOption = False,
    every: Annotated[bool, typer.Option("--all", help="List every input, not only those with trouble.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is stored, and which inputs did not end as they should."""
    with _opened(collection, None, create=False) as opened:
        found = opened.report()
        rows = list(opened.ledger()) if every else list(found.troubles)
    totals = found.totals
    if as_json:
        _print_json({**asdict(totals)})
        for row in rows:
            _print_json(asdict(row))
    else:
        names = ("documents", "chunks", "tokens", "characters")
        _print_pairs([*((name, getattr(totals, name)) for name in names), *totals.statuses.items()])
        for row in rows:
            typer.echo(_trouble_text(row))
    if strict and _troubled(totals.statuses):
        raise typer.Exit(STRICT_FAILED)


@app.command()
def space(collection: CollectionOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Show what the vectors are: model, digest, prompts, pooling, dimensions."""
    with _opened(collection, None, create=False) as opened:
        found = opened.space
    if found is None:
        raise SememeError(f"{collection} has no space yet: it is empty; add to it with: sememe add PATH")
    if as_json:
        _print_json({"id": found.id, **asdict(found), "prompts": dict(found.prompts)})
        return
    fields = {"id": found.id, **asdict(found)}
    fields["prompts"] = ", ".join(f"{role}={prompt!r}" for role, prompt in found.prompts) or "none"
    fields["modalities"] = ", ".join(found.modalities)
    _print_pairs(list(fields.items()))


@app.command()
def optimize(collection: CollectionOption = DEFAULT) -> None:
    """Write the indexes anew from the truth, fitted to what there is now."""
    with _progress() as shown, _opened(collection, None, create=False) as opened:
        opened.optimize(progress=shown.named)
    typer.echo(f"The indexes of {collection} are new.", err=True)


@app.command()
def doctor(
    collection: CollectionOption = DEFAULT,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Write every derived file anew from the truth.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what this installation is, and check a collection from end to end. Ends with status 1 if it is not sound."""
    from sememe import doctor as doctors
    from sememe.store.sqlite import is_there

    there = is_there(collection.expanduser().absolute())
    if rebuild:
        with _progress() as shown, _opened(collection, None, create=False) as opened:
            opened.optimize(progress=shown.named)
    findings = doctors.examine(collection if there else None)
    if as_json:
        for finding in findings:
            _print_json(asdict(finding))
    else:
        for finding in findings:
            mark = {"fact": " ", "sound": "+", "trouble": "!"}[finding.kind]
            typer.echo(f"{mark} {finding.name:<16} {finding.text}")
    if not there:
        typer.echo(f"There is no collection {collection}; only the installation was looked at.", err=True)
    if any(finding.kind == "trouble" for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; end the process with a status that means something."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    except SystemExit as end:
        status = end.code
    except BrokenPipeError:
        # The reader has gone (`sememe search … | head`): nothing to say, and no second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except SememeError as error:
        typer.echo(f"sememe: {error}", err=True)
        status = 1
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "sememe"
        typer.echo(f"sememe: {error.format_message().rstrip('.')}; see: {command} --help", err=True)
        status = WRONG_USAGE
    except Exception as error:
        status = _unexpected(error)
    if status in STOPPED:
        typer.echo(f"sememe: {STOPPED[status]}; what was stored stays: run the same command again to go on", err=True)
    sys.exit(status)


def _terminate(number: int, _frame: object) -> None:
    """Stop as Ctrl-C does: what is being written is given up, what was written stays."""
    raise SystemExit(128 + number)


def _unexpected(error: Exception) -> int:
    if os.environ.get("SEMEME_DEBUG"):
        raise error
    name = type(error).__name__
    typer.echo(
        f"sememe: something went wrong that should not have ({name}: {error}). Nothing that was stored is lost; "
        f"run it again with SEMEME_DEBUG=1 to see where, and please report it",
        err=True,
    )
    return 1


def _refuse_missing(paths: list[Path]) -> None:
    """Before a collection is made for nothing."""
    for path in paths:
        if str(path).startswith(("http:/", "https:/")):
            raise InputError(f"{path} is an address; pages are not fetched: save it as a file and add that")
        if not os.path.lexists(path.expanduser()):
            raise InputError(f"there is no file or folder {_printable(key_of(path))}; check the spelling")


def _say_if_long(text: str, opened: Collection) -> None:
    """A query is cut at the model's limit like anything else, and nothing is cut silently."""
    embedder = opened.embedder
    limit = embedder.space.max_tokens - 2
    if len(text) > limit and embedder.counter.count(text) > limit:
        typer.echo(f"The query is longer than the {limit} tokens the model reads; the rest was left out.", err=True)


class _Shown:
    """Progress on stderr: bars on a terminal, a line now and then elsewhere."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._said = time.monotonic()

    def ingest(self, at: IngestProgress) -> None:
        """How far adding is: in bytes where they are known, else in inputs."""
        done, total = (at.bytes_done, at.bytes_total) if at.bytes_total else (at.inputs, None)
        self._show(f"{at.chunks:,} chunks of {at.inputs:,} inputs", "ingest", done, total)

    def named(self, name: str) -> Callable[[int, int | None], None]:
        """How far the making of something is, by its name."""
        return lambda done, total: self._show(name, name, done, total)

    def fetch(self, label: str, done: int, total: int | None) -> None:
        """How far a download is, in bytes."""
        self._show(label, label, done, total)

    def _show(self, text: str, name: str, done: int, total: int | None) -> None:
        if self._bars is None:
            if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
                self._said = time.monotonic()
                typer.echo(f"{text}{f', {done / total:.0%}' if total else ''}", err=True)
            return
        if name not in self._tasks:
            self._bars.start()
            self._tasks[name] = self._bars.add_task(text, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total, description=text)

    def stop(self) -> None:
        """Leave the terminal as it was found."""
        if self._bars is not None:
            self._bars.stop()


@contextmanager
def _progress() -> Iterator[_Shown]:
    bars = None
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        bars = Progress(
            BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), Remaining(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
    shown = _Shown(bars)
    try:
        yield shown
    finally:
        shown.stop()


@contextmanager
def _opened(
    path: Path, model: str | None, *, create: bool, progress: _Shown | None = None, metric: str | None = None
) -> Iterator[Collection]:
    opened = collections.open(
        path, model=model, metric=cast("Metric | None", metric), create=create,
        fetch_progress=progress.fetch if progress else None,
    )  # fmt: skip
    with opened:
        yield opened


def _preview(
    paths: list[Path], collection: Path, model: str | None, *, choices: Choices, show_input: bool, as_json: bool
) -> Summary:
    def show(key: str, text: str) -> None:
        typer.echo(json.dumps({"document": key, "input": text}) if as_json else f"--- {key}\n{text}")

    with _progress() as shown:
        report_to: OnProgress | None = None if show_input else shown.ingest
        summary = collections.preview(
            list(paths), path=collection, model=model, choices=choices, inputs=show if show_input else None,
            progress=report_to,
        )  # fmt: skip
    if as_json:
        _print_json(summary.as_dict())
    else:
        names = ["documents", "chunks", "tokens", "unchanged", "truncated", "skipped", "failed"]
        names += ["deleted"] if choices.deleting else []
        _print_pairs([("files" if n == "documents" else n, getattr(summary, n)) for n in names])
        _print_troubles(summary, collection)
    typer.echo("Nothing was written (dry run).", err=True)
    return summary


def _print_summary(summary: Summary, collection: Path, as_json: bool) -> None:
    if as_json:
        _print_json(summary.as_dict())
    else:
        fields = summary.as_dict()
        optional = ("unchanged", "renamed", "deleted", "passed_over")
        names = ("documents", "chunks", "tokens", "embedded", "truncated", "skipped", "failed")
        _print_pairs([(n.replace("_", " "), fields[n]) for n in (*names, *(n for n in optional if fields[n]))])
        _print_pairs([("seconds", f"{summary.seconds:.1f}")])
        _print_troubles(summary, collection)
    if summary.warning:
        typer.echo(f"sememe: {summary.warning}", err=True)


def _end_strictly(summary: Summary, strict: bool) -> None:
    if strict and (summary.truncated or summary.skipped or summary.failed):
        raise typer.Exit(STRICT_FAILED)


def _print_troubles(summary: Summary, collection: Path) -> None:
    for row in summary.troubles[:SHOWN_TROUBLES]:
        typer.echo(_trouble_text(row), err=True)
    more = len(summary.troubles) - SHOWN_TROUBLES
    if more > 0:
        where = "" if collection == DEFAULT else f" --collection {collection}"
        hint = "" if summary.dry_run else f": sememe report{where}"
        typer.echo(f"and {more} more{hint}", err=True)


def _troubled(statuses: dict[str, int]) -> bool:
    return any(count for status, count in statuses.items() if status != "embedded")


def _trouble_text(row: LedgerRow) -> str:
    reasons = "; ".join(part for part in (row.reason, *row.remarks) if part)
    return f"{row.status:<9}  {_printable(row.key)}{':' if reasons else ''} {reasons}".rstrip()


def _where(text: str | None) -> dict[str, Any] | None:
    """The filter of a command line."""
    if text is None:
        return None
    try:
        found: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"--where {text!r} is not JSON ({error.msg} at character {error.pos}); write it like "
            f"""'{{"year": {{"$gte": 2020}}}}'"""
        ) from error
    return found


def _print_hits(hits: Hits, *, plan: bool, show_input: bool, as_json: bool) -> None:
    if plan and as_json:
        _print_json({"plan": hits.plan.as_dicts()})
    elif plan:
        typer.echo(f"{hits.plan}\n")
    for rank, hit in enumerate(hits, start=1):
        typer.echo(_hit_json(hit, show_input) if as_json else _hit_text(rank, hit, show_input))
    for note in hits.notes:
        typer.echo(f"Note: {note}.", err=True)
    if not hits and not hits.notes:
        typer.echo("Nothing was found.", err=True)


def _hit_text(rank: int, hit: Hit, show_input: bool) -> str:
    where = " > ".join([_printable(hit.document), *hit.headings])
    text = embedded_input(hit.headings, hit.text) if show_input else _snippet(hit.text)
    indented = "\n".join(f"    {line}" for line in text.splitlines())
    return f"{rank:>2}  {hit.score:.3f}  {where}  ({hit.id})\n{indented}\n"


def _snippet(text: str, width: int = 280) -> str:
    """The beginning of a chunk on a few short lines."""
    import textwrap

    folded = " ".join(text.split())
    short = folded if len(folded) <= width else f"{folded[:width].rsplit(' ', 1)[0]} …"
    return "\n".join(textwrap.wrap(short, 96)) or short


def _hit_json(hit: Hit, show_input: bool) -> str:
    fields = asdict(hit)
    if show_input:
        fields["input"] = embedded_input(hit.headings, hit.text)
    return json.dumps(fields, ensure_ascii=False)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))


def _print_pairs(pairs: list[tuple[str, object]]) -> None:
    for name, value in pairs:
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        typer.echo(f"{name:<12} {shown}")


def _printable(key: str) -> str:
    """A key on one line, whatever is in a file's name."""
    return key if key.isprintable() else key.encode("unicode_escape").decode()


if __name__ == "__main__":
    main()
