"""What networks learn from: labels, and the output of another network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

EXITS_WEIGHT = 0.5
"""Of the exits' mean loss, beside that of the end."""


def over_exits(logits: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The loss of a network that learns at its end and at every exit.

    Args:
        logits: Of every exit and then of the end, `E x N x classes`.
        loss: Of logits `N x classes`.
    """
    *exits, end = logits
    if not exits:
        return loss(end)
    return loss(end) + EXITS_WEIGHT * torch.stack([loss(found) for found in exits]).mean()


def with_teacher(
    on_labels: torch.Tensor, logits: torch.Tensor, target: torch.Tensor, share: float
) -> torch.Tensor:
    """A loss on labels mixed with distillation (Hinton et al. 2015, arXiv:1503.02531).

    Args:
        on_labels: Scalar.
        logits: `N x classes`, float32.
        target: The teacher's probabilities, `N x classes`.
        share: Of the distillation.
    """
    on_teacher = nn.functional.cross_entropy(logits, target)
    return share * on_teacher + (1 - share) * on_labels
