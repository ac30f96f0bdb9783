"""Triton's kernels, run on the CPU by its interpreter, against the eager solvers in float64."""

import warnings
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from sibp.kernels import native
from sibp.kernels.switch import off
from sibp.kernels.triton import calls
from sibp.methods import registry
from sibp.nets import activations, initialisation, layers, losses, papers, propagation
from sibp.solvers import conjugate_gradient, dispatch, gpu, linesearch, proximal_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.linesearch import Armijo, Curvature, Line
from sibp.solvers.subproblem import BatchSpace, BiasSpace, Subproblem, WeightSpace
from tests.unit.kernels.solves import minimise

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # numpy warns where a division by zero is then masked
TIGHT = 1e-12  # of the largest change
NAMES = list(native.LEAKS)
ARMIJO, NEWTON = Armijo(trials=7), Curvature()


def rows(kind, E, randn):
    """Return rows `[E, R, I]`: dense, or a convolution's with strides, borders, and images in another memory order."""
    if kind == "dense":
        return randn(E, 20, 9)
    if kind == "shared":
        return randn(1, 20, 9).expand(E, -1, -1)
    images = randn(1 if "shared" in kind else E, 2, 5, 6, 3).permute(0, 1, 4, 2, 3)
    return layers.Patches(images, layers.Unfold((3, 2), (2, 1), (1, 0))).expand(E)


def case(X, name, O, randn):
    """Return b, Z, T and lam of a layer with these rows."""
    M = layers.matrix(X)
    E, _, I = M.shape
    b = randn(E, 1, O)
    Z = (M @ randn(E, I, O) / I**0.5 + b).contiguous()
    T = activations.get(name).value(Z) - 0.3 * randn(*Z.shape)
    return b, Z, T, torch.linspace(0.5, 1.0, E, dtype=Z.dtype).reshape(E, 1, 1)


def eager(space, name, Z, T, lam, search, b, steps):
    """Return the coordinates and the new bias."""
    sigma = activations.get(name)
    P, Z = conjugate_gradient.minimise(Subproblem(space, sigma, Z, T, lam), steps, Rules(search))
    return P, b + conjugate_gradient.minimise(Subproblem(BiasSpace(), sigma, Z, T, lam), steps, Rules(search))[0]


def near(mine, expected, before=0.0):
    assert (mine - expected).abs().max() <= TIGHT * (expected - before).abs().max()


def solve_both(space, name, search, layer, steps):
    """Hold both solves of a layer against their twins."""
    b, Z, T, lam = layer
    P, moved = eager(space, name, Z, T, lam, search, b, steps)
    mine = b.clone()
    S = minimise(space, name, Z.clone(), T, lam, steps, Rules(search), mine)
    near(displaced(space, S), displaced(space, P))
    near(mine, moved, b)


def displaced(space, P):
    """Return the displacement of the weights and of the bias: coordinates of it in batch space are not unique."""
    W, b = space.displacement(P)
    return W if b is None else torch.cat([W, b.mT], 2)


@pytest.mark.parametrize(
    ("name", "kind", "search"),
    [
        ("relu", "dense", ARMIJO),
        ("leaky_relu", "shared", NEWTON),
        ("identity", "dense", NEWTON),
    ],
)
def test_batch_space_and_the_bias_after_it(name, kind, search, randn):
    X = rows(kind, 2, randn)
    solve_both(BatchSpace(X), name, search, case(X, name, 5, randn), steps=10)


def test_many_rows_and_neurons_go_through_several_programs(randn):
    X = randn(1, 131, 40)  # more than 128 rows are cut otherwise
    solve_both(BatchSpace(X), "relu", NEWTON, case(X, "relu", 17, randn), steps=2)
    solve_both(WeightSpace(X), "relu", NEWTON, case(X, "relu", 17, randn), steps=2)


