"""How a compiled CPU kernel becomes an operator of torch, `torch.ops.sibp_cpu.*`, which is the only way to call it.

So fake tensors, compilers, profilers and counters see it, and every argument is checked before its address reaches C++: shapes, one dtype,
CPU, contiguous, no result on top of another argument. A wrong one is a ValueError of one line. The kernels themselves are in `cpu`.
"""

import ctypes
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch

from sibp.kernels import native

__all__ = ["NAMESPACE", "kernel"]

NAMESPACE = "sibp_cpu"
# not `torch.library.custom_op`, whose calls take three times as long
_library = torch.library.Library(NAMESPACE, "DEF")

Check = Callable[[dict[str, int], Sequence[Any]], str]


def kernel(writes: str, check: Check | None = None, **axes: str) -> Callable[[FunctionType], torch._ops.OpOverload]:
    """Return a decorator that makes an operator of a function that is nothing but its arguments and what they mean.

        @kernel("W", W="E O I", D="E R O", X="S R I")
        def cross(W: Tensor, D: Tensor, X: Tensor) -> None: ...

    Letters stand for sizes, equal ones for equal sizes; S is 1 or E, how many members have rows or images of their own. The C++ functions
    `cross_f32` and `cross_f64` take the sizes in the order in which their letters first appear, then the arguments in order: addresses
    (null for None), int64, double. A tensor whose letters end with ``...`` may have any strides; they follow its address.

    Args:
        writes: names of the tensors that the kernel writes to; it returns nothing.
        check: of sizes and arguments, what else is wrong with them in a few words, or nothing.
        axes: letters of each tensor's axes, for all tensors, in the order of the arguments.
    """

    def define(declared: FunctionType) -> torch._ops.OpOverload:
        name = declared.__name__
        _library.define(name + torch.library.infer_schema(declared, mutates_args=writes.split()))
        operator = getattr(getattr(torch.ops, NAMESPACE), name).default
        made = _Kernel(operator, set(writes.split()), check, axes)
        _library.impl(name, made.run, "CompositeExplicitAutograd")
        torch.library.register_fake(operator, made.run_without_numbers, lib=_library)
        return operator

    return define


