"""How much work a run does: numbers of steps and images, fixed before it begins."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from nas.accuracy.device import training_device
from nas.accuracy.finetune import FINETUNING, Finetuner
from nas.accuracy.score import SHORT_TRAINING, Fidelity
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.data import Dataset
from nas.export.graph import GraphTarget, random_weights
from nas.export.onnx_file import CHUNK, run_onnx, write_onnx
from nas.models import Supernet
from nas.search.settings import SearchSettings
from nas.space import sample as sampling
from nas.space.architecture import Architecture, Network
from nas.space.space import SearchSpace
from nas.units import format_duration_s

BATCH_SIZE = 32
CUDA_SUPERNET_BATCH = 256
"""There a step on 32 images takes as long, most of which the GPU waits."""
PHOTOS_LEARNING_RATE = 0.05
"""Of a supernet, with batches of 32; with 0.2 it learns far less (docs/decisions/0020).

In proportion to larger batches (Goyal et al. 2017, arXiv:1706.02677), up to that of the digits.
"""
DIGITS_SUPERNET_STEPS = 300
DIGITS_FINETUNE_STEPS = 50
SUPERNET_EPOCHS = 30
FINETUNE_EPOCHS = 3
RECALIBRATION_IMAGES = 512
MIN_VALIDATION_IMAGES = 500
PROMOTED_PER_FINALIST = 2
CHECKED_NETWORKS = 8
"""Random architectures with which a supernet is checked before the first trial."""
SHORT_SHARE = 0.25
"""Of the steps of a finalist that a short training has, or a trial's that is trained."""
MAX_STEPS = 10_000_000
TIMED_OF = 1000
"""Steps of a training, of which a few at the beginning of each of its stages are timed."""
LONGEST_WARM_UP_S = 20.0
"""On a GPU, before a piece of work is timed."""
SETTLED = 0.8
"""Of the duration before: a piece of work that takes less still becomes faster."""
SUPERNET_SHARE, SCORING_SHARE, FINALISTS_SHARE = 0.60, 0.15, 0.20
"""Of a time limit."""


@dataclass(frozen=True)
class Work:
    """What is done, in steps and images, so that it does not depend on the clock.

    Attributes:
        supernet_steps: Of the supernet, a given one's too; none where there is no supernet.
        promoted: How many architectures are scored again after a longer training, for finalists to
            be chosen from; none: those are chosen by the trials' scores.
        short_steps: Optimiser steps of each of these.
        finetune_steps: Optimiser steps of each finalist and baseline.
        batch_size: Images for each of these steps.
        recalibration_images: For batch-norm statistics.
        validation_images: Scored for each trial (finalists are scored on all).
        trial_steps: Optimiser steps of each trial from scratch; none where there is a supernet.
        supernet_batch: Images for each step of the supernet.
    """

    supernet_steps: int
    promoted: int
    short_steps: int
    finetune_steps: int
    batch_size: int
    recalibration_images: int
    validation_images: int
    trial_steps: int = 0
    supernet_batch: int = BATCH_SIZE

    @property
    def short_training(self) -> Fidelity:
        """How well promoted architectures are scored."""
        return Fidelity(SHORT_TRAINING, self.short_steps)


@dataclass(frozen=True)
class Speeds:
    """Seconds of the pieces that work is made of, timed on this machine.

    Attributes:
        supernet_step: A step of the supernet; nothing where one is given.
        score_image: An image of a network's score.
        finetune_step: A step of the training of a finalist or a baseline.
        file_image: An image through an exported file, in onnxruntime and in torch.
        trial_step: A step of a trial's training, where trials are trained.
    """

    supernet_step: float
    score_image: float
    finetune_step: float
    file_image: float
    trial_step: float = 0.0


def default_work(settings: SearchSettings, dataset: Dataset) -> Work:
    """Work without a time limit: depends on settings and data alone."""
    images, batch = len(dataset.train.labels), supernet_batch(settings, dataset)
    if settings.data is None:
        supernet, finetune = DIGITS_SUPERNET_STEPS, DIGITS_FINETUNE_STEPS
    else:
        supernet = math.ceil(SUPERNET_EPOCHS * images / batch)
        finetune = math.ceil(FINETUNE_EPOCHS * images / BATCH_SIZE)
    finetune = settings.finetune_steps or finetune
    return Work(
        supernet_steps=settings.supernet_steps or supernet,
        promoted=promoted(settings),
        short_steps=settings.short_steps or max(1, round(SHORT_SHARE * finetune)),
        finetune_steps=finetune,
        batch_size=BATCH_SIZE,
        recalibration_images=min(RECALIBRATION_IMAGES, images),
        validation_images=len(dataset.validation.labels),
        supernet_batch=batch,
    )


