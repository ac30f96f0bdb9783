"""Jobs started by hand queue up for a GPU instead of colliding on it; on several GPUs each takes one that is free.

The queue is a lock file per GPU in the user's cache, freed by the system when its holder ends, however it ends. With SIBP_GPU_JOBS=3 three
jobs share each GPU. CPUs are shared.
"""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from sibp.core.errors import InputError
from sibp.core.paths import cache_folder

__all__ = ["gpus", "places", "turn"]

PAUSE = 0.5  # seconds between two looks at GPUs that are all taken


def gpus(device: torch.device) -> dict[str, str]:
    """Return the visible GPUs that a device may mean.

    Args:
        device: ``cuda`` for any, or one of them.

    Returns:
        Their unique names by ``cuda:0`` and so on.
    """
    numbers = range(torch.cuda.device_count()) if device.index is None else [device.index]
    return {f"cuda:{number}": str(torch.cuda.get_device_properties(number).uuid) for number in numbers}


def places(device: torch.device) -> list[tuple[str, str]]:
    """Return the places for jobs on the GPUs that a device may mean, an empty GPU before a second place on one.

    Args:
        device: as for `gpus`.

    Returns:
        A GPU, ``cuda:0`` and so on, and the name of the place's lock.

    Raises:
        InputError: if SIBP_GPU_JOBS is no number of jobs.
    """
    words = os.environ.get("SIBP_GPU_JOBS", "1")
    if not (words.isdecimal() and int(words) > 0):
        raise InputError(f"SIBP_GPU_JOBS: got {words!r}, need how many jobs may share a GPU, 1 or more")
    names, numbered = gpus(device), ["", *(f".{number}" for number in range(2, int(words) + 1))]
    return [(gpu, f".gpu-{name}{number}.lock") for number in numbered for gpu, name in names.items()]


@contextmanager
def turn(device: torch.device, root: str | Path | None, note: Callable[[str], None]) -> Generator[torch.device]:
    """Hold a device for one job; for ``cuda``, the first GPU that no other job holds, after waiting for one if need be.

    Args:
        device: the CPU, which comes back at once and is not held, any GPU or one of them.
        root: the cache; None takes the user's.
        note: called once with a line if the job has to wait, or if the cache's file system has no locks.

    Yields:
        The device, with its number if it is a GPU.
    """
    if device.type != "cuda":
        yield device
        return
    folder = cache_folder(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place, lock = _first_free([(gpu, FileLock(folder / name)) for gpu, name in places(device)], note)
    except (OSError, NotImplementedError) as fault:
        note(f"no lock for the GPU in {folder} ({fault}): going on without")
        yield device
        return
    try:
        yield torch.device(place)
    finally:
        lock.release()


def _first_free(locks: list[tuple[str, FileLock]], note: Callable[[str], None]) -> tuple[str, FileLock]:
    waited = False
    while True:
        for place, lock in locks:
            try:
                lock.acquire(timeout=0)
                return place, lock
            except Timeout:
                continue
        if not waited:
            note(f"waiting for a GPU: other jobs hold {', '.join(dict.fromkeys(place for place, _ in locks))}")
            waited = True
        time.sleep(PAUSE)