class _Kernel:
    """What runs where torch has chosen an operator of ours."""

    def __init__(self, operator: torch._ops.OpOverload, writes: set[str], check: Check | None, axes: dict[str, str]) -> None:
        arguments = operator._schema.arguments
        self.name = operator._schema.name.split("::")[1]
        self.check = check
        self.writes = writes
        self.places = [i for i, argument in enumerate(arguments) if argument.name in axes]
        self.names = [arguments[i].name for i in self.places]
        self.axes = [tuple(axes[name].removesuffix("...").split()) for name in self.names]
        self.strided = {i for i, name in zip(self.places, self.names, strict=True) if axes[name].endswith("...")}
        self.letters = tuple(dict.fromkeys(letter for axis in self.axes for letter in axis if letter != "1"))
        self.lists = [i for i in reversed(range(len(arguments))) if i in self.strided or str(arguments[i].type).startswith("List")]
        self.sizes: dict[tuple[object, ...], Sequence[int]] = {}
        self.functions: dict[torch.dtype, Callable[..., None]] = {}

    def run(self, *arguments: Any) -> None:
        """Check the arguments and call the compiled function."""
        sizes = self.checked(*arguments)
        addresses = [0 if arguments[i] is None else arguments[i].data_ptr() for i in self.places]
        if len(set(addresses)) < len(addresses):
            self.refuse_overlaps(addresses)
        values = list(arguments)
        for i, address in zip(self.places, addresses, strict=True):
            values[i] = address
        for i in self.lists:  # from the last to the first
            values[i : i + 1] = arguments[i] if i not in self.strided else [values[i], *arguments[i].stride()]
        dtype = arguments[self.places[0]].dtype
        function = self.functions.get(dtype)
        if function is None:  # the first call: the arguments of all others are of the same kinds; an address is 64 bits
            types = [ctypes.c_double if isinstance(value, float) else ctypes.c_int64 for value in (*sizes, *values)]
            function = self.functions[dtype] = native.function(self.name, dtype, types)
        function(*sizes, *values)

    def run_without_numbers(self, *arguments: Any) -> None:
        """Check the arguments as far as they are there."""
        self.checked(*arguments)

    def checked(self, *arguments: Any) -> Sequence[int]:
        """Return the sizes that the tensors agree on."""
        first = arguments[self.places[0]]
        dtype, is_cpu, shapes = first.dtype, first.is_cpu, [first.device]
        for i in self.places:
            tensor = arguments[i]
            shapes.append(None if tensor is None else tensor.shape)
            if tensor is not None and not (
                tensor.dtype is dtype and tensor.is_cpu is is_cpu and (tensor.is_contiguous() or i in self.strided)
            ):
                self.explain(arguments)
        try:
            sizes = self.sizes[dtype, *shapes]
        except KeyError:
            self.explain(arguments)
            sizes = self.sizes[dtype, *shapes] = self.sizes_of(shapes[1:])
        except TypeError:  # a size that a compiler leaves open cannot be looked up
            sizes = self.sizes_of(shapes[1:])
        if self.check and (wrong := self.check(dict(zip(self.letters, sizes, strict=True)), arguments)):
            self.refuse(wrong)
        return sizes

    def explain(self, arguments: Sequence[Any]) -> None:
        """Refuse dtypes, devices and strides that no kernel can read."""
        first = arguments[self.places[0]]
        dtype, device = first.dtype, first.device
        for i, name in zip(self.places, self.names, strict=True):
            tensor = arguments[i]
            if tensor is None:
                continue
            if tensor.dtype is not dtype or dtype not in native.SUFFIXES:
                self.refuse(
                    f"{name} is {tensor.dtype}, need {dtype if dtype in native.SUFFIXES else 'torch.float32 or torch.float64'}"
                )
            if tensor.device != device or device.type not in ("cpu", "meta"):
                self.refuse(f"{name} is on {tensor.device}, need {'cpu' if device.type != 'meta' else device}")
            if i not in self.strided and not tensor.is_contiguous():
                self.refuse(f"{name} has the strides {list(tensor.stride())} for {list(tensor.shape)}, need it contiguous")

    def sizes_of(self, shapes: Sequence[torch.Size | None]) -> Sequence[int]:
        """Return the size of each letter; 0 where an argument that has it is None."""
        sizes = {"1": 1}
        for name, axes, shape in zip(self.names, self.axes, shapes, strict=True):
            if shape is None:
                continue
            wrong = len(shape) != len(axes) or any(
                n < 1 or n != sizes.setdefault(letter, n) for letter, n in zip(axes, shape, strict=True)
            )
            if wrong:
                need = ", ".join(
                    f"{letter} = {sizes[letter]}" if letter in self.letters and letter in sizes else letter for letter in axes
                )
                self.refuse(f"{name} is {list(shape)}, need [{need}], each 1 or more")
        if sizes.get("S", 1) not in (1, sizes["E"]):
            self.refuse(f"S is {sizes['S']}, need 1 or E = {sizes['E']}")
        return [sizes.get(letter, 0) for letter in self.letters]

    def refuse_overlaps(self, addresses: Sequence[int]) -> None:
        """Refuse a result that begins where another argument does."""
        for name, address in zip(self.names, addresses, strict=True):
            if name in self.writes and address and addresses.count(address) > 1:
                others = [n for n, a in zip(self.names, addresses, strict=True) if a == address and n != name]
                self.refuse(f"{name} shares its memory with {' and '.join(others)}, need its own")

    def refuse(self, wrong: str) -> None:
        raise ValueError(f"{NAMESPACE}::{self.name}: {wrong}")
