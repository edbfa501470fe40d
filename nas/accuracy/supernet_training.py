"""Training a supernet: the sandwich rule, with in-place distillation in the later part.

Each step runs the largest network, the smallest and some random ones (Yu and Huang 2019,
arXiv:1903.05134). All learn from the labels; once the largest knows something, the others learn
from its output too (docs/decisions/0004-supernet-recipe.md has the measurements). Steps depend on
nothing but the seed and their number, so training stopped anywhere continues as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from nas.accuracy.device import mixed_precision, resize, training_batch
from nas.accuracy.losses import log_shares, on_labels, over_exits, with_teacher
from nas.accuracy.memory import Split, memory_errors
from nas.accuracy.score import Metric
from nas.data import Dataset, batch_indices
from nas.models import Supernet
from nas.space import sample as sampling
from nas.space.architecture import Architecture


@dataclass(frozen=True)
class SupernetSettings:
    """How a supernet is trained; all of it is part of what a checkpoint belongs to.

    Attributes:
        steps: Optimiser steps in all.
        batch_size: Images for each step.
        learning_rate: At its highest; rises over the first tenth, then falls as a cosine to 0.
        weight_decay: On weights of convolutions and linear layers only.
        random_networks: Between the largest and the smallest, for each step.
        sandwich: Whether each step runs the largest and the smallest as well; without the largest
            there is no distillation.
        label_smoothing: Of the loss on labels.
        teacher_share: Of the loss that is distillation, for all but the largest network.
        teacher_start: Share of the steps that pass before the distillation starts.
        progressive: Whether the first steps are on smaller images (as in arXiv:2104.00298), which
            cost less.
        metric: What scores are of: where classes count alike, they do so in the loss.
        seed: Of weights, order, augmentation and drawn networks.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 0.2
    weight_decay: float = 1e-4
    random_networks: int = 2
    sandwich: bool = True
    label_smoothing: float = 0.1
    teacher_share: float = 0.5
    teacher_start: float = 0.5
    progressive: bool = False
    metric: Metric = "accuracy"
    seed: int = 0

    def to_json(self) -> dict[str, int | float | str]:
        """For checkpoints and `run.yaml`; the usual metric is not named, as in older ones."""
        found = asdict(self)
        if self.metric == "accuracy":
            del found["metric"]
        return found

    @property
    def stages(self) -> tuple[tuple[float, float], ...]:
        """Until which share of the steps images have which share of their side."""
        return PROGRESSIVE if self.progressive else WHOLE

    def scale(self, step: int) -> float:
        """Of the images' side in a step."""
        return next(scale for until, scale in self.stages if step < until * self.steps)

    def work(self, step: int) -> float:
        """What all steps before this one cost, in steps on whole images."""
        done, begun = 0.0, 0.0
        for until, scale in self.stages:
            within = max(0.0, min(step, until * self.steps) - begun)
            done += within * (FIXED_COST + (1 - FIXED_COST) * scale**2)
            begun = until * self.steps
        return done


MOMENTUM = 0.9
WARMUP_SHARE = 0.1
GRADIENT_NORM = 5.0
WHOLE = ((1.0, 1.0),)
FIXED_COST = 0.2
"""Share of a step's time that does not depend on the images' size: docs/decisions/0018."""
PROGRESSIVE = ((0.6, 0.625), (0.84, 0.8125), *WHOLE)
"""As `SupernetSettings.stages` has them."""


class _Batch(NamedTuple):
    """Images of a step `N x 3 x R x R`, labels `N`, and two shares.

    Attributes:
        images: Augmented and normalised.
        labels: Of each image.
        share: Of the step's images.
        scale: Share of their side that they are seen at.
    """

    images: torch.Tensor
    labels: torch.Tensor
    share: float
    scale: float


