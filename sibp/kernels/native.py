"""The fused CPU kernels: compiled once per machine, loaded by ctypes, never needed. `operators` calls them.

`csrc/` holds the solvers of `conjugate_gradient` in batch space and, for convolutions, in weight space, there with an l1 term as well. The
first use compiles them with the system's C++ compiler (a few seconds) into the user's cache; where that fails, or with SIBP_NATIVE=0,
the eager code runs in its place, with the same result up to rounding, and `status()` says why. The compiled code uses torch's own
threads.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from sibp.core import atomic
from sibp.core.paths import cache_folder
from sibp.kernels.switch import is_off, obstacle, off

__all__ = ["LEAKS", "SUFFIXES", "fallback", "function", "off", "status", "supports"]

LEAKS = {"identity": 1.0, "relu": 0.0, "leaky_relu": 0.01}  # slopes below zero
FLAGS = [
    *("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-fvisibility=hidden"),
    # sums may be reordered into vector lanes; NaN and infinity keep their meaning
    *("-fno-math-errno", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"),
]
SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}


def _sources() -> dict[str, bytes]:
    files = sorted((resources.files("sibp.kernels") / "csrc").iterdir(), key=lambda file: file.name)
    return {file.name: file.read_bytes() for file in files if file.name.endswith((".cpp", ".hpp")) and file.name[0] != "."}


def _fingerprint(sources: dict[str, bytes], compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=60, check=True).stdout
    cpu = Path("/proc/cpuinfo")  # -march=native ties the library to this processor's instruction sets
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    words = [*sources.values(), version, flags.encode(), platform.platform().encode(), " ".join(FLAGS).encode()]
    return hashlib.sha256(b"\0".join(words)).hexdigest()[:16]


def _compile(sources: dict[str, bytes], compiler: str, cache: Path, name: str) -> Path:
    """Return the compiled library's file, `<name>-<content's hash>.so`, which appears whole.

    Raises:
        OSError: if the compiler fails; with its last line.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        for file, source in sources.items():
            (Path(folder) / file).write_bytes(source)
        built = Path(folder) / "kernels.so"
        units = [str(Path(folder) / file) for file in sources if file.endswith(".cpp")]
        command = [compiler, *FLAGS, *units, "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise OSError(f"{compiler} failed: {(done.stderr.strip().splitlines() or ['no message'])[0]}")
        target = cache / f"{name}-{_digest(built)}.so"
        atomic.write(target, built.read_bytes())  # two processes may compile at once: the last one wins with the same code
        return target


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _compiled(cache: Path, name: str) -> Path | None:
    """Return the library of a name in the cache, if its content is what its name says; loading half of one would kill the process."""
    for file in cache.glob(f"{name}-*.so"):
        if file.stem == f"{name}-{_digest(file)}":
            return file
        with suppress(OSError):
            file.unlink()
    return None


@cache
def _library() -> tuple[ctypes.CDLL | None, str]:
    if reason := obstacle():
        return None, reason
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None, "no C++ compiler found"
    try:
        sources = _sources()
        cache, name = cache_folder() / "native", f"kernels-{_fingerprint(sources, compiler)}"
        return ctypes.CDLL(str(_compiled(cache, name) or _compile(sources, compiler, cache, name))), "compiled"
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"not compiled: {_reason(error)}"


def _reason(error: Exception) -> str:
    """Return an error as part of one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


def status() -> str:
    """Return `compiled`, or why the eager code runs instead; for a run's record."""
    return _library()[1]


def fallback() -> str:
    """Return one line on why slower code runs in the kernels' place, for a run to say; nothing if they run, or if the user wants it so."""
    library, reason = _library()
    wanted = os.environ.get("SIBP_NATIVE", "1") == "0"
    return "" if library or wanted else f"slower code runs in place of the compiled kernels: {reason}"


def supports(activation: str, *tensors: Tensor) -> bool:
    """Return whether the kernels can work on these tensors: CPU, float32 or float64, a piecewise linear activation."""
    plain = all(t.device.type == "cpu" and t.dtype in SUFFIXES for t in tensors)
    return plain and activation in LEAKS and not is_off() and _library()[0] is not None


def function(name: str, dtype: torch.dtype, types: Sequence[type]) -> Callable[..., None]:
    """Return a compiled function that takes arguments of these ctypes and returns nothing."""
    function = getattr(_library()[0], f"{name}_{SUFFIXES[dtype]}")
    function.argtypes, function.restype = types, None
    return function
