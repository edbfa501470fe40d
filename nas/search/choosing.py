"""Which trials go on: to a better score, and to finished models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, zip_longest

import numpy as np

from nas.pareto import non_dominated, select
from nas.search.goals import Front, Goals
from nas.search.study import TrialRecord


def choose_finalists(records: Sequence[TrialRecord], most: int, goals: Goals) -> list[TrialRecord]:
    """Trials that become models: of several fronts in turn the next of each.

    Returns:
        At most `most` trials within the limits, those that cost least by the first objective first.
    """
    chosen = _in_turn([_ranked(records, most, front) for front in goals.fronts], most)
    return sorted(chosen, key=lambda record: goals.values(record.costs)[0])


def finalists_of(
    searched: Sequence[TrialRecord], trained: Sequence[TrialRecord], most: int, goals: Goals
) -> list[TrialRecord]:
    """Those of the short training, and of the search where that left too few."""
    chosen = choose_finalists(trained, most, goals)
    ids = {record.id for record in trained}
    others = [record for record in searched if record.id not in ids]
    chosen += choose_finalists(others, most - len(chosen), goals)
    return sorted(chosen, key=lambda record: goals.values(record.costs)[0])


def promote(records: Sequence[TrialRecord], most: int, goals: Goals) -> list[TrialRecord]:
    """Trials that are worth a better score: the fronts, then what is best without those, and so on.

    Returns:
        At most `most` trials within the limits, the best ones first.
    """
    return _in_turn([_layers(records, most, front) for front in goals.fronts], most)


def _in_turn(ranked: Sequence[Sequence[TrialRecord]], most: int) -> list[TrialRecord]:
    """Of several lists in turn the next of each, every trial once."""
    turns = (record for turn in zip_longest(*ranked) for record in turn if record is not None)
    return list({record.id: record for record in turns}.values())[:most]


def _layers(records: Sequence[TrialRecord], most: int, front: Front) -> list[TrialRecord]:
    """Front after front (Deb et al. 2002, doi:10.1109/4235.996017), each by its hypervolume."""
    inside = [record for record in records if front.strain(record.costs) <= 1]
    return [inside[row] for row in layers(_errors_and_costs(inside, front), most)]


def layers(costs: np.ndarray, most: int) -> list[int]:
    """Rows of costs, `N x M`, minimised: front after front, each by its hypervolume."""
    left, chosen = list(range(len(costs))), list[int]()
    while left and len(chosen) < most:
        among = costs[left]
        found = np.flatnonzero(non_dominated(among))
        order = select(among[found], most - len(chosen), reference_point(among))
        layer = [left[found[i]] for i in order]
        chosen += layer
        left = [row for row in left if row not in layer]
    return chosen


def _ranked(records: Sequence[TrialRecord], most: int, front: Front) -> list[TrialRecord]:
    """The front by what each adds to its hypervolume, then trials where it is thinnest.

    Fine-tuning moves accuracies, and large networks gain more by it: places that are left go to the
    best trial in the widest gap of the costs chosen so far, the dear end included.
    """
    inside = [record for record in records if front.strain(record.costs) <= 1]
    if not inside:
        return []
    costs = _errors_and_costs(inside, front)
    found = np.flatnonzero(non_dominated(costs))
    chosen = [inside[found[i]] for i in select(costs[found], most, reference_point(costs))]
    on_front = {inside[i].id for i in found}
    left = [record for record in inside if record.id not in on_front]

    def cost(record: TrialRecord) -> float:
        return front.values(record.costs)[0]

    while left and len(chosen) < most:
        next_one = _fill_widest_gap(chosen, left, cost)
        chosen.append(next_one)
        left.remove(next_one)
    return chosen


def _fill_widest_gap(
    chosen: list[TrialRecord], left: list[TrialRecord], cost: Callable[[TrialRecord], float]
) -> TrialRecord:
    """The best of `left` between the two neighbours that are furthest apart (ratio)."""
    dearest = max(cost(record) for record in [*chosen, *left])
    edges = sorted({cost(record) for record in chosen} | {dearest})
    gaps = sorted(pairwise(edges), key=lambda gap: gap[1] / gap[0], reverse=True)
    for low, high in gaps:
        inside = [record for record in left if low < cost(record) <= high]
        if inside:
            return min(inside, key=lambda record: (record.error, cost(record)))
    return min(left, key=lambda record: record.error)


def _errors_and_costs(records: Sequence[TrialRecord], front: Front) -> np.ndarray:
    """What trials are chosen by, all minimised, shape `N x M`; all are within the limits."""
    return np.array([[record.error, *front.values(record.costs)] for record in records])


def trial_costs(records: Sequence[TrialRecord], front: Front) -> np.ndarray:
    """Error and objectives of trials, all minimised, shape `N x M`; NaN beyond the limits."""
    return front.table([r.accuracy for r in records], [r.costs for r in records])


def reference_point(costs: np.ndarray) -> np.ndarray:
    """A little beyond the worst of each objective; rows with NaN do not count."""
    known = costs[~np.isnan(costs).any(axis=1)]
    worst = known.max(axis=0)
    return np.asarray(worst + 0.1 * np.maximum(worst - known.min(axis=0), 1e-9))
