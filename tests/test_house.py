"""The house keeps to its plan: the order of imports, the budgets, a light front door, names with docstrings.

The measures are in `house.py`; here they are held against the package, and against small houses built wrongly
on purpose, so that a rule that sees nothing is noticed.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

import house
import pytest

HEAVY = {
    *("openvino", "onnxruntime", "torch", "transformers", "tokenizers", "huggingface_hub"),
    *("faiss", "tantivy", "charset_normalizer", "fastapi", "typer", "rich"),
}
MODULES = house.read_modules()
BUDGETS = {budget.measure: budget for budget in house.budgets(MODULES)}


def report(offenders: Iterable[str]) -> str:
    """Offenders as the message of a failure."""
    return "\n" + "\n".join(offenders)


def hold(measure: str) -> None:
    """Fail with the offenders when the package exceeds a budget."""
    budget = BUDGETS[measure]
    message = f"{budget.measure}: {budget.figure:g}, at most {budget.limit:g}{report(budget.offenders)}"
    assert budget.kept, message


# --- the order of the rooms --------------------------------------------------------------------------------


def test_a_module_imports_only_from_lines_below_its_own_and_never_the_front_door() -> None:
    hold("imports against the order")


def test_no_modules_import_each_other_in_a_circle() -> None:
    hold("import cycles")


def test_no_chain_of_imports_is_longer_than_seventeen() -> None:
    hold("import chain")


def test_every_room_has_its_place_in_the_order() -> None:
    unknown = {module.room for module in MODULES} - {""} - set(house.LINE_OF)
    assert not unknown, f"add to the order in house.py and in the design: {sorted(unknown)}"


# --- the budgets -------------------------------------------------------------------------------------------


def test_no_module_is_longer_than_600_lines() -> None:
    hold("longest module")


def test_no_function_is_longer_than_80_lines() -> None:
    hold("longest function")


def test_half_of_the_functions_have_15_lines_or_fewer() -> None:
    hold("median function")


def test_no_class_inherits_more_than_one_class_deep() -> None:
    hold("class depth")


def test_no_public_function_has_more_than_eight_parameters() -> None:
    hold("parameters of a public function")


def test_parameters_after_the_first_three_are_passed_by_name() -> None:
    hold("of these positional")


def test_at_most_one_function_in_a_hundred_takes_kwargs() -> None:
    hold("functions with **kwargs (%)")


def test_only_the_command_line_and_the_server_catch_everything() -> None:
    hold("broad excepts")


def test_the_front_door_has_at_most_twelve_names() -> None:
    hold("names of the front door")


def test_a_collection_has_at_most_fifteen_public_methods() -> None:
    assert house.public_methods(MODULES), "sememe/collection.py defines no class Collection with public methods"
    hold("public methods of Collection")


def test_every_argument_has_a_type() -> None:
    hold("arguments without a type")


def test_every_public_module_class_and_function_has_a_docstring() -> None:
    hold("public names without a docstring")


# --- the front door ----------------------------------------------------------------------------------------


def test_importing_sememe_loads_no_heavy_library() -> None:
    code = "import sys; from sememe import *; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    environment = {**os.environ, "PYTHONPATH": str(house.ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "sememe" in loaded
    assert not loaded & HEAVY, f"import sememe loads {sorted(loaded & HEAVY)}"


def test_the_front_door_lists_its_names_sorted_and_none_is_missing() -> None:
    import sememe

    defined = {
        name
        for name, value in vars(sememe).items()
        if not name.startswith("_") and name != "annotations" and not isinstance(value, types.ModuleType)
    }
    assert sememe.__all__, "the front door lists no names"
    assert list(sememe.__all__) == sorted(set(sememe.__all__))
    assert not defined - set(sememe.__all__), f"not in __all__: {sorted(defined - set(sememe.__all__))}"
    assert sorted(sememe.__all__) == sorted(house.front_door_names(MODULES)), "__all__ is not written out"


def test_every_name_of_the_front_door_resolves_and_explains_itself() -> None:
    import sememe

    for name in sememe.__all__:
        value = getattr(sememe, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
            assert text, f"sememe.{name} has no docstring"
            assert not text.startswith(f"{name}("), f"sememe.{name} has only the docstring that dataclass wrote"


# --- the command line and the readme -----------------------------------------------------------------------


def command_names(app: object, prefix: str = "sememe") -> Iterator[str]:
    """The commands of a typer application as they are typed, those of groups included."""
    import typer

    assert isinstance(app, typer.Typer)
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__.replace("_", "-") if command.callback else "")
        if not command.hidden:
            yield f"{prefix} {name}"
    for group in app.registered_groups:
        assert isinstance(group.name, str), "a group of commands needs a name"
        yield from command_names(group.typer_instance, f"{prefix} {group.name}")


def test_the_readme_names_every_command() -> None:
    from sememe.cli import application

    commands = list(command_names(application()))
    readme = (house.ROOT / "README.md").read_text(encoding="utf-8")
    assert commands, "the command line has no commands"
    missing = [name for name in commands if not re.search(rf"\b{re.escape(name)}\b", readme)]
    assert not missing, f"README.md does not name: {', '.join(missing)}"


# --- what no file says -------------------------------------------------------------------------------------


def forbidden_text() -> re.Pattern[str]:
    """Hosts of package registries and paths of a developer's machine, in pieces to be found nowhere here."""
    dot, slash = re.escape("."), re.escape("/")
    hosts = [f"py{'pi'}{dot}org", f"python{'hosted'}{dot}org", f"npm{'js'}{dot}(?:org|com)"]
    people = [rf"{slash}ho{'me'}{slash}\w", rf"{slash}Us{'ers'}{slash}\w", rf"[A-Za-z]:\\+Us{'ers'}\\+\w"]
    here = [re.escape(str(path)) + r"(?![\w.-])" for path in (house.ROOT, Path.home()) if len(path.parts) > 1]
    return re.compile("|".join([*hosts, *(rf"(?<![\w./~-]){path}" for path in (*people, *here))]))


