"""What a decoded data set looks like, and the check that it is the right one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sibp.data.registry import DataError, Entry

__all__ = ["Dataset", "assembled", "check", "digest"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A decoded data set: images and labels as uint8, never changed after loading.

    Attributes:
        name: a key of the registry.
        train_images: `[N, 28, 28]` or `[N, 3, 32, 32]`, grey values or colours 0..255.
        train_labels: `[N]`, class indices.
        test_images: likewise.
        test_labels: likewise.
        hashes: SHA-256 of each of the four arrays (C order).
        source: where the arrays came from, in words.
        classes: their names.
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


def check(entry: Entry, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that are not, bit for bit, those of a data set.

    Args:
        entry: of the data set.
        arrays: by name.

    Raises:
        DataError: naming the first that differs.
    """
    for name, spec in entry.arrays.items():
        array = arrays[name]
        if array.dtype != np.uint8 or array.shape != spec.shape:
            raise DataError(f"{name}: {array.dtype}{list(array.shape)}, need uint8{list(spec.shape)}")
        if (sha256 := digest(array)) != spec.sha256:
            raise DataError(f"{name}: SHA-256 {sha256[:12]}..., need {spec.sha256[:12]}...")


def digest(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes in C order.

    Args:
        array: of any layout.

    Returns:
        64 hex digits.
    """
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def assembled(
    entry: Entry, arrays: Mapping[str, np.ndarray], *, hashes: dict[str, str], source: str, generated: bool = False
) -> Dataset:
    """Put a data set together.

    Args:
        entry: of the data set.
        arrays: the four by name.
        hashes: of them.
        source: where they came from.
        generated: whether they stand in for real data.

    Returns:
        The data set.
    """
    parts = [arrays[f"{part}_{kind}"] for part in ("train", "test") for kind in ("images", "labels")]
    train_images, train_labels, test_images, test_labels = parts
    return Dataset(
        entry.name, train_images, train_labels, test_images, test_labels, hashes, source, entry.classes, generated=generated
    )
