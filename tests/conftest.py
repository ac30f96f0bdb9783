"""One thread and flushed denormals for every test: many small products are fastest so, and results do not hang on the machine's load."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
# two threads that wait for each other by counting take minutes where others work
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def randn():
    """Seeded normal numbers in float64: randn(*shape)."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
