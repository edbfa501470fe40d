"""Everything that a training reads and checks before it writes anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.accuracy.checkpoint import Checkpoint
from nas.accuracy.scoring import recalibrate
from nas.accuracy.teacher import OnnxTeacher, Teacher, model_teacher, teacher_size
from nas.data import Dataset, DatasetIndex, decode, scan
from nas.data.summary import describe
from nas.errors import ModelFileError, RunFolderError
from nas.files import file_digest
from nas.models import Supernet, build_model
from nas.models.build import Model
from nas.search.inputs import space_digest
from nas.search.supernets import about_given, checkpoint_subject, read_given
from nas.search.training.settings import TrainSettings
from nas.search.training.subject import Subject, find_subject
from nas.search.watch import Watcher
from nas.space import sample as sampling
from nas.threads import usable_cores


@dataclass(frozen=True)
class Inputs:
    """What was read and checked.

    Attributes:
        settings: Of the training.
        subject: Its network.
        dataset: Its images.
        supernet: Whose weights it starts from, if any.
        onnx_teacher: Read from a file, if any.
        threads: Of torch and onnxruntime.
        resolution: Of the training images: the network's, or a larger one that the teacher wants.
        about: The data in a few lines.
    """

    settings: TrainSettings
    subject: Subject
    dataset: Dataset
    supernet: Supernet | None
    onnx_teacher: OnnxTeacher | None
    threads: int
    resolution: int
    about: tuple[str, ...] = ()

    def digests(self) -> dict[str, str]:
        """Hashes of all that the result depends on beside the settings."""
        found = {
            "data": self.dataset.fingerprint[:12],
            "search space": space_digest(self.subject.space),
        }
        for name in ("supernet", "teacher"):
            path = getattr(self.settings, name)
            if path is not None:
                found[name] = file_digest(Path(path))
        return found

    def start(self, device: torch.device) -> Model:
        """The network with the weights that training starts from."""
        if self.supernet is not None and self.subject.architecture is not None:
            return self.supernet.subnet(self.subject.architecture).to(device)
        network = self.subject.network(len(self.dataset.classes))
        return build_model(network, self.settings.seed).to(device)

    def teacher(self, device: torch.device) -> Teacher | None:
        """Who teaches, if anybody does."""
        if self.onnx_teacher is not None or self.supernet is None or not self.settings.distil:
            return self.onnx_teacher
        largest = sampling.largest(self.supernet.space, self.supernet.plan)
        model = self.supernet.subnet(largest).to(device)
        recalibrate(model, self.dataset, self.settings.recipe.recalibration_images)
        return model_teacher(model)


def gather_inputs(settings: TrainSettings, begun: Mapping[str, Any], watcher: Watcher) -> Inputs:
    """Read and check all inputs.

    Args:
        settings: Of the training.
        begun: Content of `train.yaml`, where the training is continued.
        watcher: Hears about the progress.

    Raises:
        InputError: Something does not fit.
    """
    subject = find_subject(settings, watcher.progress)
    path = None if settings.data is None else Path(settings.data)
    index = scan(path, settings.seed, progress=watcher.progress)
    threads = settings.threads or begun.get("threads") or usable_cores()
    own = seen = subject.network(len(index.classes)).resolution
    given, against = None, []
    if settings.supernet is not None and subject.architecture is not None:
        plan = subject.architecture.plan
        file = Path(settings.supernet)
        given = read_given(file, checkpoint_subject(subject.space, plan, index))
        against = about_given(file, given, settings.metric)
        if settings.distil:
            seen = sampling.largest(subject.space, plan).resolution
    teacher = None if settings.teacher is None else Path(settings.teacher)
    if teacher is not None:
        check_file_exists(teacher)
        # What the network learns from is not blurred for its teacher, nor made larger than it is.
        seen = max(own, min(teacher_size(teacher, index) or own, index.source_size))
    about = _about(index, settings.batch_size)
    for line in (*about, *against):
        watcher.say(line)
    dataset = decode(index, sorted({own, seen}), progress=watcher.progress)
    supernet = None if given is None else _supernet(subject, dataset, given)
    onnx_teacher = None if teacher is None else OnnxTeacher(teacher, dataset, threads)
    return Inputs(settings, subject, dataset, supernet, onnx_teacher, threads, seen, about)


def _about(index: DatasetIndex, batch_size: int) -> tuple[str, ...]:
    """What was read, and whether steps are smaller than they were to be."""
    images = len(index.train.items)
    if batch_size <= images:
        return tuple(describe(index))
    fewer = (
        f"A step has all {images} training images: there are fewer than --batch-size {batch_size}."
    )
    return (*describe(index), fewer)


def _supernet(subject: Subject, dataset: Dataset, given: Checkpoint) -> Supernet:
    assert subject.architecture is not None
    supernet = Supernet(subject.space, subject.architecture.plan, len(dataset.classes))
    with torch.no_grad():
        for name, parameter in supernet.weights.items():
            parameter.copy_(given.weights[name])
    return supernet


def check_file_exists(path: Path) -> None:
    """Refuse a teacher that is not there.

    Raises:
        ModelFileError: No such file.
    """
    if not path.is_file():
        raise ModelFileError(
            "--teacher names a file", got=str(path), allowed="an ONNX file", do="check the path"
        )


def check_unchanged(path: Path, begun: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to go on with other inputs than a training was begun with.

    Raises:
        RunFolderError: Names the first that changed.
    """
    for name, digest in now.items():
        if begun.get(name) != digest:
            raise RunFolderError(
                f"the {name} changed since {path} was begun",
                got=digest,
                allowed=str(begun.get(name)),
                do="--out OTHER_FOLDER for a new training",
            )
