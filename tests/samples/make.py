"""Makes the sample documents beside it: `python tests/samples/make.py`. One story in eleven formats, a few KB each.

Every part is written by hand, so that a test can say exactly what is in it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
P = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
S = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELS = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
KIND = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">'
    "<dc:title>The garden</dc:title><dc:creator>Ana Gomes</dc:creator><dc:language>en-GB</dc:language>"
    "<dcterms:created>2024-05-01T09:30:00Z</dcterms:created><dcterms:modified>2024-06-02</dcterms:modified>"
    "</cp:coreProperties>"
)
OPEN = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{uri}:1.0"'
    for name, uri in {"office": "office", "text": "text", "table": "table", "draw": "drawing",
                      "presentation": "presentation", "meta": "meta"}.items()
) + ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xlink="http://www.w3.org/1999/xlink"'  # fmt: skip
META = (
    f"<office:document-meta {OPEN}><office:meta><dc:title>The garden</dc:title>"
    "<meta:initial-creator>Ana Gomes</meta:initial-creator><dc:creator>Bo Li</dc:creator>"
    "<dc:language>en-GB</dc:language><meta:creation-date>2024-05-01T09:30:00.123</meta:creation-date>"
    "</office:meta></office:document-meta>"
)
PRICES = [("Plant", "Price", "Sown"), *((f"Plant {n}", f"{n}.5", f"2024-03-{n:02}") for n in range(1, 31))]


def zipped(name: str, members: dict[str, str | bytes]) -> None:
    """Write a ZIP archive that is the same every time."""
    with zipfile.ZipFile(HERE / name, "w", zipfile.ZIP_DEFLATED) as box:
        for member, content in members.items():
            box.writestr(zipfile.ZipInfo(member, (2024, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


def relations(*targets: tuple[str, str, str]) -> str:
    """A relationships part of (id, kind, target); an address is outside."""
    found = "".join(
        f'<Relationship Id="{key}" Type="{KIND}/{kind}" Target="{target}"'
        f"{' TargetMode=' + chr(34) + 'External' + chr(34) if '://' in target else ''}/>"
        for key, kind, target in targets
    )
    return f"<Relationships {RELS}>{found}</Relationships>"


def package(main: str) -> dict[str, str | bytes]:
    """What every Office file begins with."""
    core = f'<Relationship Id="c" Type="{KIND}/metadata/core-properties" Target="docProps/core.xml"/>'
    listed = relations(("m", "officeDocument", main)).replace("</Relationships>", core + "</Relationships>")
    return {"_rels/.rels": listed, "docProps/core.xml": CORE}


def html() -> None:
    """A page with navigation around its article."""
    rows = "".join(f"<tr><td>{a}<td>{b}<td>{c}" for a, b, c in PRICES[1:])
    (HERE / "garden.html").write_text(
        f"""<!DOCTYPE html><html lang="en-GB"><head><meta charset="utf-8"><title>The garden &amp; its
 tap</title><meta name="author" content="Ana Gomes"><meta property="article:published_time"
 content="2024-05-01T09:30:00Z"><style>p {{ color: red }}</style><script>var x = "<p>no text</p>";</script></head>
<body><nav><ul><li><a href="/">Start</a><li><a href="/shop">Shop window</a></ul></nav>
<div class="sidebar"><a href="/a">Elsewhere one</a> <a href="/b">Elsewhere two</a></div>
<main><h1>The garden<a class="headerlink" href="#garden">¶</a></h1>
<p>A tap that <em>drips</em> wastes
 water; see <a href="https://example.org/washer">the washer</a> and <a href="other.html">this</a>.<br>Turn it off.</p>
<!-- a comment > with a sign --><h2>Tools</h2><ol><li>A spanner<li><p>A washer</p><p>of rubber</p>
<ul><li>small</ul></ol><pre>turn  left
  twice</pre>
