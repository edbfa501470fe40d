"""What networks learn from: labels, and the output of another network."""

from __future__ import annotations

import torch
from torch import nn


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
