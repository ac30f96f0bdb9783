"""A module's parameters as the papers and their twins write them."""

from sibp.nets.from_sequential import parameters_of


def columns(model):
    """Return copies of all W `[O, I]` and all b `[O, 1]`, as NumPy arrays."""
    pairs = parameters_of(model)
    return [W[0].numpy().copy() for W, _ in pairs], [b[0].numpy().T.copy() for _, b in pairs]
