"""Blocks: values, their keys, their cost and their mistakes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import SpaceError
from nas.space.blocks import OPS, BlockKey, make_block
from nas.space.layers import Conv, Cost, GlobalPool, Linear, Residual, SqueezeExcite, layer_cost
from nas.space.resolve import round_channels

SPATIAL = {"activation": "relu", "kernel": 3, "stride": 1}
INVERTED = {**SPATIAL, "hidden": 24, "se": 8, "gate": "hardsigmoid", "residual": True}


def test_a_block_is_a_value():
    one = make_block("stem", (32, 32), 3, 16, SPATIAL)
    two = make_block("stem", (32, 32), 3, 16, dict(reversed(SPATIAL.items())))
    assert one == two and hash(one) == hash(two)
    assert str(BlockKey(one)) == (
        'stem 32x32x3->16 {"activation":"relu","kernel":3,"stride":1} fp32 batch 1'
    )
    assert BlockKey(one) != BlockKey(one, "fp16") != BlockKey(one, "fp16", 2)


def test_an_unknown_op_lists_the_known_ones():
    with pytest.raises(SpaceError) as caught:
        make_block("pool", (32, 32), 3, 16, {})
    assert str(caught.value) == (
        "a block names a known op; got 'pool'; allowed: classifier, conv, depthwise_separable, "
        "fire, fused_inverted_residual, head, inverted_residual, residual, shuffle_unit, stem"
    )


@pytest.mark.parametrize(
    ("params", "got"),
    [({}, "none"), ({"activation": "relu", "size": 3}, "activation, size")],
)
def test_an_op_takes_its_own_parameters(params, got):
    with pytest.raises(SpaceError) as caught:
        make_block("head", (8, 8), 16, 64, params)
    assert str(caught.value) == (
        f"head takes exactly its own parameters; got {got!r}; allowed: activation"
    )


def test_an_inverted_residual_and_its_layers():
    block = make_block("inverted_residual", (8, 8), 16, 16, INVERTED)
    (residual,) = block.layers
    assert isinstance(residual, Residual)
    assert [layer.name for layer in residual.body] == ["expand", "depthwise", "se", "project"]
    assert block.output_size == (8, 8)


def test_no_expansion_no_gate_and_no_sum():
    params = {**INVERTED, "hidden": 16, "se": 0, "residual": False, "stride": 2}
    block = make_block("inverted_residual", (9, 9), 16, 24, params)
    assert [layer.name for layer in block.layers] == ["depthwise", "project"]
    assert block.output_size == (5, 5)


def test_costs_by_hand():
    conv = Conv("c", 8, 16, 3, 2, 1, "relu")
    assert layer_cost(conv, 9, 9) == Cost(8 * 16 * 9 + 32, 8 * 16 * 9 * 25)
    depthwise = Conv("d", 16, 16, 5, 1, 16, "relu")
    assert layer_cost(depthwise, 4, 4) == Cost(16 * 25 + 32, 16 * 25 * 16)
    assert layer_cost(SqueezeExcite("s", 16, 8, "hardsigmoid"), 4, 4) == Cost(256 + 24, 256)
    assert layer_cost(Linear("l", 10, 5, "none"), 1, 1) == Cost(55, 50)
    assert layer_cost(GlobalPool("p", 16), 4, 4) == Cost(0, 0)


def test_a_classifier_ends_in_one_pixel():
    params = {"activation": "none", "hidden": 0, "pooling": "mean"}
    block = make_block("classifier", (7, 7), 64, 10, params)
    assert block.output_size == (1, 1)
    assert block.cost == Cost(650, 640)


def test_every_op_has_a_lowering():
    assert set(OPS) == {
        "stem", "conv", "depthwise_separable", "inverted_residual", "fused_inverted_residual",
        "residual", "shuffle_unit", "fire", "head", "classifier",
    }  # fmt: skip


@given(st.floats(0.1, 5000), st.sampled_from([1, 4, 8, 16]))
def test_channels_are_rounded_to_a_multiple_near_by(channels, divisor):
    rounded = round_channels(channels, divisor)
    assert rounded % divisor == 0
    assert abs(rounded - channels) <= divisor
    assert rounded == 0 or rounded >= 0.9 * channels


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [(32 * 0.35, 16), (24 * 0.75, 24), (16 * 0.35, 8), (3.9, 0), (4, 8), (1280, 1280)],
)
def test_channels_are_rounded_as_the_papers_do(channels, rounded):
    assert round_channels(channels, 8) == rounded
