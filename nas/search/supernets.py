"""The supernet of a run: found in the cache, trained, or given; continued where it was stopped."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nas.accuracy.checkpoint import (
    Checkpoint,
    check_belongs,
    load_checkpoint,
    read_step,
    save_checkpoint,
)
from nas.accuracy.device import deterministic
from nas.accuracy.score import Metric
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.data import Dataset, DatasetIndex
from nas.data.cache import cache_errors
from nas.errors import CheckpointError
from nas.files import cache_folder, disk_errors, file_digest
from nas.models import Supernet
from nas.search.watch import Watcher
from nas.space import SearchSpace

SAVE_EVERY_S = 15.0
FOLDER = "supernets"
TRAINING_VERSION = 1
"""Raised when the same settings lead to other weights: those in the cache are of the one before."""


@dataclass(frozen=True)
class SupernetJob:
    """A supernet to be had: its (untrained) weights, data and settings."""

    supernet: Supernet
    dataset: Dataset
    settings: SupernetSettings
    threads: int

    @property
    def subject(self) -> dict[str, Any]:
        """What a checkpoint must agree on to be usable at all."""
        net = self.supernet
        return checkpoint_subject(net.space, net.plan, self.dataset)

    @property
    def belongs_to(self) -> dict[str, Any]:
        """All that determines the trained weights."""
        device = next(self.supernet.parameters()).device.type
        how = {"settings": self.settings.to_json(), "threads": self.threads, "device": device}
        return {**self.subject, **how, "training_version": TRAINING_VERSION}

    @property
    def path(self) -> Path:
        """Where the cache keeps it."""
        return cache_folder() / FOLDER / f"{_digest(self.belongs_to)}.safetensors"


def supernet_digest(job: SupernetJob, given: str | None) -> str:
    """What tells a supernet's weights from those of another file, training or kind of device."""
    return job.path.stem if given is None else file_digest(Path(given))


def steps_left(job: SupernetJob, given: str | None) -> int:
    """How many steps of training are still to be done."""
    if given is not None:
        return 0
    done = 0
    if job.path.exists():
        with contextlib.suppress(CheckpointError):
            done, _ = read_step(job.path)
    return job.settings.steps - done


def longest_finished(job: SupernetJob) -> tuple[int, Path] | None:
    """Steps and file of the longest-trained finished supernet that differs in nothing else."""
    wanted = _but_steps(job.belongs_to)
    found = []
    for path in job.path.parent.glob("*.safetensors"):
        with contextlib.suppress(CheckpointError):
            step, belongs_to = read_step(path)
            if _but_steps(belongs_to) == wanted and belongs_to["settings"]["steps"] == step:
                found.append((step, path))
    return max(found, default=None)


def _but_steps(belongs_to: dict[str, Any]) -> dict[str, Any]:
    settings = {name: v for name, v in belongs_to["settings"].items() if name != "steps"}
    return {**belongs_to, "settings": settings}


def checkpoint_subject(
    space: SearchSpace, plan: str, data: Dataset | DatasetIndex
) -> dict[str, Any]:
    """What the weights in a checkpoint mean: the space, its plan, the data."""
    file = {
        k: v for k, v in space.content.items() if k not in ("description", "source", "references")
    }
    return {
        "search_space": space.name,
        "definition_of_the_space": _digest(file),
        "input_plan": plan,
        "data_set": f"{data.name} {data.fingerprint[:12]}",
        "number_of_classes": len(data.classes),
    }


def read_given(path: Path, subject: dict[str, Any]) -> Checkpoint:
    """A checkpoint file that the user named.

    Raises:
        CheckpointError: It cannot be read, or belongs to another space, plan or data set.
    """
    if not path.is_file():
        raise CheckpointError(
            "--supernet names a file",
            got=str(path),
            allowed="a supernet file",
            do="leave --supernet out, or look into the cache folder's supernets/",
        )
    checkpoint = load_checkpoint(path)
    check_belongs(path, checkpoint, subject)
    return checkpoint


def have_supernet(job: SupernetJob, given: str | None, watcher: Watcher) -> int:
    """Give the job's supernet its trained weights: of a file, or from the cache, or by training.

    Returns:
        The steps that it was trained for.

    Raises:
        CheckpointError: The file cannot be read, or belongs to another space, plan or data set.
        MemoryFullError: The device has too little memory.
    """
    if given is not None:
        return load_given(job, Path(given), watcher.say)
    train_or_load(job, watcher)
    return job.settings.steps


