"""What a sampler may propose: rows of choices, and what is known of them before evaluation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nas.space.choices import Rows
from nas.space.gather import Values

Mask = npt.NDArray[np.bool_]
Parameters = dict[str, Any]
INTERRUPTED = "interrupted"
"""User attribute of failed trials that were only cut off: those do not count as attempts."""
TRIED = "attempts"
"""User attribute of failed trials: how often they were tried, once unless it is there."""
REMEMBERED = 100_000
"""Rows whose costs and features are kept, so that slow functions of them are not called twice."""
STEPS = 33
"""Values of a number with more of them that are tried, evenly spaced."""


class ExhaustedError(Exception):
    """Nothing new within the limits was found.

    Attributes:
        trial_number: Of the trial that was asked for, which is left running.
    """

    def __init__(self, text: str, trial_number: int) -> None:
        super().__init__(text)
        self.trial_number = trial_number


@dataclass(frozen=True)
class Description:
    """What is known of `N` rows beforehand.

    Attributes:
        choices: `N x D`, -1 where a choice has no effect; rows of equal choices are one network.
        features: `N x F` plain numbers that the surrogate learns from, in any unit.
        costs: `N x C` objectives after the first, minimised; `None` where they are not known.
        within: `N x F`: within the limits of each front, which one front has in most searches.
    """

    choices: Rows
    features: Values
    costs: Values | None
    within: Mask

    @property
    def feasible(self) -> Mask:
        """Within the limits of some front, shape `N`."""
        return np.asarray(self.within.any(axis=1))


class Domain(Protocol):
    """A finite set of parameters, each written as a row of indices of choices."""

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The dimensions as Optuna knows them, `D` of them."""
        ...

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of choices of each dimension."""
        ...

    @property
    def starts(self) -> Rows:
        """Rows for the first trials, `S x D`, and where a search for feasible ones begins."""
        ...

    @property
    def fronts(self) -> Sequence[Sequence[int]] | None:
        """The costs, by number, that each front is over; `None` for one front over all of them."""
        ...

    def describe(self, rows: Rows) -> Description:
        """What is known of rows, `N x D`."""
        ...

    def key(self, row: Rows) -> Hashable:
        """Equal for rows that are the same thing written differently."""
        ...

    def parameters(self, row: Rows) -> Parameters:
        """What a row, shape `D`, stands for."""
        ...

    def row(self, parameters: Mapping[str, Any]) -> Rows | None:
        """The row nearest to parameters; `None` where they are not of this domain."""
        ...


Known = Callable[[Parameters], Sequence[float]]


@dataclass
class ParameterDomain:
    """Any parameters of an Optuna study, for use of the sampler on its own.

    Attributes:
        distributions: By name. Numbers with more than 33 values are tried at 33 of them.
        costs: The objectives after the first, as the study gets them but all minimised, if they can
            be computed without an evaluation.
        features: More numbers that the first objective may depend on.
        limits: The largest allowed value of each cost; `None` for no limit.
        identity: Equal for parameters that mean the same.
        first: Parameters of the first trials.

    Raises:
        ValueError: Limits without costs; first parameters that are not of the domain.
    """

    distributions: dict[str, BaseDistribution]
    costs: Known | None = None
    features: Known | None = None
    limits: Sequence[float | None] = ()
    identity: Callable[[Parameters], Hashable] | None = None
    first: Sequence[Parameters] = ()
    _known: dict[bytes, tuple[list[float], list[float]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.costs is None and any(limit is not None for limit in self.limits):
            raise ValueError("limits are held against costs: give a function of them")
        for parameters in self.first:
            if self.row(parameters) is None:
                raise ValueError(f"the first parameters are not of the domain: {parameters}")

    @cached_property
    def choices(self) -> tuple[tuple[Any, ...], ...]:
        """What each dimension may be."""
        return tuple(values(d) for d in self.distributions.values())

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of choices of each dimension."""
        return tuple(len(choices) for choices in self.choices)

    @property
    def fronts(self) -> None:
        """One front over all costs."""
        return None

    @cached_property
    def starts(self) -> Rows:
        """Rows of the first trials."""
        rows = [self.row(parameters) for parameters in self.first]
        return np.array(rows, np.int64).reshape(-1, len(self.sizes))

    def describe(self, rows: Rows) -> Description:
        """What is known of rows: features, costs, and whether they are within the limits."""
        known = [self._describe(row) for row in rows]
        ordered = [not isinstance(d, CategoricalDistribution) for d in self.distributions.values()]
        places = rows[:, ordered] / np.maximum(np.array(self.sizes)[ordered] - 1, 1)
        features = _table([found for found, _ in known])
        costs = _table([found for _, found in known])
        limits = np.array([np.inf if limit is None else limit for limit in self.limits])
        if len(rows) and costs.shape[1] < len(limits) and self.costs is not None:
            raise ValueError(f"{len(limits)} limits for {costs.shape[1]} costs")
        inside = costs[:, : len(limits)] <= limits if self.costs is not None else costs <= np.inf
        within = inside.all(axis=1, keepdims=True) & np.isfinite(costs).all(axis=1, keepdims=True)
        return Description(
            rows,
            np.concatenate([places, features], axis=1),
            None if self.costs is None else costs,
            np.asarray(within),
        )

    def _describe(self, row: Rows) -> tuple[list[float], list[float]]:
        if row.tobytes() not in self._known:
            parameters = self.parameters(row)
            features = [] if self.features is None else list(self.features(parameters))
            if not np.isfinite(features).all():
                raise ValueError(f"features are finite numbers; got {features} for {parameters}")
            costs = [] if self.costs is None else list(self.costs(parameters))
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[row.tobytes()] = features, costs
        return self._known[row.tobytes()]

    def key(self, row: Rows) -> Hashable:
        """The identity of its parameters, or the row itself."""
        return row.tobytes() if self.identity is None else self.identity(self.parameters(row))

    def parameters(self, row: Rows) -> Parameters:
        """What a row stands for."""
        pairs = zip(self.distributions, self.choices, row.tolist(), strict=True)
        return {name: choices[index] for name, choices, index in pairs}

    def row(self, parameters: Mapping[str, Any]) -> Rows | None:
        """The nearest row; `None` where a parameter is missing or is no choice."""
        found = []
        for (name, distribution), choices in zip(
            self.distributions.items(), self.choices, strict=True
        ):
            if name not in parameters:
                return None
            index = _index(distribution, choices, parameters[name])
            if index is None:
                return None
            found.append(index)
        return np.array(found, np.int64)


