"""The command line: `sibp data`, `run`, `fit`, `show`, `list`, `doctor`, `check` and `bench`.

Exit codes: 0 for success (a diverged member is a result), 2 for bad input, 1 for a failure, 130 for Ctrl-C, 143 for SIGTERM.
Whatever goes wrong is said in one line; `--debug` shows the traceback before it. All checks come before anything is trained or written.
"""

import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import sibp.cli.parser as parser
from sibp.core import memory
from sibp.core.errors import InputError, OneLineError

__all__ = ["main", "preload"]

EXTRA = (
    "filelock",
    "numpy",
    "pandas",
    "PIL",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "yaml",
)  # what the extra `experiments` installs
OF_NO_COMMAND = ("scipy",)  # of these: `sibp.results.summary` alone imports it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; None takes the process's own.

    Returns:
        The exit code: 0, 2 for bad input, 1 for another fault, 128 and a signal's number after a signal.
    """
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    try:
        _note_other_checkout()
        _check_extra(sys.argv[1:] if argv is None else argv)
        arguments = parser.build().parse_args(argv)
        code = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads what is printed wants no more of it, like `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return 128 + signal.SIGPIPE
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except KeyboardInterrupt as stop:
        print(f"sibp: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 128 + getattr(stop, "number", signal.SIGINT)
    except Exception as fault:
        if debug:
            traceback.print_exc()
        code, line = _explain(fault)
        print(f"sibp: error: {line}", file=sys.stderr)
        return code


def preload() -> None:
    """Import what `main` imports when it trains, and parse that code for its hash, for processes whose forks will train."""
    import sibp.training.runs  # noqa: F401
    from sibp.experiments import checks, code  # noqa: F401

    code.fingerprint("every method")  # which reads and parses each file once


def _note_other_checkout() -> None:
    """Say if this environment belongs to a checkout whose package is not the one that runs: it was copied or moved along with it."""
    runs, beside = Path(__file__).parents[1] / "__init__.py", Path(sys.prefix).parent / "sibp" / "__init__.py"
    wanted = str(runs.parents[1]) in sys.path  # by PYTHONPATH, or as the folder in which `python -m sibp` was started
    if beside.is_file() and not beside.samefile(runs) and not wanted:
        print(
            f"sibp: running the package in {runs.parent}, not the one beside {sys.prefix}: make setup there mends that",
            file=sys.stderr,
        )


def _check_extra(argv: Sequence[str]) -> None:
    """Refuse to do more than print help where the package is installed for its optimizers alone.

    Raises:
        InputError: naming what to install.
    """
    missing = [name for name in EXTRA if name not in OF_NO_COMMAND and importlib.util.find_spec(name) is None]
    if missing and not {"-h", "--help", "--version"} & set(argv):
        need = "need the extra `experiments`: pip install '.[experiments]' in the source folder"
        raise InputError(f"{', '.join(missing)}: not installed, {need}")


def _explain(fault: Exception) -> tuple[int, str]:
    """Return the exit code and the line for an exception."""
    text = " ".join(str(fault).split())
    if isinstance(fault, InputError):
        return 2, text
    if isinstance(fault, OneLineError):
        return 1, text
    if memory.is_short(fault):
        return 1, f"out of memory: {text or type(fault).__name__}"
    return 1, f"{type(fault).__name__}: {text} (--debug shows where)"
