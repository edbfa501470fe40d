"""What a linear model on a few pixels reaches: less than that, and a network has learned little."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from nas.accuracy.score import Metric, Score, count_score
from nas.data import Dataset, ImageSplit

SIDE = 8
MOST_IMAGES = 10_000
"""To be fitted to."""
RIDGE = 0.01
"""Times the mean variance of a feature."""
CHUNK = 128
"""Images that are in memory as floats at a time."""

Floats = npt.NDArray[np.float64]


def linear_score(dataset: Dataset, images: int, metric: Metric = "accuracy") -> Score:
    """The score of ridge regression on means of 8 x 8 parts of an image (one target per class).

    It is fitted to the first 10,000 training images at the smallest resolution that is there.

    Args:
        dataset: Its data.
        images: How many validation images are scored, the first ones.
        metric: Where classes count alike, they do so in fitting as well.
    """
    train, validation = dataset.train, dataset.validation
    resolution = min(train.images)
    features = _features(train, resolution, MOST_IMAGES)
    labels = train.labels[: len(features)]
    counts = np.bincount(labels, minlength=len(dataset.classes))
    weights = 1.0 / counts[labels] if metric == "balanced" else np.ones(len(labels))
    weights /= weights.sum()
    usual = np.bincount(labels, weights, minlength=len(counts))
    middle = weights @ features
    centred = features - middle
    weighted = weights[:, None] * centred
    covariance = centred.T @ weighted
    ridge = RIDGE * covariance.trace() / len(covariance) + np.finfo(float).tiny
    # Of each class; as they are centred, the usual target drops out.
    sums = np.zeros((len(counts), len(covariance)))
    np.add.at(sums, labels, weighted)
    slopes = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), sums.T)
    predicted = (_features(validation, resolution, images) - middle) @ slopes + usual
    return count_score(predicted.argmax(axis=1), validation.labels[:images], metric)


def _features(split: ImageSplit, resolution: int, images: int) -> Floats:
    """Mean colours of `SIDE x SIDE` parts of the first images, `N x 3 SIDE SIDE`, from 0 to 1."""
    pixels = split.at(resolution)[:images]
    parts = [
        torch.nn.functional.adaptive_avg_pool2d(
            torch.from_numpy(np.array(pixels[start : start + CHUNK]))
            .permute(0, 3, 1, 2)
            .to(torch.float32),
            SIDE,
        ).flatten(1)
        for start in range(0, len(pixels), CHUNK)
    ]
    found: Floats = torch.cat(parts).numpy().astype(np.float64) / 255
    return found
