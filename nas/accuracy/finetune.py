"""Training architectures by themselves, from the supernet's weights and taught by its largest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from nas.accuracy.device import deterministic
from nas.accuracy.recipe import Recipe
from nas.accuracy.scoring import recalibrate
from nas.accuracy.teacher import model_teacher
from nas.accuracy.training import Trainer
from nas.data import Dataset
from nas.models import Supernet
from nas.models.build import Model
from nas.space import sample as sampling
from nas.space.architecture import Architecture

FINETUNING = Recipe(
    epochs=3,
    batch_size=32,
    learning_rate=0.05,
    weight_decay=1e-4,
    label_smoothing=0.0,
    ema_decay=0.0,
)
"""How finalists are trained: docs/decisions/0004-supernet-recipe.md."""


@dataclass(frozen=True)
class Finetuner:
    """Trains architectures by themselves, beginning with the supernet's weights.

    Attributes:
        supernet: Trained weights.
        dataset: Its data.
        recipe: How; the steps are given for each.
        seed: Of the run.
    """

    supernet: Supernet
    dataset: Dataset
    recipe: Recipe
    seed: int

    @cached_property
    def teacher(self) -> Model:
        """The supernet's largest network, ready to be asked."""
        supernet = self.supernet
        teacher = supernet.subnet(sampling.largest(supernet.space, supernet.plan))
        recalibrate(teacher, self.dataset, self.recipe.recalibration_images)
        return teacher

    def train(
        self,
        architecture: Architecture,
        steps: int,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> Model:
        """A network of its own, in evaluation mode; the same whatever was trained before.

        Raises:
            MemoryFullError: The device has too little memory.
        """
        with deterministic():
            trainer = self.trainer(architecture, steps)
            trainer.train(on_step)
            return trainer.finished_model()

    def trainer(self, architecture: Architecture, steps: int) -> Trainer:
        """What trains it; images are as large as the teacher wants them."""
        return Trainer(
            self.supernet.subnet(architecture),
            self.dataset,
            self.recipe,
            (self.seed + int(architecture.id, 16)) % 2**31,
            model_teacher(self.teacher),
            steps=steps,
            resolution=self.teacher.network.resolution,
        )
