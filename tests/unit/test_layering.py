"""A package of sibp imports only from those above it in docs/architecture.md, and no files import each other in a circle."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sibp"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PLACES = {name: int(number) for number, name in re.findall(r"^(\d+)\. `([a-z_]+)`:", PAGE, re.MULTILINE)}
FREE = {"__init__", "__main__"}  # the package's front door


def modules():
    """Return dotted name -> file for all modules of the package."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(source, known):
    """Return the modules among `known` that a source imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in known else node.module for alias in node.names
            }
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & known


def place(name):
    """Return the package or top-level module that a module belongs to."""
    return name.split(".")[1] if "." in name else "__init__"


def upward(sources):
    """Return the imports that go down the list; `sources` is dotted name -> text."""
    known = set(sources)
    pairs = [(name, other) for name, source in sources.items() for other in imports(source, known) if place(name) not in FREE]
    return [
        f"{name} imports {other}" for name, other in pairs if place(other) in FREE or PLACES[place(other)] > PLACES[place(name)]
    ]


def circle(sources):
    """Return a circle of modules, or None; what only type checkers import counts, too."""
    known = set(sources)
    graph = {name: imports(source, known) - {name} for name, source in sources.items() if place(name) not in FREE}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


SOURCES = {name: path.read_text(encoding="utf-8") for name, path in modules().items()}


def test_every_package_has_a_place():
    assert {place(name) for name in SOURCES} - FREE == set(PLACES)


def test_imports_go_up_only():
    assert upward(SOURCES) == []


def test_no_circle_of_files():
    assert circle(SOURCES) is None


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("sibp.nets.layers", "from sibp.solvers import subproblem", "sibp.nets.layers imports sibp.solvers.subproblem"),
        ("sibp.core.seeding", "def f():\n    import sibp.cli", "sibp.core.seeding imports sibp.cli"),
        ("sibp.nets.layers", "import sibp", "sibp.nets.layers imports sibp"),
    ],
)
def test_a_wrong_import_is_seen(module, line, fault):
    assert upward(SOURCES | {module: f"{SOURCES[module]}\n{line}\n"}) == [fault]


def test_a_circle_inside_a_package_is_seen():
    changed = {"sibp.nets.activations": f"{SOURCES['sibp.nets.activations']}\nfrom sibp.nets.network import Layer\n"}
    assert {"sibp.nets.activations", "sibp.nets.network"} <= set(circle(SOURCES | changed))
