"""What the figures show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nas.latency.table import LatencyTable
from nas.report import figures
from nas.report.data import load_report
from nas.report.front_figure import front_figure
from nas.report.values import ReportData
from nas.search.run_folder import RunFolder

NewRun = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def data(estimated_run: RunFolder) -> ReportData:
    return load_report(estimated_run.path)


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name}


def notes(figure: Any) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def test_the_front_shows_every_trial_and_finalist(data: ReportData) -> None:
    found = traces(front_figure(data))
    assert len(found["Scored architecture (with the supernet's weights)"].x) == len(data.trials)
    marked = [found[n] for n in found if n.startswith(("Finalist", "Recommended"))]
    assert sum(len(trace.x) for trace in marked) == len(data.finalists)
    star = found["Recommended"]
    assert star.x == (data.recommended.latencies[0].predicted_ms,)
    assert star.y == (100 * data.recommended.validation.value,)


def test_bars_are_the_wilson_interval_and_the_upper_bound(data: ReportData) -> None:
    star, model = traces(front_figure(data))["Recommended"], data.recommended
    assert star.x[0] + star.error_x.array[0] == pytest.approx(model.latencies[0].upper_ms)
    assert star.error_x.arrayminus == (0,)
    assert star.y[0] + star.error_y.array[0] == pytest.approx(100 * model.validation.upper)
    assert star.y[0] - star.error_y.arrayminus[0] == pytest.approx(100 * model.validation.lower)


def test_marks_differ_in_shape_and_not_only_in_colour(new_run: NewRun) -> None:
    data = load_report(new_run(budget="30ms").path)
    finalists = [replace(m, fronts=(0,) if m.recommended else ()) for m in data.finalists]
    data = replace(data, finalists=tuple(finalists))
    found = traces(front_figure(data))
    assert set(found) >= {"Finalist, dominated", "Width-scaled baseline", "Recommended"}
    shapes = [trace.marker.symbol for name, trace in found.items() if "Scored" not in name]
    assert len(set(shapes)) == len(shapes)


def test_estimated_stands_in_the_axis_title(data: ReportData) -> None:
    title = front_figure(data).layout.xaxis.title.text
    assert title == "Predicted latency, estimated (ms)<br>jetson-nano"
    assert "(estimated table)" in traces(front_figure(data))["Recommended"].customdata[0]


def test_a_budget_in_view_is_a_line(data: ReportData) -> None:
    figure = front_figure(data)
    assert [line.x0 for line in figure.layout.shapes] == [9.0]
    assert notes(figure) == ["budget 9 ms"]
    assert figure.layout.xaxis.range[1] > 9


def test_a_budget_out_of_view_is_a_note(data: ReportData) -> None:
    far = replace(data, axes=(replace(data.axes[0], limit=1000.0, limit_text="1000 ms"),))
    figure = front_figure(far)
    assert len(figure.layout.shapes) == 0
    assert notes(figure) == ["budget 1000 ms is to the right →"]
    assert figure.layout.xaxis.range[1] < 20


def test_trials_far_below_are_counted_and_not_in_view(data: ReportData) -> None:
    bad = replace(data.trials[0], accuracy=0.1)
    figure = front_figure(replace(data, trials=(bad, *data.trials[1:])))
    assert "1 scored architecture below ↓" in notes(figure)
    assert figure.layout.yaxis.range[0] > 50
    assert min(traces(figure)["Scored architecture (with the supernet's weights)"].y) == 10


def test_without_baselines_there_is_no_line_of_them(data: ReportData) -> None:
    assert data.baselines == ()
    assert "Width-scaled baseline" not in traces(front_figure(data))


def test_equal_accuracies_and_one_latency_can_be_drawn(data: ReportData) -> None:
    model = data.recommended
    figure = front_figure(replace(data, finalists=(model,), trials=(data.trials[0],)))
    low, high = figure.layout.yaxis.range
    assert low < 100 * model.validation.value < high


def test_history_marks_every_improvement(data: ReportData) -> None:
    line, marks = figures.history_figure(data).data
    history = data.fronts[0].history
    assert line.y == tuple(100 * share for share in history)
    assert marks.x[0] == 1
    assert len(marks.x) == len(set(history))


def test_an_estimated_table_shows_its_left_out_families(data: ReportData) -> None:
    details = data.facts.devices[0].details
    assert details is not None and details.families is not None
    figure = figures.certificate_figure(details)
    assert figure is not None
    found = traces(figure)
    assert len(found["Median error"].x) == len(details.families.families)
    assert "resnet (5)<br>jetson-nano" in found["Median error"].y
    assert figure.layout.xaxis.title.text == "Error of estimated latency (%)"


def test_a_measured_table_shows_predicted_against_measured(
    new_run: NewRun, measured_table: Callable[[], LatencyTable]
) -> None:
    table = measured_table()
    run = new_run(device=str(table.folder), trials=2, budget="20ms")
    data = load_report(run.path)
    figure = figures.certificate_figure(data.facts.devices[0].details)
    assert figure is not None
    points = traces(figure)["Whole model"]
    wanted = table.device.calibrations[0].certificate.points
    assert [list(pair) for pair in zip(points.x, points.y, strict=True)] == wanted
    assert set(traces(figure)) == {"±10 %", "Predicted = measured", "Whole model"}
    title = front_figure(data).layout.xaxis.title.text
    assert title == "Predicted latency (ms)<br>my-board"


def test_without_a_table_there_is_no_certificate() -> None:
    assert figures.certificate_figure(None) is None


@pytest.mark.parametrize(
    ("device", "name"),
    [("jetson-nano", "jetson-nano"), ("./out/board/", "board"), ("a\\b", "b")],
)
def test_a_device_given_as_a_folder_is_called_by_its_last_part(
    data: ReportData, device: str, name: str
) -> None:
    assert replace(data.facts.devices[0], name=device).short == name


def test_measured_latencies_are_crosses_as_high_as_their_models(measured_run: RunFolder) -> None:
    data = load_report(measured_run.path)
    figure = front_figure(data)
    crosses = traces(figure)["Finalist, measured"]
    assert list(crosses.x) == [m.measured[0].latency_ms for m in data.finalists if m.measured[0]]
    assert list(crosses.y) == [100 * model.validation.value for model in data.finalists]
    assert max(crosses.x) < figure.layout.xaxis.range[1], "what is over the budget is in view"
    assert "measured " in crosses.customdata[-1] and "over the budget" in crosses.customdata[-1]
    assert "over the budget" not in crosses.customdata[0]
    shapes = [trace.marker.symbol for name, trace in traces(figure).items() if "Scored" not in name]
    assert len(set(shapes)) == len(shapes)


def test_without_measurements_there_are_no_crosses(data: ReportData) -> None:
    assert "Finalist, measured" not in traces(front_figure(data))
