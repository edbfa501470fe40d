"""What a search tells while it works; the command line shows it, the Python API may ignore it."""

from __future__ import annotations

import time
from typing import Protocol

SLOW_S = 10.0
"""Of a trial; faster ones are shown by the number that is done alone."""


class Watcher(Protocol):
    """Receives news of a run."""

    def say(self, text: str) -> None:
        """A line worth reading."""
        ...

    def progress(self, stage: str, done: float, total: int, note: str = "") -> None:
        """`done` of `total` units of a stage; stages follow one another. `note`: how it goes.

        Of a trial that takes long, the share that is done counts.
        """
        ...


class Silent:
    """Listens to nothing."""

    def say(self, text: str) -> None:
        """Ignored."""

    def progress(self, stage: str, done: float, total: int, note: str = "") -> None:
        """Ignored."""


class TrialWatcher:
    """Passes news on, and shows how far a trial is that takes long, behind the last of them."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._last: tuple[str, float, int, str] | None = None
        self._begun = 0.0

    def say(self, text: str) -> None:
        """A line worth reading."""
        self._watcher.say(text)

    def progress(self, stage: str, done: float, total: int, note: str = "") -> None:
        """`done` of `total` units of a stage."""
        self._last = stage, done, total, note
        self._watcher.progress(stage, done, total, note)

    def step(self, step: int, steps: int) -> None:
        """`step` of `steps` of a trial's training are done."""
        now = time.monotonic()
        if step == 1:
            self._begun = now
        if self._last is not None and now - self._begun > SLOW_S:
            stage, done, total, note = self._last
            told = f"{note}; " if note else ""
            note = f"{told}training step {step} of {steps}"
            share = step / (steps + 1)  # it is scored after its last step
            self._watcher.progress(stage, done + share, total, note)
