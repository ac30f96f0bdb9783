"""What goes into a layer: batches of any size, rows that never come, other layouts, dtypes and devices, functorch, a loss without value."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sibp
from tests.modules.small import X, Y, equal, loss, net, normed


def test_a_module_that_changes_between_steps_is_trained_as_it_is():
    for _ in range(20):
        model = net()
        optimizer = sibp.SIBP(model.parameters())
        optimizer.step(lambda: loss(model))  # noqa: B023
        model[1] = nn.Sigmoid()
        model[1] = nn.Tanh()
        twin = copy.deepcopy(model)
        assert torch.equal(optimizer.step(lambda: loss(model)), loss(twin))  # noqa: B023
        sibp.SIBP(twin.parameters()).step(lambda: loss(twin))  # noqa: B023
        assert equal(model, twin)


def test_batches_of_another_size_and_of_one_are_taken():
    model = net()
    optimizer = sibp.SIBP(model.parameters())
    for size in (12, 5, 1):
        assert optimizer.step(lambda: loss(model, X[:size], Y[:size])).isfinite()  # noqa: B023
    assert optimizer.report(model)["0.weight"] == "implicit with relu"


class Experts(nn.Module):
    """Two experts, a convolution and a dense one, of which samples go to one or to the other."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(1, 4, (1, 3)), nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x, to_left):
        left, right = self.left(x[to_left, None, None]).relu().flatten(1), self.right(x[~to_left]).relu()
        return self.head(torch.cat([left, right]))


@pytest.mark.parametrize("to_left", [True, False])
def test_a_layer_that_no_row_went_through_stays_and_needs_no_rest(to_left):
    torch.manual_seed(0)
    model, x, y = Experts(), torch.randn(6, 3), torch.randint(3, (6,))
    before = copy.deepcopy(model.state_dict())
    loss = lambda: F.cross_entropy(model(x, torch.full((6,), to_left)), y)  # noqa: E731
    oracle = sibp.Oracle(model.parameters(), "sibp")
    with oracle:
        loss().backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad.any()}
    assert moved == {"left" if to_left else "right", "head"}
    sibp.SIBP(model.parameters()).step(loss)
    assert moved == {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def test_what_a_functorch_transform_differentiates_is_autograds():
    """A derivative along the inputs inside the closure changes nothing of the step; a batch that `vmap` takes apart is first order."""
    models, (x, y) = [sibp.mlp([4, 5, 3], std=0.5, seed=0) for _ in range(2)], (torch.rand(6, 4), torch.arange(6) % 3)
    plain, both = (sibp.SIBP(model.parameters()) for model in models)
    plain.step(lambda: F.cross_entropy(models[0](x), y))
    slope = lambda: torch.func.vjp(models[1], x)[1](torch.ones(6, 3))[0]  # noqa: E731
    both.step(lambda: F.cross_entropy(models[1](x), y) + 0 * slope().detach().sum())
    assert all(torch.equal(p, q) for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True))
    with pytest.raises(ValueError, match="would have ordinary gradients"):
        both.step(lambda: F.cross_entropy(torch.vmap(models[1])(x), y))


def test_non_contiguous_inputs_and_weights_are_taken():
    plain, other = net(), net()
    other[0].weight = nn.Parameter(other[0].weight.detach().t().contiguous().t())
    assert not other[0].weight.is_contiguous()
    sibp.SIBP(plain.parameters()).step(lambda: loss(plain))
    sibp.SIBP(other.parameters()).step(lambda: loss(other, X.repeat_interleave(2, 1)[:, ::2]))
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(plain.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        torch.Tensor.to_sparse,
        torch.Tensor.to_sparse_csr,
        lambda x: torch.nested.nested_tensor(list(x.split(6)), layout=torch.jagged),
    ],
    ids=["coo", "csr", "jagged"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
def test_a_layer_whose_input_has_no_rows_is_autograds(make):
    model, x = net(), make(X)
    rows = (lambda z: torch.nested.to_padded_tensor(z, 0.0).flatten(0, 1)) if x.is_nested else torch.relu
    closure = lambda: F.cross_entropy(model[2](rows(model[0](x))), Y)  # noqa: E731
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"0\..* and 1 more would have ordinary gradients"):
        sibp.SIBP(model.named_parameters()).step(closure)
    assert equal(model, before)
    optimizer = sibp.SIBP(model.parameters(), rest=torch.optim.SGD)
    optimizer.step(closure)
    report = optimizer.report(model)
    assert report["0.weight"].startswith("first order") and report["2.weight"] == "implicit"


@pytest.mark.parametrize("options", [{}, {"solver": "exact"}])
def test_a_loss_without_a_value_changes_nothing(options):
    model = normed()
    bad = X.clone()
    bad[3, 2] = float("nan")
    optimizer = (sibp.ProxBP if options else sibp.SIBP)(model.parameters(), rest=torch.optim.AdamW, **options)
    optimizer.step(lambda: loss(model))
    before, rest = copy.deepcopy(model), copy.deepcopy(optimizer.rest.state_dict())
    assert optimizer.step(lambda: loss(model, bad)).isnan()
    assert equal(model, before)
    now = optimizer.rest.state_dict()["state"]
    assert all(torch.equal(a, now[i][k]) for i, state in rest["state"].items() for k, a in state.items())


def test_autocast_solves_in_the_parameters_dtype():
    model = net(torch.float32)
    optimizer, x = sibp.SIBP(model.parameters()), X.float()
    before = loss(model, x).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = [optimizer.step(lambda: loss(model, x)).item() for _ in range(10)]
    assert losses[-1] < 0.95 * losses[0] and losses[0] == pytest.approx(before, rel=0.01)
    assert model[0].weight.dtype == torch.float32
    assert (model[0].weight != model[0].weight.bfloat16()).any()  # more digits than the forward pass has


def test_another_default_device_is_no_matter():
    plain, other = net(), net()
    sibp.SIBP(plain.parameters()).step(lambda: loss(plain))
    optimizer = sibp.SIBP(other.parameters())
    with torch.device("meta"):
        optimizer.step(lambda: loss(other))
    assert equal(plain, other)