def test_bias_space_alone(randn):
    _, Z, T, lam = case(rows("dense", 2, randn), "relu", 5, randn)
    expected, _ = conjugate_gradient.minimise(Subproblem(BiasSpace(), activations.get("relu"), Z, T, lam), 3, Rules(NEWTON))
    near(minimise(BiasSpace(), "relu", Z, T, lam, 3, Rules(NEWTON)), expected)


def test_the_papers_fifty_trials(randn):
    X = rows("dense", 1, randn)
    solve_both(BatchSpace(X), "relu", Armijo(), case(X, "relu", 3, randn), steps=2)


@pytest.mark.parametrize(
    ("name", "kind", "search"),
    [
        ("relu", "patches", ARMIJO),
        ("leaky_relu", "shared patches", NEWTON),
        ("identity", "dense", NEWTON),
    ],
)
def test_weight_space_and_the_bias_after_it(name, kind, search, randn):
    X = rows(kind, 2, randn)
    layer = case(X, name, 5, randn)
    if isinstance(X, layers.Patches):
        with patch.object(layers.Patches, "rows", property(lambda self: pytest.fail("a patch matrix"))):
            minimise(WeightSpace(X), name, layer[1].clone(), *layer[2:], 1, Rules(search))
    solve_both(WeightSpace(X), name, search, layer, steps=10 if search is ARMIJO else 5)


@pytest.mark.parametrize(
    ("name", "kind", "price"), [("relu", "patches", 0.3), ("leaky_relu", "shared", 1.0), ("identity", "dense", 0.1)]
)
def test_proximal_gradient_with_an_l1_term(name, kind, price, randn):
    X, steps = rows(kind, 2, randn), 2
    b, Z, T, lam = case(X, name, 5, randn)
    V = 0.1 * randn(2, X.shape[2], 5)
    gamma = price * lam
    problem = Subproblem(WeightSpace(X), activations.get(name), Z, T, lam)
    smooth = conjugate_gradient.minimise(problem, steps, Rules(NEWTON))[0]
    smooth[0] *= -3  # not the better point to start from
    expected, Z_new = proximal_gradient.minimise_l1(problem, V, gamma, steps, smooth)
    at_bias = replace(problem, space=BiasSpace(), Z=Z_new)
    bias_smooth = conjugate_gradient.minimise(at_bias, steps, Rules(NEWTON))[0]
    moved = b + proximal_gradient.minimise_l1(at_bias, b, gamma, steps, bias_smooth)[0]
    assert ((V + expected) == 0).any()
    mine, before = b.clone(), Z.clone()
    near(dispatch.minimise_l1(problem, V, gamma, steps, smooth, rules=Rules(NEWTON), b=mine), expected)
    near(mine, moved, b)
    assert torch.equal(Z, before)


def test_an_l1_search_halves_as_often_as_it_must_a_stuck_or_lost_member_stays_and_a_dead_one_shrinks(randn):
    """One small active row wants a long step, which lifts all the others, at rest just below zero, far above.

    No row of the last member is active: without a smooth gradient, its weights are soft-thresholded.
    """
    X, V = randn(4, 20, 9).abs(), 0.1 * randn(4, 9, 5)
    X[:, 0] *= 0.01
    Z = torch.full((4, 20, 5), -1e-3, dtype=X.dtype)
    T = torch.zeros_like(Z)
    Z[:, 0], T[:, 0] = 1.0, 2.0
    lam = torch.full((4, 1, 1), 1e3, dtype=X.dtype)
    gamma = torch.tensor([10.0, 1e-4, 1e-7, 1e-5], dtype=X.dtype).reshape(4, 1, 1)
    V[0], Z[1, 3, 2], Z[3] = 0, torch.nan, -10.0
    problem = Subproblem(WeightSpace(X), activations.get("relu"), Z, T, lam)
    with patch.object(proximal_gradient, "soft_threshold", wraps=proximal_gradient.soft_threshold) as trials:
        alone = Subproblem(WeightSpace(X[2:3]), problem.activation, Z[2:3], T[2:3], lam[2:3])
        expected, _ = proximal_gradient.minimise_l1(alone, V[2:3], gamma[2:3], 2, torch.zeros_like(V[2:3]))
    assert expected.any() and trials.call_count > 2 * 6  # all three groups of trials
    D = dispatch.minimise_l1(problem, V, gamma, 2, torch.zeros_like(V), rules=Rules(NEWTON))
    assert not D[:2].any()
    near(D[2:3], expected)
    near((V + D)[3], proximal_gradient.soft_threshold(V, lam * gamma)[3])


