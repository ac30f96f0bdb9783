"""`sibp check`: what only the device itself can tell, block by block, those first whose loss would cost most.

rates     what products, memory and launches reach
numbers   each variant on an MLP and a CNN against the CPU's eager twins in float64
products  that float32 products are not rounded to TF32
graphs    recorded steps against eager ones, to the bit
modules   steps on a module of one's own, recorded and eager, to the bit, and their microseconds
again     runs made twice, and stopped and resumed, to the bit
around    sampler, evaluation and pruning
speed     microseconds of a step, kernels and memory, beside torch's SGD and Adam and what was counted
waits     that no step waits for the device
pairs     `numbers` for the variants that have two options beside the defaults
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from sibp.bench.check import bits, numbers, own, speed
from sibp.bench.check.report import Report
from sibp.core import precision
from sibp.core.messages import first_line

__all__ = ["BLOCKS", "main"]

LEAST = 5.0  # seconds that a block needs to be worth its beginning
BLOCKS: dict[str, Callable[[Report], None]] = {
    "rates": speed.measured_rates,
    "numbers": numbers.numbers,
    "products": numbers.products,
    "graphs": bits.graphs,
    "modules": own.modules,
    "again": bits.again,
    "around": numbers.around,
    "speed": speed.speed,
    "waits": bits.waits,
    "pairs": numbers.pairs,
}


def main(device: str, seconds: float, out: Path | None, only: Sequence[str] | None = None, begun: float | None = None) -> int:
    """Run the blocks, and print a line for each.

    Args:
        device: ``cuda``, or ``cpu`` for a trial of the check itself.
        seconds: after which no block and no row of a block is begun.
        out: folder of ``check.json``, written anew after each block; None writes nothing.
        only: names of `BLOCKS`; None takes all.
        begun: reading of the monotonic clock from which `seconds` count; None is now.

    Returns:
        The exit code: 1 if a block failed or none was begun.
    """
    precision.configure(1)
    report = Report(device, seconds, out, begun)
    for name, block in BLOCKS.items():
        if only and name not in only:
            continue
        if report.seconds_left() < LEAST:
            report.left_out.append(name)
            continue
        try:
            block(report)
        except Exception as fault:  # one block must not take the others' time with it
            report.keep_traceback(name)
            report.say(name, f"{type(fault).__name__}: {first_line(fault)[:160]}", passed=False)
        report.write()
    report.write()
    print(report.summary())
    return int(not report.passed)
