"""Cutting a data set into training, validation and test samples."""

from dataclasses import dataclass

import numpy as np

from sibp.data.dataset import Dataset

__all__ = ["Split", "split"]


@dataclass(frozen=True, eq=False)
class Split:
    """Samples of a data set by use, uint8; a part may be empty.

    A pixel k stands for the input k / 255; only the trainer turns pixels into floats.

    Attributes:
        dataset: what was cut.
        x_train: `[N, 28, 28]` or `[N, 3, 32, 32]`.
        y_train: `[N]`, class indices.
        x_validation: likewise.
        y_validation: likewise.
        x_test: likewise.
        y_test: likewise.
    """

    dataset: Dataset
    x_train: np.ndarray
    y_train: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def split(
    dataset: Dataset,
    train: int,
    validation: int = 0,
    test: int | None = None,
    *,
    merge_test: bool = False,
) -> Split:
    """Cut a data set in the official order: the first `train` training samples, then `validation` more.

    Args:
        dataset: what to cut; the parts are views of it, but for a merged validation set.
        train: training samples, >= 1.
        validation: samples of the official training set after those.
        test: the first so many of the official test set; None takes all.
        merge_test: append those test samples to the validation set and leave the test set empty, as A and I do
            (MNIST: 55000 for training, 5000 + 10000 for validation).

    Returns:
        The parts. A size that is negative or more than there is, is refused with a ValueError.
    """
    available, tests = len(dataset.train_images), len(dataset.test_images)
    test = tests if test is None else test
    _check(dataset.name, "train", train, 1, available)
    _check(dataset.name, "validation", validation, 0, available - train)
    _check(dataset.name, "test", test, 0, tests)
    x_validation = dataset.train_images[train : train + validation]
    y_validation = dataset.train_labels[train : train + validation]
    x_test, y_test = dataset.test_images[:test], dataset.test_labels[:test]
    if merge_test:
        x_validation, y_validation = np.concatenate([x_validation, x_test]), np.concatenate([y_validation, y_test])
        x_test, y_test = x_test[:0], y_test[:0]
    x_train, y_train = dataset.train_images[:train], dataset.train_labels[:train]
    return Split(dataset, x_train, y_train, x_validation, y_validation, x_test, y_test)


def _check(name: str, part: str, size: int, least: int, most: int) -> None:
    if not least <= size <= most:
        raise ValueError(f"{part}: {size} samples of '{name}' asked for, allowed are {least} to {most}")
