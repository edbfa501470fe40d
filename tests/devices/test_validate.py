"""A table is compared with fresh whole models; misses that cannot be chance break it."""

import datetime
from pathlib import Path

import numpy as np
import pytest

from nas.devices.agent.machine import describe_processor
from nas.devices.plan import ProfileSettings, draw_distinct
from nas.devices.transports.local import Local
from nas.devices.validate import (
    chance_of_at_least,
    draw,
    fresh_seed,
    validate,
    with_certificate,
)
from nas.errors import MeasurementError, OptionError
from nas.latency.predict import Predictor
from nas.latency.table import LatencyTable, read_table, write_table
from nas.space import load_space

from .conftest import QUICK, Board

FILES = Path(__file__).resolve().parents[1] / "files"


@pytest.fixture
def space():
    return load_space(FILES / "tiny.yaml")


@pytest.fixture
def table(tmp_path):
    """A copy of a measured table, as if of the board."""
    found = read_table(FILES / "latency_tables" / "tiny-onnxruntime")
    device = found.device.model_copy(update={"hardware": "a board", "runtime_version": "1.30.0"})
    copy = LatencyTable(device, found.rows, tmp_path / "tables" / "tiny-onnxruntime")
    write_table(copy)
    return read_table(copy.folder)


@pytest.fixture
def measured(space, table):
    """Every model takes what the table predicts, times a factor of its number."""

    def make(factor, **board):
        calibration = table.device.calibrations[0]
        drawn = draw(space, "small", calibration.resolutions, 20, 0)
        predictor = Predictor(table, space, "small", 10)
        expected = {
            f"model {a.id}": predictor.network(a).predicted_ms * factor(i)
            for i, a in enumerate(drawn)
        }
        answering = Board(lambda item, number: expected[item], **board)
        return validate(table, space, table.device.calibrations[0], 20, 0, answering, QUICK)

    return make


def test_a_table_that_holds(measured, table):
    found = measured(lambda i: 1.01 if i % 2 else 0.99)
    assert found.holds and found.same_machine and found.unsettled == 0.0
    assert (found.over, found.outside) == (0, 0)
    certificate = found.certificate
    assert certificate.models == len(certificate.points) == 20
    assert certificate.mape == pytest.approx(0.01, rel=0.01)
    assert (certificate.within_5, certificate.coverage) == (1, 1)
    assert certificate.validated == datetime.date.today()


@pytest.mark.parametrize(("factor", "over"), [(1.5, 20), (0.5, 0)])
def test_a_machine_that_became_slower_or_faster_breaks_it(measured, factor, over):
    found = measured(lambda i: factor)
    assert not found.holds
    assert (found.over, found.outside) == (over, 20)


def test_a_single_miss_may_be_chance(measured):
    found = measured(lambda i: 1.5 if i == 7 else 1.0)
    assert (found.over, found.outside, found.holds) == (1, 1, True)


def test_the_new_certificate_is_written(measured, table):
    found = measured(lambda i: 1.02)
    before = table.device.calibrations[0]
    written = with_certificate(table, found)
    again = read_table(table.folder)
    assert again == read_table(written.folder)
    [now] = again.device.calibrations
    assert now.certificate == found.certificate
    assert now.model_copy(update={"certificate": before.certificate}) == before
    assert again.rows == table.rows


def test_another_board_or_version_is_said(measured):
    found = measured(lambda i: 1.0, processor="another board", version="1.31.0")
    assert (found.same_machine, found.version) == (False, "1.31.0")


def test_another_power_mode_is_another_machine(measured):
    assert not measured(lambda i: 1.0, after={"power_mode": "10W"}).same_machine


def test_a_real_validation_on_this_machine(space, table):
    seen = []
    found = validate(
        table, space, table.device.calibrations[0], 10, 1, Local(), QUICK, lambda *n: seen.append(n)
    )  # fmt: skip
    assert found.certificate.models == 10
    assert seen[-1] == (20, 20)
    assert 0 <= found.over <= found.outside <= 10
    assert found.same_machine == (describe_processor() == "a board")


def test_a_validation_that_was_cut_off_goes_on(space, table, monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    board = Board(lost_after=7)
    arguments = (table, space, table.device.calibrations[0], 10, 1, board, QUICK)
    with pytest.raises(MeasurementError, match="cut off"):
        validate(*arguments)
    validate(*arguments)
    assert len(board.measured) == len(set(board.measured)) == 20
    assert not list((tmp_path / "cache" / "measurements").iterdir()), "no leftovers"


def test_without_a_seed_a_stopped_validation_goes_on_with_its_own(space, table):
    first, board = fresh_seed(table), Board(lost_after=7)
    arguments = (table, space, table.device.calibrations[0], 10)
    with pytest.raises(MeasurementError, match="cut off"):
        validate(*arguments, first, board, QUICK)
    assert fresh_seed(table) == first
    validate(*arguments, fresh_seed(table), board, QUICK)
    assert len(board.measured) == 20
    assert fresh_seed(table) != first


@pytest.mark.parametrize("content", [b"", b"-5", b"2147483648", b"9" * 5000, b"x", b"\xff", None])
def test_a_kept_seed_that_was_damaged_is_not_used(space, table, tmp_path, content):
    arguments = (table, space, table.device.calibrations[0], 10)
    with pytest.raises(MeasurementError, match="cut off"):
        validate(*arguments, 7, Board(lost_after=7), QUICK)
    assert fresh_seed(table) == 7
    [path] = (tmp_path / "user-cache" / "measurements").glob("*/seed")
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    seed = fresh_seed(table)
    assert seed in range(2**31)
    validate(*arguments, seed, Board(), QUICK)
    assert not path.exists()


def test_a_validation_that_is_refused_keeps_no_seed(space, table, tmp_path):
    with pytest.raises(OptionError, match="too few networks"):
        validate(table, space, table.device.calibrations[0], 5000, 7, Board(), QUICK)
    assert not (tmp_path / "user-cache" / "measurements").exists()


def test_drawn_models_are_distinct_and_of_the_resolutions(space):
    drawn = draw(space, "small", [16], 40, 3)
    assert len({a.id for a in drawn}) == 40
    assert {a.resolution for a in drawn} == {16}
    assert drawn == draw(space, "small", [16], 40, 3) != draw(space, "small", [16], 40, 4)
    with pytest.raises(OptionError, match="tiny has too few networks; got '-n 5000'"):
        draw(space, "small", [16], 5000, 0)


def test_the_chance_of_misses():
    assert chance_of_at_least(0, 30, 0.02) == 1
    assert chance_of_at_least(30, 30, 0.5) == pytest.approx(0.5**30)
    rng = np.random.default_rng(0)
    drawn = rng.binomial(30, 0.04, 200_000)
    for misses in (1, 2, 4):
        assert chance_of_at_least(misses, 30, 0.04) == pytest.approx(
            (drawn >= misses).mean(), abs=0.005
        )


def test_fresh_models_are_not_those_of_the_profile(space):
    """With the same seed, too."""
    wanted = ProfileSettings("mine", space, "small", (16,), seed=0)
    profiled = {network.id for network in draw_distinct(wanted, 40)}
    drawn = {architecture.id for architecture in draw(space, "small", [16], 40, 0)}
    assert profiled != drawn


def test_the_chance_of_many_misses_of_many():
    assert 0 <= chance_of_at_least(400, 2000, 0.02) < 1e-9