@pytest.mark.parametrize("space", [BatchSpace, WeightSpace])
@pytest.mark.parametrize(("kind", "joint", "stop"), [("dense", True, 0.3), ("shared patches", False, 0.0), ("patches", True, 0.0)])
def test_linear_conjugate_gradients(kind, joint, stop, space, randn):
    X = rows(kind, 2, randn)
    _, Z, T, lam = case(X, "identity", 5, randn)
    space, steps = space(X, joint), 5 if stop else 10
    expected = conjugate_gradient.solve_linear(space, Z - T, lam, steps, stop * lam)
    near(displaced(space, dispatch.solve_linear(space, Z - T, lam, steps, stop * lam)), displaced(space, expected))


@pytest.mark.parametrize("name", NAMES)
def test_targets_and_errors(name, randn):
    Z, delta, eta = randn(2, 5, 7), randn(2, 5, 7), torch.tensor([0.1, 2.0], dtype=torch.float64).reshape(2, 1, 1)
    sigma = activations.get(name)
    T, D = dispatch.targets(name, Z, delta.clone(), eta)
    near(T, sigma.value(Z) - eta * delta)
    near(D, delta * sigma.slope(Z, sigma.value(Z)))
    alone, none = dispatch.targets(name, Z, delta.clone(), eta, with_error=False)
    assert none is None and torch.equal(alone, T)


@pytest.mark.parametrize(("scale", "biased"), [(1.0, False), (1e3, True), (1e3, False), (1e-6, True)])
def test_the_armijo_search_finds_the_same_exponent(scale, biased, randn):
    Z, T, lam = randn(3, 20, 33), randn(3, 20, 33).abs(), torch.full((3, 1, 1), 0.3, dtype=torch.float64)
    Z_d = scale * randn(3, 1 if biased else 20, 33)
    problem = Subproblem(BiasSpace(), activations.get("leaky_relu"), Z, T, lam)
    slope = (problem.gamma(Z) * Z_d).sum((1, 2), keepdim=True)
    Z_d = torch.where(slope > 0, -Z_d, Z_d)
    zero = torch.zeros_like(lam)
    line = Line(problem, Z, Z_d, zero, zero, Z_d.square().sum((1, 2), keepdim=True), -slope.abs())
    first = torch.tensor([0.0, 3.0, torch.inf], dtype=torch.float64).reshape(3, 1, 1)
    with off():
        expected = linesearch.first_exponent(line, 0.1, 0.6, first, 50)
    with patch.object(linesearch, "first_exponent_without_sync", side_effect=AssertionError):
        assert torch.equal(linesearch.first_exponent(line, 0.1, 0.6, first, 50), expected)
    assert expected[0].isfinite() and expected[2].isinf()


@pytest.mark.parametrize("space", [BatchSpace, WeightSpace])
def test_a_member_alone_or_among_others_has_the_same_bits_and_a_lost_one_touches_nobody(space, randn):
    X = rows("dense", 3, randn)
    b, Z, T, lam = case(X, "relu", 5, randn)
    Z[1] = torch.nan

    def solve(members):
        moved = b[members].clone()
        P = minimise(space(X[members]), "relu", Z[members].clone(), T[members], lam[members], 2, Rules(NEWTON), moved)
        return P, moved

    together, again = solve(slice(0, 3)), solve(slice(0, 3))
    assert all(torch.equal(a[0], c[0]) and torch.equal(a[2], c[2]) for a, c in zip(together, again, strict=True))
    assert torch.equal(together[1][1], b[1]) and not together[0][1].any()  # a lost member stays where it is
    for e in (0, 2):
        assert all(torch.equal(a[e], c[0]) for a, c in zip(together, solve(slice(e, e + 1)), strict=True))


