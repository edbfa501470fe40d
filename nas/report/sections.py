"""The sections of the page, as HTML from a report's data."""

from __future__ import annotations

from collections.abc import Sequence

from nas.latency.device_file import Calibration
from nas.report.figures import device_name
from nas.report.markup import (
    Column,
    definitions,
    interval,
    latency,
    latency_interval,
    link,
    percent,
    plural,
    points,
    table,
    tag,
    text,
    unbroken,
    under,
)
from nas.report.snippet import usage_snippet
from nas.report.values import FinishedModel, ReportData
from nas.search.front import WITHIN
from nas.units import format_bytes, format_count, format_latency_ms

CLASSES_SHOWN = 20


def headline(data: ReportData) -> str:
    """Title, one line on the search, notes, and the recommended model."""
    facts = data.facts
    notes = "".join(f'<p class="note">{text(note)}</p>\n' for note in data.notes)
    warnings = "".join(f'<p class="note loud">{text(each)}</p>\n' for each in data.warnings)
    scored = plural(len(data.trials), "architecture")
    return (
        f"<h1>{text(title(data))}</h1>\n"
        f'<p class="soft">{scored} of {text(facts.space)} scored on {text(facts.data)}, '
        f"{_refused(data, 'refused for the budget, ')}"
        f"{plural(len(data.finalists), 'model')} exported. "
        f"Latencies are predicted from {_table_kind(data)}.{_verified(data)}</p>\n"
        f"{warnings}{notes}{recommendation(data)}"
    )


def title(data: ReportData) -> str:
    """The page's title."""
    return f"Models for {device_name(data.facts.device)} within {unbroken(data.facts.budget)}"


def _refused(data: ReportData, what: str) -> str:
    """What was proposed over the budget; nothing for samplers that propose nothing of the kind."""
    return f"{plural(data.refused, 'proposal')} {what}" if data.refused else ""


def _verified(data: ReportData) -> str:
    return "".join(f" {text(sentence)}" for sentence in data.verified)


def recommendation(data: ReportData) -> str:
    """The card of the recommended model, with the reason."""
    model, facts = data.recommended, data.facts
    predicted, test = model.latency, model.test
    numbers = (
        (
            percent(test.value),
            f"test accuracy, n = {test.images:,}<br>95 % interval {interval(test)}",
        ),
        (
            latency(predicted.predicted_ms),
            f"predicted latency, {tag(predicted.provenance)} table<br>"
            f"{latency_interval(predicted)}, batch 1",
        ),
        (
            latency(predicted.upper_ms),
            f"upper bound, {tag(predicted.provenance)} table<br>budget {text(facts.budget)}",
        ),
        *_measured_number(model),
        (
            format_bytes(model.size_bytes),
            f"ONNX file<br>{format_count(model.params)} parameters, "
            f"{format_count(model.macs)} MACs",
        ),
    )
    cells = "".join(
        f'<div><div class="value">{value}</div><div class="what">{what}</div></div>\n'
        for value, what in numbers
    )
    return (
        f'<section class="card"><h2>Recommended: model {model.rank}, <code>{text(model.id)}</code>'
        f"</h2>\n<p>{text(reason(data))}</p>\n"
        f'<div class="numbers">{cells}</div>\n<p>File: {link(str(model.file), str(model.file))}, '
        f"input {model.resolution} × {model.resolution} RGB</p></section>"
    )


def _measured_number(model: FinishedModel) -> list[tuple[str, str]]:
    if model.measured is None:
        return []
    over = f"{tag('over the budget')}<br>" if model.measured.over_budget else ""
    return [(latency(model.measured.latency_ms), f"{over}measured as a whole model")]


def reason(data: ReportData) -> str:
    """Why this model and not another, in one sentence."""
    return (
        f"The fastest model of the front within {100 * WITHIN:g} points of the best validation "
        f"accuracy ({percent(data.best_validation)})."
    )


