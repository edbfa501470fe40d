"""Exits: where they are, what they cost, and when they are none."""

from collections import Counter

import numpy as np
import pytest

from nas.space.architecture import is_exit
from nas.space.choices import ChoiceRows
from nas.space.enumerate import distinct_blocks
from nas.space.gather import gather, make_steps
from nas.space.membership import find_architecture
from nas.space.sample import baseline, from_genome, sample, to_genome


def network(space, **choices):
    genome = to_genome(space, baseline(space, "small", 1.0))
    return space.network(from_genome(space, "small", {**genome, **choices}), 7)


def test_an_exit_reads_what_the_next_block_reads(exits):
    found = network(exits)
    places = [position for position, _ in found.blocks]
    assert places == [
        "stem", "stage1.block1", "stage1.block2", "stage1.exit", "stage3.block1", "head",
        "classifier",
    ]  # fmt: skip
    blocks = dict(found.blocks)
    leaving, following = blocks["stage1.exit"], blocks["stage3.block1"]
    assert (leaving.in_channels, leaving.height) == (following.in_channels, following.height)
    assert leaving.out_channels == found.classes == 7
    assert dict(leaving.params)["channels"] == 48


def test_segments_end_with_their_exits(exits):
    """By default the second stage, which always has an exit, is left out: its depth is 0."""
    found = network(exits, **{"stage2.depth": 1})
    assert [segment.exit[0] for segment in found.segments] == [
        "stage1.exit", "stage2.exit", "classifier",
    ]  # fmt: skip
    together = [p for s in found.segments for p in (*s.trunk, s.exit)]
    assert tuple(together) == found.blocks
    chain = found.without_exits
    assert not any(is_exit(position) for position, _ in chain.blocks)
    assert found.cost.macs > chain.cost.macs == sum(b.cost.macs for _, b in chain.blocks)
    until = found.macs_until_exits
    assert until[-1] == found.cost.macs and list(until) == sorted(until)


def test_a_stage_that_is_left_out_has_no_exit(exits):
    one, other = (network(exits, **{"stage1.depth": 0, "stage1.exit": e}) for e in (0, 1))
    assert one.id == other.id and one == other
    assert "stage1.exit" not in dict(one.blocks)


def test_an_exit_is_part_of_the_id_and_classes_are_not(exits):
    with_exit, without = (network(exits, **{"stage1.exit": e}) for e in (1, 0))
    assert with_exit.id != without.id == with_exit.without_exits.id
    architecture = baseline(exits, "small", 1.0)
    assert {exits.network(architecture, classes).id for classes in (2, 10)} == {architecture.id}


def test_sums_are_those_of_the_networks_with_their_exits(exits):
    rows = ChoiceRows(exits, "small")
    drawn = np.random.default_rng(0).integers(rows.sizes, size=(60, len(rows.sizes)))
    drawn = rows.canonical(drawn)
    networks = [exits.network(rows.architecture(row), 7) for row in drawn]
    assert len(Counter(len(found.segments) for found in networks)) == 3

    def measure(placed, _):
        return [sum(b.cost.macs for _, b in placed), sum(is_exit(p) for p, _ in placed)]

    found = gather(make_steps(rows.book, 7, measure), rows.pack(drawn))
    expected = [[n.cost.macs, len(n.segments) - 1] for n in networks]
    assert np.array_equal(found, np.array(expected))


def test_all_blocks_of_exits_are_listed(exits):
    listed = set(distinct_blocks(exits, "small", [16, 24], (7,)))
    rng = np.random.default_rng(1)
    for _ in range(50):
        drawn = exits.network(sample(exits, "small", rng), 7)
        assert {block for _, block in drawn.blocks} <= listed


def test_a_chain_is_no_network_of_a_space_whose_exits_are_given(exits):
    """Stage 2 always has one, unless it is left out."""
    for depth, expected in ((0, True), (1, False)):
        found = network(exits, **{"stage1.exit": 0, "stage2.depth": depth}).without_exits
        blocks = [block for _, block in found.blocks]
        assert (find_architecture(exits, "small", blocks) is not None) == expected


@pytest.mark.parametrize("plan", ["small", "large"])
def test_baselines_have_the_exits_of_the_defaults(exits, plan):
    assert dict(baseline(exits, plan, 0.5).choices)["stage1.exit"] == 1
