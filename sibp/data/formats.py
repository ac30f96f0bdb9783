"""From raw files to arrays: the forms in which people, servers and packages keep the data sets.

Nothing that was downloaded is unpickled or run. What a damaged file decodes to does not matter: the hashes are checked.
"""

import json
import math
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from sibp.data.dataset import check
from sibp.data.registry import DataError, Entry

__all__ = ["IDX", "LAYOUTS", "Layout", "decode"]

Arrays = dict[str, np.ndarray]
Raw = Mapping[str, bytes]


@dataclass(frozen=True)
class Layout:
    """A form of the raw files.

    Attributes:
        files: their names.
        decode: raw content by name -> arrays.
        folder: inside the official archive.
        archive: its name, if there is one.
    """

    files: tuple[str, ...]
    decode: Callable[[Raw], Arrays]
    folder: str = "."
    archive: str | None = None


def decode(entry: Entry, layout: Layout, raw: Raw) -> Arrays:
    """Decode raw files and check shapes and SHA-256.

    Args:
        entry: of the data set.
        layout: of the files.
        raw: their content by name.

    Returns:
        The four arrays by name, uint8.

    Raises:
        DataError: naming the file or array that is wrong.
    """
    try:
        arrays = layout.decode(raw)
    except (ValueError, struct.error, SyntaxError, RecursionError) as error:  # pillow: SyntaxError for a broken PNG
        raise DataError(f"damaged files ({error})") from None
    check(entry, arrays)
    return arrays


def _pixels(data: bytes, shape: tuple[int, ...], name: str) -> np.ndarray:
    """View bytes as uint8 of a shape.

    Returns:
        The array.

    Raises:
        DataError: if there are too few or too many.
    """
    if len(data) != (need := math.prod(shape)):
        raise DataError(f"{name}: {'truncated, ' if len(data) < need else ''}{len(data)} bytes of data, need {need}")
    return np.frombuffer(data, np.uint8).reshape(shape)


IDX = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def _idx(raw: Raw) -> Arrays:
    """Return the arrays of the MNIST form: two zero bytes, type 8 (uint8), the number of sizes, the sizes as big-endian int32, the data."""
    return {array: _idx_file(raw[name], name) for array, name in IDX.items()}


def _idx_file(data: bytes, name: str) -> np.ndarray:
    axes = 3 if "idx3" in name else 1
    if not data.startswith(bytes([0, 0, 8, axes])):
        raise DataError(f"{name}: {'empty' if not data else f'not idx{axes} data of type uint8'}")
    start = 4 + 4 * axes
    return _pixels(data[start:], struct.unpack(f">{axes}I", data[4:start]), name)


_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))


def _join(batches: list[tuple[np.ndarray, np.ndarray]]) -> Arrays:
    """Return the arrays of five training batches and a test batch, each images `[N, 3072]` (red, green, blue plane) and labels `[N]`."""
    images, labels = (list(parts) for parts in zip(*batches, strict=True))
    return {
        "train_images": np.concatenate(images[:-1]).reshape(-1, 3, 32, 32),
        "train_labels": np.concatenate(labels[:-1]),
        "test_images": images[-1].reshape(-1, 3, 32, 32),
        "test_labels": labels[-1],
    }


def _cifar_binary(raw: Raw) -> Arrays:
    """Return the arrays of rows of one label byte and 3072 colour bytes."""
    rows = [_pixels(raw[n], (-(-len(raw[n]) // 3073), 3073), n) for n in _BINARY]
    return _join([(r[:, 1:], r[:, 0]) for r in rows])


def _cifar_python(raw: Raw) -> Arrays:
    """Return the arrays of the pickled batches, read without unpickling: only the list of their opcodes is looked at."""
    return _join([_pickled_batch(raw[n], n) for n in _PYTHON])


def _pickled_batch(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels: the longest byte string, and the small integers of the list after the word "labels"."""
    longest, labels, listed = b"", [], False
    for opcode, argument, _ in pickletools.genops(data):
        if isinstance(argument, str | bytes):
            listed = argument in ("labels", b"labels")
            longest = max(longest, argument, key=len)
        elif opcode.name == "BININT1" and listed:
            labels.append(argument)
        elif opcode.name not in ("EMPTY_LIST", "MARK", "APPENDS", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            listed = False
    pixels = longest.encode("latin-1") if isinstance(longest, str) else longest
    return _pixels(pixels, (len(labels), 3072), name), np.array(labels, np.uint8)


def _cifar_png(raw: Raw) -> Arrays:
    """Return the arrays of one RGB picture a batch, an image per row of 1024 pixels, and all labels in two JSON lists."""
    images = [_png_batch(raw[f"{n}.png"], f"{n}.png") for n in (*_BATCHES, "test_batch")]
    train, test = (_json_labels(raw[n], n) for n in _PNG[-2:])
    cuts = np.cumsum([len(batch) for batch in images[:-2]])
    return _join(list(zip(images, [*np.split(train, cuts), test], strict=True)))


def _png_batch(data: bytes, name: str) -> np.ndarray:
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise DataError(f"{name}: not a PNG file")
    width, rows = struct.unpack(">II", data[16:24])
    if width != 1024 or not 0 < rows <= 10000:  # before pillow makes room for it
        raise DataError(f"{name}: {width} x {rows} pixels, need 1024 x (1 to 10000)")
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as picture:
            pixels = np.asarray(picture)
    except OSError as error:
        raise DataError(f"{name}: {error}") from None
    if pixels.shape != (rows, 1024, 3):
        raise DataError(f"{name}: not RGB")
    return np.ascontiguousarray(pixels.transpose(0, 2, 1)).reshape(rows, 3072)


def _json_labels(data: bytes, name: str) -> np.ndarray:
    labels = json.loads(data)
    if not isinstance(labels, list) or not all(isinstance(label, int) and 0 <= label < 256 for label in labels):
        raise DataError(f"{name}: not a list of class indices")
    return np.array(labels, np.uint8)


_NPY = tuple(f"{array}.npy" for array in IDX)


def _npy(raw: Raw) -> Arrays:
    """Return the decoded arrays themselves, as the cache keeps them."""
    return {name.removesuffix(".npy"): _npy_file(raw[name], name) for name in _NPY}


def _npy_file(data: bytes, name: str) -> np.ndarray:
    stream = BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise DataError(f"{name}: not version 1.0 of the npy format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype != np.uint8 or fortran_order:
        raise DataError(f"{name}: not uint8 in C order")
    return _pixels(data[stream.tell() :], shape, name)


_BINARY = (*(f"{n}.bin" for n in _BATCHES), "test_batch.bin")
_PYTHON = (*_BATCHES, "test_batch")
_PNG = (*(f"{n}.png" for n in _BATCHES), "test_batch.png", "train_lables.json", "test_lables.json")  # their spelling

LAYOUTS = {
    "npy": Layout(_NPY, _npy),
    "idx": Layout(tuple(IDX.values()), _idx),
    "cifar-binary": Layout(_BINARY, _cifar_binary, "cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
    "cifar-python": Layout(_PYTHON, _cifar_python, "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar-png": Layout(_PNG, _cifar_png),
}
