"""The CPU behind a measurement: its name, its vector instructions, and those that torch's own code uses.

Ratios of times depend on them: a machine whose library of matrix products uses the full vector width makes SGD faster, and not the methods
that bring products of their own.
"""

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["describe", "in_words"]

VECTORS = ("avx", "fma", "avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve", "sve2")  # Linux's names, x86's and ARM's
CPUINFO = Path("/proc/cpuinfo")


@cache
def describe() -> dict[str, Any]:
    """Return what the processor is.

    Returns:
        ``name``; ``vectors``, those of `VECTORS` that there are (None where the system does not say); ``torch``, what torch's vector code
        was chosen for, such as ``AVX2``. The library of products behind torch chooses for itself.
    """
    import torch  # which who only reads what it says need not wait for

    lines = _cpuinfo()
    flags = next((lines[key].split() for key in ("flags", "Features") if key in lines), None)
    return {
        "name": lines.get("model name") or platform.processor() or platform.machine(),
        "vectors": None if flags is None else [name for name in VECTORS if name in flags],
        "torch": torch.backends.cpu.get_cpu_capability(),
    }


def in_words(processor: Mapping[str, Any]) -> str:
    """Return what `describe` gave in one phrase.

    Args:
        processor: its result.

    Returns:
        Name and vector instructions.
    """
    vectors = "vector instructions unknown" if processor["vectors"] is None else " ".join(processor["vectors"]) or "no vectors"
    return f"{processor['name']} with {vectors}, of which torch uses {processor['torch']}"


def _cpuinfo() -> dict[str, str]:
    """Return the system's words on its first processor by key; empty where there is no such file."""
    try:
        first = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
