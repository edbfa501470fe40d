"""The ask/tell loop: architectures are proposed, scored, and stored."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import Trial, TrialState

from nas.errors import NasError
from nas.search.candidates import Start, repair
from nas.search.costing import Costing
from nas.search.executors.executor import Executor, Outcome
from nas.search.samplers.domain import ExhaustedError
from nas.search.samplers.front import ATTEMPTS, FrontSampler
from nas.search.samplers.repairing import RepairingSampler, make_proposer
from nas.search.samplers.space_domain import SpaceDomain, distributions
from nas.search.settings import SearchSettings
from nas.search.store import Store
from nas.search.study import (
    TrialRecord,
    fail_trial,
    trial_records,
    tried_ids,
    write_trial,
)
from nas.search.watch import Watcher
from nas.space import sample as sampling
from nas.space.architecture import Architecture
from nas.space.sample import Genome

FAILURES = 10
"""Architectures in a row that could not be scored, after which the search gives up."""
POLL_S = 1.0
"""Between looks at trials that other processes evaluate."""


@dataclass(frozen=True)
class Hunt:
    """What the trials of a run need to know.

    Attributes:
        settings: Of the run.
        costing: Costs, objectives and limits.
        start: An architecture within the limits, and the fastest ones.
    """

    settings: SearchSettings
    costing: Costing
    start: Start


def run_trials(hunt: Hunt, store: Store, watcher: Watcher, executor: Executor) -> list[TrialRecord]:
    """Score architectures until `settings.trials` distinct ones are in the study.

    Returns:
        All trials, those of earlier runs of the same study included.

    Raises:
        NasError: One evaluation after the other failed.
    """
    taken: set[str] = set()
    refused: list[int] = [0]
    sampler = _sampler(hunt, taken, refused)
    study = store.study(sampler, [goal.name for goal in hunt.costing.goals.minimised])
    return _Loop(hunt, study, store, watcher, executor, taken, refused).run()


@dataclass
class _Asked:
    """A trial that is being evaluated."""

    trial: Trial
    architecture: Architecture
    attributes: dict[str, Any]
    attempts: int = 1


@dataclass
class _Loop:
    """Keeps the executor busy: asks, submits, and tells what has ended.

    Attributes:
        taken: Ids of architectures that are scored, being scored, or were tried in vain.
        refused: Proposals for the next trial that broke a limit; counted by the sampler.
        running: Trials that are evaluated here, by number.
        again: Those of them that wait to be tried again.
        failures: Architectures in a row that could not be scored.
    """

    hunt: Hunt
    study: Study
    store: Store
    watcher: Watcher
    executor: Executor
    taken: set[str]
    refused: list[int]
    running: dict[int, _Asked] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)
    failures: int = 0
    exhausted: bool = False

    def run(self) -> list[TrialRecord]:
        wanted = self.hunt.settings.trials
        while True:
            self.store.drop_lost(self.study)
            scored, under_way = self._look()
            self.watcher.progress("search", scored, wanted)
            if not self.running and (scored >= wanted or (self.exhausted and not under_way)):
                break
            while self.again and self.executor.free():
                job = self.again.pop(0)
                self.executor.submit(job, self.running[job].architecture)
            if scored + under_way < wanted:
                while self.executor.free() and self._ask():
                    pass
            if self.running or not self.executor.free():
                for outcome in self.executor.wait():
                    self._settle(outcome)
            else:
                time.sleep(POLL_S)  # the last ones are evaluated by other processes
        if self.exhausted:
            self.watcher.say(
                f"The search ends after {scored} architectures: no further one within the limits "
                "was found"
            )
            self.watcher.progress("search", scored, scored)
        return self.store.do(lambda: trial_records(self.study))

    def _look(self) -> tuple[int, int]:
        """How many trials are scored and how many are under way, here and elsewhere."""
        trials = self.store.do(lambda: self.study.get_trials(deepcopy=False))
        states = Counter(trial.state for trial in trials)
        return states[TrialState.COMPLETE], states[TrialState.RUNNING]

    def _ask(self) -> bool:
        """Begin a trial; whether there was one to begin, and it was needed."""
        if self.exhausted:
            return False
        costing = self.hunt.costing
        with self.store.alone() as alone:
            if sum(self._look()) >= self.hunt.settings.trials:
                return False
            self.taken.update(self.store.do(self._tried))
            self.refused[0] = 0
            try:
                trial = self.store.do(
                    lambda: self.study.ask(distributions(costing.space, costing.plan))
                )
            except ExhaustedError as end:
                number = end.trial_number
                self.store.do(lambda: self.study.tell(number, state=TrialState.FAIL))
                self.exhausted = True
                return False
            self.store.begin(trial)
            if not alone():  # the lock went with its connection: another may have asked for it
                self.store.take_back(trial)
                return True
        architecture = sampling.from_genome(costing.space, costing.plan, trial.params)
        attributes = {
            "id": architecture.id,
            "architecture": architecture.to_json(),
            **costing.costs(architecture),
            "refused": self.refused[0],
            "origin": _origin(self.hunt, architecture),
        }
        self.running[trial.number] = _Asked(trial, architecture, attributes)
        self.taken.add(architecture.id)
        self.executor.submit(trial.number, architecture)
        return True

    def _tried(self) -> set[str]:
        """Ids of what is not to be proposed again, with what other processes evaluate."""
        found = tried_ids(self.study)
        if self.store.shared:
            costing = self.hunt.costing
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if len(trial.params) == len(costing.space.dimensions(costing.plan)):
                    found.add(sampling.from_genome(costing.space, costing.plan, trial.params).id)
        return found

    def _settle(self, outcome: Outcome) -> None:
        """Tell the study, or try again what failed."""
        asked = self.running[outcome.job]
        if outcome.score is not None and math.isfinite(outcome.score.value):
            score = outcome.score
            self.failures = 0
            values = [score.value, *self.hunt.costing.goals.values(asked.attributes)]
            attributes = {**asked.attributes, "images": score.images}
            self._tell(asked, lambda: write_trial(self.study, asked.trial, attributes), values)
            return
        reason = outcome.reason or "its accuracy is not a number"
        if asked.attempts < ATTEMPTS:
            asked.attempts += 1
            self.watcher.say(f"{asked.architecture.id} is tried again: {reason}")
            self.again.append(outcome.job)
            return
        self._give_up(asked, reason)

    def _give_up(self, asked: _Asked, reason: str) -> None:
        """The trial fails with its reason in the study, and the search goes on."""
        self._tell(
            asked,
            lambda: fail_trial(asked.trial, asked.architecture.id, reason, asked.attempts),
            None,
        )
        self.watcher.say(f"{asked.architecture.id} could not be scored: {reason}")
        self.failures += 1
        if self.failures >= FAILURES:
            raise NasError(
                f"{FAILURES} architectures in a row could not be scored; the last one: {reason}",
                do="find the reason, then the same command with --resume",
            )

    def _tell(
        self, asked: _Asked, write: Callable[[], None], values: Sequence[float] | None
    ) -> None:
        """Write what belongs to a trial and end it; without values it fails."""

        def change() -> None:
            if asked.trial.study._storage.get_trial(asked.trial._trial_id).state.is_finished():
                return  # told just before the connection was lost, or given up for lost
            write()
            state = TrialState.FAIL if values is None else None
            self.study.tell(asked.trial, values, state=state)

        self.store.do(change)
        self.store.end(asked.trial)
        del self.running[asked.trial.number]


def baselines(hunt: Hunt) -> list[tuple[float, Architecture]]:
    """The width-scaled hand-made networks that meet the limits, widest first."""
    space, plan = hunt.costing.space, hunt.costing.plan
    scaled = [(w, sampling.baseline(space, plan, w)) for w in sorted(space.file.width)[::-1]]
    return [(w, a) for w, a in scaled if hunt.costing.strain(a) <= 1]


def _origin(hunt: Hunt, architecture: Architecture) -> str:
    for width, baseline in baselines(hunt):
        if baseline.id == architecture.id:
            return f"baseline width {width:g}"
    if architecture.id in [found.fastest.id for found in hunt.start.ranges.values()]:
        return "fastest"
    if architecture.id == hunt.start.inside.id:
        return "furthest within the limits"
    return hunt.settings.sampler


def _sampler(hunt: Hunt, taken: set[str], refused: list[int]) -> BaseSampler:
    """Starts with the baselines and the fastest architectures, then proposes."""
    settings, start = hunt.settings, hunt.start
    fastest = [found.fastest for found in start.ranges.values()]
    ends = {a.id: a for a in (start.inside, *fastest) if hunt.costing.strain(a) <= 1}
    first = [architecture for _, architecture in baselines(hunt)] + list(ends.values())
    if settings.sampler == "front":
        return FrontSampler(_domain(hunt.costing, first), seed=settings.seed, log_error=True)
    return _repairing(hunt, first[: settings.trials], taken, refused)


def _domain(costing: Costing, first: list[Architecture]) -> SpaceDomain:
    """Architectures within the limits, by their objectives after the error."""
    fronts = costing.goals.columns()
    return SpaceDomain(costing.space, costing.plan, costing.classes, costing.batch(), first, fronts)


def _repairing(
    hunt: Hunt, first: list[Architecture], taken: set[str], refused: list[int]
) -> RepairingSampler:
    costing, settings = hunt.costing, hunt.settings
    space, plan, strain = costing.space, costing.plan, costing.strain
    initial = [sampling.to_genome(space, architecture) for architecture in first]

    def fix(genome: Genome, rng: np.random.Generator) -> Genome | None:
        start = sampling.from_genome(space, plan, genome)
        if strain(start) > 1:
            refused[0] += 1
        found = repair(space, strain, start, hunt.start.inside, taken, rng)
        if found is None:
            return None
        return genome if found.id == start.id else sampling.to_genome(space, found)

    propose = make_proposer(settings.sampler, settings.trials, settings.seed)
    return RepairingSampler(space, plan, propose, fix, initial, settings.seed)
