"""A module of sibp imports only from those above it in docs/architecture.md, and every module has its place there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def layers():
    """Return module name -> number of its layer; `methods/*` and the like stand for all modules of a folder."""
    found = {}
    for number, line in re.findall(r"^(\d+)\. (`.+)$", PAGE, re.MULTILINE):
        for name in re.findall(r"`([a-z_/*]+)`", line):
            found[name.removesuffix("/*")] = int(number)
    return found


def modules():
    for path in sorted((ROOT / "sibp").rglob("*.py")):
        parts = path.relative_to(ROOT / "sibp").with_suffix("").parts
        if parts not in {("__init__",), ("__main__",)}:
            yield parts[0], path


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sibp":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("sibp."))


def test_every_module_has_a_place():
    assert {name for name, _ in modules()} == set(layers())


def test_imports_go_up_only():
    place = layers()
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for name, path in modules()
        for other in imported(path)
        if other in place and place[other] > place[name]
    ]
    assert not wrong
