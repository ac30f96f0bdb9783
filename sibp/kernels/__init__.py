"""Compiled code and how it is called: C++ on the CPU (`native`), Triton on CUDA devices (`triton`); neither is ever needed.

Which of them, or their eager twins, does a piece of work is chosen in `solvers.dispatch`.
"""
