"""How fast devices are, in the few numbers that turn what was counted into seconds.

The table holds rates of devices that need not be here. Those of the H100 come from its data sheet and from what such kernels reach in
general; no number of this package was measured on one, so whatever is computed from them is counted, not measured, and good to a factor of
about two. Ratios are better. `measured` returns the rates of a device that is here.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from sibp.bench.operations import Operation
from sibp.bench.recorder import Count

__all__ = ["DEVICES", "Device", "measured"]


@dataclass(frozen=True)
class Device:
    """What a device takes for what.

    Attributes:
        name: for people.
        kind: torch's word, ``cuda`` or ``cpu``.
        smallest: seconds of the smallest kernel of each `Operation.kind`, on CUDA inside a graph.
        launch: seconds of the host for a kernel launched eagerly; 0 where the device is the host.
        memory: bytes per second of arrays larger than `cache_bytes`.
        cache: bytes per second of arrays that fit in there.
        cache_bytes: how large those are.
        flops: floating point operations per second of a large product, by dtype.
        processors: that share the tiles of a product.
        read: seconds that a look of the host at a number takes.
        loop: seconds of the host around a step, the least that a step takes.
        job: seconds until a process can train.
        ensemble: seconds to warm up and capture one ensemble.
        context: bytes that libraries hold.
    """

    name: str
    kind: str
    smallest: dict[str, float]
    launch: float
    memory: float
    cache: float
    cache_bytes: float
    flops: dict[torch.dtype, float]
    processors: int
    read: float
    loop: float
    job: float
    ensemble: float
    context: int

    def operation(self, operation: Operation, *, eager: bool) -> float:
        """Return the seconds of one operation.

        Args:
            operation: what was counted.
            eager: launched by itself, not in a graph.

        Returns:
            Seconds.
        """
        work = operation.work
        if work.kernels == 0:
            return 0.0
        rate = self.memory if work.bytes > self.cache_bytes * work.kernels else self.cache
        busy = min(1.0, work.tiles / self.processors) if work.tiles else 1.0
        flops = self.flops.get(operation.dtype, self.flops[torch.float32])
        floor = work.kernels * max(self.smallest[operation.kind], self.launch if eager else 0.0)
        return max(floor, work.bytes / rate, work.flops / (flops * busy))

    def seconds(self, count: Count, *, eager: bool = True) -> float:
        """Return the seconds of all operations, one after another; host syncs wait for the device.

        Args:
            count: what was counted.
            eager: launched one by one, not in a graph.

        Returns:
            Seconds.
        """
        total = sum(self.operation(operation, eager=eager) * times for operation, times in count.operations.items())
        return total + self.read * count.reads()


H100 = Device(
    name="H100",
    kind="cuda",
    smallest={"map": 2.0e-6, "sum": 2.6e-6, "product": 4.0e-6, "ours": 2.5e-6},
    launch=5.0e-6,
    memory=2.6e12,
    cache=4.5e12,
    cache_bytes=35e6,
    flops={torch.float32: 45e12, torch.float64: 28e12},
    processors=132,
    read=20e-6,
    loop=75e-6,
    job=6.0,
    ensemble=1.5,
    context=600 * 2**20,
)
CPU = Device(  # one thread of an AMD EPYC 9004, measured
    name="CPU",
    kind="cpu",
    smallest={"map": 2.5e-6, "sum": 4.0e-6, "product": 5.0e-6, "ours": 6.0e-6},
    launch=0.0,
    memory=1.0e10,
    cache=3.0e10,
    cache_bytes=1e6,
    flops={torch.float32: 1.0e11, torch.float64: 5.0e10},
    processors=1,
    read=1e-6,
    loop=60e-6,
    job=4.0,
    ensemble=0.0,
    context=300 * 2**20,
)
DEVICES = {"h100": H100, "h200": replace(H100, name="H200", memory=3.6e12), "cpu": CPU}


def measured(device: torch.device, seconds: float = 0.3) -> Device:
    """Return the rates of a device that is here: of its table entry with products, memory and small kernels timed.

    Args:
        device: ``cpu``, with the present number of threads, or ``cuda``.
        seconds: that each timing takes.

    Returns:
        Rates under the device's own name.
    """
    base = CPU if device.type == "cpu" else H100
    A, B = torch.rand(25, 100, 784, device=device), torch.rand(25, 784, 500, device=device)
    large, tiny = torch.zeros(2**24, device=device), torch.zeros(25, 1, 1, device=device)
    product = _seconds_of(lambda: A @ B, seconds)
    copy = _seconds_of(lambda: large.add_(1), seconds)
    small = _seconds_of(lambda: tiny + 1, seconds)
    rate = 2 * A.numel() * B.shape[-1] / product
    scale = small / (base.smallest["map"] if device.type == "cpu" else base.launch)
    return replace(
        base,
        name=device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        flops={dtype: rate * known / base.flops[torch.float32] for dtype, known in base.flops.items()},
        memory=2 * large.nbytes / copy,
        smallest={kind: known * scale for kind, known in base.smallest.items()} if device.type == "cpu" else base.smallest,
        launch=base.launch * scale if device.type == "cuda" else 0.0,
    )


def _seconds_of(work: Callable[[], torch.Tensor], seconds: float) -> float:
    """Return the least time of a call among those made in so many seconds, ten at a time."""
    work()
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end or best == math.inf:
        begin = time.perf_counter()
        for _ in range(10):
            result = work()
        result.flatten()[0].item()
        best = min(best, (time.perf_counter() - begin) / 10)
    return best
