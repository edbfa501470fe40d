"""The sections of the page, as HTML from a report's data."""

from __future__ import annotations

from collections.abc import Sequence

from nas.report.markup import (
    definitions,
    interval,
    latency,
    latency_interval,
    link,
    percent,
    tag,
    text,
    unbroken,
)
from nas.report.snippet import usage_snippet
from nas.report.tables import verified_devices
from nas.report.values import (
    DeviceFacts,
    FinishedModel,
    FrontFacts,
    Latency,
    ReportData,
)
from nas.search.front import WITHIN
from nas.units import format_bytes, format_count, format_latency_ms, plural

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
        f"{_refused(data, 'refused for its limits, ')}"
        f"{_short_training(data)}{plural(len(data.finalists), 'model')} exported. "
        f"Latencies are predicted from {_table_kinds(data)}.{_verified(data)}</p>\n"
        f"{warnings}{notes}{''.join(recommendation(data, front) for front in data.fronts)}"
    )


def _short_training(data: ReportData) -> str:
    """What finalists were chosen from."""
    short = data.short_training
    if short is None:
        return ""
    return (
        f"the best {short.architectures} trained by themselves for {plural(short.steps, 'step')} "
        f"(rank correlation with their first scores {short.rank_correlation:.2f}), "
    )


def title(data: ReportData) -> str:
    """The page's title."""
    word = " or " if data.facts.per_device else " and "
    within = [f"{device.short} within {unbroken(device.budget)}" for device in data.facts.devices]
    return f"Models for {word.join(within)}"


def _refused(data: ReportData, what: str) -> str:
    """What was proposed beyond a limit; nothing for samplers that propose nothing of the kind."""
    return f"{plural(data.refused, 'proposal')} {what}" if data.refused else ""


def _verified(data: ReportData) -> str:
    return "".join(f" {text(sentence)}" for sentence in data.verified)


def recommendation(data: ReportData, front: FrontFacts) -> str:
    """The card of a front's recommended model, with the reason."""
    model, test = data.recommended_on(front), data.recommended_on(front).test
    balanced = "balanced " if data.facts.balanced else ""
    devices = data.facts.devices if front.device is None else (data.front_device(front),)
    numbers = (
        (
            percent(test.value),
            f"{balanced}test accuracy, n = {test.images:,}<br>95 % interval {interval(test)}",
        ),
        *(number for device in devices for number in _latency_numbers(model, device, data)),
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
        f'<section class="card"><h2>Recommended{_for(front, data)}: model {model.rank}, '
        f"<code>{text(model.id)}</code></h2>\n<p>{text(reason(data, front))}</p>\n"
        f'<div class="numbers">{cells}</div>\n<p>{_files(model)}, '
        f"input {model.resolution} × {model.resolution} RGB</p></section>"
    )


def _files(model: FinishedModel) -> str:
    links = ", ".join(link(file, file) for file in model.files)
    return f"File: {links}" if len(model.files) == 1 else f"Files, run in turn: {links}"


def _for(front: FrontFacts, data: ReportData) -> str:
    return "" if front.device is None else f" for {text(data.front_device(front).short)}"


def _latency_numbers(
    model: FinishedModel, device: DeviceFacts, data: ReportData
) -> list[tuple[str, str]]:
    """What the card says of a device, which is named where there are several."""
    index = data.facts.devices.index(device)
    predicted, measured = model.latencies[index], model.measured[index]
    on = f" on {text(device.short)}" if len(data.facts.devices) > 1 else ""
    average = []
    if predicted.expected_ms is not None:
        what = f"expected on average{on}, {tag(predicted.provenance)} table<br>images leave early"
        average = [(latency(predicted.expected_ms), what)]
    numbers = [
        *average,
        (
            latency(predicted.predicted_ms),
            f"predicted latency{on}, {tag(predicted.provenance)} table<br>"
            f"{latency_interval(predicted)}, batch 1",
        ),
        (
            latency(predicted.held_ms),
            f"upper bound{_of_average(predicted, data)}{on}, {tag(predicted.provenance)} table<br>"
            f"budget {text(device.budget)}",
        ),
    ]
    if measured is not None:
        over = f"{tag('over the budget')}<br>" if measured.over_budget else ""
        what = f"{over}measured{on} as a whole model"
        if measured.expected_ms is not None:
            what += f" on average<br>{latency(measured.latency_ms)} through all of it"
        numbers.append((latency(measured.usual_ms), what))
    return numbers


def _of_average(predicted: Latency, data: ReportData) -> str:
    on_average = data.facts.on_expected and predicted.expected_ms is not None
    return " on average" if on_average else ""


def reason(data: ReportData, front: FrontFacts) -> str:
    """Why this model and not another, in one sentence."""
    index = data.fronts.index(front)
    best = max(m.validation.value for m in data.finalists if index in m.fronts)
    axes = [data.axes[number] for number in front.axes]
    if [axis.kind for axis in axes] == ["latency"]:
        which = "The fastest model"
    elif len(axes) == 1:
        which = f"The model of the least {axes[0].words}"
    else:
        which = "The model that takes the smallest share of its limits"
    return (
        f"{which}, among those of the front within {100 * WITHIN:g} points of the best "
        f"{'balanced ' if data.facts.balanced else ''}validation accuracy ({percent(best)})."
    )


def front_caption(data: ReportData) -> str:
    """How to read the front's figure."""
    return (
        "<p class='soft small'>Finalists and baselines were trained, exported and scored from "
        "the exported file on the validation images, which decide the front. Vertical bars: 95 % "
        "interval of the accuracy. Horizontal bars: up to the upper bound of the predicted latency "
        f"{'on average ' if data.facts.on_expected else ''}({_provenances(data)}), which the "
        "budget is held against. Small "
        f"grey points: scored by the search, {text(data.facts.scored)}."
        f"{' Crosses: measured latency of the exported files.' if data.verified else ''}</p>"
    )