class SupernetTrainer:
    """A supernet, its optimiser, and the step they are at."""

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        settings: SupernetSettings,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.supernet, self.dataset, self.settings = supernet, dataset, settings
        self.step = 0
        self.intact = True
        """Whether weights and step belong together: not in the middle of an update."""
        self.device = next(supernet.parameters()).device
        self.largest = sampling.largest(supernet.space, supernet.plan)
        self.smallest = sampling.smallest(supernet.space, supernet.plan)
        self.optimiser = sgd(supernet, settings.learning_rate, settings.weight_decay)
        images = min(settings.batch_size, len(dataset.train.labels))
        self.split = Split(self.device, images, say)
        self.shares = log_shares(dataset, settings.metric, self.device)

    def train(self, on_step: Callable[[int], None] = lambda step: None) -> None:
        """Do the steps that are left; `on_step` is called after each with the number done.

        Raises:
            MemoryFullError: Not even a few images fit into the device's memory.
        """
        with memory_errors(self.device):
            while self.step < self.settings.steps:
                self.train_step()
                on_step(self.step)

    def train_step(self) -> None:
        """One optimiser step; out of memory, its images go in twice as many parts.

        Raises:
            MemoryFullError: Not even a few images fit into the device's memory.
        """
        rate = cosine_rate(self.step, self.settings.steps, self.settings.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.backward(self.step)
        nn.utils.clip_grad_norm_(self.supernet.parameters(), GRADIENT_NORM)
        self.intact = False
        self.optimiser.step()
        self.step += 1
        self.intact = True

    def backward(self, step: int) -> None:
        """The gradients of one step's networks, in place of those before.

        Raises:
            MemoryFullError: Not even a few images fit into the device's memory.
        """
        self.split.run(lambda: self._gradients(step))

    def _gradients(self, step: int) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        settings = self.settings
        seed = _mixed_seed(settings.seed, step)
        indices = batch_indices(
            len(self.dataset.train.labels), settings.batch_size, step, settings.seed
        )
        resolution = self.largest.resolution
        images, labels = training_batch(self.dataset, indices, resolution, seed, self.device)
        drawn = self._drawn(seed)
        for part in self.split.shares(images, labels):
            self._backward_all(_Batch(*part, settings.scale(step)), drawn, step)

    def _backward_all(self, batch: _Batch, drawn: list[Architecture], step: int) -> None:
        """Add the gradients of all of a step's networks."""
        settings, target = self.settings, None
        if settings.sandwich:
            logits = self._backward_of(self.largest, batch, None)
            taught = step >= settings.teacher_start * settings.steps
            target = logits.softmax(dim=1) if taught else None
            drawn = [self.smallest, *drawn]
        for architecture in drawn:
            self._backward_of(architecture, batch, target)

    def _backward_of(
        self, architecture: Architecture, batch: _Batch, target: torch.Tensor | None
    ) -> torch.Tensor:
        """Add one network's gradients; return its end's logits, `N x classes`, float32."""
        images = resize(batch.images, round(batch.scale * architecture.resolution))
        with mixed_precision(self.device):
            logits = self.supernet(architecture, images).float()
        smoothing, share = self.settings.label_smoothing, self.settings.teacher_share

        def loss(logits: torch.Tensor) -> torch.Tensor:
            found = on_labels(logits, batch.labels, smoothing, self.shares)
            return found if target is None else with_teacher(found, logits, target, share)

        torch.autograd.backward(over_exits(logits, loss) * batch.share)
        return torch.as_tensor(logits[-1].detach())

    def _drawn(self, seed: int) -> list[Architecture]:
        rng = np.random.default_rng(seed)
        space, plan = self.supernet.space, self.supernet.plan
        return [sampling.sample(space, plan, rng) for _ in range(self.settings.random_networks)]

    def momentum(self) -> dict[str, torch.Tensor]:
        """The optimiser's buffers by the names of the weights."""
        found = {}
        for name, parameter in self.supernet.weights.items():
            buffer = self.optimiser.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                found[name] = buffer
        return found

    @torch.no_grad()
    def restore(
        self, weights: Mapping[str, torch.Tensor], momentum: Mapping[str, torch.Tensor], step: int
    ) -> None:
        """Continue from a saved state."""
        for name, parameter in self.supernet.weights.items():
            parameter.copy_(weights[name])
            if name in momentum:
                buffer = torch.empty_like(parameter).copy_(momentum[name])
                self.optimiser.state[parameter]["momentum_buffer"] = buffer
        self.step = step


def sgd(module: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum; vectors (norms and biases) do not decay."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=learning_rate, momentum=MOMENTUM, nesterov=True)


def cosine_rate(step: int, steps: int, highest: float) -> float:
    """Learning rate of a step: linear warm-up over the first tenth, then a cosine to zero."""
    warmup = max(1, round(steps * WARMUP_SHARE))
    if step < warmup:
        return highest * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return highest * 0.5 * (1 + math.cos(math.pi * progress))


def _mixed_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)
