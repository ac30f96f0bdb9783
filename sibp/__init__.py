"""Semi-Implicit Back Propagation and the methods it is compared with, at a price near SGD's.

import sibp
model = sibp.mlp([784, 500, 10], std=0.01, seed=0)
opt = sibp.SIBP(model.parameters(), eta=0.1, lam=0.5)
for x, y in batches:
    loss = opt.step(lambda: torch.nn.functional.cross_entropy(model(x), y))
"""

from typing import TYPE_CHECKING

from sibp.core.version import VERSION

if TYPE_CHECKING:
    from sibp.optim import BCD, SIBP, Oracle, ProxBP, lenet, mlp

__all__ = ["BCD", "SIBP", "Oracle", "ProxBP", "lenet", "mlp"]
__version__ = VERSION


def __getattr__(name: str) -> object:
    # torch takes seconds to import; `sibp --help` should not wait for it
    if name in __all__:
        from sibp import optim

        return getattr(optim, name)
    raise AttributeError(f"module 'sibp' has no attribute {name!r}")
