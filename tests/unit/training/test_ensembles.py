"""Which members train together, and about how much memory they take."""

import torch

from sibp import methods
from sibp.nets import papers
from sibp.training import ensembles

SIBP = methods.options("sibp")


def test_members_are_chunked_in_their_order():
    options = [methods.options("sgd")(eta=eta) for eta in (1, 2, 3, 4, 5)]
    assert ensembles.groups("sgd", options, 2) == [[0, 1], [2, 3], [4]]


def test_members_that_differ_in_more_than_numbers_train_apart():
    options = [SIBP(eta=1, cg_steps=5), SIBP(eta=2, cg_steps=3), SIBP(eta=3, cg_steps=5), SIBP(variant="armijo")]
    assert ensembles.groups("sibp", options, 10) == [[0, 2], [1], [3]]


def test_every_member_is_in_exactly_one_group():
    options = [SIBP(eta=i + 1, cg_steps=1 + i % 3) for i in range(20)]
    groups = ensembles.groups("sibp", options, 4)
    assert sorted(number for group in groups for number in group) == list(range(20))
    assert max(map(len, groups)) == 4


def test_memory_grows_with_parameters_batch_and_precision():
    small, large = (papers.build(widths=[20, width, 3]) for width in (10, 100))
    base = ensembles.bytes_per_member(small, 10)
    assert ensembles.bytes_per_member(large, 10) > 5 * base
    assert ensembles.bytes_per_member(small, 1000) > 5 * base
    assert ensembles.bytes_per_member(small, 10, torch.float64) == 2 * base
