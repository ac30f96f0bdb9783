"""These tests need a process in which Triton runs kernels on the CPU from its import on; `test_triton.py` starts one."""

import os

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]
