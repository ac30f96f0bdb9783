"""Reading files and archives of unknown intent.

Every read is bounded, so that a decompression bomb ends in one line instead of a full memory; nothing is unpacked to
disk, and members of an archive are read by their exact names, so that a path cannot lead anywhere.
"""

import gzip
import tarfile
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Protocol

from sibp.data.registry import DataError

__all__ = ["Raw", "Stream", "naming", "read_archive", "read_folder", "read_tar"]

Raw = Mapping[str, bytes]


class Stream(Protocol):
    """Anything that bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Read.

        Args:
            size: most bytes; all that are left if it is negative.

        Returns:
            The bytes; none at the end.
        """
        ...


class _Bounded:
    """A stream that gives at most `limit` bytes in all."""

    def __init__(self, stream: Stream, limit: int):
        self.stream, self.limit, self.left = stream, limit, limit

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f"expands to more than {self.limit} bytes")
        return data


@contextmanager
def naming(name: str) -> Generator[None]:
    """Turn what reading a damaged file raises into one line that names the file.

    Args:
        name: of the file.

    Yields:
        Nothing.

    Raises:
        DataError: the line.
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except EOFError:
        raise DataError(f"{name}: truncated") from None
    except (zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DataError(f"{name}: damaged ({error})") from None


@contextmanager
def _opened(path: Path, limit: int) -> Generator[_Bounded]:
    """Open a file, decompressed if it is gzip.

    Yields:
        Its content.

    Raises:
        DataError: if it is a web page.
    """
    with path.open("rb") as file, naming(path.name):
        head = file.peek(64)[:64].lstrip().lower()
        if head.startswith((b"<!doctype", b"<html", b"<?xml")):
            raise DataError("an HTML page instead of data")
        if head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield _Bounded(unzipped, limit)
        else:
            yield _Bounded(file, limit)


def read_folder(folder: Path, files: Iterable[str], limit: int) -> Raw | None:
    """Read files (or their .gz) from a folder.

    Args:
        folder: where they may lie.
        files: their names.
        limit: most bytes of one.

    Returns:
        Their content by name; None if the folder has none of them.

    Raises:
        DataError: if it has some but not all.
    """
    content: dict[str, bytes] = {}
    missing = []
    for name in files:
        path = next((folder / other for other in _spellings(name) if (folder / other).is_file()), None)
        if path is None:
            missing.append(name)
            continue
        with _opened(path, limit) as stream:
            content[name] = stream.read()
    if content and missing:
        raise DataError(f"{missing[0]}: not found in {folder}")
    return content or None


def _spellings(name: str) -> Iterator[str]:
    """List the names under which unpackers leave a file: its own, packed, and those of a packed file's inside.

    MNIST's packed files name their content `train-images.idx3-ubyte`, so that is what `gunzip -N` and graphical unpackers write; some of
    them into a folder that is named as the packed file.

    Yields:
        Paths below a folder.
    """
    inside = name.replace("-idx", ".idx")
    for file in dict.fromkeys([name, inside]):
        yield from (file, f"{file}.gz", f"{name}/{file}", f"{inside}/{file}")


def read_archive(path: Path, folder: str, files: Iterable[str], limit: int) -> Raw:
    """Read members `folder/file` of a tar archive, gzipped or not; see `read_tar`.

    Args:
        path: of the archive.
        folder: inside it.
        files: names below that.
        limit: most bytes of the archive, and of a member.

    Returns:
        Their content by name.
    """
    with _opened(path, limit) as stream:
        return read_tar(stream, folder, files, limit)


def read_tar(stream: Stream, folder: str, files: Iterable[str], limit: int) -> Raw:
    """Read the regular members `folder/file` (or their .gz) of a tar stream into memory; all others are passed over.

    Args:
        stream: of the archive.
        folder: inside it.
        files: names below that.
        limit: most bytes of the stream, and of a member.

    Returns:
        Their content by name.

    Raises:
        DataError: a member is missing, or the stream or a member has more than `limit` bytes.
    """
    wanted = {PurePosixPath(folder, name + end): name for name in files for end in ("", ".gz")}
    left: set[str] = set(wanted.values())
    content: dict[str, bytes] = {}
    with tarfile.open(fileobj=_Bounded(stream, limit), mode="r|") as archive:  # ty: ignore[no-matching-overload] - needs `read` alone
        for member in archive:
            name = wanted.get(PurePosixPath(member.name))
            file = archive.extractfile(member) if name in left and member.isreg() else None
            if name is not None and file is not None:
                data = file.read()
                with naming(name):
                    content[name] = _gunzip(data, limit) if data.startswith(b"\x1f\x8b") else data
                left.remove(name)
            if not left:
                return content
    raise DataError(f"no member {PurePosixPath(folder, min(left))}")


def _gunzip(data: bytes, limit: int) -> bytes:
    with gzip.GzipFile(fileobj=BytesIO(data)) as unzipped:
        return _Bounded(unzipped, limit).read()
