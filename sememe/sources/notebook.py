"""Jupyter notebooks → their cells in order: Markdown with its headings, code, and the text of outputs.

Read with the standard library's JSON parser (nbformat validates more, and needs a schema library for it). Pictures in
outputs are left out; a long output is cut. Knows nothing of Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from sememe.errors import ReadError
from sememe.sources import markdown
from sememe.sources.source import ReadOptions, Refused, Source
from sememe.sources.zipped import begun, reading, refused
from sememe.types import Block, Document

READER = "notebook/1"
WHAT = "Jupyter notebook"
MEDIA_TYPE = "application/x-ipynb+json"
LARGEST = 256 << 20
"""Bytes; a notebook is one JSON value, which has to be held as a whole."""
LONGEST_OUTPUT = 2000
"""Characters that are kept of a cell's output: its beginning and its end."""
PIECE = 64 * 1024


def read(source: Source, key: str, options: ReadOptions) -> Document | Refused:  # noqa: ARG001 - every reader's signature
    """A notebook. Metadata: title and author where the file has them. The text of the outputs is bounded a cell."""
    try:
        notebook = _load(source)
        cells = _cells(notebook, source.name)
    except ReadError as error:
        return refused(source, error)
    about = notebook.get("metadata")
    about = about if isinstance(about, dict) else {}
    metadata = {"title": _string(about.get("title")), "author": _authors(about.get("authors"))}
    metadata = {name: value for name, value in metadata.items() if value}
    document = Document(key, (), READER, metadata.get("title", ""), MEDIA_TYPE, metadata)
    document.blocks = _blocks(cells, document)
    return begun(source, document)


def _load(source: Source) -> dict[str, Any]:
    if source.size > LARGEST:
        raise ReadError(f"{source.name} has {source.size} bytes; a notebook is read up to {LARGEST}: clear its outputs")
    with reading(source, WHAT), source.open() as file:
        notebook = json.loads(file.read(LARGEST).decode("utf-8-sig"))
    if not isinstance(notebook, dict):
        raise ReadError(f"{source.name} is no {WHAT}: it is a JSON {type(notebook).__name__}")
    return notebook


def _cells(notebook: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The cells; of notebooks before format 4, those of all worksheets."""
    cells = notebook.get("cells")
    if cells is None and isinstance(notebook.get("worksheets"), list):
        sheets = [sheet for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets for cell in sheet.get("cells") or ()]
    if not isinstance(cells, list):
        raise ReadError(f"{name} is no {WHAT}: it is JSON without a list of cells")
    return [cell for cell in cells if isinstance(cell, dict)]


def _blocks(cells: Iterable[dict[str, Any]], document: Document) -> Iterator[Block]:
    cut = 0
    for number, cell in enumerate(cells, start=1):
        place = f"cell {number}"
        kind, source = cell.get("cell_type"), _joined(cell.get("source", cell.get("input")))
        if kind == "heading":  # before format 4
            level = cell.get("level")
            depth = level if isinstance(level, int) and 1 <= level <= 6 else 1
            source, kind = f"{'#' * depth} {source}", "markdown"
        for block in _cell(source, is_markdown=kind == "markdown"):
            yield Block(block.text, block.level, block.title, place)
        output = "".join(_outputs(cell.get("outputs")))
        if len(output) > LONGEST_OUTPUT:
            cut += 1
            output = f"{output[: LONGEST_OUTPUT * 3 // 4]}\n[…]\n{output[-LONGEST_OUTPUT // 4 :]}"
        if output.strip():
            yield Block(output.rstrip("\n") + "\n\n", place=f"{place}, output")
    if cut:
        document.remarks.append(f"of {cut} long output{'s' * (cut > 1)} {LONGEST_OUTPUT} characters each are kept")


def _cell(source: str, *, is_markdown: bool) -> Iterator[Block]:
    text = source.rstrip("\n") + "\n\n" if source.strip() else ""
    pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
    return markdown.blocks(pieces, []) if is_markdown else map(Block, pieces)


def _outputs(outputs: Any) -> Iterator[str]:
    """What a cell printed, gave or failed with, as text."""
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        kind = output.get("output_type")
        data = output.get("data", output)
        if kind == "stream":
            yield _joined(output.get("text"))
        elif kind in ("error", "pyerr"):
            yield f"{_string(output.get('ename'))}: {_string(output.get('evalue'))}\n"
        elif isinstance(data, dict):
            names = ("text/markdown", "text/plain", "text")
            yield next((text + "\n" for text in (_joined(data.get(name)) for name in names) if text), "")


def _joined(text: Any) -> str:
    """A text that may be given as a list of its lines; lone surrogates, which JSON may hold, become U+FFFD."""
    lines = text if isinstance(text, list) else [text]
    return "".join(map(_string, lines))


def _string(value: Any) -> str:
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else ""


def _authors(authors: Any) -> str:
    listed = authors if isinstance(authors, list) else []
    found = [author.get("name") if isinstance(author, dict) else author for author in listed]
    return ", ".join(name for name in map(_string, found) if name)[:500]
