"""The lock file covers what pyproject.toml asks for, pins it by hash, and names no address; what is imported is asked for."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "envs/requirements.lock").read_text(encoding="utf-8")
EXTRAS = PROJECT["optional-dependencies"]
EXPERIMENTS = EXTRAS["experiments"]
WORKFLOW = [
    requirement for extra in ("experiments", "workflow") for requirement in EXTRAS[extra] if not requirement.startswith("sibp")
]
IMPORTED_AS = {
    "pyyaml": "yaml",
    "pillow": "PIL",
    "snakemake-interface-logger-plugins": "snakemake_interface_logger_plugins",
    "typing-extensions": "typing_extensions",
}


def names(requirements: list[str]) -> set[str]:
    """Return distributions' names as they are compared."""
    return {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", text)[0]).lower() for text in requirements}


def modules(requirements: list[str]) -> set[str]:
    return {IMPORTED_AS.get(name, name) for name in names(requirements)}


def imported(folder: str) -> set[str]:
    """Return the packages that a folder's modules import from outside the standard library."""
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    own = {
        "sibp",
        "workflow",
        "tools",
        "tests",
        "run",
        "snakemake_logger_plugin_sibp",
    }  # run: a bundle's program, beside the one that imports it
    return found - set(sys.stdlib_module_names) - own


def test_the_lock_holds_everything_that_is_asked_for():
    asked = names([*PROJECT["dependencies"], *EXPERIMENTS, *WORKFLOW, *EXTRAS["test"]])
    assert asked - names(re.findall(r"^[\w.-]+(?===)", LOCK, flags=re.MULTILINE)) == set()


def test_every_package_of_the_lock_is_pinned_by_version_and_hash():
    entries = [entry for entry in re.split(r"\n(?=\S)", LOCK.strip()) if not entry.startswith("#")]
    assert len(entries) > 50
    assert [entry.split()[0] for entry in entries if not re.match(r"[\w.-]+==\S+", entry) or "--hash=sha256:" not in entry] == []


def test_the_lock_names_no_address():
    assert not re.search(r"https?:|index-url|find-links|file:|@ ", LOCK)


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("sibp", EXPERIMENTS),
        ("workflow", WORKFLOW),
        ("tools", [*WORKFLOW, *EXTRAS["docs"], "griffe", "pytest"]),  # with mkdocstrings; with the extra of the tests that it runs
        ("tests", [*WORKFLOW, *EXTRAS["test"]]),
    ],
)
def test_what_is_imported_is_asked_for(folder, extras):
    # data sets' own servers and bridges to its classes, and the pictures of `sibp show`: asked for by the workflow;
    # torch brings Triton, pydantic its core
    optional = {"torchvision", "matplotlib", "triton", "pydantic_core"}
    assert imported(folder) - modules([*PROJECT["dependencies"], *extras]) - optional == set()
