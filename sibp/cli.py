"""The command line: `sibp data`, `run`, `show`, `list`, `doctor`, `check` and `bench`.

Exit codes: 0 for success (a diverged member is a result), 2 for bad input, 1 for a failure, 130 for Ctrl-C, 143 for SIGTERM.
Whatever goes wrong is said in one line; `--debug` adds the traceback. All checks come before anything is trained or written.
"""

import argparse
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sibp.core.version import VERSION

if TYPE_CHECKING:  # torch and pandas take seconds to import; `sibp --help` should not wait for them
    from sibp.experiments.schema import Experiment, Trained
    from sibp.results.progress import Progress

__all__ = ["main"]

EXPERIMENTS = Path("workflow/experiments")
EXTRA = ("filelock", "numpy", "pandas", "PIL", "pyarrow", "pydantic", "rich", "yaml")  # what the extra `experiments` installs


class UsageError(Exception):
    """Bad input, said in one line; exit code 2."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest right word."""

    def error(self, message: str) -> NoReturn:
        if match := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            from sibp.core import messages

            message += messages.suggest(match[1], re.findall(r"[\w.-]+", match[2]))
        raise UsageError(f"{message} (see '{self.prog} --help')")


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
        arguments = _parser().parse_args(argv)
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
            raise
        code, line = _explain(fault)
        print(f"sibp: error: {line}", file=sys.stderr)
        return code


def _note_other_checkout() -> None:
    """Say if this environment belongs to a checkout whose package is not the one that runs: it was copied or moved along with it."""
    runs, beside = Path(__file__), Path(sys.prefix).parent / "sibp" / "cli.py"
    wanted = str(runs.parents[1]) in sys.path  # by PYTHONPATH, or as the folder in which `python -m sibp` was started
    if beside.is_file() and not beside.samefile(runs) and not wanted:
        print(
            f"sibp: running the package in {runs.parent}, not the one beside {sys.prefix}: make setup there mends that",
            file=sys.stderr,
        )


