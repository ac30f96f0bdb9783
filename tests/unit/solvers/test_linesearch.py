"""Searches against their definition, on random ReLU lines."""

import pytest
import torch

from sibp.nets import activations
from sibp.solvers import linesearch
from sibp.solvers.linesearch import Armijo, Curvature, Line
from sibp.solvers.subproblem import Subproblem, WeightSpace


def line(randn, name="relu", E=5, scale=1.0, R=6, I=9, O=4):
    X, W, b, T = randn(E, R, I), randn(E, O, I), randn(E, 1, O), randn(E, R, O)
    lam = torch.full((E, 1, 1), 0.5, dtype=torch.float64)
    problem = Subproblem(WeightSpace(X), activations.get(name), X @ W.mT + b, T, lam)
    D = 0.1 * randn(E, I, O)
    Z = problem.Z + X @ D
    g = problem.gradient(Z, D)
    d = -scale * g
    made = Line(problem, Z, X @ d, problem.total(D * D), problem.total(D * d), problem.total(d * d), problem.total(g * d))

    def objective(t):
        at = D + t * d
        return problem.data_term(problem.Z + X @ at) + problem.total(at * at) / (2 * lam)

    return made, objective


@pytest.mark.parametrize("name", list(activations.ACTIVATIONS))
@pytest.mark.parametrize("t", [0.0, 0.01, 1.0])
def test_value_is_the_objective_at_the_moved_weights(name, t, randn):
    made, objective = line(randn, name)
    torch.testing.assert_close(made.value(torch.full((5, 1, 1), t, dtype=torch.float64)), objective(t))


def trial_by_trial(objective, made, e, sigma, trials, first=0):
    for m in range(first, trials):
        t = 0.6**m
        if objective(t)[e] < objective(0.0)[e] + sigma * t * made.slope[e]:
            return m
    return None


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_armijo_takes_the_exponent_found_trial_by_trial(scale, randn):
    made, objective = line(randn, scale=scale)
    steps = Armijo()(made)
    for e in range(5):
        m = trial_by_trial(objective, made, e, 0.1, 50)
        assert steps[e].item() == pytest.approx(0.0 if m is None else 0.6**m, rel=1e-12)


def test_armijo_never_raises_the_objective_and_gives_up_uphill(randn):
    made, objective = line(randn)
    assert (objective(Armijo()(made)) <= objective(0.0)).all()
    uphill, _ = line(randn, scale=-1.0)
    assert (Armijo()(uphill) == 0).all()


def test_curvature_step_is_exact_on_a_linear_layer(randn):
    made, objective = line(randn, "identity")
    t = Curvature()(made)
    for nudge in (0.99, 1.01):
        assert (objective(t) < objective(nudge * t)).all()


def test_curvature_step_never_raises_the_objective(randn):
    made, objective = line(randn, "tanh", scale=10.0)
    assert (objective(Curvature()(made)) <= objective(0.0)).all()


def test_released_armijo_drops_a_full_step_that_passes(randn):
    made, objective = line(randn, scale=1e-3)
    assert all(trial_by_trial(objective, made, e, 0.1, 50) == 0 for e in range(5))
    assert (linesearch.released_armijo(made, sigma=0.1, trials=50) == 0).all()
    assert (Armijo()(made) == 1).all()


@pytest.mark.parametrize("search", [Armijo(), Curvature(), linesearch.released_jump])
def test_a_member_without_numbers_takes_no_step_and_touches_nobody(search, randn):
    made, _ = line(randn)
    clean = search(made)
    made.Z_d[2], made.slope[2] = torch.nan, torch.nan
    steps = search(made)
    assert steps[2] == 0
    others = [0, 1, 3, 4]
    assert torch.equal(steps[others], clean[others])


@pytest.mark.parametrize("numbers", [1, 600, 2**24])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_all_trials_at_once_find_the_same_exponent(scale, numbers, randn):
    made, _ = line(randn, scale=scale)
    for first in (0.0, 3.0, torch.inf):
        first = torch.full_like(made.slope, first)
        one_by_one = linesearch.first_exponent(made, 0.1, 0.6, first, 23)
        assert torch.equal(linesearch.first_exponent_without_sync(made, 0.1, 0.6, first, 23, numbers=numbers), one_by_one)
