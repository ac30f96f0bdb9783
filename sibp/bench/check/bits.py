"""Equal bits: captured steps against eager ones, and runs that are made twice or stopped and resumed."""

import os
import signal
import tempfile

import torch
from typing_extensions import override

from sibp.bench import variants
from sibp.bench.check import work
from sibp.bench.check.report import Report
from sibp.bench.timing import wait
from sibp.core.messages import first_line
from sibp.core.options import describe
from sibp.experiments.schema import Trained
from sibp.experiments.strict import parse
from sibp.results.progress import Progress
from sibp.training import cuda_graph, runs

__all__ = ["again", "graphs", "waits"]

RUNS = {  # a variant on a network: what differs in how it keeps state, searches and samples
    "sgd momentum=0.5": "mlp",
    "adam": "lenet5",
    "sibp variant=armijo": "mlp",
    "sibp": "lenet5",
    "proxprop variant=released": "mlp",
    "bcd": "mlp",
}


def graphs(report: Report) -> None:
    """Compare captured steps with eager ones to the bit, for mini-batches of one shape and of two.

    Args:
        report: gets the verdict.
    """
    if report.device == "cpu":
        report.say("graphs", "nothing is captured on a CPU", passed=True)
        return
    rows, bad, reasons = work.rows(variants.simplest), [], {}
    for count, row in enumerate(rows):
        if report.seconds_left() < 5:
            report.say("graphs", f"{count} of {len(rows)} rows, then the time was over; {bad[:4]}", passed=not bad)
            return
        for sizes in ((24,), (24, 10)):
            if fault := _captured_fault(row, report.device, sizes, reasons):
                bad.append(fault)
    report.data["graphs"] = {"bad": bad, "not_captured": reasons}
    words = f"{len(bad)} faults: {'; '.join(bad[:4])}" if bad else f"{len(rows)} rows captured, equal to eager ones to the bit"
    report.say("graphs", f"{words}; not captured: {', '.join(reasons) or 'none'}", passed=not bad)


def _captured_fault(row: work.Row, device: str, sizes: tuple[int, ...], reasons: dict[str, str]) -> str | None:
    """Return what is wrong with a row's captured steps; why one is not captured goes to `reasons` if its method says so beforehand."""
    made = []

    def wrap(method, parameters, state):
        example = next(work.batches(work.NETWORKS[row[1]], device, torch.float32, sizes))
        made.append((method, cuda_graph.captured(method, parameters, state, *example)))
        return made[0][1]

    mine, eager = (work.stepped(row, device, torch.float32, around, sizes=sizes) for around in (wrap, None))
    method, step = made[0]
    name = ", ".join(row)
    if step.reason:
        reasons[name] = step.reason
        if step.reason != method.capture_obstacle:
            return f"{name}: {step.reason}"
    return None if all(torch.equal(a, b) for a, b in zip(mine, eager, strict=True)) else f"{name}: other bits in batches of {sizes}"


def waits(report: Report) -> None:
    """Step under torch's synchronization check, which raises at a host sync.

    Args:
        report: gets the verdict.
    """
    if report.device == "cpu":
        report.say("waits", "a CPU waits for nobody", passed=True)
        return
    bad = []
    for row in work.rows(variants.simplest):
        method, parameters, state = work.begin(row, report.device, torch.float32)
        x, y = next(work.batches(work.NETWORKS[row[1]], report.device, torch.float32))
        method.step(parameters, state, x, y)
        wait(report.device)
        torch.cuda.set_sync_debug_mode("error")
        try:
            method.step(parameters, state, x, y)
        except RuntimeError as fault:
            if method.capture_obstacle is None:
                bad.append(f"{', '.join(row)}: {first_line(fault)[:80]}")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    report.data["waits"] = bad
    report.say("waits", "no step waits" if not bad else "; ".join(bad[:4]), passed=not bad)


class _Stopped(Progress):
    """Sends this process the signal of Ctrl-C after a few steps."""

    steps = 0

    @override
    def advance(self, steps: int, loss: float) -> None:
        self.steps += steps
        if self.steps >= 3:
            self.steps = -(10**6)
            os.kill(os.getpid(), signal.SIGINT)


def again(report: Report) -> None:
    """Run small experiments twice, and once stopped and resumed, and compare all their rows to the bit.

    Args:
        report: gets the verdict.
    """
    bad, count = [], 0
    for label, kind in RUNS.items():
        if report.seconds_left() < 10:
            break
        count += 1
        if not _same_again(_experiment(label, kind), report.device):
            bad.append(f"{label} on {kind}")
    report.data["again"] = {"experiments": count, "bad": bad}
    ending = f"other bits: {', '.join(bad)}" if bad else "equal bits"
    report.say("again", f"{count} experiments run twice, and stopped and resumed: {ending}", passed=not bad)


def _same_again(experiment: Trained, device: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        tables = [runs.run(experiment, "one", device, threads=1)[0] for _ in range(2)]
        try:
            runs.run(experiment, "one", device, threads=1, out=folder, progress=_Stopped(), checkpoint_seconds=0)
            return False  # it was not stopped
        except KeyboardInterrupt:
            tables.append(runs.run(experiment, "one", device, threads=1, out=folder)[0])
    first, *others = (table.drop(columns="seconds") for table in tables)
    return all(first.equals(other) for other in others)


def _experiment(label: str, kind: str) -> Trained:
    """Return a small experiment on generated images."""
    name = label.split()[0]
    network = {"kind": "mlp", "widths": [784, 20, 10]} if kind == "mlp" else {"kind": kind, "input_shape": [1, 28, 28]}
    training = {"epochs": 3, "batch_size": "full" if name == "bcd" else 20, "evaluate_every": {"epochs": 1}, "ensemble": 4}
    options = variants.variants(name)[label]
    given = {key: option for key, option in vars(options).items() if option != describe(type(options))[key].default}
    content = {
        "id": "check",
        "title": "check",
        "data": {"name": "mnist", "train": 60, "test": 40, "generated": True},
        "network": network | {"init": {"law": "torch"}},
        "loss": "cross-entropy",
        "training": training,
        "seeds": 4,
        "methods": {"one": {"method": name, **given}},
    }
    return parse(Trained, content, "check")
