"""A supernet evaluator as plain values, that workers in other processes make it of again."""

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
from nas.data import Dataset, ImageSplit
from nas.models import Supernet
from nas.space.schema import SpaceFile
from nas.space.space import SearchSpace

Images = dict[int, np.ndarray | Path]


@dataclass(frozen=True)
class EvaluatorState:
    """Everything that scores depend on. Arrays may be read-only and shared between processes.

    Images are arrays, or the files that hold them, which are mapped on the same machine.

    Attributes:
        space: Content of the search space.
        plan: Its input plan.
        classes: Names in label order.
        weights: Of the supernet, by name.
        train: Images that batch norm is recalibrated on, or that are trained on, by resolution.
        train_labels: Of these.
        recalibration_images: How many of them are for batch norm.
        finetuning: How architectures are trained by themselves; `None` where they are not.
        seed: Of that.
        flip: Whether images may be mirrored in training.
        validation: Images that are scored, by resolution.
        validation_labels: Of these.
        mean: Of the normalisation.
        std: Of the normalisation.
        metric: What is scored.
    """

    space: dict[str, Any]
    plan: str
    classes: tuple[str, ...]
    weights: dict[str, np.ndarray]
    train: Images
    train_labels: np.ndarray
    recalibration_images: int
    finetuning: dict[str, Any] | None
    seed: int
    flip: bool
    validation: Images
    validation_labels: np.ndarray
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    metric: Metric = "accuracy"


def pack_evaluator(evaluator: SupernetEvaluator, *, here: bool) -> EvaluatorState:
    """An evaluator without what scores do not need, such as training images if none is trained.

    Args:
        evaluator: To be made again.
        here: On this machine, where files of images need not travel.
    """
    supernet, dataset = evaluator.supernet, evaluator.dataset
    validation, finetuner = evaluator.validation_images, evaluator.finetuner
    train = len(dataset.train.labels) if finetuner else evaluator.recalibration_images
    return EvaluatorState(
        space=supernet.space.content,
        plan=supernet.plan,
        classes=dataset.classes,
        weights={name: w.detach().cpu().numpy() for name, w in supernet.weights.items()},
        train=_images(dataset.train, train, here),
        train_labels=np.array(dataset.train.labels[:train]),
        recalibration_images=evaluator.recalibration_images,
        finetuning=asdict(finetuner.recipe) if finetuner else None,
        seed=finetuner.seed if finetuner else 0,
        flip=dataset.flip,
        validation=_images(dataset.validation, validation, here),
        validation_labels=np.array(dataset.validation.labels[:validation]),
        mean=dataset.mean,
        std=dataset.std,
        metric=evaluator.metric,
    )


def _images(split: ImageSplit, number: int, here: bool) -> Images:
    return {
        size: held if here and isinstance(held, Path) else np.array(split.at(size)[:number])
        for size, held in split.images.items()
    }


def unpack_evaluator(state: EvaluatorState) -> SupernetEvaluator:
    """The evaluator again; it scores as the one that was packed."""
    space = SearchSpace(SpaceFile.model_validate(state.space, strict=False))
    supernet = Supernet(space, state.plan, len(state.classes))
    device = training_device()
    with warnings.catch_warnings():
        # Weights are only read: each network gets a copy of its slices.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = {name: torch.from_numpy(weight) for name, weight in state.weights.items()}
    for name, tensor in tensors.items():
        supernet.weights[name] = nn.Parameter(tensor.to(device), requires_grad=False)
    train = _split("train", state.train, state.train_labels)
    validation = _split("validation", state.validation, state.validation_labels)
    nothing = ImageSplit("test", (), np.zeros(0, np.int64), {})
    size = max(state.validation, default=0)
    dataset = Dataset(
        "of a worker", state.classes, train, validation, nothing, "", size, state.flip,
        state.mean, state.std,
    )  # fmt: skip
    finetuner = None
    if state.finetuning is not None:
        finetuner = Finetuner(supernet, dataset, Recipe(**state.finetuning), state.seed)
    scored = len(state.validation_labels)
    return SupernetEvaluator(
        supernet, dataset, state.recalibration_images, scored, finetuner, state.metric
    )


def _split(name: str, images: Images, labels: np.ndarray) -> ImageSplit:
    return ImageSplit(name, tuple(map(str, range(len(labels)))), labels, images)