def front_caption(data: ReportData) -> str:
    """How to read the front's figure."""
    return (
        "<p class='soft small'>Finalists and baselines were fine-tuned, exported and scored from "
        "the exported file on the validation images, which decide the front. Vertical bars: 95 % "
        "interval of the accuracy. Horizontal bars: up to the upper bound of the predicted latency "
        f"({text(data.facts.provenance)} table), which the budget is held against. Small "
        "grey points: scored with the supernet's weights, before fine-tuning."
        f"{' Crosses: measured latency of the exported files.' if data.verified else ''}</p>"
    )


def finalists_table(data: ReportData) -> str:
    """All exported models, fastest first."""
    columns = [
        Column("#"), Column("Model", words=True), Column("Validation accuracy"),
        Column("Test accuracy"), Column(_latency_heading(data)), *_measured_column(data),
        Column("Parameters"), Column("MACs"), Column("File size"), Column("Peak activations"),
    ]  # fmt: skip
    rows = [(_row_class(model), _finalist_cells(model)) for model in data.finalists]
    images = data.finalists[0]
    return (
        table(columns, rows)
        + f"<p class='soft small'>Accuracy with its 95 % Wilson interval: validation "
        f"n = {images.validation.images:,}, test n = {images.test.images:,}; test images were "
        "scored once, when everything was decided. Latency at batch 1 with its upper bound. "
        f"{_dominated_text(data.finalists)}</p>"
    )


def _measured_column(data: ReportData) -> list[Column]:
    return [Column("Measured latency")] if data.verified else []


def baselines_table(data: ReportData) -> str:
    """The space's hand-made network at each width, made and scored like the finalists."""
    if not data.baselines:
        return (
            "<p>None of the space's width-scaled networks meets the budget of "
            f"{text(data.facts.budget)}.</p>"
        )
    columns = [
        Column("Width"), Column("Model", words=True), Column("Validation accuracy"),
        Column("Test accuracy"), Column(_latency_heading(data)), Column("Parameters"),
        Column("MACs"), Column("Best finalist that is no slower"),
    ]  # fmt: skip
    rows = [("", _baseline_cells(model)) for model in data.baselines]
    return (
        "<p>The space's own network with its default depth and kernels, scaled by the width "
        "multiplier alone; fine-tuned, exported and scored exactly as the finalists are.</p>"
        + table(columns, rows)
        + "<p class='soft small'>Last column: validation accuracy compared with the baseline's.</p>"
    )


def certificate_text(data: ReportData) -> str:
    """What is known about the error of the latencies."""
    if data.table is None:
        return f"<p>The latency table {text(data.facts.table)} was not found.</p>"
    if data.table.families is not None:
        return _estimated_text(data)
    if not data.table.calibrations:
        return (
            f"<p>The table of {text(data.facts.table)} has no certificate for "
            f"{text(data.facts.space)} ({text(data.facts.plan)} plan).</p>"
        )
    return _measured_text(data)


def history_text(data: ReportData) -> str:
    """What the history's figure shows."""
    return (
        "<p>How the front of the scored architectures grew. The hypervolume is the area in "
        f"accuracy and latency ({data.facts.provenance}) that the front dominates, up to a "
        "point a little worse than all of them; 100 % would be one architecture that is best in "
        "both.</p>"
    )


