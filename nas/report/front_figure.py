"""The figure of the front: trials, finalists, baselines, what was measured, the limit."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from nas.report.figures import BARS, BLUE, GREEN, GREY, INK, VERMILLION, blank_figure
from nas.report.markup import interval, percent
from nas.report.values import Axis, FinishedModel, Latency, Measured, ReportData
from nas.units import format_bytes, format_count, format_latency_ms

LIMIT_IN_VIEW = 1.35
"""A limit is a line where it is at most this many times the largest bound, else a note."""
TRIALS_BELOW = 1.5
"""How far below the finished models trials are shown, in heights of the finished models."""


def front_figure(data: ReportData, number: int = 0) -> go.Figure:
    """Validation accuracy against an objective: trials, finalists, baselines, limit.

    Args:
        data: Of the report.
        number: Of the axis.
    """
    figure, axis = blank_figure(), data.axes[number]
    _add_trials(figure, data, number)
    _add_baselines(figure, data, number)
    front = data.fronts[axis.front]
    recommended = data.recommended_on(front)
    inside = [model for model in data.finalists if _holds(model, data, number)]
    others = [model for model in inside if model is not recommended]
    groups = (
        ([m for m in others if axis.front not in m.fronts], "Finalist, dominated",
         {"symbol": "circle-open", "size": 9, "color": BLUE, "line": {"width": 2}}),
        ([m for m in others if axis.front in m.fronts], "Finalist on the front",
         {"symbol": "circle", "size": 10, "color": BLUE}),
        ([recommended], "Recommended",
         {"symbol": "star", "size": 18, "color": VERMILLION,
          "line": {"width": 1, "color": "white"}}),
    )  # fmt: skip
    if len(front.axes) == 1:  # over several objectives a front is no line
        _add_front_line(figure, [m for m in data.finalists if axis.front in m.fronts], number)
    for models, name, marker in groups:
        if models:
            figure.add_trace(_models_trace(models, name, marker, data, number))
    _add_measured(figure, data, number)
    _add_limit(figure, data, number)
    _fit_accuracies(figure, data)
    figure.update_xaxes(title=axis_title(data, axis))
    figure.update_layout(margin_b=78)
    what = "Balanced validation" if data.facts.balanced else "Validation"
    figure.update_yaxes(title=f"{what} accuracy (%)")
    return figure


def axis_title(data: ReportData, axis: Axis) -> str:
    """What an axis shows: `estimated` where it is, the unit, and the device in a second line."""
    words = axis.words[:1].upper() + axis.words[1:]
    if axis.device is None:
        return f"{words} ({axis.unit})"
    device = data.facts.devices[axis.device]
    how = ", estimated" if device.estimated and axis.kind == "latency" else ""
    return f"{words}{how} ({axis.unit})<br>{escape(device.short)}"


def _add_trials(figure: go.Figure, data: ReportData, axis: int) -> None:
    trials = data.trials
    figure.add_trace(
        go.Scatter(
            x=[trial.costs[axis] for trial in trials],
            y=[100 * trial.accuracy for trial in trials],
            mode="markers",
            marker={"symbol": "circle", "size": 5, "color": GREY, "opacity": 0.55},
            text=[
                "<br>".join(
                    (
                        f"{trial.id}, from {escape(trial.origin)}",
                        *_latency_texts(trial.latencies, data),
                    )
                )
                for trial in trials
            ],
            hovertemplate=f"%{{y:.1f}} % {data.facts.scored}<br>%{{text}}<extra></extra>",
            name=f"Scored architecture ({data.facts.scored})",
        )
    )


def _add_baselines(figure: go.Figure, data: ReportData, axis: int) -> None:
    baselines = [model for model in data.baselines if _holds(model, data, axis)]
    if not baselines:
        return
    marker = {"symbol": "square", "size": 8, "color": GREEN}
    trace = _models_trace(baselines, "Width-scaled baseline", marker, data, axis)
    trace.update(
        mode="lines+markers+text",
        line={"color": GREEN, "dash": "dot", "width": 1.5},
        text=[f"×{model.width:g}" for model in baselines],
        textposition="bottom right",
        textfont={"color": GREEN, "size": 11},
    )
    figure.add_trace(trace)


def _add_front_line(figure: go.Figure, front: Sequence[FinishedModel], axis: int) -> None:
    """A staircase: what is dominated lies below it."""
    ordered = sorted(front, key=lambda model: model.costs[axis])
    figure.add_trace(
        go.Scatter(
            x=[model.costs[axis] for model in ordered],
            y=[100 * model.validation.value for model in ordered],
            mode="lines",
            line={"shape": "hv", "color": BLUE, "width": 2},
            hoverinfo="skip",
            showlegend=False,
        )
    )


def _measured_on(
    models: Sequence[FinishedModel], axis: Axis
) -> list[tuple[FinishedModel, Measured]]:
    """Models that were measured on the device of a latency axis."""
    if axis.kind != "latency" or axis.device is None:
        return []
    found = [(model, model.measured[axis.device]) for model in models]
    return [(model, measured) for model, measured in found if measured is not None]


def _holds(model: FinishedModel, data: ReportData, number: int) -> bool:
    """Within the limit of an axis: models for another device need not be."""
    axis = data.axes[number]
    bound = model.costs[number] + _above(model, axis)
    return axis.limit is None or bound <= axis.limit * (1 + 1e-9)


def _add_measured(figure: go.Figure, data: ReportData, axis: int) -> None:
    """A cross at each measured latency, as high as the finalist that it belongs to."""
    found = _measured_on(data.finalists, data.axes[axis])
    if not found:
        return
    figure.add_trace(
        go.Scatter(
            x=[measured.usual_ms for _, measured in found],
            y=[100 * model.validation.value for model, _ in found],
            mode="markers",
            marker={"symbol": "x", "size": 8, "color": INK},
            customdata=[_hover(model, data) for model, _ in found],
            hovertemplate="%{customdata}<extra></extra>",
            name="Finalist, measured",
        )
    )


def _models_trace(
    models: Sequence[FinishedModel],
    name: str,
    marker: dict[str, object],
    data: ReportData,
    axis: int,
) -> go.Scatter:
    """Markers with the 95 % interval upwards and downwards and the upper bound to the right."""
    bars = {"color": BARS[str(marker["color"])], "thickness": 1.2, "width": 3}
    above = [_above(model, data.axes[axis]) for model in models]
    return go.Scatter(
        x=[model.costs[axis] for model in models],
        y=[100 * model.validation.value for model in models],
        error_x={
            **bars,
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": [0.0] * len(models),
        },
        error_y={
            **bars,
            "type": "data",
            "symmetric": False,
            "array": [100 * (m.validation.upper - m.validation.value) for m in models],
            "arrayminus": [100 * (m.validation.value - m.validation.lower) for m in models],
        },
        mode="markers",
        marker=marker,
        customdata=[_hover(model, data) for model in models],
        hovertemplate="%{customdata}<extra></extra>",
        name=name,
    )


def _above(model: FinishedModel, axis: Axis) -> float:
    """How far the bound that a budget is held against is above a latency; other costs have none."""
    if axis.kind != "latency" or axis.device is None:
        return 0.0
    latency = model.latencies[axis.device]
    return latency.held_ms - latency.usual_ms


def _hover(model: FinishedModel, data: ReportData) -> str:
    validation, test = model.validation, model.test
    title = model.id if model.width is None else f"{model.id}, width ×{model.width:g}"
    return "<br>".join(
        (
            f"<b>{title}</b>, {model.resolution} px",
            f"validation {percent(validation.value)} ({interval(validation)}, "
            f"n = {validation.images:,})",
            f"test {percent(test.value)} ({interval(test)}, n = {test.images:,})",
            *_latency_texts(model.latencies, data),
            *(text for found in model.measured for text in _measured_text(found)),
            f"{format_bytes(model.size_bytes)}, {format_count(model.macs)} MACs",
        )
    )


def _measured_text(measured: Measured | None) -> list[str]:
    if measured is None:
        return []
    over = ", over the budget" if measured.over_budget else ""
    average = measured.expected_ms
    first = "" if average is None else f"{format_latency_ms(average)} on average, through all "
    return [f"measured {first}{format_latency_ms(measured.latency_ms)}{over}"]


def _latency_texts(latencies: Sequence[Latency], data: ReportData) -> list[str]:
    """A line for each device; it is named where there are several."""
    return [
        f"{escape(device.short) + ': ' if len(latencies) > 1 else ''}{_latency_text(latency)}"
        for device, latency in zip(data.facts.devices, latencies, strict=True)
    ]


def _latency_text(latency: Latency) -> str:
    average = latency.expected_ms
    first = "" if average is None else f"{format_latency_ms(average)} on average, through all "
    return first + (
        f"{format_latency_ms(latency.predicted_ms)} ({latency.provenance} table), upper bound "
        f"{format_latency_ms(latency.upper_ms)}"
    )


def _add_limit(figure: go.Figure, data: ReportData, number: int) -> None:
    """A vertical line, or a note at the right edge where the limit is far away."""
    axis = data.axes[number]
    models = [m for m in (*data.finalists, *data.baselines) if _holds(m, data, number)]
    shown = [model.costs[number] for model in models]
    shown += [trial.costs[number] for trial in data.trials]
    shown += [measured.usual_ms for _, measured in _measured_on(models, axis)]
    low = min(shown)
    high = max([*shown, *[model.costs[number] + _above(model, axis) for model in models]])
    if axis.limit is not None:
        word = "budget" if axis.kind == "latency" else "limit"
        text = f"{word} {axis.limit_text}"
        note = {"y": 0.03, "yref": "paper", "xanchor": "right", "showarrow": False}
        if axis.limit > LIMIT_IN_VIEW * high:
            figure.add_annotation(x=1, xref="paper", text=f"{text} is to the right →", **note)
        else:
            high = max(high, axis.limit)
            figure.add_vline(x=axis.limit, line={"color": INK, "width": 1.5, "dash": "dash"})
            figure.add_annotation(x=axis.limit, xshift=-4, text=text, **note)
    margin = 0.06 * (high - low)
    figure.update_xaxes(range=[max(0.0, low - 1.5 * margin), high + margin])


def _fit_accuracies(figure: go.Figure, data: ReportData) -> None:
    """Show the finished models large; trials far below them are counted in a note."""
    models = (*data.finalists, *data.baselines)
    high = 100 * max(model.validation.upper for model in models)
    low = 100 * min(model.validation.lower for model in models)
    trials = [100 * trial.accuracy for trial in data.trials]
    low = min([low, *[a for a in trials if a >= low - TRIALS_BELOW * (high - low)]])
    high = max([high, *trials])
    hidden = sum(accuracy < low for accuracy in trials)
    margin = 0.06 * max(high - low, 0.1)
    figure.update_yaxes(range=[low - margin, high + margin])
    if hidden:
        figure.add_annotation(
            x=0.005, xref="paper", y=0.03, yref="paper", xanchor="left", showarrow=False,
            text=f"{hidden} scored architecture{'s' if hidden > 1 else ''} below ↓",
            font={"color": GREY},
        )  # fmt: skip
