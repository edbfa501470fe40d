"""How one architecture is trained: all that its final weights depend on beside data and seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from nas.accuracy.score import Metric
from nas.accuracy.supernet_training import sgd

Optimiser = Literal["sgd", "adamw"]
RATES: Mapping[str, float] = {"sgd": 0.1, "adamw": 0.002}
"""Highest learning rate for 128 images a step; other batches in proportion (arXiv:1706.02677)."""
DECAYS: Mapping[str, float] = {"sgd": 5e-4, "adamw": 0.05}
REFERENCE_BATCH = 128


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained by itself.

    Attributes:
        epochs: Times that every training image is seen.
        batch_size: Images for each optimiser step.
        optimiser: `sgd` (with Nesterov momentum) or `adamw` (arXiv:1711.05101).
        learning_rate: At its highest, after a tenth of the steps; then it falls as a cosine to 0.
            `None`: 0.1 of SGD, 0.002 of AdamW for 128 images a step, in proportion.
        weight_decay: On weights of convolutions and linear layers only. `None`: 0.0005 of SGD, 0.05
            of AdamW.
        label_smoothing: Share of a target that is spread over all classes (arXiv:1512.00567).
        mixup: Alpha of mixup (arXiv:1710.09412), 0 for none.
        cutmix: Alpha of cutmix (arXiv:1905.04899), 0 for none.
        random_augment: Strength of random changes of shape and colour (arXiv:1909.13719), 0 to 1.
        ema_decay: Of the running mean of the weights, which is what is kept; 0 for none.
        teacher_share: Of the loss that is distillation (arXiv:1503.02531), if there is a teacher.
        gradient_norm: To which longer gradients are cut.
        metric: What is to be best: where classes count alike (`balanced`), they do so in the loss.
        recalibration_images: Training images for the final batch-norm statistics.
    """

    epochs: int
    batch_size: int = 64
    optimiser: Optimiser = "sgd"
    learning_rate: float | None = None
    weight_decay: float | None = None
    label_smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    random_augment: float = 0.0
    ema_decay: float = 0.999
    teacher_share: float = 0.5
    gradient_norm: float = 5.0
    metric: Metric = "accuracy"
    recalibration_images: int = 2048

    @property
    def highest_rate(self) -> float:
        """The learning rate after warming up."""
        return self._usual_rate if self.learning_rate is None else self.learning_rate

    @property
    def lower_rate(self) -> float:
        """One to try where that is too high."""
        return min(self.highest_rate / 10, self._usual_rate)

    @property
    def _usual_rate(self) -> float:
        return RATES[self.optimiser] * self.batch_size / REFERENCE_BATCH

    def for_images(self, images: int) -> Recipe:
        """With no more images a step than there are to train on: none is twice in a step."""
        return replace(self, batch_size=min(self.batch_size, images))

    @property
    def decay(self) -> float:
        """The weight decay."""
        return DECAYS[self.optimiser] if self.weight_decay is None else self.weight_decay

    def steps(self, images: int) -> int:
        """Optimiser steps in all, for so many training images."""
        return self.end_of(self.epochs, images)

    def end_of(self, epoch: int, images: int) -> int:
        """Steps that are done when every image was seen `epoch` times."""
        return math.ceil(epoch * images / self.batch_size)

    def make_optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """Its optimiser; on CUDA torch then updates many tensors at a time (`foreach`)."""
        return MAKERS[self.optimiser](model, self.highest_rate, self.decay)

    def to_json(self) -> dict[str, Any]:
        """With the numbers that were left to their defaults."""
        return {
            **asdict(self),
            "learning_rate": self.highest_rate,
            "weight_decay": self.decay,
        }


def adamw(module: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; vectors (norms and biases) do not decay."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate)


MAKERS: Mapping[str, Callable[[nn.Module, float, float], torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adamw": adamw,
}