def project_files() -> list[Path]:
    """The files that are, or would be, committed."""
    command = ["git", "-C", str(house.ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git does not know this folder")
    return [house.ROOT / name for name in done.stdout.decode().split("\0") if name]


def lines_with(pattern: re.Pattern[str], path: Path) -> Iterator[str]:
    """The places in a text file where a pattern is found; none in a binary file or in one that went away."""
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
        return
    for number, line in enumerate(text.splitlines(), start=1):
        found = pattern.search(line)
        if found:
            yield f"{path.name}:{number} {found.group()}"


def test_no_file_names_a_package_registry_or_a_path_of_somebodys_machine() -> None:
    pattern = forbidden_text()
    offenders = [line for path in project_files() for line in lines_with(pattern, path)]
    assert not offenders, report(offenders)


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        (["https://py", "pi.org/simple"], True),
        (["https://files.python", "hosted.org/x.whl"], True),
        (["registry.npm", "js.org"], True),
        (["see /ho", "me/ana/notes.txt"], True),
        (["file:///Us", "ers/ana/notes.txt"], False),
        (["open /Us", "ers/ana/notes.txt"], True),
        ([str(house.ROOT), "/x.py"], True),
        (["cd ", str(house.ROOT)], True),
        (["https://example.org/ho", "me/page"], False),
        (["a folder at home, a place to start"], False),
    ],
)
def test_the_forbidden_text_is_recognised(pieces: list[str], found: bool) -> None:
    assert bool(forbidden_text().search("".join(pieces))) is found


# --- the measures see what they are for --------------------------------------------------------------------


def build(root: Path, files: dict[str, str]) -> list[house.Module]:
    """A house of the given files, read back."""
    for name, text in {"__init__.py": "", **files}.items():
        path = root / "sememe" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return house.read_modules(root)


@pytest.mark.parametrize(
    ("files", "wrong"),
    [
        ({"vectors.py": "import sememe.collection", "collection.py": ""}, True),
        ({"vectors.py": "from sememe import collection", "collection.py": ""}, True),
        ({"vectors.py": "from sememe.space import x", "space.py": ""}, True),
        ({"store/a.py": "def f():\n    from sememe.index import x", "index/__init__.py": ""}, True),
        ({"types.py": "if TYPE_CHECKING:\n    from sememe.space import Space", "space.py": ""}, True),
        ({"models/a.py": "from sememe import open"}, True),
        ({"models/a.py": "import sememe"}, True),
        (
            {
                "models/a.py": "import importlib\nimportlib.import_module('sememe.store')",
                "store/__init__.py": "",
            },
            True,
        ),
        ({"models/a.py": "from ..store import x", "store/__init__.py": ""}, True),
        ({"attic.py": "from sememe.errors import X", "errors.py": ""}, True),
        ({"models/a.py": "from sememe.models import b", "models/b.py": ""}, False),
        (
            {"search/a.py": "from sememe import store, vectors", "store/__init__.py": "", "vectors.py": ""},
            False,
        ),
        ({"__init__.py": "from sememe.collection import open", "collection.py": ""}, False),
        ({"cli.py": "import sememer, numpy"}, False),
    ],
)
def test_an_import_against_the_order_is_seen(tmp_path: Path, files: dict[str, str], wrong: bool) -> None:
    assert bool(house.layering(build(tmp_path, files))) is wrong


def test_a_circle_is_seen_through_functions_and_reported_once(tmp_path: Path) -> None:
    files = {
        "store/a.py": "from sememe.store import b",
        "store/b.py": "from sememe.store.c import x",
        "store/c.py": "def f():\n    import sememe.store.a",
        "store/d.py": "import sememe.store.a",
    }
    assert house.cycles(build(tmp_path, files)) == ["sememe.store.a <-> sememe.store.b <-> sememe.store.c"]


