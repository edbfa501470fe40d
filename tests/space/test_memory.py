"""Memory of activations and weights of blocks small enough to count by hand."""

from nas.space.architecture import Network
from nas.space.blocks import make_block
from nas.space.memory import (
    block_peak_bytes,
    block_weight_bytes,
    peak_activation_bytes,
    weight_bytes,
)

SPATIAL = {"activation": "relu", "kernel": 3, "stride": 1}


def network(*blocks):
    return Network(8, tuple((str(i), block) for i, block in enumerate(blocks)))


def stem(**changes):
    return make_block("stem", (8, 8), 3, 16, {**SPATIAL, "stride": 2, **changes})


def inverted(residual, **changes):
    params = {**SPATIAL, "hidden": 24, "se": 0, "gate": "hardsigmoid", "residual": residual}
    return make_block("inverted_residual", (4, 4), 8, 8, {**params, **changes})


def classifier(**changes):
    params = {"activation": "none", "hidden": 0, "pooling": "mean", **changes}
    return make_block("classifier", (4, 4), 8, 10, params)


def test_a_layer_holds_its_input_and_its_output():
    assert block_peak_bytes(stem()) == 4 * (3 * 64 + 16 * 16)
    assert block_peak_bytes(stem(), bytes_per_value=1) == 3 * 64 + 16 * 16


def test_activations_run_in_place_but_hardswish_is_a_product():
    assert block_peak_bytes(stem(activation="relu6")) == block_peak_bytes(stem())
    assert block_peak_bytes(stem(activation="hardswish")) == 4 * (3 * 16 * 16)


def test_a_residual_holds_its_start():
    assert block_peak_bytes(inverted(residual=False)) == 4 * 16 * (24 + 24)
    assert block_peak_bytes(inverted(residual=True)) == 4 * 16 * (8 + 24 + 24)


def test_a_residual_without_expansion_counts_its_start_once():
    assert block_peak_bytes(inverted(True, hidden=8)) == 4 * 16 * (8 + 8 + 8)
    strided = inverted(False, hidden=8, activation="hardswish", stride=2)
    assert block_peak_bytes(strided) == 4 * (16 * 8 + 4 * 8)
    held = inverted(True, hidden=8, activation="hardswish")
    assert block_peak_bytes(held) == 4 * 16 * (8 + 3 * 8)


def test_a_sum_has_a_tensor_of_its_own():
    assert block_peak_bytes(inverted(True, hidden=2)) == 4 * 16 * (8 + 8 + 8)


def test_squeeze_and_excitation_holds_its_input_for_the_product():
    assert block_peak_bytes(inverted(False, se=6)) == 4 * (16 * 24 + 24 + 16 * 24)
    small = inverted(False, hidden=8, stride=4, se=1000)
    assert block_peak_bytes(small) == 4 * (8 + 8 + 1000), "more reduced than scaled values"


def test_branches_are_held_until_they_are_joined():
    inner = {**SPATIAL, "hidden": 8}
    unit = make_block("shuffle_unit", (4, 4), 8, 8, {**inner, "hidden": 4})
    assert block_peak_bytes(unit) == 4 * 16 * (8 + 8), "split, and joined: twice the channels"
    wide = make_block("shuffle_unit", (4, 4), 8, 8, {**inner, "hidden": 40})
    assert block_peak_bytes(wide) == 4 * 16 * (4 + 40 + 40), "beside the half that passes by"
    down = make_block("shuffle_unit", (4, 4), 8, 8, {**inner, "stride": 2})
    assert block_peak_bytes(down) == 4 * (16 * 8 + 16 * 8 + 4 * 8), "the input waits for the left"
    fire = make_block("fire", (4, 4), 8, 32, inner)
    assert block_peak_bytes(fire) == 4 * 16 * (32 + 32)


def test_a_projection_is_held_for_the_sum():
    params = {**SPATIAL, "hidden": 8}
    same = make_block("residual", (4, 4), 8, 8, params)
    assert block_peak_bytes(same) == 4 * 16 * (8 + 8 + 8)
    projected = make_block("residual", (4, 4), 8, 16, {**params, "hidden": 40})
    assert block_peak_bytes(projected) == 4 * 16 * (16 + 40 + 16)
    swished = make_block("residual", (4, 4), 8, 8, {**params, "activation": "silu"})
    assert block_peak_bytes(swished) == 4 * 16 * (8 + 3 * 8), "the gate of the first layer"


def test_the_largest_block_counts():
    assert block_peak_bytes(classifier()) == 4 * (16 * 8 + 8)
    both = network(inverted(residual=True), classifier())
    assert peak_activation_bytes(both) == block_peak_bytes(inverted(residual=True))


def test_weights_have_batch_norm_folded_in():
    assert block_weight_bytes(stem()) == 4 * (3 * 16 * 9 + 16)
    assert block_weight_bytes(stem(), bytes_per_value=2) == 2 * (3 * 16 * 9 + 16)
    plain = 8 * 24 + 24 + 9 * 24 + 24 + 24 * 8 + 8
    assert block_weight_bytes(inverted(True)) == 4 * plain
    assert block_weight_bytes(inverted(True, se=6)) == 4 * (plain + 2 * 24 * 6 + 6 + 24)
    assert block_weight_bytes(classifier(hidden=5)) == 4 * (8 * 5 + 5 + 5 * 10 + 10)


def test_weights_add_up():
    both = network(stem(), classifier())
    assert weight_bytes(both, 1) == block_weight_bytes(stem(), 1) + block_weight_bytes(
        classifier(), 1
    )