def _check_extra(argv: Sequence[str]) -> None:
    """Refuse to do more than print help where the package is installed for its optimizers alone.

    Raises:
        UsageError: naming what to install.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing and not {"-h", "--help", "--version"} & set(argv):
        need = "need the extra `experiments`: pip install '.[experiments]' in the source folder"
        raise UsageError(f"{', '.join(missing)}: not installed, {need}")


def _explain(fault: Exception) -> tuple[int, str]:
    """Return the exit code and the line for an exception."""
    text = " ".join(str(fault).split())
    if isinstance(fault, UsageError) or type(fault).__name__ == "SpecError":
        return 2, text
    if type(fault).__name__ in ("DataError", "RecordError"):
        return 1, text
    if isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError":
        return 1, f"out of memory: {text}; a smaller `training.ensemble` needs less"
    return 1, f"{type(fault).__name__}: {text} (--debug shows where)"


def _parser() -> Parser:
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    parser = Parser("sibp", description="Semi-Implicit Back Propagation: train, compare, reproduce.", parents=[common])
    parser.add_argument("--version", action="version", version=f"sibp {VERSION}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, parents=[common])
        added.set_defaults(command=command)
        return added

    data = add("data", _data, "Fetch, check and cache data sets.")
    data.add_argument("names", nargs="*", metavar="NAME", help="mnist, fashion-mnist, cifar10; all of them by default")
    data.add_argument("--dir", metavar="D", help="the cache; by default the user's")
    data.add_argument("--json", metavar="FILE", help="also write the SHA-256 of all arrays to a file")

    run = add("run", _run, "Train the methods of one experiment.")
    run.add_argument("experiment", metavar="EXPERIMENT", help="a file, or an id in workflow/experiments")
    run.add_argument("--method", metavar="M", help="one label of the experiment; all of them by default")
    run.add_argument("--out", metavar="DIR", required=True, help="results go to DIR/<id>/<label>.parquet")
    run.add_argument("--data-dir", metavar="D", help="the data cache; by default the user's")
    text = "least time between two checkpoints DIR/<id>/<label>.pt, from which a killed run goes on (default: 60)"
    run.add_argument("--checkpoint-seconds", type=_seconds, default=60.0, metavar="N", help=text)
    text = "train only the N-th of the ensembles of --method, into DIR/<id>/<label>.<N>of<M>.parquet; `make reference` joins them"
    run.add_argument("--ensemble", type=_positive, metavar="N", help=text)
    run.add_argument(
        "--tensorboard", metavar="DIR", help="also write curves, one per member and measure, for `tensorboard --logdir DIR`"
    )
    _add_machine(run)

    show = add("show", _show, "Draw the curves of finished runs, here or as a picture.")
    show.add_argument("path", metavar="PATH", help="a folder DIR/<id> of 'sibp run --out DIR', or one run's file in it")
    show.add_argument("--record", action="store_true", help="print as JSON what was trained, on what, with what, and for how long")
    show.add_argument("--measure", metavar="M", help="what to draw; the test accuracy by default, or the first that there is")
    show.add_argument("--axis", default="epoch", choices=["epoch", "step", "seconds"], help="default: epoch")
    show.add_argument("--png", metavar="FILE", help="also write a picture of all measures; FILE may end in .svg or .pdf, too")
    show.add_argument("--html", metavar="FILE", help="also write a page with picture, numbers and settings, in one file")

    listed = add("list", _list, "Show what experiments would train.")
    listed.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="a file, or an id in workflow/experiments")
    _add_machine(listed)

    doctor = add("doctor", _doctor, "Show what this machine has, and what a full workflow run would take.")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument("--data-dir", metavar="D", help="the data cache; by default the user's")
    doctor.add_argument(
        "--scale", metavar="S", help="only what the experiments take at this scale, counted: full, laptop or a file"
    )
    doctor.add_argument(
        "--device", metavar="D", help="for --scale: h100, h200 or cpu, by rates from a table; by default this machine's"
    )

    blocks = add("check", _check, "Check what only the device can tell: numbers, bits, speed.")
    blocks.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="default: auto")
    blocks.add_argument("--seconds", type=_seconds, default=200.0, metavar="S", help="begin nothing after these (default: 200)")
    blocks.add_argument("--out", type=Path, metavar="FOLDER", help="also write FOLDER/check.json, anew after each block")
    blocks.add_argument("--only", nargs="+", metavar="BLOCK", help="these blocks; all by default")

    bench = add("bench", _bench, "Measure the cost of steps side by side.")
    bench.add_argument("--json", metavar="FILE", help="also write the measurements to a file")
    bench.add_argument("--cases", nargs="+", metavar="CASE", help="which networks, by name; all of them by default")
    bench.add_argument("--quick", action="store_true", help="small networks: shows that it works, nothing about cost")
    text = "about how long the rounds of one network take together (default: 20)"
    bench.add_argument("--seconds", type=_seconds, metavar="S", help=text)
    bench.add_argument("--scale", metavar="S", help="the workflow's scale that this is part of, noted in the file")
    _add_machine(bench, scale=False)
    return parser


def _add_machine(parser: argparse.ArgumentParser, *, scale: bool = True) -> None:
    if scale:
        parser.add_argument("--scale", default="auto", metavar="S", help="auto, full, laptop, smoke or a file (default: auto)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="default: auto")
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads; torch's choice by default")


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


def _data(arguments: argparse.Namespace) -> int:
    import sibp.data as data
    from sibp.core import messages

    for name in arguments.names:
        if name not in data.names():
            raise UsageError(f"data set: {messages.need(name, data.names())}")
    hashes = {}
    for name in arguments.names or data.names():
        dataset = data.fetch(name, arguments.dir, report=lambda text: print(text, file=sys.stderr))
        print(f"{name}: {len(dataset.train_images)} + {len(dataset.test_images)} images, from {dataset.source}")
        hashes[name] = dataset.hashes
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from sibp.experiments.jobs import Job
    from sibp.training import runs

    if arguments.ensemble and not arguments.method:
        raise UsageError("ensemble: is one of a label's, need --method as well")
    device = _device(arguments.device)
    resolved = _resolved(_path(arguments.experiment), arguments.scale, device)
    if not (arguments.method or resolved.labels):
        print(f"{resolved.id}: nothing to train, it is {resolved.origin}")
        return 0
    experiment = resolved.trained
    labels = [arguments.method] if arguments.method else experiment.labels
    for label in labels:
        experiment.method(label)
    _check_data(experiment, arguments.data_dir)
    observer = _observer(arguments.tensorboard)
    out = Path(arguments.out) / experiment.id
    _check_writable(out)
    _note_slower_code(experiment, labels, device, observer)
    for label in labels:
        runs.run(
            experiment,
            label,
            device,
            arguments.threads,
            out=arguments.out,
            progress=observer,
            root=arguments.data_dir,
            checkpoint_seconds=arguments.checkpoint_seconds,
            ensemble=arguments.ensemble,
        )
        name = Job(experiment, label).part(arguments.ensemble) if arguments.ensemble else label
        print(out / f"{name}.parquet", flush=True)
    print(f"sibp: the results are in {out}; to draw them: sibp show {shlex.quote(str(out))}", file=sys.stderr)
    return 0


def _note_slower_code(experiment: "Trained", labels: Sequence[str], device: str, observer: "Progress") -> None:
    """Say once if some label's training on the CPU has to do without the compiled kernels."""
    from sibp.kernels import native

    devices = {"cpu" if experiment.training_of(label).device == "cpu" else device for label in labels}
    if "cpu" in devices and (line := native.fallback()):
        observer.note(line)


