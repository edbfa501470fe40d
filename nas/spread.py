"""Points that lie far from each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt


def farthest_first(
    distances: Callable[[int], npt.NDArray[np.float64]],
    points: int,
    number: int,
    first: Sequence[int] = (),
) -> list[int]:
    """Indices of points, each the farthest from all before it (maximin; the first one is 0).

    Greedy k-centre selection (Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5).

    Args:
        distances: Of all points to the one with an index, shape `N`.
        points: How many there are, `N`.
        number: How many to choose, fewer where there are fewer.
        first: Indices of those that are chosen already; not among those returned.
    """
    nearest = np.full(points, np.inf)
    for index in first:
        nearest = np.minimum(nearest, distances(index))
    nearest[list(first)] = -np.inf
    chosen: list[int] = []
    for _ in range(min(number, points - len(first))):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances(chosen[-1]))
        nearest[chosen[-1]] = -np.inf
    return chosen
