"""Architectures as stacks of blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nas.latency.table import LatencyTable, load_table
from nas.report.stacks import block_label, make_stack
from nas.space import load_space
from nas.space import sample as sampling
from nas.space.architecture import Network
from nas.space.blocks import make_block

SHAPE = {"kernel": 5, "stride": 2, "activation": "relu"}


@pytest.fixture
def network() -> Network:
    space = load_space("mobilenetv3")
    return space.network(sampling.baseline(space, "small", 0.5), 10)


@pytest.mark.parametrize(
    ("op", "params", "label"),
    [
        ("stem", SHAPE, "k5"),
        ("depthwise_separable", SHAPE, "k5"),
        (
            "inverted_residual",
            {**SHAPE, "hidden": 64, "se": 16, "gate": "hardsigmoid", "residual": False},
            "k5 e4 SE",
        ),
        (
            "inverted_residual",
            {**SHAPE, "hidden": 40, "se": 0, "gate": "hardsigmoid", "residual": False},
            "k5 e2.5",
        ),
        ("fused_inverted_residual", {**SHAPE, "hidden": 64, "residual": False}, "k5 e4"),
        ("residual", {**SHAPE, "hidden": 48}, "k5 e2"),
        ("shuffle_unit", {**SHAPE, "hidden": 12}, "k5 e1"),
        ("fire", {**SHAPE, "hidden": 6}, "k5 e2"),
        ("head", {"activation": "relu"}, ""),
        ("classifier", {"activation": "relu", "hidden": 1280, "pooling": "mean"}, "1280"),
        ("classifier", {"activation": "none", "hidden": 0, "pooling": "mean"}, ""),
    ],
)
def test_a_label_names_what_was_chosen(op: str, params: dict[str, object], label: str) -> None:
    assert block_label(make_block(op, (16, 16), 16, 24, params)) == label


def test_a_stack_follows_the_network_and_its_shares_add_up(network: Network) -> None:
    stack = make_stack(network, load_table("jetson-nano"))
    assert [block.place for block in stack] == [place for place, _ in network.blocks]
    assert (stack[0].op, stack[0].size, stack[-1].op) == ("stem", 32, "classifier")
    assert sum(block.macs_share for block in stack) == pytest.approx(1)
    assert sum(block.latency_share or 0 for block in stack) == pytest.approx(1)


def test_a_measured_table_tells_the_shares_too(
    network: Network, measured_table: Callable[[], LatencyTable]
) -> None:
    table = measured_table()
    stack = make_stack(network, table)
    latencies = [table.rows[key].latency_ms for key in network.keys()]
    expected = [latency / sum(latencies) for latency in latencies]
    assert [block.latency_share for block in stack] == pytest.approx(expected)


def test_without_a_block_or_a_table_no_latency_share_is_told(
    network: Network, measured_table: Callable[[], LatencyTable]
) -> None:
    table = measured_table()
    known = dict(table.rows)
    del known[network.keys()[2]]
    for found in (None, replace(table, rows=known)):
        assert {block.latency_share for block in make_stack(network, found)} == {None}
