"""Mixing the images of a batch, and their labels alike."""

from __future__ import annotations

import math

import numpy as np
import torch


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Labels `N` as float32 targets `N x classes`."""
    return torch.nn.functional.one_hot(labels, classes).float()


def mix(
    images: torch.Tensor,
    targets: torch.Tensor,
    rng: np.random.Generator,
    *,
    mixup: float,
    cutmix: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix every image with another one of the batch, by mixup or by cutmix.

    Partners are first and last, second and last but one, and so on: a batch is in random order as
    it is. Where both are asked for, each has half of the batches. One share for a batch, as in both
    papers; it is drawn on the processor, so a GPU is not waited for.

    Args:
        images: N x C x H x W; not changed.
        targets: N x classes, which sum to 1.
        rng: The only source of randomness.
        mixup: Alpha of the Beta distribution of shares; 0 for none (arXiv:1710.09412).
        cutmix: The same (arXiv:1905.04899); there 1 is usual.

    Returns:
        New images and targets; those that came in where both alphas are 0.

    Raises:
        ValueError: An alpha is negative.
    """
    if mixup < 0 or cutmix < 0:
        raise ValueError(f"alphas are at least 0, got {mixup} and {cutmix}")
    if mixup and (not cutmix or rng.random() < 0.5):
        return _mixup(images, targets, float(rng.beta(mixup, mixup)))
    if cutmix:
        return _cutmix(images, targets, float(rng.beta(cutmix, cutmix)), rng)
    return images, targets


def _mixup(
    images: torch.Tensor, targets: torch.Tensor, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return images.lerp(images.flip(0), 1 - share), targets.lerp(targets.flip(0), 1 - share)


def _cutmix(
    images: torch.Tensor, targets: torch.Tensor, share: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a box of the partner; labels follow the area that really was pasted."""
    height, width = images.shape[-2:]
    top, bottom = _side(height, share, rng)
    left, right = _side(width, share, rng)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
    pasted = (bottom - top) * (right - left) / (height * width)
    return mixed, targets.lerp(targets.flip(0), pasted)


def _side(size: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """First and last pixel of the box along one side; it is cut off at the border."""
    length = round(size * math.sqrt(1 - share))
    start = int(rng.integers(size)) - length // 2
    return max(0, start), min(size, start + length)
