"""What the commands do that train: `sibp run` and `sibp fit`. What takes long to import is imported where it is needed."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import sibp.cli.inputs as inputs
from sibp.core.errors import InputError

if TYPE_CHECKING:  # torch and pandas take seconds to import; `sibp --help` should not wait for them
    from sibp.results.progress import Progress

__all__ = ["fit", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Train the methods of one experiment.

    Args:
        arguments: the command's words, see `sibp.cli.parser`.

    Returns:
        The exit code.

    Raises:
        InputError: for words that do not fit together.
    """
    from sibp.experiments.jobs import Job
    from sibp.training import checkpoint, runs

    if arguments.ensemble and not arguments.method:
        raise InputError("ensemble: is one of a label's, need --method as well")
    device = inputs.device(arguments.device)
    resolved = inputs.resolved(inputs.path(arguments.experiment), arguments.scale, device)
    if not (arguments.method or resolved.labels):
        print(f"{resolved.id}: nothing to train, it is {resolved.origin}")
        return 0
    experiment = resolved.trained
    labels = [arguments.method] if arguments.method else experiment.labels
    for label in labels:
        experiment.method(label)
    inputs.check_data(experiment.data, arguments.data_dir)
    observer = _observer(arguments.tensorboard)
    out = Path(arguments.out) / experiment.id
    inputs.check_writable(out)
    if line := runs.slower_code(experiment, labels, device):
        observer.note(line)
    for label in labels:
        runs.run(
            experiment,
            label,
            device,
            arguments.threads,
            out=arguments.out,
            progress=observer,
            root=arguments.data_dir,
            checkpoint_seconds=checkpoint.SECONDS if arguments.checkpoint_seconds is None else arguments.checkpoint_seconds,
            ensemble=arguments.ensemble,
        )
        name = Job(experiment, label).part(arguments.ensemble) if arguments.ensemble else label
        print(out / f"{name}.parquet", flush=True)
    print(f"sibp: the results are in {out}; to draw them: sibp show {shlex.quote(str(out))}", file=sys.stderr)
    return 0


def _observer(curves: str | None) -> "Progress":
    """Return the observers of a training: the terminal, and TensorBoard's files below the folder `curves`.

    Raises:
        InputError: if these cannot be written.
    """
    from sibp.results import progress, tensorboard

    observer = progress.for_stream(sys.stderr)
    if curves is None:
        return observer
    try:
        observer = tensorboard.to_folder(curves, observer)
    except ImportError as fault:
        raise InputError(str(fault)) from None
    inputs.check_writable(Path(curves), "tensorboard")
    return observer


def fit(arguments: argparse.Namespace) -> int:
    """Train the networks of an experiment's `fits`.

    Args:
        arguments: the command's words, see `sibp.cli.parser`.

    Returns:
        The exit code.
    """
    from sibp.bench.fits import study

    device = inputs.device(arguments.device)
    experiment = inputs.resolved(inputs.path(arguments.experiment), arguments.scale, device)
    networks = study.check(experiment).networks
    labels = arguments.networks or networks
    inputs.check_known("network", labels, networks)
    for label in labels:
        inputs.check_data(networks[label].data, arguments.data_dir)
    inputs.check_writable(Path(arguments.out) / experiment.id)
    for label in labels:
        options = {"device": device, "threads": arguments.threads, "root": arguments.data_dir}
        print(study.study(experiment, label, Path(arguments.out), **options), flush=True)
    return 0
