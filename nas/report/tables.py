"""The tables of the page: finalists and baselines."""

from __future__ import annotations

from pathlib import Path

from nas.report.markup import (
    Column,
    interval,
    latency,
    link,
    percent,
    points,
    table,
    tag,
    text,
    under,
)
from nas.report.values import (
    Axis,
    DeviceFacts,
    FinishedModel,
    ReportData,
)
from nas.units import format_bytes, format_count, plural


def finalists_table(data: ReportData) -> str:
    """All exported models, those that cost least first."""
    columns = [
        Column("#"), Column("Model", words=True), Column("Validation accuracy"),
        Column("Test accuracy"), *_leaving_columns(data), *_latency_columns(data),
        Column("Parameters"),
        *_energy_columns(data), Column("MACs"), Column("File size"), Column("Peak activations"),
    ]  # fmt: skip
    rows = [(_row_class(model), _finalist_cells(model, data)) for model in data.finalists]
    images = data.finalists[0]
    return (
        table(columns, rows) + f"<p class='soft small'>{_accuracy_words(data)}: validation "
        f"n = {images.validation.images:,}, test n = {images.test.images:,}; test images were "
        "scored once, when everything was decided. Latency at batch 1 with its upper bound. "
        f"{_dominated_text(data)}</p>"
    )


def _leaving_columns(data: ReportData) -> list[Column]:
    """Where images leave, if any model has exits."""
    return [Column("Leave at exits / end")] if _with_exits(data) else []


def _with_exits(data: ReportData) -> bool:
    return any(model.leaving for model in data.finalists)


def _accuracy_words(data: ReportData) -> str:
    if data.facts.balanced:
        return "Balanced accuracy (the mean over the classes of theirs) with its 95 % interval"
    return "Accuracy with its 95 % Wilson interval"


def _latency_columns(data: ReportData) -> list[Column]:
    """Of each device the predicted latency, and the measured one where there is one."""
    found = []
    for device, measured in zip(data.facts.devices, verified_devices(data), strict=True):
        found.append(Column(_latency_heading(device, data)))
        if measured:
            on = f" on {device.short}" if len(data.facts.devices) > 1 else ""
            found.append(Column(f"Measured latency{on}"))
    return found


def verified_devices(data: ReportData) -> list[bool]:
    """Whether a finalist was measured, for each device."""
    return [
        any(model.measured[index] is not None for model in data.finalists)
        for index in range(len(data.facts.devices))
    ]


def _energy_columns(data: ReportData) -> list[Column]:
    return [Column(f"Energy on {_axis_device(axis, data)}") for axis in _energy_axes(data)]


def _energy_axes(data: ReportData) -> list[Axis]:
    return [axis for axis in data.axes if axis.kind == "energy"]


def _axis_device(axis: Axis, data: ReportData) -> str:
    return data.facts.devices[axis.device or 0].short


def baselines_table(data: ReportData) -> str:
    """The space's hand-made network at each width, made and scored like the finalists."""
    if not data.baselines:
        return (
            "<p>None of the space's width-scaled networks meets the "
            f"{'limits' if _many_limits(data) else 'budget of '}"
            f"{'' if _many_limits(data) else text(data.facts.devices[0].budget)}.</p>"
        )
    columns = [
        Column("Width"), Column("Model", words=True), Column("Validation accuracy"),
        Column("Test accuracy"),
        *(Column(_latency_heading(device, data)) for device in data.facts.devices),
        Column("Parameters"), Column("MACs"), Column(f"Best finalist that is no {_dearer(data)}"),
    ]  # fmt: skip
    rows = [("", _baseline_cells(model)) for model in data.baselines]
    return (
        "<p>The space's own network with its default depth and kernels, scaled by the width "
        "multiplier alone; trained, exported and scored exactly as the finalists are.</p>"
        + table(columns, rows)
        + "<p class='soft small'>Last column: validation accuracy compared with the baseline's.</p>"
    )


def _finalist_cells(model: FinishedModel, data: ReportData) -> list[str]:
    marks = [tag("recommended")] if model.recommended else []
    marks += [tag("dominated")] if model.dominated else []
    if data.facts.per_device:
        marks += [text(data.front_device(data.fronts[index]).short) for index in model.fronts]
    name = "<br>".join(link(file, Path(file).name) for file in model.files)
    shares = " / ".join(f"{100 * share:.0f}" for share in model.leaving)
    leaving = [f"{shares} %" if shares else "all at its end"] if _with_exits(data) else []
    return [
        str(model.rank),
        f"<code>{name}</code>{under(' '.join([f'{model.resolution} px', *marks]))}",
        *_score_cells(model),
        *leaving,
        *(
            cell
            for index, verified in enumerate(verified_devices(data))
            for cell in _latency_cells(model, index, verified)
        ),
        format_count(model.params),
        *(f"{model.costs[data.axes.index(axis)]:.3g} mJ" for axis in _energy_axes(data)),
        format_count(model.macs),
        format_bytes(model.size_bytes),
        format_bytes(model.peak_memory_bytes),
    ]


def _baseline_cells(model: FinishedModel) -> list[str]:
    return [
        f"×{model.width:g}",
        f"<code>{text(model.id)}</code>{under(f'{model.resolution} px')}",
        *_score_cells(model),
        *(
            cell
            for index in range(len(model.latencies))
            for cell in _latency_cells(model, index, verified=False)
        ),
        format_count(model.params),
        format_count(model.macs),
        "none" if model.gain is None else points(model.gain),
    ]


def _score_cells(model: FinishedModel) -> list[str]:
    return [
        percent(model.validation.value) + under(interval(model.validation)),
        percent(model.test.value) + under(interval(model.test)),
    ]


def _latency_cells(model: FinishedModel, index: int, verified: bool) -> list[str]:
    """The predicted latency, then the measured one with how far it is from that."""
    predicted, measured = model.latencies[index], model.measured[index]
    bounds = under(f"up to {latency(predicted.upper_ms)}")
    if predicted.expected_ms is not None:
        through = under(f"through all {latency(predicted.predicted_ms)}")
        bounds = under("on average") + through + bounds
    cells = [latency(predicted.usual_ms) + bounds]
    if not verified:
        return cells
    if measured is None:
        return [*cells, ""]
    deviation = 100 * (measured.usual_ms / predicted.usual_ms - 1)
    over = f" {tag('over the budget')}" if measured.over_budget else ""
    return [*cells, latency(measured.usual_ms) + under(f"{deviation:+.1f} %{over}")]


def _row_class(model: FinishedModel) -> str:
    return "recommended" if model.recommended else "dominated" if model.dominated else ""


def _latency_heading(device: DeviceFacts, data: ReportData) -> str:
    what = "Predicted latency" if data.verified else "Latency"
    on = f" on {device.short}" if len(data.facts.devices) > 1 else ""
    return f"{what}{on} ({device.provenance} table)"


def _many_limits(data: ReportData) -> bool:
    return len(data.facts.devices) + len(data.facts.limits) > 1


def _dearer(data: ReportData) -> str:
    """`slower`, or `worse in any cost` where the latency is not the only one."""
    return "slower" if [axis.kind for axis in data.axes] == ["latency"] else "worse in any cost"


def _dominated_text(data: ReportData) -> str:
    number = sum(model.dominated for model in data.finalists)
    if not number:
        return ""
    over = ", or too few images leave early to hold the budget" if data.facts.on_expected else ""
    return (
        f"{plural(number, 'finalist')} marked dominated: another one is at least as good in "
        f"everything since they were trained{over}."
    )
