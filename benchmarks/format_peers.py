"""The text of a presentation or spreadsheet by the libraries in format-peers.txt: python format_peers.py FILE

Runs in their environment and imports nothing of sememe.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def pptx(path: str) -> Iterator[str]:
    from pptx import Presentation

    for slide in Presentation(path).slides:
        yield from shapes(slide.shapes)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            yield slide.notes_slide.notes_text_frame.text


def shapes(found: Any) -> Iterator[str]:
    for shape in found:
        if hasattr(shape, "shapes"):
            yield from shapes(shape.shapes)
        elif shape.has_text_frame:
            yield shape.text_frame.text
        elif shape.has_table:
            yield from (cell.text for row in shape.table.rows for cell in row.cells if not cell.is_spanned)


def xlsx(path: str) -> Iterator[str]:
    from openpyxl import load_workbook

    for sheet in load_workbook(path, data_only=True).worksheets:
        yield sheet.title
        yield from (str(value) for row in sheet.iter_rows(values_only=True) for value in row if value is not None)


def ods(path: str) -> Iterator[str]:
    from odf import teletype
    from odf.opendocument import load
    from odf.table import Table
    from odf.text import P

    for table in load(path).spreadsheet.getElementsByType(Table):
        yield table.getAttribute("name")
        yield from (teletype.extractText(paragraph) for paragraph in table.getElementsByType(P))


if __name__ == "__main__":
    print("\n".join({".pptx": pptx, ".xlsx": xlsx, ".ods": ods}[Path(sys.argv[1]).suffix](sys.argv[1])))
