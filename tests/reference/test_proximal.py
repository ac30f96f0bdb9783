"""The package's ProxBP and ProxProp against their slow twins, float64."""

import pytest
import torch
from torch import nn

import sibp
from sibp import methods
from tests.reference import proximal_twin as twin

MODES = ["exact", "cg1", "cg3", "cg5", "cg10", "gradient"]


def dense(seed=0, std=0.3, batch=14, widths=(11, 9, 8, 5)):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, widths[0], generator=generator, dtype=torch.float64)
    y = torch.randint(widths[-1], (batch,), generator=generator)
    return sibp.mlp(list(widths), std=std, seed=seed, dtype=torch.float64), x, y


def conv(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    ).double()
    return model, torch.randn(6, 2, 8, 8).double(), torch.randint(5, (6,))


def split(mode):
    return ("cg", int(mode[2:])) if mode.startswith("cg") else (mode, 1)


def directions(model, x, y, **options):
    """Write ProxProp's directions into the gradients."""
    model.zero_grad()
    with sibp.Oracle(model.parameters(), "proxprop", **options):
        nn.functional.cross_entropy(model(x), y).backward()


def relative_error(model, expected):
    errors = [(p.grad - q).norm() / q.norm() for p, q in zip(model.parameters(), expected, strict=True)]
    return max(errors).item()


@pytest.mark.parametrize("space", ["batch", "weight"])
@pytest.mark.parametrize("tau", [0.05, 1.0])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("problem", [dense, conv])
def test_released_directions_equal_the_released_layers(problem, mode, tau, space):
    model, x, y = problem()
    expected = twin.proxprop(model, x, y, tau, mode)
    solver, steps = split(mode)
    directions(model, x, y, tau_prox=tau, solver=solver, cg_steps=steps, variant="released", space=space)
    assert relative_error(model, expected) < 1e-9


def test_the_released_conjugate_gradient_stops_early_for_all_columns_at_once():
    # at this size the largest residual falls below 1e-4 of the mean after a few of the 50 iterations
    model, x, y = dense(widths=(3, 4, 3))
    long, short = (twin.proxprop(model, x, y, 1.0, f"cg{n}") for n in (50, 49))
    assert all(torch.equal(a, b) for a, b in zip(long, short, strict=True))
    directions(model, x, y, solver="cg", cg_steps=50, variant="released")
    assert relative_error(model, long) < 1e-9


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("problem", [dense, conv])
def test_paper_variant_with_enough_steps_equals_the_exact_solution(problem, reduction):
    model, x, y = problem()
    expected = twin.proxprop(model, x, y, 1.0, "exact", reduction)
    directions(model, x, y, cg_steps=200, reduction=reduction)
    assert relative_error(model, expected) < 1e-8


def test_paper_variant_does_not_depend_on_the_scale_of_the_loss_and_the_released_one_does():
    change = {}
    for variant in ("paper", "released"):
        scaled = []
        for reduction in ("mean", "sum"):
            model, x, y = dense()
            directions(model, x, y, cg_steps=3, variant=variant, reduction=reduction)
            scaled.append(model[0].weight.grad * (len(x) if reduction == "mean" else 1))
        change[variant] = ((scaled[0] - scaled[1]).norm() / scaled[1].norm()).item()
    assert change["paper"] < 1e-10
    assert change["released"] > 1e-6


def test_a_tolerance_stops_the_paper_variant_early():
    model, x, y = dense()
    gradients = []
    for tolerance in (0.0, 0.5):
        directions(model, x, y, cg_steps=50, tolerance=tolerance)
        gradients.append(model[0].weight.grad)
    assert (gradients[0] - gradients[1]).norm() > 1e-3 * gradients[0].norm()


@pytest.mark.parametrize(("solver", "steps"), [("cg", 5), ("cg", 1), ("exact", 1)])
@pytest.mark.parametrize("space", ["batch", "weight"])
def test_proxbp_equals_the_twin_over_ten_steps(solver, steps, space):
    (mine, x, y), (theirs, _, _) = dense(1), dense(1)
    for _ in range(10):
        methods.step(mine, "proxbp", x, y, eta=0.1, lam=0.3, solver=solver, cg_steps=steps, space=space)
        twin.proxbp(theirs, x, y, 0.1, 0.3, steps if solver == "cg" else None)
    start, _, _ = dense(1)
    for p, q, r in zip(mine.parameters(), theirs.parameters(), start.parameters(), strict=True):
        assert (p - q).norm() < 1e-9 * (q - r).norm()
