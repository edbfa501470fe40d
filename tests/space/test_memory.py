"""Peak memory of activations on networks small enough to count by hand."""

from nas.space.architecture import Network
from nas.space.blocks import make_block
from nas.space.memory import peak_activation_bytes

SPATIAL = {"activation": "relu", "kernel": 3, "stride": 1}


def network(*blocks):
    return Network(8, tuple((str(i), block) for i, block in enumerate(blocks)))


def test_a_layer_holds_its_input_and_its_output():
    stem = make_block("stem", (8, 8), 3, 16, {**SPATIAL, "stride": 2})
    assert peak_activation_bytes(network(stem)) == 4 * (3 * 64 + 16 * 16)
    assert peak_activation_bytes(network(stem), bytes_per_value=1) == 3 * 64 + 16 * 16


def inverted(residual):
    params = {**SPATIAL, "hidden": 24, "se": 0, "gate": "hardsigmoid", "residual": residual}
    return make_block("inverted_residual", (4, 4), 8, 8, params)


def test_a_residual_holds_its_start():
    assert peak_activation_bytes(network(inverted(residual=False))) == 4 * 16 * (24 + 24)
    assert peak_activation_bytes(network(inverted(residual=True))) == 4 * 16 * (8 + 24 + 24)


def test_the_largest_block_counts():
    classifier = make_block(
        "classifier", (4, 4), 8, 10, {"activation": "none", "hidden": 0, "pooling": "mean"}
    )
    assert peak_activation_bytes(network(classifier)) == 4 * (16 * 8 + 8)
    both = network(inverted(residual=True), classifier)
    assert peak_activation_bytes(both) == peak_activation_bytes(network(inverted(residual=True)))
