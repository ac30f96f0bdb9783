import numpy as np
import pytest

from sibp.data import generated, split


@pytest.fixture
def dataset():
    return generated("mnist", train=60, test=20)


def test_parts_are_cut_in_the_official_order_without_copying(dataset):
    parts = split(dataset, train=40, validation=15, test=10)
    np.testing.assert_array_equal(parts.x_train, dataset.train_images[:40])
    np.testing.assert_array_equal(parts.x_validation, dataset.train_images[40:55])
    np.testing.assert_array_equal(parts.y_validation, dataset.train_labels[40:55])
    np.testing.assert_array_equal(parts.y_test, dataset.test_labels[:10])
    assert all(np.shares_memory(part, dataset.train_images) for part in (parts.x_train, parts.x_validation))
    assert (parts.x_train.dtype, parts.x_train.shape[1:]) == (np.uint8, (28, 28))


def test_all_test_samples_are_taken_where_none_are_asked_for(dataset):
    assert len(split(dataset, train=60).x_test) == 20
    assert len(split(dataset, train=60, test=0).x_test) == 0


@pytest.mark.parametrize(("test", "added"), [(None, 20), (20, 20), (7, 7)])
def test_a_merged_validation_set_has_the_test_samples_at_its_end(dataset, test, added):
    parts = split(dataset, train=55, validation=5, test=test, merge_test=True)
    images = [dataset.train_images[55:], dataset.test_images[:added]]
    labels = [dataset.train_labels[55:], dataset.test_labels[:added]]
    np.testing.assert_array_equal(parts.x_validation, np.concatenate(images))
    np.testing.assert_array_equal(parts.y_validation, np.concatenate(labels))
    assert len(parts.x_test) == len(parts.y_test) == 0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 61}, "train: 61 samples of 'mnist' asked for, allowed are 1 to 60"),
        ({"train": 0}, "train: 0 samples of 'mnist' asked for, allowed are 1 to 60"),
        ({"train": 50, "validation": 11}, "validation: 11 samples of 'mnist' asked for, allowed are 0 to 10"),
        ({"train": 50, "validation": -1}, "validation: -1 samples of 'mnist' asked for, allowed are 0 to 10"),
        ({"train": 50, "test": 21}, "test: 21 samples of 'mnist' asked for, allowed are 0 to 20"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_in_one_line(dataset, sizes, message):
    with pytest.raises(ValueError) as caught:
        split(dataset, **sizes)
    assert str(caught.value).startswith(message)
