"""Families of blocks: what they lower to, what their keys are, and how spaces mix them."""

import re

import numpy as np
import pytest

from nas.errors import SpaceError
from nas.space import load_space
from nas.space.blocks import OPS, make_block
from nas.space.families import OP_PARAMS, OPTIONAL_PARAMS
from nas.space.layers import (
    Branches,
    Conv,
    Cost,
    MaxPool,
    Residual,
    SqueezeExcite,
    layer_cost,
    leaves,
    output_channels,
    output_size,
)
from nas.space.sample import baseline, sample

from .conftest import space_of

INNER = {"activation": "relu", "hidden": 8, "kernel": 3, "stride": 1}
FAMILIES = """\
schema: 1
name: families
description: one stage whose blocks are of any family
width: [0.5, 1.0]
plans:
  small: {resolutions: [16], stem_stride: 1, strides: [1, 2]}
stem: {channels: 16, activation: relu}
stages:
  - channels: 16
    depth: [1, 2]
    variants: &all
      a: {kernel: 5, expand: 3, se: 0.25, activation: hardswish}
      b: {op: fused_inverted_residual, expand: 4, activation: silu}
      c: {op: depthwise_separable}
      d: {op: residual, kernel: 5}
      e: {op: shuffle_unit, expand: 2}
      f: {op: fire, expand: 2}
      g: {op: fused_inverted_residual}
    se_of: input
    se_activation: silu
    gate: sigmoid
    activation: relu
  - {channels: 24, depth: 2, variants: *all, activation: relu6}
"""


def layers(op, size, channels, **changes):
    needed = {"residual": False} if "residual" in OP_PARAMS[op] else {}
    return make_block(op, (8, 8), *channels, {**INNER, **needed, **changes}).layers


@pytest.fixture(scope="module")
def families():
    return space_of(FAMILIES)


def network(families, variant, width=1.0, depth=2):
    choices = {"width": width, "stage1.depth": depth}
    choices |= {f"stage{s}.block{b}.variant": variant for s in (1, 2) for b in (1, 2)}
    if depth == 1:
        del choices["stage1.block2.variant"]
    return families.network(families.architecture("small", 16, choices), 10)


def blocks(found):
    return [str(block) for position, block in found.blocks if position.startswith("stage")]


def test_optional_parameters_are_left_out_where_they_are_the_usual_ones():
    """So keys of tables that were measured before an op had them stay what they were."""
    spatial = {"activation": "relu", "kernel": 3, "stride": 2}
    plain = make_block("stem", (8, 8), 3, 16, spatial)
    assert plain == make_block("stem", (8, 8), 3, 16, {**spatial, "norm": True, "pool": 1})
    assert plain.params_json == '{"activation":"relu","kernel":3,"stride":2}'
    pooled = make_block("stem", (8, 8), 3, 16, {**spatial, "pool": 2})
    assert pooled != plain and pooled.params_json.count('"pool":2') == 1
    assert (plain.output_size, pooled.output_size) == ((4, 4), (2, 2))


@pytest.mark.parametrize("op", sorted(OPTIONAL_PARAMS))
def test_optional_parameters_are_none_that_is_needed(op):
    assert not set(OPTIONAL_PARAMS[op]) & set(OP_PARAMS[op])


def test_an_unknown_parameter_names_the_optional_ones():
    with pytest.raises(SpaceError) as caught:
        make_block("fire", (8, 8), 16, 16, {**INNER, "se": 4})
    assert str(caught.value) == (
        "fire takes exactly its own parameters; got 'activation, hidden, kernel, se, stride'; "
        "allowed: activation, hidden, kernel, stride, norm (optional)"
    )


@pytest.mark.parametrize("op", ["shuffle_unit", "fire"])
def test_two_halves_are_even(op):
    with pytest.raises(SpaceError) as caught:
        make_block(op, (8, 8), 16, 17, INNER)
    assert str(caught.value) == f"a {op} joins two halves: its channels are even; got 17"


