"""`sibp bench`: what a step costs, side by side with torch's SGD and Adam, in one run.

Ratios are between medians (and, beside them, between least times and between processor times) of steps that take turns: to torch's SGD
and Adam as they are by default, and in the form that was fastest in this run. Beside them stands the floor, see `sibp.bench.floor`.
Operations are those of the matrix products, counted in the eager twins; the largest rate is that of a square product in the same run.
"""

import json as json_format
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from sibp.bench import baselines, ensembles, memory, report
from sibp.bench.cases import BOUNDS, CASES, QUICK
from sibp.bench.labels import ADAM, LOOP, SGD, SIBP
from sibp.bench.steps import STEPS
from sibp.bench.timed import Call, Case, Step, count_operations
from sibp.bench.timing import Timing, ceiling, exponent, interleaved
from sibp.core import atomic, precision
from sibp.core.messages import first_line
from sibp.experiments.schema import Bench
from sibp.kernels import native
from sibp.nets import papers
from sibp.results import environment

__all__ = ["CASES", "QUICK", "main", "measure"]

SECONDS, QUICK_SECONDS = Bench().seconds, 0.2  # of all rounds of a case
MEMBERS, QUICK_MEMBERS = 25, 4
BATCHES, QUICK_BATCHES = (25, 50, 100, 200, 400), (10, 20, 40)
WIDTHS, QUICK_WIDTHS = (250, 500, 1000, 2000, 4000), (16, 32, 64)
MEMORY_STEPS = (SGD, ADAM, SIBP)
COMPILING = 120.0  # seconds that torch.compile may take on a case; what it has not begun by then is left out


def main(
    device: str,
    threads: int | None,
    json: str | Path | None,
    cases: Sequence[str] | None,
    *,
    quick: bool,
    seconds: float | None,
    scale: str | None,
) -> int:
    """Measure, print the tables, and write the JSON file.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: see `measure`.
        json: the file; None writes none.
        cases: see `measure`.
        quick: see `measure`.
        seconds: see `measure`.
        scale: noted in the file.

    Returns:
        The exit code.
    """
    result = measure(torch.device(device), threads, cases, quick=quick, seconds=seconds) | {"scale": scale}
    report.show(result)
    if json is not None:
        text = json_format.dumps(result, indent=1, allow_nan=False) + "\n"
        atomic.write(Path(json), text)
    return 0


