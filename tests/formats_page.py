"""The table of formats as a page: `python tests/formats_page.py` writes docs/formats.md anew."""

from __future__ import annotations

from pathlib import Path

from sememe.sources.formats import FORMATS, Format

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
BEGIN, END = "<!-- the table of formats -->\n", "<!-- its end -->\n"


def table() -> str:
    """One row a format, in the order of the table in the package."""
    rows = ["| format | suffixes | types | needs | a place is a |", "|---|---|---|---|---|", *map(_row, FORMATS)]
    return "\n".join(rows) + "\n"


def _row(form: Format) -> str:
    needs = f"`pip install 'sememe[{form.extra}]'`" if form.extra else ""
    suffixes, types = (" ".join(f"`{word}`" for word in words.split()) for words in (form.suffixes, form.media_types))
    return f"| {form.title} | {suffixes} | {types} | {needs} | {form.place} |"


def page(text: str) -> str:
    """The page with the table as it is now."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
