"""What is trained on what: everything but the method."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sibp.experiments.schema import Init, Training
from sibp.nets import initialisation
from sibp.nets.layers import Affine
from sibp.nets.losses import Loss
from sibp.nets.network import Network
from sibp.training.sampling import Samples

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """A network, its loss and initial law, how it is trained, the splits on the device, and the device."""

    network: Network
    loss: Loss
    init: Init
    training: Training
    splits: dict[str, Samples]
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.training.dtype)

    def parameters(self, seeds: Sequence[int]) -> list[Affine]:
        """Return the initial parameters, a function of each member's seed alone."""
        law = self.init.model_dump()
        return initialisation.initialise(self.network, seeds, **law, dtype=self.dtype, device=str(self.device))
