"""Timing many models on a machine whose speed is not constant.

All items are gone through in rounds of random order, so that slow drift touches all alike. Between
stretches of a part of a second, a reference model is timed: where it takes longer than in quiet
times, what was timed beside it was disturbed (by heat, a lower clock, another program) and is timed
again, later. A machine on which that does not help is not measured at all.
"""

import json
import os
import random
import time
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from .timing import Clock, Effort, Timing, quantile, time_runs

STRETCH_S = 0.4
REFERENCE = Effort(1, warmup_runs=2, min_runs=9, min_time_ms=2.0, repeats=0, most_disturbed=1)
TOLERANCE = 1.1
"""Ratio of the reference to its quiet latency from which a stretch counts as disturbed."""
QUIET = 0.25
"""Quantile of the references beside all timings that stands for quiet times."""

Key = Tuple[int, str]
Run = Callable[[], object]


class Entry(NamedTuple):
    """An item's timing in one round, and the slower of the references on either side."""

    timing: Timing
    reference_ms: float


class Measured(NamedTuple):
    """What a session found.

    Attributes:
        entries: All timings.
        reference_ms: Quiet latency of the reference.
        repeated: How many timings were done again.
        disturbed: Share of the timings that stayed disturbed.
    """

    entries: Dict[Key, Entry]
    reference_ms: float
    repeated: int
    disturbed: float


class DisturbedError(Exception):
    """The machine was never quiet."""


class Session:
    """Times items; finished timings are kept in a journal and not done again.

    Args:
        load: Makes a model ready by its id; each call of the result is one inference.
        effort: How long each item is timed.
        seed: Of the order.
        journal: File where finished timings are kept.
        job: What they belong to: timings of another job are not used.
        clock: In seconds.
    """

    def __init__(
        self,
        load: Callable[[str], Run],
        effort: Effort,
        seed: int,
        journal: str,
        job: str,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.load, self.effort, self.seed, self.clock = load, effort, seed, clock
        self.journal, self.job = journal, job
        self.entries: Dict[Key, Entry] = {}

    def measure(
        self, items: Sequence[str], reference: str, progress: Callable[[int, int], None]
    ) -> Measured:
        """Time all items in all rounds.

        Raises:
            DisturbedError: The machine was never quiet.
        """
        self.entries = read_journal(self.journal, self.job)
        todo = [key for key in self._order(items) if key not in self.entries]
        total = self.effort.rounds * len(items)
        left, repeated = int(self.effort.repeats * total), 0
        run = self.load(reference)
        while todo:
            self._stretches(todo, run, progress, total + repeated - len(todo))
            todo = self._disturbed()[:left]
            left, repeated = left - len(todo), repeated + len(todo)
        disturbed = len(self._disturbed()) / max(1, len(self.entries))
        if disturbed > self.effort.most_disturbed:
            os.remove(self.journal)  # the next attempt begins afresh
            raise DisturbedError(
                f"the speed of this machine moved too much: beside {disturbed:.0%} of the timings "
                f"a reference was over {TOLERANCE - 1:.0%} slower than in quiet times, after "
                "timing them again; try: end other programs, cool it or fix its clock"
            )
        return Measured(self.entries, self._quiet_ms(), repeated, disturbed)

    def _order(self, items: Sequence[str]) -> List[Key]:
        """Every item once in each round, in an order of its own."""
        order: List[Key] = []
        for number in range(self.effort.rounds):
            shuffled = list(items)
            random.Random(f"{self.seed} {number}").shuffle(shuffled)
            order += [(number, item) for item in shuffled]
        return order

    def _stretches(
        self, todo: List[Key], reference: Run, progress: Callable[[int, int], None], done: int
    ) -> None:
        """Time what is to do, with the reference before and after each stretch."""
        total, position = done + len(todo), 0
        before = time_runs(reference, REFERENCE, self.clock).latency_ms
        while position < len(todo):
            start = self.clock()
            found: List[Tuple[Key, Timing]] = []
            while position < len(todo) and (not found or self.clock() - start < STRETCH_S):
                key = todo[position]
                found.append((key, time_runs(self.load(key[1]), self.effort, self.clock)))
                position += 1
            after = time_runs(reference, REFERENCE, self.clock).latency_ms
            for key, timing in found:
                self._keep(key, Entry(timing, max(before, after)))
                done += 1
                progress(done, total)
            before = after

    def _keep(self, key: Key, entry: Entry) -> None:
        """A second timing replaces the first only if the machine was quieter."""
        old = self.entries.get(key)
        if old is None or entry.reference_ms < old.reference_ms:
            self.entries[key] = entry
            with open(self.journal, "a", encoding="utf-8") as file:
                file.write(json.dumps(to_line(key, entry)) + "\n")

    def _disturbed(self) -> List[Key]:
        """What was timed while the machine was slow, the slowest first."""
        limit = TOLERANCE * self._quiet_ms()
        found = [(e.reference_ms, key) for key, e in self.entries.items() if e.reference_ms > limit]
        return [key for _, key in sorted(found, reverse=True)]

    def _quiet_ms(self) -> float:
        return quantile([entry.reference_ms for entry in self.entries.values()], QUIET)


def to_line(key: Key, entry: Entry) -> List[Any]:
    """A timing as it stands in the journal and in the result."""
    timing = entry.timing
    return [*key, timing.latency_ms, timing.p95_ms, timing.runs, entry.reference_ms]


def read_journal(path: str, job: str) -> Dict[Key, Entry]:
    """What an earlier, stopped session of the same job timed; else start afresh."""
    found = {}
    for number, item, latency_ms, p95_ms, runs, reference_ms in read_lines(path, job):
        found[number, item] = Entry(Timing(latency_ms, p95_ms, runs), reference_ms)
    return found


def read_lines(path: str, job: str) -> List[Any]:
    """The whole lines of a journal that belongs to a job; else start it afresh."""
    lines: List[str] = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    if not lines or lines[0] != job:
        _write(path, job + "\n")
        return []
    _write(path, "\n".join(lines[:-1]) + "\n")  # the last one is empty, or was cut off
    return [json.loads(line) for line in lines[1:-1]]


def _write(path: str, text: str) -> None:
    """Whole or not at all."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)
