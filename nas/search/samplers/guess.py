"""What a cheap score of some rows lets one expect of it elsewhere."""

from __future__ import annotations

import numpy as np

from nas.search.samplers.domain import Description
from nas.search.samplers.gaussian_process import Points, Posterior, fit_kernel, spread
from nas.space.gather import Values


class Guess:
    """A cheap score of any row, learned from a few: one more feature for the surrogate to weigh.

    That is how fidelities are mostly put together: what is dear is learned beside what is cheap
    (Kennedy and O'Hagan 2000, doi:10.1093/biomet/87.1.1).

    Args:
        described: `N` rows, two or more.
        scores: Of these, shape `N`, finite.
    """

    def __init__(self, described: Description, scores: Values) -> None:
        self._mean = described.features.mean(axis=0)
        self._deviation = np.array([spread(column) for column in described.features.T])
        values = (scores - scores.mean()) / spread(scores)
        points = self._points(described)
        self._posterior = Posterior(fit_kernel(points, values), points, values)

    def of(self, described: Description) -> Values:
        """The expected scores of rows, shape `N`, in units of the known ones' deviation."""
        if not len(described.choices):
            return np.zeros(0)
        return self._posterior.predict(self._points(described)).mean

    def _points(self, described: Description) -> Points:
        return Points(described.choices, (described.features - self._mean) / self._deviation)
