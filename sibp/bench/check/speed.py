"""How fast a device is, and what a step takes on it: captured and eager, beside torch's SGD and Adam at their best and the counts."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sibp.bench import cost, rates
from sibp.bench.baselines import OPTIMIZERS, Torch
from sibp.bench.cases import CASES
from sibp.bench.check.report import Report
from sibp.bench.labels import SGD
from sibp.bench.timed import Call, Case
from sibp.bench.timing import wait
from sibp.core import precision
from sibp.core.messages import first_line
from sibp.kernels import native
from sibp.kernels.triton import calls
from sibp.methods import Options, registry
from sibp.results import environment
from sibp.training import cuda_graph

__all__ = ["measured_rates", "seconds_of", "speed"]

TINY = 1000  # launches of the smallest kernel that are timed in one graph
FACTOR = 2.0  # between what was counted, of kernels and bytes, and what was measured
TIMED = {
    "sgd": ("sgd", {}),
    "adam": ("adam", {}),
    "proxbp": ("proxbp", {}),
    "proxprop": ("proxprop", {"cg_steps": 5}),
    "sibp newton": ("sibp", {"variant": "newton"}),
    "sibp armijo": ("sibp", {"variant": "armijo"}),
}
PLAN = (  # network, members, batch; what tells most first
    *(("784-500-10", members, 100) for members in (1, 25)),
    *(("784-600x10-10", members, 100) for members in (1, 5)),
    *(("cnn", members, 100) for members in (1, 5)),
    ("3072-2000-500-10", 5, 100),
    ("3072-4000-1000-4000-10", 5, 500),
    ("784-500-10", 75, 100),
)
FORMS: dict[str, tuple[tuple[str, ...], ...]] = {  # of torch's optimizers
    "cpu": ((), ("fused",)),
    "cuda": ((), ("fused",), ("captured",), ("captured", "fused")),
}
ON_CPU = (("784-500-10", 1, 100), ("cnn", 1, 100))


def measured_rates(report: Report) -> None:
    """Measure products, memory and launches, and say what is installed.

    Args:
        report: gets the rates.
    """
    device = torch.device(report.device)
    here = rates.measured(device)
    flops = here.flops[torch.float32]
    entry: dict[str, Any] = {"torch": torch.__version__, "precision": precision.configure(1), "name": here.name}
    entry |= {"flops": flops, "bytes_per_second": here.memory, "launch": here.launch}
    words = f"torch {torch.__version__}, {here.name}: {flops / 1e12:.2f} TFLOP/s, {here.memory / 1e12:.3f} TB/s"
    if device.type == "cuda":
        entry |= {"kernel_in_graph": _kernel_in_graph(), "kernels": calls.status()}
        words += f", {entry['launch'] * 1e6:.1f} us a launch, {entry['kernel_in_graph'] * 1e6:.2f} us in a graph"
    else:
        entry["kernels"] = native.status()
    report.data["rates"] = entry
    report.say("rates", f"{words}; kernels {entry['kernels']}", passed=True)


def _kernel_in_graph() -> float:
    tiny = torch.zeros(1, device="cuda")

    def work() -> Tensor:
        for _ in range(TINY):
            tiny.add_(1)
        return tiny

    replay, _ = cuda_graph.record(work)
    return seconds_of(replay, "cuda", 5) / TINY


@dataclass
class Row:
    """One network, number of members and method: what a step takes, counted beside measured.

    Attributes:
        network: its name.
        members: E.
        method: its label.
        eager: seconds of an eager step.
        captured: seconds of a step replayed as a graph.
        reason: why it is not captured.
        kernels: launched by an eager step.
        counted_kernels: the same, counted without the device.
        peak: bytes that an eager step holds at most.
        counted_peak: the same, counted.
        counted_seconds: of the faster form, counted.
        fault: what went wrong.
    """

    network: str
    members: int
    method: str
    eager: float | None = None
    captured: float | None = None
    reason: str | None = None
    kernels: int | None = None
    counted_kernels: int | None = None
    peak: int | None = None
    counted_peak: int | None = None
    counted_seconds: float | None = None
    fault: str | None = None

    @property
    def best(self) -> float | None:
        """Seconds of the faster form."""
        return min((value for value in (self.eager, self.captured) if value is not None), default=None)

    def faults(self) -> Iterator[str]:
        """Compare what was counted with what was measured.

        Yields:
            What is wrong, in words.
        """
        name = f"{self.method} on {self.network}, {self.members} members"
        if self.fault:
            yield f"{name}: {self.fault}"
        for what, measured, counted in (
            ("kernels", self.kernels, self.counted_kernels),
            ("bytes", self.peak, self.counted_peak),
        ):
            if measured and counted and not 1 / FACTOR <= counted / measured <= FACTOR:
                yield f"{name}: {measured} {what}, {counted} counted"

    def line(self) -> str:
        """Return the row as a line of the printed table.

        Returns:
            Aligned columns.
        """
        numbers = [
            (self.captured, 1e6),
            (self.eager, 1e6),
            (self.counted_seconds, 1e6),
            (self.kernels, 1),
            (self.counted_kernels, 1),
        ]
        numbers += [(self.peak, 2**-20), (self.counted_peak, 2**-20)]
        cells = " ".join(f"{'-' if value is None else f'{value * scale:.0f}':>9}" for value, scale in numbers)
        return f"{'':14} {self.network:23} {self.members:3} {self.method:24} {cells}  {self.fault or self.reason or ''}"


def speed(report: Report) -> None:
    """Time a step of each method on each network, until the time is over.

    Args:
        report: gets the table and the verdict.
    """
    words = ("captured", "eager", "counted", "kernels", "counted", "peak MiB", "counted")
    print(f"{'':14} {'microseconds a step':23} {'E':>3} {'':24} {' '.join(f'{word:>9}' for word in words)}", flush=True)
    table: list[Row] = []
    here = rates.measured(torch.device(report.device), 0.1)
    for network, members, batch in PLAN if report.device == "cuda" else ON_CPU:
        for make in _rows(network, members, batch, report.device, here):
            if report.seconds_left() < 8:
                _verdict(report, table, ", then the time was over")
                return
            table.append(make())
            print(table[-1].line(), flush=True)
            report.data["speed"] = [asdict(row) for row in table]
    _verdict(report, table, "")


def _verdict(report: Report, table: list[Row], more: str) -> None:
    bad = [fault for row in table for fault in row.faults()]
    best = {(row.network, row.members, row.method): row.best for row in table if row.best}
    ratios = [
        f"{network} {best[network, 1, 'sibp newton'] / best[network, 1, SGD]:.2f}"
        for network in CASES
        if {(network, 1, "sibp newton"), (network, 1, SGD)} <= best.keys()
    ]
    words = f"{len(table)} steps timed{more}; SIBP over torch's SGD at its best: {', '.join(ratios) or '-'}"
    report.say("speed", "; ".join([words, *bad[:4]]), passed=not bad)


class Setting(NamedTuple):
    """What is timed in a row.

    Attributes:
        method: its name.
        options: of each member.
        case: the network and the size of its mini-batches.
        device: ``cuda`` or ``cpu``.
        rates: of that device.
    """

    method: str
    options: list[Options]
    case: Case
    device: str
    rates: rates.Device


def _rows(network: str, members: int, batch: int, device: str, here: rates.Device) -> Iterator[Callable[[], Row]]:
    """Yield what makes each row of one network."""
    case = replace(CASES[network], batch=batch)
    if members == 1:
        for label in OPTIMIZERS:
            yield lambda label=label: _torch_row(label, case, device)
    for label, (name, given) in TIMED.items():
        setting = Setting(name, [registry.options(name)(**given)] * members, case, device, here)
        yield lambda label=label, setting=setting: _row(Row(network, members, label), setting)


def _row(row: Row, setting: Setting) -> Row:
    faults = []
    for work in (_count, _measure):  # one may fail without the other
        try:
            work(row, setting)
        except (RuntimeError, MemoryError, TypeError, AttributeError) as fault:
            faults.append(f"{type(fault).__name__}: {first_line(fault)[:100]}")
    row.fault = "; ".join(faults) or None
    if setting.device == "cuda":
        torch.cuda.empty_cache()
    return row


def _count(row: Row, setting: Setting) -> None:
    name, options, case, device, here = setting
    counted = cost.step(name, options, case.network, case.batch, kind=device)
    row.counted_seconds = here.seconds(counted.count, eager=not (device == "cuda" and counted.captured))
    if device == "cuda":
        row.counted_kernels, row.counted_peak = counted.count.kernels, counted.bytes


def _measure(row: Row, setting: Setting) -> None:
    name, options, case, device, _ = setting
    place, before = torch.device(device), 0
    if device == "cuda":
        wait(device)
        environment.reset_peak_memory(place)
        before = environment.peak_memory(place)
    method, parameters, state = case.started(name, options, place)
    x, y = case.stacked(place, len(options))

    def step() -> Tensor:
        return method.step(parameters, state, x, y)

    row.eager = seconds_of(step, device, 3 if device == "cuda" else 1)
    if device == "cuda":
        row.peak = environment.peak_memory(place) - before
        row.kernels = _kernels(step)
        replayed = cuda_graph.captured(method, parameters, state, x, y)
        row.reason = replayed.reason
        if replayed.reason is None:
            row.captured = seconds_of(lambda: replayed(x, y), device, 10)


def _torch_row(label: str, case: Case, device: str) -> Row:
    """Return torch's optimizer on the same network, as it comes, fused, and on CUDA captured: the best of each."""
    row = Row(case.name, 1, label)
    for form in FORMS[device]:
        try:
            step = Torch(*OPTIMIZERS[label], form)(case, torch.device(device))
            _time_torch(row, step, device, captured="captured" in form)
        except RuntimeError as fault:
            row.reason = first_line(fault)[:100]
    return row


def _time_torch(row: Row, step: Call, device: str, *, captured: bool) -> None:
    seconds = seconds_of(step, device, 10 if device == "cuda" else 3)
    if captured:
        row.captured = min(seconds, row.captured or seconds)
        return
    row.eager = min(seconds, row.eager or seconds)
    if device == "cuda":
        row.kernels = row.counted_kernels = _kernels(step)


def seconds_of(step: Callable[[], object], device: str, repeats: int) -> float:
    """Return the mean seconds of a call after two that warm up.

    Args:
        step: what is called.
        device: ``cuda`` or ``cpu``.
        repeats: how many calls are timed.

    Returns:
        Seconds.
    """
    for _ in range(2):
        step()
    wait(device)
    begin = time.perf_counter()
    for _ in range(repeats):
        step()
    wait(device)
    return (time.perf_counter() - begin) / repeats


def _kernels(step: Callable[[], object]) -> int:
    """Return how many kernels a call launches, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as seen:
        step()
        wait("cuda")
    return sum(event.count for event in seen.key_averages() if str(event.device_type).endswith("CUDA"))
