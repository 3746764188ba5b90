"""Commands that measure a collection: eval run, compare, gate, probe; and the golden sets they ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sememe.cli.options import (
    DEFAULT,
    CollectionOption,
    JsonOption,
    ModelOption,
    OverwriteOption,
    RecallOption,
    WhereOption,
    at_least,
)
from sememe.cli.parts import setting_of
from sememe.cli.session import (
    Shown,
    opened_at,
    progress_shown,
    refuse_present,
    refuse_targets,
    where_of,
    written,
)
from sememe.cli.show import print_json, print_pairs, printable
from sememe.collection import Collection
from sememe.errors import InputError

if TYPE_CHECKING:
    from sememe.evaluate.comparing import Comparison, Pair
    from sememe.evaluate.datasets import Dataset
    from sememe.evaluate.golden import Counts
    from sememe.evaluate.metrics import Measure
    from sememe.evaluate.questions import Passage
    from sememe.evaluate.running import Run, Setting

eval = typer.Typer(help="Measure how well a collection answers.", rich_markup_mode=None, no_args_is_help=True)
golden = typer.Typer(help="Queries whose answers are known.", rich_markup_mode=None, no_args_is_help=True)
eval.add_typer(golden, name="golden")

BELOW = 4
SHOWN = 5

SetArgument = Annotated[str | None, typer.Argument(metavar="SET", help="A golden set; or --beir, or --qrels.")]
SetOption = Annotated[str | None, typer.Option("--set", help="The golden set to ask.")]
BeirOption = Annotated[
    Path | None, typer.Option("--beir", metavar="FOLDER", help="Or a BEIR folder: queries.jsonl, qrels/test.tsv.")
]
SplitOption = Annotated[str, typer.Option("--split", help="Of a BEIR folder: qrels/SPLIT.tsv.")]
QrelsOption = Annotated[Path | None, typer.Option("--qrels", help="Or TREC judgements, with --queries.")]
QueriesOption = Annotated[Path | None, typer.Option("--queries", help='Lines of {"_id": "…", "text": "…"}.')]
DepthOption = Annotated[int, typer.Option("--k", "-k", help="How many hits a query.")]
MetricsOption = Annotated[
    list[str] | None, typer.Option("--metric", help="As ndcg@10: ndcg, recall, mrr, map, success or precision.")
]
MetricOption = Annotated[str, typer.Option("--metric", help="As ndcg@10: ndcg, recall, mrr, map, success, precision.")]
ModeOption = Annotated[str, typer.Option("--mode", help="Compare by vector (meaning), lexical (words) or hybrid.")]
AlphaOption = Annotated[
    float | None, typer.Option("--alpha", help="With hybrid: weigh scores, 1 is meaning alone, 0 words alone.")
]
SettingOption = Annotated[
    str | None,
    typer.Option("--setting", help="All of it in one, as compare takes it: 'mode=hybrid mmr=0.7 rerank=FOLDER:30'."),
]
ReportOption = Annotated[Path | None, typer.Option("--report", help="Write a page with charts: FILE.html.")]
NameOption = Annotated[str, typer.Option("--set", help="The golden set.")]


@eval.command("run")
def run_set(
    name: SetArgument = None,
    beir: BeirOption = None,
    split: SplitOption = "test",
    qrels: QrelsOption = None,
    queries: QueriesOption = None,
    add: Annotated[bool, typer.Option("--add", help="Add the corpus of the BEIR folder first.")] = False,
    mode: ModeOption = "vector",
    alpha: AlphaOption = None,
    recall: RecallOption = None,
    where: WhereOption = None,
    setting: SettingOption = None,
    k: DepthOption = 10,
    metric: MetricsOption = None,
    save: Annotated[Path | None, typer.Option("--save", help="Keep the run to compare with: FILE.json.")] = None,
    trec: Annotated[Path | None, typer.Option("--trec", help="Write the rankings as a TREC run.")] = None,
    report: ReportOption = None,
    overwrite: OverwriteOption = False,
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every query of a set as a search would, and say how good the answers are."""
    from sememe.evaluate.datasets import corpus_of, write_run
    from sememe.evaluate.running import run
    from sememe.evaluate.running import save as keep

    asked = _setting(setting, mode, alpha, recall, where)
    measures = _measures(metric, k)
    refuse_targets(save, trec, report, overwrite=overwrite)
    if add:
        _refuse_corpus(beir, split)
    with progress_shown() as shown, opened_at(collection, model, create=add, progress=shown) as opened:
        if add and beir is not None:
            opened.add(corpus_of(beir.expanduser()), progress=shown.ingest)
        data = _dataset(opened, name, beir=beir, split=split, qrels=qrels, queries=queries)
        found = run(opened, data, asked, k=_depth(measures, k), progress=shown.named("queries"))
    if save is not None:
        written(save, lambda: keep(found, save.expanduser()))
    if trec is not None:
        written(trec, lambda: write_run(trec.expanduser(), {key: one.ranking for key, one in found.asked.items()}))
    if report is not None:
        _write_run_report(report, found, measures, collection)
    _print_run(found, measures, as_json)


