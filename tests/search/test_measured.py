"""What is said of measured latencies beside the predicted ones."""

import pytest

from nas.search.measured import measured_models, say_measured

RUN = {"device": {"my board": "20ms"}}
PLACE = {
    "machine": "a board", "same_machine": True, "runtime": "onnxruntime",
    "runtime_version": "1.30.0", "same_runtime": True, "threads": 1, "date": "2026-03-01",
}  # fmt: skip


def model(name, latency_ms, over_budget=False, over_upper=False, **place):
    measured = {"latency_ms": latency_ms, "over_budget": over_budget, "over_upper": over_upper}
    latency = {"predicted": 10.0, "upper": 12.0, "measured": {**measured, **PLACE, **place}}
    return {"id": name, "latency_ms": {"my board": latency}}


def test_models_that_were_not_measured_are_left_out():
    plain = {"id": "a", "latency_ms": {"my board": {"predicted": 10.0, "upper": 12.0}}}
    assert say_measured([plain], RUN) == ([], [])
    [found] = measured_models([plain, model("b", 9.0)], "my board", False)
    assert (found.id, found.latency_ms, found.predicted_ms) == ("b", 9.0, 10.0)
    assert found.deviation == pytest.approx(-0.1)


def test_models_that_hold():
    lines, warnings = say_measured([model("a", 10.5), model("b", 9.0)], RUN)
    assert lines == [
        "Measured as whole models on a board with onnxruntime 1.30.0, 1 thread, on 2026-03-01: "
        "2 of 2 hold the budget of 20ms; largest deviation from the prediction -10.0 % (b); over "
        "their upper bound: 0."
    ]
    assert warnings == []


def test_models_over_the_bound_and_the_budget_are_named():
    models = [model("a", 10.5), model("b", 12.5, over_upper=True), model("c", 21.25, True, True)]
    [line], warnings = say_measured(models, RUN)
    assert line.endswith(
        ": 2 of 3 hold the budget of 20ms; largest deviation from the prediction +112.5 % (c); "
        "over their upper bound: 2 (b, c)."
    )
    assert warnings == ["OVER THE BUDGET of 20ms when measured: c (21.2 ms)"]


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ({"same_machine": False}, "another processor or power mode than"),
        ({"same_runtime": False}, "another version of the runtime than"),
        (
            {"same_machine": False, "same_runtime": False},
            "another processor or power mode and another version of the runtime than",
        ),
    ],
)
def test_another_machine_is_never_compared_in_silence(place, what):
    [line], [warning] = say_measured([model("a", 9.0, threads=2, **place)], RUN)
    assert ", 2 threads, on " in line
    assert warning == (
        f"The measurements are of {what} the table: they say how fast the models are there, not "
        "how good the table is."
    )
