"""The methods as torch optimizers, for any torch module.

    opt = sibp.SIBP(model.parameters(), eta=0.3, lam=0.1, rest=torch.optim.AdamW)
    for x, y in loader:
        loss = opt.step(lambda: criterion(model(x), y))
    print(opt)

A layer is trained implicitly where `linear`, `conv1d`, `conv2d` or `addmm` is called with its weight itself; its subproblem is
solved while the loss goes backward. All else gets autograd's gradients, and `rest` steps on those. See docs/own-network.md.
"""

from sibp.nets.to_sequential import lenet, mlp
from sibp.optim.bcd import BCD
from sibp.optim.implicit import SIBP, ProxBP
from sibp.optim.oracle import Oracle

__all__ = ["BCD", "SIBP", "Oracle", "ProxBP", "lenet", "mlp"]
