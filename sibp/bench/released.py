"""A step as the authors' later program computes it: in the space of the weights, with a matrix product in every Armijo trial.

The iterates are those of `sibp.SIBP` with `variant="released"`, and a test says so; only the cost differs. For layers of one ReLU
network, one member: x `[B, I]`, W `[O, I]`, b `[O]`.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["released_step"]

SIGMA, SHRINK, TRIALS = 0.1, 0.6, 50
Search = Callable[[Callable[[float], bool], float, float], float]


@torch.no_grad()
def released_step(layers: Sequence[nn.Linear], x: Tensor, y: Tensor, *, eta: float, lam: float, cg_steps: int) -> None:
    """Make one SIBP step in place (J 4.1-4.2, Algorithm 1); all layers but the last are followed by ReLU.

    Args:
        layers: from input to output, changed in place.
        x: inputs `[B, I]`.
        y: class indices `[B]`.
        eta: step on the activations, > 0.
        lam: proximal weight, > 0.
        cg_steps: iterations per subproblem, >= 1. Cost: up to 50 products per iteration.
    """
    X, Z = [x], []
    for layer in layers:
        Z.append(X[-1] @ layer.weight.mT + layer.bias)
        X.append(Z[-1].relu())
    delta = Z[-1].softmax(1) - nn.functional.one_hot(y, Z[-1].shape[1])
    for i in reversed(range(len(layers))):
        W, b, last = layers[i].weight, layers[i].bias, i + 1 == len(layers)
        sigma = (lambda z: z) if last else torch.relu
        T = sigma(Z[i]) - eta * delta
        D = delta if last else delta * (Z[i] > 0)
        F, search = X[i], _scan if last else _jump
        how = {"sigma": sigma, "T": T, "lam": lam, "cg_steps": cg_steps, "search": search}
        W.copy_(_minimise(lambda V, F=F, b=b: F @ V.mT + b, lambda G, F=F: G.mT @ F, b, W, **how))
        FW = F @ W.mT
        b.copy_(_minimise(lambda v, FW=FW: FW + v, lambda G: G.sum(0), FW, b, **how))
        delta = D @ W


def _minimise(
    image: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    offset: Tensor,
    start: Tensor,
    *,
    sigma: Callable[[Tensor], Tensor],
    T: Tensor,
    lam: float,
    cg_steps: int,
    search: Search,
) -> Tensor:
    """Return the approximate minimiser of ||sigma(image(V)) - T||^2 + 1/(2 lam) ||V - start||^2 by Fletcher-Reeves.

    `offset` is the part of the image that V does not make.
    """

    def value(V: Tensor) -> float:
        return ((sigma(image(V)) - T).square().sum() + (V - start).square().sum() / (2 * lam)).item()

    def gradient(V: Tensor, without: Tensor | float = 0.0) -> Tensor:
        G = image(V) - without
        slope = (G > 0).to(G.dtype) if search is _jump else 1.0
        return adjoint(2 * slope * (sigma(G) - T)) + (V - start) / lam

    V = start.clone()
    g = gradient(V, offset if search is _scan else 0.0)  # the program forgets it in its last layer's first gradient
    d = -g
    for _ in range(cg_steps):
        f, slope = value(V), (g * d).sum().item()
        t = search(lambda t, V=V, d=d, f=f, slope=slope: value(V + t * d) < f + SIGMA * t * slope, f, slope)
        if t > 0:
            V = V + t * d
        g, g_old = gradient(V), g
        d = g.square().sum() / g_old.square().sum() * d - g
    return V


def _scan(passes: Callable[[float], bool], _f: float, _slope: float, first: int = 0) -> float:
    """Return the first step that passes, but 0 where that is the full one."""
    m = next((m for m in range(first, TRIALS) if passes(SHRINK**m)), 0)
    return SHRINK**m if m > 0 else 0.0


def _jump(passes: Callable[[float], bool], f: float, slope: float) -> float:
    """Return the step that the program guesses after its first trial, untested where that passed."""
    full = passes(1.0)
    ratio = 0.01 * f / abs(SIGMA * slope) if slope else math.inf
    w = max(math.floor(math.log(ratio) / math.log(SHRINK)), 0) if 0 < ratio < math.inf else 0
    if full:
        return SHRINK**w if w > 0 else 0.0
    return _scan(passes, f, slope, w + 1)
