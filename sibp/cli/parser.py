"""The words of the command line."""

import argparse
import re
from collections.abc import Callable
from typing import NoReturn

from typing_extensions import override

import sibp.cli.commands as commands
import sibp.cli.training as training
from sibp.core.errors import InputError
from sibp.core.version import VERSION

__all__ = ["Parser", "build"]

MOST_THREADS = 1024  # more cost gigabytes of stacks, and no machine has as many cores


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest right word."""

    @override
    def error(self, message: str) -> NoReturn:
        if match := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            from sibp.core import messages

            message += messages.suggest(match[1], re.findall(r"[\w.-]+", match[2]))
        raise InputError(f"{message} (see '{self.prog} --help')")


def build() -> Parser:
    """Return the parser; what it gives has the function to call as `command`."""
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    parser = Parser("sibp", description="Semi-Implicit Back Propagation: train, compare, reproduce.", parents=[common])
    parser.add_argument("--version", action="version", version=f"sibp {VERSION}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=text, description=text, parents=[common])
        added.set_defaults(command=command)
        return added

    _add_data(add("data", commands.data, "Fetch, check and cache data sets."))
    _add_run(add("run", training.run, "Train the methods of one experiment."))
    _add_fit(add("fit", training.fit, "Train the networks of one experiment that are none of the papers' kinds, its `fits`."))
    _add_show(add("show", commands.show, "Draw the curves of finished runs, here or as a picture."))
    _add_list(add("list", commands.list, "Show what experiments would train."))
    _add_doctor(add("doctor", commands.doctor, "Show what this machine has, and what a full workflow run would take."))
    _add_check(add("check", commands.check, "Check what only the device can tell: numbers, bits, speed."))
    _add_bench(add("bench", commands.bench, "Measure the cost of steps side by side."))
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="mnist, fashion-mnist, cifar10; all of them by default")
    parser.add_argument("--dir", type=_path, metavar="D", help="the cache; by default the user's")
    parser.add_argument("--json", type=_path, metavar="FILE", help="also write the SHA-256 of all arrays to a file")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXPERIMENT", help="a file, or an id in workflow/experiments")
    parser.add_argument("--method", metavar="M", help="one label of the experiment; all of them by default")
    parser.add_argument("--out", type=_path, metavar="DIR", required=True, help="results go to DIR/<id>/<label>.parquet")
    parser.add_argument("--data-dir", type=_path, metavar="D", help="the data cache; by default the user's")
    text = "least time between two checkpoints DIR/<id>/<label>.pt, from which a killed run goes on (default: 60)"
    parser.add_argument("--checkpoint-seconds", type=_seconds, metavar="N", help=text)
    text = "train only the N-th of the ensembles of --method, into DIR/<id>/<label>.<N>of<M>.parquet; `make reference` joins them"
    parser.add_argument("--ensemble", type=_positive, metavar="N", help=text)
    parser.add_argument(
        "--tensorboard",
        type=_path,
        metavar="DIR",
        help="also write curves, one per member and measure, for `tensorboard --logdir DIR`",
    )
    _add_scale(parser)
    _add_device(parser)
    _add_threads(parser)


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXPERIMENT", help="a file, or an id in workflow/experiments")
    parser.add_argument(
        "networks", nargs="*", metavar="NETWORK", help="labels of the experiment's networks; all of them by default"
    )
    text = "results go to DIR/<id>/<label>.json; run by run in a folder beside it, from which a stopped study goes on"
    parser.add_argument("--out", type=_path, metavar="DIR", required=True, help=text)
    parser.add_argument("--data-dir", type=_path, metavar="D", help="the data cache; by default the user's")
    _add_scale(parser)
    _add_device(parser)
    _add_threads(parser)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=_path, metavar="PATH", help="a folder DIR/<id> of 'sibp run --out DIR', or one run's file in it"
    )
    parser.add_argument(
        "--record", action="store_true", help="print as JSON what was trained, on what, with what, and for how long"
    )
    parser.add_argument("--measure", metavar="M", help="what to draw; the test accuracy by default, or the first that there is")
    parser.add_argument("--axis", choices=["epoch", "step", "seconds"], help="default: epoch")
    parser.add_argument(
        "--png", type=_path, metavar="FILE", help="also write a picture of all measures; FILE may end in .svg or .pdf, too"
    )
    parser.add_argument(
        "--html", type=_path, metavar="FILE", help="also write a page with picture, numbers and settings, in one file"
    )


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="a file, or an id in workflow/experiments")
    _add_scale(parser)
    _add_device(parser)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--data-dir", type=_path, metavar="D", help="the data cache; by default the user's")
    parser.add_argument(
        "--scale", metavar="S", help="only what the experiments take at this scale, counted: full, cpu, laptop or a file"
    )
    parser.add_argument(
        "--device", metavar="D", help="for --scale: h100, h200 or cpu, by rates from a table; by default this machine's"
    )


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_device(parser)
    parser.add_argument(
        "--seconds", type=_seconds, default=200.0, metavar="S", help="begin nothing after these (default: %(default)g)"
    )
    parser.add_argument("--out", type=_path, metavar="FOLDER", help="also write FOLDER/check.json, anew after each block")
    parser.add_argument("--only", nargs="+", metavar="BLOCK", help="these blocks; all by default")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=_path, metavar="FILE", help="also write the measurements to a file")
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="which networks, by name; all of them by default")
    parser.add_argument("--quick", action="store_true", help="small networks: shows that it works, nothing about cost")
    text = "about how long the rounds of one network take together (default: 20)"
    parser.add_argument("--seconds", type=_seconds, metavar="S", help=text)
    parser.add_argument("--scale", metavar="S", help="the workflow's scale that this is part of, noted in the file")
    _add_device(parser)
    _add_threads(parser)


def _add_scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", default="auto", metavar="S", help="auto, full, cpu, laptop, smoke or a file (default: auto)")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="default: auto")


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_threads, metavar="N", help="CPU threads; torch's choice by default")


def _path(text: str) -> str:
    if not text:  # of a shell variable that is not set; as a path it would be the current folder
        raise argparse.ArgumentTypeError("got '', need a path")
    return text


def _threads(text: str) -> int:
    if _positive(text) > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"got {text}, need at most {MOST_THREADS}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, need a whole number >= 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, need a number of seconds >= 0")
    return seconds
