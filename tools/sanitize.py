"""The CPU kernels under the compiler's sanitizers: a read or write outside an array, or undefined behaviour, fails with its line.

    python -m tools.sanitize

The kernels are compiled with them, which takes the longest and is cached like any build, and run once each (`TESTS`). The address
sanitizer is loaded before Python, so it watches torch's arrays as well as the kernels' own. Only GCC's are used. Where they are not
installed, one line says what brings them and nothing fails, unless SANITIZERS=needed, which continuous integration sets. Kernels that are
not loaded, arrays that are not watched, and a skipped test do fail.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = "tests/unit/kernels/test_every_kernel.py"
FLAGS = [
    *("-O1", "-g1", "-fno-omit-frame-pointer", "-D_GLIBCXX_ASSERTIONS"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
]
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "OMP_NUM_THREADS": "1",
    "SIBP_NATIVE": "1",
}
PACKAGES = (
    "Debian and Ubuntu have them in libgcc-N-dev, which g++ brings, Fedora in libasan and libubsan, conda-forge in libsanitizer"
)


def pytest_configure() -> None:
    """Load the kernels with the sanitizers in them; this module is a plugin of the tests that `main` runs."""
    from sibp.kernels import native

    native.FLAGS[:] = [flag for flag in native.FLAGS if not flag.startswith("-O")] + FLAGS
    if native.status() != "compiled":
        pytest.exit(f"sanitizers: the kernels were not loaded: {native.status()}", returncode=1)
    if not _watches_arrays():
        pytest.exit("sanitizers: torch's arrays are not watched, the address sanitizer must be loaded before Python", returncode=1)


def _watches_arrays() -> bool:
    """Return whether the address behind the end of an array counts as one that nobody may touch."""
    import torch

    array = torch.zeros(5)
    is_poisoned = getattr(ctypes.CDLL(None), "__asan_address_is_poisoned", None)
    return is_poisoned is not None and bool(is_poisoned(ctypes.c_void_p(array.data_ptr() + array.nbytes)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Fail where a test is skipped, whatever the reason."""
    if report.skipped:
        pytest.exit(f"sanitizers: {report.nodeid} was skipped", returncode=1)


def libraries(compiler: str) -> list[str]:
    """Return the files of GCC's sanitizers, in the order in which they are loaded.

    Args:
        compiler: the C++ compiler that builds the kernels.

    Returns:
        Their paths; none if the compiler lacks one.
    """
    paths = []
    for name in ("libasan.so", "libubsan.so"):
        done = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        paths.append(Path(done.stdout.strip()))
    return [str(path.resolve()) for path in paths] if all(path.is_absolute() and path.exists() for path in paths) else []


def main() -> int:
    """Run the tests of every kernel under the sanitizers.

    Returns:
        The exit status: 0 if nothing is wrong, or if there are no sanitizers and they are not needed.
    """
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    preloaded = libraries(compiler) if compiler else []
    if not preloaded:
        print(
            f"sanitizers: not run, {compiler or 'no C++ compiler'} has no libasan.so and libubsan.so; {PACKAGES}", file=sys.stderr
        )
        return int(os.environ.get("SANITIZERS") == "needed")
    # -s: a report is written as the process dies, too late for what pytest holds back
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-s",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "tools.sanitize",
        "-o",
        "addopts=-q",
        TESTS,
    ]
    environment = {**os.environ, **OPTIONS, "LD_PRELOAD": " ".join(preloaded)}
    return int(subprocess.run(command, env=environment, check=False).returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
