"""What is known of how good the latency tables are, in words."""

from __future__ import annotations

from nas.latency.device_file import Calibration
from nas.report.markup import (
    definitions,
    percent,
    tag,
    text,
)
from nas.report.values import (
    DeviceFacts,
    ReportData,
    TableFacts,
)
from nas.units import plural


def certificate_text(device: DeviceFacts, data: ReportData) -> str:
    """What is known about the error of a device's latencies."""
    details = device.details
    if details is None:
        return f"<p>The latency table {text(device.table)} was not found.</p>"
    if details.families is not None:
        return _estimated_text(device, details)
    if not details.calibrations:
        return (
            f"<p>The table of {text(device.table)} has no certificate for "
            f"{text(data.facts.space)} ({text(data.facts.plan)} plan).</p>"
        )
    return _measured_text(device, details)


def _estimated_text(device: DeviceFacts, facts: TableFacts) -> str:
    assert facts.families is not None and facts.roofline is not None
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
        f"<p>The table {text(device.table)} is {tag('estimated')}: {text(facts.method)}. "
        "Each family of networks was left out of the fit in turn and predicted from the others; "
        f"the median error was {100 * facts.families.median_error:.0f} %, the largest "
        f"{100 * facts.families.largest_error:.0f} %. {text(bounds)}.</p>\n"
        f"<details><summary>Sources</summary><ul>{sources}</ul></details>"
    )


def _measured_text(device: DeviceFacts, facts: TableFacts) -> str:
    return (
        f"<p>The table {text(device.table)} is {tag('measured')} on {text(facts.date)}: "
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
