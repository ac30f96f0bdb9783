"""The scale of the loss, and the bound on a layer's change."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sibp


def net():
    return sibp.mlp([6, 8, 3], std=0.4, dtype=torch.float64)


X = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.arange(12) % 3


def after(loss, forward=lambda model: model(X), **options):
    model = net()
    sibp.SIBP(model.parameters(), variant="armijo", **options).step(lambda: loss(forward(model)))
    return [p.detach() for p in model.parameters()]


def close(one, other):
    return all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(one, other, strict=True))


def mean(out):
    return F.cross_entropy(out, Y)


def total(out):
    return F.cross_entropy(out, Y, reduction="sum")


def test_the_error_is_that_of_the_losss_sum_however_it_is_written():
    plain = after(mean)
    assert close(plain, after(total, terms="sum"))
    assert close(plain, after(mean, terms=12))
    assert close(plain, after(lambda out: total(out) / 24, terms=24))
    assert not close(plain, after(mean, terms=6))
    assert close(plain, after(mean, terms=6, eta=0.2))  # which is what eta is multiplied by


def test_proxprops_direction_is_that_of_the_mean_however_the_loss_is_written():
    directions = []
    for loss, terms in ((mean, None), (total, "sum")):
        model = net()
        with sibp.Oracle(model.parameters(), "proxprop", terms=terms):
            loss(model(X)).backward()
        directions.append([p.grad for p in model.parameters()])
    assert close(*directions)


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits])
def test_a_mean_over_all_outputs_counts_them_all(loss):
    target = F.one_hot(Y, 3).double()
    assert close(after(lambda out: loss(out, target)), after(lambda out: loss(out, target, reduction="sum"), terms="sum"))


def test_rows_are_those_of_the_output_layer_not_of_the_batch():
    tokens = Y.view(3, 4)
    by_token = after(lambda out: F.cross_entropy(out.flatten(0, 1), tokens.flatten()), lambda model: model(X.view(3, 4, 6)))
    assert close(by_token, after(mean))
    torch.manual_seed(0)
    pixels, x = (
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)).double(),
        torch.randn(2, 2, 5, 5).double(),
    )
    state = {key: value.clone() for key, value in pixels.state_dict().items()}
    results = []
    for options, reduction in (({}, "mean"), ({"terms": "sum"}, "sum")):
        pixels.load_state_dict(state)
        target = torch.arange(50).view(2, 5, 5) % 3
        optimizer = sibp.SIBP(pixels.parameters(), variant="armijo", eta=0.01, **options)
        optimizer.step(lambda: F.cross_entropy(pixels(x), target, reduction=reduction))  # noqa: B023
        results.append([p.detach().clone() for p in pixels.parameters()])
    assert close(*results)


def test_pixels_that_are_averaged_after_the_output_layer_count_until_terms_says_otherwise():
    def step(**options):
        torch.manual_seed(0)
        pixels, x = nn.Conv2d(2, 3, 3).double(), torch.randn(4, 2, 7, 7).double()
        sibp.SIBP(pixels.parameters(), variant="armijo", **options).step(lambda: F.cross_entropy(pixels(x).mean((2, 3)), Y[:4]))
        return [p.detach() for p in pixels.parameters()]

    assert close(step(), step(terms=100)) and close(step(eta=0.1, terms=4), step(eta=0.004))


def test_an_output_layer_that_is_frozen_still_counts_its_rows():
    def step(**options):
        torch.manual_seed(0)
        body, head = nn.Linear(6, 8).double(), nn.Linear(8, 3).double().requires_grad_(False)
        optimizer = sibp.SIBP(body.parameters(), variant="armijo", **options)
        x = torch.randn(4, 5, 6).double()
        optimizer.step(lambda: F.cross_entropy(head(F.relu(body(x)).mean(1)), Y[:4]))
        return [p.detach() for p in body.parameters()]

    assert close(step(), step(terms=4)) and not close(step(), step(terms=20))


@pytest.mark.parametrize("kind", ["in place", "as gradient"])
def test_max_change_bounds_every_layers_relative_move(kind):
    model, before, bound = net(), net(), 0.01
    loss = lambda: F.cross_entropy(model(X), Y)  # noqa: E731
    if kind == "in place":
        sibp.SIBP(model.parameters(), eta=5.0, max_change=bound).step(loss)
    else:
        with sibp.Oracle(model.parameters(), "sibp", eta=5.0, max_change=bound):
            loss().backward()
        torch.optim.SGD(model.parameters(), lr=1.0).step()
    for new, old in zip(model.parameters(), before.parameters(), strict=True):
        if new.ndim == 2:
            assert (new - old).norm().item() == pytest.approx(bound * old.norm().item(), rel=1e-9)


def test_a_bound_that_is_not_reached_changes_nothing():
    assert close(after(mean), after(mean, max_change=10.0))


def test_a_weight_that_is_zero_may_move():
    model = net()
    nn.init.zeros_(model[2].weight)
    sibp.SIBP(model.parameters(), max_change=0.1).step(lambda: F.cross_entropy(model(X), Y))
    assert model[2].weight.abs().max() > 0


def test_max_change_keeps_a_deep_net_from_exploding():
    """Ten layers on squared loss with a large eta: without the bound the loss is out of all bounds, with it it falls."""

    def train(**options):
        model = sibp.mlp([6, *[12] * 10, 3], std=0.4, seed=1, dtype=torch.float64)
        optimizer, target = sibp.SIBP(model.parameters(), eta=2.0, lam=10.0, **options), F.one_hot(Y, 3).double()
        return [optimizer.step(lambda: F.mse_loss(model(X), target)).item() for _ in range(30)]

    free, bounded = train(), train(max_change=0.05)
    assert max(free) > 100 * free[0] or not torch.tensor(free).isfinite().all()
    assert bounded[-1] < 0.9 * bounded[0] and max(bounded) < 10 * bounded[0]
