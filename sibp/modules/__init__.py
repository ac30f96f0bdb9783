"""Driving the solvers over any torch module: affine maps, the watch over a forward pass, and the report."""
