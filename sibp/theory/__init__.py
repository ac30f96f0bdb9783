"""The papers' theorems, propositions and J Table 1 as numbers: each function measures what a statement says, in float64.

Nothing here is a proof: a `Finding` says what was measured, what the statement asks of it, and whether that holds. J is the sum
over the batch throughout, as in J 4.1.
"""

from sibp.theory import properties, proxprop, statements
from sibp.theory.problems import Finding

__all__ = ["Finding", "all_statements", "property_matrix"]

property_matrix = properties.matrix


def all_statements() -> list[Finding]:
    """Return the findings on every theorem and proposition, SIBP's first; about ten seconds."""
    return statements.findings() + proxprop.findings()
