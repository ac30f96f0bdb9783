"""Mini-batches: pixels as k/255, and orders that depend on the seed and the epoch alone."""

import pytest
import torch

from sibp.experiments.settings import Data
from sibp.training import sampling
from sibp.training.sampling import Batches, Samples

PIXELS = torch.arange(20, dtype=torch.uint8).reshape(10, 2)
TEN = Samples(PIXELS, torch.arange(10))


def batches(seeds, batch_size=3, kind="permutation"):
    return Batches(TEN, seeds, batch_size, kind, torch.float64)


def labels(found, steps):
    """The labels that each member sees in these steps, `[E, samples]`."""
    return torch.cat([found.at(step)[1] for step in steps], dim=1)


def test_a_pixel_k_becomes_k_255ths_and_stays_with_its_label():
    x, y = batches([0, 1]).at(0)
    assert x.shape == (2, 3, 2)
    torch.testing.assert_close(x, PIXELS.double()[y] / 255, rtol=0, atol=0)


def test_an_epoch_visits_every_sample_once_with_a_smaller_last_batch():
    found = batches([4, 7])
    assert found.steps_per_epoch == 4
    assert [found.at(step)[0].shape[1] for step in range(4)] == [3, 3, 3, 1]
    assert torch.equal(labels(found, range(4)).sort(dim=1).values, torch.arange(10).expand(2, 10))


def test_each_epoch_has_another_order():
    found = batches([0])
    assert not torch.equal(labels(found, range(4)), labels(found, range(4, 8)))


def test_a_member_s_order_depends_on_its_seed_alone():
    together, alone = batches([5, 9, 5]), batches([9])
    assert torch.equal(labels(together, range(6))[1:2], labels(alone, range(6)))
    assert torch.equal(labels(together, range(6))[0], labels(together, range(6))[2])


def test_a_step_s_batch_does_not_depend_on_the_steps_before():
    straight, jumped = batches([1, 2]), batches([1, 2])
    for step in range(6):
        straight.at(step)
    assert torch.equal(straight.at(6)[0], jumped.at(6)[0])


def test_members_with_one_seed_share_one_batch():
    assert batches([3, 3, 3]).at(0)[0].shape[0] == 1


def test_a_full_batch_is_the_training_set_in_order_for_all_members():
    found = batches([0, 1], 10)
    x, y = found.at(17)
    assert found.steps_per_epoch == 1
    assert torch.equal(y, torch.arange(10)[None])
    assert x.data_ptr() == found.at(0)[0].data_ptr()


def test_replacement_draws_full_batches_in_which_samples_recur():
    found = batches([0], kind="replacement")
    seen = labels(found, range(40))
    assert {found.at(step)[0].shape[1] for step in range(8)} == {3}
    assert any(len(set(labels(found, range(4 * e, 4 * e + 4))[0].tolist())) < 10 for e in range(5))
    assert set(seen[0].tolist()) == set(range(10))


@pytest.mark.parametrize(("kind", "expected"), [("permutation", [0, 3, 6, 9, 10, 13]), ("replacement", [0, 3, 6, 9, 12, 15])])
def test_samples_seen_are_counted(kind, expected):
    found = batches([0], kind=kind)
    assert [found.seen(step) for step in range(6)] == expected


def test_chunks_are_the_whole_split_in_order():
    chunks = list(TEN.chunks(4, torch.float32))
    assert [x.shape for x, _ in chunks] == [(1, 4, 2), (1, 4, 2), (1, 2, 2)]
    assert torch.equal(torch.cat([y for _, y in chunks], dim=1), torch.arange(10)[None])


def test_generated_splits_have_the_sizes_asked_for():
    splits, about = sampling.load(Data(name="mnist", train=30, validation=5, test=7, generated=True))
    assert {name: len(samples) for name, samples in splits.items()} == {"train": 30, "validation": 5, "test": 7}
    assert splits["train"].inputs.dtype == torch.uint8
    assert about["hashes"]


def test_a_merged_test_set_is_part_of_the_validation_set():
    splits, _ = sampling.load(Data(name="mnist", train=30, validation=5, test=7, merge_test=True, generated=True))
    assert {name: len(samples) for name, samples in splits.items()} == {"train": 30, "validation": 12}


def test_the_chain_has_real_values_for_targets():
    splits, _ = sampling.load(Data(name="chain", train=10))
    x, y = Batches(splits["train"], [0, 1], 1, "permutation", torch.float32).at(0)
    assert (x.shape, y.shape, y.dtype) == ((2, 1, 1), (2, 1, 1), torch.float32)
    assert not splits["train"].labelled
