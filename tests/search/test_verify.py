"""The files of a finished run, timed as whole models: what is kept, marked, refused."""

import datetime
import json
import shutil
import zipfile
from dataclasses import dataclass

import onnxruntime
import pytest

from nas.devices.agent.machine import describe_processor
from nas.devices.agent.main import read_job
from nas.devices.transports.local import Local
from nas.errors import MeasurementError, OptionError, RunFolderError
from nas.latency.table import LatencyTable, read_table, write_table
from nas.report.page import write_report
from nas.search.run import run_search
from nas.search.run_folder import RunFolder
from nas.search.settings import read_settings
from nas.search.verify import find_verifier, verify_run

from ..devices.conftest import QUICK, Board
from .conftest import TINY, TINY_TABLE


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A measured table as if of the board."""
    found = read_table(TINY_TABLE)
    device = found.device.model_copy(update={"hardware": "a board", "runtime_version": "1.30.0"})
    folder = tmp_path_factory.mktemp("tables") / "tiny-onnxruntime"
    write_table(LatencyTable(device, found.rows, folder))
    return read_table(folder)


@pytest.fixture(scope="module")
def settings(table):
    return read_settings(None, {
        "device": str(table.folder), "budget": "0.25ms", "space": str(TINY), "trials": 8,
        "finalists": 3, "supernet_steps": 5, "finetune_steps": 2, "threads": 1,
    })  # fmt: skip


@pytest.fixture(scope="module")
def searched(settings, tmp_path_factory):
    """Not to be changed."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE_DIR", str(folder / "cache"))
        run = run_search(settings, folder / "run")
    write_report(run.path)
    return run


