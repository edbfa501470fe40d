"""Brief training of one architecture, starting from the supernet and taught by its largest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from nas.accuracy.device import deterministic, mixed_precision, resize, training_batch
from nas.accuracy.losses import with_teacher
from nas.accuracy.scoring import recalibrate
from nas.accuracy.supernet_training import cosine_rate, sgd
from nas.data import Dataset, batch_indices
from nas.models import Supernet
from nas.models.build import Model
from nas.space import sample as sampling
from nas.space.architecture import Architecture


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


@dataclass(frozen=True)
class Finetuner:
    """Trains architectures by themselves, beginning with the supernet's weights.

    Attributes:
        supernet: Trained weights.
        dataset: Its data.
        settings: How; the steps may be others for each.
        seed: Of the run.
    """

    supernet: Supernet
    dataset: Dataset
    settings: FinetuneSettings
    seed: int

    @cached_property
    def teacher(self) -> Model:
        """The supernet's largest network, ready to be asked."""
        supernet = self.supernet
        teacher = supernet.subnet(sampling.largest(supernet.space, supernet.plan))
        recalibrate(teacher, self.dataset, self.settings.recalibration_images)
        return teacher

    def train(
        self,
        architecture: Architecture,
        steps: int,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> Model:
        """A network of its own, in evaluation mode; the same whatever was trained before."""
        seed = (self.seed + int(architecture.id, 16)) % 2**31
        with deterministic():
            teacher, model = self.teacher, self.supernet.subnet(architecture)
            settings = replace(self.settings, steps=steps)
            finetune(model, teacher, self.dataset, settings, seed, on_step)
        return model


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
    return with_teacher(on_labels, logits, target, share)