def test_layers_by_hand():
    (fused,) = layers("fused_inverted_residual", 8, (8, 8), hidden=32, residual=True)
    assert [layer.name for layer in fused.body] == ["expand", "project"]
    (basic,) = layers("residual", 8, (8, 8))
    assert (basic.shortcut, basic.activation) == ((), "relu")
    (projected,) = layers("residual", 8, (8, 16), stride=2)
    assert projected.shortcut == (Conv("shortcut", 8, 16, 1, 2, 1, "none"),)
    (unit,) = layers("shuffle_unit", 8, (16, 16))
    assert (unit.split, unit.shuffle, unit.branches[0]) == (True, True, ())
    (down,) = layers("shuffle_unit", 8, (16, 24), stride=2)
    assert (down.split, [len(branch) for branch in down.branches]) == (False, [2, 3])
    pool, squeeze, expands = layers("fire", 8, (16, 32), stride=2, norm=False)
    assert pool == MaxPool("pool", 16, 3, 2)
    assert (squeeze.out_channels, squeeze.norm) == (8, False)
    assert [branch[0].kernel for branch in expands.branches] == [1, 3]


@pytest.mark.parametrize("op", sorted({*OPS} - {"classifier", "head", "stem", "conv"}))
@pytest.mark.parametrize(("channels", "stride"), [((16, 16), 1), ((16, 24), 2), ((16, 24), 1)])
def test_layers_give_the_shape_that_the_key_says(op, channels, stride):
    changes = {"activation": "relu", "kernel": 3, "stride": stride}
    changes |= {"se": 4, "gate": "sigmoid"} if op == "inverted_residual" else {}
    params = {name: {**INNER, "residual": False, **changes}[name] for name in OP_PARAMS[op]}
    block = make_block(op, (9, 7), *channels, params)
    size, count = (9, 7), channels[0]
    for layer in block.layers:
        size, count = output_size(layer, *size), output_channels(layer, count)
    assert (size, count) == (block.output_size, block.out_channels)
    names = [leaf.name for leaf in leaves(block.layers)]
    assert len(names) == len(set(names)), "each layer's weights have a name of their own"


def test_costs_by_hand():
    conv = Conv("c", 4, 6, 3, 2, 1, "relu", norm=False)
    assert layer_cost(conv, 8, 8) == Cost(4 * 6 * 9 + 6, 4 * 6 * 9 * 16)
    assert layer_cost(MaxPool("p", 4, 3, 2), 8, 8) == Cost(0, 0)
    half = Conv("h", 2, 2, 1, 1, 1, "none")
    joined = Branches("j", ((), (half,)), split=True, shuffle=True)
    assert layer_cost(joined, 8, 8) == Cost(4 + 4, 4 * 64)
    total = Residual("r", (half, half), (half,), "relu")
    assert layer_cost(total, 8, 8) == Cost(3 * 8, 3 * 4 * 64)


def test_a_classifier_that_pools_last():
    params = {"activation": "relu", "hidden": 0, "pooling": "last"}
    block = make_block("classifier", (7, 7), 64, 10, params)
    assert block.cost == Cost(650, 640 * 49)
    with pytest.raises(
        SpaceError,
        match="a classifier that pools last has no hidden layer and no channels of its own; got 5",
    ):
        _ = make_block("classifier", (7, 7), 64, 10, {**params, "hidden": 5}).layers


