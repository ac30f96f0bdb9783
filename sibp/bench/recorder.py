"""Notes what a piece of work does: operations and what they launch, looks of the host at numbers, memory, faults of a captured step."""

import collections
import contextlib
import os
import sys
import weakref
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from sibp.bench.operations import MAPS, Call, Operation, of_torch
from sibp.core.messages import first_line
from sibp.kernels import native
from sibp.kernels.launches import DECLARED, Work

__all__ = ["CUDA", "Count", "Fault", "Recorder"]

CUDA = torch.device("cuda", 0)
ANSWERS = (True, True, False, False)  # a loop that asks whether it must go on goes on twice
READS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "unique_consecutive", "_unique2", "item"}
# operations for which torch has no deterministic kernel on CUDA (docs of torch.use_deterministic_algorithms) that a step could reach
ALERTS = {
    *(
        "max_pool2d_with_indices_backward",
        "max_unpool2d",
        "max_unpool3d",
        "_adaptive_avg_pool2d_backward",
        "adaptive_max_pool2d_backward",
    ),
    *("avg_pool3d_backward", "fractional_max_pool2d_backward", "reflection_pad1d_backward", "reflection_pad2d_backward", "put"),
    *("nll_loss2d_forward", "_ctc_loss_backward", "histc", "bincount", "median", "kthvalue", "grid_sampler_2d_backward", "cumsum"),
    *("upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "_embedding_bag_dense_backward"),
}
PACKAGE = str(Path(native.__file__).parents[1]) + os.sep
FRAMEWORK = (str(Path(torch.__file__).parent) + os.sep, __file__, contextlib.__file__)


class Fault(NamedTuple):
    """What a captured step must not do.

    Attributes:
        kind: ``read``, ``transfer``, ``mix``, ``alert`` or ``undeclared``.
        operation: which does it.
        place: file and line.
    """

    kind: str
    operation: str
    place: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.operation} at {self.place}"


@dataclass
class Count:
    """What a piece of work did.

    Attributes:
        operations: each distinct one, and how often.
        fault_counts: each fault, and how often.
        peak: most bytes of new tensors at a time.
        raised: the exception that ended it, if one did.
    """

    operations: collections.Counter[Operation] = field(default_factory=collections.Counter)
    fault_counts: collections.Counter[Fault] = field(default_factory=collections.Counter)
    peak: int = 0
    raised: str = ""

    @property
    def kernels(self) -> int:
        """Kernels launched."""
        return sum(operation.work.kernels * count for operation, count in self.operations.items())

    def reads(self) -> int:
        """Return how often the host looks at a value: its host syncs.

        Returns:
            A number of looks.
        """
        return sum(count for fault, count in self.fault_counts.items() if fault.kind == "read")

    def faults(self) -> list[str]:
        """Return one line for each thing that must not be in a captured step, with the file and the line where it is.

        Returns:
            The lines; none for a step that can be captured.
        """
        lines = [f"{fault} ({count} times)" if count > 1 else str(fault) for fault, count in sorted(self.fault_counts.items())]
        return lines + ([f"raises {self.raised}"] if self.raised else [])


