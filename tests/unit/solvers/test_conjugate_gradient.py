"""The solvers against direct solutions, and their two spaces against each other."""

from itertools import pairwise

import pytest
import torch

from sibp.nets import activations
from sibp.solvers import conjugate_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.linesearch import Armijo, Curvature
from sibp.solvers.subproblem import BatchSpace, BiasSpace, Subproblem, WeightSpace

SEARCHES = [Armijo(), Curvature()]


def problem(randn, space, name="relu", lam=0.5, E=3, R=8, I=12, O=5, rank=None):
    X = randn(E, R, I) if rank is None else randn(E, R, rank) @ randn(E, rank, I)
    W, b, T = randn(E, O, I) / I**0.5, randn(E, 1, O), randn(E, R, O)
    lam = torch.full((E, 1, 1), lam, dtype=torch.float64)
    return Subproblem(space(X), activations.get(name), X @ W.mT + b, T, lam), X


def objective(made, X, D):
    return made.data_term(made.Z + X @ D) + made.total(D * D) / (2 * made.lam)


@pytest.mark.parametrize("search", SEARCHES)
def test_both_spaces_give_the_same_iterates(search):
    for seed in range(5):
        randn = seeded(seed)
        made, X = problem(randn, WeightSpace)
        twin, _ = problem(seeded(seed), BatchSpace)
        D, Z = conjugate_gradient.minimise(made, 5, Rules(search))
        S, Z_twin = conjugate_gradient.minimise(twin, 5, Rules(search))
        torch.testing.assert_close(X.mT @ S, D, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(Z, Z_twin, rtol=1e-9, atol=1e-10)


def seeded(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("name", ["relu", "tanh", "softplus", "identity"])
def test_every_iteration_lowers_the_objective_or_stays(search, name, randn):
    made, X = problem(randn, WeightSpace, name)
    values = [objective(made, X, torch.zeros(3, 12, 5, dtype=torch.float64))]
    values += [objective(made, X, conjugate_gradient.minimise(made, k, Rules(search))[0]) for k in range(1, 8)]
    for before, after in pairwise(values):
        assert (after <= before).all()
    assert (values[-1] < values[0]).all()


def test_many_iterations_solve_the_linear_layer_exactly(randn):
    made, X = problem(randn, WeightSpace, "identity")
    D, _ = conjugate_gradient.minimise(made, 200, Rules(Curvature()))
    exact = conjugate_gradient.solve_exactly(X, made.Z - made.T, made.lam, joint=False)
    torch.testing.assert_close(D, exact, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("R", "I"), [(8, 12), (12, 8), (1, 5), (5, 1)])
@pytest.mark.parametrize("joint", [False, True])
def test_exact_solve_has_zero_gradient_whichever_side_is_smaller(R, I, joint, randn):
    X, residual = randn(2, R, I), randn(2, R, 3)
    lam = torch.tensor([0.1, 10.0], dtype=torch.float64).reshape(2, 1, 1)
    D = conjugate_gradient.solve_exactly(X, residual, lam, joint=joint)
    space = WeightSpace(X, joint)
    gradient = 2 * space.coordinates(space.image(D) + residual) + D / lam
    assert gradient.abs().max() < 1e-10


@pytest.mark.parametrize("space", [WeightSpace, BatchSpace])
@pytest.mark.parametrize("joint", [False, True])
def test_linear_cg_reaches_the_exact_solution(space, joint, randn):
    X, residual = randn(2, 8, 12), randn(2, 8, 5)
    lam = torch.full((2, 1, 1), 0.5, dtype=torch.float64)
    made = space(X, joint)
    D = conjugate_gradient.solve_linear(made, residual, lam, iterations=20)
    if space is BatchSpace:
        D = WeightSpace(X, joint).coordinates(D)
    torch.testing.assert_close(D, conjugate_gradient.solve_exactly(X, residual, lam, joint=joint), rtol=1e-8, atol=1e-10)


def test_linear_cg_stops_each_neuron_at_its_tolerance(randn):
    X, residual = randn(1, 8, 12), randn(1, 8, 5)
    lam = torch.full((1, 1, 1), 0.5, dtype=torch.float64)
    rough = conjugate_gradient.solve_linear(WeightSpace(X), residual, lam, 50, tolerance=0.5)
    assert torch.equal(rough, conjugate_gradient.solve_linear(WeightSpace(X), residual, lam, 60, tolerance=0.5))
    assert not torch.allclose(rough, conjugate_gradient.solve_linear(WeightSpace(X), residual, lam, 50))


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("case", ["dead", "rank one", "one row", "more rows than inputs", "zero input"])
def test_hard_layers_stay_finite_and_equal_in_both_spaces(search, case):
    def make(space):
        randn = seeded(1)
        sizes = {"one row": {"R": 1}, "more rows than inputs": {"R": 30}, "rank one": {"rank": 1}}.get(case, {})
        made, X = problem(randn, space, **sizes)
        if case == "dead":
            made.Z.fill_(-1.0)
        if case == "zero input":
            X.zero_()
            made = Subproblem(space(X), made.activation, made.Z, made.T, made.lam)
        return made, X

    made, X = make(WeightSpace)
    D, _ = conjugate_gradient.minimise(made, 5, Rules(search))
    S, _ = conjugate_gradient.minimise(make(BatchSpace)[0], 5, Rules(search))
    assert D.isfinite().all()
    torch.testing.assert_close(X.mT @ S, D, rtol=1e-6, atol=1e-8)


def test_the_bias_problem_needs_no_product_and_lowers_the_objective(randn):
    made, _ = problem(randn, WeightSpace)
    bias = Subproblem(BiasSpace(), made.activation, made.Z, made.T, made.lam)
    p, Z = conjugate_gradient.minimise(bias, 5, Rules(Curvature()))
    torch.testing.assert_close(Z, made.Z + p)
    assert (bias.data_term(Z) + bias.total(p * p) / (2 * bias.lam) < bias.data_term(made.Z)).all()


def test_nan_in_one_member_leaves_the_others_bit_equal(randn):
    made, _ = problem(randn, BatchSpace)
    S, _ = conjugate_gradient.minimise(made, 5, Rules(Armijo()))
    made.Z[1] = torch.nan
    T, _ = conjugate_gradient.minimise(made, 5, Rules(Armijo()))
    assert torch.equal(S[[0, 2]], T[[0, 2]])


def test_two_triangular_solves_are_a_cholesky_solve(randn):
    A, B = randn(2, 5, 5), randn(2, 5, 3)
    L = torch.linalg.cholesky(A @ A.mT + torch.eye(5, dtype=A.dtype))
    assert torch.allclose(conjugate_gradient.triangular_solves(B, L), torch.cholesky_solve(B, L), rtol=1e-10)