def history_text(data: ReportData) -> str:
    """What the history's figure shows."""
    return (
        "<p>How the front of the scored architectures grew. The hypervolume is what the front "
        f"dominates in accuracy and {_objectives(data)}, up to guessing and to the limits (the "
        "space's largest network where there is none); 100 % would be no error at no cost.</p>"
    )


def facts_list(data: ReportData) -> str:
    """What was searched, with what."""
    facts = data.facts
    pairs = [
        *(pair for device in facts.devices for pair in _device_pairs(device, facts.on_expected)),
        *((f"Limit on {words}", value) for words, value in facts.limits),
        ("Space", f"{facts.space}, {facts.plan} plan"),
        (
            "Data",
            f"{facts.data}: {facts.train_images:,} train, {facts.validation_images:,} validation, "
            f"{facts.test_images:,} test images",
        ),
        (f"{len(facts.classes):,} classes", _class_list(facts.classes)),
        ("Supernet", facts.supernet),
        (
            "Search",
            f"{_refused(data, 'beyond a limit refused and repaired, ')}{facts.sampler}, "
            f"{plural(len(data.trials), 'architecture')} scored",
        ),
        ("Finalists", f"{facts.training} each"),
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
        "prepares the photo exactly as the scored images were: upright, RGB over white, resized to "
        f"{data.recommended.resolution} × {data.recommended.resolution} (bilinear), normalised. "
        "(One of 16 bits has to be scaled to 8 before.)</p>"
        f"\n<pre>{text(usage_snippet(*data.recommended.files))}</pre>"
    )


def caveats(data: ReportData) -> str:
    """What these numbers do not say."""
    items = "".join(f"<li>{text(caveat)}</li>\n" for caveat in caveat_texts(data))
    return f'<ul class="caveats">{items}</ul>'


def caveat_texts(data: ReportData) -> list[str]:
    """The same as plain sentences."""
    found = []
    for device, verified in zip(data.facts.devices, verified_devices(data), strict=True):
        if device.estimated:
            found.append(
                f"The {'predicted ' if verified else ''}latencies on {device.short} are estimated "
                f"from published measurements, not measured.{_errors(device)}{_advice(verified)}"
            )
        if device.precision != "fp32":
            on = f" on {device.short}" if len(data.facts.devices) > 1 else ""
            found.append(
                f"Latencies{on} are for {device.precision}; accuracies were measured in fp32 on a "
                f"CPU. Running the file in {device.precision} can change its accuracy."
            )
    if any(axis.kind == "energy" for axis in data.axes):
        found.append(
            "Energies are sums of blocks that were measured by themselves, which pay for calls "
            "that they share in a network: they rank models, and are too high."
        )
    validation = data.recommended.validation
    half = 50 * (validation.upper - validation.lower)
    found.append(
        f"With {plural(validation.images, 'validation image')} the recommended model's accuracy is "
        f"known to about ±{half:.1f} points: models whose intervals overlap cannot be told apart "
        "by these data."
    )
    return found


def _advice(verified: bool) -> str:
    if verified:
        return ""
    return (
        " Measure the recommended model on the device before relying on its latency, or profile "
        "the device with nas profile."
    )


def _errors(device: DeviceFacts) -> str:
    families = device.details.families if device.details else None
    if families is None:
        return ""
    return (
        " On families of networks that were left out of its fit the median error was "
        f"{100 * families.median_error:.0f} %, the largest {100 * families.largest_error:.0f} %."
    )


def _table_kinds(data: ReportData) -> str:
    kinds = [device.provenance for device in data.facts.devices]
    if len(kinds) == 1:
        return f"{'an' if kinds[0] == 'estimated' else 'a'} {tag(kinds[0])} table"
    tables = [
        f"{tag(kind)} ({text(d.short)})" for kind, d in zip(kinds, data.facts.devices, strict=True)
    ]
    return f"tables that are {' and '.join(tables)}"


def _provenances(data: ReportData) -> str:
    kinds = dict.fromkeys(device.provenance for device in data.facts.devices)
    return f"{text(' and '.join(kinds))} table{'s' if len(data.facts.devices) > 1 else ''}"


def _objectives(data: ReportData) -> str:
    """The axes in words, with what their numbers are."""
    words = []
    for axis in data.axes:
        device = None if axis.device is None else data.facts.devices[axis.device]
        kind = f" ({device.provenance})" if device and axis.kind == "latency" else ""
        on = f" on {device.short}" if device and len(data.facts.devices) > 1 else ""
        words.append(f"{'latency' if axis.kind == 'latency' else axis.words}{on}{kind}")
    return text(" or ".join(words) if data.facts.per_device else " and ".join(words))


def _device_pairs(device: DeviceFacts, on_expected: bool) -> list[tuple[str, str]]:
    held = "what is expected on average" if on_expected else "every prediction"
    details = device.details
    hardware = [] if details is None else [("Hardware", f"{details.hardware}; {details.runtime}")]
    return [
        (
            "Device",
            f"{device.name} (table {device.table}, {device.provenance}, {device.precision})",
        ),
        *hardware,
        ("Budget", f"{device.budget}, held against the upper bound of {held}"),
        (
            f"Upper bounds in the space ({device.provenance})",
            f"{format_latency_ms(device.fastest_ms)} (fastest architecture) to "
            f"{format_latency_ms(device.slowest_ms)} (slowest)",
        ),
    ]


def _class_list(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:CLASSES_SHOWN])
    more = len(classes) - CLASSES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
