"""An accuracy with what is needed to judge it: how many images, and the interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from nas.space.architecture import Architecture

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy on a number of images."""

    correct: int
    images: int

    @property
    def value(self) -> float:
        """Share of images whose class was named; NaN for no images."""
        return self.correct / self.images if self.images else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share (Wilson 1927, doi:10.2307/2276774)."""
        if not self.images:
            return 0.0, 1.0
        n, p = self.images, self.value
        centre = p + Z_95**2 / (2 * n)
        spread = Z_95 * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n * n))
        scale = 1 + Z_95**2 / n
        return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)

    def to_json(self, **extra: str) -> dict[str, Any]:
        """For `front.json`; `extra` says how and on which file it was measured."""
        return {
            "value": self.value,
            "correct": self.correct,
            "images": self.images,
            "interval": list(self.interval),
            **extra,
        }


@dataclass(frozen=True)
class Fidelity:
    """How well an architecture is scored: the better, the dearer.

    Attributes:
        name: `supernet`, `short training`; finalists have their full training.
        steps: For how many optimiser steps it is trained by itself before, beginning with the
            supernet's weights; none: scored with those. An evaluator that trains from scratch does
            so for these steps; none: for all of its recipe.
    """

    name: str
    steps: int


SUPERNET = Fidelity("supernet", 0)
SHORT_TRAINING = "short training"


class Evaluator(Protocol):
    """Scores architectures on the validation images."""

    def evaluate(self, architecture: Architecture, fidelity: Fidelity = SUPERNET) -> Score:
        """The score that the search maximises; the same at this fidelity whenever it is asked."""
        ...
