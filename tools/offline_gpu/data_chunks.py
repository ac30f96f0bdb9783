"""Data sets as files small enough to travel one by one: uint8 arrays cut along the samples, each cut an .xz file.

Natural colour images lose a third of their size if each pixel is first replaced by its difference from the one above; .xz files say so
themselves, so any reader of .xz gets the pixels back.
"""

import hashlib
import json
import lzma
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sibp.data.dataset import Dataset, check
from sibp.data.registry import DataError, Entry

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def pack(dataset: Dataset, folder: Path, size: int) -> dict[str, str]:
    """Write a data set's pieces and their list, `pieces.json`, unless they are there; return the SHA-256 of each, by file name.

    Args:
        dataset: whose arrays are cut.
        folder: for this data set alone.
        size: most bytes of a piece before it is compressed.
    """
    if (listed := _listed(folder, dataset.hashes, size)) is not None:
        return listed
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    cuts = {f"{name}.{i}.xz": cut for name in ARRAYS for i, cut in enumerate(_cut(getattr(dataset, name), size))}
    with ThreadPoolExecutor() as threads:  # lzma works outside Python's lock
        packed = dict(zip(cuts, threads.map(_compressed, cuts.values()), strict=True))
    for name, content in packed.items():
        (folder / name).write_bytes(content)
    pieces = {name: _sha256(content) for name, content in packed.items()}
    (folder / "pieces.json").write_text(json.dumps({"hashes": dataset.hashes, "size": size, "pieces": pieces}, indent=2) + "\n")
    return pieces


class Chunks:
    """A source of data sets, as `sibp.data.fetch` takes them: a folder with a subfolder of pieces for each."""

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, "the bundle's pieces"

    def missing(self, name: str) -> list[str]:
        """Return the pieces of a data set that are not here; its list if even that is not."""
        try:
            pieces = json.loads((self.root / name / "pieces.json").read_text(encoding="utf-8"))["pieces"]
        except FileNotFoundError:
            return ["pieces.json"]
        except (OSError, ValueError, KeyError):
            return []
        return [piece for piece in pieces if not (self.root / name / piece).is_file()]

    def read(self, entry: Entry, scratch: Path, report: Callable[[str], None]) -> dict[str, np.ndarray]:
        """Return the arrays, checked; DataError names the pieces that are missing or damaged."""
        folder = self.root / entry.name
        try:
            pieces = json.loads((folder / "pieces.json").read_text(encoding="utf-8"))["pieces"]
        except (OSError, ValueError, KeyError):
            raise DataError(f"{folder / 'pieces.json'} is missing or damaged") from None
        if missing := [name for name in pieces if not (folder / name).is_file()]:
            raise DataError(f"{folder} lacks {', '.join(missing)}")
        report(f"{len(pieces)} pieces in {folder}")
        with ThreadPoolExecutor() as threads:
            raw = dict(zip(pieces, threads.map(lambda item: _read(folder / item[0], item[1]), pieces.items()), strict=True))
        arrays = {name: _joined(raw, name, spec.shape) for name, spec in entry.arrays.items()}
        check(entry, arrays)
        return arrays


def _cut(array: np.ndarray, size: int) -> list[np.ndarray]:
    """Return a `[N, ...]` array as parts of about `size` bytes."""
    return np.array_split(array, -(-array.nbytes // size))


def _compressed(array: np.ndarray) -> bytes:
    above = [{"id": lzma.FILTER_DELTA, "dist": array.shape[-1]}] if array.ndim == 4 else []
    return lzma.compress(np.ascontiguousarray(array).data, filters=[*above, {"id": lzma.FILTER_LZMA2, "preset": 6}])


def _read(path: Path, digest: str) -> bytes:
    content = path.read_bytes()
    if _sha256(content) != digest:
        raise DataError(f"{path} is cut short or changed")
    return lzma.decompress(content)


def _joined(raw: dict[str, bytes], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array from its pieces, in the order of the list."""
    whole = b"".join(content for piece, content in raw.items() if piece.startswith(f"{name}."))
    if len(whole) != np.prod(shape):
        raise DataError(f"{name}: got {len(whole)} bytes, need {np.prod(shape)}")
    return np.frombuffer(whole, np.uint8).reshape(shape)


def _listed(folder: Path, hashes: dict[str, str], size: int) -> dict[str, str] | None:
    """Return the list of a folder's pieces if it holds all of this data set."""
    try:
        listing = json.loads((folder / "pieces.json").read_text(encoding="utf-8"))
        whole = all(_sha256((folder / name).read_bytes()) == digest for name, digest in listing["pieces"].items())
    except (OSError, ValueError, KeyError):
        return None
    return listing["pieces"] if whole and (listing["hashes"], listing.get("size")) == (hashes, size) else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
