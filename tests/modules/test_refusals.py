"""What is refused: by name, in one line, with what to do, and with nothing changed."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

import sibp


def net(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype)


def normed():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


X = torch.randn(12, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 3


class DTensor(torch.Tensor):
    """Stands for torch's sharded tensors, which need a process group."""


class Prompt(nn.Module):
    """A layer whose input is itself a parameter, such as learned queries."""

    def __init__(self):
        super().__init__()
        self.queries, self.head = nn.Parameter(X.clone()), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.queries)


def loss(model, x=X):
    return F.cross_entropy(model(x), Y)


def named(kind=sibp.SIBP, **options):
    return lambda model: kind(model.named_parameters(), **options)


def sparse(model):
    model[0].weight = nn.Parameter(model[0].weight.detach().to_sparse())
    return model


CONSTRUCTION = [
    (lambda m: sibp.SIBP(m), r"params: got a Sequential, need its parameters: model\.parameters\(\)"),
    (lambda m: sibp.SIBP("model"), r"params: got 'model', need tensors, such as model\.parameters\(\)"),
    (named(eta=-1), "eta: got -1, need a number >= 0"),
    (named(eta=float("nan")), "eta: got nan, need a number >= 0"),
    (named(eta=torch.tensor(True)), r"eta: got tensor\(True\), need a number >= 0"),
    (named(eta=torch.ones(2)), r"eta: got tensor\(\[1\., 1\.\]\), need a number >= 0"),
    (named(lam=0), "lam: got 0, need greater than 0"),
    (named(cg_steps=0), "cg_steps: got 0, need greater than or equal to 1"),
    (named(variant="newtn"), r"variant: got 'newtn', need .*did you mean 'newton'\?"),
    (named(variant="released"), r"variant: got 'released', which sibp\.methods\.step has, need newton or armijo"),
    (named(space="rows"), "space: got 'rows', need auto, batch or weight"),
    (named(l1=-1), "l1: got -1, need greater than or equal to 0"),
    (named(max_change=0), "max_change: got 0, need a number > 0, or None for no bound"),
    (named(terms=0), "terms: got 0, need a number > 0, 'sum', or None for the output layer's rows"),
    (named(terms="mean"), "terms: got 'mean', need a number > 0"),
    (named(rest=3), r"rest: got int, need what builds an optimizer, such as torch\.optim\.AdamW"),
    (named(rest=lambda p: p), "rest: built a list, need a torch.optim.Optimizer"),
    (named(rest=torch.optim.LBFGS), "rest: built a LBFGS, whose step needs a closure, need one for gradients, such as"),
    (named(rest=sibp.ProxBP), "rest: built a ProxBP, whose step needs a closure"),
    (named(sibp.ProxBP, solver="lu"), "solver: got 'lu', need cg or exact"),
    (lambda m: sibp.SIBP([{"params": m.parameters(), "lamb": 1}]), r"lamb: unknown key of a group, need .*did you mean 'lam'\?"),
    (lambda m: sibp.SIBP([{"params": m.parameters(), "implicit": 1}]), "implicit: got 1, need True or False"),
    (
        lambda m: named()(m.bfloat16()),
        r"0\.weight: is torch\.bfloat16, need torch\.float32 or torch\.float64; torch\.autocast is fine",
    ),
    (lambda m: named()(m.half()), r"0\.weight: is torch\.float16, need"),
    (lambda m: named()(sparse(m)), r"0\.weight: is stored as torch\.sparse_coo, need torch\.strided"),
    (lambda m: sibp.SIBP([("w", nn.Parameter(torch.zeros(2, 2).as_subclass(DTensor)))]), "w: is a DTensor, .*need a plain tensor"),
    (lambda m: sibp.Oracle(m.parameters(), "sgd"), r"method: got 'sgd', need sibp, proxbp or proxprop"),
    (lambda m: sibp.Oracle(m.parameters(), "proxprop", eta=1.0), r"Oracle: eta: is no option of proxprop, need one of tau_prox"),
    (lambda m: sibp.Oracle(m.parameters(), "proxprop", tau_prox=0), "tau_prox: got 0, need greater than 0"),
]


@pytest.mark.parametrize(("make", "line"), CONSTRUCTION, ids=[line[:30] for _, line in CONSTRUCTION])
def test_bad_arguments_are_refused_at_construction(make, line):
    with pytest.raises(ValueError, match=line) as caught:
        make(net())
    assert "\n" not in str(caught.value)


def penalty(model):
    x = X.clone().requires_grad_()
    value = loss(model, x)
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    return value + slope.square().sum()


def halved(model):
    model[0].bfloat16()
    return F.cross_entropy(model[2](model[0](X.bfloat16()).float().relu()), Y)


