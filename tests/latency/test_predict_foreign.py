"""Models from elsewhere: what is known counts, the rest is listed, bounds only where they hold."""

import dataclasses

import pytest

from nas.documents import parse_yaml
from nas.errors import SpaceError, TableError
from nas.latency.foreign import ForeignNetwork, Leftover, Placed
from nas.latency.predict import BlockSums, Predictor, calibrated_ms
from nas.latency.predict_foreign import predict_foreign
from nas.latency.roofline import Operation, operations_ms
from nas.latency.table import Row, load_table
from nas.space.blocks import BlockKey, make_block
from nas.space.enumerate import distinct_blocks
from nas.space.schema import SpaceFile
from nas.space.space import SearchSpace

TINY = """\
schema: 1
name: tiny
description: for tests
plans:
  small: {resolutions: [16, 24], stem_stride: 1, strides: [1, 2]}
stem: {channels: 16, activation: relu}
stages:
  - {op: depthwise_separable, channels: 16, depth: [1, 2], kernel: [3, 5], activation: relu}
  - {channels: 24, depth: [1, 2], expand: [3, 6], activation: hardswish, se: 0.25}
"""
SPACE = SearchSpace(parse_yaml(TINY, SpaceFile, SpaceError, "tiny.yaml"))
NANO = load_table("jetson-nano")
POOL = Leftover("/pool", "MaxPool", (1, 16, 8, 8), "part of no block", 0)


def architecture(resolution=16, **choices):
    defaults = {d.name: d.choices[0] for d in SPACE.choice_dimensions}
    return SPACE.architecture("small", resolution, {**defaults, **choices})


def network(found=None, classes=10, **changes):
    chain = SPACE.network(found or architecture(), classes)
    placed = tuple(Placed(f"/{position}", block) for position, block in chain.blocks)
    size = chain.resolution, chain.resolution
    return dataclasses.replace(ForeignNetwork(size, placed), **changes)


@pytest.fixture
def table(make_table, tables):
    def make(resolutions=(16,), without=(), **changes):
        blocks = distinct_blocks(SPACE, "small", resolutions, (2, 10, 100))
        rows = {BlockKey(b): Row(0.5 + 2.0**-i, 0.001, 0.0, 100) for i, b in enumerate(blocks)}
        for key in without:
            del rows[key]
        return make_table(tables / "nuc-onnxruntime", rows, **changes)

    return make


def total(found, table):
    return sum(table.rows[BlockKey(block)].latency_ms for block in found.blocks)


def calibrated(found, table):
    latencies = [table.rows[BlockKey(block)].latency_ms for block in found.blocks]
    sums = BlockSums.of(latencies, found.blocks)
    return float(calibrated_ms(table.device.calibrations[0].terms, sums))


@pytest.mark.parametrize("classes", [10, 37])
def test_a_network_of_a_calibrated_space_gets_its_certificate(table, classes):
    """The very numbers of `nas predict --arch`, classes interpolated or not."""
    measured = table()
    expected = Predictor(measured, SPACE, "small", classes).architecture(architecture())
    found = predict_foreign(measured, network(classes=classes), [SPACE])
    latency = found.latency
    assert (latency.predicted_ms, latency.lower_ms, latency.upper_ms) == (
        expected.predicted_ms, expected.lower_ms, expected.upper_ms,
    )  # fmt: skip
    assert (latency.basis, latency.calibrated) == ("certificate of tiny small", True)
    assert (found.complete, found.unmatched) == (True, ())
    assert found.architecture == architecture().id
    assert found.interpolated == expected.interpolated == (classes == 37)
    assert found.macs == found.covered_macs > 0


def test_blocks_of_a_calibrated_space_in_another_order_have_no_bound(table):
    """A stage of three blocks where the space has one or two."""
    measured, whole = table(), network(architecture(**{"stage1.depth": 2}))
    longer = [*whole.placed[:2], *[whole.placed[2]] * 3, *whole.placed[3:]]
    other = dataclasses.replace(whole, placed=tuple(longer))
    found = predict_foreign(measured, other, [SPACE])
    assert found.latency.predicted_ms == pytest.approx(calibrated(other, measured))
    assert (found.latency.lower_ms, found.latency.upper_ms) == (None, None)
    assert found.latency.basis == "calibration of tiny small, outside its certificate"
    assert (found.latency.calibrated, found.complete, found.architecture) == (True, True, None)


def test_without_a_calibration_it_is_the_sum(table):
    measured = table(calibrations=[])
    found = predict_foreign(measured, network(), [SPACE])
    assert found.latency.predicted_ms == pytest.approx(total(network(), measured))
    assert found.latency.upper_ms is None
    assert found.latency.basis == (
        "sum of blocks, each with a call of its own, outside every certificate"
    )
    assert (found.latency.calibrated, found.complete) == (False, True)


@pytest.mark.parametrize(("size", "spaces"), [(24, [SPACE]), (16, [])])
def test_another_size_or_an_unknown_space_has_no_bound(table, size, spaces):
    measured, model = table(resolutions=(16, 24)), network(architecture(size))
    found = predict_foreign(measured, model, spaces)
    assert found.latency.predicted_ms == pytest.approx(calibrated(model, measured))
    assert (found.latency.upper_ms, found.latency.calibrated) == (None, True)
    assert found.latency.basis == "calibration of tiny small, outside its certificate"


