"""The real thing: needs a network, so it runs only where SIBP_TEST_NETWORK=1 asks for it."""

import os

import pytest

from sibp.data import fetch, names


@pytest.mark.network
@pytest.mark.skipif(os.environ.get("SIBP_TEST_NETWORK") != "1", reason="SIBP_TEST_NETWORK=1 runs it")
@pytest.mark.parametrize("name", names())
def test_a_real_data_set_is_fetched_with_the_right_hashes(name, tmp_path):
    dataset = fetch(name, root=tmp_path, report=print)
    assert len(dataset.test_images) == 10000
