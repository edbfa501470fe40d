"""Reading a run folder into the values of a report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.errors import RunFolderError
from nas.latency.table import LatencyTable
from nas.pareto import non_dominated
from nas.report.data import load_report
from nas.search.front import WITHIN
from nas.search.run_folder import RunFolder
from nas.search.study import read_trials
from nas.space import load_space

Edit = Callable[[Path, Callable[[Any], None]], None]
NewRun = Callable[..., RunFolder]


def test_facts_are_those_of_the_run(estimated_run: RunFolder) -> None:
    facts = load_report(estimated_run.path).facts
    [device] = facts.devices
    assert (device.name, device.table) == ("jetson-nano", "jetson-nano-tensorrt")
    assert (device.provenance, device.precision, device.estimated) == ("estimated", "fp16", True)
    assert (device.budget, device.budget_ms) == ("9 ms", 9.0)
    assert (facts.space, facts.plan, facts.data) == ("mobilenetv3", "small", "digits")
    assert (facts.train_images, facts.validation_images, facts.test_images) == (6000, 2000, 2000)
    assert facts.classes == tuple("0123456789")
    assert ("nas", "0.1.0") in facts.versions


def test_trials_carry_what_the_study_holds(estimated_run: RunFolder) -> None:
    data = load_report(estimated_run.path)
    records = read_trials(estimated_run.journal)
    assert [trial.id for trial in data.trials] == [record.id for record in records]
    assert data.refused == sum(record.refused for record in records) == 12
    assert data.trials[0].origin == "fastest"
    costs = np.array([[1 - t.accuracy, *t.costs] for t in data.trials])
    assert [trial.on_front for trial in data.trials] == non_dominated(costs).tolist()
    history = data.fronts[0].history
    assert len(history) == 12
    assert 0 < history[0] <= history[-1] <= 1


def test_finalists_are_ranked_by_latency(estimated_run: RunFolder) -> None:
    data = load_report(estimated_run.path)
    entries = {entry["id"]: entry for entry in estimated_run.read_front()["models"]}
    latencies = [model.latencies[0].predicted_ms for model in data.finalists]
    assert latencies == sorted(latencies)
    assert [model.rank for model in data.finalists] == [1, 2, 3, 4]
    for model in data.finalists:
        entry = entries[model.id]
        assert model.validation.value == entry["validation_accuracy"]["value"]
        assert model.validation.lower <= model.validation.value <= model.validation.upper
        assert model.dominated == entry["dominated"]
        assert model.files == (f"models/{model.id}.onnx",)
        assert model.gain is None


def test_the_recommended_model_is_the_fastest_of_the_good_ones(estimated_run: RunFolder) -> None:
    data = load_report(estimated_run.path)
    front = [model for model in data.finalists if not model.dominated]
    good = [m for m in front if m.validation.value >= data.best_validation - WITHIN]
    assert data.recommended == good[0]
    assert [model.recommended for model in data.finalists].count(True) == 1


def test_baselines_say_how_much_better_a_finalist_is(new_run: NewRun) -> None:
    data = load_report(new_run(budget="30ms").path)
    assert [model.width for model in data.baselines] == [0.35, 0.5, 0.75, 1.0]
    slowest = data.baselines[-1]
    no_slower = [
        m.validation.value
        for m in data.finalists
        if m.latencies[0].predicted_ms <= slowest.latencies[0].predicted_ms
    ]
    assert slowest.gain == pytest.approx(max(no_slower) - slowest.validation.value)
    assert slowest.files == ()


def test_a_budget_that_no_baseline_meets_leaves_none(new_run: NewRun) -> None:
    assert load_report(new_run(budget="7ms").path).baselines == ()


def test_one_finalist_is_enough(new_run: NewRun) -> None:
    data = load_report(new_run(finalists=1).path)
    assert data.finalists == (data.recommended,)


def test_a_measured_table_brings_its_certificate(
    new_run: NewRun, measured_table: Callable[[], LatencyTable]
) -> None:
    table = measured_table()
    data = load_report(new_run(device=str(table.folder), trials=3, budget="20ms").path)
    [device] = data.facts.devices
    assert device.details is not None and len(device.details.calibrations) == 1
    assert device.details.calibrations[0].certificate.mape == 0.02
    assert device.details.runtime == "onnxruntime 1.31.1, 1 thread"
    assert (device.details.families, device.estimated, data.notes) == (None, False, ())


def test_a_table_that_is_gone_is_a_note(
    new_run: NewRun, measured_table: Callable[[], LatencyTable]
) -> None:
    table = measured_table()
    run = new_run(device=str(table.folder), trials=2, budget="20ms")
    shutil.rmtree(table.folder)
    data = load_report(run.path)
    assert data.facts.devices[0].details is None
    (note,) = data.notes
    assert note.startswith("The latency table my-board is not shown: ")
    assert {block.latency_share for block in data.recommended.stack} == {None}


def test_a_table_that_changed_is_a_note(run: RunFolder, edit: Edit) -> None:
    def faster(front: Any) -> None:
        for entry in front["models"]:
            entry["latency_ms"]["jetson-nano"]["predicted"] *= 0.9

    edit(run.front, faster)
    (note,) = load_report(run.path).notes
    assert note.startswith("The latency table jetson-nano-tensorrt has changed since the search")


def test_a_space_that_is_gone_leaves_out_the_drawings(run: RunFolder) -> None:
    content = run.read_run()
    content["settings"]["space"] = "spaces/gone.yaml"
    run.write_run(content)
    data = load_report(run.path)
    assert data.recommended.stack == ()
    assert data.notes[0].startswith("The architectures are not drawn: spaces/gone.yaml cannot")


def test_the_runs_own_space_draws_where_the_file_is_gone(run: RunFolder) -> None:
    content = run.read_run()
    run.write_space(load_space("mobilenetv3").content)
    content["settings"]["space"] = "spaces/gone.yaml"
    run.write_run(content)
    data = load_report(run.path)
    assert data.notes == () and data.recommended.stack


def test_a_space_that_changed_is_a_note(run: RunFolder, edit: Edit) -> None:
    edit(run.front, lambda front: front["models"][0]["architecture"].update(id="0" * 12))
    data = load_report(run.path)
    (note,) = data.notes
    assert note.startswith("The search space mobilenetv3 has changed since the search: ")
    assert sum(model.stack == () for model in data.finalists) == 1


def test_without_data_json_classes_are_numbers(run: RunFolder) -> None:
    (run.path / "data.json").unlink()
    assert load_report(run.path).facts.classes == tuple("0123456789")


def test_an_unfinished_run_has_no_report(run: RunFolder) -> None:
    run.front.unlink()
    with pytest.raises(RunFolderError, match=r"holds no finished run; got 'unfinished'.*--resume"):
        load_report(run.path)


def test_an_absent_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="nothing does not exist"):
        load_report(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda front: front["models"][0].pop("params"), "cannot be read as a run: KeyError"),
        (
            lambda front: front.update(recommended="x"),
            "recommends none of its models; try: delete .*front.json",
        ),
        (lambda front: front.update(models=[]), "none of its models"),
    ],
)
def test_a_broken_front_is_one_line(
    run: RunFolder, edit: Edit, change: Callable[[Any], None], message: str
) -> None:
    edit(run.front, change)
    with pytest.raises(RunFolderError, match=message):
        load_report(run.path)


def test_values_are_frozen(estimated_run: RunFolder) -> None:
    data = load_report(estimated_run.path)
    assert replace(data) == data


def test_measured_latencies_stand_beside_predicted_ones(measured_run: RunFolder) -> None:
    data = load_report(measured_run.path)
    entries = {entry["id"]: entry for entry in measured_run.read_front()["models"]}
    for model in data.finalists:
        told = entries[model.id]["latency_ms"]["jetson-nano"]["measured"]
        [measured] = model.measured
        assert measured is not None
        assert measured.latency_ms == told["latency_ms"]
        assert measured.over_budget == (model == data.finalists[-1])
    assert all(model.measured == (None,) for model in data.baselines)
    [line], [over, elsewhere] = data.verified, data.warnings
    assert line.startswith("Measured as whole models on a <real> board with onnxruntime 1.31.1, ")
    assert ": 3 of 4 hold the budget of 9 ms; " in line
    assert over.startswith(f"OVER THE BUDGET of 9 ms when measured: {data.finalists[-1].id} (")
    assert elsewhere.startswith("The measurements are of another processor or power mode than")


def test_without_measurements_nothing_is_said_of_them(estimated_run: RunFolder) -> None:
    data = load_report(estimated_run.path)
    assert (data.verified, data.warnings) == ((), ())
    assert all(model.measured == (None,) for model in data.finalists)
