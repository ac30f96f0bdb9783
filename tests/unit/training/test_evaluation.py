"""Measuring in chunks, sparsity and pruning by magnitude."""

from typing import get_args

import pytest
import torch

from sibp.experiments.settings import Measure
from sibp.nets import initialisation, losses, papers
from sibp.training import evaluation


def net(E=2):
    network = papers.build(widths=[6, 5, 3])
    return network, initialisation.initialise(network, list(range(E)), std=1.0, dtype=torch.float64)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.95])
def test_the_smallest_share_of_all_weights_becomes_zero(share):
    _, parameters = net()
    cut = evaluation.prune(parameters, share)
    weights = 6 * 5 + 5 * 3
    assert evaluation.sparsity(cut).tolist() == [round(share * weights) / weights] * 2
    for e in range(2):
        before = torch.cat([layer.W[e].flatten() for layer in parameters])
        after = torch.cat([layer.W[e].flatten() for layer in cut])
        gone = after == 0
        assert torch.equal(after[~gone], before[~gone])
        if gone.any():
            assert before[gone].abs().max() <= before[~gone].abs().min()


def test_exact_zeros_count_towards_the_share_and_biases_stay():
    _, parameters = net(1)
    parameters[0].W[:, :2] = 0
    cut = evaluation.prune(parameters, 12 / 45)
    assert torch.equal(cut[0].W, parameters[0].W) and torch.equal(cut[1].W, parameters[1].W)
    assert cut[0].b is parameters[0].b


def test_pruning_leaves_the_trained_weights_alone():
    _, parameters = net()
    before = [layer.W.clone() for layer in parameters]
    evaluation.prune(parameters, 0.5)
    assert all(torch.equal(layer.W, W) for layer, W in zip(parameters, before, strict=True))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_chunk_holds_at_most_the_numbers_allowed_and_a_convolutions_rows_count(device):
    network = papers.build("cnn", input_shape=[3, 32, 32])
    numbers = max(rows * max(layer.fan_in, layer.fan_out) for rows, layer in zip(network.rows, network.layers, strict=True))
    size = evaluation.chunk_size(network, 5, torch.device(device))
    assert 5 * size * numbers <= (evaluation.CHUNK if device == "cpu" else evaluation.CHUNK_CUDA)
    assert device == "cpu" or 5 * (size + 1) * numbers > evaluation.CHUNK_CUDA


def test_the_gradients_norm_of_a_whole_training_set_is_that_of_its_parts(monkeypatch):
    network, parameters = net()
    x, y = torch.randn(1, 50, 6, dtype=torch.float64), torch.arange(50)[None] % 3
    loss = losses.get("cross-entropy")
    whole = evaluation.first_gradient_norm(network, loss, parameters, x, y)
    monkeypatch.setattr(evaluation, "GRADIENT", 2 * (6 + 5 + 5 + 3) * 7)
    calls, gradients = [], evaluation.propagation.loss_gradients
    monkeypatch.setattr(
        evaluation.propagation, "loss_gradients", lambda *words: calls.append(words[3].shape[1]) or gradients(*words)
    )
    assert torch.allclose(evaluation.first_gradient_norm(network, loss, parameters, x, y), whole, rtol=1e-12)
    assert calls == [7] * 7 + [1]


def test_what_an_experiment_may_measure_is_a_split_or_a_metric_of_a_network():
    assert {"train", "validation", "test"} | evaluation.METRICS.keys() == set(get_args(Measure))
