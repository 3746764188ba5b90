"""Runs and comparisons as a page: one HTML file with its charts inside, which needs nothing else to be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from sememe.evaluate.chunks import KINDS, Quality
from sememe.evaluate.comparing import Comparison, Pair, summary
from sememe.evaluate.metrics import Measure
from sememe.evaluate.running import Asked, Run

COLOURS = ("#0b6e4f", "#d1495b")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 300, 56, 20, 34, 44
SHOWN = 10
SHOWN_HITS = 3
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left;vertical-align:top}"
    "th{border-bottom:1px solid #999}.hit{color:#555}.right{color:#0b6e4f;font-weight:bold}svg{max-width:100%}"
)


def of_run(run: Run, measures: Sequence[Measure], *, quality: Quality | None = None) -> str:
    """A page on one run: means and intervals, recall by depth, the queries that went worst, the chunks."""
    first = measures[0]
    values = run.values(first)
    worst = sorted(values, key=lambda key: (values[key], key))[:SHOWN]
    return _page(
        f"{run.dataset}: {run.setting}",
        [
            f"<p>{len(run.asked):,} queries, {run.depth} hits each, judged by {run.unit}.</p>",
            _table(["", "mean", "95 % of means"], [_row(str(m), summary(run, m)) for m in measures]),
            _table(
                ["search", "median", "95 %"], [["milliseconds", *(f"{ms:.2f}" for ms in run.milliseconds(0.5, 0.95))]]
            ),
            _notes(run.remarks),
            recall_chart({run.setting: run}),
            f"<h2>Where {escape(str(first))} is lowest</h2>",
            *(f"{_query(run.asked[key], f'{values[key]:.3f}')}{_hits(run.asked[key])}" for key in worst),
            _chunks(quality),
        ],
    )


def of_comparison(found: Comparison, one: Run, other: Run) -> str:
    """A page on two runs: the difference, query by query, with the hits that made the largest ones."""
    rows = [
        [f"A: {one.setting}", str(found.one)], [f"B: {other.setting}", str(found.other)],
        ["B - A", found.difference.signed],
    ]  # fmt: skip
    told = f"{len(found.wins):,} queries are better in B, {len(found.losses):,} in A, of {len(found.pairs):,}."
    return _page(
        f"{one.dataset}: {found.measure}",
        [
            _table([found.measure, "mean (95 %)"], rows),
            f"<p>{told} {'The difference is sure.' if found.difference.sure else 'It may be chance.'}</p>",
            _notes(found.remarks),
            difference_chart(found),
            recall_chart({f"A: {one.setting}": one, f"B: {other.setting}": other}),
            "<h2>Better in B</h2>", *map(_pair, found.wins[:SHOWN]),
            "<h2>Worse in B</h2>", *map(_pair, found.losses[:SHOWN]),
        ],
    )  # fmt: skip


# --- charts ----------------------------------------------------------------------------------------------------


def recall_chart(runs: Mapping[str, Run]) -> str:
    """An SVG: of what is relevant, the mean share among the first k hits."""
    depth = max(run.depth for run in runs.values())
    lines = []
    for number, (name, run) in enumerate(runs.items()):
        points = [(k, _mean(run.values(Measure("recall", k)).values())) for k in range(1, run.depth + 1)]
        path = " ".join(f"{_across(k, 1, depth):.1f},{_down(share, 0, 1):.1f}" for k, share in points)
        dots = "".join(
            f'<circle cx="{_across(k, 1, depth):.1f}" cy="{_down(share, 0, 1):.1f}" r="3" fill="{COLOURS[number]}">'
            f"<title>{k}: {share:.3f}</title></circle>" for k, share in points
        )  # fmt: skip
        legend = _text(LEFT + 12, TOP + 14 + 18 * number, name, colour=COLOURS[number])
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>{dots}{legend}'
        )
    ticks = sorted({1, *(round(1 + (depth - 1) * part / 5) for part in range(6))})
    axis = [_text(_across(k, 1, depth), HEIGHT - BOTTOM + 18, str(k), anchor="middle") for k in ticks]
    return _svg("recall among the first k hits", "k", [*_shares(0, 1, 0.2), *axis, *lines])


def difference_chart(found: Comparison) -> str:
    """An SVG: the difference of every query, the greatest gain on the left."""
    count = len(found.pairs)
    width = (WIDTH - LEFT - RIGHT) / count
    zero = _down(0, -1, 1)
    bars = []
    for place, pair in enumerate(found.pairs):
        top = min(_down(pair.difference, -1, 1), zero)
        colour = COLOURS[0] if pair.difference > 0 else COLOURS[1]
        bars.append(
            f'<rect x="{LEFT + place * width:.2f}" y="{top:.1f}" width="{max(width, 0.5):.2f}" '
            f'height="{abs(_down(pair.difference, -1, 1) - zero):.1f}" fill="{colour}">'
            f"<title>{escape(pair.one.text)}: {pair.difference:+.3f}</title></rect>"
        )
    return _svg(f"B - A in {found.measure}, query by query", f"{count:,} queries", [*_shares(-1, 1, 0.5), *bars])


def _across(value: float, low: float, high: float) -> float:
    return LEFT + (value - low) / max(high - low, 1) * (WIDTH - LEFT - RIGHT)


def _down(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _shares(low: float, high: float, step: float) -> list[str]:
    """Lines across at every step, with their values."""
    ticks = [low + step * place for place in range(round((high - low) / step) + 1)]
    return [
        f'<line x1="{LEFT}" y1="{_down(tick, low, high):.1f}" x2="{WIDTH - RIGHT}" y2="{_down(tick, low, high):.1f}" '
        f'stroke="#ddd"/>{_text(LEFT - 8, _down(tick, low, high) + 4, f"{tick:g}"[:4], anchor="end")}'
        for tick in ticks
    ]  # fmt: skip


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(title: str, below: str, parts: Iterable[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    labels = _text(LEFT, 18, title) + _text(WIDTH / 2, HEIGHT - 8, below, anchor="middle")
    return "\n".join([head, labels, *parts, "</svg>"])


# --- tables and lists ------------------------------------------------------------------------------------------


def _page(title: str, parts: Iterable[str]) -> str:
    head = f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
    return "\n".join([head, f"<h1>{escape(title)}</h1>", *parts, "</html>\n"])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _row(name: str, found: object) -> list[str]:
    mean, _, rest = str(found).partition(" (")
    return [name, mean, rest.rstrip(")")]


def _notes(remarks: Iterable[str]) -> str:
    return "".join(f"<p>Note: {escape(remark)}.</p>" for remark in remarks)


def _query(asked: Asked, told: str) -> str:
    origin = f" ({asked.origin})" if asked.origin else ""
    return f"<p><b>{escape(asked.text)}</b>{escape(origin)} {escape(told)}</p>"


def _pair(pair: Pair) -> str:
    told = (
        f"{pair.difference:+.3f}; first right hit: {pair.one.first or 'none'} in A, {pair.other.first or 'none'} in B"
    )
    return f"{_query(pair.one, told)}<p>A</p>{_hits(pair.one)}<p>B</p>{_hits(pair.other)}"


def _hits(asked: Asked) -> str:
    rows = [
        f'<li class="{"right" if asked.grades.get(place.id, 0) > 0 else "hit"}">{escape(place.id)} '
        f"{place.score:.3f} {escape(place.text)}</li>"
        for place in asked.places[:SHOWN_HITS]
    ]
    wanted = [key for key, grade in asked.grades.items() if grade > 0 and key not in asked.ranking]
    missed = f"<p>Not found: {escape(', '.join(wanted[:SHOWN_HITS]))}</p>" if wanted else ""
    return f"<ol>{''.join(rows)}</ol>{missed}"


def _chunks(quality: Quality | None) -> str:
    if quality is None:
        return ""
    rows = [
        [kind, f"{quality.faults[kind]:,}", f"{quality.faults[kind] / max(quality.of(kind), 1):.2%}", meaning]
        for kind, meaning in KINDS.items()
    ]
    return f"<h2>The {quality.chunks:,} chunks</h2>{_table(['', 'chunks', 'share', 'what it means'], rows)}"


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
