"""Timing many models on a machine whose speed is not constant.

All items are gone through in rounds of random order, so that slow drift touches all alike. An item
whose fastest timings do not agree was disturbed (a burst of another program's work) and is timed
again, later. Disturbances that last (heat, a lower clock, another virtual machine on the same core)
slow several timings and may let them agree: they show in a reference model, timed immediately
before and after, which feels what the item feels. Timings that agree do not count while all of them
were beside a slow reference, and while it is slow nothing is timed, for a while. A machine on which
that does not help is not measured at all.
"""

import json
import os
import random
import time
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from .timing import Clock, Effort, Run, SelfTimed, Timing, quantile, time_runs

SELF_TIMED_STRETCH_S = 60.0
"""Where a runtime times by itself, its start takes seconds, that of the reference, too: so much
is timed between two of them."""
REFERENCE = Effort(1, 1, 2, 0.5, 1.03, repeats=0.0, most_unsettled=1.0, most_time_ms=10.0)
"""As long as what others do in a shared cache takes to come and go (docs/decisions/0008)."""
TOLERANCE = 1.05
"""Ratio of the reference to its quiet latency from which a timing counts as disturbed."""
QUIET = 0.1
"""Quantile of the references beside all timings that stands for quiet times."""
WAIT_S = 0.02
WAIT_SHARE = 0.5
"""All waits together take at most so many times as long as everything else."""
PATIENCE_S = 30.0
"""However short a session is, its waits may take so long."""
MOST = 15
"""Timings of one item: what does not agree then never will."""

Key = Tuple[int, str]


class Entry(NamedTuple):
    """An item's timing in one round, and the slower of its reference's timings on either side."""

    timing: Timing
    reference_ms: float


class Measured(NamedTuple):
    """What a session found.

    Attributes:
        entries: All timings.
        references_ms: Quiet latency of each reference.
        repeated: How many timings there are beyond the rounds.
        unsettled: Share of the items whose timings do not agree.
    """

    entries: Dict[Key, Entry]
    references_ms: Dict[str, float]
    repeated: int
    unsettled: float


class DisturbedError(Exception):
    """The machine was never quiet."""


