"""Scoring architectures by training each of them from random weights: dear, and what is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas.accuracy.device import training_device
from nas.accuracy.recipe import Recipe
from nas.accuracy.score import SEARCH, Fidelity, Metric, Score
from nas.accuracy.scoring import score_model
from nas.accuracy.training import Trainer
from nas.data import Dataset
from nas.models import build_model
from nas.models.build import Model
from nas.space.architecture import Architecture
from nas.space.space import SearchSpace


@dataclass(frozen=True)
class TrainingEvaluator:
    """Validation accuracy after training by a recipe.

    Attributes:
        space: Of the architectures.
        dataset: Decoded at their resolutions.
        recipe: How each is trained, and what is scored.
        seed: With the architecture it decides weights, order and augmentation.
        validation_images: How many are scored; the first ones, which are a random sample.
        say: Hears what a user should know.
        steps: Of each training, where its fidelity says none; all of the recipe's if not given.
        on_step: Called with the number done, and how many there are, while one is scored.
    """

    space: SearchSpace
    dataset: Dataset
    recipe: Recipe
    seed: int
    validation_images: int
    say: Callable[[str], None] = lambda text: None
    steps: int | None = None
    on_step: Callable[[int, int], None] = lambda step, steps: None

    @property
    def metric(self) -> Metric:
        """What is scored."""
        return self.recipe.metric

    def evaluate(self, architecture: Architecture, fidelity: Fidelity = SEARCH) -> Score:
        """Score one architecture at its own resolution, whatever was scored before.

        Raises:
            MemoryFullError: The device has too little memory.
        """
        steps = fidelity.steps or self.steps or self.recipe.steps(len(self.dataset.train.labels))
        model = self.train(architecture, steps, lambda step: self.on_step(step, steps))
        split, images = self.dataset.validation, self.validation_images
        return score_model(model, self.dataset, split, images, self.metric)

    def train(
        self,
        architecture: Architecture,
        steps: int | None = None,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> Model:
        """The network, trained for so many steps or for all of the recipe's epochs."""
        seed = (self.seed + int(architecture.id, 16)) % 2**31
        network = self.space.network(architecture, len(self.dataset.classes))
        model = build_model(network, seed).to(training_device())
        trainer = Trainer(model, self.dataset, self.recipe, seed, say=self.say, steps=steps)
        trainer.train(on_step)
        return trainer.finished_model()
