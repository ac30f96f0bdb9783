"""The data sets this package knows: where their files come from and what their arrays must be. Imports no numpy."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from sibp.core import messages
from sibp.core.errors import OneLineError

__all__ = [
    "CHAIN",
    "ArraySpec",
    "DataError",
    "Entry",
    "Facts",
    "Package",
    "find",
    "known_facts",
    "names",
    "parse",
]

CHAIN = "chain"  # the ten numbers of J 5.1, drawn from a seed


class DataError(OneLineError):
    """A data set is missing, damaged or cannot be fetched; the message is one line."""


@dataclass(frozen=True)
class ArraySpec:
    """What an array must be.

    Attributes:
        shape: its sizes.
        sha256: of its bytes in C order, in hex.
    """

    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Package:
    """A package of a registry that carries the raw files.

    Attributes:
        client: ``npm`` or ``apt``.
        name: of the package.
        folder: inside it.
        layout: of the files, a key of `formats.LAYOUTS`.
    """

    client: str
    name: str
    folder: str
    layout: str


@dataclass(frozen=True)
class Entry:
    """One data set of the registry.

    Attributes:
        name: its key.
        title: as papers write it, and torchvision's class.
        classes: their names.
        layouts: forms of its official files, keys of `formats.LAYOUTS`.
        package: that carries the files, too.
        arrays: what the four arrays must be.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    layouts: tuple[str, ...]
    package: Package
    arrays: Mapping[str, ArraySpec]

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each array."""
        return {name: spec.sha256 for name, spec in self.arrays.items()}

    @property
    def limit(self) -> int:
        """Most bytes that any download, archive or raw file may have: twice the decoded arrays and 16 MiB."""
        return 2 * sum(math.prod(spec.shape) for spec in self.arrays.values()) + 2**24


@cache
def _registry() -> dict[str, Entry]:
    return parse(files("sibp.data").joinpath("registry.yaml").read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Entry]:
    """Read a registry.

    Args:
        text: YAML.

    Returns:
        Its entries by name.
    """
    return {name: _entry(name, **fields) for name, fields in yaml.safe_load(text).items()}


def _entry(name: str, *, title: str, classes: list, layouts: list, package: dict, arrays: dict) -> Entry:
    specs = {key: ArraySpec(tuple(spec["shape"]), spec["sha256"]) for key, spec in arrays.items()}
    return Entry(name, title, tuple(classes), tuple(layouts), Package(**package), specs)


def names() -> list[str]:
    """Return the names of the data sets.

    Returns:
        mnist, fashion-mnist and cifar10.
    """
    return list(_registry())


def find(name: str) -> Entry:
    """Return the registry's entry; capitals, hyphens and underscores do not matter (`FashionMNIST`, `CIFAR-10`).

    Args:
        name: of the data set.

    Returns:
        Its entry.

    Raises:
        ValueError: no data set has this name.
    """
    spellings = {_plain(known): known for known in names()}
    if (known := spellings.get(_plain(name))) is not None:
        return _registry()[known]
    raise ValueError(f"data set: {messages.need(name, names())}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Facts:
    """What is known of a data set without having it.

    Attributes:
        shape: one sample's.
        classes: how many; None for real values.
        train: training samples.
        test: test samples.
    """

    shape: tuple[int, ...]
    classes: int | None
    train: int
    test: int


def known_facts(name: str) -> Facts:
    """Return the facts of a data set.

    Args:
        name: of the registry, or ``chain``.

    Returns:
        The facts.

    Raises:
        ValueError: if there is none of that name.
    """
    if name == CHAIN:
        return Facts((1,), None, train=10, test=0)
    if name not in names():
        raise ValueError(messages.need(name, [*names(), CHAIN]))
    entry = find(name)
    (train, *shape), (test, *_) = entry.arrays["train_images"].shape, entry.arrays["test_images"].shape
    return Facts(tuple(shape), len(entry.classes), train, test)
