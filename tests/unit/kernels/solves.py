"""Solving a subproblem as methods do, by whatever kernel or eager code is chosen for it."""

from sibp.nets import activations
from sibp.solvers import dispatch
from sibp.solvers.subproblem import Subproblem


def minimise(space, name, Z, T, lam, *rest):
    return dispatch.minimise(Subproblem(space, activations.get(name), Z, T, lam), *rest)