def supernet_batch(settings: SearchSettings, dataset: Dataset) -> int:
    """Images for each step of the supernet, no more than there are to train on.

    By the device, if it is trained here and nothing else is wanted.
    """
    on_cuda = settings.supernet is None and training_device().type == "cuda"
    wanted = settings.supernet_batch or (CUDA_SUPERNET_BATCH if on_cuda else BATCH_SIZE)
    return min(wanted, len(dataset.train.labels))


def supernet_settings(settings: SearchSettings, steps: int, batch: int) -> SupernetSettings:
    """How a supernet is trained.

    On images of its user it begins on smaller ones, at a lower learning rate unless batches are
    large. The digits' are too small for that; on CUDA every further size waits for its code at
    first.
    """
    photos, rate = settings.data is not None, SupernetSettings.learning_rate
    if photos:
        rate = min(rate, PHOTOS_LEARNING_RATE * max(1.0, batch / BATCH_SIZE))
    return SupernetSettings(
        steps,
        batch,
        learning_rate=rate,
        progressive=photos and training_device().type != "cuda",
        metric=settings.metric,
        seed=settings.seed,
    )


def promoted(settings: SearchSettings) -> int:
    """How many of the trials are scored again; none where all of those would be finalists."""
    number = settings.promote
    if number is None:
        from_supernet = settings.evaluator == "supernet"
        number = PROMOTED_PER_FINALIST * settings.finalists if from_supernet else 0
    number = min(number, settings.trials)
    return number if number > settings.finalists else 0


def limited_work(
    settings: SearchSettings, dataset: Dataset, speeds: Speeds, limit_s: float, models: int
) -> Work:
    """Work that takes about `limit_s`: 60 % supernet, 15 % scoring, 20 % training.

    That is of the time that scoring the exported files leaves, which cannot be less: whatever the
    limit, at least half of it. What a given supernet, or given steps of it, leave of its share goes
    to the others.

    Args:
        settings: Of the run; numbers of steps given there are kept.
        dataset: Its data.
        speeds: Timed on this machine.
        limit_s: Seconds in all.
        models: Finalists and baselines that are fine-tuned.
    """
    default = default_work(settings, dataset)
    checked = len(dataset.validation.labels) + len(dataset.test.labels)
    limit_s = max(limit_s - models * checked * speeds.file_image, limit_s / 2)
    supernet = default.supernet_steps
    if settings.supernet is None and settings.supernet_steps is None:
        supernet = max(10, round(SUPERNET_SHARE * limit_s / speeds.supernet_step))
        supernet = min(MAX_STEPS, supernet)
    supernet_s = 0.0 if settings.supernet else supernet * speeds.supernet_step
    rest_s = max(limit_s - supernet_s, 0.0) / (1 - SUPERNET_SHARE)
    scored = CHECKED_NETWORKS + settings.trials + default.promoted
    per_trial = SCORING_SHARE * rest_s / scored / speeds.score_image
    recalibration = int(min(default.recalibration_images, max(256, per_trial / 4)))
    validation = int(
        min(default.validation_images, max(MIN_VALIDATION_IMAGES, per_trial - 2 * recalibration))
    )
    training_s = FINALISTS_SHARE * rest_s
    shared_by = models + SHORT_SHARE * default.promoted
    if settings.short_steps is not None:
        training_s -= default.promoted * settings.short_steps * speeds.finetune_step
        shared_by = models
    finetune = settings.finetune_steps or min(
        MAX_STEPS, max(5, round(training_s / shared_by / speeds.finetune_step))
    )
    return Work(
        supernet_steps=supernet,
        promoted=default.promoted,
        short_steps=settings.short_steps or max(1, round(SHORT_SHARE * finetune)),
        finetune_steps=finetune,
        batch_size=BATCH_SIZE,
        recalibration_images=recalibration,
        validation_images=validation,
        supernet_batch=default.supernet_batch,
    )


@dataclass(frozen=True)
class Estimate:
    """Seconds that the parts of a run will take."""

    supernet: float
    trials_training: float
    scoring: float
    short_training: float
    finalists: float

    @property
    def total(self) -> float:
        """All together."""
        return (
            self.supernet
            + self.trials_training
            + self.scoring
            + self.short_training
            + self.finalists
        )

    def __str__(self) -> str:
        parts = {
            "supernet": self.supernet,
            "training": self.trials_training,
            "scoring": self.scoring,
            "short training": self.short_training,
            "finalists": self.finalists,
        }
        told = ", ".join(f"{name} {format_duration_s(s)}" for name, s in parts.items() if s)
        return f"about {format_duration_s(self.total)} ({told})"


