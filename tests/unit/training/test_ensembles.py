"""About how much memory an ensemble takes."""

import torch

from sibp.nets import papers
from sibp.training import ensembles


def test_memory_grows_with_parameters_batch_and_precision():
    small, large = (papers.build(widths=[20, width, 3]) for width in (10, 100))
    base = ensembles.bytes_per_member(small, 10)
    assert ensembles.bytes_per_member(large, 10) > 5 * base
    assert ensembles.bytes_per_member(small, 1000) > 4 * base
    assert ensembles.bytes_per_member(small, 10, torch.float64) == 2 * base


def test_a_convolution_s_rows_count_at_every_output_position():
    network = papers.build("cnn", input_shape=[3, 32, 32])
    first = 1024 * (75 + network.layers[0].fan_out)
    assert ensembles.bytes_per_member(network, 101) - ensembles.bytes_per_member(network, 100) > 2 * 4 * first