STEPS = [
    (
        normed,
        loss,
        r"SIBP: 1\.weight and 1 more would have ordinary gradients \(used by NativeBatchNorm\), need rest=, such as rest=",
    ),
    (Prompt, loss, r"SIBP: queries would have ordinary gradients \(used by AffineFunction\), need rest="),
    (net, penalty, r"create_graph: an implicit layer cannot be differentiated twice .*need a group .*\"implicit\": False"),
    (net, lambda m: loss(m).backward(create_graph=True), "create_graph: an implicit layer cannot be differentiated twice"),
    (net, lambda m: loss(m).backward(inputs=[m[0].weight]), "backward: got inputs, need none"),
    (net, lambda m: loss(m).item(), r"closure: returned float, need the loss, a torch\.Tensor"),
    (net, lambda m: F.cross_entropy(m(X), Y, reduction="none"), r"closure: returned a tensor of shape \(12,\), need a scalar loss"),
    (net, lambda m: loss(m).detach(), "closure: the loss does not depend on a parameter that requires a gradient"),
    (lambda: net().requires_grad_(False), loss, "closure: the loss does not depend on a parameter that requires a gradient"),
    (net, lambda m: loss(m) * (1 + 0j), r"closure: returned a loss of torch\.complex64, need a real one"),
    (net, halved, r"0\.weight: is torch\.bfloat16, need torch\.float32 or torch\.float64"),
]


def everything(model):
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(("build", "closure", "line"), STEPS, ids=[line[:30] for *_, line in STEPS])
def test_a_refused_step_changes_nothing(build, closure, line):
    model = build()
    optimizer = sibp.SIBP(model.named_parameters())
    before = everything(model)
    with pytest.raises(ValueError, match=line) as caught:
        optimizer.step(lambda: closure(model))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(a, b.to(a.dtype)) for a, b in zip(everything(model), before, strict=True) if a.dtype == b.dtype)
    if build is net and closure is not halved:  # and the next step goes on as if nothing had been
        fresh = net()
        assert torch.equal(optimizer.step(lambda: loss(model)), sibp.SIBP(fresh.parameters()).step(lambda: loss(fresh)))
        assert all(torch.equal(a, b) for a, b in zip(everything(model), everything(fresh), strict=True))


def reparametrised(name):
    model = net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two of them are on their way out
        for layer in (model[0], model[2]):
            match name:
                case "prune":
                    prune.l1_unstructured(layer, "weight", 0.5)
                case "weight_norm":
                    nn.utils.weight_norm(layer)
                case "spectral_norm":
                    nn.utils.spectral_norm(layer)
                case "parametrizations":
                    nn.utils.parametrizations.weight_norm(layer)
    return model


@pytest.mark.parametrize("name", ["prune", "weight_norm", "spectral_norm", "parametrizations"])
def test_weights_that_are_computed_anew_are_never_trained_in_silence(name):
    model = reparametrised(name)
    before = everything(model)
    with pytest.raises(ValueError, match=r"SIBP: .*would have ordinary gradients \(used by .*need rest="):
        sibp.SIBP(model.named_parameters()).step(lambda: loss(model))
    with pytest.raises(ValueError, match=r"SIBP: solved no layer; none of .*\(prune, weight_norm, FSDP and DataParallel"):
        sibp.SIBP(model.named_parameters(), rest=torch.optim.AdamW).step(lambda: loss(model))
    with pytest.raises(ValueError, match="Oracle: solved no layer"), sibp.Oracle(model.named_parameters(), "sibp"):
        loss(model).backward()
    assert all(torch.equal(a, b) for a, b in zip(everything(model), before, strict=True))


def test_a_reparametrised_layer_among_others_is_reported():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3))
    optimizer = sibp.SIBP(model.parameters(), rest=torch.optim.AdamW)
    optimizer.step(lambda: loss(model))
    report = optimizer.report(model)
    assert report["0.parametrizations.weight.original0"] == "first order, because it is used by WeightNormInterface"
    assert report["2.weight"] == "implicit"


def test_no_closure_is_refused():
    with pytest.raises(ValueError, match=r"step: needs a closure that returns the loss; .*there is sibp\.Oracle"):
        sibp.SIBP(net().parameters()).step()


def test_a_gradient_scaler_is_refused():
    model, scaler = net(), torch.amp.GradScaler("cpu")
    optimizer = sibp.SIBP(model.parameters())
    scaler.scale(loss(model)).backward()
    with pytest.raises(ValueError, match="GradScaler: passes no closure and scales the error, need autocast to torch"):
        scaler.step(optimizer)


