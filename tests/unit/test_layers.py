import pytest
import torch
from torch.nn import functional

from sibp import layers
from sibp.layers import Activate, Flatten, Image, MaxPool, Unfold

E, B, C = 2, 3, 4
STEPS = [
    (Image((3, 2)), (E, B * 6, C)),
    (Flatten(), (E, B, C, 5, 3)),
    (Activate("relu"), (E, B, C, 4, 4)),
    (Activate("tanh"), (E, B, 9)),
    (MaxPool((2, 2), (2, 2)), (E, B, C, 6, 6)),
    (MaxPool((2, 2), (2, 2)), (E, B, C, 7, 5)),  # a rest that no window covers
    (MaxPool((3, 2), (1, 2)), (E, B, C, 6, 6)),  # windows overlap
    (MaxPool((3, 3), (2, 2), (1, 1)), (E, B, C, 6, 6)),
    (Unfold((5, 5), (1, 1), (2, 2)), (E, B, C, 6, 6)),
    (Unfold((3, 2), (2, 1), (0, 1)), (E, B, C, 7, 5)),
]


@pytest.mark.parametrize(("step", "shape"), STEPS, ids=lambda v: str(v))
@pytest.mark.parametrize("ties", [False, True])
def test_the_adjoint_is_what_autograd_sends_back(step, shape, ties, randn):
    x = randn(*shape)
    if ties:  # few values, so that windows hold their largest one several times, and zeros at relu's kink
        x = x.round().clamp(-1, 1)
    x.requires_grad_()
    value, kept = step.forward(x)
    error = randn(*value.shape)
    (expected,) = torch.autograd.grad(value, x, error)
    assert torch.allclose(step.adjoint(error, kept), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("members", [1, E])
def test_affine_and_its_adjoints(members, randn):
    X, W, b, D = randn(1, 6, 5), randn(members, 4, 5), randn(members, 1, 4), randn(members, 6, 4)
    assert torch.allclose(layers.affine(X, W, b), torch.einsum("xri,eoi->ero", X, W) + b)
    assert torch.allclose(layers.affine(X, W, None), torch.einsum("xri,eoi->ero", X, W))
    assert torch.allclose(layers.adjoint(D, W), torch.einsum("ero,eoi->eri", D, W))
    assert torch.allclose(layers.cross(D, X), torch.einsum("ero,xri->eoi", D, X))
    moved = W.clone()
    layers.add_cross(moved, D, X)
    assert torch.allclose(moved, W + torch.einsum("ero,xri->eoi", D, X))
    assert torch.allclose(layers.gram(X), torch.einsum("eri,esi->ers", X, X))


@pytest.mark.parametrize(("stride", "padding"), [((1, 1), (2, 2)), ((2, 1), (0, 1)), ((2, 2), (1, 0))])
def test_a_convolution_is_the_dense_map_on_unfolded_rows(stride, padding, randn):
    x, W, b = randn(E, B, 2, 8, 7), randn(E, 5, 2, 3, 4), randn(E, 1, 5)
    rows, _ = Unfold((3, 4), stride, padding).forward(x)
    Z = layers.affine(rows, W.flatten(2), b)
    for e in range(E):
        expected = functional.conv2d(x[e], W[e], b[e, 0], stride, padding)
        image, _ = Image(tuple(expected.shape[2:])).forward(Z)
        assert torch.allclose(image[e], expected, rtol=1e-12, atol=1e-13)