@eval.command("compare")
def compare_runs(
    a: Annotated[str, typer.Argument(help="A saved run, a TREC run, or a setting: 'mode=hybrid mmr=0.7'.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    name: SetOption = None,
    beir: BeirOption = None,
    split: SplitOption = "test",
    qrels: QrelsOption = None,
    queries: QueriesOption = None,
    metric: MetricOption = "ndcg@10",
    k: DepthOption = 10,
    shown_pairs: Annotated[
        int, typer.Option("--shown", callback=at_least(0), help="How many wins and losses are printed.")
    ] = SHOWN,
    report: ReportOption = None,
    overwrite: OverwriteOption = False,
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which of two runs is better, how surely, and because of which queries."""
    from sememe.evaluate import report as pages
    from sememe.evaluate.comparing import compare
    from sememe.evaluate.metrics import measure
    from sememe.evaluate.running import load

    wanted = measure(metric)
    refuse_targets(report, overwrite=overwrite)
    for side in (a, b):
        _refuse_no_side(side)
    if _is_file(a) and _is_file(b) and not any((name, beir, qrels)):
        one, other = load(Path(a)), load(Path(b))
    else:
        with progress_shown() as shown, opened_at(collection, model, create=False, progress=shown) as opened:
            data = _dataset(opened, name, beir=beir, split=split, qrels=qrels, queries=queries)
            one, other = (_side(side, opened, data, k=_depth([wanted], k), shown=shown) for side in (a, b))
    found = compare(one, other, wanted)
    if report is not None:
        _write(report, pages.of_comparison(found, one, other))
    _print_comparison(found, one, other, count=shown_pairs, as_json=as_json)


@eval.command()
def gate(
    subject: Annotated[str | None, typer.Argument(metavar="SET|RUN", help="A golden set, or a saved run.")] = None,
    beir: BeirOption = None,
    split: SplitOption = "test",
    qrels: QrelsOption = None,
    queries: QueriesOption = None,
    metric: MetricOption = "ndcg@10",
    least: Annotated[float | None, typer.Option("--min", help="The least mean that passes.")] = None,
    against: Annotated[Path | None, typer.Option("--against", help="A saved run not to fall below.")] = None,
    tolerance: Annotated[float, typer.Option("--tolerance", callback=at_least(0), help="By more than so much.")] = 0.0,
    mode: ModeOption = "vector",
    alpha: AlphaOption = None,
    recall: RecallOption = None,
    where: WhereOption = None,
    setting: SettingOption = None,
    k: DepthOption = 10,
    collection: CollectionOption = DEFAULT,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """End with status 4 when a measure is too low, or lower than it was: for continuous integration."""
    from sememe.evaluate.comparing import falls_short, refuse_gate, summary
    from sememe.evaluate.metrics import measure
    from sememe.evaluate.running import load, run

    wanted = measure(metric)
    if against is None and tolerance:
        raise InputError(f"--tolerance {tolerance:g} goes with --against RUN; name that, or leave it out")
    before = None if against is None else load(against)
    refuse_gate(least, before, tolerance)
    if subject is not None and _is_file(subject):
        if (beir, qrels, queries, mode, alpha, recall, where, setting) != (*3 * (None,), "vector", *4 * (None,)):
            raise InputError(f"{subject} is a saved run and is not asked again; leave out what says how or what to ask")
        found = load(Path(subject))
    else:
        asked = _setting(setting, mode, alpha, recall, where)
        with progress_shown() as shown, opened_at(collection, model, create=False, progress=shown) as opened:
            data = _dataset(opened, subject, beir=beir, split=split, qrels=qrels, queries=queries)
            found = run(opened, data, asked, k=_depth([wanted], k), progress=shown.named("queries"))
    reason = falls_short(found, wanted, least=least, against=before, tolerance=tolerance)
    mean = summary(found, wanted)
    if as_json:
        print_json({"metric": metric, **asdict(mean), "passed": not reason, "reason": reason})
    else:
        typer.echo(f"{'passed' if not reason else 'failed'}  {metric} {mean}")
    _print_remarks(found.remarks)
    if reason:
        typer.echo(f"sememe: {reason}", err=True)
        raise typer.Exit(BELOW)


@eval.command("probe")
def probe_collection(
    queries: Annotated[Path | None, typer.Option("--queries", help="People's queries, one on a line.")] = None,
    name: Annotated[str | None, typer.Option("--set", help="Or the queries of a golden set.")] = None,
    k: DepthOption = 10,
    sample: Annotated[int, typer.Option("--sample", help="How many stored chunks are looked for.")] = 200,
    recall: RecallOption = None,
    filters: Annotated[bool, typer.Option("--filters/--no-filters", help="Probe under filters too.")] = True,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Compare the searches of a collection with searches that compare every vector: what they find, what they take."""
    from sememe.evaluate.golden import texts
    from sememe.evaluate.probe import probe

    with progress_shown() as shown, opened_at(collection, None, create=False, progress=shown) as opened:
        rows = probe(
            opened, texts(opened, queries, name), k=k, sample=sample, recall=recall, filters=filters,
            progress=shown.named("probe"),
        )  # fmt: skip
    if as_json:
        for row in rows:
            print_json(asdict(row))
        return
    typer.echo(f"{'queries':<18} {'matching':>8} {f'recall@{k}':>10} {'worst':>6} {'p50 ms':>8} {'p95':>8} {'p99':>8} "
               f"{'exact':>8}  filter")  # fmt: skip
    for row in rows:
        how = " (all compared)" if row.exact else ""
        typer.echo(
            f"{f'{row.count:,} {row.queries}':<18} {row.share:>8.2%} {row.recall:>10.4f} {row.worst:>6.2f} "
            f"{row.p50:>8.2f} {row.p95:>8.2f} {row.p99:>8.2f} {row.exact_p50:>8.2f}  "
            f"{'none' if row.where is None else printable(str(row.where))}{how}"
        )


# --- golden sets -----------------------------------------------------------------------------------------------


@golden.command("make")
def make_set(
    origin: Annotated[str, typer.Option("--from", help="What is asked for: headings or sentences.")] = "headings",
    name: Annotated[str, typer.Option("--set", help="Its name; without one, what it is made from.")] = "",
    count: Annotated[int, typer.Option("--count", help="How many queries.")] = 100,
    from_model: Annotated[
        str | None,
        typer.Option("--from-model", metavar="MODEL", help="Let a language model ask: openai:NAME, or URL/NAME."),
    ] = None,
    show_input: Annotated[bool, typer.Option("--show-input", help="Print what the model is given.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask nobody and store nothing.")] = False,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Make a golden set from what is stored: a heading path, a sentence, or a language model asks for a chunk."""
    from sememe.evaluate import golden as sets

    if from_model is not None:
        _make_by_model(collection, from_model, name or "model", count, show_input, dry_run, as_json)
        return
    if show_input or dry_run:
        raise InputError("--show-input and --dry-run go with --from-model; leave them out, or name a model")
    with opened_at(collection, None, create=False) as opened:
        made = sets.make(opened, origin, name=name, count=count)
    _print_counts(made, as_json)
    typer.echo(f"Note: {sets.EASE[origin.removesuffix('s')]}.", err=True)


def _make_by_model(
    collection: Path, model: str, name: str, count: int, show_input: bool, dry_run: bool, as_json: bool
) -> None:
    from sememe.evaluate import questions
    from sememe.evaluate.golden import EASE
    from sememe.models.providers.writing import load_writer

    writer = load_writer(model)
    with progress_shown() as shown, opened_at(collection, None, create=False, progress=shown) as opened:
        if show_input or dry_run:
            chosen = questions.shown(opened, count)
            shown.stop()
            _print_shown(chosen, questions.INSTRUCTION if show_input else "", as_json)
        if dry_run:
            typer.echo(f"{len(chosen):,} chunks would be shown to {writer.name}; nobody was asked.", err=True)
            return
        made = questions.make(opened, writer, name=name, count=count, progress=shown.named("chunks"))
    _print_counts(made, as_json)
    typer.echo(f"{writer.usage.requests:,} requests, {writer.usage.tokens:,} tokens.", err=True)
    typer.echo(f"Note: {EASE['model']}.", err=True)


def _print_shown(chosen: Sequence[Passage], instruction: str, as_json: bool) -> None:
    for one in chosen if instruction else ():
        if as_json:
            print_json({"id": one.id, "system": instruction, "user": one.text})
        else:
            typer.echo(f"{one.id}\nsystem  {instruction}\nuser    {printable(one.text)}\n")


@golden.command("add")
def add_query(
    query: Annotated[str, typer.Argument(help="What somebody would look for.")],
    documents: Annotated[list[str], typer.Argument(metavar="DOC...", help="Keys of documents, or chunks (chunk:12).")],
    name: NameOption = "hand",
    grade: Annotated[int, typer.Option("--grade", help="How well they answer it: 0 not at all.")] = 1,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Say what answers a query."""
    from sememe.evaluate import golden as sets

    with opened_at(collection, None, create=False) as opened:
        _print_counts(sets.add(opened, query, documents, name=name, grade=grade), as_json)


@golden.command("remove")
def remove_query(
    name: Annotated[str, typer.Argument(metavar="SET", help="The golden set.")],
    query: Annotated[str | None, typer.Argument(help="A query of it; without one, the whole set goes.")] = None,
    collection: CollectionOption = DEFAULT,
) -> None:
    """Take a query out of a golden set, or take the set away."""
    from sememe.evaluate import golden as sets

    with opened_at(collection, None, create=False) as opened:
        gone = sets.remove(opened, name, query)
    typer.echo(f"{gone:,} judgements were taken out of {name}.", err=True)


@golden.command("list")
def list_sets(
    name: Annotated[str | None, typer.Argument(metavar="SET", help="One set, query by query.")] = None,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """The golden sets of a collection, or the queries of one."""
    from sememe.evaluate import golden as sets

    with opened_at(collection, None, create=False) as opened:
        rows = [asdict(row) for row in (sets.sets(opened) if name is None else sets.judgements(opened, name))]
    for row in rows:
        if as_json:
            print_json(row)
        elif name is None:
            origins = ", ".join(f"{count:,} {origin}" for origin, count in row["origins"].items())
            typer.echo(f"{row['name']:<20} {row['queries']:>8,} queries  {row['unit']:<9} {origins}")
        else:
            span = f" {row['start']}–{row['end']}" if row["start"] >= 0 else ""
            typer.echo(f"{row['grade']}  {row['query']}\n   {printable(row['key'])}{span} ({row['origin']})")
    if not rows:
        typer.echo("There is no golden set; make one with: sememe eval golden make", err=True)


@golden.command("import-clicks")
def import_clicks(
    path: Annotated[Path, typer.Argument(help='Lines of {"query": "…", "id": "…"}: what was clicked.')],
    name: NameOption = "clicks",
    least: Annotated[
        int, typer.Option("--least", callback=at_least(1), help="Clicks from which a document answers a query.")
    ] = 1,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Take what people clicked for an answer."""
    from sememe.evaluate import golden as sets

    with opened_at(collection, None, create=False) as opened:
        _print_counts(sets.import_clicks(opened, path, name=name, least=least), as_json)
    typer.echo(f"Note: {sets.EASE['clicks']}.", err=True)


@golden.command("export")
def export_set(
    name: Annotated[str, typer.Argument(metavar="SET", help="The golden set.")],
    target: Annotated[Path, typer.Argument(help="The folder to make, or with --qrels a file.")],
    qrels: Annotated[bool, typer.Option("--qrels", help="Write TREC judgements instead of a BEIR folder.")] = False,
    overwrite: OverwriteOption = False,
    collection: CollectionOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Write a golden set, and all it could be answered with, as a BEIR folder."""
    from sememe.evaluate import golden as sets
    from sememe.evaluate.datasets import write_beir, write_qrels

    path = target.expanduser()
    refuse_present(path, overwrite=overwrite)
    with opened_at(collection, None, create=False) as opened:
        data = sets.dataset(opened, name)
        if qrels:
            counts = {"judgements": written(path, lambda: write_qrels(path, data.grades))}
        else:
            counts = written(path, lambda: write_beir(path, data, sets.corpus(opened, data.unit)))
    print_json(counts) if as_json else print_pairs(list(counts.items()))


# --- what commands share ---------------------------------------------------------------------------------------


def _dataset(
    opened: Collection, name: str | None, *, beir: Path | None, split: str, qrels: Path | None, queries: Path | None
) -> Dataset:  # fmt: skip
    from sememe.evaluate import datasets
    from sememe.evaluate import golden as sets

    given = [one for one in (name, beir, qrels) if one is not None]
    if len(given) != 1:
        told = " and ".join(map(str, given)) or "nothing"
        raise InputError(f"{told} says what to ask; name one golden set, or --beir FOLDER, or --qrels FILE")
    if beir is None and split != "test":
        raise InputError(f"--split {split} is a part of a BEIR folder; name that with --beir FOLDER, or leave it out")
    if qrels is None and queries is not None:
        raise InputError(f"--queries {queries} goes with --qrels FILE, which judges them; name both, or leave it out")
    if name is not None:
        return sets.dataset(opened, name)
    if beir is not None:
        return datasets.read_beir(beir.expanduser(), split=split)
    if queries is None:
        raise InputError(f"--qrels {qrels} judges queries by their ids; give their texts with --queries FILE")
    return datasets.read_trec(queries.expanduser(), cast("Path", qrels).expanduser())


def _refuse_corpus(beir: Path | None, split: str) -> None:
    """Before a collection is made for it: raise InputError for a corpus that no query could be judged on."""
    from sememe.evaluate.datasets import corpus_of, read_beir

    if beir is None:
        raise InputError("--add adds the corpus of a BEIR folder; name it with --beir FOLDER")
    folder = beir.expanduser()
    if read_beir(folder, split=split).unit == "chunk":
        raise InputError(
            f"{beir} judges chunks by ids such as chunk:12, which only the collection has that it was written from; "
            f"ask that one without --add, or write a folder of documents"
        )
    if next(corpus_of(folder), None) is None:
        raise InputError(f"the corpus of {beir} holds no text; add documents with text to its corpus.jsonl")


def _setting(
    text: str | None, mode: str, alpha: float | None, recall: float | None, where: str | None
) -> Setting:  # fmt: skip
    from sememe.evaluate.running import Setting
    from sememe.search.query import Mode

    if text is not None:
        if (mode, alpha, recall, where) != ("vector", None, None, None):
            raise InputError(f"--setting {text!r} says all of it; put --mode, --alpha, --recall and --where into it")
        return setting_of(text)
    setting = Setting(mode=cast("Mode", mode), alpha=alpha, recall=recall, where=where_of(where))
    setting.check()
    return setting


def _measures(names: list[str] | None, k: int) -> list[Measure]:
    from sememe.evaluate.metrics import measure

    if k < 1:
        raise InputError(f"k is {k}; ask for at least 1 hit")
    usual = [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"map@{k}", "success@1", f"success@{k}"]
    return [measure(name) for name in dict.fromkeys(names or usual)]


def _depth(measures: Sequence[Measure], k: int) -> int:
    """As many hits as any of the measures looks at."""
    return max([k, *(one.cutoff or 0 for one in measures)])


def _is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except OSError:
        return False  # too long a name for a file, as a setting with a filter may be


def _refuse_no_side(name: str) -> None:
    """Raise InputError for what is neither a file that is there nor a setting."""
    if not _is_file(name) and "=" not in name:
        raise InputError(
            f"there is no run {name}, and it is no setting; check the path, or write a setting such as mode=hybrid"
        )
    if not _is_file(name):
        setting_of(name)


def _side(name: str, opened: Collection, data: Dataset, *, k: int, shown: Shown) -> Run:
    """One side of a comparison: a file that is there, else a setting that is run now."""
    from sememe.evaluate.running import load, run

    if _is_file(name):
        return load(Path(name), data)
    return run(opened, data, setting_of(name), k=k, progress=shown.named(name))


def _write(path: Path, text: str) -> None:
    written(path, lambda: path.expanduser().write_text(text, encoding="utf-8"))
    typer.echo(f"The report is {path}.", err=True)


def _write_run_report(path: Path, found: Run, measures: Sequence[Measure], collection: Path) -> None:
    from sememe.evaluate import report as pages
    from sememe.evaluate.chunks import of_collection

    _write(path, pages.of_run(found, measures, quality=of_collection(collection.expanduser().absolute())))


def _print_run(found: Run, measures: Sequence[Measure], as_json: bool) -> None:
    from sememe.evaluate.comparing import few, summary

    figures = {str(one): summary(found, one) for one in measures}
    p50, p95 = found.milliseconds(0.5, 0.95)
    remarks = (*found.remarks, *few(len(found.asked)))
    if as_json:
        print_json(
            {"set": found.dataset, "setting": found.setting, "queries": len(found.asked), "unit": found.unit,
             "k": found.depth, "metrics": {name: asdict(one) for name, one in figures.items()},
             "milliseconds": {"p50": p50, "p95": p95}, "remarks": remarks}
        )  # fmt: skip
        return
    typer.echo(f"{found.dataset}, {len(found.asked):,} queries, {found.setting}, judged by {found.unit}")
    print_pairs([(name, str(one)) for name, one in figures.items()])
    print_pairs([("milliseconds", f"{p50:.2f} (95 %: {p95:.2f})")])
    _print_remarks(remarks)


def _print_comparison(found: Comparison, one: Run, other: Run, *, count: int, as_json: bool) -> None:
    if as_json:
        print_json(
            {"metric": found.measure, "a": {"setting": one.setting, **asdict(found.one)},
             "b": {"setting": other.setting, **asdict(found.other)},
             "difference": {**asdict(found.difference), "sure": found.difference.sure}, "queries": len(found.pairs),
             "wins": [_pair_fields(pair) for pair in found.wins[:count]],
             "losses": [_pair_fields(pair) for pair in found.losses[:count]],
             "better": len(found.wins), "worse": len(found.losses), "remarks": found.remarks}
        )  # fmt: skip
        return
    print_pairs([("A", f"{one.setting}  {found.one}"), ("B", f"{other.setting}  {found.other}")])
    sure = "sure" if found.difference.sure else "may be chance"
    print_pairs([("B - A", f"{found.difference.signed}, {sure}; {found.measure}, {len(found.pairs):,} queries")])
    for title, pairs in (("better in B", found.wins), ("worse in B", found.losses)):
        typer.echo(f"\n{len(pairs):,} {title}")
        for pair in pairs[:count]:
            _print_pair(pair)
    _print_remarks(found.remarks)


def _print_pair(pair: Pair) -> None:
    typer.echo(f"{pair.difference:+.3f}  {pair.one.text}")
    for name, asked in (("A", pair.one), ("B", pair.other)):
        first = asked.places[0] if asked.places else None
        rank = "not found" if asked.first is None else f"right hit at {asked.first}"
        top = "nothing" if first is None else f"{printable(first.id)}: {first.text[:80]}"
        typer.echo(f"        {name}: {rank}; first: {top}")


def _pair_fields(pair: Pair) -> dict[str, Any]:
    return {
        "query": pair.one.text, "difference": pair.difference, "grades": dict(pair.one.grades),
        **{name: {"rank": asked.first, "hits": [asdict(place) for place in asked.places[:3]]}
           for name, asked in (("a", pair.one), ("b", pair.other))},
    }  # fmt: skip


def _print_counts(made: Counts, as_json: bool) -> None:
    if as_json:
        print_json(asdict(made))
    else:
        print_pairs([("set", made.name), ("queries", made.queries), ("judgements", made.judgements)])
        _print_remarks(made.remarks)
        for chunk, reason in made.failed:
            typer.echo(f"Nothing about {chunk}: {printable(reason)}", err=True)


def _print_remarks(remarks: Sequence[str]) -> None:
    for remark in remarks:
        typer.echo(f"Note: {remark}.", err=True)