def _observer(curves: str | None) -> "Progress":
    """Return the observers of a training: the terminal, and TensorBoard's files below the folder `curves`.

    Raises:
        UsageError: if these cannot be written.
    """
    from sibp.results import progress, tensorboard

    observer = progress.for_stream(sys.stderr)
    if curves is None:
        return observer
    try:
        observer = tensorboard.to_folder(curves, observer)
    except ImportError as fault:
        raise UsageError(str(fault)) from None
    _check_writable(Path(curves), "tensorboard")
    return observer


def _show(arguments: argparse.Namespace) -> int:
    from sibp.core import messages
    from sibp.results import chart, curves, page

    if arguments.record:
        return _show_record(Path(arguments.path))
    runs = curves.read(Path(arguments.path))
    preferred = [name for name in ("test_accuracy", "validation_accuracy", "train_accuracy") if name in runs.measures]
    measure = arguments.measure or [*preferred, *runs.measures][0]
    if measure not in runs.measures:
        raise UsageError(f"measure: {messages.need(measure, runs.measures)}")
    if arguments.png and Path(arguments.png).suffix not in page.PICTURES:
        raise UsageError(f"png: got {arguments.png!r}, need a file that ends in {', '.join(page.PICTURES)}")
    print(chart.text(runs, measure, arguments.axis, shutil.get_terminal_size().columns))
    for option, write in (("png", page.write_picture), ("html", page.write_page)):
        if file := getattr(arguments, option):
            _check_writable(Path(file).parent, option)
            try:
                write(runs, Path(file), arguments.axis)
            except ImportError as fault:
                raise UsageError(str(fault)) from None
            print(file)
    return 0


def _show_record(path: Path) -> int:
    """Print the record of a run, or by label those of several.

    Returns:
        The exit code.
    """
    from sibp.results import curves, records

    by_label = {file.stem: records.read_record(file) for file in curves.find(path)}
    print(json.dumps(next(iter(by_label.values())) if len(by_label) == 1 else by_label, indent=2))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from sibp.experiments.jobs import jobs

    device = _device(arguments.device)
    paths = [_path(arguments.experiment)] if arguments.experiment else _shipped()
    if not paths:
        raise UsageError(f"{EXPERIMENTS}: holds no experiment files; run this in the repository's root or name a file")
    for path in paths:
        experiment = _resolved(path, arguments.scale, device)
        print(f"{experiment.id}  {experiment.title}  [{experiment.scale}]{'' if experiment.labels else f'  {experiment.origin}'}")
        for job in jobs(experiment):
            print(f"  {job.label:16} {len(job.members):5} members x {job.steps} steps")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    import sibp.doctor as doctor

    if arguments.scale or arguments.device:
        return _counted(arguments)
    report = doctor.examine(EXPERIMENTS, arguments.data_dir)
    print(doctor.as_json(report) if arguments.json else doctor.as_text(report))
    return 0


