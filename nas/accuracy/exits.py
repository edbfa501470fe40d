"""Where inference ends in a network with exits, and what that costs on average.

An image leaves at the first exit whose largest probability reaches that exit's threshold
(Teerapittayanon et al. 2016, arXiv:1709.01686, with the probability in place of the entropy), or at
the end. Logits here are of every exit and then of the end, `E x N x classes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nas.accuracy.score import Metric, count_score

NEVER = 1.01
"""A threshold that no probability reaches."""
GRID = (NEVER, 0.999, 0.995, *(round(step / 100, 2) for step in range(99, 19, -1)))
"""Thresholds that are tried; of those that cost the same the first is taken, which is safest."""
ROUNDS = 4
"""Over all exits, after which thresholds are taken as they are."""

Places = npt.NDArray[np.int64]


def confidences(logits: np.ndarray) -> np.ndarray:
    """The largest probability of each image at each exit and at the end, `E x N`."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(1 / np.exp(shifted).sum(axis=-1))


def leaving_places(logits: np.ndarray, thresholds: Sequence[float]) -> Places:
    """Number of the exit where each image leaves, `N`; `E - 1` is the end.

    Args:
        logits: `E x N x classes`.
        thresholds: Of each exit, `E - 1` of them.
    """
    return _leaving(confidences(logits), thresholds)


def _leaving(sure: np.ndarray, thresholds: Sequence[float]) -> Places:
    passed = sure >= np.array([*thresholds, 0.0])[:, None]
    return np.asarray(passed.argmax(axis=0))


def leaving_shares(places: Places, exits: int) -> tuple[float, ...]:
    """Share of the images that leave at each exit and at the end, which sum to 1."""
    counts = np.bincount(places, minlength=exits + 1)
    return tuple(float(share) for share in counts / max(1, len(places)))


def predicted_classes(logits: np.ndarray, places: Places) -> Places:
    """The class of each image where it leaves, `N`."""
    return np.asarray(logits.argmax(axis=-1)[places, np.arange(logits.shape[1])])


def expected_cost(costs: Sequence[float], shares: Sequence[float]) -> float:
    """The mean cost of an inference.

    Args:
        costs: Of an inference that leaves at each exit and at the end: all that ran until then.
        shares: Of the images that leave there.
    """
    return float(np.dot(costs, shares))


def choose_thresholds(
    logits: np.ndarray, labels: np.ndarray, costs: Sequence[float], metric: Metric = "accuracy"
) -> tuple[float, ...]:
    """Thresholds of the least expected cost that leave no less accurate than the end alone is.

    A common one first, then that of each exit by itself while it helps.

    Args:
        logits: Of validation images, `E x N x classes`.
        labels: Their classes, `N`.
        costs: As `expected_cost` has them, rising.
        metric: What must not fall.

    Raises:
        ValueError: A later exit does not cost more.
    """
    if any(later <= earlier for earlier, later in pairwise(costs)):
        raise ValueError(f"costs until each exit rise, got {list(costs)}")
    exits, sure, classes = len(costs) - 1, confidences(logits), logits.argmax(axis=-1)
    images = np.arange(len(labels))
    least = count_score(classes[-1], labels, metric).value

    def cost(thresholds: Sequence[float]) -> float:
        places = _leaving(sure, thresholds)
        if count_score(classes[places, images], labels, metric).value < least:
            return float("inf")
        return expected_cost(costs, leaving_shares(places, exits))

    best = min(([value] * exits for value in GRID), key=cost)
    for _ in range(ROUNDS):
        before = list(best)
        for exit_ in range(exits):
            options = [[*best[:exit_], value, *best[exit_ + 1 :]] for value in GRID]
            best = min(options, key=cost)
        if best == before:
            break
    return tuple(best)
