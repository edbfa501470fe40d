"""Latency of networks: sums, calibration, intervals, interpolation, and what is missing."""

from dataclasses import replace

import numpy as np
import pytest

from nas.documents import parse_yaml
from nas.errors import OptionError, SpaceError, TableError
from nas.latency.device_file import Terms
from nas.latency.predict import (
    BlockSums,
    Predictor,
    calibrated_ms,
    spilled_mb,
    sum_of_energies,
)
from nas.latency.table import Row, load_table
from nas.space import load_space
from nas.space.architecture import Network
from nas.space.blocks import BlockKey, make_block
from nas.space.enumerate import distinct_blocks
from nas.space.sample import baseline, largest, smallest
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
CLASSES = (2, 10, 100)
COMMAND = "; try: nas profile --device nuc-onnxruntime --space tiny --plan small --resolution 16"


def tiny_rows(resolutions=(16,), classes=CLASSES):
    """Every block has another latency, so that a sum tells which ones are in it."""
    blocks = distinct_blocks(SPACE, "small", resolutions, classes)
    return {BlockKey(b): Row(0.5 + 2.0**-i, 0.001, 0.0, 100) for i, b in enumerate(blocks)}


def architecture(**choices):
    defaults = {d.name: d.choices[0] for d in SPACE.choice_dimensions}
    return SPACE.architecture("small", choices.pop("resolution", 16), {**defaults, **choices})


@pytest.fixture
def predictor(make_table, tables):
    def make(rows=None, classes=10, space=SPACE, plan="small", **changes):
        table = make_table(tables / "nuc-onnxruntime", rows or tiny_rows(), **changes)
        return Predictor(table, space, plan, classes)

    return make


@pytest.mark.parametrize(("plan", "classes"), [("huge", 10), ("small", 0)])
def test_a_plan_that_is_not_there_and_no_classes_are_refused(plan, classes):
    with pytest.raises(OptionError):
        Predictor(load_table("jetson-nano"), load_space("mobilenetv3"), plan, classes)


def test_a_prediction_is_the_calibrated_sum_of_the_blocks(predictor):
    found = architecture(**{"stage1.depth": 2})
    network = SPACE.network(found, 10)
    total = sum(tiny_rows()[key].latency_ms for key in network.keys())
    blocks = [block for _, block in network.blocks]
    values = sum(block.border_values for block in blocks)
    weights = np.array(sum(block.cost.params for block in blocks))
    spilled = float(spilled_mb(weights + values, 0.01))
    assert spilled > 0
    expected = 0.01 + 0.9 * total - 0.001 * len(blocks) - 0.02 * values / 1e6 + 0.5 * spilled
    expected += 3 * network.cost.macs / 1e9
    prediction = predictor().architecture(found)
    assert prediction.predicted_ms == pytest.approx(expected)
    assert prediction.lower_ms == pytest.approx(0.95 * expected)
    assert prediction.upper_ms == pytest.approx(1.08 * expected)
    assert (prediction.provenance, prediction.interpolated) == ("measured", False)


@pytest.fixture
def with_exits(predictor):
    """Of the tiny space with an exit behind its first stage."""
    text = TINY.replace("kernel: [3, 5], activation", "kernel: [3, 5], exit: [0, 1], activation")
    space = SearchSpace(parse_yaml(text, SpaceFile, SpaceError, "tiny.yaml"))
    blocks = distinct_blocks(space, "small", (16,), CLASSES)
    rows = {BlockKey(b): Row(0.5 + 2.0**-i, 0.001, 0.0, 100) for i, b in enumerate(blocks)}
    return predictor(rows, space=space)


def last_choices(space):
    choices = {d.name: d.choices[-1] for d in space.choice_dimensions}
    return space.network(space.architecture("small", 16, choices), 10)


def test_each_segment_costs_a_call_of_the_runtime(with_exits):
    network = last_choices(with_exits.space)
    early, whole = with_exits.until_exits(network)
    first, second = network.segments
    assert early == with_exits.network(Network(16, (*first.trunk, first.exit)))
    rows = with_exits.table.rows
    blocks = [block for _, block in (*second.trunk, second.exit)]
    added = sum(0.9 * rows[BlockKey(b)].latency_ms - 0.001 for b in blocks)
    added += sum(3 * b.cost.macs / 1e9 - 0.02 * b.border_values / 1e6 for b in blocks)
    spilled = sum(4 * (b.cost.params + b.border_values) / 1e6 for b in blocks)
    call = 0.01  # the constant, which is more than what a block saves
    assert whole.predicted_ms == pytest.approx(early.predicted_ms + call + added + 0.5 * spilled)
    assert whole == with_exits.network(network)


