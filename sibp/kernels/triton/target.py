"""A layer's target and the error before its activation, in one pass."""

import triton.language as tl

from sibp.kernels.triton.lines import activate, kernel, leak_of, slope_of
from sibp.kernels.triton.plan import Launch, millionths

__all__ = ["targets"]


@kernel
def target_and_error(Z, delta, eta, D, numel, millionths, WITH_ERROR: tl.constexpr, BLOCK: tl.constexpr):
    """D = sigma'(Z) delta, then delta = sigma(Z) - eta delta."""
    e = tl.program_id(1).to(tl.int64)
    leak = leak_of(millionths, Z.dtype.element_ty)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here, at = i < numel, e * numel + i
    z, error = tl.load(Z + at, mask=here, other=0.0), tl.load(delta + at, mask=here, other=0.0)
    if WITH_ERROR:
        tl.store(D + at, slope_of(z, leak) * error, mask=here)
    tl.store(delta + at, activate(z, leak) - tl.load(eta + e) * error, mask=here)


def targets(Z, delta, eta, D, leak) -> list[Launch]:
    """Return the launch that writes T = sigma(Z) - eta delta over delta and, where there is a D, sigma'(Z) delta into it.

    Args:
        Z, delta, D: `[E, R, O]`; D may be None.
        eta: `[E, 1, 1]`.
        leak: sigma's slope below 0.
    """
    numel = Z[0].numel()
    given = (Z, delta, eta, Z if D is None else D, numel, millionths(leak))
    return [Launch(target_and_error, (-(-numel // 1024), Z.shape[0]), given, {"WITH_ERROR": D is not None, "BLOCK": 1024})]
