"""The numerical policy of a process, in force and readable by torch's own code afterwards."""

import pytest
import torch

from sibp.core import precision


@pytest.fixture(autouse=True)
def restored():
    yield
    precision.configure()


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_off_unless_it_is_wanted_and_every_reader_sees_it(tf32):
    about = precision.configure(tf32=tf32)
    assert about["fp32"] == ("tf32" if tf32 else "ieee")
    assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is tf32
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    with torch.backends.cudnn.flags(enabled=True):  # reads every flag to restore it
        pass


def test_operations_without_a_deterministic_kernel_are_errors():
    precision.configure()
    assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark


def test_threads_below_one_are_refused():
    with pytest.raises(ValueError, match="threads: got 0, need a whole number >= 1"):
        precision.configure(0)
