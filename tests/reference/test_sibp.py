"""The package's SIBP against its slow twin, float64."""

import numpy as np
import pytest
import torch

import sibp
from sibp import methods
from tests.reference import sibp_twin
from tests.reference.columns import columns


def problem(seed, widths=(30, 20, 15, 5), batch=12, std=0.2):
    rng = np.random.default_rng(seed)
    model = sibp.mlp(list(widths), std=std, seed=seed, dtype=torch.float64)
    batches = [(rng.normal(size=(batch, widths[0])), rng.integers(0, widths[-1], batch)) for _ in range(10)]
    return model, batches


def largest_change_and_error(model, Ws, bs, before):
    mine = [*columns(model)[0], *columns(model)[1]]
    change = max(np.abs(new - old).max() for new, old in zip(Ws + bs, before, strict=True))
    error = max(np.abs(new - twin).max() for new, twin in zip(mine, Ws + bs, strict=True))
    return change, error


@pytest.mark.parametrize("space", ["batch", "weight"])
@pytest.mark.parametrize("variant", list(sibp_twin.SOLVERS))
@pytest.mark.parametrize("seed", [0, 1])
def test_ten_steps_equal_the_twin_to_1e_9_of_the_largest_change(variant, space, seed):
    model, batches = problem(seed)
    start = [*columns(model)[0], *columns(model)[1]]
    Ws, bs = columns(model)
    for x, y in batches:
        methods.step(model, "sibp", torch.from_numpy(x), torch.from_numpy(y), eta=0.1, lam=0.5, variant=variant, space=space)
        Ws, bs = sibp_twin.step(Ws, bs, x.T, np.eye(5)[y].T, 0.1, 0.5, *sibp_twin.SOLVERS[variant])
    change, error = largest_change_and_error(model, Ws, bs, start)
    assert change > 1e-3
    assert error < 1e-9 * change


@pytest.mark.parametrize("variant", list(sibp_twin.SOLVERS))
def test_a_dead_layer_stays_finite_and_equal(variant):
    model, batches = problem(3)
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1.0)  # no neuron of the first layer fires
    Ws, bs = columns(model)
    for x, y in batches[:3]:
        methods.step(model, "sibp", torch.from_numpy(x), torch.from_numpy(y), eta=0.1, lam=0.5, variant=variant)
        Ws, bs = sibp_twin.step(Ws, bs, x.T, np.eye(5)[y].T, 0.1, 0.5, *sibp_twin.SOLVERS[variant])
    _, error = largest_change_and_error(model, Ws, bs, Ws + bs)
    assert error < 1e-12


def test_the_released_last_layer_is_not_the_papers():
    model, batches = problem(0)
    other, _ = problem(0)
    x, y = (torch.from_numpy(a) for a in batches[0])
    methods.step(model, "sibp", x, y, eta=0.1, lam=0.5, variant="released")
    methods.step(other, "sibp", x, y, eta=0.1, lam=0.5, variant="armijo")
    assert (model[-1].weight - other[-1].weight).abs().max() > 1e-6
