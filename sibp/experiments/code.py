"""What code a job runs. Of training it is one hash: an edit that can change its numbers changes the hash, others do not.

The modules are the import closure of the trainer and of one method's module, read with `ast`: nothing is imported. Comments,
docstrings and layout do not count; C++ sources in a package's `csrc` count as they are.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

__all__ = ["fingerprint", "imported", "modules", "sources"]

ENTRY = "sibp.training.runs"
METHODS = "sibp.methods"
# Packages whose own file only lists what is in them: neither hashed nor followed.
LISTS = {"sibp", METHODS, f"{METHODS}.registry", f"{METHODS}.sequential"}
# These name, check, draw, report or fetch (its hash decides what is fetched): they can refuse a run, not change its numbers or record.
INERT = {
    "sibp.core.atomic",
    "sibp.core.errors",
    "sibp.core.messages",
    "sibp.experiments.checks",
    "sibp.experiments.code",
    "sibp.experiments.drawing",
    "sibp.experiments.faults",
    "sibp.results.progress",
    "sibp.data",
} | {f"sibp.data.{name}" for name in ("archives", "cache", "dataset", "export", "formats", "packages", "registry", "sources")}


PACKAGE = Path(__file__).parents[1]


@cache
def fingerprint(method: str, package: Path = PACKAGE, entry: str = ENTRY) -> str:
    """Return one hash of all that training with a method runs.

    Args:
        method: its name.
        package: the package's folder.
        entry: the module in which the training begins.

    Returns:
        The SHA-256 of those modules, in hex.
    """
    sha = hashlib.sha256()
    for name in modules(method, package, entry):
        file = _file(name, package)
        assert file is not None  # `modules` has read it
        sha.update(f"{name}\n{normal_form(_source(file))}\n".encode())
        for other in sorted(file.parent.glob("csrc/[!.]*.[ch]*")):  # C++ that a module of the package builds: every byte counts
            sha.update(other.read_bytes())
    return sha.hexdigest()


def modules(method: str, package: Path = PACKAGE, entry: str = ENTRY) -> list[str]:
    """Return the modules that training with a method runs; other methods' modules are in only if the method's own imports them.

    A method without a module of its own name might live in any of them, so it gets them all.

    Args:
        method: its name.
        package: the package's folder.
        entry: the module in which the training begins.

    Returns:
        Dotted names, sorted.
    """
    every = {f"{METHODS}.{file.stem}" for file in (package / "methods").glob("[!_.]*.py")} - {
        f"{METHODS}.base",
        f"{METHODS}.registry",
    }
    own = every & {f"{METHODS}.{method}"} or every
    return sorted((_closure(own, package, LISTS) | _closure({entry}, package, LISTS | every)) - INERT)


def sources(scripts: Iterable[Path], root: Path, packages: tuple[str, ...]) -> list[Path]:
    """Return the files that scripts run: their own, and those of the modules in some packages that they import, one through another.

    Args:
        scripts: files below `root`.
        root: the folder that `packages` are imported from.
        packages: dotted names of packages or modules; what they import from elsewhere is not followed.

    Returns:
        Files, sorted.
    """
    seen, waiting = set(), list(scripts)
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += imported(file, root, packages).values()
    return sorted(seen)


def imported(script: Path, root: Path, packages: tuple[str, ...]) -> dict[str, Path]:
    """Return the modules of some packages that a script itself imports, with their files.

    Args:
        script: a file below `root`.
        root: as in `sources`, like `packages`.
        packages: dotted names.

    Returns:
        Files by dotted name.
    """
    names = _imports(_source(script), script.relative_to(root).parts[:-1])
    within = [name for name in sorted(names) if any(f"{name}.".startswith(f"{package}.") for package in packages)]
    return {name: file for name in within if (file := _python_file(root.joinpath(*name.split("."))))}


@cache
def normal_form(source: str) -> str:
    """Return a module's syntax tree as text, without docstrings.

    Args:
        source: of the module.

    Returns:
        Equal texts for sources that differ in comments, docstrings and layout only.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _closure(start: set[str], package: Path, shut: set[str]) -> set[str]:
    seen, waiting = set(), set(start)
    while waiting:
        name = waiting.pop()
        file = _file(name, package)
        if file is None or name in seen | shut:
            continue
        seen.add(name)
        waiting |= _imports(_source(file), tuple(name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]))
    return seen


@cache
def _imports(source: str, parts: tuple[str, ...]) -> frozenset[str]:
    """Return the names that a module of the package `parts` imports; a name may be a module or something in one."""
    return frozenset(_imported(source, parts))


def _imported(source: str, parts: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _source(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _file(name: str, package: Path) -> Path | None:
    if not f"{name}.".startswith("sibp."):
        return None
    return _python_file(package.joinpath(*name.split(".")[1:]))


def _python_file(path: Path) -> Path | None:
    """Return the file of the module or package at a path without its ending."""
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
