import numpy as np
import pytest
import torch

from sibp.data import chain, generated, names
from sibp.data.dataset import digest
from sibp.data.registry import find


@pytest.mark.parametrize("name", names())
def test_a_stand_in_has_the_shapes_of_the_real_data_set_and_says_that_it_is_one(name):
    dataset = generated(name, train=50, test=30)
    arrays = find(name).arrays
    assert dataset.train_images.shape == (50, *arrays["train_images"].shape[1:])
    assert dataset.test_images.shape == (30, *arrays["test_images"].shape[1:])
    assert {array.dtype for array in (dataset.train_images, dataset.train_labels)} == {np.dtype(np.uint8)}
    assert dataset.generated and dataset.source == "generated with seed 0" and len(dataset.classes) == 10
    assert dataset.hashes["test_labels"] == digest(dataset.test_labels)


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others():
    first, again, other = (generated("mnist", train=20, test=20, seed=seed) for seed in (3, 3, 4))
    assert first.hashes == again.hashes
    assert set(first.hashes.values()).isdisjoint(other.hashes.values())


def test_training_and_test_samples_differ():
    dataset = generated("mnist", train=20, test=20)
    assert not np.array_equal(dataset.train_images, dataset.test_images)


def test_a_number_of_samples_below_one_is_refused():
    with pytest.raises(ValueError, match="generated 'mnist': got 5 training and 0 test samples"):
        generated("mnist", train=5, test=0)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_small_network_learns_a_stand_in_but_not_at_once(name):
    dataset = generated(name, train=2000, test=500)
    images, tests = (torch.tensor(x).flatten(1) / 255 for x in (dataset.train_images, dataset.test_images))
    labels, answers = (torch.tensor(y, dtype=torch.int64) for y in (dataset.train_labels, dataset.test_labels))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(images.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    accuracies = []
    for steps in (10, 290):
        for _ in range(steps):
            chosen = torch.randint(len(images), (100,))
            loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracies.append((model(tests).argmax(1) == answers).float().mean().item())
    assert accuracies[0] < 0.8 and 0.9 < accuracies[1] < 0.99


def test_the_chain_has_ten_points_near_the_diagonal():
    x, y = chain(0)
    assert x.shape == y.shape == (10, 1) and x.dtype == y.dtype == np.float64
    assert 0 < np.abs(y - x).max() < 0.5 < np.abs(x).max()
    np.testing.assert_array_equal(chain(0)[1], y)
    assert not np.array_equal(chain(1)[0], x)
