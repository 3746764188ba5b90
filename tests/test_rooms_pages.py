"""Every room has a page, and what the pages name is there."""

from __future__ import annotations

import re
from pathlib import Path

import house
import pytest

DOCS = house.ROOT / "docs"
PAGES = sorted((DOCS / "rooms").glob("*.md"))
ROOMS = [page for page in PAGES if (house.ROOT / "sememe" / page.stem).is_dir()]
MODULES = house.read_modules()
PATH = re.compile(r"`([\w./-]+\.py)`")
LINK = re.compile(r"\]\(([^)#\s]+)?(#[^)\s]+)?\)")


def anchors(text: str) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"\]\([^)]*\)", "", text), flags=re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_every_room_has_a_page_and_every_single_module_is_on_one() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for room in {module.room for module in MODULES} - {""}:
        if (house.ROOT / "sememe" / room).is_dir():
            assert (DOCS / "rooms" / f"{room}.md").exists(), f"docs/rooms/{room}.md: what it knows, how to extend it"
        else:
            assert f"sememe/{room}.py" in text, f"sememe/{room}.py is on no page of docs/rooms"


@pytest.mark.parametrize("page", ROOMS, ids=lambda page: page.stem)
def test_every_module_of_a_room_is_on_its_page(page: Path) -> None:
    room = house.ROOT / "sememe" / page.stem
    modules = {path.relative_to(room).as_posix() for path in room.rglob("*.py") if not path.stem.startswith("__")}
    named = re.findall(r"[\w./-]+\.py", page.read_text(encoding="utf-8"))
    missing = modules - {name.removeprefix(f"sememe/{page.stem}/") for name in named}
    assert not missing, f"docs/rooms/{page.name} says nothing of {sorted(missing)}"


def test_the_overview_leads_to_every_page() -> None:
    overview = (DOCS / "rooms.md").read_text(encoding="utf-8")
    assert {page.name for page in PAGES} == set(re.findall(r"\(rooms/(\w+\.md)(?:#\S*)?\)", overview))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    room = house.ROOT / "sememe" / page.stem
    names = PATH.findall(text)
    assert names
    missing = [name for name in names if not (house.ROOT / name).exists() and not (room / name).exists()]
    assert not missing


@pytest.mark.parametrize("page", [DOCS / "rooms.md", *PAGES], ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        found = page.parent / target if target else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target + anchor
