"""The ask/tell loop: architectures are proposed, scored, and stored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
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
from nas.search.samplers.front import FrontSampler
from nas.search.samplers.repairing import RepairingSampler, make_proposer
from nas.search.samplers.space_domain import SpaceDomain, distributions
from nas.search.settings import SearchSettings
from nas.search.study import (
    TrialRecord,
    changing,
    fail_trial,
    open_study,
    trial_records,
    tried_ids,
    write_trial,
)
from nas.search.watch import Watcher
from nas.space import sample as sampling
from nas.space.architecture import Architecture
from nas.space.sample import Genome

ATTEMPTS = 3
"""How often an evaluation is tried."""
FAILURES = 10
"""Architectures in a row that could not be scored, after which the search gives up."""


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


def run_trials(
    hunt: Hunt, journal: Path, watcher: Watcher, executor: Executor
) -> list[TrialRecord]:
    """Score architectures until `settings.trials` distinct ones are in the study.

    Returns:
        All trials, those of earlier runs of the same study included.

    Raises:
        NasError: One evaluation after the other failed.
    """
    taken: set[str] = set()
    refused: list[int] = [0]
    sampler = _sampler(hunt, taken, refused)
    study = open_study(journal, sampler, [goal.name for goal in hunt.costing.goals.minimised])
    scored = len(trial_records(study))
    taken.update(tried_ids(study))
    return _Loop(hunt, study, journal, watcher, executor, scored, taken, refused).run()


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
        scored: How many architectures are.
        taken: Ids of those that are scored, being scored, or were tried in vain.
        refused: Proposals for the next trial that broke a limit; counted by the sampler.
    """

    hunt: Hunt
    study: Study
    journal: Path
    watcher: Watcher
    executor: Executor
    scored: int
    taken: set[str]
    refused: list[int]
    running: dict[int, _Asked] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)
    failures: int = 0

    def run(self) -> list[TrialRecord]:
        wanted, exhausted = self.hunt.settings.trials, False
        while True:
            self.watcher.progress("search", self.scored, wanted)
            while self.again and self.executor.free():
                job = self.again.pop(0)
                self.executor.submit(job, self.running[job].architecture)
            while (
                not exhausted and self.scored + len(self.running) < wanted and self.executor.free()
            ):
                exhausted = not self._ask()
            if not self.running and (exhausted or self.scored >= wanted):
                break
            for outcome in self.executor.wait():
                self._settle(outcome)
        if exhausted:
            self.watcher.say(
                f"The search ends after {self.scored} architectures: no further one within the "
                "limits was found"
            )
            self.watcher.progress("search", self.scored, self.scored)
        return trial_records(self.study)

    def _ask(self) -> bool:
        """Begin a trial; whether there was one to begin."""
        costing = self.hunt.costing
        self.refused[0] = 0
        try:
            with changing(self.journal):
                trial = self.study.ask(distributions(costing.space, costing.plan))
        except ExhaustedError as end:
            with changing(self.journal):
                self.study.tell(end.trial_number, state=TrialState.FAIL)
            return False
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

    def _settle(self, outcome: Outcome) -> None:
        """Tell the study, or try again what failed."""
        asked = self.running[outcome.job]
        if outcome.score is not None and math.isfinite(outcome.score.value):
            del self.running[outcome.job]
            self.failures, self.scored = 0, self.scored + 1
            values = [outcome.score.value, *self.hunt.costing.goals.values(asked.attributes)]
            with changing(self.journal):
                write_trial(
                    self.study, asked.trial, {**asked.attributes, "images": outcome.score.images}
                )
                self.study.tell(asked.trial, values)
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
        del self.running[asked.trial.number]
        with changing(self.journal):
            fail_trial(asked.trial, asked.architecture.id, reason, asked.attempts)
            self.study.tell(asked.trial, state=TrialState.FAIL)
        self.watcher.say(f"{asked.architecture.id} could not be scored: {reason}")
        self.failures += 1
        if self.failures >= FAILURES:
            raise NasError(
                f"{FAILURES} architectures in a row could not be scored; the last one: {reason}",
                do="find the reason, then the same command with --resume",
            )


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
