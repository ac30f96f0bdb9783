"""For small lam and eta lam every implicit move is 2 eta lam times autograd's gradient, on whatever module: the plumbing is right."""

import pytest
import torch

import sibp
from tests.modules import zoo

# where errors are small beside outputs, a small eta of them rounds away in targets (docs/own-network.md)
SIZES = dict.fromkeys(["nine sigmoids", "strides, groups, dilation, same, 1d"], (1.0, 1e-8))


@pytest.mark.parametrize(("scale", "moves"), [(1e-3, True), (1e-4, False)])
def test_tiny_inputs_leave_an_identity_layer_where_it_is_as_the_docs_say(scale, moves):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(10, 4, bias=False), scale * torch.randn(32, 10)
    assert (0.2 * torch.linalg.matrix_norm(x, 2) ** 2 > 1e-6) == moves
    norms = []
    for method in ("sibp", "proxbp"):
        layer.zero_grad()
        with sibp.Oracle(layer.parameters(), method, eta=0.3, lam=0.1):
            torch.nn.functional.cross_entropy(layer(x), torch.arange(32) % 4).backward()
        norms.append(layer.weight.grad.norm().item())
    assert norms[0] / norms[1] == pytest.approx(float(moves), abs=0.01)


def autograds(name, model):
    zoo.loss_of(name, model).backward()
    gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients


def largest_error(moves, gradients, implicit, scale):
    """Return the largest relative error, of parameters that have a gradient at all."""
    largest = max(g.norm() for g in gradients.values())
    errors = {
        name: ((moves[name] / scale if name in implicit else moves[name]) - g).norm() / g.norm()
        for name, g in gradients.items()
        if g.norm() > 1e-9 * largest  # a bias before batch normalisation has none
    }
    return max(errors.values()).item()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")  # of one checkpoint in another
@pytest.mark.parametrize("method", ["sibp", "proxbp"])
@pytest.mark.parametrize("name", zoo.CASES)
def test_moves_are_proportional_to_gradients(name, method):
    model = zoo.build(name)
    for key, p in model.named_parameters():
        if key.endswith(
            ("heads.head.weight", "layer_scale")
        ):  # the error goes back through the new head: not through one that is 0
            torch.nn.init.normal_(p, std=0.1)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    gradients = autograds(name, model)
    model.load_state_dict(state)
    eta, lam = SIZES.get(name, (1e-4, 1e-8))
    oracle = sibp.Oracle(model.named_parameters(), method, eta=eta, lam=lam, terms="sum")
    with oracle:
        zoo.loss_of(name, model).backward()
    report = oracle.report(model)
    implicit = {key for key, how in report.items() if how.startswith("implicit")}
    assert implicit
    moves = {key: p.grad for key, p in model.named_parameters()}
    assert largest_error(moves, gradients, implicit, 2 * eta * lam) < 1e-3
