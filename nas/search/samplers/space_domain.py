"""The architectures of a search space as a sampler's domain."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from nas.search.samplers.domain import Description, Mask, Parameters
from nas.search.samplers.guess import Guess
from nas.space import sample as sampling
from nas.space.architecture import Architecture, Placed
from nas.space.choices import ChoiceRows, Rows
from nas.space.gather import Step, Values, gather, make_steps
from nas.space.space import SearchSpace

Costs = Callable[[Rows], tuple[Values, Mask]]
"""Of `N` rows: costs above zero, `N x C`, and which are within each front's limits, `N x F`."""


@dataclass(frozen=True)
class SpaceDomain:
    """A space in one plan; the surrogate also learns from costs, MACs, params and depth.

    Attributes:
        space: The search space.
        plan: Its input plan.
        classes: Outputs of the classifier.
        costs: Of canonical rows (`N x D`, as `ChoiceRows` writes them).
        first: Architectures of the first trials.
        fronts: The costs, by number, that each front is over; `None` for one front over all.
        guess: Of a cheap score, which then is a feature, too.
    """

    space: SearchSpace
    plan: str
    classes: int
    costs: Costs
    first: Sequence[Architecture] = ()
    fronts: Sequence[Sequence[int]] | None = None
    guess: Guess | None = None

    @cached_property
    def rows(self) -> ChoiceRows:
        """How rows are written."""
        return ChoiceRows(self.space, self.plan)

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The dimensions as Optuna knows them."""
        return distributions(self.space, self.plan)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of choices of each dimension."""
        return self.rows.sizes

    @cached_property
    def starts(self) -> Rows:
        """Rows of the first trials."""
        rows = [self.rows.row(sampling.to_genome(self.space, a)) for a in self.first]
        return np.array(rows, np.int64).reshape(-1, len(self.sizes))

    @cached_property
    def _steps(self) -> list[Step]:
        return make_steps(self.rows.book, self.classes, _plain)

    def describe(self, rows: Rows) -> Description:
        """Canonical choices, features and costs of rows, and which are within the limits."""
        canonical = self.rows.canonical(rows)
        costs, within = self.costs(canonical)
        plain = gather(self._steps, self.rows.pack(canonical))
        features = np.concatenate([np.log(costs), np.log(plain[:, :2]), plain[:, 2:]], axis=1)
        described = Description(canonical, features, costs, within)
        if self.guess is None:
            return described
        guessed = self.guess.of(described)[:, None]
        return replace(described, features=np.concatenate([features, guessed], axis=1))

    def guided(self, scored: Sequence[tuple[Architecture, float]]) -> SpaceDomain:
        """The same where the surrogate also learns from what cheap scores of a few lead to."""
        rows = [self.rows.row(sampling.to_genome(self.space, a)) for a, _ in scored]
        described = replace(self, guess=None).describe(np.array(rows, np.int64))
        return replace(self, guess=Guess(described, np.array([score for _, score in scored])))

    def key(self, row: Rows) -> Hashable:
        """The id of the architecture: of the network that it is."""
        return self.rows.architecture(row).id

    def parameters(self, row: Rows) -> Parameters:
        """The full assignment of a row."""
        return dict(self.rows.genome(row))

    def row(self, parameters: Mapping[str, Any]) -> Rows | None:
        """The row of a full assignment; `None` where it is not one."""
        try:
            return self.rows.row(parameters)
        except (KeyError, ValueError):
            return None


def distributions(space: SearchSpace, plan: str) -> dict[str, BaseDistribution]:
    """The dimensions of a space as Optuna knows them."""
    return {d.name: CategoricalDistribution(d.choices) for d in space.dimensions(plan)}


def _plain(blocks: Sequence[Placed], resolution: int) -> tuple[float, float, float]:
    """MACs, parameters and number of blocks."""
    macs = sum(block.cost.macs for _, block in blocks)
    return float(macs), float(sum(block.cost.params for _, block in blocks)), float(len(blocks))
