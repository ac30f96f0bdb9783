"""The cached data sets for torchvision's readers."""

import struct
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from sibp.core import atomic
from sibp.data.cache import load
from sibp.data.formats import IDX
from sibp.data.registry import find

__all__ = ["ImageDataset", "as_torch_dataset", "export_torchvision"]


def export_torchvision(name: str, folder: str | Path, root: str | Path | None = None) -> Path:
    """Write the raw idx files where `torchvision.datasets.MNIST(folder)` or `FashionMNIST(folder)` reads them.

    CIFAR-10 cannot be exported: its reader wants the official pickles byte for byte; use `as_torch_dataset`.

    Args:
        name: one of `names()`.
        folder: torchvision's root.
        root: the cache, by default the user's.

    Returns:
        The folder with the four files, `folder/MNIST/raw` or `folder/FashionMNIST/raw`. A data set that is not in the cache is a DataError.

    Raises:
        ValueError: the data set is CIFAR-10, or unknown.
    """
    entry = find(name)
    if "idx" not in entry.layouts:
        raise ValueError(f"{entry.title} cannot be exported: torchvision reads only the official pickles; use as_torch_dataset")
    dataset = load(name, root)
    raw = Path(folder) / entry.title / "raw"
    for array_name, file_name in IDX.items():
        array = getattr(dataset, array_name)
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        atomic.write(raw / file_name, header + array.tobytes())
    return raw


class ImageDataset(TorchDataset):
    """A cached data set as torchvision's class of the same name gives it: (PIL image, class index) pairs.

    `data` is a uint8 tensor `[N, 28, 28]` with a tensor `targets` for MNIST and FashionMNIST, and a uint8 array
    `[N, 32, 32, 3]` with a list `targets` for CIFAR-10.

    Args:
        name: one of `names()`.
        train: its training part, not its test part.
        root: the cache; None takes the user's.
        transform: applied to each image; None leaves it.
    """

    def __init__(self, name: str, *, train: bool, root: str | Path | None, transform: Callable | None):
        dataset = load(name, root)
        images, labels = (getattr(dataset, f"{'train' if train else 'test'}_{part}") for part in ("images", "labels"))
        self.classes, self.transform = list(dataset.classes), transform
        if images.ndim == 3:
            self.data, self.targets = torch.tensor(images), torch.tensor(labels, dtype=torch.int64)
        else:
            self.data, self.targets = images.transpose(0, 2, 3, 1).copy(), labels.tolist()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[object, int]:
        pixels = self.data[index]
        image = Image.fromarray(pixels.numpy() if isinstance(pixels, torch.Tensor) else pixels)
        return self.transform(image) if self.transform else image, int(self.targets[index])


def as_torch_dataset(
    name: str, *, train: bool = True, root: str | Path | None = None, transform: Callable | None = None
) -> ImageDataset:
    """Open the training or the test part of a cached data set with the interface of torchvision's class of that name.

    Args:
        name: one of `names()`.
        train: the training part, not the test part.
        root: the cache, by default the user's.
        transform: applied to each image.

    Returns:
        Pairs of a PIL image and a class index. A data set that is not in the cache or damaged is a DataError.
    """
    return ImageDataset(name, train=train, root=root, transform=transform)
