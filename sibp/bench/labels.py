"""The labels of the steps that are timed: in tables, and in the records that drawings read without importing torch."""

__all__ = [
    "ADAM",
    "ARMIJO",
    "ARMIJO20",
    "AUTHORS",
    "BCD",
    "EAGER",
    "ENGINE",
    "ENSEMBLE",
    "GRAPH",
    "LOOP",
    "PLAIN_LOOP",
    "PROXBP",
    "PROXPROP",
    "RELEASED",
    "SGD",
    "SIBP",
    "SIBP20",
    "WEIGHT_SPACE",
]

SGD, ADAM = "torch SGD", "torch Adam"
SIBP, SIBP20 = "SIBP, 5 CG steps", "SIBP, 20 CG steps"
ARMIJO, ARMIJO20 = "SIBP armijo, 5 CG steps", "SIBP armijo, 20 CG steps"
RELEASED = "SIBP released, 5 CG steps"
ENGINE = f"{SIBP}, engine"  # what trains the exhibits
EAGER = f"{SIBP}, no kernels"
WEIGHT_SPACE = f"{SIBP}, weight space"
GRAPH = f"{SIBP}, graph"
AUTHORS = "SIBP as the authors' program computes it"
PROXBP, PROXPROP, BCD = "ProxBP, 5 CG steps", "ProxProp, 5 CG steps", "BCD"
ENSEMBLE, LOOP = "SIBP, an ensemble", "SIBP, one at a time"
PLAIN_LOOP = f"{LOOP}, no kernels"
