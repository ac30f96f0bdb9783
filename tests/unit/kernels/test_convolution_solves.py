"""The kernels for convolutions, which read images in place of patches, against the eager solvers they stand in for."""

from dataclasses import replace

import pytest
import torch

from sibp.kernels import native
from sibp.methods import registry
from sibp.nets import activations, initialisation, layers, losses, papers, propagation
from sibp.nets.layers import Unfold
from sibp.solvers import conjugate_gradient, dispatch, proximal_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.linesearch import Armijo, Curvature
from sibp.solvers.subproblem import BiasSpace, Subproblem, WeightSpace
from tests.unit.kernels.solves import minimise

pytestmark = pytest.mark.skipif(native.status() != "compiled", reason=native.status())
SEARCHES = [Armijo(), Curvature(), Curvature(halvings=0)]
NAMES = list(native.LEAKS)
SIZES = [  # E, B, C, H, W, kernel, padding, O
    (1, 1, 1, 3, 4, (3, 3), (0, 0), 1),
    (1, 7, 3, 12, 12, (5, 5), (2, 2), 16),
    (3, 5, 2, 9, 7, (3, 4), (1, 0), 5),
    (2, 40, 4, 8, 8, (5, 5), (2, 2), 20),
]


def case(name, size, dtype=torch.float64, seed=0):
    E, B, C, H, W, kernel, padding, O = size
    g = torch.Generator().manual_seed(seed)
    randn = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)  # noqa: E731
    X, _ = Unfold(kernel, (1, 1), padding).forward(randn(E, B, C, H, W))
    weights, b = randn(E, O, X.shape[2]) / X.shape[2] ** 0.5, randn(E, 1, O)
    Z = layers.affine(X, weights, b).contiguous()
    T = activations.get(name).value(Z) - 0.3 * randn(*Z.shape)
    return X, b, Z, T, torch.linspace(0.05, 0.1, E, dtype=dtype).reshape(E, 1, 1)


def assert_close(mine, expected):
    assert (mine - expected).abs().max() <= 1e-9 * expected.abs().max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("search", SEARCHES)
def test_minimise_equals_the_eager_solver_for_weights_and_bias(search, name, size):
    X, b, Z, T, lam = case(name, size)
    space, sigma, moved = WeightSpace(X), activations.get(name), b.clone()
    assert dispatch.applies(space, name, Rules(search), Z)
    P, Z_end = conjugate_gradient.minimise(Subproblem(space, sigma, Z, T, lam), 5, Rules(search))
    p, _ = conjugate_gradient.minimise(Subproblem(BiasSpace(), sigma, Z_end, T, lam), 5, Rules(search))
    assert_close(minimise(space, name, Z, T, lam, 5, Rules(search), moved), P)
    assert_close(moved - b, p)