def load_given(job: SupernetJob, path: Path, say: Callable[[str], None] = lambda text: None) -> int:
    """Use the weights of a file that the user named.

    Args:
        job: Of these weights.
        path: The file.
        say: Hears where it was stopped early, or trained so that other things count.

    Returns:
        The steps that it was trained for.

    Raises:
        CheckpointError: It cannot be read, or belongs to another space, plan or data set.
    """
    checkpoint = read_given(path, job.subject)
    SupernetTrainer(job.supernet, job.dataset, job.settings).restore(
        checkpoint.weights, {}, checkpoint.step
    )
    for line in about_given(path, checkpoint, job.settings.metric):
        say(line)
    return checkpoint.step


def about_given(path: Path, checkpoint: Checkpoint, metric: Metric) -> list[str]:
    """What speaks against a supernet that the user named, though it can be used."""
    trained, told = dict(checkpoint.belongs_to.get("settings", {})), []
    steps, learned = trained.get("steps", checkpoint.step), trained.get("metric", "accuracy")
    if checkpoint.step < steps:
        told.append(
            f"{path} was stopped at step {checkpoint.step} of {steps}: the search that trains it "
            "goes on with --resume, and a finished one ranks better."
        )
    if learned != metric:
        told.append(
            f"{path} was trained with --metric {learned}, and is scored with --metric {metric}: "
            "one that is trained for it ranks better."
        )
    return told


def train_or_load(job: SupernetJob, watcher: Watcher) -> Path:
    """Bring the job's supernet to its last step, from the cache as far as that goes.

    The state is saved every few seconds, and when it is stopped: a killed run loses no more than
    those seconds.

    Returns:
        The file in the cache.

    Raises:
        MemoryFullError: The device has too little memory.
    """
    check_cache()
    with _locked(job, watcher), deterministic():
        trainer = SupernetTrainer(job.supernet, job.dataset, job.settings, watcher.say)
        _restore(job, trainer, watcher)
        if trainer.step < job.settings.steps:
            _train(job, trainer, watcher)
    return job.path


def _locked(job: SupernetJob, watcher: Watcher) -> contextlib.AbstractContextManager[object]:
    """Be the only process that trains it; who has to wait for another is told."""
    lock = FileLock(f"{job.path}.lock")
    with cache_errors(), disk_errors(job.path):
        try:
            return lock.acquire(timeout=0)
        except Timeout:  # an OSError too, but not the disk's
            watcher.say("Another search trains this supernet: waiting until it is done.")
        return lock.acquire()


def check_cache() -> None:
    """Make the folder that supernets are kept in.

    Raises:
        DataError: It cannot be written.
        DiskFullError: No space is left.
    """
    folder = cache_folder() / FOLDER
    with cache_errors(), disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _restore(job: SupernetJob, trainer: SupernetTrainer, watcher: Watcher) -> None:
    if not job.path.exists():
        return
    try:
        saved = load_checkpoint(job.path)
        check_belongs(job.path, saved, job.belongs_to)
    except CheckpointError as error:
        watcher.say(f"The cached supernet is not usable and is trained anew: {error}")
        return
    trainer.restore(saved.weights, saved.momentum, saved.step)
    if saved.step == job.settings.steps:
        watcher.say(f"Supernet from the cache: {job.path}")
    else:
        watcher.say(f"Supernet continued at step {saved.step} of {job.settings.steps}")


def _train(job: SupernetJob, trainer: SupernetTrainer, watcher: Watcher) -> None:
    last_save = time.monotonic()

    def on_step(step: int) -> None:
        nonlocal last_save
        _tell(job.settings, step, watcher)
        if time.monotonic() - last_save > SAVE_EVERY_S:
            _save(job, trainer)
            last_save = time.monotonic()

    begun = trainer.step
    _tell(job.settings, trainer.step, watcher)
    try:
        trainer.train(on_step)
    except KeyboardInterrupt:
        if trainer.intact and trainer.step > begun:
            _save(job, trainer)
        raise
    _save(job, trainer)


def _tell(settings: SupernetSettings, step: int, watcher: Watcher) -> None:
    """Progress in steps on whole images: the time left follows from it, whatever their size is."""
    total, note = settings.steps, ""
    if settings.progressive and step < total:
        note = f"step {step} of {total}, images of {settings.scale(step):.0%} of their side"
    done, whole = round(settings.work(step)), max(1, round(settings.work(total)))
    watcher.progress("supernet", done if step < total else whole, whole, note)


def _save(job: SupernetJob, trainer: SupernetTrainer) -> None:
    weights = dict(trainer.supernet.weights.items())
    checkpoint = Checkpoint(weights, trainer.momentum(), trainer.step, job.belongs_to)
    with cache_errors():
        save_checkpoint(job.path, checkpoint)


def _digest(content: object) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
