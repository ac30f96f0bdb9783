import pytest
import torch

from sibp.nets import activations
from sibp.nets.activations import ACTIVATIONS

POINTS = torch.tensor([-30.0, -1.5, -1e-3, 0.0, 1e-3, 0.7, 30.0], dtype=torch.float64)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_is_the_derivative_and_torchs_at_kinks(name):
    sigma, Z = ACTIVATIONS[name], POINTS.clone().requires_grad_()
    torch_value = {"identity": lambda z: z}.get(name) or getattr(torch.nn.functional, name)
    (expected,) = torch.autograd.grad(torch_value(Z).sum(), Z)
    F = sigma.value(POINTS)
    assert torch.allclose(F, torch_value(POINTS), rtol=1e-15)
    assert torch.allclose(sigma.slope(POINTS, F), expected, rtol=1e-12)
    assert sigma.slope(POINTS, F).dtype == POINTS.dtype


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_piecewise_linear_means_a_constant_slope_between_kinks(name):
    Z = torch.linspace(0.1, 3, 9, dtype=torch.float64)
    slope = ACTIVATIONS[name].slope(Z, ACTIVATIONS[name].value(Z))
    assert ACTIVATIONS[name].piecewise_linear == bool((slope == slope[0]).all())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_is_never_negative(name):
    assert (ACTIVATIONS[name].slope(POINTS, ACTIVATIONS[name].value(POINTS)) >= 0).all()  # J Assumption 4.2


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"activation: got 'rleu', need identity, relu, .*did you mean 'relu'"):
        activations.get("rleu")
