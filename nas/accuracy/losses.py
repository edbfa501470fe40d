"""What networks learn from: labels, and the output of another network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from nas.accuracy.score import Metric
from nas.data import Dataset

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


def log_shares(dataset: Dataset, metric: Metric, device: torch.device) -> torch.Tensor | None:
    """Logarithms of the classes' shares of the training images; `None` where images count alike."""
    if metric == "accuracy":
        return None
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes)).clip(1)
    return torch.from_numpy(np.log(counts / counts.sum())).to(device, torch.float32)


def on_labels(
    logits: torch.Tensor,
    targets: torch.Tensor,
    smoothing: float,
    shares: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy; with the classes' log shares, what is learned is as if all had as many images.

    They are added to the logits in training alone (Menon et al. 2021, arXiv:2007.07314, section 5).
    Smoothing then spreads targets by the shares as well: spread evenly, it would name rare classes
    for everything once others have some twenty times as many images.

    Args:
        logits: `N x classes`, float32.
        targets: Classes `N`, or their probabilities `N x classes`.
        smoothing: Share of a target that is spread over the classes.
        shares: As `log_shares` gives them.
    """
    if shares is None:
        return nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    if targets.ndim == 1:
        targets = nn.functional.one_hot(targets, logits.shape[1])
    spread = (1 - smoothing) * targets + smoothing * shares.exp()
    return nn.functional.cross_entropy(logits + shares, spread)


def with_teacher(
    found: torch.Tensor, logits: torch.Tensor, target: torch.Tensor, share: float
) -> torch.Tensor:
    """A loss on labels mixed with distillation (Hinton et al. 2015, arXiv:1503.02531).

    Args:
        found: That loss, scalar.
        logits: `N x classes`, float32.
        target: The teacher's probabilities, `N x classes`.
        share: Of the distillation.
    """
    on_teacher = nn.functional.cross_entropy(logits, target)
    return share * on_teacher + (1 - share) * found
