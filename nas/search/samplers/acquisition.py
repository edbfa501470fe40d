"""From models of the objectives to the candidates that improve the front most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.pareto import non_dominated
from nas.search.samplers.domain import Description, Mask
from nas.search.samplers.gaussian_process import Points, Posterior
from nas.search.samplers.improvement import budget_grid, gains, meets, staircase
from nas.search.samplers.pool import Pool
from nas.space.choices import Rows
from nas.space.gather import Values


@dataclass(frozen=True)
class Acquisition:
    """What is known of a front, and what candidates would add to it.

    Args:
        points: Standardises a description.
        error: Model of the first objective.
        cost_models: Models of the others; `None` where descriptions have them.
        known: Of the evaluated rows.
        costs: Of the evaluated rows, `N x C`, minimised.
        reach: Descriptions of rows between whose costs budgets are laid.
        fronts: The costs, by number, that each front is over; `None` for one front over all.
    """

    points: Callable[[Description], Points]
    error: Posterior
    cost_models: list[Posterior] | None
    known: Description
    costs: Values
    reach: Description
    fronts: Sequence[Sequence[int]] | None = None

    def costs_of(self, described: Description) -> Values:
        """Costs of rows, `N x C`: as described, or else as their models expect them."""
        if self.cost_models is None:
            assert described.costs is not None
            return described.costs
        points = self.points(described)
        means = [model.predict(points).mean for model in self.cost_models]
        return np.stack(means, axis=1) if means else np.zeros((len(points), 0))

    @cached_property
    def budgets(self) -> list[tuple[list[int], Values]]:
        """For each front the costs it is over and the budgets at which it counts, `G x C`."""
        costs = np.concatenate([self.costs, self.costs_of(self.reach)])
        within = np.concatenate([self.known.within, self.reach.within])
        found = []
        for front, columns in enumerate(self.fronts or [range(costs.shape[1])]):
            chosen = costs[within[:, front]][:, list(columns)]
            if len(chosen):
                grid = budget_grid(chosen.min(axis=0), chosen.max(axis=0))
                found.append((list(columns), grid))
            else:
                found.append((list(columns), np.zeros((0, len(columns)))))
        return found

    def meets(self, costs: Values, within: Mask) -> Mask:
        """Which of `N` rows meet which budgets of all fronts, shape `N x G`."""
        return np.concatenate(
            [
                meets(costs[:, columns], budgets) & within[:, front, None]
                for front, (columns, budgets) in enumerate(self.budgets)
            ],
            axis=1,
        )

    @cached_property
    def _leaders(self) -> Rows:
        """Numbers of the evaluated rows that no other one beats on some front: all that matter."""
        found = np.zeros(len(self.costs), bool)
        for front, (columns, _) in enumerate(self.budgets):
            inside = np.flatnonzero(self.known.within[:, front])
            points = np.column_stack([self.costs[inside][:, columns], self.error.values[inside]])
            found[inside[non_dominated(points)]] = True
        return np.flatnonzero(found)

    @cached_property
    def _met(self) -> Mask:
        """Which leaders meet which budgets."""
        return self.meets(self.costs[self._leaders], self.known.within[self._leaders])

    @cached_property
    def best(self) -> Values:
        """The lowest value under each budget, shape `G`; the worst known where there is none."""
        values = self.error.values
        return staircase(self._met, values[self._leaders], float(values.max()))

    def front(self) -> Rows:
        """Numbers of the evaluated rows that are the best under some budget."""
        values = self.error.values[self._leaders]
        reached = np.where(self._met, values[:, None], np.inf)
        columns = np.isfinite(reached).any(axis=0)
        if not columns.any():
            return self._leaders[:0]
        return np.asarray(self._leaders[np.unique(reached[:, columns].argmin(axis=0))], np.int64)

    def score(self, pool: Pool) -> Values:
        """Expected gain of each row of a pool, shape `N`."""
        belief = self.error.predict(self.points(pool.described))
        inside = self.meets(self.costs_of(pool.described), pool.described.within)
        return gains(belief.mean, belief.deviation, inside, self.best)

    def order(self, pool: Pool, running: int) -> Rows:
        """Numbers of a pool's rows, those that gain most first.

        Args:
            pool: Candidates.
            running: How many of its first rows are being evaluated: taken to turn out as expected.
        """
        belief = self.error.predict(self.points(pool.described))
        inside = self.meets(self.costs_of(pool.described), pool.described.within)
        belief.expect(running)
        reached = np.where(inside[:running], belief.mean[:running, None], np.inf)
        best = np.minimum(self.best, reached.min(axis=0, initial=np.inf))
        gain = gains(belief.mean, belief.deviation, inside, best)
        gain[:running] = -np.inf
        return np.argsort(-gain, kind="stable")[: len(pool) - running]
