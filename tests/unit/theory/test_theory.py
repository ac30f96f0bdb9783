"""The papers' statements hold on small problems, and each check fails where its statement does not apply."""

import math

import pytest
import torch

from sibp import theory
from sibp.methods import proxprop as proxprop_method
from sibp.theory import Finding, properties, proxprop, statements
from sibp.theory.problems import Problem, flat, small

# J Table 1, as printed
TABLE_1 = {
    "Propagate by chain rule": {"BP", "ProxBP", "SIBP"},
    "Implicit subproblem": {"ProxBP", "BCD", "SIBP"},
    "Implicit subproblem (including activation)": {"BCD", "SIBP"},
    "Descent of neural network loss": {"BP", "ProxBP", "SIBP"},
    "Gauss-Seidel type update": {"BCD", "SIBP"},
}


@pytest.fixture(scope="module")
def cells():
    return theory.property_matrix()


@pytest.mark.parametrize("title", TABLE_1)
def test_every_tick_and_cross_of_table_1_is_what_is_measured(cells, title):
    row = [cell for cell in cells if cell.statement == title]
    assert {cell.source for cell in row} == set(properties.METHODS)
    assert {cell.source for cell in row if cell.holds} == TABLE_1[title]


def test_the_table_has_no_other_rows(cells):
    assert {cell.statement for cell in cells} == set(TABLE_1)


def test_no_property_holds_for_nan():
    for relation in ("<", "<=", ">", ">="):
        assert not Finding("", "", "", math.nan, relation, 0.0).holds


def test_fixed_points_are_stationary():
    there, ratio = statements.fixed_points(range(2))
    assert there < 1e-8
    assert ratio > 0.01


def test_full_batch_sibp_never_raises_the_loss_for_small_eta_and_its_gradient_vanishes():
    values, norms = statements.convergence("sibp", range(3), steps=500, eta=0.05, lam=0.5)
    assert statements.largest_rise(values) <= 0
    assert norms[-1].median() < 0.02
    assert (norms[-1] < norms[100]).all() and (norms[100] < norms[0]).all()


@pytest.mark.parametrize("activation", ["tanh", "softplus", "sigmoid"])
def test_and_does_so_with_every_smooth_activation(activation):
    values, _ = statements.convergence("sibp", range(3), steps=60, activation=activation, eta=0.01, lam=0.5)
    assert statements.largest_rise(values) <= 0


def test_a_large_eta_does_raise_it():
    values, _ = statements.convergence("sibp", range(3), steps=30, eta=1.0, lam=0.5)
    assert statements.largest_rise(values) > 0


def test_mini_batch_moves_vanish_and_keep_the_stated_bound_but_not_the_proofs_equality():
    told = statements.mini_batches(range(10), steps=600)
    assert told["last_move"] < 1e-2
    assert 0 < told["ratio"] <= 1
    assert told["ratio"] < 0.9  # the proof's last line says 1


def test_sibp_turns_into_gradient_descent_as_lam_goes_to_zero():
    angles = statements.angle_to_gradient([1.0, 1e-2, 1e-4, 1e-6])
    assert angles[-1] < 1e-3
    assert all(small < large / 10 for small, large in zip(angles[2:], angles[1:-1], strict=True))
    assert angles[0] > 0.1


def test_backprop_is_gradient_descent_on_the_penalty():
    assert proxprop.penalty_descent(tau=0.3) < 1e-10


def test_the_direction_is_the_metric_times_the_gradient(monkeypatch):
    assert proxprop.metric(0.7) < 1e-10
    monkeypatch.setattr(Problem, "gradient", lambda self, parameters: [type(p)(2 * p.W, 2 * p.b) for p in parameters])
    assert proxprop.metric(0.7) > 1e-3


def test_the_direction_descends_by_more_than_the_proofs_bound():
    least, above = proxprop.descent_angle(steps=60)
    assert least > 0
    assert above >= 0


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_any_number_of_conjugate_gradient_steps_gives_a_descent_direction(variant):
    cosines = proxprop.conjugate_gradient_descends(variant)
    assert min(cosines) > 0
    assert cosines[0] > cosines[-1]  # the more steps, the further from the gradient


def test_a_direction_uphill_would_be_seen(monkeypatch):
    solve = proxprop_method.dispatch.solve_linear
    monkeypatch.setattr(proxprop_method.dispatch, "solve_linear", lambda *given: -solve(*given))
    assert min(proxprop.conjugate_gradient_descends("paper")) < 0


def test_all_statements_but_the_proofs_equality_hold_in_the_exhibit():
    failed = [found.statement for found in proxprop.findings() if not found.holds]
    assert failed == []


def test_a_problems_gradient_is_that_of_its_loss():
    problem = small((4, 6, 5, 3), samples=12, bias=True)
    parameters = problem.parameters([0, 1])
    tensors = [tensor.requires_grad_() for layer in parameters for tensor in layer]
    expected = torch.autograd.grad(problem.value(parameters).sum(), tensors)
    with torch.no_grad():
        mine = flat(problem.gradient(parameters))
    assert torch.allclose(mine, torch.cat([g.flatten(1) for g in expected], 1), rtol=1e-10, atol=1e-12)
