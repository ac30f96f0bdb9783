"""What the commands do that train nothing; each returns the exit code. What takes long to import is imported where it is needed."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import sibp.cli.inputs as inputs
from sibp.core.errors import InputError

__all__ = ["bench", "check", "data", "doctor", "list", "show"]


def data(arguments: argparse.Namespace) -> int:
    """Fetch, check and cache data sets.

    Args:
        arguments: the command's words, see `sibp.cli.parser`.

    Returns:
        The exit code.

    Raises:
        InputError: for a data set that does not exist.
    """
    import sibp.data as sets

    inputs.check_known("data set", arguments.names, sets.names())
    if arguments.json:
        inputs.check_file(Path(arguments.json), "json")
    hashes = {}
    for name in arguments.names or sets.names():
        dataset = sets.fetch(name, arguments.dir, report=lambda text: print(text, file=sys.stderr))
        print(f"{name}: {len(dataset.train_images)} + {len(dataset.test_images)} images, from {dataset.source}")
        hashes[name] = dataset.hashes
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Draw the curves of finished runs.

    Args:
        arguments: the command's words, see `sibp.cli.parser`.

    Returns:
        The exit code.

    Raises:
        InputError: for a measure that was not taken, a picture that cannot be drawn, or one beside the record.
    """
    from sibp.core import messages
    from sibp.results import chart, curves, page

    if arguments.record:
        inputs.check_alone("record", arguments, ("measure", "axis", "png", "html"))
        return _show_record(Path(arguments.path))
    runs, axis = curves.read(Path(arguments.path)), arguments.axis or "epoch"
    preferred = [name for name in ("test_accuracy", "validation_accuracy", "train_accuracy") if name in runs.measures]
    measure = arguments.measure or [*preferred, *runs.measures][0]
    if measure not in runs.measures:
        raise InputError(f"measure: {messages.need(measure, runs.measures)}")
    if arguments.png and Path(arguments.png).suffix not in page.PICTURES:
        raise InputError(f"png: got {arguments.png!r}, need a file that ends in {', '.join(page.PICTURES)}")
    print(chart.text(runs, measure, axis, shutil.get_terminal_size().columns))
    for option, write in (("png", page.write_picture), ("html", page.write_page)):
        if file := getattr(arguments, option):
            inputs.check_file(Path(file), option)
            try:
                write(runs, Path(file), axis)
            except ImportError as fault:
                raise InputError(str(fault)) from None
            print(file)
    return 0


def _show_record(path: Path) -> int:
    """Print the record of a run, or by label those of several.

    Returns:
        The exit code.
    """
    from sibp.results import curves

    by_label = curves.read_records(path)
    print(json.dumps(next(iter(by_label.values())) if len(by_label) == 1 else by_label, indent=2))
    return 0


def list(arguments: argparse.Namespace) -> int:
    """Print what experiments would train.

    Args:
        arguments: the command's words, see `sibp.cli.parser`.

    Returns:
        The exit code.

    Raises:
        InputError: where there are no experiments.
    """
    from sibp.experiments.jobs import jobs

    device = inputs.device(arguments.device)
    paths = [inputs.path(arguments.experiment)] if arguments.experiment else inputs.shipped()
    if not paths:
        raise InputError(f"{inputs.EXPERIMENTS}: holds no experiment files; run this in the repository's root or name a file")
    for path in paths:
        experiment = inputs.resolved(path, arguments.scale, device)
        print(f"{experiment.id}  {experiment.title}  [{experiment.scale}]{'' if experiment.labels else f'  {experiment.origin}'}")
        for job in jobs(experiment):
            print(f"  {job.label:16} {len(job.members):5} members x {job.steps} steps")
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Print what this machine has, or what the experiments take on it.

    Args:
        arguments: the command's words, see `sibp.cli.parser`.

    Returns:
        The exit code.
    """
    import sibp.cli.doctor as examination

    if arguments.scale or arguments.device:
        inputs.check_alone("scale" if arguments.scale else "device", arguments, ["data_dir"])
        return _counted(arguments)
    report = examination.examine(inputs.EXPERIMENTS, arguments.data_dir)
    print(examination.as_json(report) if arguments.json else examination.as_text(report))
    return 0


def _counted(arguments: argparse.Namespace) -> int:
    """Print what the experiments take at a scale, by rates from a table or of this machine.

    Returns:
        The exit code.

    Raises:
        InputError: for a device without rates.
    """
    import torch

    import sibp.cli.doctor as examination
    from sibp.bench import rates
    from sibp.core import cuda

    inputs.check_known("device", [] if arguments.device is None else [arguments.device], rates.DEVICES)
    device = arguments.device or rates.measured(torch.device("cpu" if cuda.fault() else "cuda"))
    counted = examination.exhibits(inputs.EXPERIMENTS, arguments.scale or "full", device)
    print(examination.as_json(counted) if arguments.json else examination.as_table(counted))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Check what only the device can tell.

    Args:
        arguments: the command's words, see `sibp.cli.parser`.

    Returns:
        The exit code.

    Raises:
        InputError: for a block that does not exist.
    """
    begun = time.monotonic()  # before torch is imported
    device = inputs.device(arguments.device)
    from sibp.bench.check import blocks

    inputs.check_known("only", arguments.only or (), blocks.BLOCKS)
    out = Path(arguments.out) if arguments.out else None
    if out:
        inputs.check_writable(out)
    return blocks.main(device, arguments.seconds, out, arguments.only, begun)


def bench(arguments: argparse.Namespace) -> int:
    """Measure the cost of steps side by side.

    Args:
        arguments: the command's words, see `sibp.cli.parser`.

    Returns:
        The exit code.

    Raises:
        InputError: for a network that does not exist.
    """
    device = inputs.device(arguments.device)
    from sibp.bench import measure as bench

    inputs.check_known("case", arguments.cases or (), bench.QUICK if arguments.quick else bench.CASES)
    if arguments.json:
        inputs.check_file(Path(arguments.json), "json")
    return bench.main(
        device,
        arguments.threads,
        arguments.json,
        arguments.cases,
        quick=arguments.quick,
        seconds=arguments.seconds,
        scale=arguments.scale,
    )
