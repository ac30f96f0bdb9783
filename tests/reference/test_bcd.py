"""The package's BCD against the notebooks' sweep, float64."""

import numpy as np
import pytest
import torch

import sibp
from sibp.methods import bcd
from sibp.solvers import blocks
from tests.reference import bcd_twin as twin
from tests.reference.columns import columns


def problem(widths, samples=40, seed=0):
    rng = np.random.default_rng(seed)
    model = sibp.mlp(list(widths), std=0.3, seed=seed, dtype=torch.float64)
    return model, torch.from_numpy(rng.normal(size=(samples, widths[0]))), torch.from_numpy(rng.integers(0, widths[-1], samples))


def error(mine, theirs):
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("widths", [(9, 7, 4), (9, 8, 7, 6, 4), (9, 4)])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (5.0, 0.7, 1.3)])
def test_ten_sweeps_equal_the_notebooks(widths, weights, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK", 16)  # so that 40 samples are three chunks
    alpha, rho, gamma = weights
    model, x, y = problem(widths)
    (W, b), Y = columns(model), np.eye(widths[-1])[y.numpy()].T
    U, V = twin.initial(W, b, x.numpy().T)
    optimizer = sibp.BCD(model, x, y, alpha=alpha, rho=rho, gamma=gamma)
    for _ in range(10):
        objective = optimizer.step()
        twin.sweep(W, b, U, V, Y, alpha, rho, gamma)
        mine = columns(model)
        assert error(mine[0] + mine[1], W + b) < 1e-8
        assert objective.item() == pytest.approx(twin.objective(W, b, U, V, Y, rho), rel=1e-8)
    assert error([U[0].numpy().T for U in optimizer.state["U"]], U) < 1e-8
    assert error([V[0].numpy().T for V in optimizer.state["V"]], V[1:]) < 1e-8
    rest = sum(np.sum((v - twin.relu(u)) ** 2) for u, v in zip(U[:-1], V[1:-1], strict=True)) + np.sum((V[-1] - U[-1]) ** 2)
    assert optimizer.objective(full=True).item() == pytest.approx(objective.item() + gamma / 2 * rest, rel=1e-8)


def test_relu_prox_equals_the_notebooks_everywhere_and_at_ties():
    grid = np.linspace(-3, 3, 121)
    a, b = map(np.ravel, np.meshgrid(grid, grid))
    for g in (0.3, 1.0, 2.0, 6.0):
        tie = np.abs(grid) * (g - np.sqrt(g * (g + 1))) / g  # b at which both branches are worth the same
        A, B = np.concatenate([a, np.abs(grid), grid, -grid]), np.concatenate([b, tie, -grid / g, grid * 0])
        mine = blocks.relu_prox(torch.from_numpy(A), torch.from_numpy(B), torch.tensor(g, dtype=torch.float64))
        assert np.array_equal(mine.numpy(), twin.relu_prox(A, B, g))


def test_relu_prox_is_the_minimiser():
    rng = np.random.default_rng(0)
    a, b, g = rng.normal(size=200), rng.normal(size=200), 1.7
    u = np.linspace(-6, 6, 4001)[:, None]
    value = lambda v: 0.5 * (np.maximum(v, 0) - a) ** 2 + g / 2 * (v - b) ** 2  # noqa: E731
    mine = blocks.relu_prox(torch.from_numpy(a), torch.from_numpy(b), torch.tensor(g)).numpy()
    assert (value(mine) <= value(u).min(0) + 1e-12).all()


def test_the_full_objective_never_rises():
    model, x, y = problem((9, 8, 7, 4))
    optimizer = sibp.BCD(model, x, y)
    values = [optimizer.objective(full=True).item()]
    for _ in range(15):
        optimizer.step()
        values.append(optimizer.objective(full=True).item())
    assert (np.diff(values) <= 1e-10).all()
    assert values[-1] < 0.5 * values[0]


def test_what_does_not_fit_is_refused_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(bcd, "free_bytes", lambda device: 1000)
    model, x, y = problem((9, 7, 4))
    with pytest.raises(MemoryError, match=r"bcd: U and V of 40 samples need 0\.0 GiB, 0\.0 GiB are free"):
        sibp.BCD(model, x, y)


def test_the_deep_net_of_the_papers_needs_the_memory_that_the_docstring_says():
    model = sibp.mlp([784, *[600] * 10, 10])
    optimizer = sibp.BCD(model, torch.zeros(8, 784), torch.zeros(8, dtype=torch.int64))
    assert optimizer._engine(*optimizer.data).bytes_needed(60000) == 2 * 60000 * (10 * 600 + 10) * 4


def test_other_networks_are_refused():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    with pytest.raises(ValueError, match="bcd: got Sequential, need dense layers with relu or identity between them"):
        sibp.BCD(model, torch.zeros(5, 4), torch.zeros(5, dtype=torch.int64))
