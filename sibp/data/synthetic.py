"""Data made from a seed: stand-ins of the real data sets' shapes for trials without network, and the points of the chain."""

import numpy as np

from sibp.core.seeding import derive
from sibp.data.dataset import Dataset, assembled, digest
from sibp.data.registry import find

__all__ = ["chain", "generated"]


def generated(name: str, train: int, test: int, seed: int = 0) -> Dataset:
    """Make a stand-in with the image shape and classes of a real data set; the same arguments give the same bytes.

    An image is one of its class's two smooth random pictures in a random strength, over a smooth random background, with
    white noise on each pixel. Training and test samples come from the same law; from 2000 samples a network with one
    hidden layer learns some 94 % of it in a few hundred steps.

    Args:
        name: the data set to stand in for, one of `names()`.
        train: number of training samples.
        test: number of test samples.
        seed: another seed gives other pictures and other samples.

    Returns:
        The stand-in.

    Raises:
        ValueError: no data set has this name, or a number of samples is below 1.
    """
    entry = find(name)
    if min(train, test) < 1:
        raise ValueError(f"generated '{entry.name}': got {train} training and {test} test samples, need at least 1 each")
    shape = entry.arrays["train_images"].shape[1:]
    random = np.random.default_rng(derive("generated", entry.name, seed))
    pictures = _smooth(random, (len(entry.classes), 2), shape)
    arrays = {}
    for part, number in (("train", train), ("test", test)):
        labels = random.integers(len(entry.classes), size=number, dtype=np.uint8)
        arrays[f"{part}_images"] = _draw(random, pictures, labels, shape)
        arrays[f"{part}_labels"] = labels
    hashes = {key: digest(array) for key, array in arrays.items()}
    source = f"generated with seed {seed}"
    return assembled(entry, arrays, hashes=hashes, source=source, generated=True)


def _draw(random: np.random.Generator, pictures: np.ndarray, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    number = len(labels)
    strength = random.uniform(0.7, 1.3, (number,) + (1,) * len(shape))
    strength /= np.sqrt(np.prod(shape[:-2]))  # more channels would tell more about the class
    chosen = pictures[labels, random.integers(2, size=number)]
    noise = _smooth(random, (number,), shape) + random.standard_normal((number, *shape))
    return np.clip(np.rint(40 + 40 * (0.9 * strength * chosen + noise)), 0, 255).astype(np.uint8)


def _smooth(random: np.random.Generator, many: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Return random pictures of about unit variance, `[*many, *shape]`: 7 x 7 normal numbers, interpolated."""
    *channels, height, width = shape
    coarse = random.standard_normal((*many, *channels, 7, 7))
    return 1.5 * (_interpolation(height) @ coarse @ _interpolation(width).T)


def _interpolation(size: int) -> np.ndarray:
    """Return the matrix `[size, 7]` of linear interpolation from 7 equally spaced points."""
    return np.maximum(0, 1 - np.abs(np.linspace(0, 6, size)[:, None] - np.arange(7)))


def chain(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ten points for the scalar chain of J, Figure 3.

    The paper says only that ten points are generated at random. Ours: x standard normal and y = x + 0.1 noise, so that a
    chain of positive weights can fit them closely but not exactly.

    Args:
        seed: of the numbers.

    Returns:
        x and y, float64 `[10, 1]`.
    """
    random = np.random.default_rng(derive("chain", seed))
    x, noise = random.standard_normal((2, 10, 1))
    return x, x + 0.1 * noise
