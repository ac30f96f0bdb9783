"""Small ensembles of every variant, to be stepped on two devices and compared."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sibp.bench import variants
from sibp.bench.timed import Case
from sibp.methods import Method, State, registry
from sibp.nets import papers, propagation
from sibp.nets.layers import Affine
from sibp.nets.network import Network

__all__ = ["NETWORKS", "Row", "batches", "begin", "distance", "rows", "stepped"]

NETWORKS = {"mlp": papers.mlp([6, 9, 8, 3]), "cnn": papers.cnn((2, 8, 8), channels=(3, 4), pools=2, classes=3)}
MEMBERS, STEPS = 3, 4
SIZES = (24,)

Row = tuple[str, str]  # a variant's name and a network's
Wrap = Callable[[Method, Sequence[Affine], State], Callable[[Tensor, Tensor], Tensor]]


def rows(labels: Callable[[str], Iterable[str]]) -> list[Row]:
    """Return all pairs of a variant and a network that it takes.

    Args:
        labels: gives the variants of a method by its name.

    Returns:
        Pairs of a variant's name and a key of `NETWORKS`.
    """
    return [
        (label, network)
        for name in registry.METHODS
        for label in labels(name)
        for network in NETWORKS
        if variants.accepts(name, variants.variants(name)[label], NETWORKS[network])
    ]


def begin(row: Row, device: str, dtype: torch.dtype) -> tuple[Method, list[Affine], State]:
    """Return three members that differ in every number.

    Args:
        row: the variant and the network.
        device: where they are.
        dtype: of their parameters.

    Returns:
        The method, parameters and state.
    """
    label = row[0]
    name = label.split()[0]
    few = {key: min(value, 3) for key, value in vars(variants.variants(name)[label]).items() if type(value) is int}
    options = replace(variants.variants(name)[label], **few)
    given = list(variants.members(options, MEMBERS))
    return Case(row[1], NETWORKS[row[1]], std=0.3).started(name, given, torch.device(device), dtype=dtype)


def batches(network: Network, device: str, dtype: torch.dtype, sizes: Sequence[int] = SIZES) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield mini-batches, the same numbers on every device.

    Args:
        network: for the shape of its inputs.
        device: where they are to be.
        dtype: of the inputs.
        sizes: of the mini-batches, in turns.

    Yields:
        x `[E, B, *input_shape]` and y `[E, B]`.
    """
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        size = sizes[step % len(sizes)]
        x = torch.rand(MEMBERS, size, *network.input_shape, generator=generator, dtype=torch.float64)
        yield x.to(device, dtype), torch.randint(3, (MEMBERS, size), generator=generator).to(device)


def stepped(
    row: Row, device: str, dtype: torch.dtype, wrap: Wrap | None = None, *, sizes: Sequence[int] = SIZES, steps: int = STEPS
) -> list[Tensor]:
    """Make some steps.

    Args:
        row: the variant and the network.
        device: where it runs.
        dtype: of the parameters.
        wrap: makes the step of a method, such as a captured one; None takes the method's own.
        sizes: of the mini-batches, in turns.
        steps: how many.

    Returns:
        The losses of all steps, then parameters and state after them.
    """
    method, parameters, state = begin(row, device, dtype)
    step = wrap(method, parameters, state) if wrap else lambda x, y: method.step(parameters, state, x, y)
    given = list(batches(NETWORKS[row[1]], device, dtype, sizes))[:steps]
    if method.whole_data:
        given = given[:1] * len(given)
    seen = [step(x, y) for x, y in given]
    return [torch.cat(seen), *propagation.tensors(parameters), *(tensor for tensors in state.values() for tensor in tensors)]


def distance(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Return the largest ||a - b|| / ||b|| of two lists of tensors.

    Args:
        mine: the a.
        theirs: the b, of the same shapes.

    Returns:
        A ratio; infinite where something is no number.
    """
    gaps = [
        ((a.double().cpu() - b.double().cpu()).norm() / b.double().cpu().norm().clamp(min=1e-30)).item()
        for a, b in zip(mine, theirs, strict=True)
    ]
    return max(gaps) if all(gap == gap for gap in gaps) else float("inf")
