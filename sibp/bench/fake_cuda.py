"""What a piece of work does on a device, seen without one: torch's fake tensors carry shapes, dtypes and devices, and no numbers.

Every look of the host at a number is therefore seen, and so is every operation on tensors of two devices. Each operation that would launch
kernels is noted as a `Work`; what a library does inside one operation is taken from a table. Not seen: numbers, times, and whether a kernel
exists for a dtype.

    with fake_device() as mode:
        x = empty(mode, 4, 100, 784)
        seen = watch(mode, lambda: x @ x.mT)
    seen.faults()        # ["transfer: _to_copy at layers.py:93", ...]; none here
    seen.kernels         # 1
"""

import contextlib
from collections.abc import Callable, Generator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sibp.bench.recorder import CUDA, Count, Recorder, in_words
from sibp.methods import Method, State, bcd
from sibp.nets.layers import Affine
from sibp.nets.network import Network

__all__ = ["affines", "empty", "fake_device", "on_device", "started", "watch", "watch_with"]


@contextlib.contextmanager
def fake_device() -> Generator[FakeTensorMode]:
    """Let tensors on any device be made without it; a CUDA device says that it has 80 GiB, and BCD's memory always fits.

    Yields:
        The mode in which tensors are made and operations run.
    """
    endless = patch.object(bcd, "free_bytes", lambda _: None)
    with endless, patch.object(torch.cuda, "mem_get_info", lambda *_: (80 * 2**30, 80 * 2**30)):
        yield FakeTensorMode(allow_non_fake_inputs=False)


def empty(mode: FakeTensorMode, *shape: int, dtype: torch.dtype = torch.float32, device: torch.device = CUDA) -> Tensor:
    """Return a tensor that holds nothing.

    Args:
        mode: from `fake_device`.
        shape: its sizes.
        dtype: its dtype.
        device: where it says that it is.

    Returns:
        The tensor.
    """
    with mode:
        return torch.empty(shape, dtype=dtype, device=device)


def affines(
    mode: FakeTensorMode, network: Network, members: int, dtype: torch.dtype = torch.float32, device: torch.device = CUDA
) -> list[Affine]:
    """Return an ensemble's parameters that hold nothing.

    Args:
        mode: from `fake_device`.
        network: its structure.
        members: E.
        dtype: their dtype.
        device: where they say that they are.

    Returns:
        One `Affine` per layer.
    """
    return [
        Affine(
            empty(mode, members, layer.fan_out, layer.fan_in, dtype=dtype, device=device),
            empty(mode, members, 1, layer.fan_out, dtype=dtype, device=device) if layer.bias else None,
        )
        for layer in network.layers
    ]


def on_device(mode: FakeTensorMode, method: Method, device: torch.device = CUDA) -> Method:
    """Move a method that was built on the CPU, where it may look at its options, to the device.

    Args:
        mode: from `fake_device`.
        method: changed in place.
        device: where its columns then say that they are.

    Returns:
        The method.
    """
    for key, value in method.column.items():  # a first-order method's rule holds the same dictionary
        with mode:
            method.column[key] = torch.empty(value.shape, dtype=value.dtype, device=device)
    return method


def watch(mode: FakeTensorMode, work: Callable[[], Any], device: torch.device = CUDA) -> Count:
    """Do some work on fake tensors and note what it does; what it raises is noted, too.

    Args:
        mode: from `fake_device`.
        work: on tensors of that mode.
        device: where the work is.

    Returns:
        What was seen.
    """
    return watch_with(mode, Recorder(device), work)


def watch_with(mode: FakeTensorMode, recorder: Recorder, work: Callable[[], Any]) -> Count:
    """Do what `watch` does with a recorder of one's own.

    Args:
        mode: from `fake_device`.
        recorder: notes the operations.
        work: on tensors of that mode.

    Returns:
        What was seen.
    """
    try:
        with mode, recorder:
            work()
    except Exception as fault:
        recorder.seen.raised = in_words(fault)
    return recorder.seen


def started(mode: FakeTensorMode, method: Method, parameters: list[Affine]) -> State:
    """Return the state before the first step.

    Args:
        mode: from `fake_device`.
        method: whose state it is.
        parameters: of that mode.

    Returns:
        Lists of tensors that hold nothing, by name.
    """
    with mode:
        return method.start(parameters)
