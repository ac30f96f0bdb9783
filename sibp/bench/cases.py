"""The networks of the papers' exhibits with the steps that are timed on each, and the ratios that the package promises."""

from dataclasses import dataclass

from sibp.bench import baselines
from sibp.bench.baselines import ADAM, SGD
from sibp.bench.steps import EAGER
from sibp.bench.timed import Case
from sibp.nets import papers

__all__ = ["ADAM", "BOUNDS", "CASES", "ENSEMBLE", "QUICK", "SGD", "Bound"]

SIBP, SIBP20 = "SIBP, 5 CG steps", "SIBP, 20 CG steps"
ENSEMBLE, LOOP, PLAIN_LOOP = "SIBP, an ensemble", "SIBP, one at a time", f"SIBP, one at a time{EAGER}"

BASELINES = (*baselines.labels(SGD), *baselines.labels(ADAM))
IMAGE_BASELINES = (*baselines.labels(SGD, images=True), *baselines.labels(ADAM, images=True))
METHODS = (
    SIBP,
    SIBP20,
    "SIBP armijo, 5 CG steps",
    "SIBP armijo, 20 CG steps",
    "SIBP released, 5 CG steps",
    f"{SIBP}, engine",
    f"{SIBP}{EAGER}",
    f"{SIBP}, weight space",
    f"{SIBP}, graph",
    "ProxBP, 5 CG steps",
    "ProxProp, 5 CG steps",
)
SHORT = tuple(label for label in METHODS if "weight space" not in label)  # which takes ten seconds a step on the widest net
PROGRAM = "SIBP as the authors' program computes it"
DEEP = papers.mlp([784, *[600] * 10, 10])
WIDE = papers.mlp([3072, 4000, 1000, 4000, 10])

CASES = {
    case.name: case
    for case in (
        Case("784-500-10", papers.mlp([784, 500, 10]), steps=(*BASELINES, *METHODS, "BCD", PROGRAM)),
        Case("3072-2000-500-10", papers.mlp([3072, 2000, 500, 10]), steps=(*BASELINES, *METHODS, "BCD", PROGRAM)),
        Case("3072-4000-1000-4000-10", WIDE, steps=(*BASELINES, *SHORT)),
        Case(
            "3072-4000-1000-4000-10, batch 500",
            WIDE,
            batch=500,
            steps=(*BASELINES, SIBP, "ProxBP, 5 CG steps", "ProxProp, 5 CG steps"),
        ),
        Case("784-600x10-10", DEEP, steps=(*BASELINES, *METHODS, "BCD")),
        Case("cnn", papers.cnn(), steps=(*IMAGE_BASELINES, *SHORT)),
    )
}
SWIFT = (*baselines.labels(SGD, compiled=False), *baselines.labels(ADAM, compiled=False))  # compiling takes most of a minute
SWIFT_IMAGES = tuple(label for name in (SGD, ADAM) for label in baselines.labels(name, images=True, compiled=False))
SMALL_CNN = papers.cnn((1, 8, 8), channels=(2,), pools=1, classes=3)
QUICK = {
    case.name: case
    for case in (
        Case(
            "784-32-10",
            papers.mlp([784, 32, 10]),
            batch=20,
            steps=(*SWIFT, SIBP, f"{SIBP}{EAGER}", "ProxBP, 5 CG steps", "BCD"),
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
    Bound("3072-2000-500-10", SIBP, f"{SIBP}, weight space", {1: 0.1, 2: 0.1}),
    Bound("cnn", SIBP, SGD, {1: 4.5, 2: 4.5}),
    Bound("3072-4000-1000-4000-10, batch 500", "ProxProp, 5 CG steps", SGD, {1: 2.0, 2: 2.0}),
    Bound("ensemble", ENSEMBLE, LOOP, {2: 1.0}),
    Bound("ensemble", ENSEMBLE, PLAIN_LOOP, {2: 1 / 1.5}),
)