@pytest.mark.parametrize(
    ("constant_ms", "per_block_ms", "call_ms"),
    [(0.02, -0.01, 0.02), (0.005, -0.01, 0.01), (-0.01, -0.004, 0.004), (-0.01, 0.002, 0.0)],
)
def test_another_call_never_takes_less_than_nothing(predictor, constant_ms, per_block_ms, call_ms):
    found = predictor()
    [given] = found.table.device.calibrations
    changed = given.model_copy(update={"constant_ms": constant_ms, "per_block_ms": per_block_ms})
    device = found.table.device.model_copy(update={"calibrations": [changed]})
    found.table = type(found.table)(device, found.table.rows, found.table.folder)
    assert found.call_ms(16) == (call_ms, 0.0)


def test_without_exits_there_is_one_inference(predictor):
    network = SPACE.network(architecture(), 10)
    assert predictor().until_exits(network) == [predictor().network(network)]


def test_the_same_block_twice_counts_twice(predictor):
    once = predictor().architecture(architecture(**{"stage1.depth": 1})).predicted_ms
    twice = predictor().architecture(architecture(**{"stage1.depth": 2})).predicted_ms
    key = SPACE.network(architecture(), 10).keys()[1]
    assert twice - once > 0.9 * tiny_rows()[key].latency_ms - 0.002


def test_what_exceeds_the_cache_spills():
    megabytes = np.array([0.5, 1.0, 1.25, 3.0])
    assert spilled_mb(megabytes * 1e6 / 4, 1.0).tolist() == [0, 0, 0.25, 2]


def test_energies_are_summed_where_every_block_has_one():
    network = SPACE.network(architecture(), 10)
    rows = {key: replace(row, energy_mj=2.5) for key, row in tiny_rows().items()}
    blocks = [block for _, block in network.blocks]
    assert sum_of_energies(rows, blocks, "fp32") == 2.5 * len(blocks)
    assert sum_of_energies(rows, blocks, "int8") is None
    key = network.keys()[-1]
    assert sum_of_energies({**rows, key: tiny_rows()[key]}, blocks, "fp32") is None
    assert sum_of_energies(tiny_rows(), blocks, "fp32") is None


def test_a_predictor_answers_the_same_again(predictor):
    again = predictor()
    assert again.architecture(architecture()) == again.architecture(architecture())


def test_a_calibration_never_gives_less_than_a_tenth_of_the_sum():
    sums = BlockSums(np.array([10.0, 10.0]), np.array([9000, 10]), *np.zeros((3, 2)))
    found = calibrated_ms(Terms(0.5, 0.9, -0.001), sums)
    assert found.tolist() == [1.0, pytest.approx(9.49)]


def refusal(predictor, found):
    with pytest.raises(TableError) as caught:
        predictor.architecture(found)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_missing_block_names_itself_and_the_command(predictor):
    rows = tiny_rows()
    missing = SPACE.network(architecture(), 10).keys()[1]
    del rows[missing]
    assert refusal(predictor(rows), architecture()) == (
        f"the table of nuc-onnxruntime lacks a block of tiny; got {str(missing)!r}; "
        "try: nas profile --device nuc-onnxruntime --space tiny --plan small --resolution 16"
    )


def test_a_missing_resolution_is_named_in_the_command(predictor):
    assert refusal(predictor(), architecture(resolution=24)).endswith(
        "; try: nas profile --device nuc-onnxruntime --space tiny --plan small --resolution 24"
    )


def test_blocks_that_are_known_still_need_a_calibration(predictor):
    rows = tiny_rows(resolutions=(16, 24))
    assert refusal(predictor(rows), architecture(resolution=24)) == (
        "the table of nuc-onnxruntime is not calibrated for tiny; got 'plan small at 24 px'; "
        "allowed: tiny small at 16 px; "
        "try: nas profile --device nuc-onnxruntime --space tiny --plan small --resolution 24"
    )


def test_another_plan_is_not_calibrated(predictor, make_table, tmp_path):
    (calibration,) = make_table(tmp_path).device.calibrations
    other = calibration.model_copy(update={"plan": "large"})
    assert refusal(predictor(calibrations=[other]), architecture()) == (
        "the table of nuc-onnxruntime is not calibrated for tiny; got 'plan small at 16 px'; "
        "allowed: tiny large at 16 px; "
        "try: nas profile --device nuc-onnxruntime --space tiny --plan small"
    )


def test_another_precision_is_not_answered(predictor):
    message = refusal(predictor(precision="int8"), architecture())
    assert message.startswith("the table of nuc-onnxruntime lacks a block of tiny; got 'stem ")
    assert " int8 batch 1" in message


# Classifiers between the measured numbers of classes


def classifier_ms(table, classes):
    block = SPACE.network(architecture(), classes).blocks[-1][1]
    found = table.class_lines.latency_ms(BlockKey(block))
    return None if found is None else found[0]


def test_classifiers_are_interpolated_between_measured_numbers_of_classes(predictor):
    measured = {
        classes: tiny_rows()[SPACE.network(architecture(), classes).keys()[-1]].latency_ms
        for classes in CLASSES
    }
    table = predictor().table
    for low, high in ((2, 10), (10, 100)):
        for classes in range(low + 1, high):
            share = (classes - low) / (high - low)
            expected = measured[low] * (1 - share) + measured[high] * share
            assert classifier_ms(table, classes) == pytest.approx(expected)
    assert classifier_ms(table, 10) == measured[10]
    assert classifier_ms(table, 100) == measured[100]


