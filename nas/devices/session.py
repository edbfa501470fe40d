"""Timing many models on a machine whose speed is not constant.

All items are gone through in rounds of random order, so that slow drift touches all alike. Between
stretches of a part of a second, a reference model is timed: where it takes longer than in quiet
times, what was timed beside it was disturbed (by heat, a lower clock, another program) and is timed
again, later. A machine on which that does not help is not measured at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas.devices.measure import Clock, Effort, Timing, time_runs
from nas.devices.runtimes import Runtime
from nas.errors import MeasurementError
from nas.export.graph import build_graph, random_weights
from nas.files import disk_errors, write_text
from nas.space.blocks import Block

Progress = Callable[[int, int], None]
STRETCH_NS = 400_000_000
REFERENCE = Effort(rounds=1, warmup_runs=2, min_runs=9, min_time_ns=2_000_000)
TOLERANCE = 1.1
"""Ratio of the reference to its quiet latency from which a stretch counts as disturbed."""
QUIET = 0.25
"""Quantile of the references beside all timings that stands for quiet times."""
REPEATS = 1.0
"""Timings that may be done again, as a share of all."""
MOST_DISTURBED = 0.5
"""Share of disturbed timings left at the end from which the measurement is refused."""


@dataclass(frozen=True)
class Item:
    """One thing to time: a block by itself or a whole model."""

    id: str
    blocks: tuple[tuple[str, Block], ...]


@dataclass(frozen=True)
class Entry:
    """An item's timing in one round, and the slower reference beside it, ms."""

    timing: Timing
    reference_ms: float


@dataclass(frozen=True)
class Measured:
    """What a session found.

    Attributes:
        timings: Per item, one for each round.
        reference_ms: Quiet latency of the reference.
        repeated: How many timings were done again.
        disturbed: Share of the timings that stayed disturbed.
    """

    timings: dict[str, list[Timing]]
    reference_ms: float
    repeated: int
    disturbed: float


@dataclass
class Session:
    """Times items with a runtime; finished timings are kept in a journal and not done again.

    Args:
        runtime: With what.
        effort: How long each item is timed.
        seed: Of the order and of the models' weights.
        reference: The model that shows how fast the machine is.
        journal: Where finished timings are kept.
        clock: In nanoseconds.
    """

    runtime: Runtime
    effort: Effort
    seed: int
    reference: Item
    journal: Journal
    clock: Clock = time.perf_counter_ns
    _entries: dict[tuple[int, str], Entry] = field(default_factory=dict)

    def measure(self, items: Sequence[Item], progress: Progress = lambda *_: None) -> Measured:
        """Time all items in all rounds.

        Raises:
            MeasurementError: The runtime refuses a model, or the machine was never quiet.
        """
        self._entries = self.journal.read()
        known = {item.id: item for item in items}
        todo = [key for key in self._order(list(known)) if key not in self._entries]
        total = self.effort.rounds * len(items)
        left, repeated = round(REPEATS * total), 0
        reference = self._load(self.reference)
        while todo:
            done = total + repeated - len(todo)
            self._stretches(todo, known, reference, progress, done)
            todo = self._disturbed()[:left]
            left, repeated = left - len(todo), repeated + len(todo)
        return self._result(list(known), repeated)

    def _order(self, ids: list[str]) -> list[tuple[int, str]]:
        """Every item once in each round, in an order of its own."""
        order = []
        for number in range(self.effort.rounds):
            rng = np.random.default_rng([self.seed, number])
            order += [(number, ids[i]) for i in rng.permutation(len(ids))]
        return order

    def _stretches(
        self,
        todo: list[tuple[int, str]],
        items: dict[str, Item],
        reference: Callable[[], object],
        progress: Progress,
        done: int,
    ) -> None:
        """Time what is to do, with the reference before and after each stretch."""
        total = done + len(todo)
        before = self._time_reference(reference)
        position = 0
        while position < len(todo):
            start, found = self.clock(), {}
            while position < len(todo) and (not found or self.clock() - start < STRETCH_NS):
                key = todo[position]
                found[key] = time_runs(self._load(items[key[1]]), self.effort, self.clock)
                position += 1
            after = self._time_reference(reference)
            for key, timing in found.items():
                self._keep(key, Entry(timing, max(before, after)))
                done += 1
                progress(done, total)
            before = after

    def _keep(self, key: tuple[int, str], entry: Entry) -> None:
        """A second timing replaces the first only if the machine was quieter."""
        old = self._entries.get(key)
        if old is None or entry.reference_ms < old.reference_ms:
            self._entries[key] = entry
            self.journal.append(*key, entry)

    def _disturbed(self) -> list[tuple[int, str]]:
        """What was timed while the machine was slow, the slowest first."""
        limit = TOLERANCE * self._quiet_ms()
        found = [
            (e.reference_ms, key) for key, e in self._entries.items() if e.reference_ms > limit
        ]
        return [key for _, key in sorted(found, reverse=True)]

    def _quiet_ms(self) -> float:
        return float(np.quantile([entry.reference_ms for entry in self._entries.values()], QUIET))

    def _time_reference(self, run: Callable[[], object]) -> float:
        return time_runs(run, REFERENCE, self.clock).latency_ms

    def _load(self, item: Item) -> Callable[[], object]:
        graph = build_graph(item.blocks, random_weights(self.seed), self.runtime.target)
        return self.runtime.load(graph.SerializeToString())

    def _result(self, ids: list[str], repeated: int) -> Measured:
        disturbed = len(self._disturbed()) / max(1, len(self._entries))
        if disturbed > MOST_DISTURBED:
            self.journal.remove()
            raise MeasurementError(
                "the speed of this machine moved too much: beside "
                f"{disturbed:.0%} of the timings a reference was over {TOLERANCE - 1:.0%} slower "
                "than in quiet times, after timing them again",
                do="end other programs, cool it or fix its clock, then the same command",
            )
        rounds = range(self.effort.rounds)
        timings = {id: [self._entries[r, id].timing for r in rounds] for id in ids}
        return Measured(timings, self._quiet_ms(), repeated, disturbed)


@dataclass(frozen=True)
class Journal:
    """Finished timings of a session that is under way, one JSON line each."""

    path: Path
    fingerprint: str

    def read(self) -> dict[tuple[int, str], Entry]:
        """What an earlier, stopped session with the same settings timed; else start afresh."""
        lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.exists() else []
        if not lines or lines[0] != self.fingerprint:
            write_text(self.path, self.fingerprint + "\n")
            return {}
        done = {}
        for line in lines[1:-1]:  # the last one is empty, or was cut off
            number, item, latency_ms, p95_ms, runs, reference_ms = json.loads(line)
            done[number, item] = Entry(Timing(latency_ms, p95_ms, runs), reference_ms)
        write_text(self.path, "\n".join(lines[:-1]) + "\n")
        return done

    def append(self, number: int, item: str, entry: Entry) -> None:
        """Keep a timing."""
        timing = entry.timing
        line = [number, item, timing.latency_ms, timing.p95_ms, timing.runs, entry.reference_ms]
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def remove(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)
