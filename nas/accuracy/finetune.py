"""Brief training of one architecture, starting from the supernet and taught by its largest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from nas.accuracy.device import mixed_precision, resize, training_batch
from nas.accuracy.supernet_evaluator import recalibrate
from nas.accuracy.supernet_training import cosine_rate, sgd
from nas.data import Dataset, batch_indices
from nas.models.build import Model


@dataclass(frozen=True)
class FinetuneSettings:
    """How finalists are trained.

    Attributes:
        steps: Optimiser steps; 0 only recalibrates.
        batch_size: Images for each step.
        learning_rate: At its highest.
        weight_decay: On weights of convolutions and linear layers only.
        teacher_share: Of the loss that is distillation (Hinton et al. 2015, arXiv:1503.02531), the
            rest is the labels.
        recalibration_images: Training images for the final batch-norm statistics.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 0.05
    weight_decay: float = 1e-4
    teacher_share: float = 0.5
    recalibration_images: int = 2048


def finetune(
    model: Model,
    teacher: Model,
    dataset: Dataset,
    settings: FinetuneSettings,
    seed: int,
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train `model` in place; it ends in evaluation mode with fresh batch-norm statistics.

    Args:
        model: The network, with weights to start from.
        teacher: A network in evaluation mode; may have another resolution.
        dataset: Its data.
        settings: How.
        seed: Of order and augmentation.
        on_step: Called after each step with the number done.
    """
    device = next(model.parameters()).device
    model.train()
    optimiser = sgd(model, settings.learning_rate, settings.weight_decay)
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, settings.steps, settings.learning_rate)
        indices = batch_indices(len(dataset.train.labels), settings.batch_size, step, seed)
        size = teacher.network.resolution
        images, labels = training_batch(dataset, indices, size, seed + step, device)
        optimiser.zero_grad(set_to_none=True)
        with mixed_precision(device):
            loss = _loss(model, teacher, images, labels, settings.teacher_share)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        on_step(step + 1)
    recalibrate(model, dataset, settings.recalibration_images)


def _loss(
    model: Model, teacher: Model, images: torch.Tensor, labels: torch.Tensor, share: float
) -> torch.Tensor:
    with torch.no_grad():
        target = teacher(images).float().softmax(dim=1)
    logits = model(resize(images, model.network.resolution)).float()
    on_labels = nn.functional.cross_entropy(logits, labels)
    on_teacher = nn.functional.cross_entropy(logits, target)
    return share * on_teacher + (1 - share) * on_labels
