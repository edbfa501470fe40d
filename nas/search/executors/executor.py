"""What runs evaluations: the protocol, and the one of this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nas.accuracy.score import SEARCH, Evaluator, Fidelity, Score
from nas.errors import MemoryFullError
from nas.space.architecture import Architecture

MOST = 300
"""Characters of a reason."""


@dataclass(frozen=True)
class Outcome:
    """How an evaluation ended.

    Attributes:
        job: As it was submitted.
        score: `None` where there is none.
        reason: Why there is none.
    """

    job: int
    score: Score | None
    reason: str = ""


class Executor(Protocol):
    """Runs evaluations, several at a time where it has workers."""

    def free(self) -> int:
        """How many evaluations would be taken now."""
        ...

    def submit(self, job: int, architecture: Architecture, fidelity: Fidelity = SEARCH) -> None:
        """Begin an evaluation, or have it wait for the next idle worker; only where one is free."""
        ...

    def wait(self) -> list[Outcome]:
        """Those that have ended since, after waiting for one; may be empty."""
        ...

    def close(self) -> None:
        """Let go of everything; what runs is stopped."""
        ...


class InProcess:
    """One at a time, here."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._waiting: list[tuple[int, Architecture, Fidelity]] = []

    def free(self) -> int:
        """One, unless one was submitted."""
        return 1 - len(self._waiting)

    def submit(self, job: int, architecture: Architecture, fidelity: Fidelity = SEARCH) -> None:
        """Remember it for `wait`."""
        self._waiting.append((job, architecture, fidelity))

    def wait(self) -> list[Outcome]:
        """Run it."""
        job, architecture, fidelity = self._waiting.pop()
        try:
            return [Outcome(job, self._evaluator.evaluate(architecture, fidelity))]
        except (RuntimeError, ArithmeticError, MemoryError, MemoryFullError) as cause:
            return [Outcome(job, None, describe(cause))]

    def close(self) -> None:
        """Nothing is held."""


def describe(cause: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(cause).__name__}: {cause}".split())[:MOST]
