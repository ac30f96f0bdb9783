"""Triton kernels for CUDA devices: `calls` is the way in, `operators` are what torch sees."""
