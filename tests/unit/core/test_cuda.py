"""Which GPUs torch can use; stand-ins, since no GPU is needed to know the rule."""

import pytest
import torch

from sibp.core import cuda


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of a capability, and a torch with code for some architectures."""

    def put(capability, architectures, version="13.0"):
        monkeypatch.setattr(torch.version, "cuda", version)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: architectures)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")

    return put


@pytest.mark.parametrize("architectures", [["sm_80", "sm_90"], ["sm_86"], ["compute_75"], ["sm_80", "sm_90a"], []])
def test_a_gpu_that_torch_has_code_for_can_be_used(gpu, architectures):
    gpu((8, 6), architectures)
    assert cuda.fault() == ""


@pytest.mark.parametrize("architectures", [["sm_75", "sm_90"], ["sm_89"], ["compute_90"], ["sm_100"]])
def test_a_gpu_that_torch_has_no_code_for_is_named(gpu, architectures):
    gpu((8, 6), architectures)
    assert cuda.fault() == "for CUDA 13.0 has no code for A GPU (sm_86)"


def test_a_driver_too_old_and_a_torch_without_cuda_are_told_apart(gpu):
    gpu(None, [])
    assert cuda.fault() == "for CUDA 13.0 finds no usable device or driver"
    gpu(None, [], version=None)
    assert cuda.fault() == "has no CUDA"


def test_another_maker_s_device_under_the_same_name_can_be_used(gpu):
    gpu((9, 4), ["gfx942"], version=None)
    assert cuda.fault() == ""
