"""Training architectures by themselves, from the supernet's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas.accuracy.device import deterministic
from nas.accuracy.recipe import Recipe
from nas.accuracy.training import Trainer
from nas.data import Dataset
from nas.models import Supernet
from nas.models.build import Model
from nas.space.architecture import Architecture

FINETUNING = Recipe(
    epochs=3,
    batch_size=32,
    learning_rate=0.05,
    weight_decay=1e-4,
    label_smoothing=0.0,
    ema_decay=0.0,
)
"""How finalists are trained: docs/decisions/0021-no-teacher-for-finalists.md."""


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
        """What trains it."""
        seed = (self.seed + int(architecture.id, 16)) % 2**31
        return Trainer(
            self.supernet.subnet(architecture), self.dataset, self.recipe, seed, steps=steps
        )