def measure(
    device: torch.device,
    threads: int | None = None,
    names: Sequence[str] | None = None,
    *,
    quick: bool = False,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Measure everything.

    Args:
        device: where steps run.
        threads: CPU threads; None leaves torch's choice.
        names: which cases, of `CASES` or with `quick` of `QUICK`; None takes all.
        quick: small networks, which show that the bench works and nothing about cost.
        seconds: about how long the rounds of each case take together; None means `SECONDS`, with `quick` `QUICK_SECONDS`.

    Returns:
        All measurements, in plain types.
    """
    seconds = (QUICK_SECONDS if quick else SECONDS) if seconds is None else seconds
    known = QUICK if quick else CASES
    applied, load = precision.configure(threads, deterministic=False), _load()
    machine = environment.environment(device) | {"precision": applied, "threads": torch.get_num_threads(), "quick": quick}
    machine["networks"] = len(known)
    peak = ceiling(device, (256, 512)) if quick else ceiling(device)
    cases = [_case(known[name], device, peak, seconds, quick=quick) for name in names or known]
    result: dict[str, Any] = {"cases": cases, "ensemble": _ensemble(device, seconds, quick=quick)}
    result |= {"scaling": _scaling(device, seconds, quick=quick), "ceiling": peak}
    result["bounds"] = [] if quick or device.type != "cpu" else list(_bounds(result, torch.get_num_threads()))
    machine |= {"kernels": native.status(), "load_before": load, "load_after": _load()}
    return {"environment": machine, **result}


def _case(case: Case, device: torch.device, peak: float, seconds: float, *, quick: bool) -> dict[str, Any]:
    """Return the times of all steps of a case; one that cannot run is told with its reason."""
    _tell(case.name)
    rows, calls = _set_up(case, device)
    timings = interleaved(calls, device, seconds, 10 if device.type == "cuda" else 1)
    best = {name: baselines.best(name, {k: t.seconds for k, t in timings.items()}) for name in (SGD, ADAM) if name in timings}
    for label, timing in timings.items():
        rows[label] |= _figures(timing, STEPS[label].per, timings[SGD]) | _beside(timing, STEPS[label].per, timings, best)
        if "operations" in rows[label]:
            rate = rows[label]["operations"] / rows[label]["median_seconds"]
            rows[label] |= {"operations_per_second": rate, "share_of_ceiling": rate / peak}
    if not quick:
        for label, held in _memory([label for label in MEMORY_STEPS if label in timings], case, device).items():
            rows[label]["peak_bytes"] = held
    head = {"case": case.name, "parameters": case.network.parameter_count, "batch": case.batch, "best": best}
    return head | {"steps": list(rows.values())}


def _set_up(case: Case, device: torch.device) -> tuple[dict[str, dict[str, Any]], dict[str, Call]]:
    """Return a row for each step, and each step that can run, warmed up."""
    rows: dict[str, dict[str, Any]] = {label: {"step": label} for label in case.steps}
    calls: dict[str, Call] = {}
    compiling = 0.0
    for label, row in rows.items():
        step, begin = STEPS[label], time.perf_counter()
        try:
            calls[label] = _first_call(step, case, device, compiling)
            row["set_up_seconds"] = time.perf_counter() - begin
            if step.solves is not None:
                row["floor"] = step.solves.floor(case.network, case.batch)
            if step.counted:
                row["operations"] = count_operations(calls[label]) // step.per
        except (ValueError, RuntimeError) as fault:
            row["skipped"] = first_line(fault)
            calls.pop(label, None)
        compiling += (time.perf_counter() - begin) * step.compiled
    return rows, calls


def _first_call(step: Step, case: Case, device: torch.device, compiling: float) -> Call:
    if step.captured and device.type != "cuda":
        raise ValueError("a graph needs a CUDA device")
    if step.compiled and compiling > COMPILING:
        raise ValueError(f"compiling took {compiling:.0f} s on this case already, at most {COMPILING:.0f} s")
    call = step.build(case, device)
    call()
    return call


def _memory(labels: Sequence[str], case: Case, device: torch.device) -> dict[str, int]:
    """Return what steps hold at most, measured side by side: each has a process of its own, and none is timed."""
    threads, name = torch.get_num_threads(), str(device)
    with ThreadPoolExecutor(len(MEMORY_STEPS)) as pool:
        return dict(zip(labels, pool.map(lambda label: memory.peak_bytes(case.name, label, name, threads), labels), strict=True))


def _figures(timing: Timing, per: int, reference: Timing) -> dict[str, Any]:
    """Return a timing's numbers for one mini-batch, and its ratios to the reference."""
    numbers, base = timing.summary(), reference.summary()
    each = {key: value / per if key.endswith("seconds") else value for key, value in numbers.items()}
    pairs = {"ratio": "median_seconds", "min_ratio": "min_seconds", "cpu_ratio": "median_cpu_seconds"}
    return each | {name: each[key] / base[key] for name, key in pairs.items()}


def _beside(timing: Timing, per: int, timings: Mapping[str, Timing], best: Mapping[str, str]) -> dict[str, float]:
    """Return a timing's ratios of medians to the best SGD, and to Adam by default and at its best where it was timed."""
    references = {"best_ratio": best[SGD]} | ({"adam_ratio": ADAM, "best_adam_ratio": best[ADAM]} if ADAM in best else {})
    return {name: timing.seconds / per / timings[label].seconds for name, label in references.items()}


def _ensemble(device: torch.device, seconds: float, *, quick: bool) -> dict[str, Any]:
    _tell("an ensemble")
    case, members = (QUICK["784-32-10"], QUICK_MEMBERS) if quick else (CASES["784-500-10"], MEMBERS)
    timings = interleaved(ensembles.steps(case, members, device), device, seconds)
    rows = [{"step": label, **_figures(timing, members, timings[LOOP])} for label, timing in timings.items()]
    return {"case": case.name, "members": members, "steps": rows}


def _scaling(device: torch.device, seconds: float, *, quick: bool) -> list[dict[str, Any]]:
    """Return how the time of a step grows with the batch size at 784-500-10, and with the parameters of 784-h-10."""
    _tell("growth")
    middle = 32 if quick else 500
    net = papers.mlp([784, middle, 10])
    batches = [Case(f"batch {B}", net, batch=B) for B in (QUICK_BATCHES if quick else BATCHES)]
    widths = [Case(f"width {h}", papers.mlp([784, h, 10])) for h in (QUICK_WIDTHS if quick else WIDTHS)]
    over = {
        "batch": (batches, [case.batch for case in batches]),
        "parameters": (widths, [case.network.parameter_count for case in widths]),
    }
    growths = []
    for name, (cases, sizes) in over.items():
        timings = interleaved(dict(_points(cases, device)), device, seconds / 2)
        for label in (SGD, SIBP):
            times = [timings[f"{label} {case.name}"].seconds for case in cases]
            growths.append({"step": label, "over": name, "sizes": sizes, "seconds": times, "exponent": exponent(sizes, times)})
    return growths


def _points(cases: Iterable[Case], device: torch.device) -> Iterable[tuple[str, Any]]:
    for case in cases:
        for label in (SGD, SIBP):
            yield f"{label} {case.name}", STEPS[label].build(case, device)


def _bounds(result: Mapping[str, Any], threads: int) -> Iterable[dict[str, Any]]:
    """Yield every promise for this number of threads whose two steps were timed, with what was measured."""
    measured = {case["case"]: case for case in result["cases"]} | {"ensemble": result["ensemble"]}
    for bound in BOUNDS:
        rows = {row["step"]: row for row in measured.get(bound.case, {"steps": []})["steps"] if "skipped" not in row}
        if threads in bound.most and {bound.step, bound.reference} <= rows.keys():
            step, reference = rows[bound.step], rows[bound.reference]
            ratio, least = (step[key] / reference[key] for key in ("median_seconds", "min_seconds"))
            most = bound.most[threads]
            names = {"case": bound.case, "step": bound.step, "reference": bound.reference}
            yield names | {"most": most, "ratio": ratio, "min_ratio": least, "kept": ratio <= most}


def _load() -> float:
    """Return how many processes wanted a processor over the last minute; -1 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0


def _tell(what: str) -> None:
    print(f"timing {what}", file=sys.stderr, flush=True)
