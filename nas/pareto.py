"""Fronts: which points are not dominated, and the volume they dominate. All is minimised."""

from __future__ import annotations

import numpy as np


def non_dominated(costs: np.ndarray) -> np.ndarray:
    """Which rows no other row dominates: at least as good everywhere and better somewhere.

    Args:
        costs: Shape `N x M`, minimised. Equal rows do not dominate each other. Rows with NaN are
            never in the front and dominate nothing.

    Returns:
        Boolean mask of shape `N`.
    """
    costs = np.asarray(costs, dtype=float)
    mask = np.zeros(len(costs), dtype=bool)
    left = np.flatnonzero(~np.isnan(costs).any(axis=1)) if costs.size else np.zeros(0, np.int64)
    # In this order no row is dominated by one behind it, so that the first one left never is.
    left = left[np.lexsort(costs[left].T[::-1])] if len(left) else left
    while len(left):
        first, left = left[0], left[1:]
        mask[first] = True
        worse = (costs[left] >= costs[first]).all(axis=1)
        worse &= (costs[left] > costs[first]).any(axis=1)
        left = left[~worse]
    return mask


def hypervolume(costs: np.ndarray, reference: np.ndarray) -> float:
    """Area or volume between the points and `reference` that some point dominates.

    Args:
        costs: Shape `N x M`, minimised, M of 1 or more. Points not below `reference` in every
            objective add nothing; no points give 0.
        reference: Shape `M`.

    Source: recursion over slices of the last objective (Fonseca et al. 2006,
    doi:10.1109/CEC.2006.1688440); O(N^(M-1) log N), meant for fronts of some hundred points.
    """
    costs = np.asarray(costs, dtype=float).reshape(-1, len(reference))
    inside = costs[(costs < reference).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - inside.min())
    front = inside[non_dominated(inside)]
    front = front[np.argsort(front[:, -1], kind="stable")]
    edges = np.append(front[1:, -1], reference[-1])
    return sum(
        float(edge - point[-1]) * hypervolume(front[: i + 1, :-1], reference[:-1])
        for i, (point, edge) in enumerate(zip(front, edges, strict=True))
        if edge > point[-1]
    )


def select(costs: np.ndarray, number: int, reference: np.ndarray) -> list[int]:
    """Indices of up to `number` rows, each the one that adds most hypervolume to those before it.

    Greedy, which reaches at least 63 % of the best choice's hypervolume (Nemhauser et al. 1978,
    doi:10.1007/BF01588971).

    Args:
        costs: Shape `N x M`, minimised.
        number: How many.
        reference: Shape `M`.
    """
    chosen: list[int] = []
    left = list(range(len(costs)))
    while left and len(chosen) < number:
        volumes = [hypervolume(costs[[*chosen, index]], reference) for index in left]
        chosen.append(left.pop(int(np.argmax(volumes))))
    return chosen
