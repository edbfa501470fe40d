"""What an evaluation is expected to add to a front whose costs are known beforehand.

With a cost that is known, the front is a staircase: the best error under each budget. What a
candidate adds to the hypervolume is how far it lowers that best error, over all budgets that it
meets. Under the surrogate's normal distribution this is the expected improvement of Jones et al.
1998 (doi:10.1023/A:1008306431147) for each budget, summed. Several costs are budgets of several
numbers, several fronts have budgets of their own, and no cost is one budget.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from nas.search.samplers.domain import Mask
from nas.space.gather import Values

BUDGETS = 600


def budget_grid(lowest: Values, highest: Values) -> Values:
    """Budgets that fill the box between two costs evenly, shape `G x C`.

    One cost: evenly spaced. Several: a Kronecker sequence on the roots of the generalised golden
    ratio (M. Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018). None: one
    budget that everything meets.
    """
    costs = len(lowest)
    if costs == 0:
        return np.zeros((1, 0))
    if costs == 1:
        return np.linspace(lowest, highest, BUDGETS)
    golden = 2.0
    for _ in range(64):
        golden = (1 + golden) ** (1 / (costs + 1))
    steps = golden ** -np.arange(1.0, costs + 1)
    count = BUDGETS * costs
    places = (0.5 + np.arange(1, count + 1)[:, None] * steps) % 1
    return np.concatenate([lowest + places * (highest - lowest), highest[None]])


def meets(costs: Values, budgets: Values) -> Mask:
    """Which of `N` costs (`N x C`) meet which of `G` budgets (`G x C`), shape `N x G`."""
    return np.asarray((costs[:, None, :] <= budgets[None]).all(axis=2))


def staircase(inside: Mask, values: Values, worst: float) -> Values:
    """The lowest value under each budget, shape `G`.

    Args:
        inside: Which rows meet which budgets, `N x G`.
        values: Of the rows, shape `N`.
        worst: The value of a budget that none meets.
    """
    return np.asarray(np.where(inside, values[:, None], worst).min(axis=0, initial=worst))


def expected_improvement(mean: Values, deviation: Values, best: Values) -> Values:
    """How far a normal variable is expected to fall below `best`; shapes broadcast."""
    z = (best - mean) / deviation
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return np.asarray(deviation * (z * ndtr(z) + density))


def gains(mean: Values, deviation: Values, inside: Mask, best: Values) -> Values:
    """Expected fall of the best values, a mean over all budgets; shape `N`.

    Args:
        mean: Of the candidates, shape `N`.
        deviation: Shape `N`.
        inside: Which budgets they meet, `N x G`.
        best: The best value under each budget, shape `G`.
    """
    levels, where = np.unique(best, return_inverse=True)
    shares = np.zeros((len(best), len(levels)))
    shares[np.arange(len(best)), where] = 1 / len(best)
    fall = expected_improvement(mean[:, None], deviation[:, None], levels[None])
    return np.asarray((fall * (inside @ shares)).sum(axis=1))
