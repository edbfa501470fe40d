"""A table is compared with fresh whole models; misses that cannot be chance break it."""

import datetime
from pathlib import Path

import numpy as np
import pytest

from nas.devices import session
from nas.devices.calibrate import PRECISION
from nas.devices.machine import describe_processor
from nas.devices.measure import Effort, Timing
from nas.devices.runtimes.onnxruntime_cpu import OnnxRuntimeCpu
from nas.devices.validate import chance_of_at_least, draw, validate, with_certificate
from nas.errors import OptionError, TableError
from nas.latency.predict import Predictor
from nas.latency.table import LatencyTable, load_table, read_table, write_table
from nas.space import load_space

FILES = Path(__file__).resolve().parents[1] / "files"
QUICK = Effort(rounds=2, warmup_runs=0, min_runs=1, min_time_ns=0)


@pytest.fixture
def space():
    return load_space(FILES / "tiny.yaml")


@pytest.fixture
def table(tmp_path):
    """A copy of a measured table, as if of this machine and this version of the runtime."""
    found = read_table(FILES / "latency_tables" / "tiny-onnxruntime")
    runtime = OnnxRuntimeCpu()
    changed = {"hardware": describe_processor(), "runtime_version": runtime.version}
    device = found.device.model_copy(update=changed)
    copy = LatencyTable(device, found.rows, tmp_path / "tables" / "tiny-onnxruntime")
    write_table(copy)
    return read_table(copy.folder)


@pytest.fixture
def measured(monkeypatch, space, table):
    """Every model takes what the table predicts, times a factor of its number."""

    def make(factor):
        calibration = table.calibration(space.name, "small", PRECISION)
        drawn = draw(space, "small", calibration.resolutions, 20, 0)
        predictor = Predictor(table, space, "small", 10)
        expected = {
            f"model {a.id}": predictor.architecture(a).predicted_ms * factor(i)
            for i, a in enumerate(drawn)
        }
        running = []
        given = session.Session._load

        def load(self, item):
            running.append(item.id)
            return given(self, item)

        def timing(run, effort, clock):
            return Timing(expected.get(running[-1], 1.0), 1.0, 1)

        monkeypatch.setattr(session.Session, "_load", load)
        monkeypatch.setattr(session.Session, "_time_reference", lambda self, run: 1.0)
        monkeypatch.setattr(session, "time_runs", timing)
        return validate(table, space, "small", 20, 0, OnnxRuntimeCpu(), QUICK)

    return make


def test_a_table_that_holds(measured, table):
    found = measured(lambda i: 1.01 if i % 2 else 0.99)
    assert found.holds and found.same_machine
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


def test_a_real_validation_of_a_table_that_is_made_up(space, table, monkeypatch):
    monkeypatch.setattr(session, "MOST_DISTURBED", 1.0)
    seen = []
    found = validate(
        table, space, "small", 10, 1, OnnxRuntimeCpu(), QUICK, lambda *n: seen.append(n)
    )
    assert found.certificate.models == 10
    assert seen[0][0] == 1 and seen[-1][0] == seen[-1][1] >= 20
    assert 0 <= found.over <= found.outside <= 10


class Stopped(Exception):  # noqa: N818
    pass


def test_a_stopped_validation_goes_on(space, table, monkeypatch):
    monkeypatch.setattr(session, "MOST_DISTURBED", 1.0)

    def stop(done, total):
        if done == 7:
            raise Stopped

    arguments = (table, space, "small", 10, 1, OnnxRuntimeCpu(), QUICK)
    with pytest.raises(Stopped):
        validate(*arguments, stop)
    seen = []
    validate(*arguments, lambda done, total: seen.append(done))
    assert seen[0] == 8
    with pytest.raises(Stopped):
        validate(*arguments, stop)  # finished: nothing of it is left


def test_only_measured_tables_of_the_runtime_are_validated(space, table):
    with pytest.raises(TableError, match="is estimated: there is nothing of this machine in it"):
        validate(load_table("jetson-nano"), space, "small", 10, 0, OnnxRuntimeCpu())
    with pytest.raises(TableError, match="is of another runtime; got 'onnxruntime, 1 threads'"):
        validate(table, space, "small", 10, 0, OnnxRuntimeCpu(2))
    with pytest.raises(TableError, match="not calibrated for mobilenetv1"):
        validate(table, load_space("mobilenetv1"), "small", 10, 0, OnnxRuntimeCpu())


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