def facts_list(data: ReportData) -> str:
    """What was searched, with what."""
    facts = data.facts
    pairs = [
        ("Device", f"{facts.device} (table {facts.table}, {facts.provenance}, {facts.precision})"),
        *_hardware(data),
        ("Budget", f"{facts.budget}, held against the upper bound of every prediction"),
        ("Space", f"{facts.space}, {facts.plan} plan"),
        (
            f"Upper bounds in the space ({facts.provenance})",
            f"{format_latency_ms(facts.fastest_ms)} (fastest architecture) to "
            f"{format_latency_ms(facts.slowest_ms)} (slowest)",
        ),
        (
            "Data",
            f"{facts.data}: {facts.train_images:,} train, {facts.validation_images:,} validation, "
            f"{facts.test_images:,} test images",
        ),
        (f"{len(facts.classes):,} classes", _class_list(facts.classes)),
        ("Supernet", facts.supernet),
        (
            "Search",
            f"{_refused(data, 'over the budget refused and repaired, ')}{facts.sampler}, "
            f"{plural(len(data.trials), 'architecture')} scored",
        ),
        ("Finalists", f"{plural(facts.finetune_steps, 'step')} of fine-tuning each"),
        ("Seed", str(facts.seed)),
        ("Started", facts.started),
        ("Versions", ", ".join(f"{name} {version}" for name, version in facts.versions)),
    ]
    return definitions(pairs)


def usage(data: ReportData) -> str:
    """The program that runs the recommended file on a photo."""
    return (
        "<p>Save this as <code>classify.py</code> beside this page and run "
        "<code>python classify.py photo.jpg</code>. It needs numpy, Pillow and onnxruntime, and "
        "prepares the photo exactly as the scored images were: upright, RGB, resized to "
        f"{data.recommended.resolution} × {data.recommended.resolution} (bilinear), normalised.</p>"
        f"\n<pre>{text(usage_snippet(str(data.recommended.file)))}</pre>"
    )


def caveats(data: ReportData) -> str:
    """What these numbers do not say."""
    items = "".join(f"<li>{text(caveat)}</li>\n" for caveat in caveat_texts(data))
    return f'<ul class="caveats">{items}</ul>'


def caveat_texts(data: ReportData) -> list[str]:
    """The same as plain sentences."""
    facts, found = data.facts, []
    if facts.estimated:
        found.append(
            f"The {'predicted ' if data.verified else ''}latencies on "
            f"{device_name(facts.device)} are estimated from published measurements, not "
            f"measured.{_errors(data)}{_advice(data)}"
        )
    if facts.precision != "fp32":
        found.append(
            f"Latencies are for {facts.precision}; accuracies were measured in fp32 on a CPU. "
            f"Running the file in {facts.precision} can change its accuracy."
        )
    validation = data.recommended.validation
    half = 50 * (validation.upper - validation.lower)
    found.append(
        f"With {plural(validation.images, 'validation image')} the recommended model's accuracy is "
        f"known to about ±{half:.1f} points: models whose intervals overlap cannot be told apart "
        "by these data."
    )
    return found


def _advice(data: ReportData) -> str:
    if data.verified:
        return ""
    return (
        " Measure the recommended model on the device before relying on its latency, or profile "
        "the device with nas profile."
    )


def _errors(data: ReportData) -> str:
    families = data.table.families if data.table else None
    if families is None:
        return ""
    return (
        " On families of networks that were left out of its fit the median error was "
        f"{100 * families.median_error:.0f} %, the largest {100 * families.largest_error:.0f} %."
    )


def _finalist_cells(model: FinishedModel) -> list[str]:
    marks = [tag("recommended")] if model.recommended else []
    marks += [tag("dominated")] if model.dominated else []
    name = link(str(model.file), f"{model.id}.onnx")
    return [
        str(model.rank),
        f"<code>{name}</code>{under(' '.join([f'{model.resolution} px', *marks]))}",
        *_score_cells(model),
        *_measured_cell(model),
        format_count(model.params),
        format_count(model.macs),
        format_bytes(model.size_bytes),
        format_bytes(model.peak_memory_bytes),
    ]


def _baseline_cells(model: FinishedModel) -> list[str]:
    return [
        f"×{model.width:g}",
        f"<code>{text(model.id)}</code>{under(f'{model.resolution} px')}",
        *_score_cells(model),
        format_count(model.params),
        format_count(model.macs),
        "none" if model.gain is None else points(model.gain),
    ]


