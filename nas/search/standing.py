"""How far a search is: its front, the hypervolume, the best model within the limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from nas.pareto import hypervolume, non_dominated
from nas.search.costing import Costing
from nas.search.goals import Front, Goals
from nas.space import sample as sampling


def worst_costs(costing: Costing) -> dict[str, float]:
    """Where hypervolumes end, by the names of objectives: limits, or the space's largest network.

    They are known before a search begins, so that its hypervolume means the same all the time.
    """
    largest = costing.looked_up(sampling.largest(costing.space, costing.plan))
    return {goal.name: goal.limit or goal.value(largest) for goal in costing.goals.minimised}


def hypervolume_reference(front: Front, worst: Mapping[str, float], classes: int) -> np.ndarray:
    """The error of guessing, and the worst of each objective of a front."""
    return np.array([1 - 1 / classes, *(worst[goal.name] for goal in front.minimised)])


def front_shares(costs: np.ndarray, reference: np.ndarray) -> tuple[float, ...]:
    """Hypervolume of the front of the first 1, 2, ... costs, as a share of what there could be.

    Args:
        costs: Shape `N x M`, minimised, in the order in which they were found; rows with NaN are
            on no front.
        reference: Shape `M`, above zero.

    Returns:
        N numbers between 0 and 1 that never fall; 1 would be no error at no cost.
    """
    front = costs[:0]
    shares = [0.0]
    for cost in costs:
        front, grown = _added(front, cost)
        shares.append(_share(front, reference) if grown else shares[-1])
    return tuple(shares[1:])


def _added(front: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, bool]:
    """The front with one more, and whether that belongs to it."""
    grown = np.vstack([front, cost])
    mask = non_dominated(grown)
    return (grown[mask], True) if mask[-1] else (front, False)


def _share(front: np.ndarray, reference: np.ndarray) -> float:
    return hypervolume(front, reference) / float(np.prod(reference))


class Standing:
    """What people watch while a search goes on; takes finished trials as they come.

    Args:
        goals: Of the search.
        worst: Of each objective, see `worst_costs`.
        classes: Of the data.
    """

    def __init__(self, goals: Goals, worst: Mapping[str, float], classes: int) -> None:
        self._goals = goals
        self._references = [hypervolume_reference(front, worst, classes) for front in goals.fronts]
        self._fronts = [np.empty((0, len(reference))) for reference in self._references]
        self._seen: set[int] = set()

    def update(self, trials: Iterable[FrozenTrial]) -> None:
        """Take the scored ones among these that are new."""
        for trial in trials:
            if trial.state == TrialState.COMPLETE and trial.number not in self._seen:
                self._seen.add(trial.number)
                self._add(float(trial.values[0]), trial.user_attrs)

    def _add(self, accuracy: float, costs: Mapping[str, Any]) -> None:
        for number, front in enumerate(self._goals.fronts):
            cost = front.table([accuracy], [costs])[0]
            self._fronts[number], _ = _added(self._fronts[number], cost)

    @property
    def sizes(self) -> list[int]:
        """Of each front."""
        return [len(front) for front in self._fronts]

    @property
    def hypervolumes(self) -> list[float]:
        """Of each front, as `front_shares` has it."""
        return [_share(*pair) for pair in zip(self._fronts, self._references, strict=True)]

    @property
    def best(self) -> list[float]:
        """The best accuracy within the limits of each front; 0 where there is none."""
        return [1 - float(front[:, 0].min(initial=1.0)) for front in self._fronts]

    def attributes(self) -> dict[str, Any]:
        """For the study: a number, or one for each device that has a front of its own."""
        return {
            "front size": self._told(self.sizes),
            "hypervolume": self._told([round(share, 5) for share in self.hypervolumes]),
            "best accuracy within the limits": self._told([round(best, 5) for best in self.best]),
        }

    def _told(self, values: Sequence[float]) -> Any:
        devices = [front.device for front in self._goals.fronts]
        return values[0] if len(values) == 1 else dict(zip(devices, values, strict=True))

    def __str__(self) -> str:
        """`front 7, hypervolume 0.512, best 71.2 %`; of several fronts in their order.

        Nothing before the first scored trial.
        """
        if not self._seen:
            return ""
        sizes = "/".join(map(str, self.sizes))
        shares = "/".join(f"{share:.3f}" for share in self.hypervolumes)
        best = "/".join(f"{100 * best:.1f}" for best in self.best)
        return f"front {sizes}, hypervolume {shares}, best {best} %"
