"""What a search tells while it works; the command line shows it, the Python API may ignore it."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Receives news of a run."""

    def say(self, text: str) -> None:
        """A line worth reading."""
        ...

    def progress(self, stage: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of a stage; stages follow one another. `note`: how it goes."""
        ...


class Silent:
    """Listens to nothing."""

    def say(self, text: str) -> None:
        """Ignored."""

    def progress(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Ignored."""
