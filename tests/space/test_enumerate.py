"""Every block of a space, and none that no network has."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.space import load_space, space_names
from nas.space.enumerate import distinct_blocks
from nas.space.sample import from_genome, sample

SPACES = {name: load_space(name) for name in sorted(space_names())}
PLANS = [(name, plan) for name, space in SPACES.items() for plan in space.plans]
BLOCKS = {
    (name, plan): set(
        distinct_blocks(SPACES[name], plan, SPACES[name].plan(plan).resolutions, [10])
    )
    for name, plan in PLANS
}


@given(st.sampled_from(PLANS), st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_blocks_of_samples_are_covered(where, seed):
    space, plan = SPACES[where[0]], where[1]
    network = space.network(sample(space, plan, np.random.default_rng(seed)), 10)
    assert {block for _, block in network.blocks} <= BLOCKS[where]


def test_exactly_the_blocks_of_all_networks(small_space):
    for plan in small_space.plans:
        dimensions = small_space.dimensions(plan)
        expected = set()
        for choices in itertools.product(*(d.choices for d in dimensions)):
            genome = {d.name: choice for d, choice in zip(dimensions, choices, strict=True)}
            network = small_space.network(from_genome(small_space, plan, genome), 10)
            expected |= {block for _, block in network.blocks}
        found = distinct_blocks(small_space, plan, dimensions[0].choices, [10])
        assert len(found) == len(set(found))
        assert set(found) == expected


def test_the_order_is_stable(elastic):
    assert distinct_blocks(elastic, "small", [16, 24], [10, 2]) == distinct_blocks(
        elastic, "small", [16, 24], [10, 2]
    )


def test_only_the_wanted_resolutions(elastic):
    found = distinct_blocks(elastic, "small", [24], [10])
    assert {block.height for block in found} == {24, 12}


def test_classifiers_for_every_number_of_classes(elastic):
    found = distinct_blocks(elastic, "small", [16], [10, 2, 100])
    classifiers = [block for block in found if block.op == "classifier"]
    assert {block.out_channels for block in classifiers} == {2, 10, 100}
    assert len(classifiers) == 3 * 2  # two widths of the hidden layer
    others = [block for block in found if block.op != "classifier"]
    assert set(others) == {
        block for block in distinct_blocks(elastic, "small", [16], [7]) if block.op != "classifier"
    }


def test_how_much_there_is_to_measure():
    """Stem, head, classifier; per stage 2 candidates as first and as later block, and a skip."""
    assert len(BLOCKS["nas-bench-macro", "small"]) == 3 + 3 * (2 + 2 + 1)
