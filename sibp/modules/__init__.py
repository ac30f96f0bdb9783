"""Driving the solvers over any torch module: affine maps, the watch over a forward pass, and the report."""

from sibp.modules.parameters import Parameters
from sibp.modules.watch import Watch

__all__ = ["Parameters", "Watch"]