def test_moving_in_place_under_torch_distributed_is_refused(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    model = net()
    with pytest.raises(ValueError, match=r"SIBP: each process would move its own weights, need sibp\.Oracle under Distributed"):
        sibp.SIBP(model.parameters()).step(lambda: loss(model))


@pytest.mark.parametrize("is_early", [True, False])
def test_a_weight_that_has_moved_is_refused_before_it_moves_again(is_early):
    model = net()
    optimizer = sibp.SIBP(model.named_parameters())

    def accumulate():
        first, second = loss(model), loss(model, X + 1) if is_early else None
        first.backward()
        states.append(everything(model))
        (loss(model, X + 1) if second is None else second).backward()

    states = []
    when = "since it was used" if is_early else "already in this step"
    with pytest.raises(RuntimeError, match=rf"2\.weight: has moved {when}, need one backward over the sum of the losses"):
        optimizer.step(accumulate)
    assert all(torch.equal(a, b) for a, b in zip(states[0], everything(model), strict=True))


def test_layers_that_another_optimizer_watches_are_refused_before_anything_moves():
    model = net()
    body, head = sibp.SIBP(model[0].parameters(), rest=torch.optim.SGD), sibp.SIBP(model[2].parameters(), rest=torch.optim.SGD)
    before = everything(model)
    with pytest.raises(
        RuntimeError, match=r"was used under another optimizer or in another step, need forward and backward in one"
    ):
        body.step(lambda: head.step(lambda: loss(model)))
    assert all(torch.equal(a, b) for a, b in zip(before, everything(model), strict=True))
    body.step(lambda: loss(model))  # one after the other is fine
    head.step(lambda: loss(model))
    assert not any(torch.equal(a, b) for a, b in zip(before, everything(model), strict=True))


def test_the_oracle_wants_backward_inside_the_block():
    model = net()
    with pytest.raises(ValueError, match=r"Oracle: no loss went backward, need loss\.backward\(\) inside the `with` block"):
        with sibp.Oracle(model.parameters(), "sibp"):
            value = loss(model)
    with pytest.raises(RuntimeError, match="runs backward where it is not watched"):
        value.backward()


def test_options_have_one_place():
    optimizer = sibp.SIBP(net().parameters())
    for name in ("eta", "lam", "cg_steps"):
        with pytest.raises(AttributeError, match=f"{name}: is kept in the groups"):
            setattr(optimizer, name, 3)
    optimizer.param_groups[0]["eta"] = 1.0
    with pytest.raises(ValueError, match=r"eta: is kept under 'lr', where schedulers find it, need group\['lr'\]"):
        optimizer.step(lambda: None)


@pytest.mark.parametrize(("key", "value"), [("lr", -1.0), ("lam", 0.0), ("variant", "released"), ("max_change", -1)])
def test_a_bad_value_in_a_group_is_refused_at_the_next_step(key, value):
    model = net()
    optimizer = sibp.SIBP(model.parameters())
    before = everything(model)
    optimizer.param_groups[0][key] = value
    with pytest.raises(ValueError, match="eta" if key == "lr" else key):
        optimizer.step(lambda: loss(model))
    assert all(torch.equal(a, b) for a, b in zip(everything(model), before, strict=True))


DAMAGE = [
    (lambda s: s | {"method": "proxbp"}, "state_dict: is of method 'proxbp', need 'sibp'"),
    (lambda s: {}, "state_dict: has no method, param_groups, rest, state, terms"),
    (lambda s: None, "state_dict: got a NoneType, need a dict"),
    (lambda s: s | {"terms": -1}, "terms: got -1"),
    (lambda s: s | {"rest": None}, "state_dict: has no state of rest, need one, as this optimizer"),
    (lambda s: s | {"param_groups": s["param_groups"] * 2}, r"state_dict: has groups of \[6, 6\] parameters, need \[6\]"),
    (lambda s: s | {"param_groups": 3}, "state_dict: param_groups are damaged"),
    (lambda s: s | {"param_groups": [s["param_groups"][0] | {"lam": -1.0}]}, "lam: got -1.0"),
    (lambda s: s | {"param_groups": [{"params": s["param_groups"][0]["params"]}]}, "state_dict: param_groups are damaged"),
    (lambda s: s | {"rest": {"state": {}}}, "state_dict: is damaged"),
    (
        lambda s: s | {"rest": s["rest"] | {"state": {2: {"step": torch.tensor(1.0), "exp_avg": torch.ones(3)}}}},
        "is damaged: exp_avg",
    ),
    (lambda s: s | {"state": 5}, "state_dict: is damaged"),
    (lambda s: s | {"rest": torch.optim.SGD(normed().parameters()).state_dict()}, "is damaged: rest's group has no betas, eps"),
]


@pytest.mark.parametrize(("damage", "line"), DAMAGE, ids=[line[:40] for _, line in DAMAGE])
def test_a_damaged_state_is_one_valueerror_and_changes_nothing(damage, line):
    model = normed()
    optimizer = sibp.SIBP(model.parameters(), eta=0.3, rest=torch.optim.AdamW)
    optimizer.step(lambda: loss(model))
    twin_model, twin = copy.deepcopy((model, optimizer))
    with pytest.raises(ValueError, match=line) as caught:
        optimizer.load_state_dict(damage(optimizer.state_dict()))
    assert "\n" not in str(caught.value)
    assert torch.equal(optimizer.step(lambda: loss(model)), twin.step(lambda: loss(twin_model)))
    assert all(torch.equal(a, b) for a, b in zip(everything(model), everything(twin_model), strict=True))