def _score_cells(model: FinishedModel) -> list[str]:
    return [
        percent(model.validation.value) + under(interval(model.validation)),
        percent(model.test.value) + under(interval(model.test)),
        latency(model.latency.predicted_ms) + under(f"up to {latency(model.latency.upper_ms)}"),
    ]


def _measured_cell(model: FinishedModel) -> list[str]:
    """The measured latency, and how far it is from the predicted one."""
    if model.measured is None:
        return []
    deviation = 100 * (model.measured.latency_ms / model.latency.predicted_ms - 1)
    over = f" {tag('over the budget')}" if model.measured.over_budget else ""
    return [latency(model.measured.latency_ms) + under(f"{deviation:+.1f} %{over}")]


def _row_class(model: FinishedModel) -> str:
    return "recommended" if model.recommended else "dominated" if model.dominated else ""


def _latency_heading(data: ReportData) -> str:
    what = "Predicted latency" if data.verified else "Latency"
    return f"{what} ({data.facts.provenance} table)"


def _table_kind(data: ReportData) -> str:
    article = "an" if data.facts.estimated else "a"
    return f"{article} {tag(data.facts.provenance)} table"


def _dominated_text(models: Sequence[FinishedModel]) -> str:
    number = sum(model.dominated for model in models)
    if not number:
        return ""
    return (
        f"{plural(number, 'finalist')} marked dominated: another one is at least as fast and as "
        "accurate since the fine-tuning."
    )


def _hardware(data: ReportData) -> list[tuple[str, str]]:
    if data.table is None:
        return []
    return [("Hardware", f"{data.table.hardware}; {data.table.runtime}")]


def _class_list(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:CLASSES_SHOWN])
    more = len(classes) - CLASSES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def _estimated_text(data: ReportData) -> str:
    facts = data.table
    assert facts is not None and facts.families is not None and facts.roofline is not None
    roofline = facts.roofline
    uncovered = [name.replace("_", " ") for name, k in roofline.kinds.items() if not k.covered]
    bounds = f"The upper bound is {roofline.bound_factor:.3g} times the prediction"
    if uncovered:
        bounds += (
            f", and {roofline.uncovered_bound_factor:.3g} times for blocks with an operation that "
            f"no source of this device covers ({', '.join(uncovered)})"
        )
    sources = "".join(f"<li>{text(source)}</li>\n" for source in facts.sources)
    return (
        f"<p>The table {text(data.facts.table)} is {tag('estimated')}: {text(facts.method)}. "
        "Each family of networks was left out of the fit in turn and predicted from the others; "
        f"the median error was {100 * facts.families.median_error:.0f} %, the largest "
        f"{100 * facts.families.largest_error:.0f} %. {text(bounds)}.</p>\n"
        f"<details><summary>Sources</summary><ul>{sources}</ul></details>"
    )


def _measured_text(data: ReportData) -> str:
    facts = data.table
    assert facts is not None
    return (
        f"<p>The table {text(data.facts.table)} is {tag('measured')} on {text(facts.date)}: "
        f"{text(facts.method)}.</p>\n"
    ) + "".join(map(_calibration_text, facts.calibrations))


def _calibration_text(calibration: Calibration) -> str:
    certificate = calibration.certificate
    sizes = "/".join(map(str, calibration.resolutions))
    pairs = [
        ("Mean absolute percentage error", percent(certificate.mape)),
        ("Within 5 %", f"{100 * certificate.within_5:.0f} % of the models"),
        ("Within 10 %", f"{100 * certificate.within_10:.0f} % of the models"),
        ("Rank correlation", f"{certificate.rank_correlation:.3f}"),
        ("Under the upper bound", f"{100 * certificate.coverage:.0f} % of the models"),
        ("Timings of one model differ by", percent(certificate.repeat_difference)),
    ]
    return (
        "<p>Its predictions were compared with "
        f"{plural(certificate.models, 'whole model')} of {text(calibration.space)} "
        f"({text(calibration.plan)} plan, {sizes} px) that were not used to make it.</p>\n"
        + definitions(pairs)
    )
