"""What a search minimises beside the error, and the limits that it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nas.search.settings import KINDS, Kind, SearchSettings
from nas.units import format_bytes, format_count, format_energy_mj, format_latency_ms

Costs = Mapping[str, Any]
"""What a model costs, as trials and `front.json` hold it."""


def bounded(latency: Mapping[str, Any], on_expected: bool) -> Mapping[str, Any]:
    """The part of a latency whose upper bound a budget is held against.

    Args:
        latency: Of a model on a device.
        on_expected: Whether that is what is expected on average, where there are exits; else it is
            an inference through all of the network.
    """
    found: Mapping[str, Any] = latency.get("expected", latency) if on_expected else latency
    return found


def holds_expected(settings: Mapping[str, Any]) -> bool:
    """Whether a run's budgets hold what is expected on average."""
    return settings.get("budget_on") == "expected"


@dataclass(frozen=True)
class _Wording:
    """How a kind of cost is kept, written and named."""

    field: str
    words: str
    per_device: bool
    format: Callable[[float], str]


WORDINGS: dict[Kind, _Wording] = {
    "latency": _Wording("latency_ms", "predicted latency", True, format_latency_ms),
    "energy": _Wording("energy_mj", "energy", True, format_energy_mj),
    "memory": _Wording("peak_memory_bytes", "peak activation memory", False, format_bytes),
    "size": _Wording("size_bytes", "file size", False, format_bytes),
    "macs": _Wording("macs", "MACs", False, format_count),
}


@dataclass(frozen=True)
class Goal:
    """A cost that is minimised, or held within a limit, or both.

    Attributes:
        kind: Of the cost.
        device: As it was typed, for latency and energy.
        limit: The largest allowed value: ms, mJ, bytes or multiply-adds.
        minimised: Whether it is an objective.
        on_expected: Whether the limit is on what is expected on average, where there are exits;
            else on an inference through all of a network.
    """

    kind: Kind
    device: str | None
    limit: float | None
    minimised: bool
    on_expected: bool = False

    @property
    def name(self) -> str:
        """`latency_ms jetson-nano`, `size_bytes`: of the objective in a study."""
        field = WORDINGS[self.kind].field
        return field if self.device is None else f"{field} {self.device}"

    @property
    def words(self) -> str:
        """`predicted latency on jetson-nano`, `file size`."""
        words = WORDINGS[self.kind].words
        return words if self.device is None else f"{words} on {self.device}"

    def format(self, value: float) -> str:
        """With its unit."""
        return WORDINGS[self.kind].format(value)

    def value(self, costs: Costs) -> float:
        """What is minimised; infinite where it is not known. Of a latency, what is expected."""
        return self._read(costs, "predicted", expected=True)

    def bound(self, costs: Costs) -> float:
        """What is held against the limit."""
        return self._read(costs, "upper", expected=self.on_expected)

    def _read(self, costs: Costs, key: str, expected: bool) -> float:
        found = costs[WORDINGS[self.kind].field]
        if self.device is not None:
            found = found.get(self.device)
        if isinstance(found, Mapping):
            found = bounded(found, expected)[key]
        return math.inf if found is None else float(found)

    def strain(self, costs: Costs) -> float:
        """The bound as a share of the limit: above 1 where it is broken."""
        return 0.0 if self.limit is None else self.bound(costs) / self.limit


@dataclass(frozen=True)
class Front:
    """Models that are compared with each other.

    Attributes:
        device: The only one that counts; `None` where all do.
        goals: What they are compared by, and what they have to hold.
    """

    device: str | None
    goals: tuple[Goal, ...]

    @property
    def minimised(self) -> tuple[Goal, ...]:
        """The objectives after the error."""
        return tuple(goal for goal in self.goals if goal.minimised)

    def strain(self, costs: Costs) -> float:
        """Of the limit that is nearest to being broken, or most."""
        return max((goal.strain(costs) for goal in self.goals), default=0.0)

    def values(self, costs: Costs) -> list[float]:
        """Of all objectives after the error."""
        return [goal.value(costs) for goal in self.minimised]

    def table(self, accuracies: Sequence[float], costs: Sequence[Costs]) -> np.ndarray:
        """Error and objectives of models, all minimised, shape `N x M`.

        What breaks a limit cannot be on the front: its row is NaN.
        """
        found = np.full((len(costs), 1 + len(self.minimised)), np.nan)
        for row, accuracy, cost in zip(found, accuracies, costs, strict=True):
            if self.strain(cost) <= 1:
                row[:] = 1 - accuracy, *self.values(cost)
        return found


@dataclass(frozen=True)
class Goals:
    """All costs of a search that are minimised or limited, and the fronts over them.

    Attributes:
        every: Objectives first.
        devices: As they were typed.
        per_device: Whether each device has a front of its own.
    """

    every: tuple[Goal, ...]
    devices: tuple[str, ...]
    per_device: bool

    @property
    def minimised(self) -> tuple[Goal, ...]:
        """The objectives after the error, in the order of the study."""
        return tuple(goal for goal in self.every if goal.minimised)

    @cached_property
    def fronts(self) -> tuple[Front, ...]:
        """One over all devices, or one for each."""
        if not self.per_device:
            return (Front(None, self.every),)
        return tuple(
            Front(device, tuple(goal for goal in self.every if goal.device in (None, device)))
            for device in self.devices
        )

    def values(self, costs: Costs) -> list[float]:
        """Of all objectives after the error."""
        return [goal.value(costs) for goal in self.minimised]

    def strain(self, costs: Costs) -> float:
        """Of the front whose limits are held best; above 1 where those of no front are."""
        return min(front.strain(costs) for front in self.fronts)

    def columns(self) -> list[list[int]]:
        """For each front, its objectives as numbers of `minimised`."""
        order = {goal: number for number, goal in enumerate(self.minimised)}
        return [[order[goal] for goal in front.minimised] for front in self.fronts]


def make_goals(settings: SearchSettings) -> Goals:
    """The goals that settings ask for."""
    limits, budgets = settings.limits, settings.budgets_ms
    found = []
    for kind in KINDS:
        minimised = kind in settings.objective
        for device in budgets if WORDINGS[kind].per_device else (None,):
            limit = budgets[device] if kind == "latency" and device else limits.get(kind)
            if minimised or limit is not None:
                on_expected = kind == "latency" and settings.budget_on == "expected"
                found.append(Goal(kind, device, limit, minimised, on_expected))
    ordered = sorted(found, key=lambda goal: not goal.minimised)
    return Goals(tuple(ordered), tuple(budgets), settings.per_device)
