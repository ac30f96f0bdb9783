"""Jobs started by hand queue up for a GPU instead of colliding on it; on several GPUs each takes one that is free.

The queue is a lock file per GPU in the user's cache, freed by the system when its holder ends, however it ends. CPUs are shared.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from sibp.core.paths import cache_folder

__all__ = ["gpus", "turn"]

PAUSE = 0.5  # seconds between two looks at GPUs that are all taken


def gpus(device: torch.device) -> dict[str, str]:
    """Return the visible GPUs that a device may mean.

    Args:
        device: ``cuda`` for any, or one of them.

    Returns:
        The names of their locks by ``cuda:0`` and so on.
    """
    numbers = range(torch.cuda.device_count()) if device.index is None else [device.index]
    return {f"cuda:{number}": f".gpu-{torch.cuda.get_device_properties(number).uuid}.lock" for number in numbers}


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
        place, lock = _first_free({place: FileLock(folder / name) for place, name in gpus(device).items()}, note)
    except (OSError, NotImplementedError) as fault:
        note(f"no lock for the GPU in {folder} ({fault}): going on without")
        yield device
        return
    try:
        yield torch.device(place)
    finally:
        lock.release()


def _first_free(locks: dict[str, FileLock], note: Callable[[str], None]) -> tuple[str, FileLock]:
    waited = False
    while True:
        for place, lock in locks.items():
            try:
                lock.acquire(timeout=0)
                return place, lock
            except Timeout:
                continue
        if not waited:
            note(f"waiting for a GPU: other jobs hold {', '.join(locks)}")
            waited = True
        time.sleep(PAUSE)
