"""The uses of a weight, the subproblem that they make, what comes out of it, and how several uses become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from sibp.modules.affine import AffineMap
from sibp.nets import layers
from sibp.nets.layers import Patches

__all__ = ["Moved", "Problem", "Target", "Terms", "Use", "join"]

Terms = float | Literal["sum"] | None  # over how many terms a loss is a mean


class Target(NamedTuple):
    """What an activation's backward leaves for its layer's.

    Attributes:
        activation: its name.
        Z: pre-activation as rows `[E, R, O]`.
        T: target as rows `[E, R, O]`; the error at the activation's output where the kernel of a whole update makes the target.
        is_own: whether Z is no view of the caller's array, so that it may be overwritten.
        error: the error that has been sent on.
        is_made: whether T is the target.
    """

    activation: str
    Z: Tensor
    T: Tensor
    is_own: bool
    error: Tensor
    is_made: bool = True


@dataclass(eq=False, slots=True)
class Use:
    """One call of an affine function on a watched weight.

    Attributes:
        watch: whose weight it is.
        map: which affine map.
        W: torch's weight.
        b: torch's bias, or None.
        version: the weight's, when it was used.
        numbers: how many the output has.
        activations: how many activations have been applied to the output.
        target: what the activation's backward has left for the layer's.
    """

    watch: Any
    map: AffineMap
    W: Tensor
    b: Tensor | None
    version: int
    numbers: int = 0
    activations: int = 0
    target: Target | None = None

    @property
    def rows(self) -> int:
        """How many rows went through."""
        return self.numbers // self.map.outputs(self.W)


class Problem(NamedTuple):
    """One layer's subproblem.

    Attributes:
        map: the layer's affine map.
        W: its weight.
        b: its bias; None where that is not solved for.
        rows: X `[E, R, I]`.
        D: error at Z `[E, R, O]`, in the loss's own scale.
        target: with the activation inside; None for the identity.
        is_output: whether it is the layer next to the loss.
    """

    map: AffineMap
    W: Tensor
    b: Tensor | None
    rows: Tensor | Patches
    D: Tensor
    target: Target | None
    is_output: bool = False


class Moved(NamedTuple):
    """A layer after its update.

    Attributes:
        W: the new weight.
        grad_of_weight: W_k - W_{k+1}, for autograd; None where the parameters have moved.
        grad_of_bias: b_k - b_{k+1}, likewise.
    """

    W: Tensor
    grad_of_weight: Tensor | None = None
    grad_of_bias: Tensor | None = None


def join(problems: Sequence[Problem]) -> Problem:
    """Return the joint subproblem of several uses of one weight: all their rows.

    An activation stays inside if it is the same everywhere.

    Args:
        problems: of one weight and layout, at least one.

    Returns:
        One problem over all rows.
    """
    first = problems[0]
    targets = [problem.target for problem in problems if problem.target is not None]
    target = None
    if len(targets) == len(problems) and len({t.activation for t in targets}) == 1:
        Z, T = torch.cat([t.Z for t in targets], 1), torch.cat([t.T for t in targets], 1)
        target = Target(targets[0].activation, Z, T, is_own=True, error=first.D)
    rows = torch.cat([layers.matrix(problem.rows) for problem in problems], 1)
    D = torch.cat([problem.D for problem in problems], 1)
    return Problem(first.map, first.W, first.b, rows, D, target, any(problem.is_output for problem in problems))