<table><caption>What plants cost</caption><tr><th>Plant<th>Price<th>Sown</tr>{rows}</table>
<aside class="note"><p>Close the main valve first.</p></aside></main>
<footer>Imprint and cookies</footer></body></html>""",
        encoding="utf-8",
    )


def rst() -> None:
    """Sections in three styles, and what only looks like one."""
    (HERE / "garden.rst").write_text(
        "============\n The garden\n============\n\n:Author: Ana Gomes\n\nA tap that *drips* wastes water.\n\n"
        "Tools\n=====\n\n.. code-block:: sh\n\n   Not a title\n   ===========\n\nThe ``spanner`` :ref:`here <there>`\n"
        "-----------------------------------\n\nTurn it off.\n\n----\n\n"
        "=====  =====\nPlant  Price\n=====  =====\nRose   1.5\n=====  =====\n\nCare\n====\n\nWater daily.\n"
    )


def word() -> None:
    """Headings by style and by outline, a list, a link, a table, a note, deleted text, a page break."""

    def paragraph(text: str, properties: str = "") -> str:
        return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"

    rows = "".join(
        f"<w:tr>{'<w:trPr><w:tblHeader/></w:trPr>' if row is PRICES[0] else ''}"
        + "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) + "</w:tr>" for row in PRICES
    )  # fmt: skip
    body = (
        paragraph("The garden", '<w:pStyle w:val="Title1"/>')
        + paragraph("The garden 1", '<w:pStyle w:val="TOC1"/>')
        + "<w:p><w:r><w:t>A tap that </w:t></w:r><w:r><w:rPr><w:i/></w:rPr><w:t>drips</w:t></w:r><w:r>"
        '<w:t xml:space="preserve"> wastes water; see </w:t></w:r><w:hyperlink r:id="l"><w:r>'
        "<w:t>the washer</w:t></w:r></w:hyperlink><w:r><w:t>.</w:t><w:br/><w:t>Turn it off.</w:t></w:r>"
        "<w:del><w:r><w:delText>Deleted words</w:delText></w:r></w:del></w:p>"
        + paragraph("Tools", '<w:pStyle w:val="Sub"/>')
        + paragraph("A spanner", '<w:numPr><w:numId w:val="1"/></w:numPr>')
        + paragraph("A washer", '<w:numPr><w:numId w:val="1"/></w:numPr>')
        + f"<w:tbl>{rows}</w:tbl>"
        + "<w:p><w:r><w:lastRenderedPageBreak/><w:t>Close the main valve first.</w:t></w:r></w:p>"
    )
    styles = (
        f'<w:styles {W}><w:style w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>'
        '<w:style w:styleId="Title1"><w:name w:val="mine"/><w:basedOn w:val="Heading1"/></w:style>'
        '<w:style w:styleId="Sub"><w:name w:val="other"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>'
        '<w:style w:styleId="TOC1"><w:name w:val="toc 1"/></w:style></w:styles>'
    )
    notes = (
        f'<w:footnotes {W}><w:footnote w:id="0" w:type="separator"><w:p><w:r><w:t>no</w:t></w:r></w:p></w:footnote>'
        '<w:footnote w:id="2"><w:p><w:r><w:t>Rubber lasts ten years.</w:t></w:r></w:p></w:footnote></w:footnotes>'
    )
    links = relations(("s", "styles", "styles.xml"), ("n", "footnotes", "footnotes.xml"),
                      ("l", "hyperlink", "https://example.org/washer"))  # fmt: skip
    zipped(
        "garden.docx",
        package("word/document.xml") | {
            "word/document.xml": f"<w:document {W} {R}><w:body>{body}</w:body></w:document>",
            "word/_rels/document.xml.rels": links, "word/styles.xml": styles, "word/footnotes.xml": notes,
        },
    )  # fmt: skip


def slides() -> None:
    """Two slides in another order than their names, a table, notes, a slide number."""

    def shape(text: str, holder: str) -> str:
        lines = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in text.split("\n"))
        return f'<p:sp><p:nvSpPr><p:nvPr><p:ph type="{holder}"/></p:nvPr></p:nvSpPr><p:txBody>{lines}</p:txBody></p:sp>'

    def slide(*shapes: str) -> str:
        return f"<p:sld {P} {A} {R}><p:cSld><p:spTree>{''.join(shapes)}</p:spTree></p:cSld></p:sld>"

    rows = "".join(
        "<a:tr>" + "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{cell}</a:t></a:r></a:p></a:txBody></a:tc>" for cell in row)
        + "</a:tr>" for row in PRICES
    )  # fmt: skip
    table = f'<p:graphicFrame><a:tbl><a:tblPr firstRow="1"/>{rows}</a:tbl></p:graphicFrame>'
    order = '<p:sldIdLst><p:sldId id="256" r:id="two"/><p:sldId id="257" r:id="one"/></p:sldIdLst>'
    zipped(
        "garden.pptx",
        package("ppt/presentation.xml") | {
            "ppt/presentation.xml": f"<p:presentation {P} {R}>{order}</p:presentation>",
            "ppt/_rels/presentation.xml.rels": relations(("one", "slide", "slides/slide1.xml"),
                                                         ("two", "slide", "slides/slide2.xml")),
            "ppt/slides/slide1.xml": slide(table),
            "ppt/slides/slide2.xml": slide(shape("A tap that drips\nTurn it off.", "body"), shape("7", "sldNum"),
                                           shape("The garden", "ctrTitle")),
            "ppt/slides/_rels/slide2.xml.rels": relations(("n", "notesSlide", "../notesSlides/notesSlide1.xml")),
            "ppt/notesSlides/notesSlide1.xml": slide(shape("Say this slowly.", "body"), shape("1", "sldNum")),
        },
    )  # fmt: skip


def sheets() -> None:
    """Two sheets: thirty rows with dates under a header, and a hidden one with two tables."""
    rows = []
    for number, row in enumerate(PRICES, start=1):
        if number == 1:
            cells = "".join(f'<c r="{"ABC"[column]}1" t="s"><v>{column}</v></c>' for column in range(3))
        else:
            day = 45351 + number  # 45352 is 2024-03-01
            cells = f'<c r="A{number}" t="inlineStr"><is><t>{row[0]}</t></is></c><c r="B{number}"><v>{row[1]}</v></c>'
            cells += f'<c r="C{number}" s="1"><v>{day - 1}</v></c>'
        rows.append(f'<row r="{number}">{cells}</row>')
    other = (
        '<row r="2"><c r="B2" t="b"><v>1</v></c><c r="D2"><f>1/3</f><v>0.33333333333333331</v></c></row>'
        '<row r="9"><c r="A9" t="s"><v>3</v></c></row>'
    )
    shared = "".join(f"<si><t>{text}</t></si>" for text in (*PRICES[0], "A note&#10;of two lines"))
    zipped(
        "garden.xlsx",
        package("xl/workbook.xml") | {
            "xl/workbook.xml": f'<workbook {S} {R}><sheets><sheet name="Prices" r:id="one"/>'
                               '<sheet name="Notes" state="hidden" r:id="two"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": relations(("one", "worksheet", "worksheets/sheet1.xml"),
                                                    ("two", "worksheet", "/xl/worksheets/sheet2.xml"),
                                                    ("s", "sharedStrings", "sharedStrings.xml"),
                                                    ("t", "styles", "styles.xml")),
            "xl/styles.xml": f'<styleSheet {S}><numFmts><numFmt numFmtId="164" formatCode="dd/mm/yyyy"/></numFmts>'
                             '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/></cellXfs></styleSheet>',
            "xl/sharedStrings.xml": f"<sst {S}>{shared}</sst>",
            "xl/worksheets/sheet1.xml": f"<worksheet {S}><sheetData>{''.join(rows)}</sheetData></worksheet>",
            "xl/worksheets/sheet2.xml": f"<worksheet {S}><sheetData>{other}</sheetData></worksheet>",
        },
    )  # fmt: skip


def opendocument(name: str, kind: str, body: str) -> None:
    """A file of OpenDocument."""
    content = f"<office:document-content {OPEN}><office:body><office:{kind}>{body}</office:{kind}></office:body>"
    zipped(name, {"mimetype": f"application/vnd.oasis.opendocument.{kind}", "meta.xml": META,
                  "content.xml": content + "</office:document-content>"})  # fmt: skip


def opendocuments() -> None:
    """A text, a spreadsheet with repeated rows, and a presentation."""
    cells = ["".join(f"<table:table-cell><text:p>{cell}</text:p></table:table-cell>" for cell in row) for row in PRICES]
    rows = "".join(f"<table:table-row>{row}</table:table-row>" for row in cells[1:])
    table = (
        f'<table:table table:name="Prices"><table:table-header-rows><table:table-row>{cells[0]}</table:table-row>'
        f"</table:table-header-rows>{rows}</table:table>"
    )
    text = (
        "<text:tracked-changes><text:p>Deleted words</text:p></text:tracked-changes>"
        '<text:h text:outline-level="1">The garden</text:h><text:table-of-content><text:p>Tools 2</text:p>'
        "</text:table-of-content><text:p>A tap that <text:span>drips</text:span><text:s/>wastes water; see "
        '<text:a xlink:href="https://example.org/washer">the washer</text:a>.<text:note><text:note-body>'
        "<text:p>Rubber lasts ten years.</text:p></text:note-body></text:note><text:line-break/>Turn it off.</text:p>"
        '<text:h text:outline-level="2">Tools</text:h><text:list><text:list-item><text:p>A spanner</text:p>'
        "</text:list-item><text:list-item><text:p>A washer</text:p></text:list-item></text:list>"
    )
    opendocument("garden.odt", "text", f"{text}{table}<text:p>Close the main valve first.</text:p>")
    dated = (
        '<table:table-row table:number-rows-repeated="1048576"><table:table-cell/></table:table-row>'
        '<table:table-row table:number-rows-repeated="3"><table:table-cell office:value-type="date" '
        'office:date-value="2024-03-01T00:00:00"><text:p>1. March</text:p></table:table-cell>'
        '<table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    )
    opendocument("garden.ods", "spreadsheet", table + f'<table:table table:name="Days">{dated}</table:table>')
    page = (
        '<draw:page draw:name="one"><draw:frame><draw:text-box><text:p>A tap that drips</text:p></draw:text-box>'
        '</draw:frame><draw:frame presentation:class="title"><draw:text-box><text:p>The garden</text:p>'
        "</draw:text-box></draw:frame><presentation:notes><draw:frame><draw:text-box><text:p>Say this slowly.</text:p>"
        "</draw:text-box></draw:frame></presentation:notes></draw:page>"
    )
    opendocument("garden.odp", "presentation", page)


def epub() -> None:
    """Three chapters, one without a heading, one in the order twice."""
    page = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
    items = "".join(f'<item id="{n}" href="text/{n}.xhtml" media-type="application/xhtml+xml"/>' for n in "abc")
    zipped(
        "garden.epub",
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
                                      '<rootfile full-path="book/book.opf"/></rootfiles></container>',
            "book/book.opf": '<package xmlns="http://www.idpf.org/2007/opf"><metadata '
                             'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The garden</dc:title>'
                             "<dc:creator>Ana Gomes</dc:creator><dc:language>en-GB</dc:language><dc:date>2024-05-01"
                             f"</dc:date></metadata><manifest>{items}<item id='n' href='toc.ncx' "
                             "media-type='application/x-dtbncx+xml'/></manifest><spine><itemref idref='b'/>"
                             "<itemref idref='a'/><itemref idref='c'/><itemref idref='b'/></spine></package>",
            "book/toc.ncx": '<!DOCTYPE ncx PUBLIC "-//NISO//DTD ncx 2005-1//EN" "http://www.daisy.org/z3986/2005/ncx.dtd">'
                            '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>'
                            'Tools</text></navLabel><content src="text/a.xhtml#x"/></navPoint></navMap></ncx>',
            "book/text/a.xhtml": page.format("<p>A spanner and a washer.</p>"),
            "book/text/b.xhtml": page.format("<h1>The garden</h1><p>A tap that drips wastes water.</p>"),
            "book/text/c.xhtml": page.format("<h1>Care</h1><p>Close the main valve first.</p>"),
        },
    )  # fmt: skip


def notebook() -> None:
    """Markdown, code with outputs of every kind, and a long one."""
    cells = [
        {"cell_type": "markdown", "source": ["# The garden\n", "\n", "A tap that *drips*."]},
        {"cell_type": "code", "source": "litres = 24 * 1.5\nlitres", "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["dripping\n"]},
            {"output_type": "execute_result", "data": {"text/plain": ["36.0"], "image/png": "iVBORw0KGgo="}},
            {"output_type": "error", "ename": "ValueError", "evalue": "no tap", "traceback": ["\u001b[31m"]}]},
        {"cell_type": "code", "source": "print(\"noise\")", "outputs": [
            {"output_type": "stream", "text": "".join(f"line {n} of noise\n" for n in range(1000))}]},
        {"cell_type": "markdown", "source": "## Tools\n\nA spanner."},
    ]  # fmt: skip
    for cell in cells:
        cell |= {"metadata": {}, **({"execution_count": None} if cell["cell_type"] == "code" else {})}
    (HERE / "garden.ipynb").write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}))


def rc4(key: bytes, data: bytes) -> bytes:
    """The cipher of old PDF."""
    box = list(range(256))
    j = 0
    for i in range(256):
        j = (j + box[i] + key[i % len(key)]) % 256
        box[i], box[j] = box[j], box[i]
    i = j = 0
    out = bytearray()
    for byte in data:
        i = (i + 1) % 256
        j = (j + box[i]) % 256
        box[i], box[j] = box[j], box[i]
        out.append(byte ^ box[(box[i] + box[j]) % 256])
    return bytes(out)


def pdf(name: str, pages: list[list[str]], *, encrypted: bool = False) -> None:
    """Pages of lines in Helvetica, the second line of a page a bookmark; a page without lines holds a drawing."""
    objects: list[bytes] = []

    def put(content: str | bytes) -> int:
        objects.append(content.encode("latin-1") if isinstance(content, str) else content)
        return len(objects)

    put("<< /Type /Catalog /Pages 2 0 R /Outlines 3 0 R /Lang (en-GB) >>")
    first, marks = 5, [number for number, lines in enumerate(pages) if len(lines) > 1]
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(pages)))
    put(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    mark = first + 2 * len(pages)
    put(f"<< /First {mark} 0 R /Last {mark + len(marks) - 1} 0 R /Count {len(marks)} >>" if marks else "<< >>")
    put("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, lines in enumerate(pages):
        shown = " T* ".join(f"({line}) Tj" for line in lines)
        stream = f"BT /F1 12 Tf 14 TL 72 760 Td {shown} ET" if lines else "0 0 100 100 re f"
        put(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {first + 2 * number + 1} 0 R "
            "/Resources << /Font << /F1 4 0 R >> >> >>")  # fmt: skip
        put(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    for place, number in enumerate(marks):
        around = f"/Prev {mark + place - 1} 0 R " if place else ""
        around += f"/Next {mark + place + 1} 0 R " if place + 1 < len(marks) else ""
        put(f"<< /Title ({pages[number][1]}) /Parent 3 0 R {around}/Dest [{first + 2 * number} 0 R /Fit] >>")
    info = put("<< /Title (The garden) /Author (Ana Gomes) /CreationDate (D:20240501093000+02'00') >>")
    trailer = f"/Root 1 0 R /Info {info} 0 R /Size {len(objects) + 1 + encrypted}"
    if encrypted:
        pad = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
        owner = rc4(hashlib.md5(pad).digest()[:5], (b"secret" + pad)[:32])
        identity = bytes(16)
        key = hashlib.md5((b"secret" + pad)[:32] + owner + b"\xfc\xff\xff\xff" + identity).digest()[:5]
        lock = put(f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{owner.hex()}> /U <{rc4(key, pad).hex()}> >>")
        trailer += f" /Encrypt {lock} 0 R /ID [<{identity.hex()}> <{identity.hex()}>]"
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    out += f"trailer\n<< {trailer} >>\nstartxref\n{out.index(b'xref' + chr(10).encode())}\n%%EOF\n".encode()
    (HERE / name).write_bytes(out)


def pdfs() -> None:
    """Five pages with a running head and page numbers, one of them a picture; and one that needs a password."""
    line = "A tap that drips wastes {} litres of water, and whoever hears it at night will not sleep for"
    pages = [["The garden book", title, line.format(title), "long.", line.format(f"more {title}"),
              line.format(f"most {title}"), f"- {number} -"]
             for number, title in enumerate(("Taps", "Tools", "Care", "Water"), start=1)]  # fmt: skip
    pdf("garden.pdf", [*pages[:2], [], *pages[2:]])
    pdf("locked.pdf", [["Nobody reads this."]], encrypted=True)


if __name__ == "__main__":
    for make in (html, rst, word, slides, sheets, opendocuments, epub, notebook, pdfs):
        make()
