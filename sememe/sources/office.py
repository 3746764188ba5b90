"""What Word, PowerPoint and Excel files have in common: relationships, properties, times (ECMA-376, parts 1 and 2).

Read straight from their XML: python-docx, python-pptx and openpyxl hold a document as a tree of objects, and know no
bound.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sememe.errors import ReadError
from sememe.sources.xml import Event, events
from sememe.sources.zipped import Archive

_PROPERTIES = {"title": "title", "creator": "author", "language": "language", "created": "created",
               "modified": "modified"}  # fmt: skip
_MOST_RELATIONS = 200_000
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?)?")


@dataclass(frozen=True, slots=True)
class Relation:
    """What a part refers to: the kind (the last word of its type), and a member or an address outside."""

    kind: str
    target: str
    is_outside: bool


def part(archive: Archive, name: str, what: str) -> Iterator[Event]:
    """The XML events of a member."""
    with archive.open(name) as member:
        yield from events(member, f"{name} of {what}")


def relations(archive: Archive, name: str, what: str) -> dict[str, Relation]:
    """What the part `name` refers to, by id; "" is the package itself."""
    folder, base = posixpath.split(name)
    listed = posixpath.join(folder, "_rels", f"{base}.rels")
    found: dict[str, Relation] = {}
    if listed not in archive:
        return found
    for kind, tag, attributes in part(archive, listed, what):
        if kind == "<" and tag == "Relationship":
            target, outside = attributes.get("Target", ""), attributes.get("TargetMode") == "External"
            if not outside:
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            found[attributes.get("Id", "")] = Relation(
                attributes.get("Type", "").rpartition("/")[2].lower(), target, outside
            )
            if len(found) > _MOST_RELATIONS:
                raise ReadError(f"{what} has a part with more than {_MOST_RELATIONS} relations; is it damaged?")
    return found


def main_part(archive: Archive, what: str) -> str:
    """The member that holds the document itself."""
    found = relations(archive, "", what).values()
    target = next((relation.target for relation in found if relation.kind == "officedocument"), "")
    if not target:
        raise ReadError(f"{what} is a ZIP archive, but no document of this kind: it names no main part")
    return target


def properties(archive: Archive, what: str) -> dict[str, Any]:
    """Title, author, language and times, as far as the file tells them."""
    found = relations(archive, "", what).values()
    target = next((relation.target for relation in found if relation.kind == "core-properties"), "")
    if target not in archive:
        return {}
    named: dict[str, str] = {}
    key = ""
    for kind, tag, _ in part(archive, target, what):
        if kind == "<":
            key = _PROPERTIES.get(tag, "")
        elif kind == ">":
            key = ""
        elif key:
            named[key] = named.get(key, "") + tag
    return cleaned(named)


def cleaned(named: Mapping[str, str]) -> dict[str, Any]:
    """Properties without white space, times as ISO 8601, without empty ones and languages that are none."""
    found = {key: " ".join(value.split())[:500] for key, value in named.items()}
    if not _LANGUAGE.fullmatch(found.get("language", "")):
        found["language"] = ""
    for key in ("created", "modified"):
        match = _TIME.match(found.get(key, ""))
        found[key] = f"{match[1]}{f'T{match[2]}{match[3] or str()}' if match[2] else ''}" if match else ""
    return {key: value for key, value in found.items() if value}
