"""How the front grew: the hypervolume after each scored architecture."""

from __future__ import annotations

import numpy as np

from nas.pareto import hypervolume, non_dominated


def hypervolume_shares(costs: np.ndarray, reference: np.ndarray) -> tuple[float, ...]:
    """Best hypervolume so far, as a share of the box from the best of each cost to `reference`.

    Args:
        costs: Shape `N x M`, minimised, in the order in which they were found.
        reference: Shape `M`, worse than all costs in every objective.

    Returns:
        N numbers between 0 and 1 that never fall; none for no costs.
    """
    if len(costs) == 0:
        return ()
    box = float(np.prod(reference - costs.min(axis=0)))
    front = costs[:0]
    shares: list[float] = []
    for cost in costs:
        grown = np.vstack([front, cost])
        mask = non_dominated(grown)
        if mask[-1]:
            front = grown[mask]
            shares.append(hypervolume(front, reference) / box)
        else:
            shares.append(shares[-1])
    return tuple(np.maximum.accumulate(shares).tolist())
