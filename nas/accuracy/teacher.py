"""Networks that others learn from: one of torch's, or an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
import torch

from nas.accuracy.device import resize
from nas.data import Dataset, DatasetIndex
from nas.errors import ModelFileError
from nas.models.build import Model

T = TypeVar("T", dict[str, Any], list[Any])
_KINDS: dict[type, str] = {dict: "an object", list: "an array"}
Teacher = Callable[[torch.Tensor], torch.Tensor]
"""Normalised images `N x 3 x R x R` to probabilities `N x classes`, float32."""


def model_teacher(model: Model) -> Teacher:
    """A torch model, in evaluation mode with its batch-norm statistics set."""

    @torch.no_grad()
    def teach(images: torch.Tensor) -> torch.Tensor:
        logits = model(resize(images, model.network.resolution))
        return torch.softmax(logits.float(), dim=1)

    return teach


class OnnxTeacher:
    """A model file, run by onnxruntime on the processor.

    Its input's size is its own, and so is its normalisation where its metadata have one as files of
    `nas` do; else the normalisation is the data set's.

    Args:
        path: The file: one float32 input `N x 3 x R x R`, and as its first output logits or
            probabilities `N x classes`.
        dataset: Whose images and classes these are.
        threads: For onnxruntime.

    Raises:
        ModelFileError: It cannot be run, or is of other classes.
    """

    def __init__(self, path: Path, dataset: Dataset, threads: int = 1) -> None:
        self.path, self.dataset = path, dataset
        self._session = _open(path, threads)
        [self._input, *others] = self._session.get_inputs()
        shape = self._input.shape
        square = len(shape) == 4 and shape[1] == 3 and shape[2:3] == shape[3:]
        symbolic = len(shape) == 4 and shape[1] == 3 and {type(d) for d in shape[2:]} == {str}
        if others or not (square or symbolic) or self._input.type != "tensor(float)":
            raise _refused(path, "its input", f"{self._input.type} {shape}", "float N x 3 x R x R")
        self._batch = shape[0] if isinstance(shape[0], int) else None
        metadata = self._session.get_modelmeta().custom_metadata_map
        segments = _told(path, metadata, "nas.exit", dict).get("of", 1)
        if segments != 1:
            raise _refused(
                path, "its file", f"one of {segments} segments", "a whole model in one file"
            )
        _check_labels(path, metadata, dataset)
        how = _told(path, metadata, "nas.preprocessing", dict)
        self._size = _size(path, self._session)
        self._mean, self._std = how.get("mean", dataset.mean), how.get("std", dataset.std)
        self._probabilities = self._check_output()

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities, `N x classes`, on the images' device."""
        if self._size is not None:
            images = resize(images.float(), self._size)
        mean, std, own_mean, own_std = (
            torch.tensor(v, device=images.device, dtype=torch.float32)[None, :, None, None]
            for v in (self.dataset.mean, self.dataset.std, self._mean, self._std)
        )
        scaled = (images.float() * std + mean - own_mean) / own_std
        output = torch.from_numpy(self._run(scaled.contiguous().cpu().numpy()))
        found = output if self._probabilities else output.softmax(dim=1)
        return found.to(images.device)

    def _run(self, images: np.ndarray) -> np.ndarray:
        """As many at a time as the file takes."""
        size = self._batch or len(images)
        number = len(images)
        missing = -number % size
        if missing:  # a fixed batch is filled up
            images = np.concatenate([images, np.repeat(images[:1], missing, axis=0)])
        parts = [
            self._session.run(None, {self._input.name: images[start : start + size]})[0]
            for start in range(0, len(images), size)
        ]
        return np.concatenate(parts)[:number]

    def _check_output(self) -> bool:
        """Whether it answers with probabilities; asked with noise."""
        size = self._size or max(self.dataset.train.images)
        noise = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
        try:
            output = self._run(noise)
        except _FAILURES as cause:
            raise _refused(
                self.path, "it", f"an error: {cause}", "a file that can be run"
            ) from cause
        classes = len(self.dataset.classes)
        if output.shape != (2, classes) or output.dtype != np.float32:
            raise _refused(
                self.path,
                "its output",
                f"{output.dtype} {list(output.shape)} for 2 images",
                f"float32 [2, {classes}], for the {classes} classes of {self.dataset.name}",
            )
        if not np.isfinite(output).all():
            raise _refused(
                self.path,
                "its output",
                "numbers that are not finite (NaN or infinite)",
                "logits or probabilities",
            )
        return bool((output >= 0).all() and np.allclose(output.sum(axis=1), 1, atol=1e-4))


def teacher_size(path: Path, index: DatasetIndex) -> int | None:
    """Side in pixels of the images that a teacher's file takes; `None` where it takes any.

    Raises:
        ModelFileError: It cannot be read, or is of other classes than these data.
    """
    session = _open(path, threads=1)
    _check_labels(path, session.get_modelmeta().custom_metadata_map, index)
    return _size(path, session)


_FAILURES = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    onnxruntime.capi.onnxruntime_pybind11_state.NoSuchFile,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)


def _open(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _FAILURES as cause:
        raise ModelFileError(
            f"the teacher {path} cannot be read as an ONNX model: {cause}", do="another file"
        ) from cause
    if not session.get_inputs():
        raise _refused(path, "its input", "none", "float N x 3 x R x R")
    return session


def _check_labels(path: Path, metadata: dict[str, str], data: Dataset | DatasetIndex) -> None:
    labels = _told(path, metadata, "nas.labels", list)
    if labels and labels != list(data.classes):
        raise _refused(
            path,
            "its classes",
            _short(labels),
            f"those of {data.name}, in this order: {_short(data.classes)}",
        )


def _size(path: Path, session: Any) -> int | None:
    """Of the input; where that is open, as its metadata have it."""
    shape = session.get_inputs()[0].shape
    if len(shape) == 4 and isinstance(shape[2], int):
        return shape[2]
    metadata = session.get_modelmeta().custom_metadata_map
    return _told(path, metadata, "nas.preprocessing", dict).get("resolution")


def _refused(path: Path, what: str, got: str, allowed: str) -> ModelFileError:
    return ModelFileError(
        f"the teacher {path} does not fit: {what}", got=got, allowed=allowed, do="another --teacher"
    )


def _told(path: Path, metadata: dict[str, str], name: str, kind: type[T]) -> T:
    """A part of a file's metadata, which are JSON; an empty one where it is not there."""
    text = metadata.get(name)
    try:
        found = kind() if text is None else json.loads(text)
    except ValueError:
        found = text
    if not isinstance(found, kind):
        raise _refused(path, f"its metadata's {name}", str(text), f"JSON, {_KINDS[kind]}")
    return found


def _short(names: Any) -> str:
    text = ", ".join(map(str, names))
    return text if len(text) <= 60 else f"{text[:57]}..."