@pytest.fixture
def run(searched, tmp_path):
    """A copy of it."""
    shutil.copytree(searched.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def front(run):
    """As it was before."""
    return run.read_front()


def latencies(run, table):
    return {m["id"]: m["latency_ms"][str(table.folder)] for m in run.read_front()["models"]}


def board_of(run, table, factor, **changes):
    """Every model takes what was predicted, times a factor of its place."""
    predicted = [(f"model {i}", found["predicted"]) for i, found in latencies(run, table).items()]
    takes = {name: ms * factor(place) for place, (name, ms) in enumerate(predicted)}
    return Board(lambda item, number: takes[item] * (1 + 0.01 * number), **changes)


def verify(run, table, board):
    verify_run(run, find_verifier(str(table.folder), board), QUICK)


def test_measured_stands_beside_predicted_and_nothing_else_changes(run, table, front):
    before = run.run_file.read_bytes()
    seen = []
    board = board_of(run, table, lambda place: 1.0)
    verify_run(run, find_verifier(str(table.folder), board), QUICK, lambda *n: seen.append(n))
    found = run.read_front()
    for model in found["models"]:
        assert json.loads((run.path / model["files"]["json"]).read_text()) == model
        latency = model["latency_ms"][str(table.folder)]
        measured = latency.pop("measured")
        # The two rounds took 1 and 1.01 times the prediction.
        assert measured.pop("latency_ms") == pytest.approx(latency["predicted"] * 1.005, rel=1e-4)
        assert measured.pop("spread_ms") == pytest.approx(latency["predicted"] * 0.005, rel=1e-4)
        assert measured.pop("p95_ms") == pytest.approx(latency["predicted"] * 1.206, rel=1e-4)
        assert measured == {
            "over_budget": False, "over_upper": False, "machine": "a board", "same_machine": True,
            "runtime": "onnxruntime", "runtime_version": "1.30.0", "same_runtime": True,
            "threads": 1, "date": datetime.date.today().isoformat(),
        }  # fmt: skip
    assert found == front
    assert seen[-1] == (6, 6)
    assert run.run_file.read_bytes() == before, "measuring is no setting of the search"
    assert run.logged("verified")["models"] == 3 and run.logged("verified")["over_budget"] == 0
    assert not run.verification.exists() and not run.report.exists()
    write_report(run.path)


def test_it_is_the_files_themselves_that_are_measured(run, table, front):
    @dataclass
    class Looking(Board):
        """Remembers what was packed."""

        def run(self, bundle, job, result, progress):
            with zipfile.ZipFile(bundle) as archive:
                items = read_job(archive)["items"]
                self.packed = {item["id"]: archive.read(item["file"]) for item in items}
            super().run(bundle, job, result, progress)

    board = Looking()
    verify(run, table, board)
    assert board.packed == {
        f"model {model['id']}": (run.path / model["files"]["onnx"]).read_bytes()
        for model in front["models"]
    }


def test_over_the_bound_and_over_the_budget_are_told_apart(run, table, front):
    bounds = [found["upper"] / found["predicted"] for found in latencies(run, table).values()]
    budgets = [0.25 / found["predicted"] for found in latencies(run, table).values()]
    factors = [1.0, (bounds[1] + budgets[1]) / 2, 2 * budgets[2]]
    assert bounds[1] * 1.05 < factors[1] < budgets[1] / 1.05, "between its bound and the budget"
    verify(run, table, board_of(run, table, factors.__getitem__))
    found = [latency["measured"] for latency in latencies(run, table).values()]
    assert [(m["over_upper"], m["over_budget"]) for m in found] == [
        (False, False), (True, False), (True, True),
    ]  # fmt: skip
    assert run.logged("verified")["over_budget"] == 1
    assert run.read_front()["recommended"] == front["recommended"]


def test_another_machine_is_said_before_and_marked_after(run, table):
    other = Board(processor="another board", version="1.31.0")
    verifier = find_verifier(str(table.folder), other)
    assert verifier.difference == (
        "--verify measures on another board with onnxruntime 1.31.0; the measured table is of a "
        "board with onnxruntime 1.30.0: every measurement is marked with the machine that it was "
        "made on"
    )
    verify_run(run, verifier, QUICK)
    for latency in latencies(run, table).values():
        measured = latency["measured"]
        assert (measured["machine"], measured["same_machine"]) == ("another board", False)
        assert (measured["runtime_version"], measured["same_runtime"]) == ("1.31.0", False)
    assert find_verifier(str(table.folder), Board()).difference == ""


def test_a_real_measurement_on_this_machine(run, table):
    verify(run, table, Local())
    for latency in latencies(run, table).values():
        measured = latency["measured"]
        assert 0 < measured["latency_ms"] <= measured["p95_ms"]
        assert measured["machine"] == describe_processor()
        assert measured["runtime_version"] == onnxruntime.__version__
        assert measured["over_budget"] == (measured["latency_ms"] > 0.25)
    assert not run.verification.exists()


def test_a_measurement_that_was_cut_off_goes_on(run, table, front):
    board = Board(lost_after=4)
    with pytest.raises(MeasurementError, match="cut off"):
        verify(run, table, board)
    assert run.read_front() == front, "all or nothing"
    assert run.report.exists()
    verify(run, table, board)
    assert len(board.measured) == len(set(board.measured)) == 6
    assert not run.verification.exists()


def test_measuring_again_replaces_what_was_measured(run, table):
    for factor in (1.0, 1.05):
        verify(run, table, board_of(run, table, lambda place, factor=factor: factor))
        for latency in latencies(run, table).values():
            ratio = latency["measured"]["latency_ms"] / latency["predicted"]
            assert ratio == pytest.approx(factor * 1.005, rel=1e-4)


def test_a_front_that_is_made_anew_is_not_measured_yet(run, table, settings, front):
    verify(run, table, Board())
    write_report(run.path)
    run.front.unlink()
    run_search(settings, run.path, resume=True)
    assert run.read_front() == front
    for model in front["models"]:
        assert json.loads((run.path / model["files"]["json"]).read_text()) == model
    assert not run.report.exists(), "the page showed what is no longer there"


def test_a_model_that_is_gone_cannot_be_measured(run, table, front):
    gone = run.path / front["models"][1]["files"]["onnx"]
    gone.unlink()
    with pytest.raises(RunFolderError) as caught:
        verify(run, table, Board())
    assert str(caught.value) == (
        f"{gone} is gone, so it cannot be measured; try: delete {run.front}, then the same "
        "command with --resume makes it anew"
    )
    assert run.read_front() == front


def test_an_unfinished_run_has_nothing_to_measure(run, table):
    run.front.unlink()
    with pytest.raises(RunFolderError, match="holds no finished run; got 'unfinished'"):
        verify(run, table, Board())


def test_an_estimated_table_is_not_of_this_machine():
    with pytest.raises(OptionError) as caught:
        find_verifier("jetson-nano", Local())
    assert str(caught.value).startswith(
        "--verify measures on the device itself, and an estimated table is of a board, not of "
        "this machine; got 'jetson-nano-tensorrt, estimated, and neither --host nor --adb'; "
        "allowed: a table that was measured here, or the board; try: "
    )
    assert "--host user@board" in str(caught.value)


def test_a_runtime_that_nobody_can_measure_is_refused_before_the_board_is_asked():
    with pytest.raises(OptionError, match="with the runtime of the table; got 'xnnpack'; allowed"):
        find_verifier("raspberry-pi-4", Board())


def test_a_device_without_the_runtime_is_found_out_at_once(table, monkeypatch):
    class Bare(Board):
        """Has no runtime."""

        def describe(self, runtime):
            raise MeasurementError(f"board: {runtime} cannot be imported on this machine")

    with pytest.raises(MeasurementError, match="onnxruntime cannot be imported"):
        find_verifier(str(table.folder), Bare())


def test_on_a_board_over_ssh_or_adb_nothing_stays_behind(run, table, far):
    seen = []
    verify_run(
        run, find_verifier(str(table.folder), far.transport), QUICK, lambda *n: seen.append(n)
    )
    assert seen[-1] == (6, 6)
    for latency in latencies(run, table).values():
        measured = latency["measured"]
        assert measured["latency_ms"] > 0
        assert measured["machine"] == describe_processor()
    assert far.leftovers() == []
    assert not run.verification.exists()
