"""One job's checkpoint: training that was killed goes on from it, to the same bits.

A checkpoint is written beside the results, whole or not at all, and removed once they are there. It belongs to a key: all that
decides the numbers (settings, code, versions, threads, kind of device). One that is damaged or belongs to another key is not used; the
latter makes way for the job's own as ``<label>.pt.before``, so that who takes an edit back goes on from it.
Ctrl-C, or the SIGTERM of a scheduler, has one more written before the job stops.
"""

import hashlib
import pickle
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

import torch

from sibp.core import atomic
from sibp.experiments.jobs import Job
from sibp.results import environment, records

__all__ = ["SECONDS", "SHARE", "Checkpoint", "Stopped", "key"]

SECONDS = 60.0  # between two checkpoints, unless the user says otherwise
SHARE = 0.02  # most of a job's time that may go into writing them
RATE = 2e8  # bytes a second that a write is expected to be no faster than
HEADER = 64  # hex digits of the content's SHA-256


class Stopped(KeyboardInterrupt):
    """A signal asked the job to stop.

    Args:
        number: of the signal.
        outcome: what is kept of the job, for the message.
    """

    def __init__(self, number: int, outcome: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}, {outcome}")
        self.number = number


class Checkpoint:
    """The checkpoint file of one job.

    Args:
        path: where it lies; None keeps nothing.
        key: what it belongs to, see `key`.
        seconds: at least so many between two writes, and so many more that writing takes at most `SHARE` of the job's time.
    """

    def __init__(self, path: Path | None, key: dict[str, str], seconds: float = SECONDS) -> None:
        self.path, self.key, self.seconds = path, key, seconds
        self.begun = perf_counter()
        self.due, self.spent, self.cost = self.begun + seconds, 0.0, 0.0  # the cost is the last write's
        self.signal: int | None = None  # that asked the job to stop

    @contextmanager
    def listening(self) -> Generator[None]:
        """Let SIGINT and SIGTERM stop the job at the next offer, when its checkpoint is written; a second one stops it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may say what a signal does
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _frame: object) -> None:
        if self.signal or self.path is None:
            raise Stopped(number, "what came after the last checkpoint is lost" if self.path else "nothing is kept")
        self.signal = number

    def load(self) -> tuple[dict[str, Any] | None, str]:
        """Read the checkpoint, if there is one that belongs to the key.

        Returns:
            The content, or None and one line on why it is not used; None and no line if there is no checkpoint.
        """
        if self.path is None:
            return None, ""
        before = _before(self.path)
        atomic.sweep(self.path)
        content, line = _look(self.path)
        other = self._others(content)
        if content is None or other:
            del content  # which may be gigabytes, before the next one is read
            content, _ = _look(before)
            if self._others(content):
                content = None
        if content is None and other:
            self.path.replace(before)
            line = f"checkpoint {self.path} not used: it belongs to other {', '.join(other)}; "
            line += f"kept as {before.name} until the job is done"
        return content, "" if content else line

    def _others(self, content: dict[str, Any] | None) -> list[str]:
        """Return in which parts of the key a checkpoint's is another."""
        theirs = self.key if content is None else content["key"]
        return [name for name, value in self.key.items() if theirs.get(name) != value]

    def offer(self, content: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint if it is time for one, or the last chance.

        What a write will take is estimated from the content's bytes, so that not even the first one of a large state takes more than
        its share. One tensor at a time is copied.

        Args:
            content: called only then; tensors on any device, numbers, text, and lists and dictionaries of them.

        Raises:
            RecordError: if it cannot be written; the one before is still there.
            Stopped: once it is written, if a signal has asked for that, see `listening`.
        """
        if self.path is None or (self.signal is None and perf_counter() < self.due):
            return
        whole = content() | {"key": self.key}
        affordable = self.begun + (self.spent + max(self.cost, _bytes(whole) / RATE)) / SHARE
        if self.signal is None and perf_counter() < affordable:
            self.due = affordable
            return
        self._write(self.path, whole)
        if self.signal:
            raise Stopped(self.signal, f"the same command goes on from {self.path}")

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        begin = perf_counter()
        try:
            atomic.write(path, lambda file: _save(content, file))
        except OSError as fault:
            raise records.RecordError(f"checkpoint {path}: {fault.strerror or fault}") from None
        end = perf_counter()
        self.cost = end - begin
        self.spent += self.cost
        self.due = end + self.seconds

    def remove(self) -> None:
        """Take the checkpoint away: the results are there."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            _before(self.path).unlink(missing_ok=True)
            atomic.sweep(self.path)


def key(job: Job, device: torch.device) -> dict[str, str]:
    """Return what decides a job's numbers, each part under a name.

    Args:
        job: what is trained.
        device: where; on CUDA, and for a timed job's seconds, it matters which device it is, else only its kind.

    Returns:
        Settings, label, code, torch's version, threads and device, as text.
    """
    named = device.type == "cuda" or job.training.is_timed
    return {
        "settings": job.digest,
        "label": job.name,
        "code": job.code,
        "torch version": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "device": environment.environment(device)["device"] if named else device.type,
    }


class _Hashed:
    """A file that torch writes to, its SHA-256 taken on the way. Keeps the reason of a failure, which torch hides."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha = file, hashlib.sha256()
        self.fault: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        self.sha.update(data)
        try:
            return self.file.write(data)
        except OSError as fault:
            self.fault = fault
            raise

    def flush(self) -> None:
        self.file.flush()


class _Body:
    """What follows the header of a file that torch reads from."""

    def __init__(self, file: BufferedReader) -> None:
        self.file = file
        self.seek(0)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset if whence else HEADER + offset, whence) - HEADER

    def tell(self) -> int:
        return self.file.tell() - HEADER

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        return self.file.readinto(buffer)

    def readline(self) -> bytes:
        return self.file.readline()


def _save(content: dict[str, Any], file: BinaryIO) -> None:
    """Write a content behind its SHA-256, tensor by tensor.

    Raises:
        OSError: the fault of the file, which torch's error hides.
        RuntimeError: torch's own, where there is no such fault.
    """
    file.write(b"0" * HEADER)
    hashed = _Hashed(file)
    try:
        torch.save(content, hashed)  # ty: ignore[invalid-argument-type] - torch needs `write` and `flush` alone
    except RuntimeError:
        if hashed.fault is None:
            raise
        raise hashed.fault from None
    file.seek(0)
    file.write(hashed.sha.hexdigest().encode())


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a file.

    Raises:
        ValueError: if a bit of it has changed.
    """
    with path.open("rb") as file:
        header = file.read(HEADER)
        if hashlib.file_digest(file, "sha256").hexdigest().encode() != header:
            raise ValueError("checksum")
        # ty: ignore[invalid-argument-type] - torch needs what `_Body` has alone
        return torch.load(_Body(file), map_location="cpu", weights_only=True)


def _before(path: Path) -> Path:
    """Return where a checkpoint of other settings or code waits."""
    return path.with_name(f"{path.name}.before")


def _look(path: Path) -> tuple[dict[str, Any] | None, str]:
    """Return a checkpoint's content, or None and one line on why it cannot be read; None and no line if there is none."""
    try:
        return _read(path), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError) as fault:
        reason = (fault.strerror or str(fault)) if isinstance(fault, OSError) else "is damaged"
        return None, f"checkpoint {path} not used: {' '.join(reason.split())}"


def _bytes(value: Any) -> int:
    """Return the bytes of all tensors in lists and dictionaries."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_bytes, inner))
