"""A device's table from another's: what is measured, what is derived, and the bound."""

from dataclasses import replace

import numpy as np
import pytest

from nas.devices.plan import make_plan
from nas.devices.profile import profile
from nas.devices.relative import Relative, calibrate_like, scaled_terms
from nas.errors import OptionError, TableError
from nas.latency.device_file import Terms
from nas.latency.metrics import student_quantile
from nas.latency.predict import BlockSums, Predictor, calibrated_ms
from nas.space.sample import sample

from .conftest import Board
from .test_profile import (
    DEVICE,
    QUICKLY,
    settings,
    smooth,
    wide,
    wide_blocks,
    wide_items,
    wide_settings,
)

OTHER = "other-onnxruntime"


def slower(item, number):
    """Everything takes 2.5 times as long, wide blocks a little longer."""
    block = wide_items().get(item)
    if block is None:
        return 2.5
    return 2.5 * smooth(item, number) * (1 + 0.002 * block.out_channels)


@pytest.fixture
def first(tmp_path):
    return profile(wide_settings(QUICKLY), Board(latency_ms=smooth), tmp_path)


def like(first, **changes):
    wanted = replace(wide_settings(QUICKLY), name=OTHER, like=Relative(first, **changes))
    return wanted


def test_a_handful_is_measured_and_the_rest_is_derived(tmp_path, first):
    board = Board(latency_ms=slower)
    table = profile(like(first), board, tmp_path)
    items = {item for _, item in board.measured}
    assert sum(item.startswith("block") for item in items) == 40
    assert sum(item.startswith("model") for item in items) == 16
    assert {key.block for key in table.rows} == set(wide_blocks())
    derived = {key: row for key, row in table.rows.items() if row.source == "transferred"}
    assert len(derived) == len(table.rows) - 40 == table.device.interpolation.blocks
    for key, row in derived.items():
        assert row.latency_ms == pytest.approx(slower(f"block {key.block}", 0), rel=0.1)
        assert (row.samples, row.p95_ms) == (0, None)
    method = table.device.provenance.method
    assert method.startswith(f"derived from the table of {DEVICE} (a board) with 40 blocks and 16 ")
    (calibration,) = table.device.calibrations
    assert (calibration.fit_models, calibration.certificate.models) == (16, 16)
    predict = Predictor(table, wide(), "small", classes=10)
    found = predict.architecture(sample(wide(), "small", np.random.default_rng(0)))
    assert found.interpolated and found.provenance == "measured"


def test_more_can_be_measured(tmp_path, first):
    board = Board(latency_ms=slower)
    table = profile(like(first, blocks=50, models=20), board, tmp_path)
    assert sum(row.source == "measured" for row in table.rows.values()) == 50
    assert table.device.calibrations[0].fit_models == 20


def test_a_later_profile_measures_the_rest(tmp_path, first):
    board = Board(latency_ms=slower)
    profile(like(first), board, tmp_path)
    before = {item for _, item in board.measured if item.startswith("block")}
    table = profile(replace(wide_settings(QUICKLY), name=OTHER), board, tmp_path)
    assert all(row.source == "measured" for row in table.rows.values())
    blocks = [item for _, item in board.measured if item.startswith("block")]
    assert len(blocks) == 2 * len(set(blocks)), "none twice"
    assert before < set(blocks)
    assert [c.bound_models for c in table.device.calibrations] == [100]


def test_what_is_there_is_not_replaced(tmp_path, first):
    with pytest.raises(OptionError) as caught:
        profile(replace(like(first), name=DEVICE), Board(), tmp_path)
    assert str(caught.value) == (
        f"--like makes a new table; got '{DEVICE}, which there is'; try: another --device name, or "
        "nas profile without --like, which extends it"
    )


def test_the_other_device_needs_the_blocks_and_the_calibration(tmp_path, first):
    with pytest.raises(TableError) as caught:
        make_plan(replace(like(first), space=settings().space), tmp_path, None)
    assert str(caught.value).startswith(
        f"the table of {DEVICE} is not calibrated for tiny, so no other device is like it; got "
        "'plan small at 8 px'; try: nas devices"
    )
    with pytest.raises(TableError, match="lacks a block, so no other device is like it"):
        make_plan(replace(like(first), classes=(2, 10, 37)), tmp_path, None)


# The calibration

PRIOR = Terms(0.1, 1.0, -0.01, -0.2, 3.0, 0.05, 4.0)


def models(count, noise, seed=0):
    rng = np.random.default_rng(seed)
    sums = BlockSums(
        rng.uniform(1, 20, count), rng.integers(5, 25, count), rng.uniform(1e5, 1e6, count),
        rng.uniform(1e6, 1e8, count), rng.uniform(1e5, 3e6, count),
    )  # fmt: skip
    clean = calibrated_ms(PRIOR._replace(sum_factor=1.3), sums)
    return sums, np.sort(clean[:, None] * rng.normal(1, noise, (count, 3)))


def fitted(count, noise, seed=0):
    sums, rounds = models(count, noise, seed)
    return calibrate_like("wide", "small", (8,), "fp32", PRIOR, 1.02, sums, rounds)


def test_few_models_move_the_terms_of_the_other_device():
    found = fitted(8, 0.01)
    assert found.sum_factor == pytest.approx(1.3, rel=0.05)
    assert found.certificate.mape < 0.05
    assert found.cache_mb == PRIOR.cache_mb


def test_the_bound_is_wider_with_fewer_models():
    few = np.mean([fitted(5, 0.03, seed).upper_factor for seed in range(20)])
    more = np.mean([fitted(40, 0.03, seed).upper_factor for seed in range(20)])
    assert few > more > 1.02
    assert fitted(8, 0.0).upper_factor == pytest.approx(1.02), "never narrower than the other's"


def test_fresh_models_are_under_the_bound():
    over = []
    for seed in range(30):
        found = fitted(8, 0.03, seed)
        sums, rounds = models(100, 0.03, 1000 + seed)
        bound = calibrated_ms(found.terms, sums) * found.upper_factor
        over.append((np.median(rounds, axis=1) > bound).mean())
    assert np.mean(over) <= 0.03


def test_terms_of_a_slower_device():
    assert scaled_terms(PRIOR, 2.0) == Terms(0.2, 1.0, -0.02, -0.4, 6.0, 0.1, 4.0)


def test_quantiles_of_students_distribution():
    """From the tables in any textbook."""
    for probability, freedom, expected in [(0.975, 10, 2.228), (0.95, 4, 2.132), (0.98, 7, 2.517)]:
        assert student_quantile(probability, freedom) == pytest.approx(expected, abs=2e-3)
