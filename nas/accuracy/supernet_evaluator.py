"""Scoring architectures with the supernet's weights, as they are or after training from them."""

from __future__ import annotations

from dataclasses import dataclass

from nas.accuracy.finetune import Finetuner
from nas.accuracy.score import SEARCH, Fidelity, Metric, Score
from nas.accuracy.scoring import recalibrate, score_model
from nas.data import Dataset
from nas.models import Supernet
from nas.space.architecture import Architecture


@dataclass(frozen=True)
class SupernetEvaluator:
    """Validation accuracy of the supernet's slice, recalibrated or trained by itself.

    Attributes:
        supernet: Trained weights.
        dataset: Its data.
        recalibration_images: Training images for the batch-norm statistics.
        validation_images: How many are scored; the first ones, which are a random sample.
        finetuner: Trains slices; not needed where none is asked for.
        metric: What is scored.
    """

    supernet: Supernet
    dataset: Dataset
    recalibration_images: int
    validation_images: int
    finetuner: Finetuner | None = None
    metric: Metric = "accuracy"

    def evaluate(self, architecture: Architecture, fidelity: Fidelity = SEARCH) -> Score:
        """Score one architecture at its own resolution, with its loss if nothing is trained.

        By their loss slices rank as after real training better than by their accuracy; of networks
        that were trained by themselves that is not known.

        Raises:
            ValueError: The fidelity has steps, and there is nothing to train with.
        """
        if fidelity.steps:
            if self.finetuner is None:
                raise ValueError(f"nothing to train with for the fidelity {fidelity.name}")
            model = self.finetuner.train(architecture, fidelity.steps)
        else:
            model = self.supernet.subnet(architecture)
            recalibrate(model, self.dataset, self.recalibration_images)
        split, images = self.dataset.validation, self.validation_images
        return score_model(
            model, self.dataset, split, images, self.metric, with_loss=not fidelity.steps
        )
