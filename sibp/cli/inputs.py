"""What words of the command line stand for: devices, files, scales, folders. Each fault is an `InputError`."""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sibp.core.errors import InputError

if TYPE_CHECKING:
    from sibp.experiments.schema import Experiment
    from sibp.experiments.settings import Data

__all__ = [
    "EXPERIMENTS",
    "check_alone",
    "check_data",
    "check_file",
    "check_known",
    "check_writable",
    "device",
    "path",
    "resolved",
    "shipped",
]

EXPERIMENTS = Path("workflow/experiments")


def device(name: str) -> str:
    """Return the device that a name stands for.

    Args:
        name: ``cpu``, ``cuda``, or ``auto``.

    Returns:
        ``cuda`` where torch can use it and the name allows it, else ``cpu``.

    Raises:
        InputError: if CUDA is named and cannot be used.
    """
    import torch

    from sibp.core import cuda

    if name == "cpu":
        return name
    fault = cuda.fault()
    if name == "cuda" and fault:
        raise InputError(f"device: cuda asked for, but torch {torch.__version__} {fault}; need cpu or auto")
    return "cpu" if fault else "cuda"


def path(text: str) -> Path:
    """Return the file of an experiment given as a path or as an id.

    Args:
        text: the path or the id.

    Returns:
        The file; one given as a path need not exist.

    Raises:
        InputError: if there is none.
    """
    from sibp.core import messages
    from sibp.experiments import specs

    if Path(text).suffix in specs.SUFFIXES:
        return Path(text).expanduser()
    known = [path.stem for path in shipped()]
    if text not in known:
        own = Path(f"{text}.yaml")
        hint = f"; did you mean '{own}'?" if own.is_file() else messages.suggest(text, known)
        raise InputError(f"experiment: got {text!r}, need a .yaml file or an id of {EXPERIMENTS}{hint}")
    return EXPERIMENTS / f"{text}.yaml"


def shipped() -> list[Path]:
    """Return the experiment files of the checkout that this is run in.

    Returns:
        Files, sorted by name; none outside a checkout.
    """
    from sibp.experiments import yaml_file

    return [EXPERIMENTS / f"{name}.yaml" for name in yaml_file.names(EXPERIMENTS)]


def resolved(path: Path, scale: str, device: str) -> "Experiment":
    """Return an experiment at a scale; scales are looked for beside its folder, then in the checkout that this is run in.

    `auto` reduces only what has a scale `laptop` beside its folder: an experiment of one's own, anywhere, runs as its file says.

    Args:
        path: the experiment's file.
        scale: a scale's name or file, or ``auto``.
        device: ``cpu`` or ``cuda``.

    Returns:
        The experiment. What is wrong with it or with the scale is a SpecError.
    """
    from sibp.experiments import specs, yaml_file

    experiment = specs.load_experiment(path)
    beside = path.resolve().parent.parent / "scales"
    if scale == "auto":
        scale = specs.automatic_scale(device)
        scale = scale if (beside / f"{scale}.yaml").is_file() else specs.FULL
    folder = beside if yaml_file.names(beside) else EXPERIMENTS.parent / "scales"
    return specs.resolve(experiment, specs.load_scale(scale, folder, also=["auto"]))


def check_data(settings: "Data", root: str | None) -> None:
    """Refuse to train on a data set that is not in the cache.

    Args:
        settings: the data of what is trained, at its scale.
        root: the data cache; None takes the user's.

    Raises:
        InputError: saying how to fetch it.
    """
    import sibp.data as data

    if not settings.is_real:
        return
    try:
        data.load(settings.name, root)
    except data.DataError as fault:
        raise InputError(str(fault)) from None


def check_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that does not exist.

    Args:
        what: the word for such a name, for the message.
        names: as they were given.
        known: those that exist.

    Raises:
        InputError: for the first of `names` that is not among them.
    """
    from sibp.core import messages

    known = [*known]
    for name in names:
        if name not in known:
            raise InputError(f"{what}: {messages.need(name, known)}")


def check_alone(option: str, arguments: argparse.Namespace, others: Iterable[str]) -> None:
    """Refuse options that another one leaves without effect.

    Args:
        option: that one, as it was given.
        arguments: the command's words.
        others: their names in `arguments`.

    Raises:
        InputError: for the first of `others` that was given.
    """
    for other in others:
        if getattr(arguments, other) is not None:
            raise InputError(f"{other.replace('_', '-')}: has no effect with --{option}, leave one of the two out")


def check_file(file: Path, option: str) -> None:
    """Refuse an output file that cannot be written.

    Args:
        file: of the output.
        option: the word that names it, for the message.

    Raises:
        InputError: if it is a folder, or its folder cannot be written to.
    """
    if file.is_dir():
        raise InputError(f"{option}: got {str(file)!r}, which is a folder, need a file")
    check_writable(file.parent, option)


def check_writable(folder: Path, option: str = "out") -> None:
    """Make an output folder and try to write there, before hours are spent.

    Args:
        folder: of the output.
        option: the word that names it, for the message.

    Raises:
        InputError: if that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise InputError(f"{option}: cannot write to {folder}: {fault.strerror}") from None
