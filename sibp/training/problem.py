"""What is trained on what: everything but the method."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sibp.experiments.settings import Init, Training
from sibp.nets import initialisation
from sibp.nets.layers import Affine
from sibp.nets.losses import Loss
from sibp.nets.network import Network
from sibp.training.sampling import Samples

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """What is trained on what: everything but the method.

    Attributes:
        network: its structure.
        loss: at the output.
        init: the law of the initial parameters.
        training: how it is trained.
        splits: ``train`` and, where they have samples, ``validation`` and ``test``, on the device.
        device: where it is trained.
    """

    network: Network
    loss: Loss
    init: Init
    training: Training
    splits: dict[str, Samples]
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and inputs."""
        return getattr(torch, self.training.dtype)

    def parameters(self, seeds: Sequence[int]) -> list[Affine]:
        """Draw the initial parameters.

        Args:
            seeds: one per member, which alone decides its numbers.

        Returns:
            One `Affine` per layer, on the device.
        """
        law = self.init.model_dump()
        return initialisation.initialise(self.network, seeds, **law, dtype=self.dtype, device=self.device)
