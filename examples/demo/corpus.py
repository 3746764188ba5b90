"""Write the documentation of the running interpreter's standard library as a folder of Markdown files.

One file a module (`heapq.md`), one a topic of the language reference (`topic-with.md`). Modules with source
are read as syntax trees and never imported; the few that are compiled into the interpreter are imported and
inspected. The same interpreter always writes the same bytes. This file knows nothing of searching.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.machinery
import inspect
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

DEFAULT_FOLDER = Path(".demo/stdlib")
SKIPPED = frozenset({"antigravity", "idlelib", "lib2to3", "this", "tkinter", "turtledemo", "turtle"})
LEAST_CHARACTERS = 400
"""A file with less documentation than this says nothing that a search could find."""
LEAST_SECTION = 30
"""A section with less repeats its name: `close`, "Close the file."."""
MOST_CHARACTERS = 13_000
"""Longer files are left out, so that no module fills the corpus; but all programs use `builtins`."""
MOST_TOPIC_CHARACTERS = 7_000
"""Longer topics repeat what the shorter ones and the modules say, and would be half of the corpus."""

Section = tuple[int, str, str]
"""A heading's level, its title, and the cleaned documentation under it."""
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def module_names() -> list[str]:
    """The public top-level modules of this interpreter's standard library, sorted."""
    names = sorted(sys.stdlib_module_names - SKIPPED)
    return [name for name in names if not name.startswith("_")]


def source_files(name: str) -> list[Path]:
    """The files that a module's source may be in: its own, and a pure Python twin such as `_pydatetime`."""
    folder = Path(sysconfig.get_path("stdlib"))
    candidates = (f"{name}.py", f"{name}/__init__.py", f"_py{name}.py", f"_py_{name}.py")
    return [folder / path for path in candidates if (folder / path).is_file()]


def definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    """The classes and functions of a body, those inside `if` and `try` included, in order of appearance."""
    for statement in body:
        if isinstance(statement, Definition):
            yield statement
        elif isinstance(statement, ast.If | ast.Try):
            yield from definitions(statement.body)
            yield from definitions(statement.orelse)


def sections_of_body(body: list[ast.stmt], level: int) -> Iterator[Section]:
    """A section for every public, documented definition, and those of classes below their class."""
    seen: set[str] = set()
    for node in definitions(body):
        text = ast.get_docstring(node) or ""
        inner = list(sections_of_body(node.body, level + 1)) if isinstance(node, ast.ClassDef) else []
        if node.name.startswith("_") or node.name in seen or not (text or inner):
            continue
        seen.add(node.name)
        yield level, node.name, text
        yield from inner


def sections_of_source(path: Path) -> list[Section]:
    """The sections of a module with source, its own documentation first."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    return [(0, "", ast.get_docstring(tree) or ""), *sections_of_body(tree.body, 2)]


def is_compiled(name: str) -> bool:
    """Whether a module of the standard library is built in or an extension, and so has no source to read."""
    if name in sys.builtin_module_names:
        return True
    spec = importlib.machinery.PathFinder.find_spec(name)
    return spec is not None and isinstance(spec.loader, importlib.machinery.ExtensionFileLoader)


def sections_of_module(module: ModuleType) -> list[Section]:
    """The sections of an imported module."""
    sections: list[Section] = [(0, "", inspect.getdoc(module) or "")]
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or not (inspect.isroutine(value) or inspect.isclass(value)):
            continue
        sections.append((2, name, inspect.getdoc(value) or ""))
        if inspect.isclass(value) and not issubclass(value, BaseException):
            methods = sorted(item for item in vars(value).items() if not item[0].startswith("_"))
            sections.extend((3, method, inspect.getdoc(function) or "") for method, function in methods)
    return sections


def worth_keeping(sections: list[Section]) -> list[Section]:
    """The sections that say something for the first time, and the headings above them."""
    seen: set[str] = set()
    said: list[Section] = []
    for level, title, text in sections:
        said.append((level, title, "" if text in seen or len(text) < LEAST_SECTION else text))
        seen.add(text)
    kept: list[Section] = []
    for section in reversed(said):
        if section[2] or (kept and kept[-1][0] > section[0]):
            kept.append(section)
    return kept[::-1]


def module_sections(name: str) -> list[Section]:
    """The sections of a module by name; empty where this interpreter was built without it."""
    with warnings.catch_warnings(), contextlib.suppress(ImportError):
        warnings.simplefilter("ignore")  # old modules say on import that they will be removed one day
        paths = source_files(name)
        if paths:
            return max(map(sections_of_source, paths), key=documented)
        if is_compiled(name):
            return sections_of_module(importlib.import_module(name))
    return []


def documented(sections: list[Section]) -> int:
    """How many characters of documentation there are."""
    return sum(len(text) for _, _, text in sections)


def plain(text: str) -> str:
    """Cleaned documentation in which Markdown sees no headings and no fences."""
    text = re.sub(r"(?m)^ {0,3}(={2,}|-{2,})[ ]*$\n?", "", inspect.cleandoc(text))
    return re.sub(r"(?m)^( {0,3})(?=#|```|~~~)", r"\1\\", text).rstrip()


def markdown(title: str, sections: list[Section]) -> str:
    """One file: the title, then every section under its heading."""
    parts = [f"# {title}"]
    for level, heading, text in sections:
        if heading:
            parts.append(f"{'#' * level} {heading}")
        if text:
            parts.append(plain(text))
    return "\n\n".join(parts) + "\n"


def topic_sections(text: str) -> tuple[str, list[Section]]:
    """The title of a topic, and its parts: a line underlined with `*`, `=` or `-` is a heading."""
    pieces = re.split(r"(?m)^(\S.*)\n([*=\-])\2{2,}[ ]*$", text.strip())
    sections: list[Section] = [(0, "", pieces[0])]
    levels = {"*": 2, "=": 2, "-": 3}
    for heading, mark, body in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        sections.append((levels[mark], heading.strip(), body))
    if len(sections) > 1 and not sections[0][2].strip():
        title = sections[1][1]
        return title, [(0, "", sections[1][2]), *sections[2:]]
    return "", sections


def topics() -> Iterator[tuple[str, str]]:
    """Name and Markdown of every topic of the language reference that is worth a file of its own."""
    contents: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for name, text in sorted(contents.items()):
        if LEAST_CHARACTERS <= len(text) <= MOST_TOPIC_CHARACTERS:
            title, sections = topic_sections(text)
            yield f"topic-{name}.md", markdown(title or name, sections)


def modules() -> Iterator[tuple[str, str]]:
    """Name and Markdown of every module that documents itself."""
    for name in module_names():
        text = markdown(name, worth_keeping(module_sections(name)))
        if len(text) >= LEAST_CHARACTERS and (len(text) <= MOST_CHARACTERS or name == "builtins"):
            yield f"{name}.md", text


def write(folder: Path) -> list[Path]:
    """Write all files into `folder`, replace what an earlier run left there, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    paths = []
    for name, text in [*modules(), *topics()]:
        path = folder / name
        path.write_text(text, encoding="utf-8", newline="\n")
        paths.append(path)
    return paths


def main() -> None:
    """Write the corpus into the folder named on the command line."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    print(f"{len(write(folder))} files in {folder}")


if __name__ == "__main__":
    main()
