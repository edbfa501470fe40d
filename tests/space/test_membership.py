"""Whether a chain of blocks is a network of a space, and which."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.space import load_space, space_names
from nas.space.blocks import make_block
from nas.space.membership import find_architecture
from nas.space.sample import baseline, sample

SPACES = {name: load_space(name) for name in sorted(space_names())}
PLANS = sorted((name, plan) for name, space in SPACES.items() for plan in space.plans)


def blocks_of(space, architecture, classes=10):
    return [block for _, block in space.network(architecture, classes).blocks]


@given(st.sampled_from(PLANS), st.integers(0, 2**32 - 1), st.sampled_from([1, 10, 37]))
def test_every_architecture_is_found_again(where, seed, classes):
    """By its id: choices that make no difference may be others."""
    space, plan = SPACES[where[0]], where[1]
    drawn = sample(space, plan, np.random.default_rng(seed))
    chain = space.network(drawn, classes).without_exits
    found = find_architecture(space, plan, [block for _, block in chain.blocks])
    assert found is not None and found.id == chain.id


@pytest.mark.parametrize("change", ["resolution", "block", "missing", "doubled", "headless"])
def test_others_are_not(change):
    space = SPACES["mobilenetv3"]
    blocks = blocks_of(space, baseline(space, "small", 1.0))
    if change == "resolution":
        blocks = [dataclasses.replace(b, height=b.height + 1) for b in blocks]
    elif change == "block":
        params = {**dict(blocks[3].params), "hidden": 97}
        size = blocks[3].height, blocks[3].width
        ends = blocks[3].in_channels, blocks[3].out_channels
        blocks[3] = make_block(blocks[3].op, size, *ends, params)
    elif change == "missing":
        del blocks[-1]
    elif change == "doubled":
        blocks.append(blocks[-1])
    else:
        del blocks[-2]
    assert find_architecture(space, "small", blocks) is None


def test_a_network_of_another_space_is_not():
    space = SPACES["mobilenetv2"]
    blocks = blocks_of(space, baseline(space, "small", 1.0))
    assert find_architecture(SPACES["mobilenetv3"], "small", blocks) is None
    assert find_architecture(space, "large", blocks) is None


def test_names_of_blocks_do_not_matter():
    space = SPACES["mobilenetv3"]
    architecture = baseline(space, "small", 0.5)
    blocks = blocks_of(space, architecture)
    head = blocks[-2]
    params = {"kernel": 1, "stride": 1, "activation": dict(head.params)["activation"]}
    size = head.height, head.width
    blocks[-2] = make_block("conv", size, head.in_channels, head.out_channels, params)
    assert find_architecture(space, "small", blocks) == architecture
