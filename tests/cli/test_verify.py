"""`nas search --verify`: real files, measured on this machine by a real runtime."""

import json
import shutil
from dataclasses import replace

import pytest

from nas.cli.summary import print_summary
from nas.devices.agent.machine import describe_processor
from nas.latency.table import LatencyTable, read_table, write_table
from nas.search.run_folder import RunFolder
from nas.units import format_latency_ms

from ..devices.conftest import QUICK
from .test_interrupt import LIMIT_S, interrupt, lines, start, wait_until

LENIENT = (
    "import nas.search.verify as v; f = v.few_models_effort; "
    "v.few_models_effort = lambda r: f(r)._replace(repeats=0.0, most_unsettled=1.0)"
)
"""Run before the command in its process: tests also run on machines that are never quiet."""


@pytest.fixture(autouse=True)
def quick_effort(monkeypatch):
    """Fewer rounds; a busy machine is no reason to fail here."""
    monkeypatch.setattr("nas.search.verify.few_models_effort", lambda _: QUICK)


@pytest.fixture
def measured(quick, table):
    """The command of a search on a measured table, of a machine that nobody has."""
    quick[quick.index("jetson-nano")] = str(table)
    quick[quick.index("2.7ms")] = "0.25ms"
    return quick


@pytest.fixture
def fast_table(table):
    """The same table, a hundred times too fast: every model takes longer than it says."""
    found = read_table(table)
    [calibration] = found.device.calibrations
    terms = ("constant_ms", "per_block_ms")
    calibration = calibration.model_copy(update={n: getattr(calibration, n) / 100 for n in terms})
    device = found.device.model_copy(update={"calibrations": [calibration]})
    rows = {key: replace(row, latency_ms=row.latency_ms / 100) for key, row in found.rows.items()}
    write_table(LatencyTable(device, rows, table))
    return table


def measured_in(answer):
    return [next(iter(model["latency_ms"].values()))["measured"] for model in answer["models"]]


def test_a_search_measures_its_models(nas, measured, tmp_path):
    run = tmp_path / "run"
    answer = nas(*measured, "--out", run, "--verify", "--json")
    assert answer.code == 0, answer.err
    front = answer.json()
    assert front == json.loads((run / "front.json").read_text())
    for found in measured_in(front):
        assert found["latency_ms"] > 0 and found["machine"] == describe_processor()
        assert not found["same_machine"]
    first, *rest = answer.err.splitlines()
    assert first.startswith(f"nas: --verify measures on {describe_processor()} with onnxruntime ")
    assert "; the measured table is of made up for tests with onnxruntime 1.20.0: every" in first
    assert "verify 4/4" in rest
    assert rest[-1].startswith("nas: The measurements are of another processor or power mode")
    page = (run / "report.html").read_text()
    assert "Measured as whole models on " in page and "Finalist, measured" in page
    assert not (run / "verification").exists()


def test_a_finished_run_is_measured_without_searching_again(nas, measured, tmp_path):
    run = tmp_path / "run"
    assert nas(*measured, "--out", run).code == 0
    kept = {name: (run / name).read_bytes() for name in ("run.yaml", "study.journal")}
    before = json.loads((run / "front.json").read_text())
    answer = nas(*measured, "--out", run, "--verify")
    assert answer.code == 0, answer.err
    assert "This run is finished" in answer.err and "search " not in answer.err
    assert "verify 4/4" in answer.err
    assert f"Measured as whole models on {describe_processor()} with " in answer.out
    assert {name: (run / name).read_bytes() for name in kept} == kept
    front = json.loads((run / "front.json").read_text())
    for model in front["models"]:
        del next(iter(model["latency_ms"].values()))["measured"]
    assert front == before
    again = nas(*measured, "--out", run)
    assert again.code == 0 and "verify" not in again.err, "printed, not measured again"
    assert again.out == answer.out


def test_a_model_over_the_budget_is_said_loudly_and_the_search_succeeded(
    nas, measured, fast_table, tmp_path
):
    measured[measured.index("0.25ms")] = "0.0025ms"
    answer = nas(*measured, "--out", tmp_path / "run", "--verify")
    assert answer.code == 0, answer.err
    front = json.loads((tmp_path / "run" / "front.json").read_text())
    assert all(found["over_budget"] and found["over_upper"] for found in measured_in(front))
    assert "nas: OVER THE BUDGET of 0.0025ms when measured: " in answer.err
    assert "\nOVER THE BUDGET of 0.0025ms when measured: " in answer.out
    assert "! measured over the budget" in answer.out
    number = len(front["models"])
    ids = ", ".join(model["id"] for model in front["models"])
    assert f": 0 of {number} hold the budget of 0.0025ms; " in answer.out
    assert f"; over their upper bound: {number} ({ids})." in answer.out


def test_the_front_with_measured_latencies_fits_into_80_columns(
    nas, measured, fast_table, tmp_path, capsys, monkeypatch
):
    measured[measured.index("0.25ms")] = "0.0025ms"
    assert nas(*measured, "--out", tmp_path / "run", "--verify").code == 0
    monkeypatch.setenv("COLUMNS", "80")
    print_summary(RunFolder(tmp_path / "run"))
    lines = capsys.readouterr().out.splitlines()
    front = json.loads((tmp_path / "run" / "front.json").read_text())
    for model, found in zip(front["models"], measured_in(front), strict=True):
        [line] = [text for text in lines if f" {model['id']} " in text[:16]]
        assert f" !{format_latency_ms(found['latency_ms']).removesuffix(' ms')} " in line
        assert len(line) <= 80 and "\u2026" not in line


def test_an_estimated_table_is_refused_before_the_search(quick, refused, tmp_path):
    line = refused(*quick, "--out", tmp_path / "run", "--verify")
    assert line.startswith("--verify measures on the device itself, and an estimated table is of a")
    assert "--host user@board" in line


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_a_board_that_cannot_be_reached_ends_it_before_the_search(nas, measured, tmp_path):
    answer = nas(*measured, "--out", tmp_path / "run", "--verify", "--host", "nowhere.invalid")
    assert answer.code == 1
    assert answer.err.startswith("nas: nowhere.invalid cannot be used over ssh: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_a_host_without_verify_is_refused(quick, refused):
    line = refused(*quick, "--host", "user@board")
    assert (
        line == "--host and --adb say where --verify measures; got 'no --verify'; try: add --verify"
    )


@pytest.mark.slow
def test_ctrl_c_while_measuring_goes_on_from_there(measured, tmp_path):
    run = tmp_path / "run"
    options = [*measured, "--out", str(run), "--verify"]
    for name in ("--trials", "--finalists"):
        options[options.index(name) + 1] = "24"
    process = start(options, tmp_path, LENIENT)
    folder = run / "verification"
    wait_until(lambda: any(lines(path) > 10 for path in folder.glob("*.json.part")), process)
    assert interrupt(process).endswith(
        f"Stopped. The models in {run} are finished but not measured; the same command goes on "
        "with that.\nnas: stopped\n"
    )
    [journal] = folder.glob("*.json.part")
    kept = lines(journal) - 1
    assert kept >= 10
    assert all(
        "measured" not in next(iter(model["latency_ms"].values()))
        for model in RunFolder(run).read_front()["models"]
    )
    process = start([*options, "--json"], tmp_path, LENIENT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert len(measured_in(json.loads(out))) == len(RunFolder(run).read_front()["models"])
    [first, *_] = [line for line in err.splitlines() if line.startswith("verify ")]
    assert int(first.split()[1].split("/")[0]) >= kept, "said again while it waits"
    assert not (run / "verification").exists()
