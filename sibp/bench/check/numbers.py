"""Numbers of a device against the CPU's: every variant, products, and what surrounds a step."""

from collections.abc import Callable, Iterable
from typing import Literal

import torch

from sibp.bench import variants
from sibp.bench.check import work
from sibp.bench.check.report import Report
from sibp.core.messages import first_line
from sibp.kernels import switch
from sibp.nets import initialisation, losses
from sibp.training import evaluation
from sibp.training.sampling import Batches, Samples

__all__ = ["around", "numbers", "pairs", "products"]

DOUBLE = 1e-8  # relative, after four steps, between float64 here and the CPU's eager code; rounding alone makes some 1e-13
FLAT = 1e-6  # after one step with an l1 term: where the objective is flat, rounding decides on steps of the root of the precision
SINGLE = 1e-5  # of the first losses in float32: a forward pass; later a search may decide otherwise for a rounding error
FLOAT32, TF32 = 2e-6, 3e-4  # relative errors of a product of 512 numbers
SAMPLINGS: tuple[Literal["permutation", "replacement"], ...] = ("permutation", "replacement")


def numbers(report: Report) -> None:
    """Compare each method's simplest variants with the CPU's eager twins in float64.

    Args:
        report: gets the verdict.
    """
    _compared(report, "numbers", variants.simplest)


def pairs(report: Report) -> None:
    """Compare all other variants, which have two options beside the defaults.

    Args:
        report: gets the verdict.
    """
    _compared(report, "pairs", lambda name: [label for label in variants.variants(name) if label not in variants.simplest(name)])


def _compared(report: Report, block: str, labels: Callable[[str], Iterable[str]]) -> None:
    rows, bad, worst, first = work.rows(labels), [], 0.0, 0.0
    for count, row in enumerate(rows):
        if report.seconds_left() < 5:
            report.say(block, f"{count} of {len(rows)} rows, then the time was over{_listed(bad)}", passed=not bad)
            return
        try:
            double, single = differences(row, report.device)
        except (RuntimeError, ValueError) as fault:  # the other rows go on
            report.keep_traceback(f"{block}, {' '.join(row)}")
            bad.append(f"{' '.join(row)}: {type(fault).__name__} {first_line(fault)[:80]}")
            continue
        worst, first = max(worst, double), max(first, single)
        if not (double <= (FLAT if _ends_flat(row) else DOUBLE) and single <= SINGLE):
            bad.append(f"{' '.join(row)}: {double:.1e}, {single:.1e} in float32")
    report.data[block] = {"rows": len(rows), "float64": worst, "float32_first_loss": first, "bad": bad}
    report.say(
        block,
        f"{len(rows)} rows within {worst:.1e} of the CPU in float64, first losses {first:.1e} in float32{_listed(bad)}",
        passed=not bad,
    )


def differences(row: work.Row, device: str) -> tuple[float, float]:
    """Return how far a variant is from the CPU's eager code.

    Args:
        row: the variant and a network.
        device: where it runs.

    Returns:
        Relative distances of all numbers in float64, and of the first losses in float32.
    """
    steps = 1 if _ends_flat(row) else work.STEPS
    with switch.off():
        truth = work.stepped(row, "cpu", torch.float64, steps=steps)
    double, single = (work.stepped(row, device, dtype, steps=steps) for dtype in (torch.float64, torch.float32))
    return work.distance(double, truth), work.distance([single[0][: work.MEMBERS]], [truth[0][: work.MEMBERS]])


def _ends_flat(row: work.Row) -> bool:
    """Return whether a search of this variant goes on to where its objective no longer falls; the other steps move on from there."""
    return row[0].startswith("sibp") and "l1=" in row[0]


def products(report: Report) -> None:
    """See by their error that float32 products and convolutions are not rounded to TF32.

    Args:
        report: gets the verdict.
    """
    device = report.device
    A, B = torch.rand(2, 512, 512, device=device, dtype=torch.float64) - 0.5
    X, K = (torch.rand(*shape, device=device, dtype=torch.float64) - 0.5 for shape in ((8, 16, 16, 16), (20, 16, 5, 5)))
    C = torch.zeros(1, 512, 512, device=device)
    pairs = {
        "mm": (A @ B, A.float() @ B.float()),
        "baddbmm": ((A @ B)[None], torch.baddbmm(C, A.float()[None], B.float()[None])),
        "conv2d": (torch.conv2d(X, K), torch.conv2d(X.float(), K.float())),
    }
    errors = {name: work.distance([single], [double]) for name, (double, single) in pairs.items()}
    report.data["products"] = errors
    words = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    passed = max(errors.values()) < FLOAT32
    report.say("products", f"float32 errors: {words}; TF32 would make {TF32:.0e}", passed=passed)


def around(report: Report) -> None:
    """Compare the sampler to the bit, and evaluation and pruning, with the CPU's.

    Args:
        report: gets the verdict.
    """
    bad = [fault for name in work.NETWORKS for fault in _around(name, report.device)]
    report.data["around"] = bad
    report.say("around", f"sampler, evaluation and pruning {'as on the CPU' if not bad else _listed(bad)}", passed=not bad)


def _around(name: str, device: str) -> list[str]:
    network, loss, bad = work.NETWORKS[name], losses.get("cross-entropy"), []
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(255, (50, *network.input_shape), dtype=torch.uint8, generator=generator)
    on_cpu = Samples(images, torch.randint(3, (50,), generator=generator))
    on_device = on_cpu.shaped(network.input_shape, torch.device(device))
    for sampling in SAMPLINGS:
        mine, theirs = (Batches(samples, [0, 1, 1], 20, sampling, torch.float64) for samples in (on_device, on_cpu))
        if not all(torch.equal(a.cpu(), b) for step in range(7) for a, b in zip(mine.at(step), theirs.at(step), strict=True)):
            bad.append(f"sampler {sampling} {name}")
    mine, theirs = (
        initialisation.initialise(network, [0, 1], std=0.3, dtype=torch.float64, device=place) for place in (device, "cpu")
    )
    pairs = ((mine, on_device), (theirs, on_cpu))
    values, truth = (evaluation.measure(network, loss, *pair, torch.float64) for pair in pairs)
    if not all((values[key].cpu() - truth[key]).abs().max() < DOUBLE for key in truth):
        bad.append(f"evaluation {name}")
    cut = zip(evaluation.prune(mine, 0.5), evaluation.prune(theirs, 0.5), strict=True)
    if not all(torch.equal(a.W.cpu(), b.W) for a, b in cut):
        bad.append(f"pruning {name}")
    return bad


def _listed(faults: list[str], most: int = 4) -> str:
    more = f" and {len(faults) - most} more" if len(faults) > most else ""
    return f"; {'; '.join(faults[:most])}{more}" if faults else ""
