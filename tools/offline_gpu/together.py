"""Run several Python programs in forks of one process that has imported their libraries, so that start-up is paid once.

    python together.py --processes 2 --imports torch,pandas "-m sibp run j-table2 --out results/runs" "workflow/notebooks/j-fig2.py"

Each argument is one program's command line without `python`. What a program prints appears whole when it ends, under its command line.
The exit code is 1 if any program failed, and the last line names those that did. Meant for many small jobs on Linux: a fork shares
nothing with its siblings but the imports.
"""

import argparse
import importlib
import os
import runpy
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO


def run(command: str) -> None:
    """Run a program in this process as `python COMMAND` would."""
    words = shlex.split(command)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


def fork(command: str) -> tuple[int, IO[str]]:
    """Start a program in a fork; return its process id and the file that gets what it prints."""
    printed = tempfile.TemporaryFile("w+", encoding="utf-8")
    sys.stdout.flush()
    if process := os.fork():
        return process, printed
    code = 1
    try:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        run(command)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # nothing of the parent's is to be cleaned up here


def run_all(commands: list[str], processes: int) -> Iterator[tuple[str, str, int]]:
    """Run all programs in their order, at most `processes` at a time; yield each one's command line, print and exit code at its end."""
    waiting, running = list(commands), {}
    while waiting or running:
        while waiting and len(running) < processes:
            command = waiting.pop(0)
            process, printed = fork(command)
            running[process] = command, printed
        process, status = os.wait()
        command, printed = running.pop(process)
        with printed:
            printed.seek(0)
            said = printed.read()
        yield command, said, os.waitstatus_to_exitcode(status)


def warm_up(modules: Iterable[str]) -> None:
    """Import what the programs will import."""
    for name in modules:
        importlib.import_module(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=1, metavar="N")
    parser.add_argument("--imports", default="", metavar="MODULE,...")
    parser.add_argument("commands", nargs="+", metavar="COMMAND")
    arguments = parser.parse_args()
    sys.path[0] = os.getcwd()  # as for `python -m`; a script gets its own folder in its place
    warm_up(filter(None, arguments.imports.split(",")))
    failed = []
    for command, said, code in run_all(arguments.commands, arguments.processes):
        print(f"--- python {command}\n{said}", end="", flush=True)
        if code:
            failed.append(command)
    if failed:
        sys.exit(f"{len(failed)} of {len(arguments.commands)} programs failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
