"""Training one architecture by itself, from random weights or from given ones.

Every step depends on nothing but the seed and its number, so that training stopped anywhere goes on
as if it had not been: on a processor bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from nas.accuracy.averaging import WeightAverage
from nas.accuracy.checkpoint import Parts
from nas.accuracy.device import mixed_precision, repeatable_or_fast, resize
from nas.accuracy.feed import Feed
from nas.accuracy.losses import log_shares, on_labels, over_exits, with_teacher
from nas.accuracy.memory import Split, memory_errors
from nas.accuracy.recipe import Recipe
from nas.accuracy.scoring import recalibrate
from nas.accuracy.supernet_training import cosine_rate
from nas.accuracy.teacher import Teacher
from nas.data import Dataset
from nas.models.build import Model


@dataclass
class Progress:
    """Where a training is.

    Attributes:
        step: Optimiser steps done.
        summed: Sum of the losses, and their number, since somebody last asked.
    """

    step: int
    summed: tuple[torch.Tensor, int]


class Trainer:
    """A network, its optimiser, and the step they are at.

    Args:
        model: To be trained in place; its weights are what training starts from.
        dataset: Its data, decoded at the model's resolution.
        recipe: How.
        seed: Of order and augmentation.
        teacher: Whose output is learned, too.
        say: Hears what a user should know.
        steps: Optimiser steps in all, if not those of the recipe's epochs.
        resolution: Of the images that are varied, and that the teacher gets; the model's if not
            given, which sees them at its own.
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        teacher: Teacher | None = None,
        say: Callable[[str], None] = lambda text: None,
        steps: int | None = None,
        resolution: int | None = None,
    ) -> None:
        self.images = len(dataset.train.labels)
        recipe = recipe.for_images(self.images)
        self.model, self.dataset, self.recipe = model, dataset, recipe
        self.teacher = teacher
        self.device = next(model.parameters()).device
        self.steps = recipe.steps(self.images) if steps is None else steps
        resolution = resolution or model.network.resolution
        self.feed = Feed(dataset, resolution, recipe, seed, self.device)
        self.optimiser = recipe.make_optimiser(model)
        self.average = WeightAverage(model, recipe.ema_decay) if recipe.ema_decay else None
        self.split = Split(self.device, recipe.batch_size, say)
        self.shares = log_shares(dataset, recipe.metric, self.device)
        self.at = Progress(0, (self._zero(), 0))
        self.intact = True
        """Whether weights, optimiser and step belong together: not in the middle of an update."""

    def train(self, on_step: Callable[[int], None] = lambda step: None) -> None:
        """Do the steps that are left; `on_step` is called after each with the number done.

        Raises:
            MemoryFullError: Not even a few images fit into the device's memory.
        """
        self.model.train()
        with repeatable_or_fast(self.device), memory_errors(self.device):
            while self.at.step < self.steps:
                self.train_step()
                on_step(self.at.step)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return cosine_rate(step, self.steps, self.recipe.highest_rate)

    def train_step(self) -> None:
        """One optimiser step; out of memory, its images go in twice as many parts.

        Raises:
            MemoryFullError: Not even a few images fit into the device's memory.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.at.step)
        loss = self.split.run(self._gradients)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm)
        self.intact = False
        self.optimiser.step()
        self.at.step += 1
        if self.average is not None:
            self.average.update(self.at.step)
        total, number = self.at.summed
        self.at.summed = total + loss, number + 1
        self.intact = True

    def _gradients(self) -> torch.Tensor:
        """The gradients of a step's loss, and the loss."""
        self.optimiser.zero_grad(set_to_none=True)
        images, targets = self.feed.batch(self.at.step)
        losses = [self._backward(*part) for part in self.split.shares(images, targets)]
        return torch.stack(losses).sum()

    def _backward(self, images: torch.Tensor, targets: torch.Tensor, share: float) -> torch.Tensor:
        """Add the gradients of a part that is this share of the step's images."""
        recipe = self.recipe
        with mixed_precision(self.device):
            logits = self.model.every_logits(resize(images, self.model.network.resolution)).float()
            taught = None if self.teacher is None else self.teacher(images)

            def of(logits: torch.Tensor) -> torch.Tensor:
                found = on_labels(logits, targets, recipe.label_smoothing, self.shares)
                if taught is None:
                    return found
                return with_teacher(found, logits, taught, recipe.teacher_share)

            loss = over_exits(logits, of) * share
        torch.autograd.backward(loss)
        return loss.detach()

    def mean_loss(self) -> float:
        """Of the steps since this was last asked; NaN if there were none. Waits for the device."""
        total, number = self.at.summed
        self.at.summed = self._zero(), 0
        return float(total) / number if number else float("nan")

    def finished_model(self, recalibration_images: int | None = None) -> Model:
        """A copy with the averaged weights and fresh batch-norm statistics, in evaluation mode.

        Args:
            recalibration_images: Training images for these; the recipe's if not given.
        """
        model = copy.deepcopy(self.model)
        if self.average is not None:
            _copy_into(model, self.average.weights)
        recalibrate(model, self.dataset, recalibration_images or self.recipe.recalibration_images)
        return model

    def state(self) -> Parts:
        """All that the remaining steps depend on; for a checkpoint together with the step."""
        named = dict(self.model.named_parameters())
        total, number = self.at.summed
        parts: Parts = {
            "weight": dict(named),
            "progress": {
                "parts": torch.tensor(self.split.parts),
                "loss": total,
                "losses": torch.tensor(number),
            },
        }
        if self.average is not None:
            parts["average"] = self.average.weights
        for name, parameter in named.items():
            for kind, value in self.optimiser.state.get(parameter, {}).items():
                parts.setdefault(f"optimiser.{kind}", {})[name] = value
        return parts

    @torch.no_grad()
    def restore(self, parts: Parts, step: int) -> None:
        """Continue from a saved state."""
        _copy_into(self.model, parts["weight"])
        if self.average is not None:
            self.average.restore(parts["average"])
        for name, parameter in self.model.named_parameters():
            for kind, named in parts.items():
                if kind.startswith("optimiser.") and name in named:
                    key = kind.removeprefix("optimiser.")
                    self.optimiser.state[parameter][key] = _like(named[name], parameter)
        progress = parts["progress"]
        summed = progress["loss"].to(self.device), int(progress["losses"])
        self.split.parts = int(progress["parts"])
        self.at = Progress(step, summed)

    def _zero(self) -> torch.Tensor:
        return torch.zeros((), device=self.device)


@torch.no_grad()
def _copy_into(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])


def _like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A buffer where and as the parameter lies; the optimiser's own counters stay scalars."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, requires_grad=False).copy_(value)
