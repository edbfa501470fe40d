"""Gathered sums are the sums over the blocks of the resolved networks."""

import numpy as np
import pytest

from nas.space import load_space, space_names
from nas.space.choices import ChoiceRows
from nas.space.gather import gather, make_steps

PLANS = [(name, "small") for name in sorted(space_names())] + [("mobilenetv3", "large")]


def measure(placed, resolution):
    blocks = [block for _, block in placed]
    return [sum(b.cost.macs for b in blocks), sum(b.cost.params for b in blocks), len(blocks)]


@pytest.mark.parametrize(("name", "plan"), PLANS)
def test_sums_are_those_of_the_networks(name, plan):
    space = load_space(name)
    rows = ChoiceRows(space, plan)
    drawn = np.random.default_rng(0).integers(rows.sizes, size=(40, len(rows.sizes)))
    drawn = rows.canonical(drawn)
    networks = [space.network(rows.architecture(row), 7) for row in drawn]
    expected = [[n.cost.macs, n.cost.params, len(n.blocks)] for n in networks]
    steps = make_steps(rows.book, 7, measure)
    assert np.array_equal(gather(steps, rows.pack(drawn)), np.array(expected))


def test_no_rows_have_no_sums():
    rows = ChoiceRows(load_space("mobilenetv3"), "small")
    steps = make_steps(rows.book, 10, measure)
    assert gather(steps, rows.pack(np.zeros((0, len(rows.sizes)), np.int64))).shape == (0, 3)
