"""MNIST, FashionMNIST and CIFAR-10: fetched, checked and cached; generated stand-ins; splits."""

from importlib import import_module
from typing import TYPE_CHECKING

from sibp.data.registry import DataError, names

if TYPE_CHECKING:
    from sibp.data.cache import MissingError, UnreadableError, fetch, load
    from sibp.data.dataset import Dataset
    from sibp.data.export import as_torch_dataset, export_torchvision
    from sibp.data.splits import Split, split
    from sibp.data.synthetic import chain, generated

__all__ = [
    "DataError", "Dataset", "MissingError", "Split", "UnreadableError", "as_torch_dataset", "chain", "export_torchvision", "fetch",
    "generated", "load", "names", "split",
]  # fmt: skip

# torch takes seconds to import, numpy and a client of HTTP tenths of one; the names of the data sets should not wait for them
_MODULES = {
    "cache": ("MissingError", "UnreadableError", "fetch", "load"),
    "dataset": ("Dataset",),
    "export": ("as_torch_dataset", "export_torchvision"),
    "splits": ("Split", "split"),
    "synthetic": ("chain", "generated"),
}


def __getattr__(name: str) -> object:
    for module, holds in _MODULES.items():
        if name in holds:
            return getattr(import_module(f"sibp.data.{module}"), name)
    raise AttributeError(f"module 'sibp.data' has no attribute {name!r}")
