"""A Gaussian process over choices and a few plain features, fast with thousands of points.

The kernel falls with a weighted count of the choices that differ and with the distance of the
features, beside a plane through the features, so that few points already tell what lies beyond
them. All weights are those of the highest posterior density, found by gradients on at most
`FITTED` points. Beyond `EXACT` points the posterior goes through `INDUCING`
of them (the deterministic training conditional of Quinonero-Candela and Rasmussen, JMLR 2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from nas.space.choices import Rows
from nas.space.gather import Values

EXACT = 400
"""Points that are all taken into account, at most: a few milliseconds for a Cholesky factor."""
INDUCING = 256
"""Points that the posterior goes through where there are more."""
BLOCK = 256
"""Points whose sums are taken together."""
FITTED = 250
"""Points that the kernel is fitted on, at most: a fit takes half a second."""
JITTER = 1e-6
LOG_BOUNDS = (-8.0, 5.0)
"""Of the logarithm of every hyperparameter."""
PRIOR_WEIGHT = 0.3
"""Sum of the weights of all choices, and of all features, before anything is known."""
PRIOR_NOISE = 0.02
"""Variance of the noise beside that of the values, likewise."""
CALIBRATION = (0.7, 2.0)
"""How far residuals of left-out points may narrow or widen the predicted deviations."""


@dataclass(frozen=True)
class Points:
    """Where the process is known or asked.

    Attributes:
        choices: `N x D` indices of choices, -1 where a dimension has no effect.
        features: `N x F`, each with about zero mean and unit variance.
    """

    choices: Rows
    features: Values

    def __len__(self) -> int:
        return len(self.choices)

    def take(self, index: Rows) -> Points:
        """The points of these numbers."""
        return Points(self.choices[index], self.features[index])


@dataclass(frozen=True)
class Kernel:
    """`amplitude * exp(-weights of differing choices - squared scaled distance / 2) + plane`.

    Attributes:
        weights: `D`, of a difference in each dimension.
        scales: `F`, inverse squared length scales of the features.
        amplitude: Prior variance beside the plane.
        slope: Prior variance of the plane where the mean square of the features is 1.
        noise: Variance of an observation.
    """

    weights: Values
    scales: Values
    amplitude: float
    slope: float
    noise: float

    def embed(self, points: Points, size: int) -> Values:
        """Coordinates whose squared distances are the exponents; `size`: choices at most."""
        n, d = points.choices.shape
        hot = np.zeros((n, d * size))
        columns = np.arange(d) * size + points.choices + 1
        hot[np.arange(n)[:, None], columns] = np.sqrt(self.weights / 2)
        return np.concatenate([hot, points.features * np.sqrt(self.scales / 2)], axis=1)

    def between(self, left: Points, right: Points) -> Values:
        """Covariances, shape `N x M`."""
        size = 2 + int(max(left.choices.max(initial=0), right.choices.max(initial=0)))
        a, b = self.embed(left, size), self.embed(right, size)
        near = (-2 * a) @ b.T
        near += (a**2).sum(1)[:, None]
        near += (b**2).sum(1)
        np.maximum(near, 0.0, out=near)
        np.exp(np.negative(near, out=near), out=near)
        near *= self.amplitude
        near += _products(self.slope * left.features, right.features)
        return np.asarray(near)

    def variance(self, points: Points) -> Values:
        """Prior variances, shape `N`."""
        squares = (points.features**2).sum(axis=1) / max(points.features.shape[1], 1)
        return np.asarray(self.amplitude + self.slope * squares)


def fit_kernel(points: Points, values: Values) -> Kernel:
    """The kernel of the highest posterior density for standardised values, shape `N`.

    The prior of each hyperparameter is log-normal with a factor of e as its deviation: smooth
    unless the values say otherwise. Its centres and the plane predicted best from 12 to 48 random
    architectures of NAS-Bench-Macro (docs/decisions/0011).
    """
    parts, plane = _exponents(points), _products(points.features, points.features)
    d, f = points.choices.shape[1], points.features.shape[1]
    each = [PRIOR_WEIGHT / max(d, 1)] * d + [PRIOR_WEIGHT / max(f, 1)] * f
    centre = np.log([*each, 1.0, 1.0, PRIOR_NOISE])

    def loss(logs: Values) -> tuple[float, Values]:
        value, gradient = _negative_likelihood(logs, parts, plane, values)
        away = logs - centre
        return value + 0.5 * float(away @ away), gradient + away

    bounds = [LOG_BOUNDS] * len(centre)
    found = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds)
    best = np.exp(found.x)
    return Kernel(best[:d], best[d : d + f], *(float(value) for value in best[-3:]))


def _exponents(points: Points) -> Values:
    """What each weight counts between two points, `(D + F) x N (N - 1) / 2`."""
    first, second = _pairs(len(points))
    differ = points.choices[first] != points.choices[second]
    squares = (points.features[first] - points.features[second]) ** 2 / 2
    return np.ascontiguousarray(np.concatenate([differ.astype(float), squares], axis=1).T)


@lru_cache(maxsize=4)
def _pairs(number: int) -> tuple[Rows, Rows]:
    """Both numbers of every pair of so many points."""
    first, second = np.triu_indices(number, 1)
    return np.asarray(first, np.int64), np.asarray(second, np.int64)


def _products(left: Values, right: Values) -> Values:
    """Mean products of features, `N x M`."""
    return np.asarray(left @ right.T / max(left.shape[1], 1))


def _negative_likelihood(
    logs: Values, parts: Values, plane: Values, values: Values
) -> tuple[float, Values]:
    """Of standardised values, without its constant, and the gradient by the logarithms.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, section 5.4.1.
    """
    pairs = _pairs(len(values))
    weights, (amplitude, slope, noise) = np.exp(logs[:-3]), np.exp(logs[-3:])
    near = amplitude * np.exp(-(weights @ parts))
    covariance = slope * plane  # of which only the upper half is looked at
    covariance[pairs] += near
    covariance[np.diag_indices_from(covariance)] += amplitude + noise + JITTER
    factor = cho_factor(covariance, lower=False, check_finite=False)
    alpha = cho_solve(factor, values, check_finite=False)
    value = 0.5 * float(values @ alpha) + float(np.log(np.diag(factor[0])).sum())
    inverse, _ = dpotri(factor[0], lower=0)
    inner = inverse[pairs] - alpha[pairs[0]] * alpha[pairs[1]]
    own = np.diag(inverse) - alpha**2
    inside = inner * near
    gradient = np.empty_like(logs)
    gradient[:-3] = -weights * (parts @ inside)
    gradient[-3] = inside.sum() + 0.5 * amplitude * own.sum()
    gradient[-2] = slope * (inner @ plane[pairs] + 0.5 * own @ np.diag(plane))
    gradient[-1] = 0.5 * noise * own.sum()
    return value, gradient


class Basis:
    """Points that a posterior goes through, and what all observed ones say of them.

    Sums over the observed points are kept, block after block, so that a posterior of some more
    points does not begin anew, and yet comes out bit for bit as one that does.

    Args:
        kernel: For standardised values.
        points: `B` of them.
    """

    def __init__(self, kernel: Kernel, points: Points) -> None:
        self.points = points
        self.root = _root(kernel.between(points, points) + JITTER * np.eye(len(points)))
        self._kernel, self._summed = kernel, 0
        self._sums = np.zeros((len(points), len(points))), np.zeros((len(points), 2))

    def evidence(self, points: Points, values: Values) -> tuple[Values, Values]:
        """Of observed points: more than before begin with those of before.

        Returns:
            Products of their whitened covariances with the basis, `B x B`, and sums of the
            covariances, times the values and as they are, `B x 2`.
        """
        while self._summed + BLOCK <= len(points):
            self._sums = self._with(points, values, self._summed + BLOCK)
            self._summed += BLOCK
        return self._with(points, values, len(points))

    def _with(self, points: Points, values: Values, stop: int) -> tuple[Values, Values]:
        """The sums up to a point."""
        index = np.arange(self._summed, stop)
        cross = self._kernel.between(self.points, points.take(index))
        whitened = _solve_lower(self.root, cross)
        gram, sums = self._sums
        columns = np.column_stack([values[index], np.ones(len(index))])
        return gram + whitened @ whitened.T, sums + cross @ columns


@dataclass(frozen=True)
class Posterior:
    """What a kernel makes of observed values.

    Args:
        kernel: For standardised values.
        points: Where they were observed, `N` of them.
        values: Shape `N`.
        basis: What it goes through; `None`: all points, which is exact.
    """

    kernel: Kernel
    points: Points
    values: Values
    basis: Basis | None = None

    def predict(self, points: Points) -> Belief:
        """What is believed of `M` points."""
        basis = self.points if self.basis is None else self.basis.points
        covariance = self.kernel.between(points, basis)
        roots = [_solve_lower(factor, covariance.T) for _, factor in self._factors]
        signs = [sign for sign, _ in self._factors]
        mean = self._mean + self._scale * (covariance @ self._weights)
        return Belief(self.kernel, points, mean, self._scale * self._calibration, signs, roots)

    @cached_property
    def _mean(self) -> float:
        return float(self.values.mean())

    @cached_property
    def _scale(self) -> float:
        return spread(self.values)

    @cached_property
    def _evidence(self) -> tuple[Values, Values]:
        assert self.basis is not None
        return self.basis.evidence(self.points, self.values)

    @cached_property
    def _factors(self) -> list[tuple[float, Values]]:
        """Lower factors whose solutions add to the prior variance, with their signs."""
        if self.basis is None:
            noise = (self.kernel.noise + JITTER) * np.eye(len(self.points))
            return [(-1.0, _root(self.kernel.between(self.points, self.points) + noise))]
        root, gram = self.basis.root, self._evidence[0]
        inner = np.eye(len(root)) + gram / self.kernel.noise
        return [(-1.0, root), (1.0, root @ _root(inner))]

    @cached_property
    def _weights(self) -> Values:
        factor = (self._factors[-1][1], True)
        if self.basis is None:
            right = (self.values - self._mean) / self._scale
        else:
            with_values, alone = self._evidence[1].T
            right = (with_values - self._mean * alone) / (self._scale * self.kernel.noise)
        return np.asarray(cho_solve(factor, right, check_finite=False))

    @cached_property
    def _calibration(self) -> float:
        """How much larger residuals of left-out points are than predicted.

        Exact by the inverse of the covariance (Rasmussen and Williams, section 5.4.2); taken as 1
        where the posterior is not exact.
        """
        if self.basis is not None:
            return 1.0
        inverse = np.diag(cho_solve((self._factors[0][1], True), np.eye(len(self.points))))
        residuals = self._weights / np.sqrt(inverse)
        return float(np.clip(np.sqrt(np.mean(residuals**2)), *CALIBRATION))


class Belief:
    """Normal distributions of points' values, without noise, and what an evaluation would change.

    Attributes:
        mean: Shape `M`.
        deviation: Shape `M`.
    """

    def __init__(
        self,
        kernel: Kernel,
        points: Points,
        mean: Values,
        scale: float,
        signs: list[float],
        roots: list[Values],
    ) -> None:
        self.mean = mean
        self._kernel, self._points, self._scale = kernel, points, scale
        self._signed = [(sign, root) for sign, root in zip(signs, roots, strict=True)]
        self._variance = kernel.variance(points)
        for sign, root in self._signed:
            self._variance = self._variance + sign * (root**2).sum(axis=0)

    @property
    def deviation(self) -> Values:
        """Standard deviations, shape `M`."""
        return np.asarray(np.sqrt(np.maximum(self._variance, 1e-10)) * self._scale)

    def expect(self, first: int) -> None:
        """Take the values of the first points for known and equal to their means.

        The others become surer; to be called once.
        """
        index = np.arange(first)
        covariance = self._kernel.between(self._points.take(index), self._points)
        for sign, root in self._signed:
            covariance = covariance + sign * (root[:, index].T @ root)
        noise = (self._kernel.noise + JITTER) * np.eye(first)
        falls = _solve_lower(_root(covariance[:, index] + noise), covariance)
        self._variance = self._variance - (falls**2).sum(axis=0)


def spread(values: Values) -> float:
    """Standard deviation; 1 where all values are the same."""
    found = float(values.std())
    return found if found > 1e-12 * float(np.abs(values).max(initial=0.0)) else 1.0


def thin(values: Values, count: int, rng: np.random.Generator) -> Rows:
    """At most `count` numbers of values, in order: half of them the lowest, the rest random."""
    if len(values) <= count:
        return np.arange(len(values))
    order = np.argsort(values, kind="stable")
    lowest, rest = order[: count // 2], order[count // 2 :]
    return np.sort(np.concatenate([lowest, rng.choice(rest, count - len(lowest), replace=False)]))


def _root(matrix: Values) -> Values:
    return np.asarray(np.linalg.cholesky(matrix), float)


def _solve_lower(factor: Values, right: Values) -> Values:
    return np.asarray(solve_triangular(factor, right, lower=True, check_finite=False))
