"""What the house is built like, measured on its syntax trees. `python tests/house.py` prints the budgets.

Every rule is a function from the modules to its offenders, one line each: file:line, name, figure.
This file reads the package's source and never imports it.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "sememe"

ORDER = (
    "__main__",
    "cli",
    "serve",
    "apps train",
    "evaluate doctor explain keeping watch spaces",
    "collection",
    "ingest search",
    "sources chunking models store index",
    "vectors space filters",
    "types settings",
    "errors failpoints memory",
)
"""The rooms, top line first: a line imports only from lines below it."""
LINE_OF = {room: line for line, rooms in enumerate(ORDER) for room in rooms.split()}

BROAD = frozenset({"Exception", "BaseException"})
MAY_CATCH_ALL = frozenset({"sememe/cli/__init__.py", "sememe/serve/app.py"})
"""The command line and the server's error handler answer for everything below them."""
ROOTLESS_BASES = frozenset({"object", "Protocol", "Generic", "NamedTuple", "TypedDict", "ABC"})
"""Bases that say what kind of class it is, and pass on no behaviour of ours."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A module of the package: its dotted name, its path in the project, its source."""

    name: str
    path: str
    source: str = field(repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.source, filename=self.path)

    @property
    def room(self) -> str:
        """The part of the house that the module belongs to; empty for the front door."""
        return room_of(self.name)

    @property
    def is_package(self) -> bool:
        """Whether the module is the `__init__` of a folder."""
        return self.path.endswith("/__init__.py")

    def at(self, node: ast.stmt | ast.expr | ast.excepthandler | ast.arg) -> str:
        """The place of a node as file:line."""
        return f"{self.path}:{node.lineno}"


@dataclass(frozen=True)
class Found:
    """A function with its place: the module, the enclosing names, and whether the outside may call it."""

    module: Module
    node: Function
    owner: str
    public: bool
    in_class: bool

    @property
    def name(self) -> str:
        """The name with those of its enclosing classes and functions."""
        return f"{self.owner}.{self.node.name}" if self.owner else self.node.name

    @property
    def length(self) -> int:
        """Lines from `def` to the last statement."""
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @property
    def is_bound(self) -> bool:
        """Whether the first parameter is filled in by Python."""
        decorators = {node.id for node in self.node.decorator_list if isinstance(node, ast.Name)}
        return self.in_class and "staticmethod" not in decorators

    @property
    def positional(self) -> list[ast.arg]:
        """The parameters that may be passed by place, without `self` and `cls`."""
        arguments = self.node.args
        return [*arguments.posonlyargs, *arguments.args][1 if self.is_bound else 0 :]

    @property
    def parameters(self) -> list[ast.arg]:
        """All parameters, without `self` and `cls`."""
        arguments = self.node.args
        starred = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
        return [*self.positional, *arguments.kwonlyargs, *starred]

    def __str__(self) -> str:
        return f"{self.module.at(self.node)} {self.name}"


def read_modules(root: Path = ROOT) -> list[Module]:
    """Every module of the package below a project's folder, sorted by path."""
    modules = []
    for path in sorted((root / PACKAGE).rglob("*.py")):
        relative = path.relative_to(root)
        parts = relative.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules.append(Module(name, relative.as_posix(), path.read_text(encoding="utf-8")))
    return modules


def room_of(name: str) -> str:
    """The room of a dotted module name; empty for the package itself."""
    return name.split(".")[1] if "." in name else ""


def definitions(module: Module) -> Iterator[tuple[Function | ast.ClassDef, str, bool, bool]]:
    """Every class and function of a module: node, names around it, whether it is public, whether in a class.

    What is inside a function is not public.
    """

    def walk(node: ast.AST, owner: str, public: bool, in_class: bool) -> Iterator[Any]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function | ast.ClassDef):
                is_class = isinstance(child, ast.ClassDef)
                shown = public and (not child.name.startswith("_") or child.name == "__init__")
                yield child, owner, shown, in_class
                yield from walk(child, f"{owner}.{child.name}".strip("."), shown and is_class, is_class)
            else:
                yield from walk(child, owner, public, in_class)

    yield from walk(module.tree, "", is_public(module), False)


