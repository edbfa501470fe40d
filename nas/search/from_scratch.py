"""How much work a run does that trains every architecture from scratch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from nas.accuracy.device import training_device
from nas.accuracy.recipe import Recipe
from nas.accuracy.scoring import score_model
from nas.accuracy.training import Trainer
from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.data import Dataset
from nas.models import build_model
from nas.models.build import Model
from nas.search.settings import SearchSettings
from nas.search.watch import TrialWatcher
from nas.search.work import (
    MAX_STEPS,
    SHORT_SHARE,
    Speeds,
    Work,
    median_s,
    promoted,
    scoring_s,
    time_file_image,
)
from nas.space.architecture import Architecture, Network
from nas.space.space import SearchSpace

RECIPE = Recipe(epochs=30)
"""As `nas train` has it."""
DIGITS_STEPS = 300
"""Of a finalist; with so few images that is 18 epochs."""
PROMOTED_SHARE = 0.5
"""Of the steps of a finalist that a promoted architecture has."""
TRAINING_SHARE = 0.95
"""Of a time limit."""
FEWEST_STEPS = 5
"""Of a training, however short the time limit is."""


def training_work(settings: SearchSettings, dataset: Dataset) -> Work:
    """Work without a time limit.

    Of a finalist's steps a trial has a quarter, and what is promoted a half.
    """
    images = len(dataset.train.labels)
    steps = DIGITS_STEPS if settings.data is None else RECIPE.steps(images)
    finalist = settings.finetune_steps or steps
    return _work(settings, dataset, finalist, settings.trial_steps)


def limited_training_work(
    settings: SearchSettings, dataset: Dataset, speeds: Speeds, limit_s: float, models: int
) -> Work:
    """Work that takes about `limit_s`, with the same shares unless steps are given.

    Args:
        settings: Of the run; numbers of steps given there are kept, and the other uses the time.
        dataset: Its data.
        speeds: Timed on this machine.
        limit_s: Seconds in all.
        models: Finalists and baselines.
    """
    work = training_work(settings, dataset)
    checked = len(dataset.validation.labels) + len(dataset.test.labels)
    scoring = scoring_s(work.validation_images, work.recalibration_images, speeds)
    other_s = (settings.trials + work.promoted) * scoring + models * checked * speeds.file_image
    left_s = TRAINING_SHARE * limit_s - other_s
    trials_s, models_s = settings.trials * speeds.trial_step, models * speeds.finetune_step
    promoted_s = work.promoted * speeds.finetune_step
    trial, short, finalist = settings.trial_steps, settings.short_steps, settings.finetune_steps
    if finalist is None:
        given_s = (trial or 0) * trials_s + (short or 0) * promoted_s
        shared_s = models_s
        shared_s += 0 if trial else SHORT_SHARE * trials_s
        shared_s += 0 if short else PROMOTED_SHARE * promoted_s
        finalist = _whole((left_s - given_s) / shared_s)
    elif trial is None:
        given_s = finalist * models_s + (short or PROMOTED_SHARE * finalist) * promoted_s
        trial = _whole((left_s - given_s) / trials_s)
    return _work(settings, dataset, finalist, trial)


def _whole(steps: float) -> int:
    return min(MAX_STEPS, max(FEWEST_STEPS, round(steps)))


def _work(
    settings: SearchSettings, dataset: Dataset, finalist: int, trial: int | None = None
) -> Work:
    """Work with so many steps of each; a trial has a quarter of a finalist's if not given."""
    trial, again = trial or max(1, round(SHORT_SHARE * finalist)), promoted(settings)
    short = settings.short_steps or max(trial, round(PROMOTED_SHARE * finalist))
    return Work(
        supernet_steps=0,
        promoted=again,
        short_steps=short if again else 0,
        finetune_steps=finalist,
        batch_size=RECIPE.batch_size,
        recalibration_images=min(RECIPE.recalibration_images, len(dataset.train.labels)),
        validation_images=len(dataset.validation.labels),
        trial_steps=trial,
    )


def time_training(
    space: SearchSpace, dataset: Dataset, trials: Sequence[Architecture], middle: Architecture
) -> Speeds:
    """Time a few pieces of the work.

    Args:
        space: Of the architectures.
        dataset: Its data.
        trials: Random architectures within the limits: those of the trials cost about as much.
        middle: One that costs about as much as finalists and baselines.
    """
    classes = len(dataset.classes)
    model, step_s = _timed_training(space.network(middle, classes), dataset)
    steps_s = [_timed_training(space.network(trial, classes), dataset)[1] for trial in trials]
    images = len(dataset.validation.labels)
    score = partial(score_model, model, dataset, dataset.validation, images, "accuracy")
    score_image_s = median_s(score, repeats=1) / images
    file_image_s = time_file_image(space.network(middle, classes)) + score_image_s
    return Speeds(0.0, score_image_s, step_s, file_image_s, statistics.fmean(steps_s))


def _timed_training(network: Network, dataset: Dataset) -> tuple[Model, float]:
    """A model after a few steps of its training, and seconds of one."""
    model = build_model(network, seed=0).to(training_device())
    trainer = Trainer(model, dataset, RECIPE, seed=0)
    step_s = median_s(trainer.train_step, repeats=3)
    return model.eval(), step_s


def training_evaluator(
    space: SearchSpace,
    dataset: Dataset,
    settings: SearchSettings,
    work: Work,
    watcher: TrialWatcher,
) -> TrainingEvaluator:
    """Scores trials, and makes finalists by more steps of the same recipe."""
    return TrainingEvaluator(
        space,
        dataset,
        replace(RECIPE, metric=settings.metric),
        settings.seed,
        work.validation_images,
        watcher.say,
        work.trial_steps,
        watcher.step,
    )
