"""The data sets this package knows, what a decoded data set looks like, and the check that it is the right one."""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import yaml

from sibp.core import messages

__all__ = [
    "CHAIN",
    "ArraySpec",
    "DataError",
    "Dataset",
    "Entry",
    "Facts",
    "Package",
    "digest",
    "find",
    "known_facts",
    "names",
    "parse",
]

CHAIN = "chain"  # the ten numbers of J 5.1, drawn from a seed


class DataError(RuntimeError):
    """A data set is missing, damaged or cannot be fetched; the message is one line."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A decoded data set: images and labels as uint8, never changed after loading.

    Attributes:
        train_images, test_images: `[N, 28, 28]` or `[N, 3, 32, 32]`, grey values or colours 0..255.
        train_labels, test_labels: `[N]`, class indices.
        hashes: SHA-256 of each of the four arrays (C order).
        source: where the arrays came from, in words.
        generated: true for the stand-ins of `generated`, false for real data.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    hashes: dict[str, str]
    source: str
    classes: tuple[str, ...]
    generated: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image: (1, 28, 28) or (3, 32, 32)."""
        *channels, height, width = self.train_images.shape[1:]
        return (*(channels or [1]), height, width)


@dataclass(frozen=True)
class ArraySpec:
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Package:
    """A package of a registry that carries the raw files: its client (npm or apt), name, folder inside, and layout."""

    client: str
    name: str
    folder: str
    layout: str


@dataclass(frozen=True)
class Entry:
    """One data set of the registry."""

    name: str
    title: str
    classes: tuple[str, ...]
    layouts: tuple[str, ...]
    package: Package
    arrays: Mapping[str, ArraySpec]

    @property
    def hashes(self) -> dict[str, str]:
        return {name: spec.sha256 for name, spec in self.arrays.items()}

    @property
    def limit(self) -> int:
        """Most bytes that any download, archive or raw file may have: twice the decoded arrays and 16 MiB."""
        return 2 * sum(math.prod(spec.shape) for spec in self.arrays.values()) + 2**24

    def check(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Raise DataError unless `arrays` are, bit for bit, those of this data set."""
        for name, spec in self.arrays.items():
            array = arrays[name]
            if array.dtype != np.uint8 or array.shape != spec.shape:
                raise DataError(f"{name}: {array.dtype}{list(array.shape)}, need uint8{list(spec.shape)}")
            if (found := digest(array)) != spec.sha256:
                raise DataError(f"{name}: SHA-256 {found[:12]}..., need {spec.sha256[:12]}...")


def digest(array: np.ndarray) -> str:
    """Return the SHA-256 of the array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


@cache
def _registry() -> dict[str, Entry]:
    return parse(files(__package__).joinpath("registry.yaml").read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Entry]:
    """Return the entries of a registry in YAML, by name."""
    return {name: _entry(name, **fields) for name, fields in yaml.safe_load(text).items()}


def _entry(name: str, title: str, classes: list, layouts: list, package: dict, arrays: dict) -> Entry:
    specs = {key: ArraySpec(tuple(spec["shape"]), spec["sha256"]) for key, spec in arrays.items()}
    return Entry(name, title, tuple(classes), tuple(layouts), Package(**package), specs)


def names() -> list[str]:
    """Return the names of the data sets: mnist, fashion-mnist, cifar10."""
    return list(_registry())


def find(name: str) -> Entry:
    """Return the registry's entry; capitals, hyphens and underscores do not matter (`FashionMNIST`, `CIFAR-10`).

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
    """What is known of a data set without having it: one sample's shape, classes (None for real values), sizes."""

    shape: tuple[int, ...]
    classes: int | None
    train: int
    test: int


def known_facts(name: str) -> Facts:
    """Return the facts of a data set.

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