def estimate(
    work: Work, speeds: Speeds, dataset: Dataset, trials: int, models: int, steps_left: int
) -> Estimate:
    """How long `work` takes with these speeds."""
    per_score = scoring_s(work.validation_images, work.recalibration_images, speeds)
    checked = len(dataset.validation.labels) + len(dataset.test.labels)
    per_model = work.finetune_steps * speeds.finetune_step + checked * speeds.file_image
    checked_networks = CHECKED_NETWORKS if work.supernet_steps else 0
    per_short = work.short_steps * speeds.finetune_step + per_score
    return Estimate(
        steps_left * speeds.supernet_step,
        trials * work.trial_steps * speeds.trial_step,
        (checked_networks + trials) * per_score,
        work.promoted * per_short,
        models * per_model,
    )


def scoring_s(validation: int, recalibration: int, speeds: Speeds) -> float:
    """Of one architecture: recalibration runs it as scoring does, with a little more to do."""
    return (validation + 1.5 * recalibration) * speeds.score_image


def time_speeds(supernet: Supernet, dataset: Dataset, settings: SearchSettings) -> Speeds:
    """Time a few pieces of work on the untrained supernet, which is left as it was."""
    training = supernet_settings(settings, TIMED_OF, supernet_batch(settings, dataset))
    trainer = SupernetTrainer(supernet, dataset, training)
    middle = middle_baseline(supernet.space, supernet.plan)
    # As many images as a trial takes: what a trial costs beside its images is not counted twice.
    images = min(RECALIBRATION_IMAGES, len(dataset.validation.labels))
    recalibration = min(RECALIBRATION_IMAGES, len(dataset.train.labels))
    evaluator = SupernetEvaluator(supernet, dataset, recalibration, images)
    step_s = _mean_step_s(trainer) if settings.supernet is None else 0.0
    supernet.zero_grad(set_to_none=True)
    score_s = median_s(lambda: evaluator.evaluate(middle), repeats=1)
    finetuner = Finetuner(
        supernet, dataset, replace(FINETUNING, batch_size=BATCH_SIZE), settings.seed
    )
    finetune_s = median_s(finetuner.trainer(middle, MAX_STEPS).train_step, repeats=3)
    score_image_s = score_s / (images + 1.5 * recalibration)
    file_image_s = time_file_image(supernet.space.network(middle, supernet.classes))
    return Speeds(step_s, score_image_s, finetune_s, file_image_s + score_image_s)


def _mean_step_s(trainer: SupernetTrainer) -> float:
    """Seconds of a step's gradients, over all stages: each has images of another size."""
    found, begun = 0.0, 0.0
    for until, _ in trainer.settings.stages:
        steps = itertools.count(round(begun * trainer.settings.steps))
        step_s = median_s(partial(_next_gradients, trainer, steps), repeats=3)
        found += (until - begun) * step_s
        begun = until
    return found


def _next_gradients(trainer: SupernetTrainer, steps: Iterator[int]) -> None:
    trainer.backward(next(steps))


def middle_baseline(space: SearchSpace, plan: str) -> Architecture:
    """A typical network: the hand-made one at a middle width."""
    widths = sorted(space.file.width)
    return sampling.baseline(space, plan, widths[len(widths) // 2])


def time_file_image(network: Network) -> float:
    """One image through an exported file, as many at a time as there are threads."""
    pixels = np.zeros((CHUNK, network.resolution, network.resolution, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        files = write_onnx(
            Path(folder) / "speed.onnx", network, random_weights(seed=0), GraphTarget()
        )
        chunk_s = median_s(lambda: run_onnx(files, pixels, (0.5,) * 3, (0.25,) * 3), repeats=3)
    return chunk_s / CHUNK / torch.get_num_threads()


def median_s(action: Callable[[], object], repeats: int) -> float:
    """Median duration after one run that is not counted; on a GPU, once it falls no longer.

    There a layer's first run at a new size looks for its code: on an H100 the first supernet steps
    took 1.6 s each, later ones a small part of that.
    """
    action()
    begun = time.perf_counter()
    seconds = _of_several(action, repeats)
    while torch.cuda.is_available() and time.perf_counter() - begun < LONGEST_WARM_UP_S:
        before, seconds = seconds, _of_several(action, repeats)
        if seconds > SETTLED * before:
            break
    return seconds


def _of_several(action: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
