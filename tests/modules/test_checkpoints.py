"""Both forms of torch's checkpoint give the same step, whatever they share."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import sibp
from tests.modules.small import equal

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch's, of one checkpoint in another

X = torch.randn(10, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.arange(10) % 6


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(6, 6), nn.Linear(6, 6), nn.LayerNorm(6)


def inside_and_outside(m, x, again):
    return m.a(again(m.a, x))


def around(m, x, again):
    return m.a(again(m.b, F.relu(m.a(x))))


def all_inside(m, x, again):
    return m.b(again(lambda h: m.a(F.relu(m.a(h))), x))


def in_two(m, x, again):
    return again(m.a, torch.tanh(again(lambda h: F.relu(m.a(m.b(h))), x)))


def nested(m, x, again):
    return m.b(again(lambda h: m.a(F.dropout(again(lambda g: F.relu(m.a(g)), m.b(h)), 0.3)), x))


def output_inside(m, x, again):
    return again(lambda h: F.relu(m.b(h)), F.relu(m.a(x)))


def read_inside(m, x, again):
    return m.a(again(lambda h: m.norm(m.b(h)) @ m.a.weight, x))


def unseen_inside(m, x, again):
    with torch.no_grad():
        x = x + m.a(x)
    x.requires_grad_()

    def half(h):
        with torch.no_grad():
            shift = m.a(h)
        return m.b(h) + shift

    return m.a(again(half, x))


FORMS = [inside_and_outside, around, all_inside, in_two, nested, output_inside, read_inside, unseen_inside]


def step(forward, reentrant, make, **options):
    torch.manual_seed(0)
    model, x = Net().double(), X.clone().requires_grad_()
    opt = make(model.named_parameters())

    def again(function, h):
        return checkpoint(function, h, use_reentrant=reentrant, **options)

    if isinstance(opt, sibp.Oracle):
        with opt:
            F.cross_entropy(forward(model, x, again), Y).backward()
        for p in model.parameters():
            p.data -= torch.zeros_like(p) if p.grad is None else p.grad
    else:
        for _ in range(2):
            opt.step(lambda: F.cross_entropy(forward(model, x, again), Y))
    return model, opt.report(model), torch.rand(1)


@pytest.mark.parametrize("forward", FORMS, ids=lambda f: f.__name__)
def test_both_forms_make_the_same_step(forward):
    make = lambda params: sibp.SIBP(params, eta=0.3, lam=0.2, rest=torch.optim.AdamW)  # noqa: E731
    (theirs, said, drawn), (ours, says, draws) = step(forward, False, make), step(forward, True, make)
    assert says == said
    assert equal(ours, theirs) and torch.equal(draws, drawn)


def test_the_words_of_a_layer_inside_and_outside():
    assert step(inside_and_outside, True, sibp.SIBP)[1]["a.weight"] == "implicit, joint over 2 uses"


@pytest.mark.parametrize("forward", [nested, output_inside], ids=lambda f: f.__name__)
def test_the_output_layer_of_proxprop_is_that_of_the_loss(forward):
    make = lambda params: sibp.Oracle(params, "proxprop")  # noqa: E731
    options = {"preserve_rng_state": False} if forward is output_inside else {}
    assert equal(step(forward, True, make, **options)[0], step(forward, False, make, **options)[0])


class Foreign(torch.autograd.Function):
    """A checkpoint that is not torch's, as some libraries have, which cannot be looked into."""

    @staticmethod
    def forward(ctx, function, x):
        ctx.function = function
        ctx.save_for_backward(x)
        with torch.no_grad():
            return function(x)

    @staticmethod
    def backward(ctx, *errors):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            value = ctx.function(x)
        torch.autograd.backward(value, *errors)
        return None, x.grad


def test_a_checkpoint_that_is_not_torchs_may_hold_layers_of_its_own():
    def made(again):
        torch.manual_seed(0)
        model, x = Net().double(), X.clone().requires_grad_()
        sibp.SIBP([*model.a.parameters(), *model.b.parameters()]).step(lambda: F.cross_entropy(model.a(again(model.b, x)), Y))
        return model

    assert equal(made(Foreign.apply), made(lambda function, x: function(x)))


def test_a_layer_inside_and_outside_of_one_that_is_not_torchs_is_refused():
    layer, x = nn.Linear(6, 6).double(), X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r"weight: has moved already in this step"):
        sibp.SIBP(layer.named_parameters()).step(lambda: F.cross_entropy(layer(Foreign.apply(layer, x)), Y))


def test_what_is_inside_is_refused_before_anything_moves():
    torch.manual_seed(0)
    before = Net().double()
    with pytest.raises(ValueError, match=r"SIBP: norm\.weight and 1 more would have ordinary gradients"):
        torch.manual_seed(0)
        model = Net().double()
        opt = sibp.SIBP(model.named_parameters())
        x = X.clone().requires_grad_()
        opt.step(lambda: F.cross_entropy(model.b(checkpoint(lambda h: model.norm(model.a(h)), x, use_reentrant=True)), Y))
    assert equal(model, before)