def test_an_interpolated_prediction_says_so(predictor):
    exact, between = predictor(classes=10), predictor(classes=37)
    assert not exact.architecture(architecture()).interpolated
    assert between.architecture(architecture()).interpolated


def classifier_rows(latencies_ms, **changes):
    """The tiny rows with these latencies of classifiers, by their number of classes."""
    rows = {k: row for k, row in tiny_rows().items() if k.block.op != "classifier"}
    for classes, latency_ms in latencies_ms.items():
        key = SPACE.network(architecture(), classes).keys()[-1]
        rows[key] = Row(latency_ms, 0.001, 0.0, 100, **changes)
    return rows


def test_the_bound_is_wider_by_the_error_of_classifiers_that_were_left_out(predictor):
    rows = classifier_rows({2: 0.5, 10: 0.6, 100: 1.0})
    between = 0.5 + (1.0 - 0.5) * 8 / 98
    error = 1 - between / 0.6
    found = predictor(rows, classes=37)
    latency_ms = 0.6 + 0.4 * 27 / 90
    assert found.table.class_lines.error == pytest.approx(error)
    prediction = found.architecture(architecture())
    slack = 0.9 * latency_ms * error
    assert prediction.upper_ms == pytest.approx(1.08 * (prediction.predicted_ms + slack))
    assert prediction.lower_ms == pytest.approx(0.95 * (prediction.predicted_ms - slack))


@pytest.mark.parametrize(
    "rows",
    [
        classifier_rows({2: 0.1, 10: 0.6, 100: 0.5}),
        classifier_rows({2: 0.5, 100: 0.6}),
        classifier_rows({2: 0.5, 10: 0.52, 100: 0.6}, source="interpolated"),
    ],
    ids=["not a line", "none to leave out", "none of them measured"],
)
def test_classifiers_are_not_interpolated_where_nothing_shows_that_it_is_safe(predictor, rows):
    assert refusal(predictor(rows, classes=37), architecture()).endswith(f"{COMMAND} --classes 37")


@pytest.mark.parametrize("classes", [1, 101, 1000])
def test_outside_the_measured_numbers_of_classes(predictor, classes):
    assert refusal(predictor(classes=classes), architecture()).endswith(
        f"{COMMAND} --classes {classes}"
    )


def test_other_blocks_are_never_interpolated(predictor):
    network = SPACE.network(architecture(), 10)
    for key in network.keys()[:-1]:
        assert predictor().table.class_lines.latency_ms(key) is None


def test_classifiers_of_another_size_are_no_neighbours(predictor):
    params = {"activation": "none", "hidden": 0, "pooling": "mean"}
    lines = predictor().table.class_lines
    for size, channels in [((8, 8), 32), ((4, 4), 24)]:
        key = BlockKey(make_block("classifier", size, channels, 50, params))
        assert lines.latency_ms(key) is None
    own = BlockKey(make_block("classifier", (8, 8), 24, 50, params))
    assert lines.latency_ms(own) is not None
    assert lines.latency_ms(BlockKey(own.block, "fp16")) is None
    assert lines.latency_ms(BlockKey(own.block, batch=2)) is None


# Estimated tables


@pytest.mark.parametrize("device", ["jetson-nano", "raspberry-pi-4"])
@pytest.mark.parametrize("name", ["mobilenetv1", "mobilenetv2", "mobilenetv3", "nas-bench-macro"])
def test_estimated_tables_answer_every_space(device, name):
    space = load_space(name)
    for plan in space.plans:
        predict = Predictor(load_table(device), space, plan, 37)
        low = predict.architecture(smallest(space, plan))
        high = predict.architecture(largest(space, plan))
        for found in (low, high):
            assert found.provenance == "estimated" and not found.interpolated
            assert 0 < found.lower_ms < found.predicted_ms < found.upper_ms
        assert low.predicted_ms < high.predicted_ms


def test_the_interval_of_an_estimate_is_the_same_factor_up_and_down():
    space = load_space("mobilenetv1")
    predict = Predictor(load_table("raspberry-pi-4"), space, "small", 10)
    found = predict.architecture(baseline(space, "small", 1.0))
    assert found.upper_ms / found.predicted_ms == pytest.approx(found.predicted_ms / found.lower_ms)


def test_a_kind_that_no_source_covers_widens_the_bound():
    """No published row of a Jetson Nano has squeeze and excite in it."""
    table = load_table("jetson-nano")
    roofline = table.device.roofline
    space = load_space("mobilenetv3")
    predict = Predictor(table, space, "small", 10)
    found = predict.architecture(baseline(space, "small", 1.0))
    assert found.upper_ms / found.predicted_ms <= roofline.uncovered_bound_factor
    assert found.upper_ms / found.predicted_ms > roofline.bound_factor
