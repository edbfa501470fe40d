"""Where the trials of a search are kept: a file of the run, or a database for several processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import Trial

from nas.search.study import changing, interrupt_trial, open_study

T = TypeVar("T")


class Store(Protocol):
    """Keeps the studies of a search, one for each fidelity."""

    shared: bool
    """Whether other processes may add trials to it."""

    def study(self, name: str, sampler: BaseSampler, costs: Sequence[str]) -> Study:
        """A study, made if there is none; costs are the names of the minimised objectives."""
        ...

    def do(self, action: Callable[[], T]) -> T:
        """Change or read the study; an action may be begun again after it failed half-way."""
        ...

    def alone(self) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        """No other process asks for a trial meanwhile; gives what says whether that held so far."""
        ...

    def begin(self, trial: Trial) -> None:
        """A trial is being evaluated here."""
        ...

    def end(self, trial: Trial) -> None:
        """It no longer is."""
        ...

    def take_back(self, trial: Trial) -> None:
        """Let a trial that was begun here fail, as if it had not been asked for."""
        ...

    def let_go(self, trial: Trial) -> None:
        """The process stops while it evaluates a trial: the same, as far as it is quickly done."""
        ...

    def drop_lost(self, study: Study) -> None:
        """Let trials fail whose process is gone."""
        ...


class Journal:
    """The file of a run, which one process works with.

    Args:
        path: Of the file.
    """

    shared = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = False

    def study(self, name: str, sampler: BaseSampler, costs: Sequence[str]) -> Study:
        """Trials that were cut off are marked as failed."""
        mend, self._opened = not self._opened, True  # later a dashboard may hold its lock
        return open_study(self.path, sampler, costs, name, mend=mend)

    def do(self, action: Callable[[], T]) -> T:
        """Ctrl-C waits for its end."""
        with changing(self.path):
            return action()

    @contextlib.contextmanager
    def alone(self) -> Iterator[Callable[[], bool]]:
        """Always."""
        yield lambda: True

    def begin(self, trial: Trial) -> None:
        """Nobody asks."""

    def end(self, trial: Trial) -> None:
        """Nobody asks."""

    def take_back(self, trial: Trial) -> None:
        """As one that was cut off."""
        self.do(lambda: interrupt_trial(trial._trial_id, trial.storage))

    def let_go(self, trial: Trial) -> None:
        """Whoever continues the run does it."""

    def drop_lost(self, study: Study) -> None:
        """There are none."""