EXPECTED = {
    "a": [
        'inverted_residual 16x16x16->16 {"activation":"hardswish","gate":"sigmoid","hidden":48,'
        '"kernel":5,"residual":true,"se":4,"se_activation":"silu","stride":1}',
        'inverted_residual 16x16x16->24 {"activation":"hardswish","gate":"hardsigmoid","hidden":48,'
        '"kernel":5,"residual":false,"se":16,"stride":2}',
    ],
    "b": [
        'fused_inverted_residual 16x16x16->16 {"activation":"silu","hidden":64,"kernel":3,'
        '"residual":true,"stride":1}',
        'fused_inverted_residual 16x16x16->24 {"activation":"silu","hidden":64,"kernel":3,'
        '"residual":false,"stride":2}',
    ],
    "c": [
        'depthwise_separable 16x16x16->16 {"activation":"relu","kernel":3,"stride":1}',
        'depthwise_separable 16x16x16->24 {"activation":"relu6","kernel":3,"stride":2}',
    ],
    "d": [
        'residual 16x16x16->16 {"activation":"relu","hidden":16,"kernel":5,"stride":1}',
        'residual 16x16x16->24 {"activation":"relu6","hidden":24,"kernel":5,"stride":2}',
    ],
    "e": [
        'shuffle_unit 16x16x16->16 {"activation":"relu","hidden":16,"kernel":3,"stride":1}',
        'shuffle_unit 16x16x16->24 {"activation":"relu6","hidden":24,"kernel":3,"stride":2}',
    ],
    "f": [
        'fire 16x16x16->16 {"activation":"relu","hidden":8,"kernel":3,"stride":1}',
        'fire 16x16x16->24 {"activation":"relu6","hidden":8,"kernel":3,"stride":2}',
    ],
    "g": [
        'conv 16x16x16->16 {"activation":"relu","kernel":3,"residual":true,"stride":1}',
        'conv 16x16x16->24 {"activation":"relu6","kernel":3,"stride":2}',
    ],
}


@pytest.mark.parametrize("variant", EXPECTED)
def test_a_variant_is_of_any_family_with_its_own_choices(families, variant):
    found = blocks(network(families, variant))
    assert [found[0], found[2]] == EXPECTED[variant]


def test_channels_are_listed_for_each_width():
    space = load_space("shufflenetv2")
    assert [baseline(space, "small", width).resolution for width in space.file.width] == [32] * 3
    for width, expected in zip(space.file.width, ([48, 96, 192], [116, 232, 464]), strict=False):
        found = space.network(baseline(space, "small", width)).blocks
        assert sorted({b.out_channels for _, b in found if b.op == "shuffle_unit"}) == expected


def test_mixed_networks_mix():
    """Different families in one network, and one in all blocks of a stage."""
    space, rng = load_space("mixed"), np.random.default_rng(0)
    drawn = [space.network(sample(space, "small", rng)) for _ in range(20)]
    for network in drawn:
        stages = [(p.partition(".")[0], b.op) for p, b in network.blocks if p.startswith("stage")]
        assert len(dict(stages)) == len(set(stages))
    assert max(len({block.op for _, block in n.blocks}) for n in drawn) >= 7
    ops = {block.op for n in drawn for _, block in n.blocks}
    assert ops == {*OPS} - {"conv"}


def test_efficientnet_squeezes_to_a_share_of_the_input():
    found = load_space("efficientnetv2").reference("efficientnet_b0")
    squeezes = [leaf for _, b in found.blocks for leaf in leaves(b.layers)
                if isinstance(leaf, SqueezeExcite)]  # fmt: skip
    assert [s.squeeze for s in squeezes[:4]] == [8, 4, 6, 6]
    assert {(s.gate, s.activation) for s in squeezes} == {("sigmoid", "silu")}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("f: {op: fire, expand: 2}", "f: {op: fire, se: 0.25}",
         "variant f: a fire has no se: inverted_residual has"),
        ("c: {op: depthwise_separable}", "c: {op: depthwise_separable, expand: 2}",
         "variant c: a depthwise_separable has no expand ratio"),
        ("{channels: 24, depth: 2, variants: *all,", "{op: residual, channels: 24, se: 0.5,",
         "a residual stage has no se: inverted_residual has"),
        ("  - channels: 16\n", "  - channels: [16, 24, 32]\n",
         "the channels of stage 1 are one number, or one for each of the 2 widths"),
        ("  - channels: 16\n", "  - channels: [15, 16]\n",
         "a shuffle_unit joins two halves: its channels are even; got 15"),
    ],
)  # fmt: skip
def test_mistakes(old, new, expected):
    assert FAMILIES.count(old) == 1
    with pytest.raises(SpaceError, match=re.escape(expected)):
        space_of(FAMILIES.replace(old, new))