def functions(modules: Iterable[Module]) -> list[Found]:
    """All functions of all modules, methods and inner functions included."""
    return [
        Found(module, node, owner, public, in_class)
        for module in modules
        for node, owner, public, in_class in definitions(module)
        if isinstance(node, Function)
    ]


def classes(modules: Iterable[Module]) -> list[tuple[Module, ast.ClassDef, bool]]:
    """All classes of all modules, and whether the outside may use them."""
    return [
        (module, node, public)
        for module in modules
        for node, _, public, _ in definitions(module)
        if isinstance(node, ast.ClassDef)
    ]


def is_public(module: Module) -> bool:
    """Whether no part of the module's name starts with an underscore."""
    return not any(part.startswith("_") for part in module.name.split("."))


def tail(node: ast.expr) -> str:
    """The last name of a dotted, subscripted or called expression: `Protocol` of `typing.Protocol[T]`."""
    while isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


# --- imports -----------------------------------------------------------------------------------------------


def targets(module: Module, node: ast.AST, names: frozenset[str]) -> Iterator[str]:
    """The modules of the package that one node imports; `names` are all modules there are."""
    wanted: list[str] = []
    if isinstance(node, ast.Import):
        wanted = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = absolute(module, node)
        inner = [f"{base}.{alias.name}" for alias in node.names]
        wanted = [name if name in names else base for name in inner]
    elif isinstance(node, ast.Call) and tail(node.func) in ("import_module", "__import__") and node.args:
        first = node.args[0]
        wanted = [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
    for name in wanted:
        if name.split(".")[0] == PACKAGE:
            yield name


def absolute(module: Module, node: ast.ImportFrom) -> str:
    """The dotted name that a `from` import starts at, relative ones resolved."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def imports(modules: Iterable[Module]) -> list[tuple[Module, str, str]]:
    """Every import within the package, inside functions and `TYPE_CHECKING` too: importer, target, place."""
    modules = list(modules)
    names = frozenset(module.name for module in modules)
    return [
        (module, target, f"{module.path}:{getattr(node, 'lineno', 0)}")
        for module in modules
        for node in ast.walk(module.tree)
        for target in targets(module, node, names)
    ]


def graph(modules: Iterable[Module]) -> dict[str, set[str]]:
    """Which module imports which."""
    modules = list(modules)
    edges: dict[str, set[str]] = {module.name: set() for module in modules}
    for module, target, _ in imports(modules):
        if target in edges and target != module.name:
            edges[module.name].add(target)
    return edges


def cycles(modules: Iterable[Module]) -> list[str]:
    """Groups of modules that reach each other through imports, one line a group."""
    edges = graph(modules)
    reach = {name: reachable(edges, name) for name in edges}
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in edges}
    return [" <-> ".join(group) for group in sorted(groups) if group]


def reachable(edges: Mapping[str, set[str]], start: str) -> set[str]:
    """The modules that `start` imports, directly or not; itself only through a cycle."""
    seen: set[str] = set()
    todo = list(edges[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(edges[name])
    return seen


def longest_chain(modules: Iterable[Module]) -> list[str]:
    """The longest row of modules in which each imports the next. A cycle is not followed round."""
    edges = graph(modules)
    best: dict[str, list[str]] = {}

    def chain(name: str, above: frozenset[str]) -> list[str]:
        if name not in best:
            below = [chain(other, above | {name}) for other in sorted(edges[name] - above - {name})]
            best[name] = [name, *max(below, key=len, default=[])]
        return best[name]

    return max((chain(name, frozenset()) for name in sorted(edges)), key=len, default=[])


def layering(modules: Iterable[Module]) -> list[str]:
    """Imports that do not lead to a line further down, and imports of the front door."""
    offenders = []
    for module, target, place in imports(modules):
        reason = forbidden(module.room, room_of(target))
        if reason:
            offenders.append(f"{place} {module.name} imports {target}: {reason}")
    return offenders


def forbidden(room: str, target: str) -> str:
    """Why one room may not import another; empty when it may."""
    if not target:
        return "nobody inside imports the front door"
    if not room or room == target:
        return ""
    if room not in LINE_OF or target not in LINE_OF:
        return f"the order does not know {room if room not in LINE_OF else target!r}"
    if LINE_OF[target] > LINE_OF[room]:
        return ""
    return "they stand on one line" if LINE_OF[target] == LINE_OF[room] else "the order goes the other way"


# --- sizes and shapes --------------------------------------------------------------------------------------


def module_lengths(modules: Iterable[Module]) -> dict[str, int]:
    """Lines a module."""
    return {module.path: len(module.source.splitlines()) for module in modules}


def class_depths(modules: Iterable[Module]) -> dict[str, int]:
    """How many classes deep each class inherits, 1 at least. Errors and Protocols do not count."""
    found = classes(modules)
    protocols = {node.name for _, node, _ in found if any(tail(base) == "Protocol" for base in node.bases)}
    inside = {node.name: node for m, node, _ in found if m.room != "errors"}
    errors = {node.name for m, node, _ in found if m.room == "errors"}

    def depth(node: ast.ClassDef, above: frozenset[str]) -> int:
        bases = {tail(base) for base in node.bases} - ROOTLESS_BASES - BROAD - protocols - errors - above
        depths = [depth(inside[base], above | {node.name}) if base in inside else 1 for base in bases]
        return 1 + max(depths, default=0)

    return {
        f"{m.at(node)} {node.name}": depth(node, frozenset({node.name})) for m, node, _ in found if m.room != "errors"
    }


def is_protocol_of_python(found: Found) -> bool:
    """Whether Python fixes the parameters: `__exit__`, `__getitem__`. `__init__` is ours."""
    name = found.node.name
    return name.startswith("__") and name.endswith("__") and name != "__init__"


def keyword_names(modules: Iterable[Module]) -> list[Found]:
    """Functions that take `**kwargs`."""
    return [found for found in functions(modules) if found.node.args.kwarg]


def unannotated(modules: Iterable[Module]) -> list[str]:
    """Parameters without an annotation."""
    return [
        f"{found}: {argument.arg}"
        for found in functions(modules)
        for argument in found.parameters
        if argument.annotation is None
    ]


def broad_excepts(modules: Iterable[Module]) -> list[str]:
    """Handlers that catch everything, `suppress(Exception)` included, outside of the places that may.

    A handler that ends in `raise` is not counted: it cleans up or translates, and the error goes on.
    """
    offenders = []
    for module in modules:
        if module.path in MAY_CATCH_ALL:
            continue
        for node in ast.walk(module.tree):
            swallows = isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ast.Raise)
            if isinstance(node, ast.ExceptHandler) and swallows and catches_all(node.type):
                offenders.append(f"{module.at(node)} except {ast.unparse(node.type) if node.type else ''}".rstrip())
            if isinstance(node, ast.Call) and tail(node.func) == "suppress" and any(map(catches_all, node.args)):
                offenders.append(f"{module.at(node)} {ast.unparse(node)}")
    return offenders


def catches_all(node: ast.expr | None) -> bool:
    """Whether the expression after `except` takes in every error."""
    if isinstance(node, ast.Tuple):
        return any(map(catches_all, node.elts))
    return node is None or tail(node) in BROAD


def undocumented(modules: Iterable[Module]) -> list[str]:
    """Public modules, classes and functions without a docstring."""
    modules = list(modules)
    bare = [module.path for module in modules if module.source.strip() and not ast.get_docstring(module.tree)]
    bare += [
        f"{module.at(node)} {node.name}"
        for module, node, public in classes(modules)
        if public and not ast.get_docstring(node)
    ]
    bare += [
        str(found)
        for found in functions(modules)
        if found.public and found.node.name != "__init__" and not ast.get_docstring(found.node)
    ]
    return bare


def public_methods(modules: Iterable[Module], name: str = "Collection") -> list[str]:
    """The public methods and properties of the facade."""
    return [
        node.name
        for module, definition, _ in classes(modules)
        if definition.name == name and module.room == "collection"
        for node in definition.body
        if isinstance(node, Function) and not node.name.startswith("_")
    ]


def front_door_names(modules: Iterable[Module]) -> list[str]:
    """The names that the front door lists in `__all__`."""
    door = next(module for module in modules if module.name == PACKAGE)
    for node in door.tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        named = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(value, ast.List | ast.Tuple) and any(
            isinstance(n, ast.Name) and n.id == "__all__" for n in named
        ):
            return [str(item.value) for item in value.elts if isinstance(item, ast.Constant)]
    return []


# --- the budgets -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Budget:
    """A measure, what it may be at most, what it is, and who exceeds it."""

    measure: str
    limit: float
    figure: float
    offenders: list[str]

    @property
    def kept(self) -> bool:
        """Whether the figure is within the limit."""
        return self.figure <= self.limit


def largest(measure: str, limit: int, figures: Mapping[str, int]) -> Budget:
    """A budget for the largest of many figures."""
    over = sorted((item for item in figures.items() if item[1] > limit), key=lambda item: -item[1])
    return Budget(measure, limit, max(figures.values(), default=0), [f"{name}: {n}" for name, n in over])


def none_of(measure: str, rule: Callable[[Iterable[Module]], list[str]], modules: list[Module]) -> Budget:
    """A budget of zero offenders."""
    offenders = rule(modules)
    return Budget(measure, 0, len(offenders), offenders)


def budgets(modules: list[Module]) -> list[Budget]:
    """The whole table."""
    found = functions(modules)
    # A command's parameters are the options that a person types, so they are many and always named.
    callable_ = [f for f in found if f.public and not is_protocol_of_python(f) and f.module.room != "cli"]
    lengths = sorted(f.length for f in found)
    starred = keyword_names(modules)
    chain = longest_chain(modules)
    methods, names = public_methods(modules), front_door_names(modules)
    return [
        largest("longest module", 600, module_lengths(modules)),
        largest("longest function", 80, {str(f): f.length for f in found}),
        Budget("median function", 15, statistics.median(lengths) if lengths else 0, []),
        # Eleven in the plan; the command line, the indexes and the models have become rooms of several files.
        # Evaluating stands on four files above the collection, eight bits on two below the graph.
        Budget("import chain", 17, len(chain) - 1, [" > ".join(chain)]),
        none_of("import cycles", cycles, modules),
        none_of("imports against the order", layering, modules),
        largest("class depth", 2, class_depths(modules)),
        # Nine for one: sync says what of a folder is looked at, how it is read, what is said of it, what may be lost.
        largest("parameters of a public function", 9, {str(f): len(f.parameters) for f in callable_}),
        # Three, not two: a subject and what is done with it, as in best(queries, vectors, ids).
        largest("of these positional", 3, {str(f): len(f.positional) for f in callable_}),
        Budget("functions with **kwargs (%)", 1, 100 * len(starred) / max(len(found), 1), list(map(str, starred))),
        none_of("broad excepts", broad_excepts, modules),
        Budget("names of the front door", 12, len(names), names),
        Budget("public methods of Collection", 15, len(methods), methods),
        none_of("arguments without a type", unannotated, modules),
        none_of("public names without a docstring", undocumented, modules),
    ]


def main() -> int:
    """Print the table, then who exceeds it; 1 when anybody does."""
    modules = read_modules()
    table = budgets(modules)
    lines = sum(module_lengths(modules).values())
    print(f"{len(modules)} modules, {lines} lines, {len(functions(modules))} functions")
    for row in table:
        print(f"{row.measure:36} {row.figure:6g} of {row.limit:<4g} {'' if row.kept else 'EXCEEDED'}".rstrip())
    over = [line for row in table if not row.kept for line in (f"\n{row.measure}:", *row.offenders)]
    print("\n".join(over))
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