def test_the_calibration_for_the_nearest_size_is_taken(table):
    [near] = table().device.calibrations
    far = near.model_copy(update={"plan": "large", "resolutions": [224], "constant_ms": 9.0})
    for calibrations in ([near, far], [far, near]):
        found = predict_foreign(table(calibrations=calibrations), network(), [])
        assert found.latency.basis == "calibration of tiny small, outside its certificate"


def test_what_forms_no_chain_has_no_bound(table):
    found = predict_foreign(table(), network(chain=False), [SPACE])
    assert (found.latency.upper_ms, found.architecture) == (None, None)


def test_a_missing_block_is_listed_with_the_command(table):
    missing = network().blocks[1]
    measured = table(without=[BlockKey(missing)])
    found = predict_foreign(measured, network(), [SPACE])
    [part] = found.unmatched
    assert (part.name, part.what) == ("/stage1.block1", str(missing))
    assert (part.why, part.macs) == ("the table has no such block", missing.cost.macs)
    assert part.shape == (1, 16, 16, 16)
    assert part.do == (
        "nas profile --device nuc-onnxruntime --space tiny --plan small --resolution 16"
    )
    rest = [Placed("", block) for block in network().blocks if block != missing]
    known = calibrated(ForeignNetwork((16, 16), tuple(rest)), measured)
    assert found.latency.predicted_ms == pytest.approx(known)
    assert (found.complete, found.latency.calibrated, found.latency.upper_ms) == (
        False, False, None,
    )  # fmt: skip
    assert found.macs - found.covered_macs == missing.cost.macs


def test_a_block_of_no_space_has_no_command(table):
    params = {"kernel": 3, "stride": 1, "activation": "relu"}
    odd = Placed("/odd", make_block("conv", (16, 16), 16, 16, params))
    model = network(placed=(*network().placed, odd))
    [part] = predict_foreign(table(), model, [SPACE]).unmatched
    assert (part.name, part.do) == ("/odd", None)


def test_the_same_computation_by_another_name_is_found(table):
    stem = network().blocks[0]
    size = stem.height, stem.width
    alias = make_block("conv", size, stem.in_channels, stem.out_channels, dict(stem.params))
    measured = table()
    found = predict_foreign(measured, network(placed=(Placed("/c", alias),)), [])
    assert found.latency.predicted_ms == pytest.approx(
        calibrated(ForeignNetwork((16, 16), (Placed("/c", stem),)), measured)
    )
    assert found.unmatched == ()


def test_other_operations_are_not_counted(table):
    measured = table()
    found = predict_foreign(measured, network(leftovers=(POOL,)), [SPACE])
    assert found.latency.predicted_ms == pytest.approx(calibrated(network(), measured))
    assert (found.complete, found.latency.upper_ms) == (False, None)
    assert (found.macs, found.covered_macs) == (network().macs, network().macs)
    [part] = found.unmatched
    assert (part.name, part.what, part.shape) == ("/pool", "MaxPool", (1, 16, 8, 8))
    assert (part.why, part.macs, part.counted_ms) == ("part of no block", 0, None)


def test_nothing_known_is_an_error(table):
    params = {"kernel": 3, "stride": 1, "activation": "relu"}
    odd = Placed("/odd", make_block("conv", (16, 16), 8, 8, params))
    with pytest.raises(TableError) as caught:
        predict_foreign(table(), network(placed=(odd,), leftovers=(POOL,)), [SPACE])
    assert str(caught.value) == (
        "the table of nuc-onnxruntime answers no part of this model; got 'conv "
        '16x16x8->8 {"activation":"relu","kernel":3,"stride":1}, MaxPool\'; try: nas spaces '
        "lists the spaces whose blocks nas profile can measure"
    )


# Estimated tables


def test_estimates_answer_any_blocks_with_their_bound():
    expected = Predictor(NANO, SPACE, "small", 10).architecture(architecture())
    found = predict_foreign(NANO, network(), [])
    latency = found.latency
    assert (latency.predicted_ms, latency.lower_ms, latency.upper_ms) == (
        expected.predicted_ms, expected.lower_ms, expected.upper_ms,
    )  # fmt: skip
    assert (found.provenance, latency.calibrated) == ("estimated", True)


def test_estimates_by_layers_count_and_are_listed_without_a_bound():
    adds = dataclasses.replace(POOL, op="Add", operations=(Operation("add", 0, 4096),))
    without = predict_foreign(NANO, network(), []).latency.predicted_ms
    found = predict_foreign(NANO, network(leftovers=(adds,)), [])
    [part] = found.unmatched
    assert part.counted_ms == operations_ms(NANO.device.roofline, adds.operations) > 0
    assert found.latency.predicted_ms == pytest.approx(without + part.counted_ms)
    assert (found.latency.upper_ms, found.complete) == (None, True)


def test_what_no_estimate_knows_makes_it_a_lower_bound():
    found = predict_foreign(NANO, network(leftovers=(POOL,)), [])
    assert (found.latency.calibrated, found.complete) == (False, False)
    assert found.latency.predicted_ms == predict_foreign(NANO, network(), []).latency.predicted_ms
