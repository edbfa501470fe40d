"""A sampler for a first objective that is dear and others that are known or quickly learned."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.search.samplers.acquisition import Acquisition
from nas.search.samplers.domain import (
    INTERRUPTED,
    TRIED,
    Description,
    Domain,
    ExhaustedError,
)
from nas.search.samplers.gaussian_process import (
    EXACT,
    FITTED,
    INDUCING,
    Basis,
    Kernel,
    Points,
    Posterior,
    fit_kernel,
    spread,
    thin,
)
from nas.search.samplers.pool import (
    DESIGN_POOL,
    DRAWN,
    Pool,
    cheapest,
    draw,
    evolve,
    extremes,
    is_small,
    join,
    make_pool,
    maximin,
)
from nas.space.choices import Rows
from nas.space.gather import Values
from nas.threads import one_linear_algebra_thread

INITIAL = 6
"""Trials before the first fit (NAS-Bench-Macro, seeds 0 to 23: 4 did as well, 8 and 12 worse)."""
GROWTH = 0.1
"""By how much the trials grow before the kernel is fitted again."""
LEAST_ERROR = 1e-4
"""Errors below it count as it: one wrong image in ten thousand."""
DESIGNED = 256
"""Rows of the first design: as many trials may run before the first one has ended."""
ATTEMPTS = 3
"""How often parameters whose trials failed are proposed in all."""
_LOCK = threading.Lock()
"""One proposal at a time, so that each knows those before it; samplers can be copied."""


@dataclass(frozen=True)
class _History:
    """Trials so far.

    Attributes:
        rows: Of the finished ones, `N x D`.
        values: Their objectives, or what is learned in place of the first, minimised, `N x M`.
        pending: Rows of the running ones.
        taken: Keys of what is not to be proposed again.
    """

    rows: Rows
    values: Values
    pending: Rows
    taken: set[Hashable]


class _Finished:
    """Finished trials in the order in which they were seen, described once.

    Attributes:
        ended: When each of them ended, by its number.
        keys: Of those that are of the domain.
        rows: Of those that have values, `N x D`.
        values: Of these, minimised, `N x M`.
        instead: What may be learned in place of the first of them, `N`; NaN where there is none.
    """

    def __init__(self, domain: Domain, objectives: int) -> None:
        self.ended: dict[int, datetime | None] = {}
        self.keys: set[Hashable] = set()
        self.rows = np.zeros((0, len(domain.sizes)), np.int64)
        self.values = np.zeros((0, objectives))
        self.instead = np.zeros(0)
        self._domain = domain
        self._described: Description | None = None

    def add(self, rows: list[Rows], values: list[list[float]], instead: list[float]) -> None:
        """Take in more trials that have values."""
        if rows:
            self.rows = np.concatenate([self.rows, np.array(rows, np.int64)])
            self.values = np.concatenate([self.values, np.array(values, float)])
            self.instead = np.concatenate([self.instead, np.array(instead, float)])

    def learned(self) -> Values:
        """The values, with what stands in place of the first where all trials have it."""
        if not len(self.instead) or not np.isfinite(self.instead).all():
            return self.values
        return np.column_stack([self.instead, self.values[:, 1:]])

    def described(self) -> Description:
        """What is known of the rows."""
        before = 0 if self._described is None else len(self._described.choices)
        if self._described is None or before < len(self.rows):
            more = self._domain.describe(self.rows[before:])
            self._described = more if self._described is None else join(self._described, more)
        return self._described


class FrontSampler(BaseSampler):
    """Proposes what is expected to improve the front most.

    The first trials are the domain's starts and rows far from each other. Then a Gaussian process
    is fitted to the first objective; candidates within the limits are evolved towards the expected
    gain in hypervolume at their known costs. Running trials are taken into account, and nothing is
    proposed twice. All that is random depends on the seed and the number of trials so far, so that
    a study that was interrupted goes on as if it had not been.

    Args:
        domain: What may be proposed.
        seed: Of everything random.
        log_error: Learn the logarithm of one minus the first objective, for accuracies; of what is
            learned in its place the logarithm.
        initial: Trials before the first fit, at least.
        instead: A user attribute that is learned in place of the first objective where all finished
            trials have it: an error that ranks better than the objective does.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int,
        log_error: bool = False,
        initial: int = INITIAL,
        instead: str = "",
    ) -> None:
        self._domain, self._seed, self._log_error = domain, seed, log_error
        self._instead = instead
        self._initial = max(initial, len(domain.starts))
        self._finished = _Finished(domain, 0)
        self._asked: dict[int, Rows] = {}
        self._partial: dict[int, Rows] = {}
        self._keys: dict[bytes, Hashable] = {}
        self._study: tuple[int, str] | None = None
        self._random = RandomSampler(seed)
        self._kernels: dict[int, tuple[int, Kernel, Basis | None]] = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All dimensions are sampled together."""
        return dict(self._domain.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next parameters.

        Raises:
            ExhaustedError: Everything within the limits was proposed before.
            ValueError: Some of the domain's parameters are fixed from outside.
        """
        fixed = self._domain.distributions.keys() - search_space.keys()
        if fixed:
            raise ValueError(
                f"all parameters of the domain are proposed together, without {min(fixed)} there "
                "is no proposal; give a fixed one a distribution of one choice"
            )
        with _LOCK, one_linear_algebra_thread():
            proposed = self._next(self._history(study, trial))
            if proposed is None:
                raise ExhaustedError(
                    "everything within the limits was proposed before", trial.number
                )
            self._asked[trial.number] = proposed
        return self._domain.parameters(proposed)

    def _next(self, history: _History) -> Rows | None:
        proposed = None
        begun, finished = len(history.rows) + len(history.pending), len(history.rows)
        if begun < self._initial or finished < self._initial // 2:
            designed = (row for row in self._design if self._key(row) not in history.taken)
            proposed = next(designed, None)
        return self._propose(history) if proposed is None else proposed

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """A random value of a parameter that the domain lacks.

        Raises:
            ValueError: The domain has it, but with another distribution.
        """
        known = self._domain.distributions.get(param_name)
        if known is not None:
            raise ValueError(
                f"{param_name} was asked for with another distribution than the sampler's: "
                f"{param_distribution}; the domain has {known}"
            )
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _history(self, study: Study, own: FrozenTrial) -> _History:
        """Trials of the study that are of this domain."""
        if self._study != (study._study_id, study.study_name):
            self._study = study._study_id, study.study_name
            self._forget(len(study.directions))
        trials = study.get_trials(deepcopy=False)
        if not self._knows(trials):  # of another storage, or made anew under the same name
            self._forget(len(study.directions))
        finished, pending = self._finished, list[Rows]()
        rows, values, instead = list[Rows](), list[list[float]](), list[float]()
        failed: Counter[Hashable] = Counter()
        for trial in trials:
            if trial.number in finished.ended or trial.number == own.number:
                continue
            row = self._row(trial)
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                found = self._values(study, trial)
                if row is not None:
                    finished.keys.add(self._key(row))
                if row is not None and found:
                    rows.append(row)
                    values.append(found)
                    instead.append(self._instead_of_first(trial))
                finished.ended[trial.number] = trial.datetime_complete
            elif row is not None and trial.state == TrialState.RUNNING:
                pending.append(row)
            elif row is not None and trial.state == TrialState.FAIL:
                tried = 0 if INTERRUPTED in trial.user_attrs else trial.user_attrs.get(TRIED, 1)
                failed[self._key(row)] += int(tried)
        finished.add(rows, values, instead)
        others = {self._key(row) for row in [*pending, *self._partial.values()]}
        others |= {key for key, count in failed.items() if count >= ATTEMPTS}
        return _History(
            finished.rows, finished.learned(), self._array(pending), finished.keys | others
        )

    def _forget(self, objectives: int) -> None:
        self._finished = _Finished(self._domain, objectives)
        for kept in (self._asked, self._partial, self._kernels):
            kept.clear()

    def _knows(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the finished trials that are remembered are among these."""
        return all(
            number < len(trials) and trials[number].datetime_complete == ended
            for number, ended in self._finished.ended.items()
        )

    def _row(self, trial: FrozenTrial) -> Rows | None:
        """A trial's row; `None` for one of another domain.

        One that runs may not have suggested its parameters yet. Those that a finished one never
        suggested, as they meant nothing beside the others, count as their first choice.
        """
        row, asked = self._domain.row(trial.params), self._asked.get(trial.number)
        if row is not None:
            return row
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return asked
        if asked is not None:
            self._partial[trial.number] = asked
        if trial.params.keys().isdisjoint(self._domain.distributions):
            return None
        first = self._domain.parameters(np.zeros(len(self._domain.sizes), np.int64))
        return self._domain.row({**first, **trial.params})

    def _values(self, study: Study, trial: FrozenTrial) -> list[float]:
        """A finished trial's values, minimised; none for a pruned one."""
        if trial.state == TrialState.PRUNED or not np.isfinite(trial.values).all():
            return []
        signs = [-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in study.directions]
        values = [sign * value for sign, value in zip(signs, trial.values, strict=True)]
        if self._log_error:
            if not 0 <= -values[0] <= 1:
                raise ValueError(
                    "log_error is for accuracies, from 0 to 1 and maximised; trial "
                    f"{trial.number} has {trial.values[0]}"
                )
            values[0] = float(np.log(max(1 + values[0], LEAST_ERROR)))
        return values

    def _instead_of_first(self, trial: FrozenTrial) -> float:
        """What is learned in its place, NaN where the trial has none; as errors are."""
        found = float(trial.user_attrs.get(self._instead, np.nan))
        return float(np.log(np.maximum(found, LEAST_ERROR))) if self._log_error else found

    def _array(self, rows: list[Rows]) -> Rows:
        return np.array(rows, np.int64).reshape(-1, len(self._domain.sizes))

    def _key(self, row: Rows) -> Hashable:
        known = self._keys.get(row.tobytes())
        if known is None:
            known = self._keys[row.tobytes()] = self._domain.key(row)
        return known

    @cached_property
    def _design_pool(self) -> Pool:
        """The starts, the cheapest row found, and random ones."""
        rng = np.random.default_rng(self._seed)
        starts = make_pool(self._domain, self._domain.starts)
        drawn = draw(self._domain, DESIGN_POOL, starts.rows, rng)
        few = extremes(self._domain, drawn.take(rng.permutation(len(drawn))[:DESIGN_POOL]), rng)
        every = few.with_rows(drawn.rows) if is_small(self._domain) else few
        return starts.with_rows(every.rows[cheapest(every)]).with_rows(few.rows)

    @cached_property
    def _ends(self) -> Rows:
        """The cheapest and the dearest rows, which uniform draws do not come near."""
        pool = self._design_pool
        if pool.described.costs is None or len(pool) == 0:
            return pool.rows[:0]
        costs = pool.described.costs
        ends = np.concatenate([costs.argmin(axis=0), costs.argmax(axis=0)])
        return np.asarray(pool.rows[ends], np.int64)

    @cached_property
    def _scaling(self) -> tuple[Values, Values]:
        """Mean and deviation of the features over what may be proposed."""
        features = self._design_pool.described.features
        if len(features) == 0:
            return np.zeros(features.shape[1]), np.ones(features.shape[1])
        return features.mean(axis=0), np.array([spread(column) for column in features.T])

    @cached_property
    def _design(self) -> Rows:
        """Rows of the first trials: the starts or the cheapest, then rows far from each other.

        The cheapest is on the front whatever its accuracy.
        """
        pool, starts = self._design_pool, len(make_pool(self._domain, self._domain.starts))
        if len(pool) == 0:
            return pool.rows
        chosen = np.arange(starts or 1)
        features = self._points(pool.described).features
        return pool.rows[maximin(pool, features, chosen, DESIGNED)]

    def _points(self, described: Description) -> Points:
        mean, deviation = self._scaling
        return Points(described.choices, (described.features - mean) / deviation)

    def _propose(self, history: _History) -> Rows | None:
        """The new row that is expected to gain most; `None` where there is none."""
        rng = np.random.default_rng([self._seed, len(history.rows), len(history.pending)])
        if len(self._design_pool) == 0:
            return None
        if len(history.rows) == 0:  # more are running than were designed
            drawn = draw(self._domain, DRAWN, history.pending, rng).rows
            return next((row for row in drawn if self._key(row) not in history.taken), None)
        known = self._finished.described()
        if known.costs is not None and known.costs.shape[1] != history.values.shape[1] - 1:
            raise ValueError(
                f"costs are those of the {history.values.shape[1] - 1} objectives after the first; "
                f"got {known.costs.shape[1]}"
            )
        models = [self._model(known, history, i) for i in self._learned(known, history)]
        acquisition = Acquisition(
            points=self._points,
            error=models[0],
            cost_models=models[1:] if known.costs is None else None,
            known=known,
            costs=history.values[:, 1:] if known.costs is None else known.costs,
            reach=self._design_pool.described,
            fronts=self._domain.fronts,
        )
        parents = np.concatenate([history.rows[acquisition.front()], self._ends])
        pool = draw(self._domain, DRAWN, parents, rng).with_rows(self._ends)
        candidates, scores = evolve(pool, parents, acquisition.score, rng)
        order = np.argsort(-scores, kind="stable")
        running = make_pool(self._domain, history.pending)
        if len(running):  # they are taken to turn out as expected, which changes the scores
            candidates = running.joined(candidates)
            order = acquisition.order(candidates, len(running))
        for index in order:
            row: Rows = candidates.rows[index]
            if self._key(row) not in history.taken:
                return row
        return None

    def _learned(self, known: Description, history: _History) -> range:
        """Numbers of the objectives that are learned: the first, or all where none is known."""
        return range(history.values.shape[1] if known.costs is None else 1)

    def _model(self, known: Description, history: _History, objective: int) -> Posterior:
        points, values = self._points(known), history.values[:, objective]
        kernel, basis = self._kernel(points, values, objective)
        return Posterior(kernel, points, values, basis)

    def _kernel(
        self, points: Points, values: Values, objective: int
    ) -> tuple[Kernel, Basis | None]:
        """Fitted anew whenever the trials have grown by a tenth: it depends on them alone."""
        count = grown = min(self._initial, len(values))
        while grown <= len(values):
            count, grown = grown, grown + max(1, int(GROWTH * grown))
        found = self._kernels.get(objective)
        if found is None or found[0] != count:
            rng = np.random.default_rng([self._seed, count])
            index = thin(values[:count], FITTED, rng)
            chosen = values[:count][index]
            kernel = fit_kernel(points.take(index), (chosen - chosen.mean()) / spread(chosen))
            found = self._kernels[objective] = count, kernel, None
        _, kernel, basis = found
        if basis is None and len(values) > EXACT:
            rng = np.random.default_rng([self._seed, count, INDUCING])
            basis = Basis(kernel, points.take(thin(values[:count], INDUCING, rng)))
            self._kernels[objective] = count, kernel, basis
        return kernel, basis
