"""The l1 subproblem: it falls, it makes exact zeros, and without the term nothing changes."""

from itertools import pairwise

import pytest
import torch

import sibp
from sibp.methods import registry, sequential
from sibp.nets import activations
from sibp.solvers import proximal_gradient
from sibp.solvers.proximal_gradient import minimise_l1, soft_threshold
from sibp.solvers.subproblem import BiasSpace, Subproblem, WeightSpace


def problem(randn, name="relu", lam=0.5):
    X, W, b, T = randn(2, 12, 8), randn(2, 5, 8), randn(2, 1, 5), randn(2, 12, 5)
    lam = torch.full((2, 1, 1), lam, dtype=torch.float64)
    return Subproblem(WeightSpace(X), activations.get(name), X @ W.mT + b, T, lam), W, b


def objective(made, W, D, gamma):
    Z = made.Z + made.space.image(D)
    return made.data_term(Z) + made.total(D * D) / (2 * made.lam) + gamma * made.total((W.mT + D).abs())


def test_soft_threshold_is_the_minimiser_of_its_definition(randn):
    V, threshold = randn(50), torch.tensor(0.3, dtype=torch.float64)
    grid = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    costs = 0.5 * (grid[:, None] - V).square() + threshold * grid[:, None].abs()
    torch.testing.assert_close(soft_threshold(V, threshold), grid[costs.argmin(0)], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["relu", "tanh", "identity"])
def test_every_iteration_lowers_the_whole_objective(name, randn):
    made, W, _ = problem(randn, name)
    gamma = torch.tensor([0.1, 5.0], dtype=torch.float64).reshape(2, 1, 1)
    values = [objective(made, W, minimise_l1(made, W.mT, gamma, k)[0], gamma) for k in range(8)]
    for before, after in pairwise(values):
        assert (after <= before).all()
    assert (values[-1] < values[0]).all()


def test_the_solution_of_a_linear_layer_meets_the_optimality_condition(randn):
    made, W, _ = problem(randn, "identity")
    gamma = torch.full((2, 1, 1), 5.0, dtype=torch.float64)
    D, Z = minimise_l1(made, W.mT, gamma, 2000)
    V, g = W.mT + D, made.gradient(Z, D)
    zero = V == 0
    assert zero.any() and not zero.all()
    assert (g[zero].abs() <= 5.0 + 1e-6).all()
    torch.testing.assert_close(g[~zero], -5.0 * V[~zero].sign(), atol=1e-5, rtol=1e-5)


def test_bias_space_works_alike(randn):
    made, _, b = problem(randn)
    bias = Subproblem(BiasSpace(), made.activation, made.Z, made.T, made.lam)
    gamma = torch.full((2, 1, 1), 1e4, dtype=torch.float64)
    p, _ = minimise_l1(bias, b, gamma, 50)
    assert ((b + p) == 0).all()


@pytest.mark.parametrize("space", ["weights", "bias"])
def test_where_the_smooth_gradient_is_zero_parameters_are_soft_thresholded(space, randn):
    """No sample reaches the layer, so all that is left is ||U - V||^2 / (2 lam) + gamma ||U||_1."""
    made, W, b = problem(randn)
    dead = Subproblem(made.space if space == "weights" else BiasSpace(), made.activation, -1e3 - made.Z.abs(), made.T, made.lam)
    V = W.mT if space == "weights" else b
    gamma = torch.tensor([0.2, 2.0], dtype=torch.float64).reshape(2, 1, 1)
    for iterations in (1, 5):
        D, Z = minimise_l1(dead, V, gamma, iterations)
        torch.testing.assert_close(V + D, soft_threshold(V, made.lam * gamma), rtol=0, atol=1e-12)
        assert torch.equal(V + D == 0, V.abs() <= made.lam * gamma) and (V + D == 0).any()
        torch.testing.assert_close(Z, dead.Z + dead.space.image(D))


def trained(l1, variant="newton", steps=30):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 20, generator=g), torch.randint(0, 3, (40,), generator=g)
    model = sibp.mlp([20, 30, 3], std=0.1, seed=0)
    options = {"eta": 0.1, "lam": 0.5, "l1": l1, "variant": variant}
    return model, [sequential.step(model, "sibp", x, y, **options).item() for _ in range(steps)]