def _counted(arguments: argparse.Namespace) -> int:
    """Print what the experiments take at a scale, by rates from a table or of this machine.

    Returns:
        The exit code.

    Raises:
        UsageError: for a device without rates.
    """
    import torch

    import sibp.doctor as doctor
    from sibp.bench import rates
    from sibp.core import messages

    if arguments.device is not None and arguments.device not in rates.DEVICES:
        raise UsageError(f"device: {messages.need(arguments.device, rates.DEVICES)}")
    here = "cuda" if torch.cuda.is_available() else "cpu"
    device = arguments.device or rates.measured(torch.device(here))
    counted = doctor.exhibits(EXPERIMENTS, arguments.scale or "full", device)
    print(doctor.as_json(counted) if arguments.json else doctor.as_table(counted))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    begun = time.monotonic()  # before torch is imported
    device = _device(arguments.device)
    from sibp.bench.check import blocks
    from sibp.core import messages

    for name in arguments.only or ():
        if name not in blocks.BLOCKS:
            raise UsageError(f"only: {messages.need(name, blocks.BLOCKS)}")
    if arguments.out:
        _check_writable(arguments.out)
    return blocks.main(device, arguments.seconds, arguments.out, arguments.only, begun)


def _bench(arguments: argparse.Namespace) -> int:
    device = _device(arguments.device)
    from sibp.bench import measure as bench
    from sibp.core import messages

    for name in arguments.cases or ():
        if name not in (known := bench.QUICK if arguments.quick else bench.CASES):
            raise UsageError(f"case: {messages.need(name, known)}")
    if arguments.json:
        _check_writable(Path(arguments.json).parent)
    files = (arguments.threads, arguments.json, arguments.cases)
    return bench.main(device, *files, quick=arguments.quick, seconds=arguments.seconds, scale=arguments.scale)


def _device(name: str) -> str:
    import torch

    from sibp.core import cuda

    if name == "cpu":
        return name
    fault = cuda.fault()
    if name == "cuda" and fault:
        raise UsageError(f"device: cuda asked for, but torch {torch.__version__} {fault}; need cpu or auto")
    return "cpu" if fault else "cuda"


def _path(text: str) -> Path:
    """Return the file of an experiment given as a path or as an id.

    Raises:
        UsageError: if there is none.
    """
    from sibp.core import messages
    from sibp.experiments import specs

    if Path(text).suffix in specs.SUFFIXES:
        return Path(text).expanduser()
    known = [path.stem for path in _shipped()]
    if text not in known:
        own = Path(f"{text}.yaml")
        hint = f"; did you mean '{own}'?" if own.is_file() else messages.suggest(text, known)
        raise UsageError(f"experiment: got {text!r}, need a .yaml file or an id of {EXPERIMENTS}{hint}")
    return EXPERIMENTS / f"{text}.yaml"


def _shipped() -> list[Path]:
    """Return the experiment files of the checkout that this is run in."""
    from sibp.experiments import yaml_file

    return [EXPERIMENTS / f"{name}.yaml" for name in yaml_file.names(EXPERIMENTS)]


def _resolved(path: Path, scale: str, device: str) -> "Experiment":
    """Return an experiment at a scale; scales are looked for beside its folder, then in the checkout that this is run in.

    `auto` reduces only what has a scale `laptop` beside its folder: an experiment of one's own, anywhere, runs as its file says.
    """
    from sibp.experiments import specs, yaml_file

    experiment = specs.load_experiment(path)
    beside = path.resolve().parent.parent / "scales"
    if scale == "auto":
        scale = "laptop" if device == "cpu" and (beside / "laptop.yaml").is_file() else specs.FULL
    folder = beside if yaml_file.names(beside) else EXPERIMENTS.parent / "scales"
    return specs.resolve(experiment, specs.load_scale(scale, folder, also=["auto"]))


def _check_data(experiment: "Trained", root: str | None) -> None:
    import sibp.data as data

    settings = experiment.data
    if not settings.is_real:
        return
    try:
        data.load(settings.name, root)
    except data.DataError as fault:
        raise UsageError(str(fault)) from None


def _check_writable(folder: Path, option: str = "out") -> None:
    """Make an output folder and try to write there, before hours are spent.

    Raises:
        UsageError: if that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise UsageError(f"{option}: cannot write to {folder}: {fault.strerror}") from None
