"""A convolution is updated as a dense layer whose samples are its unfolded patches, in every method; float64."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sibp import methods
from tests.reference import proximal_twin, sibp_twin


def convolutional(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 3 * 2, 5)).double()
    return model, torch.randn(16, 2, 6, 5).double(), torch.randint(5, (16,))


def solve(solver, name, rows, W, b, T, lam):
    """J 4.1 on rows [R, I] towards T [R, O] by the twin's solver, which has columns; returns W and b."""
    A, ones = rows.numpy().T, np.ones((1, len(rows)))
    W, b = W.detach().numpy().reshape(len(W), -1), b.detach().numpy()[:, None]
    W_new = solver(name, A, b @ ones, T.numpy().T, W, lam)
    b_new = solver(name, ones, W_new @ A, T.numpy().T, b, lam)
    return torch.from_numpy(W_new), torch.from_numpy(b_new[:, 0])


def twin_step(model, x, y, eta, lam, hidden, last):
    """J Algorithm 1 on convolution - relu - pool - flatten - dense, with torch's own convolution, pooling and autograd."""
    convolution, dense = model[0], model[4]
    with torch.no_grad():
        Z = convolution(x)
        rows = functional.unfold(x, 3, padding=1).mT.flatten(0, 1)
    image = Z.relu().requires_grad_()
    features = model[3](model[2](image))
    delta = (dense(features).softmax(1) - functional.one_hot(y, 5)).detach()
    T = dense(features).detach() - eta * delta
    W, b = solve(last, "identity", features.detach(), dense.weight, dense.bias, T, lam)
    (delta,) = torch.autograd.grad(features, image, delta @ W)  # the new W
    T = (image.detach() - eta * delta).permute(0, 2, 3, 1).flatten(0, 2)
    V, c = solve(hidden, "relu", rows, convolution.weight, convolution.bias, T, lam)
    with torch.no_grad():
        for parameter, new in zip(model.parameters(), (V, c, W, b), strict=True):
            parameter.copy_(new.reshape(parameter.shape))


def equal(mine, theirs, start, tolerance=1e-9):
    for p, q, r in zip(mine.parameters(), theirs.parameters(), start.parameters(), strict=True):
        assert (p - q).norm() < tolerance * (q - r).norm()


# each conjugate gradient iteration multiplies the rounding by about 40 here: three keep it below 1e-9, the programs have five
SOLVERS = sibp_twin.SOLVERS | {
    "newton": (partial(sibp_twin.newton, iterations=3),) * 2,
    "armijo": (partial(sibp_twin.armijo, iterations=3),) * 2,
}


@pytest.mark.parametrize("space", ["batch", "weight"])
@pytest.mark.parametrize("variant", list(SOLVERS))
def test_sibp_equals_the_twin_on_unfolded_rows(variant, space):
    (mine, x, y), (theirs, _, _), (start, _, _) = convolutional(), convolutional(), convolutional()
    steps = 5 if variant.startswith("released") else 3
    for _ in range(3):
        methods.step(mine, "sibp", x, y, eta=0.1, lam=0.5, cg_steps=steps, variant=variant, space=space)
        twin_step(theirs, x, y, 0.1, 0.5, *SOLVERS[variant])
    equal(mine, theirs, start)


@pytest.mark.parametrize("options", [{"solver": "exact"}, *({"cg_steps": 200, "space": space} for space in ("batch", "weight"))])
def test_proxbp_equals_the_exact_solution_with_torchs_convolution(options):
    (mine, x, y), (theirs, _, _), (start, _, _) = convolutional(), convolutional(), convolutional()
    for _ in range(3):
        methods.step(mine, "proxbp", x, y, eta=0.1, lam=0.5, **options)
        proximal_twin.proxbp(theirs, x, y, 0.1, 0.5, None)
    equal(mine, theirs, start, 1e-8)


@pytest.mark.parametrize("options", [{"variant": "newton"}, {"variant": "armijo"}, {"solver": "cg"}, {"solver": "exact"}])
def test_a_convolution_with_one_position_is_a_dense_layer(options):
    method = "sibp" if "variant" in options else "proxbp"
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(2, 6, (4, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(6, 3)).double()
    dense = nn.Sequential(nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        for p, q in zip(dense.parameters(), convolution.parameters(), strict=True):
            p.copy_(q.reshape(p.shape))
    x, y = torch.randn(7, 2, 4, 3).double(), torch.randint(3, (7,))
    for _ in range(5):
        losses = [methods.step(model, method, x, y, **options).item() for model in (convolution, dense)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    for p, q in zip(dense.parameters(), convolution.parameters(), strict=True):
        assert torch.allclose(p, q.reshape(p.shape), rtol=1e-9, atol=1e-12)
