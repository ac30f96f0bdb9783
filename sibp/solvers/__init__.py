"""Solvers of one layer's subproblem: conjugate gradients, line searches, proximal gradient, and the kernels that stand in for them."""
