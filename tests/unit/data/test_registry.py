import re
from pathlib import Path

import numpy as np
import pytest

from sibp.data import DataError, names
from sibp.data.dataset import check
from sibp.data.registry import find


def test_the_three_data_sets_are_known_with_their_shapes():
    shapes = {name: find(name).arrays["train_images"].shape for name in names()}
    assert shapes == {"mnist": (60000, 28, 28), "fashion-mnist": (60000, 28, 28), "cifar10": (50000, 3, 32, 32)}


def test_every_array_has_a_hash_of_its_own():
    hashes = [digest for name in names() for digest in find(name).hashes.values()]
    assert len(set(hashes)) == 12 and all(len(digest) == 64 for digest in hashes)


@pytest.mark.parametrize("spelling", ["cifar10", "CIFAR10", "CIFAR-10", "cifar_10"])
def test_capitals_and_hyphens_of_a_name_do_not_matter(spelling):
    assert find(spelling).name == "cifar10"


def test_a_misspelt_name_is_told_with_the_nearest_right_one():
    with pytest.raises(ValueError, match=r"^data set: got 'minst', need mnist, fashion-mnist or cifar10; did you mean 'mnist'\?$"):
        find("minst")


def test_a_changed_pixel_a_wrong_shape_and_a_wrong_type_are_refused(tiny):
    from tests.unit.data.rawfiles import arrays

    entry, good = tiny["mnist"], arrays("mnist")
    check(entry, good)
    changed = good["test_images"].copy()
    changed[1, 5, 5] ^= 1
    with pytest.raises(DataError, match=r"^test_images: SHA-256 \w{12}\.\.\., need \w{12}\.\.\.$"):
        check(entry, good | {"test_images": changed})
    with pytest.raises(DataError, match=r"train_labels: uint8\[9\], need uint8\[10\]"):
        check(entry, good | {"train_labels": good["train_labels"][:9]})
    with pytest.raises(DataError, match="train_labels: int64"):
        check(entry, good | {"train_labels": good["train_labels"].astype(np.int64)})


def test_the_page_on_data_lists_the_hashes_of_the_registry():
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    assert re.findall(r"[0-9a-f]{64}", page) == [digest for name in names() for digest in find(name).hashes.values()]
