"""Candidates: rows within the limits, drawn, spread out, and evolved towards a gain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas.search.samplers.domain import Description, Domain, Mask
from nas.space.choices import Rows
from nas.space.gather import Values
from nas.spread import farthest_first

ALL = 8192
"""Domains of at most so many rows are looked at whole."""
DRAWN, CHILDREN, KEPT, GENERATIONS = 400, 300, 60, 4
"""Random rows, children of each generation, parents that are kept for the next, generations: 1,900
candidates. (In trials of this kind on NAS-Bench-Macro 400 lost little of the gain, 100 much.)"""
ROUNDS = 20
"""Attempts to fill a pool where rows within the limits are rare."""
ENDS = 3
"""Evolutions in a row towards the least and the largest cost."""
DESIGN_POOL = 1000
"""Rows that the first trials are chosen from."""


@dataclass
class Pool:
    """Rows within the limits, each network once, in the order in which they came."""

    domain: Domain
    rows: Rows
    described: Description

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: Rows) -> Pool:
        """The rows of these numbers."""
        return Pool(self.domain, self.rows[index], _take(self.described, index))

    def with_rows(self, rows: Rows) -> Pool:
        """These and those of `rows` that are new and within the limits."""
        if len(rows) == 0:
            return self
        described = self.domain.describe(rows)
        inside = np.flatnonzero(described.feasible & _are_finite(described))
        return self.joined(Pool(self.domain, rows, described).take(inside))

    def joined(self, other: Pool) -> Pool:
        """These and those of another pool that are new."""
        both = join(self.described, other.described)
        rows = np.concatenate([self.rows, other.rows])
        return Pool(self.domain, rows, both).take(_first_of_equals(both.choices))


def _first_of_equals(choices: Rows) -> Rows:
    """Numbers of the rows that no row before equals, by a hash of 64 bits.

    NumPy's own comparison of rows takes a third of a proposal's time.
    """
    odd = np.random.default_rng(0).integers(2**63, size=choices.shape[1], dtype=np.uint64) * 2 + 1
    hashes = (choices.astype(np.uint64) * odd).sum(axis=1, dtype=np.uint64)
    _, first = np.unique(hashes, return_index=True)
    return np.asarray(np.sort(first), np.int64)


def make_pool(domain: Domain, rows: Rows) -> Pool:
    """A pool of the given rows."""
    none = np.zeros((0, len(domain.sizes)), np.int64)
    nothing = Description(none, np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((0, 0), bool))
    return Pool(domain, none, nothing).with_rows(rows)


def is_small(domain: Domain) -> bool:
    """Whether a domain is looked at whole."""
    return math.prod(domain.sizes) <= ALL


def all_rows(domain: Domain) -> Rows:
    """Every row of a small domain."""
    return np.asarray(np.indices(domain.sizes).reshape(len(domain.sizes), -1).T, np.int64)


def draw(domain: Domain, count: int, known: Rows, rng: np.random.Generator) -> Pool:
    """About `count` random rows within the limits; where they are rare, changes of known ones.

    Args:
        domain: What may be proposed.
        count: How many.
        known: Rows to begin from where uniform draws find too few.
        rng: Generator.
    """
    if is_small(domain):
        return make_pool(domain, all_rows(domain))
    pool = make_pool(domain, uniform(domain, 2 * count, rng))
    if len(pool) + len(known) + len(domain.starts) == 0:
        pool = _walk_to_limits(domain, count, rng)
    for _ in range(ROUNDS):
        base = np.concatenate([pool.rows, known, domain.starts])
        if len(pool) >= count or len(base) == 0:
            break
        parents = base[rng.integers(len(base), size=count)]
        pool = pool.with_rows(mutate(domain, parents, rng))
    return pool.take(np.arange(min(len(pool), count)))


def uniform(domain: Domain, count: int, rng: np.random.Generator) -> Rows:
    """Rows with every choice drawn uniformly, whether within the limits or not."""
    return np.asarray(rng.integers(domain.sizes, size=(count, len(domain.sizes))), np.int64)


def _walk_to_limits(domain: Domain, count: int, rng: np.random.Generator) -> Pool:
    """Rows within the limits, from cheaper and cheaper ones that are not; empty if none is found.

    Costs are ranked, each by itself, so that one cost does not drown the others.
    """
    rows = uniform(domain, count, rng)
    for _ in range(ROUNDS):
        described = domain.describe(rows)
        if described.feasible.any() or described.costs is None:
            break
        ranks = described.costs.argsort(axis=0).argsort(axis=0).sum(axis=1)
        best = rows[np.argsort(ranks, kind="stable")[:KEPT]]
        rows = np.concatenate([best, mutate(domain, _repeat(best, count, rng), rng)])
    return make_pool(domain, rows)


def extremes(domain: Domain, pool: Pool, rng: np.random.Generator) -> Pool:
    """The pool with rows at both ends of each cost, between which the budgets lie that count."""
    if is_small(domain) or len(pool) == 0 or pool.described.costs is None:
        return pool
    ends = []
    for cost in range(pool.described.costs.shape[1]):
        for sign in (-1.0, 1.0):

            def away(found: Pool, cost: int = cost, sign: float = sign) -> Values:
                assert found.described.costs is not None
                return sign * found.described.costs[:, cost]

            evolved = pool
            for _ in range(ENDS):
                best = evolved.take(np.argsort(-away(evolved))[:KEPT])
                evolved, _ = evolve(best, best.rows[:0], away, rng)
            ends.append(evolved.rows[np.argsort(-away(evolved))[:1]])
    return pool.with_rows(np.concatenate(ends))


def cheapest(pool: Pool) -> Rows:
    """Number of the row with the least costs, each over its range; the first, if not known."""
    costs = pool.described.costs
    if costs is None or len(pool) == 0:
        return np.arange(min(len(pool), 1))
    low, high = costs.min(axis=0), costs.max(axis=0)
    shares = (costs - low) / np.where(high > low, high - low, 1.0)
    return np.array([shares.sum(axis=1).argmin()])


def mutate(domain: Domain, parents: Rows, rng: np.random.Generator) -> Rows:
    """Each parent with one to a few of its choices drawn anew."""
    n, d = parents.shape
    changes = np.minimum(rng.geometric(0.5, size=n), d)
    ranks = rng.random((n, d)).argsort(axis=1)
    drawn = rng.integers(domain.sizes, size=(n, d))
    return np.where(ranks < changes[:, None], drawn, parents)


def crossover(parents: Rows, rng: np.random.Generator) -> Rows:
    """Each parent with half of its choices taken from another one."""
    others = parents[rng.permutation(len(parents))]
    return np.where(rng.random(parents.shape) < 0.5, others, parents)


def evolve(
    pool: Pool, parents: Rows, score: Callable[[Pool], Values], rng: np.random.Generator
) -> tuple[Pool, Values]:
    """The pool with children of its best, over some generations, and the scores of all.

    Args:
        pool: To begin with.
        parents: More rows to begin with, evaluated ones on the front.
        score: Of a pool, larger is better, shape `N`.
        rng: Generator.
    """
    if is_small(pool.domain):
        return pool, score(pool)
    pool = pool.with_rows(mutate(pool.domain, _repeat(parents, CHILDREN, rng), rng))
    scores = score(pool)
    for _ in range(GENERATIONS):
        best = pool.rows[np.argsort(-scores, kind="stable")[:KEPT]]
        chosen = _repeat(best, CHILDREN, rng)
        half = len(chosen) // 2
        children = np.concatenate([crossover(chosen[:half], rng), chosen[half:]])
        pool = pool.with_rows(mutate(pool.domain, children, rng))
        # What is new stands behind what is scored already.
        scores = np.concatenate([scores, score(pool.take(np.arange(len(scores), len(pool))))])
    return pool, scores


def maximin(pool: Pool, features: Values, first: Rows, count: int) -> Rows:
    """Numbers of `count` rows far from each other: each the farthest from those before it.

    Args:
        pool: To choose from.
        features: Standardised, `N x F`.
        first: Numbers of the rows to begin with, at least one.
        count: How many in all, fewer where the pool has fewer.
    """
    choices = pool.described.choices

    def distances(index: int) -> Values:
        differ = (choices != choices[index]).mean(axis=1)
        squares = ((features - features[index]) ** 2).sum(axis=1) / max(features.shape[1], 1)
        return np.asarray(differ + squares / 4)  # of about one each where rows are unlike

    others = farthest_first(distances, len(pool), count - len(first), first.tolist())
    return np.array([*first, *others], np.int64)


def _repeat(rows: Rows, count: int, rng: np.random.Generator) -> Rows:
    return rows[rng.integers(len(rows), size=count)] if len(rows) else rows


def _take(described: Description, index: Rows) -> Description:
    costs = None if described.costs is None else described.costs[index]
    return Description(
        described.choices[index], described.features[index], costs, described.within[index]
    )


def _are_finite(described: Description) -> Mask:
    costs = described.costs
    known = np.ones(len(described.choices), bool) if costs is None else np.isfinite(costs).all(1)
    return np.asarray(known & np.isfinite(described.features).all(axis=1))


def join(left: Description, right: Description) -> Description:
    """The rows of both."""
    if len(left.choices) == 0 or len(right.choices) == 0:  # whose widths may not be known
        return right if len(left.choices) == 0 else left
    costs = None
    if left.costs is not None and right.costs is not None:
        costs = np.concatenate([left.costs, right.costs])
    return Description(
        np.concatenate([left.choices, right.choices]),
        np.concatenate([left.features, right.features]),
        costs,
        np.concatenate([left.within, right.within]),
    )
