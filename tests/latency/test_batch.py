"""A population is predicted as its architectures are, one by one."""

import numpy as np
import pytest

from nas.documents import parse_yaml
from nas.errors import SpaceError, TableError
from nas.latency.batch import BatchPredictor
from nas.latency.predict import Predictor
from nas.latency.table import Row, load_table
from nas.space import SearchSpace, load_space, space_names
from nas.space.blocks import BlockKey
from nas.space.enumerate import distinct_blocks
from nas.space.schema import SpaceFile

PLANS = [(name, "small") for name in sorted(space_names())] + [("mobilenetv3", "large")]
SPACE = """
schema: 1
name: tiny
description: for tests
width: [0.5, 1.0]
plans: {small: {resolutions: [16, 24], stem_stride: 1, strides: [2, 1, 2]}}
stem: {channels: 8, activation: relu}
stages:
  - {op: depthwise_separable, channels: 16, depth: [1, 2], kernel: [3, 5], activation: relu}
  - {channels: 16, depth: [0, 1, 7], kernel: [3, 5], expand: [3, 6], activation: relu, se: 0.25}
  - {channels: 24, depth: [0, 2], expand: [3, 6], activation: hardswish}
"""


def assert_alike(predictor, codes):
    batch = BatchPredictor(predictor)
    found = batch.predict(codes)
    one_by_one = [predictor.architecture(batch.book.decode(row)) for row in codes]
    np.testing.assert_allclose(found.predicted_ms, [p.predicted_ms for p in one_by_one], 1e-12)
    np.testing.assert_allclose(found.upper_ms, [p.upper_ms for p in one_by_one], 1e-12)


def codes_of(predictor, n=50, seed=0):
    return BatchPredictor(predictor).book.sample(n, np.random.default_rng(seed))


@pytest.mark.parametrize(("name", "plan"), PLANS)
def test_an_estimated_table(name, plan):
    predictor = Predictor(load_table("jetson-nano"), load_space(name), plan, 10)
    assert_alike(predictor, codes_of(predictor))


def test_the_measured_table():
    predictor = Predictor(load_table("x86"), load_space("mobilenetv3"), "small", 37)
    assert_alike(predictor, codes_of(predictor, 300))


@pytest.fixture
def tiny():
    return SearchSpace(parse_yaml(SPACE, SpaceFile, SpaceError, "tiny.yaml"))


@pytest.fixture
def measured(make_table, tables, tiny):
    """A predictor with a latency of its own for every block."""

    def make(left_out=lambda block: False, **calibration):
        blocks = distinct_blocks(tiny, "small", (16, 24), (10,))
        rows = {
            BlockKey(block): Row(0.5 + 1.7**-i, 0.001, 0.0, 100)
            for i, block in enumerate(blocks)
            if not left_out(block)
        }
        table = make_table(tables / "nuc-onnxruntime", rows)
        [given] = table.device.calibrations
        changed = given.model_copy(update={"resolutions": [16, 24], **calibration})
        device = table.device.model_copy(update={"calibrations": [changed]})
        table = type(table)(device, table.rows, table.folder)
        return Predictor(table, tiny, "small", 10)

    return make


def test_stages_that_are_left_out_or_split_over_columns(measured):
    predictor = measured()
    assert len(BatchPredictor(predictor).book.slots) == 5
    assert_alike(predictor, codes_of(predictor, 500))


def test_a_split_stage(measured, monkeypatch):
    monkeypatch.setattr("nas.space.codes.LARGEST_SLOT", 50)
    predictor = measured()
    assert len(BatchPredictor(predictor).book.slots) == 7
    assert_alike(predictor, codes_of(predictor, 500))


def test_where_the_calibration_would_go_below_a_tenth_of_the_sum(measured):
    predictor = measured(per_block_ms=-0.45, constant_ms=0.0)
    assert_alike(predictor, codes_of(predictor, 500))


def test_a_missing_block_is_named_as_for_one(measured):
    predictor = measured(lambda block: dict(block.params).get("hidden") == 48)
    batch = BatchPredictor(predictor)
    codes = codes_of(predictor)
    with pytest.raises(TableError, match=r"lacks a block of tiny; got .*; try: nas profile"):
        batch.predict(codes)
    known = []
    for row in codes:
        try:
            predictor.architecture(batch.book.decode(row))
        except TableError:
            continue
        known.append(row)
    assert 0 < len(known) < len(codes)
    assert_alike(predictor, np.array(known))


def test_a_resolution_without_calibration_is_named(measured):
    predictor = measured(resolutions=[24])
    codes = codes_of(predictor)
    with pytest.raises(TableError, match="is not calibrated for tiny; got 'plan small at 16 px'"):
        BatchPredictor(predictor).predict(codes)
    covered = codes[codes[:, 0] >= 2]
    assert_alike(predictor, covered)


def test_a_space_without_calibration_is_refused_at_once():
    predictor = Predictor(load_table("x86"), load_space("mobilenetv2"), "small", 10)
    with pytest.raises(TableError, match="is not calibrated for mobilenetv2"):
        BatchPredictor(predictor)


def test_nobody_is_predicted_nothing():
    predictor = Predictor(load_table("jetson-nano"), load_space("mobilenetv3"), "small", 10)
    batch = BatchPredictor(predictor)
    assert batch.predict(batch.book.encode([])).predicted_ms.shape == (0,)


def test_more_rows_than_one_chunk(monkeypatch, measured):
    predictor = measured()
    codes = codes_of(predictor, 100)
    whole = BatchPredictor(predictor).predict(codes)
    monkeypatch.setattr("nas.latency.batch.CHUNK", 7)
    parts = BatchPredictor(predictor).predict(codes)
    assert (whole.predicted_ms == parts.predicted_ms).all()
    assert (whole.upper_ms == parts.upper_ms).all()