class Recorder(TorchDispatchMode):
    """Notes every operation of a `with` block; a look at a number is noted and answered, so that the work goes on.

    Args:
        device: where the work is; operations elsewhere are noted as faults or not at all.
    """

    def __init__(self, device: torch.device = CUDA) -> None:
        super().__init__()
        self.seen, self.kind, self.answers = Count(), device.type, cycle(ANSWERS)
        self.times, self.held, self.storages = 1, 0, weakref.WeakKeyDictionary()
        self.known: dict[object, Operation | None] = {}

    @override
    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name.startswith("prim::"):  # questions about shapes and devices
            return func(*args, **kwargs)
        inputs = tuple(_tensors((*args, *kwargs.values())))
        plain = name.removeprefix("aten::").rstrip("_") if name.startswith("aten::") else name
        here = any(x.device.type == self.kind for x in inputs)
        if here and self.is_read(plain, inputs):
            self.fault("read", plain)
            return self.made_up(plain, inputs)
        self.check_mix(plain, inputs)
        result = func(*args, **kwargs)
        call = Call(func, plain, args, kwargs, inputs, tuple(_tensors((result,))), result)
        self.check_transfer(call)
        if here or any(x.device.type == self.kind for x in call.outputs):
            self.hold(call)
            if plain in ALERTS:
                self.fault("alert", plain)
            self.count(call)
        return result

    def is_read(self, name: str, inputs: tuple[Tensor, ...]) -> bool:
        """Tell whether an operation is a host sync.

        Args:
            name: of the operator.
            inputs: its tensors.

        Returns:
            True if its result depends on numbers that only the device knows.
        """
        boolean = name in ("index", "index_put") and any(x.dtype in (torch.bool, torch.uint8) for x in inputs[1:])
        return name in READS or boolean

    def made_up(self, name: str, inputs: tuple[Tensor, ...]) -> Any:
        """Return what a look at a number could have given.

        Args:
            name: of the operator.
            inputs: its tensors.

        Returns:
            A result of the operator's type.
        """
        x = inputs[0]
        if name == "equal":
            return True
        if name in ("nonzero", "masked_select"):
            return x.new_empty(1, x.ndim, dtype=torch.int64) if name == "nonzero" else x.new_empty(1)
        if name in ("index", "index_put"):
            return x.new_empty(max(1, x.shape[0]), *x.shape[1:]) if name == "index" else x
        return next(self.answers) if x.dtype == torch.bool else 1.0 if x.is_floating_point() else 0

    def check_mix(self, name: str, inputs: tuple[Tensor, ...]) -> None:
        """Note an operation on tensors of two devices.

        Args:
            name: of the operator.
            inputs: its tensors.
        """
        kinds = {x.device.type for x in inputs if x.ndim > 0}
        if len(kinds) > 1 and name != "copy":
            self.fault("mix", f"{name} of {' and '.join(sorted(kinds))}")

    def check_transfer(self, call: Call) -> None:
        """Note a copy between two devices.

        Args:
            call: of an operator.
        """
        kinds = {x.device.type for x in (*call.inputs, *call.outputs)}
        if call.name in ("_to_copy", "copy") and len(kinds) > 1:
            self.fault("transfer", f"{call.name} between {' and '.join(sorted(kinds))}")

    def fault(self, kind: str, operation: str) -> None:
        """Note a fault at the place that is running.

        Args:
            kind: see `Fault`.
            operation: which does it.
        """
        self.seen.fault_counts[Fault(kind, operation, place())] += self.times

    def hold(self, call: Call) -> None:
        """Follow the memory of new tensors until it is freed; what was there before the work counts nothing.

        Args:
            call: of an operator.
        """
        for tensor in call.inputs:
            self.storages.setdefault(tensor.untyped_storage(), 0)
        for tensor in call.outputs:
            storage = tensor.untyped_storage()
            if storage not in self.storages:
                size = storage.nbytes()
                self.storages[storage] = size
                self.held += size
                weakref.finalize(storage, self.free, size)
        self.seen.peak = max(self.seen.peak, self.held)

    def free(self, size: int) -> None:
        """Note that memory was freed.

        Args:
            size: in bytes.
        """
        self.held -= size

    def count(self, call: Call) -> None:
        """Note a call's work; equal calls are worked out once.

        Args:
            call: of an operator.
        """
        key = (call.func, *((x.shape, x.stride(), x.dtype) for x in (*call.inputs, *call.outputs)))
        if call.name not in MAPS:  # what else is given decides what is done
            key += (repr([value for value in call.args if not isinstance(value, Tensor)]),)
        if key not in self.known:
            self.known[key] = self.declared(call) if "::" in call.name else of_torch(call)
        if (operation := self.known[key]) is not None:
            self.seen.peak = max(self.seen.peak, self.held + operation.work.held)
            self.seen.operations[operation] += self.times

    def declared(self, call: Call) -> Operation:
        """Return an operator of ours with the work that it declares; one that declares none is a fault.

        Args:
            call: of it.

        Returns:
            The operation.
        """
        work = DECLARED.get(call.name)
        if work is None:
            self.fault("undeclared", f"{call.name} says nowhere what it launches")
        dtype = (call.inputs or call.outputs)[0].dtype
        return Operation(call.name, "ours", dtype, work(*call.args, **call.kwargs) if work else Work())

    @contextlib.contextmanager
    def repeated(self, times: int) -> Generator[None]:
        """Let everything inside count several times.

        Args:
            times: how often.

        Yields:
            Nothing.
        """
        self.times, before = self.times * times, self.times
        try:
            yield
        finally:
            self.times = before


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among an operator's arguments or results, which nest in lists only."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def place() -> str:
    """Return file and line of the innermost frame that is neither torch's nor this module's.

    Returns:
        Such as ``nets/layers.py:93``.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and _framework(frame.f_code.co_filename):
        frame = frame.f_back
    path = frame.f_code.co_filename
    return f"{path.removeprefix(PACKAGE) if path.startswith(PACKAGE) else Path(path).name}:{frame.f_lineno}"


@cache
def _framework(path: str) -> bool:
    return path.startswith(FRAMEWORK)


def in_words(fault: Exception) -> str:
    """Return an exception, and the innermost line of the package that raised it, in one line.

    Args:
        fault: with its traceback.

    Returns:
        Such as ``ValueError: got 3 at nets/layers.py:93``.
    """
    trace, line = fault.__traceback__, "?"
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(PACKAGE) and not trace.tb_frame.f_code.co_filename == __file__:
            line = f"{trace.tb_frame.f_code.co_filename.removeprefix(PACKAGE)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(fault).__name__}: {first_line(fault)[:160]} at {line}"
