"""Architectures whose accuracies and costs are all known, for samplers to be compared on."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nas.search.samplers.space_domain import SpaceDomain
from nas.space.architecture import Architecture
from nas.space.choices import ChoiceRows
from nas.space.space import SearchSpace


@dataclass
class Problem:
    """A table of evaluations.

    Attributes:
        space: The search space.
        plan: Its input plan.
        code: How a full assignment is written in the table.
        accuracy: By code, 0 to 1.
        latency: By device, then code: ms.
        limits: The largest latency allowed, by device.
        zero_cost: Architectures with a score of the untrained network, for `front-naswot`.
    """

    space: SearchSpace
    plan: str
    code: Callable[[dict], str]
    accuracy: dict[str, float]
    latency: dict[str, dict[str, float]]
    limits: dict[str, float] | None = None
    zero_cost: list[tuple[Architecture, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = ChoiceRows(self.space, self.plan)
        self._codes: dict[bytes, str] = {}
        self._keys: dict[str, Hashable] = {}

    def codes(self) -> list[str]:
        """One code for each network: the canonical one."""
        return sorted({self.code_of(row) for row in self.every_row})

    @cached_property
    def every_row(self) -> np.ndarray:
        """All assignments, `N x D`, of which several may be one network."""
        return np.indices(self.rows.sizes).reshape(len(self.rows.sizes), -1).T

    def code_of(self, row: np.ndarray) -> str:
        """The code of a row, written canonically: equal for equal networks."""
        found = self._codes.get(row.tobytes())
        if found is None:
            canonical = self.rows.canonical(row[None])[0]
            found = self._codes[row.tobytes()] = self.code(self.rows.genome(canonical))
        return found

    def costs(self, code: str) -> list[float]:
        """Latency on every device, ms."""
        return [latency[code] for latency in self.latency.values()]

    def within(self, code: str) -> bool:
        """Whether it meets all limits."""
        return all(self.latency[d][code] <= limit for d, limit in (self.limits or {}).items())

    def excess(self, code: str) -> list[float]:
        """How far each limited latency is over its limit, as a share of it."""
        return [self.latency[d][code] / limit - 1 for d, limit in (self.limits or {}).items()]

    def values(self, code: str) -> list[float]:
        """Error and latencies, all minimised."""
        return [1 - self.accuracy[code], *self.costs(code)]

    def domain(self) -> SpaceDomain:
        """For our sampler: latencies from the table, the rest from the space."""

        def costs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            codes = [self.code_of(row) for row in rows]
            found = np.array([self.costs(code) for code in codes]).reshape(len(rows), -1)
            return found, np.array([self.within(code) for code in codes], bool)[:, None]

        return SpaceDomain(self.space, self.plan, 10, costs)
