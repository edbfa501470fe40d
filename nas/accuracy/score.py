"""An accuracy with what is needed to judge it: how many images, and the interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from nas.space.architecture import Architecture

Z_95 = 1.959963984540054
Metric = Literal["accuracy", "balanced"]
"""Share of the images whose class was named, or the mean of that share over the classes."""
METRIC_WORDS: dict[Metric, str] = {
    "accuracy": "top-1",
    "balanced": "balanced accuracy (the mean over the classes of their top-1)",
}


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy on a number of images, or its mean over classes.

    Attributes:
        correct: Images whose class was named.
        images: All of them.
        per_class: The same two numbers for each class that has images, where classes count alike
            (balanced accuracy); empty where images do.
        shares: Of the images, that leave at each exit and at the end; empty without exits.
        loss: Mean cross-entropy of the images at the network's end, or over the classes of their
            means, in nats; None where it does not count.
    """

    correct: int
    images: int
    per_class: tuple[tuple[int, int], ...] = ()
    shares: tuple[float, ...] = ()
    loss: float | None = None

    @property
    def metric(self) -> Metric:
        """What it is."""
        return "balanced" if self.per_class else "accuracy"

    @property
    def value(self) -> float:
        """Share of images whose class was named, or the mean of the classes'; NaN for no images."""
        if self.per_class:
            return sum(correct / images for correct, images in self.per_class) / len(self.per_class)
        return self.correct / self.images if self.images else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval: Wilson's, or for classes the one that is put together from theirs.

        Of a mean of shares the distances of Wilson's limits are added as variances are (Zou, Huang
        and Zhang 2009, doi:10.1016/j.csda.2008.09.033): few images of a class make it wide.
        """
        if not self.per_class:
            return wilson(self.correct, self.images)
        below = above = 0.0
        for correct, images in self.per_class:
            lower, upper = wilson(correct, images)
            below += (correct / images - lower) ** 2
            above += (upper - correct / images) ** 2
        classes = len(self.per_class)
        value = self.value
        low, high = value - math.sqrt(below) / classes, value + math.sqrt(above) / classes
        return max(0.0, low), min(1.0, high)

    def to_json(self, **extra: str) -> dict[str, Any]:
        """For `front.json`; `extra` says how and on which file it was measured."""
        return {
            "value": self.value,
            "correct": self.correct,
            "images": self.images,
            "interval": list(self.interval),
            "metric": self.metric,
            **extra,
        }


def wilson(correct: int, images: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, doi:10.2307/2276774); 0 to 1 for no images."""
    if not images:
        return 0.0, 1.0
    n, p = images, correct / images
    centre = p + Z_95**2 / (2 * n)
    spread = Z_95 * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n * n))
    scale = 1 + Z_95**2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def count_score(predicted: np.ndarray, labels: np.ndarray, metric: Metric) -> Score:
    """The score of predicted classes.

    Args:
        predicted: Class indices, N.
        labels: The right ones, N. Of a part of a split, classes without an image do not count.
        metric: Whether images or classes count alike.
    """
    right = predicted == labels
    score = Score(int(right.sum()), len(labels))
    if metric == "accuracy" or not len(labels):
        return score
    images = np.bincount(labels)
    correct = np.bincount(labels[right], minlength=len(images))
    pairs = zip(correct.tolist(), images.tolist(), strict=True)
    return Score(score.correct, score.images, tuple(pair for pair in pairs if pair[1]))


def mean_loss(logits: np.ndarray, labels: np.ndarray, metric: Metric) -> float:
    """Mean cross-entropy in nats, of the images or over the classes of their means; NaN for none.

    Args:
        logits: `N x classes`.
        labels: The right classes, N.
        metric: Whether images or classes count alike.
    """
    if not len(labels):
        return math.nan
    exact = logits.astype(np.float64)
    shifted = exact - exact.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    if metric == "accuracy":
        return float(losses.mean())
    images = np.bincount(labels)
    sums = np.bincount(labels, weights=losses)
    return float((sums[images > 0] / images[images > 0]).mean())


@dataclass(frozen=True)
class Fidelity:
    """How well an architecture is scored: the better, the dearer.

    Attributes:
        name: `search`, `short training`; finalists have their full training.
        steps: For how many optimiser steps it is trained by itself before: from the supernet's
            weights, or from scratch. None: what the evaluator does without being told, which is
            to score with the supernet's weights, or to train for its own number of steps.
    """

    name: str
    steps: int


SEARCH = Fidelity("search", 0)
"""Of the trials that a sampler proposes."""
SHORT_TRAINING = "short training"


class Evaluator(Protocol):
    """Scores architectures on the validation images."""

    def evaluate(self, architecture: Architecture, fidelity: Fidelity = SEARCH) -> Score:
        """The score that the search maximises; the same at this fidelity whenever it is asked."""
        ...