def test_a_larger_gamma_gives_more_exact_zeros_and_the_loss_still_falls():
    zeros = []
    for l1 in (0.0, 0.01, 0.1):
        model, losses = trained(l1)
        zeros.append((model[0].weight == 0).float().mean().item())
        assert losses[-1] < losses[0]
    assert zeros[0] == 0 < zeros[1] < zeros[2]


@pytest.mark.parametrize("variant", ["newton", "armijo"])
def test_gamma_zero_is_bit_equal_to_no_regularisation(variant):
    with_term, _ = trained(0.0, variant)
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 20, generator=g), torch.randint(0, 3, (40,), generator=g)
    without = sibp.mlp([20, 30, 3], std=0.1, seed=0)
    for _ in range(30):
        sequential.step(without, "sibp", x, y, eta=0.1, lam=0.5, variant=variant)
    assert all(torch.equal(a, b) for a, b in zip(with_term.parameters(), without.parameters(), strict=True))


def test_with_a_small_gamma_training_gets_as_far_as_with_none():
    """Without a start from conjugate gradients, five steps of proximal gradient get much less far."""
    losses, small = trained(0.0)[1], trained(1e-6)[1]
    assert losses[-1] < 0.5 * losses[0]
    assert small[-1] < 1.05 * losses[-1]


def test_the_start_is_a_solution_of_the_smooth_problem_only_where_that_is_lower(randn):
    made, W, _ = problem(randn)
    gamma = torch.full((2, 1, 1), 1e-3, dtype=torch.float64)
    good, _ = minimise_l1(made, W.mT, torch.zeros_like(gamma), 30)
    smooth = torch.stack([good[0], 1e3 * good[1]])  # of no use to the second member
    D, Z = minimise_l1(made, W.mT, gamma, 0, smooth)
    assert torch.equal(D, torch.stack([good[0], torch.zeros_like(good[1])]))
    torch.testing.assert_close(Z, made.Z + made.space.image(D))


def test_members_with_and_without_the_term_do_not_share_an_ensemble():
    options = registry.options("sibp")
    key = registry.METHODS["sibp"].group_key
    assert key(options(l1=0.0)) != key(options(l1=0.1)) == key(options(l1=0.2))


@pytest.mark.parametrize("together", [1, 7, 20])
@pytest.mark.parametrize("name", ["relu", "identity"])
@pytest.mark.parametrize("biased", [False, True])
def test_the_search_that_looks_at_no_value_finds_the_same_steps(biased, name, together, randn, monkeypatch):
    made, W, b = problem(randn, name)
    start = b if biased else W.mT
    space = BiasSpace() if biased else made.space
    made = Subproblem(space, made.activation, made.Z.clone(), made.T, made.lam)
    made.Z[1, 0, 0] = torch.nan  # a member that never falls
    gamma = torch.tensor([5.0, 0.1], dtype=torch.float64).reshape(2, 1, 1)
    expected = minimise_l1(made, start, gamma, 30)  # until member 0 is stuck as well: near its minimum no step lowers f
    search = proximal_gradient.line_search_without_sync
    numbers = together * made.Z.numel()
    monkeypatch.setattr(proximal_gradient, "_may_sync", lambda flags: False)
    monkeypatch.setattr(proximal_gradient, "line_search_without_sync", lambda *given: search(*given, numbers=numbers))
    for mine, other in zip(minimise_l1(made, start, gamma, 30), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_on_a_device_nobody_looks():
    def step(device):
        made = Subproblem(
            WeightSpace(torch.empty(2, 6, 4, device=device)),
            activations.get("relu"),
            *(torch.empty(2, 6, 3, device=device) for _ in range(2)),
            torch.empty(2, 1, 1, device=device),
        )
        minimise_l1(made, torch.empty(2, 4, 3, device=device), torch.empty(2, 1, 1, device=device), 2)

    step("meta")  # a tensor without values: any look at one would raise
