"""The ask/tell loop: architectures are proposed, scored, and stored."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import Trial, TrialState

from nas.accuracy.score import SEARCH, Fidelity
from nas.errors import NasError
from nas.search.costing import with_shares
from nas.search.executors.executor import Executor, Outcome
from nas.search.journal import together
from nas.search.proposals import Hunt, Proposals, Proposed
from nas.search.samplers.domain import INTERRUPTED, ExhaustedError
from nas.search.samplers.front import ATTEMPTS
from nas.search.samplers.space_domain import distributions
from nas.search.standing import Standing, worst_costs
from nas.search.store import Store
from nas.search.study import (
    LOSS,
    TrialRecord,
    ask,
    fail_trial,
    set_attributes,
    trial_records,
    tried_ids,
    write_trial,
)
from nas.search.watch import Watcher
from nas.space import sample as sampling
from nas.space.architecture import Architecture
from nas.units import format_duration_s, plural

FAILURES = 10
"""Architectures in a row that could not be scored, after which the search gives up."""
POLL_S = 1.0
"""Between looks at trials that other processes evaluate."""
TELL_S = 5.0
"""Between changes of what the study itself says of the search."""


@dataclass(frozen=True)
class Rung:
    """Trials that are scored alike.

    Attributes:
        proposals: Where their architectures come from.
        wanted: How many are scored.
        fidelity: How well.
    """

    proposals: Proposals
    wanted: int
    fidelity: Fidelity = SEARCH


def run_trials(
    hunt: Hunt,
    store: Store,
    watcher: Watcher,
    executor: Executor,
    rung: Rung | None = None,
) -> list[TrialRecord]:
    """Score architectures until as many distinct ones as are wanted are in the study.

    Args:
        hunt: What is searched.
        store: Keeps the study.
        watcher: Hears of the progress.
        executor: Scores.
        rung: Which trials; those that the run's sampler proposes, if not given.

    Returns:
        All trials, those of earlier runs of the same study included.

    Raises:
        NasError: One evaluation after the other failed.
    """
    rung = rung or Rung(Proposed(hunt), hunt.settings.trials)
    costs = [goal.name for goal in hunt.costing.goals.minimised]
    study = store.study(rung.fidelity.name, rung.proposals.sampler, costs)
    worst = worst_costs(hunt.costing)
    standing = Standing(hunt.costing.goals, worst, hunt.costing.classes)
    loop = _Loop(hunt, rung, study, store, watcher, executor, standing)
    try:
        return loop.run()
    except KeyboardInterrupt:
        loop.let_go()
        raise


@dataclass
class _Asked:
    """A trial that is being evaluated."""

    trial: Trial
    architecture: Architecture
    attributes: dict[str, Any]
    attempts: int = 1


@dataclass
class _Clock:
    """When the study is told how far it is, and how long the rest takes at the pace so far."""

    told: float = -math.inf
    begun: tuple[float, int] | None = None

    def due(self) -> bool:
        """Whether it is time, which is then counted from now."""
        now = time.monotonic()
        if now - self.told < TELL_S:
            return False
        self.told = now
        return True

    def left_s(self, done: int, wanted: int) -> float | None:
        """Seconds; `None` where nothing was done yet since the clock was first asked."""
        now = time.monotonic()
        start, before = self.begun = self.begun or (now, done)
        return (now - start) / (done - before) * (wanted - done) if done > before else None


@dataclass
class _Loop:
    """Keeps the executor busy: asks, submits, and tells what has ended.

    Attributes:
        standing: How far it is.
        running: Trials that are evaluated here, by number.
        again: Those of them that wait to be tried again.
        failures: Architectures in a row that could not be scored.
        reason: Why the last of them could not.
        lost: Trials that were cut off, here or elsewhere.
        waiting: Whether it was said that other searches are waited for.
        exhausted: Whether there is nothing left to propose.
        clock: Tells the time that is left.
    """

    hunt: Hunt
    rung: Rung
    study: Study
    store: Store
    watcher: Watcher
    executor: Executor
    standing: Standing
    running: dict[int, _Asked] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)
    failures: int = 0
    reason: str = ""
    lost: int = 0
    waiting: bool = False
    clock: _Clock = field(default_factory=_Clock)
    exhausted: bool = False

    def run(self) -> list[TrialRecord]:
        wanted, stage = self.rung.wanted, self.rung.fidelity.name
        while True:
            self.store.drop_lost(self.study)
            scored, under_way = self._look()
            self.watcher.progress(stage, scored, wanted, str(self.standing))
            self._tell_study(scored)
            if not self.running and (scored >= wanted or (self.exhausted and not under_way)):
                break
            while self.again and self.executor.free():
                job = self.again.pop(0)
                self.executor.submit(job, self.running[job].architecture, self.rung.fidelity)
            if scored + under_way < wanted:
                while self.executor.free() and self._ask():
                    pass
            if self.running or not self.executor.free():
                for outcome in self.executor.wait():
                    self._settle(outcome)
            elif under_way:
                self._wait_for_others()
        if self.exhausted and scored < wanted:
            many = plural(scored, "architecture")
            self.watcher.say(f"The {stage} ends after {many}: {self.rung.proposals.none_left}")
            self.watcher.progress(stage, scored, scored, str(self.standing))
        self._tell_study(scored, ended=True)
        if scored == 0 and self.rung.fidelity == SEARCH:
            raise NasError(
                f"no architecture could be scored: {self.reason or 'see the trials of the study'}",
                do="find the reason, then a new run with --out OTHER_FOLDER",
            )
        return self.store.do(lambda: trial_records(self.study))

    def _wait_for_others(self) -> None:
        if not self.waiting:
            self.watcher.say("The last trials are evaluated by other searches: waiting for them.")
            self.waiting = True
        time.sleep(POLL_S)

    def let_go(self) -> None:
        """The process stops: what it evaluates is free for others."""
        for asked in self.running.values():
            self.store.let_go(asked.trial)

    def _tell_study(self, scored: int, *, ended: bool = False) -> None:
        """What people watch, as attributes of the study: the dashboard shows them."""
        left_s = self.clock.left_s(scored, self.rung.wanted)
        left = "not known yet" if left_s is None else format_duration_s(left_s)
        if ended or self.clock.due():
            told = {
                "scored": f"{scored} of {self.rung.wanted}",
                **self.standing.attributes(),
                "time left": "none" if ended else left,
            }
            self.store.do(lambda: set_attributes(self.study, told))

    def _look(self) -> tuple[int, int]:
        """How many trials are scored and how many are under way, here and elsewhere."""
        trials = self.store.do(lambda: self.study.get_trials(deepcopy=False))
        self.standing.update(trials)
        states = Counter(trial.state for trial in trials)
        lost = sum(t.state == TrialState.FAIL and INTERRUPTED in t.user_attrs for t in trials)
        if lost != self.lost:
            self.lost, self.exhausted = lost, False  # what they had is free again
        return states[TrialState.COMPLETE], states[TrialState.RUNNING]

    def _ask(self) -> bool:
        """Begin a trial; whether there was one to begin, and it was needed."""
        if self.exhausted:
            return False
        costing, proposals = self.hunt.costing, self.rung.proposals
        with self.store.alone() as alone:
            if sum(self._look()) >= self.rung.wanted:
                return False
            proposals.taken = self.store.do(self._tried)
            if not proposals.another():
                self.exhausted = self._look()[1] == 0
                return False
            try:
                trial = self.store.do(
                    lambda: ask(self.study, distributions(costing.space, costing.plan))
                )
                self.store.begin(trial)
            except UpdateFinishedTrialError:  # without the lock, another took it for lost
                return True
            except ExhaustedError as end:
                number = end.trial_number
                self.store.do(lambda: self.study.tell(number, state=TrialState.FAIL))
                self.exhausted = True
                return False
            if not alone():  # the lock went with its connection: another may have asked for it
                self.store.take_back(trial)
                return True
        architecture = sampling.from_genome(costing.space, costing.plan, trial.params)
        attributes = {
            "id": architecture.id,
            "architecture": architecture.to_json(),
            **costing.costs(architecture),
            "refused": proposals.refused,
            "origin": proposals.origin(architecture),
        }
        self.running[trial.number] = _Asked(trial, architecture, attributes)
        self.executor.submit(trial.number, architecture, self.rung.fidelity)
        return True

    def _tried(self) -> set[str]:
        """Ids of what is not to be proposed again, with what is evaluated here and elsewhere."""
        space, plan = self.hunt.costing.space, self.hunt.costing.plan
        found = tried_ids(self.study)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number in self.running:
                found.add(self.running[trial.number].architecture.id)
            elif len(trial.params) == len(space.dimensions(plan)):
                found.add(sampling.from_genome(space, plan, trial.params).id)
        return found

    def _settle(self, outcome: Outcome) -> None:
        """Tell the study, or try again what failed."""
        asked = self.running[outcome.job]
        score = outcome.score
        if score is not None and math.isfinite(score.value) and math.isfinite(score.loss or 0.0):
            self.failures = 0
            latencies = {
                device: with_shares(latency, score.shares)
                for device, latency in asked.attributes["latency_ms"].items()
            }
            attributes = {
                **asked.attributes,
                "images": score.images,
                "latency_ms": latencies,
                LOSS: score.loss,
            }
            values = [score.value, *self.hunt.costing.goals.values(attributes)]
            self._tell(asked, lambda: write_trial(self.study, asked.trial, attributes), values)
            return
        reason = outcome.reason or "its accuracy or loss is not a number"
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
        self.failures, self.reason = self.failures + 1, reason
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
            state = TrialState.FAIL if values is None else None
            with contextlib.suppress(UpdateFinishedTrialError), together(self.study):
                write()
                self.study.tell(asked.trial, values, state=state, skip_if_finished=True)

        self.store.do(change)
        self.store.end(asked.trial)
        del self.running[asked.trial.number]
