"""Evaluators as plain values, that workers in other processes make them of again."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.accuracy.device import training_device
from nas.accuracy.finetune import Finetuner
from nas.accuracy.recipe import Recipe
from nas.accuracy.score import Metric
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.data import Dataset, ImageSplit
from nas.models import Supernet
from nas.space.schema import SpaceFile
from nas.space.space import SearchSpace

Images = dict[int, np.ndarray | Path]


@dataclass(frozen=True)
class DataState:
    """What of a data set scores depend on. Arrays may be read-only and shared between processes.

    Images are arrays, or the files that hold them, which are mapped on the same machine.

    Attributes:
        classes: Names in label order.
        train: Images that batch norm is recalibrated on, or that are trained on, by resolution.
        train_labels: Of these.
        validation: Images that are scored, by resolution.
        validation_labels: Of these.
        flip: Whether images may be mirrored in training.
        mean: Of the normalisation.
        std: Of the normalisation.
    """

    classes: tuple[str, ...]
    train: Images
    train_labels: np.ndarray
    validation: Images
    validation_labels: np.ndarray
    flip: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class SupernetState:
    """Everything that a supernet's scores depend on.

    Attributes:
        space: Content of the search space.
        plan: Its input plan.
        weights: Of the supernet, by name.
        data: The images.
        recalibration_images: How many of the training images are for batch norm.
        finetuning: How architectures are trained by themselves; `None` where they are not.
        seed: Of that.
        metric: What is scored.
    """

    space: dict[str, Any]
    plan: str
    weights: dict[str, np.ndarray]
    data: DataState
    recalibration_images: int
    finetuning: dict[str, Any] | None
    seed: int
    metric: Metric


@dataclass(frozen=True)
class TrainingState:
    """Everything that scores after training from scratch depend on.

    Attributes:
        space: Content of the search space.
        data: The images.
        recipe: How architectures are trained, and what is scored.
        steps: For how many steps; `None` for the recipe's.
        seed: Of the training.
    """

    space: dict[str, Any]
    data: DataState
    recipe: dict[str, Any]
    steps: int | None
    seed: int


def pack_evaluator(
    evaluator: SupernetEvaluator | TrainingEvaluator, *, here: bool
) -> SupernetState | TrainingState:
    """An evaluator without what scores do not need, such as training images if none is trained.

    Args:
        evaluator: To be made again.
        here: On this machine, where files of images need not travel.
    """
    dataset, scored = evaluator.dataset, evaluator.validation_images
    if isinstance(evaluator, TrainingEvaluator):
        return TrainingState(
            space=evaluator.space.content,
            data=_pack_data(dataset, len(dataset.train.labels), scored, here),
            recipe=asdict(evaluator.recipe),
            steps=evaluator.steps,
            seed=evaluator.seed,
        )
    supernet, finetuner = evaluator.supernet, evaluator.finetuner
    train = len(dataset.train.labels) if finetuner else evaluator.recalibration_images
    return SupernetState(
        space=supernet.space.content,
        plan=supernet.plan,
        weights={name: w.detach().cpu().numpy() for name, w in supernet.weights.items()},
        data=_pack_data(dataset, train, scored, here),
        recalibration_images=evaluator.recalibration_images,
        finetuning=asdict(finetuner.recipe) if finetuner else None,
        seed=finetuner.seed if finetuner else 0,
        metric=evaluator.metric,
    )


def _pack_data(dataset: Dataset, train: int, validation: int, here: bool) -> DataState:
    """The first images of both splits."""
    return DataState(
        classes=dataset.classes,
        train=_images(dataset.train, train, here),
        train_labels=np.array(dataset.train.labels[:train]),
        validation=_images(dataset.validation, validation, here),
        validation_labels=np.array(dataset.validation.labels[:validation]),
        flip=dataset.flip,
        mean=dataset.mean,
        std=dataset.std,
    )


def _images(split: ImageSplit, number: int, here: bool) -> Images:
    return {
        size: held if here and isinstance(held, Path) else np.array(split.at(size)[:number])
        for size, held in split.images.items()
    }


def unpack_evaluator(
    state: SupernetState | TrainingState,
) -> SupernetEvaluator | TrainingEvaluator:
    """The evaluator again; it scores as the one that was packed."""
    space = SearchSpace(SpaceFile.model_validate(state.space, strict=False))
    dataset, scored = _unpack_data(state.data), len(state.data.validation_labels)
    if isinstance(state, TrainingState):
        recipe = Recipe(**state.recipe)
        return TrainingEvaluator(space, dataset, recipe, state.seed, scored, steps=state.steps)
    supernet = _unpack_supernet(state, space)
    finetuner = None
    if state.finetuning is not None:
        finetuner = Finetuner(supernet, dataset, Recipe(**state.finetuning), state.seed)
    return SupernetEvaluator(
        supernet, dataset, state.recalibration_images, scored, finetuner, state.metric
    )


def _unpack_supernet(state: SupernetState, space: SearchSpace) -> Supernet:
    """Weights are only read: each network gets a copy of its slices."""
    supernet = Supernet(space, state.plan, len(state.data.classes))
    device = training_device()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = {name: torch.from_numpy(weight) for name, weight in state.weights.items()}
    for name, tensor in tensors.items():
        supernet.weights[name] = nn.Parameter(tensor.to(device), requires_grad=False)
    return supernet


def _unpack_data(state: DataState) -> Dataset:
    train = _split("train", state.train, state.train_labels)
    validation = _split("validation", state.validation, state.validation_labels)
    nothing = ImageSplit("test", (), np.zeros(0, np.int64), {})
    size = max(state.validation, default=0)
    return Dataset(
        "of a worker", state.classes, train, validation, nothing, "", size, state.flip,
        state.mean, state.std,
    )  # fmt: skip


def _split(name: str, images: Images, labels: np.ndarray) -> ImageSplit:
    return ImageSplit(name, tuple(map(str, range(len(labels)))), labels, images)
