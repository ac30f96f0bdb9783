import numpy as np
import pytest
import torch

from sibp.data import DataError, as_torch_dataset, export_torchvision, fetch
from tests.unit.data import rawfiles
from tests.unit.data.rawfiles import Given


@pytest.mark.parametrize(("name", "title"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
@pytest.mark.parametrize("train", [True, False])
def test_torchvision_reads_what_is_exported_as_our_own_class_gives_it(tiny, cache, tmp_path, name, title, train):
    datasets = pytest.importorskip("torchvision.datasets")
    fetch(name, sources=[Given()])
    assert export_torchvision(name, tmp_path) == tmp_path / title / "raw"
    theirs, ours = getattr(datasets, title)(tmp_path, train=train), as_torch_dataset(name, train=train)
    assert torch.equal(theirs.data, ours.data) and torch.equal(theirs.targets, ours.targets)
    assert len(theirs) == len(ours) == (10 if train else 2)
    (picture, label), (our_picture, our_label) = theirs[1], ours[1]
    assert (picture.tobytes(), picture.mode, label) == (our_picture.tobytes(), our_picture.mode, our_label)


def test_cifar10_is_given_as_torchvision_gives_it(tiny, cache):
    fetch("cifar10", sources=[Given()])
    dataset = as_torch_dataset("cifar10", train=False, transform=np.asarray)
    arrays = rawfiles.arrays("cifar10")
    picture, label = dataset[1]
    np.testing.assert_array_equal(picture.transpose(2, 0, 1), arrays["test_images"][1])
    assert dataset.data.shape == (2, 32, 32, 3) and dataset.targets == arrays["test_labels"].tolist()
    assert label == dataset.targets[1] and dataset.classes == [str(k) for k in range(10)]


def test_cifar10_cannot_be_exported(tiny, cache, tmp_path):
    with pytest.raises(ValueError, match="only the official pickles; use as_torch_dataset"):
        export_torchvision("cifar10", tmp_path)


def test_what_is_not_cached_cannot_be_opened(tiny, cache, tmp_path):
    for use in (lambda: as_torch_dataset("mnist"), lambda: export_torchvision("mnist", tmp_path)):
        with pytest.raises(DataError, match="run 'sibp data mnist'"):
            use()


def test_the_class_names_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets")
    from sibp.data.registry import find

    assert list(find("mnist").classes) == datasets.MNIST.classes
    assert list(find("fashion-mnist").classes) == datasets.FashionMNIST.classes
