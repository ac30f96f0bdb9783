"""Seeds that name their purpose.

Every random number of a run comes from a generator keyed by words such as ``("order", seed, epoch)``. A key never depends on
the other members of an ensemble, on the device, or on how many numbers were drawn before it, so that a run can be resumed,
regrouped or run on another device and still see the same initial weights and the same order of samples.
"""

import hashlib

import torch

__all__ = ["derive", "generator"]


def derive(*purpose: str | int) -> int:
    """Return a 63-bit seed: the first bytes of SHA-256 over the purpose's words.

    Args:
        purpose: what the numbers are for, e.g. ``("init", 3, 0)``: member seed 3, layer 0.

    Returns:
        A whole number in [0, 2^63), the same on every machine.
    """
    text = "\x1f".join(f"{type(word).__name__}:{word}" for word in purpose)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*purpose: str | int) -> torch.Generator:
    """Return a fresh generator on the CPU, whose numbers are the same for every device, seeded by `derive(*purpose)`.

    Args:
        purpose: what the numbers are for.

    Returns:
        A generator of its own: nothing else draws from it.
    """
    return torch.Generator().manual_seed(derive(*purpose))