def _index(distribution: BaseDistribution, choices: tuple[Any, ...], value: Any) -> int | None:
    """Number of the choice that is nearest to a value; `None` for one outside the distribution."""
    if isinstance(distribution, IntDistribution | FloatDistribution):
        number = isinstance(value, int | float | np.number)  # others may have put anything there
        if not number or not distribution.low <= value <= distribution.high:
            return None
        spread = np.array([*choices, value], float)
        places = np.log(spread) if distribution.log else spread
        return int(np.abs(places[:-1] - places[-1]).argmin())
    equal = [i for i, choice in enumerate(choices) if choice == value]
    alike = [i for i in equal if type(choices[i]) is type(value)]  # 1, 1.0 and True are equal
    return next(iter(alike + equal), None)


def _table(rows: list[list[float]]) -> Values:
    """An array of two dimensions, of no rows too."""
    return np.array(rows, float).reshape(len(rows), len(rows[0]) if rows else 0)


def values(distribution: BaseDistribution) -> tuple[Any, ...]:
    """All values of a distribution, or `STEPS` of them.

    Raises:
        TypeError: It is none of Optuna's three kinds.
    """
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        raise TypeError(f"categorical, int or float distributions, not {distribution!r}")
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        spaced = np.geomspace(low, high, STEPS)
    elif step is None or (high - low) / step >= STEPS:
        spaced = np.linspace(low, high, STEPS)
    else:
        spaced = np.arange(low, high + step / 2, step)
    if step is not None:
        spaced = low + np.round((spaced - low) / step) * step
    if isinstance(distribution, IntDistribution):
        return tuple(dict.fromkeys(int(value) for value in np.round(spaced)))
    return tuple(dict.fromkeys(float(min(value, high)) for value in spaced))
