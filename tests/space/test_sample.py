"""Drawing, changing, encoding and counting."""

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import ArchitectureError
from nas.space import load_space, space_names
from nas.space.sample import (
    baseline,
    count,
    count_encodings,
    encode,
    from_genome,
    largest,
    mutate,
    sample,
    smallest,
    to_genome,
)

SPACES = {name: load_space(name) for name in sorted(space_names())}
PLANS = [(name, plan) for name, space in SPACES.items() for plan in space.plans]
plans = st.sampled_from(PLANS)
seeds = st.integers(0, 2**32 - 1)


def rng(seed):
    return np.random.default_rng(seed)


def every_architecture(space, plan):
    dimensions = space.dimensions(plan)
    for choices in itertools.product(*(d.choices for d in dimensions)):
        names = (d.name for d in dimensions)
        yield from_genome(space, plan, dict(zip(names, choices, strict=True)))


@given(plans, seeds)
def test_samples_are_architectures_and_follow_the_seed(where, seed):
    space, plan = SPACES[where[0]], where[1]
    found = sample(space, plan, rng(seed))
    assert found == sample(space, plan, rng(seed))
    assert (found.space, found.plan) == where
    assert space.from_json(found.to_json()) == found


def test_every_choice_is_drawn(small_space):
    generator = rng(0)
    drawn = [to_genome(small_space, sample(small_space, "small", generator)) for _ in range(300)]
    for dimension in small_space.dimensions("small"):
        assert {genome[dimension.name] for genome in drawn} == set(dimension.choices)


@given(plans, seeds)
def test_a_mutation_changes_one_choice_and_the_network(where, seed):
    space, plan = SPACES[where[0]], where[1]
    generator = rng(seed)
    start = sample(space, plan, generator)
    found = mutate(space, start, generator)
    assert found.id != start.id
    genome = to_genome(space, start)
    reachable = (
        from_genome(space, plan, {**genome, d.name: choice})
        for d in space.dimensions(plan)
        for choice in d.choices
    )
    assert any(found == other for other in reachable)
    assert mutate(space, start, rng(seed)) == mutate(space, start, rng(seed))


def test_a_space_of_one_network_has_no_mutation(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text(
        "schema: 1\nname: one\ndescription: d\n"
        "plans: {small: {resolutions: [16], stem_stride: 1, strides: [1]}}\n"
        "stem: {channels: 8, activation: relu}\nstages: [{channels: 8, activation: relu}]\n"
    )
    space = load_space(path)
    only = sample(space, "small", rng(0))
    assert mutate(space, only, rng(0)) == only
    assert count(space, "small") == count_encodings(space, "small") == 1
    assert encode(space, only).tolist() == [0]


@given(plans, seeds)
def test_genomes_stand_for_their_architecture(where, seed):
    space, plan = SPACES[where[0]], where[1]
    found = sample(space, plan, rng(seed))
    assert from_genome(space, plan, to_genome(space, found)) == found
    assert list(to_genome(space, found)) == [d.name for d in space.dimensions(plan)]


@given(plans, seeds)
def test_encodings_hold_indices_and_mark_choices_without_effect(where, seed):
    space, plan = SPACES[where[0]], where[1]
    found = sample(space, plan, rng(seed))
    dimensions, code = space.dimensions(plan), encode(space, found)
    assert code.shape == (len(dimensions),) and code.dtype == np.int64
    named = {
        d.name: d.choices[index] for d, index in zip(dimensions, code, strict=True) if index >= 0
    }
    assert named.pop("resolution") == found.resolution
    assert named == dict(found.choices)


def test_encodings_differ_exactly_where_networks_do(small_space):
    for plan in small_space.plans:
        found = set(every_architecture(small_space, plan))
        codes = {tuple(encode(small_space, architecture)) for architecture in found}
        assert len(codes) == len(found)


def test_count_is_the_number_of_networks(small_space):
    for plan in small_space.plans:
        ids = [architecture.id for architecture in every_architecture(small_space, plan)]
        assert count_encodings(small_space, plan) == len(ids)
        assert count(small_space, plan) == len(set(ids))


def test_counts_by_hand(elastic, skips):
    # resolutions x widths x (2 + 2^2) x (2 + 2^3); depth 1 or 3 in the second stage
    assert count(elastic, "small") == 2 * 2 * 6 * 10
    assert count(elastic, "large") == 1 * 2 * 6 * 10
    # sequences of up to 3 of 2 variants; 3 first blocks (one a convolution) and up to 1 more
    assert count(skips, "small") == (1 + 2 + 4 + 8) * 3 * (1 + 2)
    assert count(skips, "large") == 3 * (1 + 2 + 4) * 3 * (1 + 2)


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_the_extremes_are_the_extremes(small_space, cost):
    for plan in small_space.plans:
        costs = [
            getattr(small_space.network(found).cost, cost)
            for found in every_architecture(small_space, plan)
        ]
        low = small_space.network(smallest(small_space, plan, cost))
        high = small_space.network(largest(small_space, plan, cost))
        assert getattr(low.cost, cost) == min(costs)
        assert getattr(high.cost, cost) == max(costs)


@cache
def extremes(name, plan, cost):
    space = SPACES[name]
    ends = (pick(space, plan, cost) for pick in (smallest, largest))
    return [getattr(space.network(architecture).cost, cost) for architecture in ends]


@given(plans, seeds)
def test_samples_cost_between_the_extremes(where, seed):
    space, plan = SPACES[where[0]], where[1]
    cost = space.network(sample(space, plan, rng(seed))).cost
    for name in ("macs", "params"):
        low, high = extremes(*where, name)
        assert low <= getattr(cost, name) <= high


def test_the_extremes_of_nas_bench_macro():
    space = SPACES["nas-bench-macro"]
    assert set(dict(smallest(space, "small").choices).values()) == {"skip"}
    assert set(dict(largest(space, "small", "params").choices).values()) == {"k5e6"}


def test_baselines_are_the_default_at_each_width():
    space = SPACES["mobilenetv3"]
    found = [baseline(space, "small", width) for width in space.file.width]
    macs = [space.network(architecture).cost.macs for architecture in found]
    assert macs == sorted(set(macs))
    choices = dict(found[-1].choices)
    assert found[-1].resolution == 32
    assert (choices["width"], choices["stage3.depth"]) == (1.0, 3)
    assert (choices["stage3.block1.kernel"], choices["stage3.block1.expand"]) == (5, 3)
    assert baseline(space, "small", 1.0, 24).resolution == 24


def test_a_default_that_is_not_given_is_the_first_choice(elastic):
    choices = dict(baseline(elastic, "small", 0.5).choices)
    assert (choices["stage1.depth"], choices["stage1.block1.kernel"]) == (1, 3)
    assert (choices["stage2.depth"], choices["stage2.block3.expand"]) == (3, 3)


def test_a_space_of_one_width_has_one_baseline(skips):
    assert baseline(skips, "small", 1.0) == baseline(skips, "small", 0.5)


def test_a_width_that_the_space_lacks():
    with pytest.raises(ArchitectureError) as caught:
        baseline(SPACES["mobilenetv2"], "small", 2.0)
    assert str(caught.value) == (
        "width of mobilenetv2 is one of its choices; got 2.0; allowed: 0.35, 0.5, 0.75, 1.0"
    )