@pytest.mark.parametrize("space", [BatchSpace, WeightSpace])
def test_float32_follows_float64(space, randn):
    X = rows("dense", 1, randn)
    b, Z, T, lam = case(X, "relu", 5, randn)
    wide = minimise(space(X), "relu", Z.clone(), T, lam, 2, Rules(NEWTON), b)
    X, b, Z, T, lam = (a.float() for a in (X, b, Z, T, lam))
    narrow = minimise(space(X), "relu", Z, T, lam, 2, Rules(NEWTON), b)
    assert (narrow.double() - wide).abs().max() < 1e-4 * wide.abs().max()


def test_a_kernel_that_cannot_be_compiled_gives_way_to_the_eager_code_and_says_so_once(randn, monkeypatch):
    from sibp.kernels.triton import batch

    X = rows("dense", 2, randn)
    b, Z, T, lam = case(X, "relu", 5, randn)
    P, moved = eager(BatchSpace(X), "relu", Z, T, lam, NEWTON, b, 2)
    monkeypatch.setattr(calls, "_failures", [])
    monkeypatch.setattr("sibp.kernels.triton.plan._compiled", set())

    def warmup(self, *given, **options):
        if self.fn.__name__ == "settle":  # the last of them: none may have run
            raise ValueError("no register left\nand more")

    monkeypatch.setattr(type(batch.settle), "warmup", warmup, raising=False)
    mine = b.clone()
    with pytest.warns(RuntimeWarning, match="settle: ValueError: no register left; the eager code runs instead"):
        S = minimise(BatchSpace(X), "relu", Z, T, lam, 2, Rules(NEWTON), mine)
    assert torch.equal(S, P) and torch.equal(mine, moved)
    assert calls.status() == "not compiled by Triton: settle: ValueError: no register left"
    with warnings.catch_warnings(action="error"):
        assert not gpu.applies(BatchSpace(X), "relu", Z)
        minimise(BatchSpace(X), "relu", Z, T, lam, 2, Rules(NEWTON))


BATCH, WEIGHTS = {"targets", "minimise_batch", "minimise_bias"}, {"minimise_weights"}
STEPS = [
    ("sibp", {"variant": "armijo", "cg_steps": 2}, "mlp", BATCH),
    ("sibp", {"variant": "newton", "cg_steps": 2, "space": "weight"}, "cnn", WEIGHTS | {"targets", "minimise_bias"}),
    ("sibp", {"variant": "released", "cg_steps": 2}, "mlp", {"armijo_exponents"}),
    ("sibp", {"l1": 1e-3, "cg_steps": 1}, "mlp", BATCH - {"targets"} | {"minimise_sparse"}),
    ("proxbp", {}, "mlp", {"solve_linear_batch"}),
    ("proxprop", {"tolerance": 0.1, "space": "weight"}, "cnn", {"solve_linear_weights"}),
]


@pytest.mark.parametrize(("name", "options", "kind", "operators"), STEPS)
def test_a_method_takes_the_same_steps_through_them(name, options, kind, operators, randn):
    network = papers.mlp([6, 5, 3]) if kind == "mlp" else papers.cnn((2, 4, 4), channels=(3,), pools=1, classes=3)
    members = [registry.options(name)(**options)] * 2
    x, y = randn(1, 5, *network.input_shape), torch.arange(5).remainder(3).expand(2, -1)

    def trained():
        method = registry.build(name, network, losses.get("cross-entropy"), members, dtype=torch.float64)
        parameters = initialisation.initialise(network, [0, 1], std=0.5, dtype=torch.float64)
        state = method.start(parameters)
        for _ in range(2):
            method.step(parameters, state, x, y)
        return propagation.tensors(parameters)

    with off():
        expected = trained()
    with patch.object(calls, "call", wraps=calls.call) as call:
        mine = trained()
    assert {given.args[0] for given in call.call_args_list} == operators
    for one, other in zip(mine, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
