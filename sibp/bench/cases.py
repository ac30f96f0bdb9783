"""The networks of the papers' exhibits with the steps that are timed on each, and the ratios that the package promises."""

from dataclasses import dataclass

from sibp.bench import baselines
from sibp.bench.labels import (
    ADAM,
    ARMIJO,
    ARMIJO20,
    AUTHORS,
    BCD,
    EAGER,
    ENGINE,
    ENSEMBLE,
    GRAPH,
    LOOP,
    PLAIN_LOOP,
    PROXBP,
    PROXPROP,
    RELEASED,
    SGD,
    SIBP,
    SIBP20,
    WEIGHT_SPACE,
)
from sibp.bench.timed import Case
from sibp.nets import papers

__all__ = ["BOUNDS", "CASES", "QUICK", "Bound"]


def _baselines(*, images: bool = False, compiled: bool = True) -> tuple[str, ...]:
    return tuple(label for name in (SGD, ADAM) for label in baselines.labels(name, images=images, compiled=compiled))


BASELINES, IMAGE_BASELINES = _baselines(), _baselines(images=True)
SWIFT, SWIFT_IMAGES = _baselines(compiled=False), _baselines(images=True, compiled=False)  # compiling takes most of a minute
METHODS = (SIBP, SIBP20, ARMIJO, ARMIJO20, RELEASED, ENGINE, EAGER, WEIGHT_SPACE, GRAPH, PROXBP, PROXPROP)
SHORT = tuple(label for label in METHODS if label != WEIGHT_SPACE)  # which takes ten seconds a step on the widest net
DEEP = papers.mlp([784, *[600] * 10, 10])
WIDE = papers.mlp([3072, 4000, 1000, 4000, 10])

CASES = {
    case.name: case
    for case in (
        Case("784-500-10", papers.mlp([784, 500, 10]), steps=(*BASELINES, *METHODS, BCD, AUTHORS)),
        Case("3072-2000-500-10", papers.mlp([3072, 2000, 500, 10]), steps=(*BASELINES, *METHODS, BCD, AUTHORS)),
        Case("3072-4000-1000-4000-10", WIDE, steps=(*BASELINES, *SHORT)),
        Case(
            "3072-4000-1000-4000-10, batch 500",
            WIDE,
            batch=500,
            steps=(*BASELINES, SIBP, PROXBP, PROXPROP),
        ),
        Case("784-600x10-10", DEEP, steps=(*BASELINES, *METHODS, BCD)),
        Case("cnn", papers.cnn(), steps=(*IMAGE_BASELINES, *SHORT)),
    )
}
SMALL_CNN = papers.cnn((1, 8, 8), channels=(2,), pools=1, classes=3)
QUICK = {
    case.name: case
    for case in (
        Case(
            "784-32-10",
            papers.mlp([784, 32, 10]),
            batch=20,
            steps=(*SWIFT, SIBP, EAGER, PROXBP, BCD),
        ),
        Case("784-16x3-10", papers.mlp([784, 16, 16, 16, 10]), batch=20, steps=(SGD, SIBP)),
        Case("small-cnn", SMALL_CNN, batch=20, steps=(*SWIFT_IMAGES, SIBP)),
    )
}


@dataclass(frozen=True)
class Bound:
    """A promise: the median of `step` takes at most `most[threads]` times that of `reference`, on a CPU.

    Attributes:
        case: a key of `CASES`, or ``ensemble``.
        step: a label of it.
        reference: another; of torch, its default form.
        most: the largest ratio, by the number of threads.
    """

    case: str
    step: str
    reference: str
    most: dict[int, float]


BOUNDS = (
    Bound("784-500-10", SIBP, SGD, {1: 1.3, 2: 1.4}),
    Bound("784-600x10-10", SIBP, SGD, {1: 1.5, 2: 1.6}),
    Bound("3072-2000-500-10", SIBP, SGD, {1: 1.05, 2: 1.25}),
    Bound("3072-4000-1000-4000-10", SIBP, SGD, {1: 1.0, 2: 0.95}),
    *(Bound(name, SIBP, ADAM, {1: 1.0, 2: 1.0}) for name in CASES if name != "cnn" and "batch" not in name),
    Bound("3072-2000-500-10", SIBP20, SGD, {1: 1.5, 2: 1.5}),
    Bound("3072-4000-1000-4000-10", SIBP20, SGD, {1: 1.5, 2: 1.5}),
    Bound("3072-2000-500-10", SIBP, WEIGHT_SPACE, {1: 0.1, 2: 0.1}),
    Bound("cnn", SIBP, SGD, {1: 4.5, 2: 4.5}),
    Bound("3072-4000-1000-4000-10, batch 500", PROXPROP, SGD, {1: 2.0, 2: 2.0}),
    Bound("ensemble", ENSEMBLE, LOOP, {2: 1.0}),
    Bound("ensemble", ENSEMBLE, PLAIN_LOOP, {2: 1 / 1.5}),
)