def sparse_case(name, size, dtype=torch.float64):
    """Weights, a start that solves the problem without the l1 term in part, and a gamma for each member under which some weights vanish.

    A start that solved it would leave a gradient of rounding errors alone, and they alone would say how long a step is.
    """
    X, b, Z, T, lam = case(name, size, dtype)
    E, O = Z.shape[0], Z.shape[2]
    V = 0.3 * torch.randn(E, X.shape[2], O, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    problem = Subproblem(WeightSpace(X), activations.get(name), Z, T, lam)
    smooth, _ = conjugate_gradient.minimise(problem, 1, Rules(Curvature()))
    return problem, V, b, smooth, torch.linspace(0.5, 2, E, dtype=dtype).reshape(E, 1, 1)


def eager_l1(problem, V, b, gamma, iterations, rules, smooth):
    """Return both displacements, as `SIBPSolver.solve_sparse` finds them."""
    D, Z = proximal_gradient.minimise_l1(problem, V, gamma, iterations, smooth)
    bias = Subproblem(BiasSpace(), problem.activation, Z, problem.T, problem.lam)
    p, _ = conjugate_gradient.minimise(bias, iterations, rules)
    return D, proximal_gradient.minimise_l1(bias, b, gamma, iterations, p)[0]


def kernel_l1(problem, V, b, gamma, iterations, rules, smooth):
    moved, name = b.clone(), problem.activation.name
    assert dispatch.applies_l1(problem.space.X, name, problem.Z)
    return dispatch.minimise_l1(problem, V, gamma, iterations, smooth, rules=rules, b=moved), moved


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("search", SEARCHES)
def test_the_l1_search_equals_the_eager_one_for_weights_and_bias(search, name, size):
    problem, V, b, smooth, gamma = sparse_case(name, size)
    D, p = eager_l1(problem, V, b, gamma, 5, Rules(search), smooth)
    mine, moved = kernel_l1(problem, V, b, gamma, 5, Rules(search), smooth)
    assert_close(mine, D)
    assert_close(moved - b, p)
    assert torch.equal(V + mine == 0, V + D == 0)


@pytest.mark.parametrize("start", ["worse than none", "none"])
def test_the_l1_search_takes_a_start_only_where_it_is_lower(start):
    problem, V, b, smooth, gamma = sparse_case("relu", SIZES[2])
    smooth = 100 * smooth if start == "worse than none" else torch.zeros_like(smooth)
    D, p = eager_l1(problem, V, b, gamma, 3, Rules(Armijo()), smooth)
    mine, moved = kernel_l1(problem, V, b, gamma, 3, Rules(Armijo()), smooth)
    assert_close(mine, D)
    assert_close(moved - b, p)


def test_the_l1_search_halves_as_often_as_the_eager_one(monkeypatch):
    """First steps much too long: nine in ten outputs are just below the kink, and dear above it."""
    problem, V, b, smooth, gamma = sparse_case("relu", SIZES[3])
    active = torch.rand(problem.Z.shape, generator=torch.Generator().manual_seed(2)) < 0.1
    problem = replace(problem, Z=torch.where(active, 1.0, -0.01).double(), T=torch.where(active, 2.0, -3.0).double())
    found = [eager_l1(problem, V, b, gamma, 8, Rules(Armijo()), 0 * smooth)]
    assert_close(kernel_l1(problem, V, b, gamma, 8, Rules(Armijo()), 0 * smooth)[0], found[0][0])
    monkeypatch.setattr(proximal_gradient, "HALVINGS", 1)
    found.append(eager_l1(problem, V, b, gamma, 8, Rules(Armijo()), 0 * smooth))
    assert_close(kernel_l1(problem, V, b, gamma, 8, Rules(Armijo()), 0 * smooth)[0], found[1][0])
    assert not torch.allclose(found[0][0], found[1][0])


def test_the_l1_search_thresholds_a_layer_that_no_sample_reaches():
    problem, V, b, smooth, gamma = sparse_case("relu", SIZES[2])
    problem = replace(problem, Z=-1e3 - problem.Z.abs())
    mine, moved = kernel_l1(problem, V, b, gamma, 5, Rules(Armijo()), 0 * smooth)
    for before, after in ((V, V + mine), (b, moved)):
        assert_close(after, proximal_gradient.soft_threshold(before, problem.lam * gamma))
        assert (after != before).all()


def test_zeros_of_the_l1_search_are_exact_in_single_precision():
    problem, V, b, smooth, gamma = sparse_case("relu", SIZES[1], torch.float32)
    mine, _ = kernel_l1(problem, V, b, 50 * gamma, 5, Rules(Armijo()), smooth)
    zeros = V + mine == 0
    assert zeros.float().mean() > 0.05 and not zeros.all()
    mine, moved = kernel_l1(problem, V, b, 1e6 * gamma, 5, Rules(Armijo()), smooth)
    assert (V + mine == 0).all() and (moved == 0).all()


def test_a_layer_that_cannot_move_stays():
    """NaN in the target: no objective is lower than another."""
    problem, V, b, smooth, gamma = sparse_case("relu", SIZES[2])
    problem.T[1, 0, 0] = torch.nan
    mine, moved = kernel_l1(problem, V, b, gamma, 5, Rules(Armijo()), smooth)
    D, p = eager_l1(problem, V, b, gamma, 5, Rules(Armijo()), smooth)
    assert_close(mine, D)
    assert_close(moved - b, p)
    assert (mine[1] == 0).all() and mine[0].any()


def test_sibp_with_an_l1_term_takes_the_kernel_for_convolutions_alone(monkeypatch):
    """And its steps are those without kernels."""
    network = papers.lenet5((1, 16, 16), classes=4)
    given = [registry.options("sibp")(variant="armijo", l1=l1) for l1 in (0.01, 0.1)]
    method = registry.build("sibp", network, losses.get("cross-entropy"), given, dtype=torch.float64)
    first = initialisation.initialise(network, [0, 1], std=0.1, dtype=torch.float64)
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 6, 1, 16, 16, generator=g, dtype=torch.float64), torch.randint(4, (2, 6), generator=g)
    seen, kernel = [], dispatch.minimise_l1
    monkeypatch.setattr(dispatch, "minimise_l1", lambda *given, **named: seen.append(given[1].shape) or kernel(*given, **named))
    ends = []
    for off in (False, True):
        parameters = [type(one)(*(None if t is None else t.clone() for t in one)) for one in first]
        state = method.start(parameters)
        for _ in range(2):
            if off:
                with native.off():
                    method.step(parameters, state, x, y)
            else:
                method.step(parameters, state, x, y)
        ends.append(propagation.tensors(parameters))
    assert len(seen) == 2 * sum(layer.is_convolution for layer in network.layers)
    for mine, eager in zip(*ends, strict=True):
        assert_close(mine, eager)
        assert torch.equal(mine == 0, eager == 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("tolerance", [0.0, 0.3])
def test_linear_cg_equals_the_eager_solver(tolerance, joint, size):
    X, _, Z, T, lam = case("identity", size)
    space = WeightSpace(X, joint)
    stops = (tolerance, 2 * tolerance * lam)  # one for all members, and one for each
    mine = [dispatch.solve_linear(space, Z - T, lam, 5, stop) for stop in stops]
    assert "rows" not in vars(X)  # the kernel unfolds no patches
    for D, stop in zip(mine, stops, strict=True):
        assert_close(D, conjugate_gradient.solve_linear(space, Z - T, lam, 5, stop))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("variant", ["newton", "armijo"])
def test_steps_of_a_convolutional_network_equal_the_eager_ones(variant, activation):
    network = papers.cnn((2, 12, 12), channels=(3, 5), pools=1, activation=activation)
    options = [registry.options("sibp")(eta=eta, variant=variant, space="weight") for eta in (0.1, 0.2)]
    method = registry.build("sibp", network, losses.get("cross-entropy"), options, dtype=torch.float64)
    start = initialisation.initialise(network, [0, 1], std=0.1, dtype=torch.float64)
    x, y = torch.rand(3, 1, 6, 2, 12, 12, dtype=torch.float64), torch.randint(10, (3, 1, 6))

    def trained():
        parameters = [layers.Affine(W.clone(), b.clone()) for W, b in start]
        for step in range(3):
            method.step(parameters, {}, x[step], y[step])
        return propagation.tensors(parameters)

    fast = trained()
    with native.off():
        slow = trained()
    assert not all(torch.equal(a, b) for a, b in zip(fast, slow, strict=True))
    changes = [expected - before for expected, before in zip(slow, propagation.tensors(start), strict=True)]
    most = max(change.abs().max() for change in changes)
    assert all((a - b).abs().max() <= 1e-9 * most for a, b in zip(fast, slow, strict=True))


def test_images_may_be_shared_and_in_any_memory_order():
    X, _, Z, T, lam = case("relu", SIZES[2])
    Z, T = Z[:1].expand(3, -1, -1).contiguous(), T[:1].expand(3, -1, -1).contiguous()
    image = X.images[:1]
    last = image.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    given = (image, image.expand(3, -1, -1, -1, -1), last, image.repeat(3, 1, 1, 1, 1))
    spaces = [WeightSpace(X.step.forward(images)[0].expand(3, -1, -1)) for images in given]
    mine = [minimise(space, "relu", Z.clone(), T, lam, 5, Rules(Curvature())) for space in spaces]
    assert all(torch.equal(P, mine[0]) for P in mine)


def test_float32_follows_float64():
    X, _, Z, T, lam = case("relu", SIZES[1])
    wide = minimise(WeightSpace(X), "relu", Z, T, lam, 5, Rules(Curvature()))
    X, _, Z, T, lam = case("relu", SIZES[1], torch.float32)
    narrow = minimise(WeightSpace(X), "relu", Z, T, lam, 5, Rules(Curvature()))
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("search", SEARCHES)
def test_the_number_of_threads_does_not_change_a_bit(search):
    X, b, Z, T, lam = case("relu", SIZES[3], torch.float32)
    problem, V, bias, smooth, gamma = sparse_case("relu", SIZES[3], torch.float32)

    def solve(threads):
        torch.set_num_threads(threads)
        moved = b.clone()
        P = minimise(WeightSpace(X), "relu", Z, T, lam, 5, Rules(search), moved)
        sparse = kernel_l1(problem, V, bias, gamma, 5, Rules(search), smooth)
        return P, moved, dispatch.solve_linear(WeightSpace(X, joint=True), Z - T, lam, 5), *sparse

    try:
        results = [solve(threads) for threads in (1, 2, 3)]
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("where", ["images", "Z", "T"])
def test_a_member_that_is_nan_touches_nobody(search, where):
    X, b, Z, T, lam = case("relu", SIZES[2])

    def solve():
        moved = b.clone()
        P = minimise(WeightSpace(X), "relu", Z, T, lam, 5, Rules(search), moved)
        return P, moved, dispatch.solve_linear(WeightSpace(X, joint=True), Z - T, lam, 5)

    clean = solve()
    {"images": X.images, "Z": Z, "T": T}[where][1] = torch.nan
    for before, after in zip(clean, solve(), strict=True):
        assert torch.equal(after[[0, 2]], before[[0, 2]])


def test_other_strides_are_no_work_for_the_kernels():
    X, _ = Unfold((3, 3), (2, 2)).forward(torch.rand(1, 2, 1, 7, 7))
    Z = torch.rand(1, 18, 4)
    assert not dispatch.applies(WeightSpace(X), "relu", Rules(Curvature()), Z)
    assert not dispatch.applies(WeightSpace(X.rows), "relu", Rules(Curvature()), Z)
