"""The floor's formula against the products counted in the eager twins."""

from pathlib import Path

import pytest
import torch

from sibp.bench import floor
from sibp.bench.baselines import BASELINES
from sibp.bench.cases import CASES
from sibp.bench.steps import STEPS
from sibp.bench.timed import Case, count_operations
from sibp.nets import papers

CPU = torch.device("cpu")
NETWORKS = {
    "mlp": Case("mlp", papers.mlp([20, 30, 12, 10]), batch=10),
    "wide": Case("wide", papers.mlp([30, 5, 10]), batch=200),  # many rows, few neurons: weight space
    "cnn": Case("cnn", papers.cnn((2, 8, 8), channels=(3, 4), pools=1, classes=5), batch=3),
}
FORMS = {label for name, forms in BASELINES.items() for label in forms if label != name}  # their products are the default's
KNOWN = [label for label, step in STEPS.items() if step.solves is not None and step.counted and label not in FORMS]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("label", KNOWN)
def test_the_formula_counts_the_products_of_the_eager_twin(name, label):
    case, step = NETWORKS[name], STEPS[label]
    counted = count_operations(step.build(case, CPU))
    assert counted == 2 * step.solves.multiply_adds(case.network, case.batch, eager=True)


def test_the_floor_spares_what_a_step_does_not_need():
    """Half of each K, and for linear conjugate gradients one product with it."""
    network, B = papers.mlp([20, 30, 12, 10]), 10
    half = B * (B - 1) // 2 * (20 + 30 + 12)
    for label, more in (("SIBP, 5 CG steps", 0), ("ProxBP, 5 CG steps", B * B * (30 + 12 + 10))):
        solves = STEPS[label].solves
        assert solves.multiply_adds(network, B, eager=True) - solves.multiply_adds(network, B) == half + more


def test_the_gradient_takes_the_multiply_adds_of_two_passes_and_one_more():
    """Without biases, three forward passes less the first layer's adjoint."""
    network = papers.cnn((2, 8, 8), channels=(3, 4), pools=1, classes=5, bias=False)
    first = network.layers[0]
    expected = 3 * network.multiply_adds - network.rows[0] * first.fan_in * first.fan_out
    assert floor.SGD_SOLVES.multiply_adds(network, batch=7) == 7 * expected


def test_the_floors_on_the_page_on_speed_are_those_of_the_cases():
    lines = Path(__file__).parents[3].joinpath("docs/speed.md").read_text(encoding="utf-8").splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("| 5 iterations, over SGD"))
    names, floors = (line.strip("|").split("|")[1:] for line in (lines[at], lines[at + 2]))
    for name, told in zip(names, floors, strict=True):
        case = CASES[name.strip()]
        assert f"{STEPS['SIBP, 5 CG steps'].solves.floor(case.network, case.batch):.2f}" == told.strip()
        assert floor.SGD_SOLVES.floor(case.network, case.batch) == 1
