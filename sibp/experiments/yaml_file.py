"""Reading YAML files: every fault is one line that names the file. Imports nothing large: Snakemake reads its files with it, too."""

import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from sibp.core.errors import InputError

__all__ = ["SpecError", "names", "read"]

PLAIN = {"but found another document": "begins a second document (---), need one in a file"}


class SpecError(InputError):
    """Something wrong in an experiment or scale file, said in one line."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 1e-3 as a number, as YAML 1.2 does."""

    @override
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):  # a few lines of them can stand for gigabytes, or for themselves
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    @override
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as fault:  # a date that is none, say
            raise yaml.MarkedYAMLError(problem=str(fault), problem_mark=node.start_mark) from None

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith((":timestamp", ":null")):
                raise yaml.MarkedYAMLError(problem="a key must be a word or a number", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen[key.value] = 1
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


def read(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Args:
        path: of the file.

    Returns:
        Its content, by names.

    Raises:
        SpecError: if it cannot be read, is not YAML, or is no mapping; with line and column where they are known.
    """
    try:
        content = copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except OSError as fault:
        raise SpecError(f"{path}: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: is not a text file") from None
    except RecursionError:
        raise SpecError(f"{path}: is nested too deeply") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(fault, "problem", None) or "is not YAML"
        raise SpecError(f"{path}: {line}{PLAIN.get(problem, problem)}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise SpecError(f"{path}: got {type(content).__name__}, need a mapping of names")
    return content


@lru_cache(maxsize=8)  # what searches chose is read for each experiment that takes it, and parsing it takes .06 s
def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def names(folder: Path) -> list[str]:
    """Return the names of a folder's YAML files, without their endings.

    Args:
        folder: which need not exist.

    Returns:
        Names, sorted; hidden files, as editors and file managers leave them, do not count.
    """
    return sorted(file.stem for file in folder.glob("*.yaml") if not file.name.startswith("."))
