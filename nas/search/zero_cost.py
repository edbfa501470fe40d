"""What untrained networks tell before the first training (docs/decisions/0016-cheap-scores.md)."""

from __future__ import annotations

import math

import torch

from nas.accuracy.device import training_device
from nas.accuracy.zero_cost import naswot
from nas.data.augment import to_batch
from nas.search.candidates import random_architectures
from nas.search.preparation import Inputs
from nas.search.run_folder import RunFolder
from nas.search.watch import Watcher
from nas.space.architecture import Architecture

FEWEST_TRIALS = 32
"""With fewer the sampler does better without (measured)."""
SCORED, FEWEST = 64, 12
"""Architectures whose scores are learned from, and how few of those do."""
MOST_IMAGES, FEWEST_IMAGES = 64, 16
"""Of each: so many pixels as the most of 64 x 64 have, as every activation of all is compared."""
STAGE = "zero-cost scores"

ZeroCostScore = tuple[Architecture, float]


def zero_cost_scores(run: RunFolder, inputs: Inputs, watcher: Watcher) -> list[ZeroCostScore]:
    """NASWOT of random architectures within the limits, each in a fraction of a second.

    Only where every trial is a training from scratch, and there are many, that the front's sampler
    proposes: beside those they cost nothing. What was scored before a run was stopped is in its
    log.

    Returns:
        Architectures with their scores; none where there would be too few to learn from.
    """
    settings, dataset = inputs.settings, inputs.dataset
    if settings.evaluator != "training" or settings.sampler != "front":
        return []
    if settings.trials < FEWEST_TRIALS:
        return []
    drawn = random_architectures(inputs.costing, inputs.start, SCORED, settings.seed)
    known: dict[str, float] = run.logged(STAGE).get("scores", {})
    if not known:
        images, device = _images(max(inputs.space.plan(inputs.plan).resolutions)), training_device()
        labels = torch.from_numpy(dataset.train.labels[:images].copy()).to(device)
        for done, architecture in enumerate(drawn):
            watcher.progress(STAGE, done, len(drawn))
            pixels = dataset.train.at(architecture.resolution)[:images]
            batch = to_batch(pixels, dataset.mean, dataset.std, device), labels
            network = inputs.space.network(architecture, len(dataset.classes))
            known[architecture.id] = naswot(network, [batch], settings.seed)
        watcher.progress(STAGE, len(drawn), len(drawn))
        known = {name: score for name, score in known.items() if math.isfinite(score)}
        run.log(STAGE, scores=known)
    found = [(each, known[each.id]) for each in drawn if each.id in known]
    return found if len(found) >= FEWEST else []


def _images(resolution: int) -> int:
    """How many, the same for all networks: other images have other scores."""
    return max(FEWEST_IMAGES, min(MOST_IMAGES, MOST_IMAGES * 64**2 // resolution**2))
