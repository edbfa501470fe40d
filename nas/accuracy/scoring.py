"""Scoring a model: batch-norm statistics for its weights, logits, and how many are right."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from nas.accuracy.device import mixed_precision
from nas.accuracy.exits import (
    choose_thresholds,
    leaving_places,
    leaving_shares,
    predicted_classes,
)
from nas.accuracy.memory import Split
from nas.accuracy.score import Metric, Score, count_score, mean_loss
from nas.data import Dataset, ImageSplit
from nas.data.augment import to_batch
from nas.models.build import Model

BATCH = 128


@torch.no_grad()
def recalibrate(model: Model, dataset: Dataset, images: int) -> None:
    """Set batch-norm statistics to the mean over plain training images; model is left in eval.

    Source: Yu and Huang 2019, arXiv:1903.05134, section 3.
    """
    device = next(model.parameters()).device
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    model.train()
    pixels = dataset.train.at(model.network.resolution)
    count = min(images, len(pixels))
    batches = max(1, count // BATCH)
    with mixed_precision(device):
        for index in range(batches):
            start, stop = count * index // batches, count * (index + 1) // batches
            model.every_logits(to_batch(pixels[start:stop], dataset.mean, dataset.std, device))
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


@torch.no_grad()
def logits_of(model: Model, dataset: Dataset, split: ImageSplit, images: int) -> torch.Tensor:
    """Float32 logits of the first images of a split, fewer at a time where memory is short.

    Returns:
        Those of every exit and then of the end, `E x N x classes`.

    Raises:
        MemoryFullError: Not even a few images fit into the device's memory.
    """
    device = next(model.parameters()).device
    pixels = split.at(model.network.resolution)[:images]
    model.eval()
    memory = Split(device, BATCH)

    def logits(start: int) -> torch.Tensor:
        size = -(-BATCH // memory.parts)
        batch = to_batch(pixels[start : start + BATCH], dataset.mean, dataset.std, device)
        pieces = batch.tensor_split(list(range(size, len(batch), size)))
        return torch.cat([model.every_logits(piece).cpu() for piece in pieces], dim=1)

    starts = range(0, len(pixels), BATCH)
    return torch.cat([memory.run(partial(logits, start)) for start in starts], dim=1)


def score_model(
    model: Model,
    dataset: Dataset,
    split: ImageSplit,
    images: int,
    metric: Metric = "accuracy",
    *,
    with_loss: bool = False,
) -> Score:
    """The score of a torch model on the first images of a split, with its end's loss if asked for.

    With exits, where images leave by thresholds that are chosen on these for few multiply-adds: no
    less accurate than the end, but less sure, so that the loss there would tell against exits.
    """
    logits = logits_of(model, dataset, split, images).numpy()
    labels, until = split.labels[:images], model.network.macs_until_exits
    loss = mean_loss(logits[-1], labels, metric) if with_loss else None
    if len(logits) == 1:
        return replace(count_score(logits[0].argmax(axis=1), labels, metric), loss=loss)
    places = leaving_places(logits, choose_thresholds(logits, labels, until, metric))
    score = count_score(predicted_classes(logits, places), labels, metric)
    return replace(score, shares=leaving_shares(places, len(logits) - 1), loss=loss)
