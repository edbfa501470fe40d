"""A training at work: progress, a line in the log for each epoch, and checkpoints."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from nas.accuracy.checkpoint import TRAINING, load_parts, save_parts
from nas.accuracy.scoring import score_model
from nas.accuracy.training import Trainer
from nas.errors import CheckpointError, OptionError
from nas.search.folders import append_log, read_log
from nas.search.training.folder import TrainFolder
from nas.search.watch import Watcher

SAVE_EVERY_S = 60.0
"""Between checkpoints within an epoch: what a killed training has to do again at most."""
EPOCH_RECALIBRATION = 512
"""Training images for the batch norm of what is scored after an epoch."""
STAGE = "training"


@dataclass
class Session:
    """Does a trainer's steps and keeps what they lead to.

    Attributes:
        trainer: With the network.
        folder: Where checkpoint and log are.
        belongs_to: What the checkpoint must agree on to be gone on with.
        watcher: Hears about the progress.
        seconds: That were trained in all, scoring left out.
        epoch_seconds: Of these in the epoch that has begun.
    """

    trainer: Trainer
    folder: TrainFolder
    belongs_to: dict[str, Any]
    watcher: Watcher
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    note: str = ""
    _next: int = 1
    _since: float = field(default_factory=time.perf_counter)
    _saved: float = field(default_factory=time.perf_counter)

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            CheckpointError: It cannot be read, or is of another training.
        """
        path = self.folder.checkpoint
        if not path.exists():
            return
        parts, step, belongs_to = load_parts(path, TRAINING)
        if belongs_to != self.belongs_to:
            raise CheckpointError(f"{path} is of another training", do=TRAINING.do)
        self.trainer.restore(parts, step)
        self.seconds, self.epoch_seconds = parts["session"]["seconds"].tolist()
        self.watcher.say(f"Training continued at step {step} of {self.trainer.steps}")

    def run(self) -> None:
        """Do the steps that are left; stopped, keep those that were done.

        Raises:
            OptionError: The loss became infinite; nothing of the training is kept.
            MemoryFullError: The device has too little memory.
        """
        trainer = self.trainer
        self._next = self._epoch_after(trainer.at.step)
        self._since = self._saved = time.perf_counter()
        self.watcher.progress(STAGE, trainer.at.step, trainer.steps)
        try:
            trainer.train(self._on_step)
        except KeyboardInterrupt:
            # In the middle of an update weights and step do not belong together, and at the end of
            # an epoch its line may be missing: then the file that is there stays.
            if trainer.intact and trainer.at.step < self._end:
                self._tick()
                self.save()
            raise

    def save(self) -> None:
        """Write the checkpoint."""
        parts = self.trainer.state()
        seconds = torch.tensor([self.seconds, self.epoch_seconds], dtype=torch.float64)
        parts["session"] = {"seconds": seconds}
        save_parts(self.folder.checkpoint, TRAINING, parts, self.trainer.at.step, self.belongs_to)
        self._saved = time.perf_counter()

    def _on_step(self, step: int) -> None:
        trainer = self.trainer
        if step >= self._end:
            self._end_epoch(step)
        elif time.perf_counter() - self._saved > SAVE_EVERY_S:
            self._tick()
            self.save()
        self.watcher.progress(STAGE, step, trainer.steps, self.note)

    def _end_epoch(self, step: int) -> None:
        """Score, write the line, then the checkpoint: killed between them, the line is there."""
        trainer, epoch = self.trainer, self._next
        loss = trainer.mean_loss()  # waits for the device: what is timed ends after it
        self._tick()
        if not math.isfinite(loss):
            self.folder.clear()  # gone on with, it would diverge again
            raise OptionError(
                f"training diverged in epoch {epoch}: its loss is no finite number any more",
                got=f"--learning-rate {trainer.recipe.highest_rate:g}",
                do=f"--learning-rate {trainer.recipe.lower_rate:g}",
            )
        begun = trainer.recipe.end_of(epoch - 1, trainer.images)
        images = (step - begun) * trainer.recipe.batch_size
        dataset = trainer.dataset
        model = trainer.finished_model(EPOCH_RECALIBRATION)
        number = len(dataset.validation.labels)
        metric = trainer.recipe.metric
        accuracy = score_model(model, dataset, dataset.validation, number, metric).value
        if not any(line.get("epoch") == epoch for line in read_log(self.folder.log)):
            append_log(
                self.folder.log,
                "epoch",
                epoch=epoch,
                step=step,
                loss=round(loss, 6),
                learning_rate=trainer.rate(step - 1),
                validation_accuracy=accuracy,
                images_per_second=round(images / max(self.epoch_seconds, 1e-9), 1),
                seconds=round(self.epoch_seconds, 3),
            )
        self.note = f"epoch {epoch}, loss {loss:.3f}, validation {accuracy:.1%}"
        self.epoch_seconds, self._next = 0.0, epoch + 1
        self.save()
        self._since = time.perf_counter()

    @property
    def _end(self) -> int:
        """The step that the epoch ends with."""
        return self.trainer.recipe.end_of(self._next, self.trainer.images)

    def _tick(self) -> None:
        """Count the time since the clock was last looked at."""
        now = time.perf_counter()
        self.seconds += now - self._since
        self.epoch_seconds += now - self._since
        self._since = now

    def _epoch_after(self, step: int) -> int:
        epoch = 1
        while self.trainer.recipe.end_of(epoch, self.trainer.images) <= step:
            epoch += 1
        return epoch
