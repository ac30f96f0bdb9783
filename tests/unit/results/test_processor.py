"""What a record says about the processor."""

import pytest
import torch

from sibp.results import processor


@pytest.fixture
def describe(tmp_path, monkeypatch):
    def of(text):
        path = tmp_path / "cpuinfo"
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(processor, "CPUINFO", path)
        return processor.describe.__wrapped__()

    return of


def test_the_name_and_vector_instructions_of_the_first_processor(describe):
    text = (
        "processor\t: 0\nmodel name\t: Some CPU: fast\nflags\t\t: fpu sse2 avx2 fma avx512fp16\n\nprocessor : 1\nflags : avx512f\n"
    )
    told = describe(text)
    assert told == {
        "name": "Some CPU: fast",
        "vectors": ["fma", "avx2"],
        "torch": torch.backends.cpu.get_cpu_capability(),
    }
    assert processor.in_words(told) == f"Some CPU: fast with fma avx2, of which torch uses {told['torch']}"


def test_an_arm_processor_names_features(describe):
    assert describe("processor : 0\nFeatures : fp asimd sve\n")["vectors"] == ["asimd", "sve"]


def test_a_system_that_does_not_say_is_not_taken_for_one_without_vectors(describe):
    told = describe(None)
    assert told["vectors"] is None and "vector instructions unknown" in processor.in_words(told)