def test_the_longest_chain_is_found(tmp_path: Path) -> None:
    files = {f"store/a{n}.py": f"from sememe.store import a{n + 1}, a4" for n in range(4)} | {"store/a4.py": ""}
    chain = house.longest_chain(build(tmp_path, files))
    assert chain == [f"sememe.store.a{n}" for n in range(5)]


@pytest.mark.parametrize(
    ("measure", "source", "figure"),
    [
        ("longest module", "x = 1\n" * 601, 601),
        ("longest function", "def f():\n" + "    x = 1\n" * 80, 81),
        ("median function", "def f():\n" + "    x = 1\n" * 15, 16),
        ("class depth", "class A: ...\nclass B(A): ...\nclass C(B): ...", 3),
        ("class depth", "class A(Thread): ...\nclass B(A): ...", 3),
        ("parameters of a public function", "def f(a, b, *, c, d, e, f, g, h, i, j): ...", 10),
        (
            "parameters of a public function",
            "class A:\n    def f(self, a, b, *c, d, e, f, g, h, i, **j): ...",
            10,
        ),
        ("of these positional", "def f(a, b, c, d): ...", 4),
        ("of these positional", "class A:\n    def __init__(self, a, b, c, d): ...", 4),
        ("of these positional", "class A:\n    @staticmethod\n    def f(a, b, c, d): ...", 4),
        ("functions with **kwargs (%)", "def f(**kwargs: int): ...", 100),
        ("broad excepts", "try:\n    x\nexcept Exception:\n    pass", 1),
        ("broad excepts", "try:\n    x\nexcept (KeyError, builtins.BaseException):\n    pass", 1),
        ("broad excepts", "try:\n    x\nexcept:\n    pass", 1),
        ("broad excepts", "with contextlib.suppress(Exception):\n    x", 1),
        ("names of the front door", "", 0),
        ("arguments without a type", "def f(a, *b, c=1, **d):\n    def g(e: int, f): ...", 5),
        ("public names without a docstring", "'''M.'''\nclass A:\n    def f(self): ...", 2),
        ("public names without a docstring", "x = 1", 1),
    ],
)
def test_a_measure_counts_what_it_should(tmp_path: Path, measure: str, source: str, figure: float) -> None:
    budgets = {budget.measure: budget for budget in house.budgets(build(tmp_path, {"store/a.py": source}))}
    assert budgets[measure].figure == figure
    assert budgets[measure].kept is (figure == 0)


@pytest.mark.parametrize(
    ("measure", "source"),
    [
        ("class depth", "class P(Protocol): ...\nclass A(P): ...\nclass B(A): ..."),
        ("parameters of a public function", "def _f(a, b, c, d, e, f, g, h, i): ..."),
        (
            "of these positional",
            "class A:\n    def f(self, a, b, *, c): ...\n    def __exit__(self, a, b, c): ...",
        ),
        ("of these positional", "def f():\n    def g(a, b, c): ..."),
        ("broad excepts", "try:\n    x\nexcept BaseException:\n    undo()\n    raise"),
        ("broad excepts", "try:\n    x\nexcept OSError:\n    pass"),
        (
            "arguments without a type",
            "class A:\n    def f(self, a: int): ...\n    @classmethod\n    def g(cls): ...",
        ),
        ("public names without a docstring", "'''M.'''\nclass _A:\n    def f(self): ..."),
    ],
)
def test_a_measure_leaves_alone_what_is_allowed(tmp_path: Path, measure: str, source: str) -> None:
    budgets = {budget.measure: budget for budget in house.budgets(build(tmp_path, {"store/a.py": source}))}
    assert budgets[measure].kept, report(budgets[measure].offenders)


def test_the_command_line_may_catch_everything(tmp_path: Path) -> None:
    source = "try:\n    x\nexcept Exception:\n    pass"
    offenders = house.broad_excepts(build(tmp_path, {"cli/__init__.py": source, "collection.py": source}))
    assert [line.split()[0] for line in offenders] == ["sememe/collection.py:3"]


def test_the_names_of_the_door_and_the_methods_of_the_facade_are_counted(tmp_path: Path) -> None:
    facade = "class Collection:\n  def add(self): ...\n  @property\n  def name(self): ...\n  def _x(self): ..."
    modules = build(tmp_path, {"__init__.py": "__all__ = ['a', 'b']", "collection.py": facade})
    assert house.front_door_names(modules) == ["a", "b"]
    assert house.public_methods(modules) == ["add", "name"]


def test_the_table_is_printed_with_every_budget(capsys: pytest.CaptureFixture[str]) -> None:
    code = house.main()
    printed = capsys.readouterr().out
    assert all(measure in printed for measure in BUDGETS)
    assert (code == 1) is any(not budget.kept for budget in BUDGETS.values())
