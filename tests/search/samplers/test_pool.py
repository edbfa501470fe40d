import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution

from nas.search.samplers import pool as pools
from nas.search.samplers.domain import ParameterDomain
from nas.search.samplers.pool import crossover, draw, evolve, make_pool, maximin, mutate


def make_domain(dimensions=12, choices=4, limit=None, first=()):
    """Costs are sums of indices."""
    names = [f"x{i}" for i in range(dimensions)]
    return ParameterDomain(
        {name: CategoricalDistribution(list(range(choices))) for name in names},
        costs=lambda p: [sum(p.values())],
        limits=[limit],
        first=[dict(zip(names, row, strict=True)) for row in first],
    )


def test_a_pool_has_rows_within_the_limits_once():
    pool = make_pool(make_domain(2, limit=3), np.array([[0, 1], [3, 3], [0, 1], [2, 1]]))
    assert pool.rows.tolist() == [[0, 1], [2, 1]]
    assert pool.with_rows(np.array([[2, 1], [0, 0]])).rows.tolist() == [[0, 1], [2, 1], [0, 0]]


def test_a_small_domain_is_drawn_whole():
    pool = draw(make_domain(3, 3, limit=2), 5, np.zeros((0, 3), np.int64), np.random.default_rng(0))
    assert len(pool) == 10  # 1 + 3 + 6 ways to sum to 0, 1 and 2


def test_rare_rows_within_tight_limits_are_found():
    domain = make_domain(12, limit=3)  # 455 of 17 million
    none = np.zeros((0, 12), np.int64)
    known = np.zeros((1, 12), np.int64)
    for begin in (none, known):  # from none: by a walk to lower costs
        pool = draw(domain, 200, begin, np.random.default_rng(0))
        assert len(pool) == 200
        assert pool.rows.sum(axis=1).max() <= 3


def test_draws_begin_from_starts_too():
    domain = make_domain(12, limit=3, first=[[0] * 12])
    assert len(draw(domain, 200, np.zeros((0, 12), np.int64), np.random.default_rng(0))) == 200


def test_nothing_is_drawn_where_nothing_is_within_the_limits():
    none = np.zeros((0, 12), np.int64)
    assert len(draw(make_domain(12, limit=-1), 200, none, np.random.default_rng(0))) == 0


def test_mutants_differ_in_few_choices():
    parents = np.zeros((2000, 12), np.int64)
    differ = (mutate(make_domain(), parents, np.random.default_rng(0)) != 0).sum(axis=1)
    assert differ.mean() == pytest.approx(2 * 3 / 4, rel=0.1)
    assert differ.max() > 4


def test_children_have_the_choices_of_two_parents():
    parents = np.repeat(np.arange(8)[:, None], 12, axis=1)
    children = crossover(parents, np.random.default_rng(1))
    assert all(len(set(child)) <= 2 for child in children.tolist())
    assert any(len(set(child)) == 2 for child in children.tolist())


def test_equal_rows_are_found_as_numpy_finds_them():
    rng = np.random.default_rng(0)
    for number in (0, 1, 50, 400):
        rows = rng.integers(-1, 3, size=(number, 4))
        first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
        assert pools._first_of_equals(rows).tolist() == first.tolist()


def test_evolution_climbs():
    domain, rng = make_domain(12, limit=30), np.random.default_rng(0)
    pool = draw(domain, 100, np.zeros((0, 12), np.int64), rng)

    def score(pool):
        return pool.rows[:, :6].sum(axis=1) - pool.rows[:, 6:].sum(axis=1)

    bred, scores = evolve(pool, pool.rows[:0], score, rng)
    assert scores.tolist() == score(bred).tolist()
    assert scores.max() > score(pool).max() + 3
    assert (bred.rows.sum(axis=1) <= 30).all()
    assert len(np.unique(bred.rows, axis=0)) == len(bred) < pools.ALL


def test_rows_that_are_spread_out_begin_with_the_given_ones_and_reach_the_ends():
    domain = make_domain(1, 64)
    pool = make_pool(domain, np.arange(64)[:, None])
    features = pool.described.choices / 20
    found = maximin(pool, features, np.array([30, 31]), 4)
    assert found[:2].tolist() == [30, 31]
    assert set(found[2:]) == {0, 63}
    assert len(set(maximin(pool, features, np.array([3]), 1000))) == 64
