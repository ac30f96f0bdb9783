import pytest
import torch
from torch.nn import functional

from sibp.nets import bridges, layers
from sibp.nets.bridges import Activate, Flatten, Image, MaxPool, to_rows
from sibp.nets.layers import Patches, Unfold

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
]


@pytest.mark.parametrize(("step", "shape"), STEPS, ids=lambda v: str(v))
@pytest.mark.parametrize("ties", [False, True])
def test_the_adjoint_is_what_autograd_sends_back(step, shape, ties, randn):
    x = randn(*shape)
    if ties:  # few values, so that windows hold their largest one several times, and zeros at relu's kink
        x = x.round().clamp(-1, 1)
    x.requires_grad_()
    value, adjoint = step.forward(x)
    error = randn(*value.shape)
    (expected,) = torch.autograd.grad(value, x, error)
    assert torch.allclose(adjoint(error), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("members", [1, E])
def test_affine_and_its_adjoints(members, randn):
    X, W, b, D = randn(1, 6, 5), randn(members, 4, 5), randn(members, 1, 4), randn(members, 6, 4)
    assert torch.allclose(layers.affine(X, W, b), torch.einsum("xri,eoi->ero", X, W) + b)
    assert torch.allclose(layers.affine(X, W, None), torch.einsum("xri,eoi->ero", X, W))
    assert torch.allclose(layers.adjoint(D, W, X), torch.einsum("ero,eoi->eri", D, W))
    assert torch.allclose(layers.cross(D, X), torch.einsum("ero,xri->eoi", D, X))
    moved = W.clone()
    layers.add_cross(moved, D, X)
    assert torch.allclose(moved, W + torch.einsum("ero,xri->eoi", D, X))
    assert torch.allclose(layers.gram(X), torch.einsum("eri,esi->ers", X, X))


@pytest.fixture(params=[True, False], ids=["images", "matrix"])
def folded(request, monkeypatch):
    """Patches as the CPU has them and as other devices do."""
    monkeypatch.setattr(Patches, "folded", request.param)
    return request.param


@pytest.mark.usefixtures("folded")
@pytest.mark.parametrize("members", [1, E])
@pytest.mark.parametrize(("stride", "padding"), [((1, 1), (2, 2)), ((2, 1), (0, 1)), ((2, 2), (1, 0))])
def test_a_convolution_is_an_affine_map_on_its_patches(stride, padding, members, randn):
    x, W, b = randn(members, B, 2, 8, 7).requires_grad_(), randn(E, 5, 2, 3, 4).requires_grad_(), randn(E, 1, 5)
    images = torch.stack([functional.conv2d(x[e % members], W[e], b[e, 0], stride, padding) for e in range(E)])
    expected = to_rows(images)
    D = randn(*expected.shape)
    by_x, by_W = torch.autograd.grad(expected, (x, W), D)
    with torch.no_grad():
        X, adjoint = Unfold((3, 4), stride, padding).forward(x)
        back = adjoint(layers.adjoint(D, W.flatten(2), X.expand(E, -1, -1)))
        assert X.shape == layers.matrix(X).shape == (members, expected.shape[1], 24)
        for mine, theirs in (
            (layers.affine(X, W.flatten(2), b), expected),
            (layers.matrix(X) @ W.flatten(2).mT + b, expected),
            (back.sum(0, keepdim=True) if members == 1 else back, by_x),
            (layers.cross(D, X), by_W.flatten(2)),
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


POOLS = [
    MaxPool((2, 2), (2, 2)),
    MaxPool((3, 2), (1, 2)),
    MaxPool((3, 3), (2, 2), (1, 1)),
    MaxPool((3, 3), (1, 1)),
    MaxPool((2, 2), (3, 3)),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (5, 11)])
def test_errors_gathered_without_a_scattered_sum_are_the_same_to_the_bit(pool, size, randn):
    images = randn(E * B, C, *size).float().round(decimals=1)
    _, index = functional.max_pool2d(images, pool.kernel, pool.stride, pool.padding, return_indices=True)
    delta = randn(E * B, C, *index.shape[2:]).float()
    assert torch.equal(pool.gathered(delta, index, size), bridges.scattered(delta, index, size))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((5, 5), (1, 1), (2, 2)), ((3, 4), (2, 1), (0, 1)), ((2, 2), (2, 2), (0, 0))]
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_rows_are_those_of_torchs_unfold_to_the_bit(kernel, stride, padding, channels_last, randn):
    images = randn(E, B, 2, 8, 7)
    images = images.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3) if channels_last else images
    columns = functional.unfold(images.flatten(0, 1), kernel, padding=padding, stride=stride)
    X = Patches(images, Unfold(kernel, stride, padding))
    assert torch.equal(X.rows, columns.mT.reshape(X.shape))


def test_patches_that_members_share_are_unfolded_once(randn):
    X, _ = Unfold((2, 2)).forward(randn(1, B, 2, 4, 4))
    rows = X.rows
    assert X.expand(E, -1, -1).rows.data_ptr() == rows.data_ptr()
    assert X.expand(E, -1, -1).shape == (E, *rows.shape[1:])
