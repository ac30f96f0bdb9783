"""The numerical policy of a process, in force and readable by torch's own code afterwards."""

import pytest
import torch

from sibp.core import precision


@pytest.fixture(autouse=True)
def restored():
    yield
    precision.configure()


def test_tf32_is_off_and_every_reader_sees_it():
    torch.set_float32_matmul_precision("high")
    assert precision.configure()["fp32"] == "ieee"
    assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is False
    assert torch.get_float32_matmul_precision() == "highest"
    with torch.backends.cudnn.flags(enabled=True):  # reads every flag to restore it
        pass


def test_operations_without_a_deterministic_kernel_are_errors():
    precision.configure()
    assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark


def test_threads_below_one_are_refused():
    with pytest.raises(ValueError, match="threads: got 0, need a whole number >= 1"):
        precision.configure(0)
