"""MNIST, FashionMNIST and CIFAR-10: fetched, checked and cached; generated stand-ins; splits."""

from importlib import import_module
from typing import TYPE_CHECKING

from sibp.data.cache import MissingError, UnreadableError, fetch, load
from sibp.data.registry import DataError, Dataset, names
from sibp.data.splits import Split, split

if TYPE_CHECKING:
    from sibp.data.export import as_torch_dataset, export_torchvision
    from sibp.data.synthetic import chain, generated

__all__ = [
    "DataError", "Dataset", "MissingError", "Split", "UnreadableError", "as_torch_dataset", "chain", "export_torchvision", "fetch",
    "generated", "load", "names", "split",
]  # fmt: skip

_NEED_TORCH = {"as_torch_dataset": "export", "export_torchvision": "export", "chain": "synthetic", "generated": "synthetic"}


def __getattr__(name: str) -> object:
    # torch takes seconds to import; asking for the names of the data sets should not wait for it
    if name in _NEED_TORCH:
        return getattr(import_module(f"sibp.data.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"module 'sibp.data' has no attribute {name!r}")
