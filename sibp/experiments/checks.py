"""What a schema cannot say: that the parts of an experiment fit each other, its data set and its methods."""

import math
from typing import Any

from sibp.core import messages
from sibp.core.options import OptionError, Options
from sibp.data.registry import Facts, known_facts
from sibp.experiments.schema import Trained
from sibp.experiments.settings import Training
from sibp.experiments.yaml_file import SpecError
from sibp.methods import registry
from sibp.nets import losses, papers

__all__ = ["check_experiment", "options"]


def check_experiment(experiment: Trained, context: str) -> None:
    """Check everything that can be known before any data is there.

    Args:
        experiment: resolved or not.
        context: the file, or what else a fault is in.

    Raises:
        SpecError: ``context: path: fault`` in one line, for the first fault.
    """
    try:
        _check_data(experiment)
        for label in experiment.methods:
            _check_network(experiment, label)
        for label, method in experiment.methods.items():
            _check_training(experiment, label, experiment.training_of(label))
            _check_grid(label, method.grid, method.options)
            _check_method(experiment, label, [options(experiment, label, point) for point in method.points()])
    except SpecError as fault:
        raise SpecError(f"{context}: {fault}") from None


def options(experiment: Trained, label: str, point: dict[str, Any]) -> Options:
    """Return one grid point's options, checked by the method itself.

    Args:
        experiment: it belongs to.
        label: its label.
        point: values by name.

    Returns:
        The method's options.

    Raises:
        SpecError: naming the option below ``methods.<label>``.
    """
    algorithm = experiment.algorithm(label)
    if algorithm not in registry.METHODS:
        fault = messages.need(algorithm, registry.METHODS)
        hint = "" if experiment.methods[label].method else ", or a key `method` under this label"
        raise SpecError(f"methods.{label}: {fault}{hint}")
    try:
        return registry.options(algorithm)(**point)
    except OptionError as fault:
        raise SpecError(f"methods.{label}.{fault}") from None


def _facts(experiment: Trained) -> Facts:
    try:
        return known_facts(experiment.data.name)
    except ValueError as fault:
        raise SpecError(f"data.name: {fault}") from None


def _check_data(experiment: Trained) -> None:
    data, known = experiment.data, _facts(experiment)
    if data.generated and not data.is_chain:
        return
    if data.train + data.validation > known.train:
        sizes = f"{data.train} + {data.validation}"
        raise SpecError(f"data: got train + validation = {sizes}, need at most {known.train} for {data.name}")
    if data.test > known.test:
        raise SpecError(f"data.test: got {data.test}, need at most {known.test} for {data.name}")


def _check_network(experiment: Trained, label: str) -> None:
    known, path = _facts(experiment), f"methods.{label}.network" if experiment.methods[label].network else "network"
    if experiment.loss not in losses.LOSSES:
        raise SpecError(f"loss: {messages.need(experiment.loss, losses.LOSSES)}")
    if known.classes is None and experiment.loss != "squared":
        raise SpecError(f"loss: got {experiment.loss!r}, need squared, since {experiment.data.name} has no classes")
    try:
        network = papers.build(**experiment.network_of(label).settings())
    except ValueError as fault:
        raise SpecError(f"{path}.{str(fault).removeprefix('network.')}") from None
    except TypeError as fault:  # a key that this kind of network does not take
        raise SpecError(f"{path}: {fault}") from None
    name, pixels, outputs = experiment.data.name, math.prod(known.shape), known.classes or 1
    if (inputs := math.prod(network.input_shape)) != pixels:
        raise SpecError(f"{path}: got an input of {inputs}, need {pixels} for {name}, {_times(known.shape)}")
    if (last := network.layers[-1].fan_out) != outputs:
        raise SpecError(f"{path}: got an output of {last}, need {outputs} for {name}")


def _check_training(experiment: Trained, label: str, training: Training) -> None:
    path = f"methods.{label}.training" if experiment.methods[label].training else "training"
    sizes = experiment.data.sizes()
    for split in training.measure:
        if sizes.get(split) == 0:
            raise SpecError(f"{path}.measure: got {split!r}, but `data` leaves no samples for it")
    size, train = training.batch_size, experiment.data.train
    algorithm = experiment.algorithm(label)
    if algorithm in registry.METHODS and registry.get(algorithm).whole_data:
        if (size, training.sampling) != ("full", "permutation"):
            got = f"batch_size {size} and sampling {training.sampling}"
            raise SpecError(f"{path}: got {got}, need full and permutation for {algorithm}")
    if (fixed := training.fixed_layers) is not None:
        layers = len(papers.build(**experiment.network_of(label).settings()).layers)
        if algorithm in registry.METHODS and registry.get(algorithm).whole_data:
            raise SpecError(f"{path}.fixed_layers: got {fixed}, need none for {algorithm}, whose blocks move together")
        if fixed >= layers:
            raise SpecError(f"{path}.fixed_layers: got {fixed}, need less than the network's {layers} layers")
    if isinstance(size, int) and size > train:
        raise SpecError(f"{path}.batch_size: got {size}, need at most data.train = {train}, or full")


def _check_method(experiment: Trained, label: str, points: list[Options]) -> None:
    """Let the method itself refuse the network.

    Raises:
        SpecError: with what it says.
    """
    network = papers.build(**experiment.network_of(label).settings())
    try:
        registry.build(experiment.algorithm(label), network, losses.get(experiment.loss), points[:1])
    except ValueError as fault:
        raise SpecError(f"methods.{label}: {fault}") from None


def _check_grid(label: str, grid: dict[str, tuple[Any, ...]], fixed: dict[str, Any]) -> None:
    for key, values in grid.items():
        if key in fixed:
            raise SpecError(f"methods.{label}.{key}: is fixed and in the grid, need one of the two")
        if len(set(map(str, values))) < len(values):
            raise SpecError(f"methods.{label}.grid.{key}: got {list(values)}, need different values")


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
