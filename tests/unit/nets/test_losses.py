import pytest
import torch
from torch.nn import functional

from sibp.nets import losses

E, B, K = 3, 7, 4


@pytest.fixture
def outputs(randn):
    return 3 * randn(E, B, K)


LABELS = torch.arange(B) % K


def test_values_are_torchs_mean_over_the_batch_for_each_member(outputs):
    y = LABELS[None]
    for e in range(E):
        cross = functional.cross_entropy(outputs[e], LABELS)
        assert losses.get("cross-entropy").value(outputs, y)[e].item() == pytest.approx(cross.item(), rel=1e-12)
        squared = (outputs[e] - functional.one_hot(LABELS, K)).square().sum() / B  # J 5.1, without 1/2
        assert losses.get("squared").value(outputs, y)[e].item() == pytest.approx(squared.item(), rel=1e-12)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("members", [1, E])
def test_delta_is_the_derivative_of_the_sum_over_the_batch(outputs, name, members):
    loss, F, y = losses.get(name), outputs.clone().requires_grad_(), LABELS.expand(members, B)
    (expected,) = torch.autograd.grad((loss.value(F, y) * B).sum(), F)
    assert torch.allclose(loss.delta(outputs, y), expected, rtol=1e-12, atol=1e-14)


def test_delta_of_cross_entropy_is_softmax_with_one_subtracted_at_the_class_to_the_bit(outputs):
    F, y = outputs.float(), LABELS.expand(E, B)
    expected = F.softmax(-1).scatter_add_(-1, y.unsqueeze(-1), torch.full((E, B, 1), -1.0))
    assert torch.equal(losses.get("cross-entropy").delta(F, LABELS[None]), expected)


def test_squared_loss_takes_values_as_targets(outputs, randn):
    Y = randn(1, B, K)
    assert torch.allclose(losses.get("squared").value(outputs, Y), (outputs - Y).square().sum((1, 2)) / B)
    assert torch.equal(losses.get("squared").delta(outputs, Y), 2 * (outputs - Y))


def test_large_outputs_do_not_overflow():
    F = torch.tensor([[[1e4, 0.0]]])
    value = losses.get("cross-entropy").value(F, torch.tensor([[1]]))
    assert value.item() == 1e4
    assert losses.get("cross-entropy").delta(F, torch.tensor([[1]])).tolist() == [[[1.0, -1.0]]]


def test_accuracy_counts_the_largest_output_and_nan_as_wrong():
    F = torch.tensor([[[2.0, 1.0], [0.0, 3.0]], [[float("nan"), 1.0], [0.0, 3.0]]])
    assert losses.accuracy(F, torch.tensor([[0, 1]])).tolist() == [1.0, 0.5]
    assert losses.accuracy(F, torch.tensor([[1, 0]])).tolist() == [0.0, 0.0]


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="loss: got 'mse', need cross-entropy or squared"):
        losses.get("mse")