class Session:
    """Times items; finished timings are kept in a journal and not done again.

    Args:
        load: Makes a model ready by its id.
        effort: How long each item is timed.
        seed: Of the order.
        journal: File where finished timings are kept.
        job: What they belong to: timings of another job are not used.
        clock: In seconds.
        sleep: Waits for so many of them.
    """

    def __init__(
        self,
        load: Callable[[str], Run],
        effort: Effort,
        seed: int,
        journal: str,
        job: str,
        clock: Clock = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.load, self.effort, self.seed, self.clock = load, effort, seed, clock
        self.journal, self.job = journal, job
        self.sleep, self.start_s, self.waited_s = sleep, clock(), 0.0
        self.entries: Dict[Key, Entry] = {}
        self.beside: Dict[str, str] = {}
        self.references: Dict[str, Run] = {}

    def measure(self, beside: Dict[str, str], progress: Callable[[int, int], None]) -> Measured:
        """Time all items in all rounds.

        Args:
            beside: Per item, the reference that is timed before and after it.
            progress: Called with the number of finished and of all timings.

        Raises:
            DisturbedError: The machine was never quiet.
        """
        items, self.beside = list(beside), beside
        kept = read_journal(self.journal, self.job)
        self.entries = {key: kept[key] for key in kept if key[1] in beside}
        todo = [key for key in self._order(items) if key not in self.entries]
        planned = self.effort.rounds * len(items)
        most = planned + int(self.effort.repeats * planned)
        self.references = {name: self.load(name) for name in sorted(set(beside.values()))}
        ahead = 0
        while True:
            self._time_all(todo, progress, len(self.entries) + len(todo) + ahead)
            unsettled = self._unsettled(items)
            todo = self._again(unsettled)[: most - len(self.entries)]
            ahead = len(todo)  # about half of them settle each time
            if not todo:
                break
        progress(len(self.entries), len(self.entries))
        share = len(unsettled) / max(1, len(items))
        if share > self.effort.most_unsettled:
            os.remove(self.journal)  # the next attempt begins afresh
            raise DisturbedError(
                f"the speed of this machine moved too much: {share:.0%} of the items never took "
                f"equally long, within {self.effort.agreement - 1:.0%}, {self.effort.rounds} times,"
                " once beside a reference as fast as in quiet times; try: end other programs, cool "
                "it or fix its clock (the next attempt measures all anew)"
            )
        quiet = quiet_references(self.entries, beside)
        return Measured(self.entries, quiet, len(self.entries) - planned, share)

    def _order(self, items: Sequence[str]) -> List[Key]:
        """Every item once in each round, in an order of its own."""
        order: List[Key] = []
        for number in range(self.effort.rounds):
            shuffled = list(items)
            random.Random(f"{self.seed} {number}").shuffle(shuffled)
            order += [(number, item) for item in shuffled]
        return order

    def _time_all(self, todo: List[Key], progress: Callable[[int, int], None], total: int) -> None:
        """Time what is to do, each with its reference before and after."""
        done, last, after_ms = 0, "", 0.0
        while done < len(todo):
            reference = self.beside[todo[done][1]]
            if reference != last:
                after_ms = self._time_reference(reference)
            before_ms = self._wait_for_quiet(
                reference, after_ms, lambda: progress(len(self.entries), total)
            )
            begun = self.clock()
            run, start = self.load(todo[done][1]), self.clock()
            found = [time_runs(run, self.effort, self.clock, 1e3 * (start - begun))]
            while isinstance(run, SelfTimed) and self.clock() - start < SELF_TIMED_STRETCH_S:
                ahead = todo[done + len(found) :][:1]
                if [self.beside[item] for _, item in ahead] != [reference]:
                    break
                progress(len(self.entries), total)
                run = self.load(ahead[0][1])
                found.append(time_runs(run, self.effort, self.clock))
            del run  # a loaded model's threads may wait busily for its next call
            last, after_ms = reference, self._time_reference(reference)
            for timing in found:
                self._keep(todo[done], Entry(timing, max(before_ms, after_ms)))
                progress(len(self.entries), total)
                done += 1

    def _time_reference(self, name: str) -> float:
        return time_runs(self.references[name], REFERENCE, self.clock).latency_ms

    def _wait_for_quiet(
        self, reference: str, found_ms: float, alive: Callable[[], object]
    ) -> float:
        """The reference's latency once it is not slow, or the waits took too long together."""
        quiet_ms = quiet_references(self.entries, self.beside).get(reference, 0.0)
        start_s = self.clock()
        measured_s = start_s - self.start_s - self.waited_s
        patience_s = max(PATIENCE_S, WAIT_SHARE * measured_s) - self.waited_s
        while quiet_ms and found_ms > TOLERANCE * quiet_ms:
            if self.clock() - start_s >= patience_s:
                break
            alive()
            self.sleep(WAIT_S)
            found_ms = self._time_reference(reference)
        self.waited_s += self.clock() - start_s
        return found_ms

    def _keep(self, key: Key, entry: Entry) -> None:
        self.entries[key] = entry
        with open(self.journal, "a", encoding="utf-8") as file:
            file.write(json.dumps(to_line(key, entry)) + "\n")

    def _unsettled(self, items: Sequence[str]) -> List[str]:
        """Items whose timings do not agree yet."""
        found, quiet_ms = by_item(self.entries), quiet_references(self.entries, self.beside)
        return [
            item
            for item in items
            if not is_settled(found.get(item, []), quiet_ms[self.beside[item]], self.effort)
        ]

    def _again(self, items: Sequence[str]) -> List[Key]:
        """One more timing of each, in random order."""
        count: Dict[str, int] = {}
        for _, item in self.entries:
            count[item] = count.get(item, 0) + 1
        todo = [(count[item], item) for item in items if count[item] < MOST]
        random.Random(f"{self.seed} {len(self.entries)}").shuffle(todo)
        return todo


def quiet_references(entries: Dict[Key, Entry], beside: Dict[str, str]) -> Dict[str, float]:
    """Latency of each reference in quiet times."""
    found: Dict[str, List[float]] = {}
    for (_, item), entry in entries.items():
        found.setdefault(beside[item], []).append(entry.reference_ms)
    return {name: quantile(found[name], QUIET) for name in found}


def by_item(entries: Dict[Key, Entry]) -> Dict[str, List[Entry]]:
    """Timings of each item, the fastest first."""
    found: Dict[str, List[Entry]] = {}
    for (_, item), entry in entries.items():
        found.setdefault(item, []).append(entry)
    return {item: sorted(of_item) for item, of_item in found.items()}


def is_settled(entries: Sequence[Entry], quiet_ms: float, effort: Effort) -> bool:
    """Whether enough of an item's fastest timings are alike, one of them of quiet times.

    Disturbances only ever slow something down. A fast timing counts, whatever its reference met a
    moment before or after; that beside a quiet one shows that they are not all slow alike.

    Args:
        entries: Timings of the item, the fastest first.
        quiet_ms: Of its reference.
        effort: How many are to agree, and how well.
    """
    alike = [
        entry
        for entry in entries
        if entry.timing.latency_ms <= effort.agreement * entries[0].timing.latency_ms
    ]
    quiet = [entry for entry in alike if entry.reference_ms <= TOLERANCE * quiet_ms]
    return len(alike) >= effort.rounds and bool(quiet)


def to_line(key: Key, entry: Entry) -> List[Any]:
    """A timing as it stands in the journal and in the result."""
    timing = entry.timing
    return [*key, *timing, entry.reference_ms]


def read_journal(path: str, job: str) -> Dict[Key, Entry]:
    """What an earlier, stopped session of the same job timed; else start afresh."""
    found = {}
    for line in read_lines(path, job, [int, str, float, float, float, int, float]):
        number, item, latency_ms, median_ms, p95_ms, runs, reference_ms = line
        timing = Timing(latency_ms, median_ms, p95_ms, runs)
        found[number, item] = Entry(timing, reference_ms)
    return found


def read_lines(path: str, job: str, kinds: List[type]) -> List[Any]:
    """The lines of a journal that belongs to a job, up to a damaged one; else start it afresh.

    Args:
        path: The journal.
        job: The job's id, which is its first line.
        kinds: Types of what a line holds.
    """
    lines: List[str] = []
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().split("\n")
    if not lines or lines[0] != job:
        _write(path, job + "\n")
        return []
    found = []
    for line in lines[1:-1]:  # the last one is empty, or was cut off
        try:
            values = json.loads(line)
        except ValueError:
            break
        if not isinstance(values, list) or [type(value) for value in values] != kinds:
            break
        if not all(0 <= value < float("inf") for value in values if not isinstance(value, str)):
            break
        found.append(values)
    _write(path, "\n".join([job, *lines[1 : len(found) + 1]]) + "\n")
    return found


def _write(path: str, text: str) -> None:
    """Whole or not at all."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)
