"""A running mean of weights: steadier than the last ones (Polyak 1992, doi:10.1137/0330046)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class WeightAverage:
    """Exponential mean of a module's parameters; it starts as a copy of them.

    The decay rises with the steps as `(1 + n) / (10 + n)` up to its value, so that a short training
    does not remember how it began (as TensorFlow's ExponentialMovingAverage does).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [name for name, _ in module.named_parameters()]
        self._live = [parameter.detach() for parameter in module.parameters()]
        self._mean = [parameter.clone() for parameter in self._live]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the weights after `steps` steps in all."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(self._mean, self._live, 1 - decay)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The mean, by the names of the parameters."""
        return dict(zip(self.names, self._mean, strict=True))

    def restore(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Go on from a saved mean."""
        for name, mean in zip(self.names, self._mean, strict=True):
            mean.copy_(weights[name])
