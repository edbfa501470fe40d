"""A supernet evaluator as plain arrays, that workers in other processes make it of again."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.accuracy.device import training_device
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.data import Dataset, ImageSplit
from nas.models import Supernet
from nas.space.schema import SpaceFile
from nas.space.space import SearchSpace


@dataclass(frozen=True)
class EvaluatorState:
    """Everything that scores depend on. Arrays may be read-only and shared between processes.

    Attributes:
        space: Content of the search space.
        plan: Its input plan.
        classes: Names in label order.
        weights: Of the supernet, by name.
        train: Images that batch norm is recalibrated on, by resolution.
        validation: Images that are scored, by resolution.
        labels: Of these.
        mean: Of the normalisation.
        std: Of the normalisation.
    """

    space: dict[str, Any]
    plan: str
    classes: tuple[str, ...]
    weights: dict[str, np.ndarray]
    train: dict[int, np.ndarray]
    validation: dict[int, np.ndarray]
    labels: np.ndarray
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def pack_evaluator(evaluator: SupernetEvaluator) -> EvaluatorState:
    """An evaluator without what scores do not need, such as the other training images."""
    supernet, dataset = evaluator.supernet, evaluator.dataset
    validation = evaluator.validation_images
    return EvaluatorState(
        space=supernet.space.content,
        plan=supernet.plan,
        classes=dataset.classes,
        weights={name: w.detach().cpu().numpy() for name, w in supernet.weights.items()},
        train=_first(dataset.train, evaluator.recalibration_images),
        validation=_first(dataset.validation, validation),
        labels=np.array(dataset.validation.labels[:validation]),
        mean=dataset.mean,
        std=dataset.std,
    )


def _first(split: ImageSplit, number: int) -> dict[int, np.ndarray]:
    return {resolution: np.array(split.at(resolution)[:number]) for resolution in split.images}


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
    train = _split("train", state.train, np.zeros(_length(state.train), np.int64))
    validation = _split("validation", state.validation, state.labels)
    nothing = ImageSplit("test", (), np.zeros(0, np.int64), {})
    size = max(state.validation, default=0)
    dataset = Dataset(
        "of a worker", state.classes, train, validation, nothing, "", size, False,
        state.mean, state.std,
    )  # fmt: skip
    return SupernetEvaluator(supernet, dataset, len(train), len(validation))


def _length(images: dict[int, np.ndarray]) -> int:
    return len(next(iter(images.values()), ()))


def _split(name: str, images: dict[int, np.ndarray], labels: np.ndarray) -> ImageSplit:
    items = tuple(map(str, range(_length(images))))
    return ImageSplit(name, items, labels, images)
