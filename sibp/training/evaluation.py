"""Measuring an ensemble on whole splits, all members in one pass."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sibp.nets import losses, propagation
from sibp.nets.layers import Affine
from sibp.nets.losses import Loss
from sibp.nets.network import Network
from sibp.training.problem import Problem
from sibp.training.sampling import Samples

__all__ = ["METRICS", "Snapshot", "first_gradient_norm", "measure", "prune", "pruned", "sparsity"]

CHUNK = 2**23  # most numbers in the widest layer's rows of all members at a time: what stays in the nearest caches
CHUNK_CUDA = 2**26  # the same for convolutions on CUDA, where a chunk is tens of kernels
GRADIENT = 2**28  # most numbers in all layers' rows of all members when a gradient is measured


@torch.no_grad()
def measure(network: Network, loss: Loss, parameters: Sequence[Affine], samples: Samples, dtype: torch.dtype) -> dict[str, Tensor]:
    """Measure a split, all members in one pass.

    Args:
        network: the network.
        loss: at the output.
        parameters: one `Affine` per layer.
        samples: the split.
        dtype: of the inputs.

    Returns:
        The mean ``loss`` and, where there are classes, the ``accuracy`` in [0, 1]; float64 `[E]` each. Cost: one forward pass.
    """
    size = chunk_size(network, parameters[0].W.shape[0], parameters[0].W.device)
    totals: dict[str, Tensor] = {}
    for x, y in samples.chunks(size, dtype):
        F = propagation.output(network, parameters, x)
        values = {"loss": loss.value(F, y).double()}
        if samples.labelled:
            values["accuracy"] = losses.accuracy(F, y)
        for name, value in values.items():
            totals[name] = value * x.shape[1] + totals.get(name, 0.0)  # added for the first chunk, too: equal chunks do equal work
    return {name: total / len(samples) for name, total in totals.items()}


def chunk_size(network: Network, members: int, device: torch.device) -> int:
    """Return how many samples are measured at a time.

    On the CPU a convolution's rows are bounded by its input's positions: the last bits of a mean depend on the chunks, so they stay as
    they are. On CUDA they are counted layer by layer.

    Args:
        network: the network.
        members: E.
        device: where it runs.

    Returns:
        Samples, >= 1.
    """
    if device.type == "cuda" and any(rows > 1 for rows in network.rows):
        widest = max(rows * max(layer.fan_in, layer.fan_out) for rows, layer in zip(network.rows, network.layers, strict=True))
        return max(1, CHUNK_CUDA // (members * widest))
    positions = math.prod(network.input_shape[1:])
    return max(1, CHUNK // (members * positions * max(max(layer.fan_in, layer.fan_out) for layer in network.layers)))


@torch.no_grad()
def first_gradient_norm(network: Network, loss: Loss, parameters: Sequence[Affine], x: Tensor, y: Tensor) -> Tensor:
    """Return ||dJ/dW_1|| of the mean loss of a mini-batch (J, Figure 7); a whole training set is taken in parts.

    Args:
        network: the network.
        loss: at the output.
        parameters: one `Affine` per layer.
        x: inputs `[E or 1, B, *input_shape]`.
        y: targets.

    Returns:
        Norms `[E]`. Cost: one forward and one backward pass.
    """
    numbers = parameters[0].W.shape[0] * sum(
        rows * (layer.fan_in + layer.fan_out) for rows, layer in zip(network.rows, network.layers, strict=True)
    )
    samples, size = x.shape[1], max(1, GRADIENT // numbers)
    gradient: Tensor | None = None
    for part, targets in zip(x.split(size, 1), y.split(size, 1), strict=True):
        W = propagation.loss_gradients(network, parameters, loss, part, targets)[0].W
        W = W if part.shape[1] == samples else W * (part.shape[1] / samples)
        gradient = W if gradient is None else gradient + W
    assert gradient is not None  # a mini-batch has samples
    return gradient.flatten(1).norm(dim=1)


def sparsity(parameters: Sequence[Affine]) -> Tensor:
    """Return the share of weights that are exactly zero, biases left out.

    Args:
        parameters: one `Affine` per layer.

    Returns:
        Shares `[E]` in [0, 1], float64.
    """
    zeros = torch.stack([(layer.W == 0).flatten(1).sum(1) for layer in parameters]).sum(0)
    return zeros.double() / sum(layer.W[0].numel() for layer in parameters)


@dataclass(frozen=True)
class Snapshot:
    """What is known of an ensemble between two steps.

    Attributes:
        network: the network.
        loss: at the output.
        parameters: one `Affine` per layer.
        batch: returns the next mini-batch, x and y.
        first_weight_change: ||W_1 - its old value|| of the last step, `[E]`; None where it is not known.
    """

    network: Network
    loss: Loss
    parameters: Sequence[Affine]
    batch: Callable[[], tuple[Tensor, Tensor]]
    first_weight_change: Tensor | None = None


def _first_weight_change(at: Snapshot) -> Tensor:
    W = at.parameters[0].W
    return W.new_full((len(W),), math.nan) if at.first_weight_change is None else at.first_weight_change


# Those of `settings.Measure` that are no splits: one number `[E]` for each network.
METRICS: dict[str, Callable[[Snapshot], Tensor]] = {
    "first_gradient_norm": lambda at: first_gradient_norm(at.network, at.loss, at.parameters, *at.batch()),
    "first_weight_change": _first_weight_change,
    "sparsity": lambda at: sparsity(at.parameters),
}


def prune(parameters: Sequence[Affine], share: float) -> list[Affine]:
    """Return copies in which the smallest weights, in magnitude over the whole net, are zero (J 5.5).

    Args:
        parameters: one `Affine` per layer.
        share: of each member's weights, in [0, 1]; biases stay.

    Returns:
        One `Affine` per layer, whose biases are those of `parameters`.
    """
    weights = torch.cat([layer.W.flatten(1) for layer in parameters], 1).abs()
    count = round(share * weights.shape[1])
    if count == 0:
        return [Affine(W.clone(), b) for W, b in parameters]
    # the count smallest, whatever ties there are: an l1 term leaves many exact zeros
    keep = torch.ones_like(weights).scatter_(1, weights.argsort(dim=1, stable=True)[:, :count], 0)
    masks = keep.split([layer.W[0].numel() for layer in parameters], 1)
    return [Affine(W * mask.view_as(W), b) for (W, b), mask in zip(parameters, masks, strict=True)]


def pruned(problem: Problem, parameters: Sequence[Affine], members: Sequence[int], shares: Sequence[float]) -> list[dict]:
    """Measure every split after `prune` (J, Figure 12).

    Args:
        problem: what was trained on what.
        parameters: one `Affine` per layer.
        members: the numbers of the parameters' members.
        shares: of the weights to cut.

    Returns:
        One record per member and share: ``member``, ``share``, ``sparsity``, and what `measure` says of each split, None for what
        is no number.
    """
    records = []
    for share in shares:
        cut = prune(parameters, share)
        zeros, metrics = sparsity(cut).tolist(), {}
        for name, samples in problem.splits.items():
            measured = measure(problem.network, problem.loss, cut, samples, problem.dtype)
            metrics |= {
                f"{name}_{key}": [v if math.isfinite(v) else None for v in values.tolist()] for key, values in measured.items()
            }
        for i, member in enumerate(members):
            own = {name: values[i] for name, values in metrics.items()}
            records.append({"member": member, "share": share, "sparsity": zeros[i], **own})
    return records
