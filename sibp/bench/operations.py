"""What an operation of torch launches on a CUDA device, by tables and shapes: kernels, bytes, floating point operations."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils.flop_counter import flop_registry

from sibp.kernels.launches import Work

__all__ = ["MAPS", "Call", "Operation", "of_torch"]

aten = torch.ops.aten
TILE = 64  # rows and columns of the blocks that a product is computed in
SPLIT = 256  # length of an inner axis from which libraries share it out
SORT_KERNELS = 40  # what torch makes deterministic by sorting: linear indices, range checks, radix sort, sums of runs

SORTED = {"scatter_add", "index_add", "index_put", "_index_put_impl", "index_copy"}
FREE = {"_unsafe_view", "view", "expand", "select", "slice", "_reshape_alias", "lift_fresh", "detach", "alias", "resize"}
FREE |= {"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided"}
MAPS = {
    "add",
    "sub",
    "mul",
    "div",
    "where",
    "neg",
    "lt",
    "gt",
    "le",
    "ge",
    "eq",
    "square",
    "sum",
    "mm",
    "bmm",
}  # by shapes alone; frequent
SUMS = {"sum", "amin", "amax", "max", "min", "mean", "any", "all", "argmax", "linalg_vector_norm"}
# kernels of an operation that is more than one; sums of a library's passes, read off torch's sources
MANY = {"logsumexp": 9, "linalg_vector_norm": 2, "std": 2, "isfinite": 4, "linalg_cholesky_ex": 30, "_cholesky_solve_helper": 12}
MANY |= {"sort": 8, "argsort": 8, "convolution": 3, "convolution_backward": 6, "addmm": 2, "baddbmm": 2}


class Operation(NamedTuple):
    """What an operation does.

    Attributes:
        name: of the operator.
        kind: of kernel: ``map``, ``sum``, ``product`` or ``ours``.
        dtype: of its numbers.
        work: kernels, bytes and floating point operations.
    """

    name: str
    kind: str
    dtype: torch.dtype
    work: Work


class Call(NamedTuple):
    """A call of an operator, and the tensors in it.

    Attributes:
        func: the operator.
        name: without torch's namespace and mark of mutation.
        args: its positional arguments.
        kwargs: its keyword arguments.
        inputs: the tensors among them.
        outputs: the tensors in its result.
        result: what it returned.
    """

    func: OpOverload
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    result: Any


def of_torch(call: Call) -> Operation | None:
    """Return what an operator of torch does.

    Args:
        call: of it.

    Returns:
        The operation, or None where nothing is launched.
    """
    name, tensors = call.name, (*call.inputs, *call.outputs)
    if not call.outputs or call.func.is_view or name in FREE:
        return None
    moved = sum(touched(x) for x in {id(x): x for x in tensors}.values())
    dtype = tensors[0].dtype
    if name in SORTED:
        return Operation(name, "map", dtype, Work(SORT_KERNELS, 6 * moved))
    flops, tiles = product(call)
    kind = "product" if flops else "sum" if name in SUMS else "map"
    return Operation(name, kind, dtype, Work(launches(call), moved, flops or call.outputs[0].numel(), tiles))


def touched(tensor: Tensor) -> int:
    """Return the bytes of memory behind a tensor; what is expanded counts once.

    Args:
        tensor: of any strides.

    Returns:
        Bytes.
    """
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= 1 if stride == 0 and size > 0 else size
    return count * tensor.element_size()


def launches(call: Call) -> int:
    """Return about how many kernels an operation of torch launches on CUDA.

    Args:
        call: of it.

    Returns:
        Kernels, >= 1.
    """
    if call.name == "im2col":  # aten/src/ATen/native/cuda/Im2Col.cu launches one for each image
        return call.inputs[0].shape[0] + (not call.inputs[0].is_contiguous())
    return MANY.get(call.name, 1)


def product(call: Call) -> tuple[int, int]:
    """Return the work of a matrix product, convolution or factorisation.

    Args:
        call: of any operator.

    Returns:
        Floating point operations and `Work.tiles`; (0, 0) for other operators.
    """
    name, out = call.name, call.outputs[0]
    if name == "linalg_cholesky_ex":
        return out.numel() * out.shape[-1] // 3, 0
    if name == "_cholesky_solve_helper":
        return 2 * out.numel() * out.shape[-2], 0
    packet = getattr(aten, name, None)
    if packet not in flop_registry:
        return 0, 0
    flops = int(flop_registry[packet](*call.args, **call.kwargs, out_val=call.result))
    convolution = name.startswith("convolution")
    *batch, m, n = (1, out.numel() // out.shape[1], out.shape[1]) if convolution else out.shape
    blocks = math.prod(batch) * -(-m // TILE) * -(-n // TILE)
    inner = flops // max(1, 2 * out.numel())
    return flops, blocks * max(1, min(8, inner // SPLIT))
