"""The end of a search on the terminal: the front, what was done, where the files are."""

from __future__ import annotations

import os
import platform
import shlex
from typing import TYPE_CHECKING, Any

from nas.search.measured import measured_models, say_measured
from nas.units import format_bytes, format_count, format_latency_ms

if TYPE_CHECKING:
    from nas.search.run_folder import RunFolder


def print_summary(run: RunFolder) -> None:
    """Print the front of a finished run and how to use the recommended model."""
    from rich.console import Console

    from nas.report.snippet import usage_snippet

    console = Console(highlight=False)
    front, facts = run.read_front(), run.read_run()
    console.print(_table(front, facts))
    for line in _lines(run, front, facts):
        console.print(line, markup=False, soft_wrap=True)
    best = next(m for m in front["models"] if m["id"] == front["recommended"])
    file = os.path.relpath(run.path / best["files"]["onnx"])
    console.print("\nRun it on a photo (python classify.py photo.jpg):\n", style="bold")
    console.print(usage_snippet(file), markup=False, soft_wrap=True)


def _table(front: dict[str, Any], facts: dict[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    device, budget = facts["settings"]["device"], facts["settings"]["budget"]
    provenance = facts["device"]["provenance"]
    table = Table(
        title=f"{facts['space']} on {device}, budget {budget}",
        title_justify="left",
        caption=_caption(front, device),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0),
        show_edge=False,
    )
    for heading in _headings(provenance, bool(measured_models(front["models"], device))):
        side: Any = "left" if heading in ("", "model") else "right"
        table.add_column(heading, justify=side, no_wrap=True)
    for model in front["models"]:
        table.add_row(*_row(model, front["recommended"]))
    return table


def _headings(provenance: str, verified: bool) -> list[str]:
    """Of the columns; measured latencies take the place of the MACs, for 80 characters are few."""
    accuracy = "test accuracy\n% (95 % interval)"
    if verified:
        return ["", "model", accuracy, "valida-\ntion %", "predicted\nms", "upper\nbound ms",
                "measured\nms", "size"]  # fmt: skip
    return ["", "model", accuracy, "validation\n%", f"{provenance}\nlatency ms",
            "upper\nbound ms", "MACs", "size"]  # fmt: skip


def _caption(front: dict[str, Any], device: str) -> str:
    caption = "* recommended   - no longer on the front after fine-tuning"
    over = any(model.over_budget for model in measured_models(front["models"], device))
    return f"{caption}\n! measured over the budget" if over else caption


def _row(model: dict[str, Any], recommended: str) -> list[str]:
    latency = next(iter(model["latency_ms"].values()))
    low, high = model["accuracy"]["interval"]
    mark = "*" if model["id"] == recommended else "-" if model["dominated"] else ""
    return [
        mark,
        model["id"],
        f"{100 * model['accuracy']['value']:.1f} ({100 * low:.1f}-{100 * high:.1f})",
        f"{100 * model['validation_accuracy']['value']:.1f}",
        format_latency_ms(latency["predicted"]).removesuffix(" ms"),
        format_latency_ms(latency["upper"]).removesuffix(" ms"),
        _measured_cell(latency["measured"])
        if "measured" in latency
        else format_count(model["macs"]),
        format_bytes(model["size_bytes"]),
    ]


def _measured_cell(measured: dict[str, Any]) -> str:
    mark = "!" if measured["over_budget"] else ""
    return mark + format_latency_ms(measured["latency_ms"]).removesuffix(" ms")


def _lines(run: RunFolder, front: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    searched, data = run.logged("search"), facts["data"]
    best = next(m for m in front["models"] if m["id"] == front["recommended"])
    lines = [
        f"Searched {searched.get('trials', '?')} architectures on {data['train']} training images "
        f"of {data['name']} ({data['classes']} classes). Proposals over the budget, repaired "
        f"before they cost anything: {searched.get('refused', '?')}.",
        f"Accuracies are the exported files', on {data['test']} test and {data['validation']} "
        "validation images.",
        f"Recommended: {front['recommended']}, the fastest within 0.5 points of the best "
        f"validation accuracy: {run.path / best['files']['onnx']}",
        f"Report: {run.report}   Dashboard: nas dashboard {shlex.quote(str(run.path))}",
    ]
    settings = facts["settings"]
    verified, warnings = say_measured(front["models"], settings["device"], settings["budget"])
    lines[2:2] = [*verified, *warnings]
    hardware = facts["device"].get("hardware", "unknown hardware")
    if facts["device"]["provenance"] == "measured":
        lines.append(
            f"Latencies are predicted from blocks measured on {hardware}.{_elsewhere(facts)}"
        )
    if facts["device"]["provenance"] == "estimated":
        what, advice = "Latencies", ": measure on your board before you rely on it"
        if verified:
            what, advice = "Predicted latencies", ""
        lines.append(
            f"{what} of {hardware} are estimated from published measurements of whole networks"
            f"{advice}."
        )
    if facts["device"]["precision"] != "fp32":
        lines.append(
            f"Latencies are for {facts['device']['precision']}; accuracies were measured in fp32 "
            "on a CPU."
        )
    return lines


def _elsewhere(facts: dict[str, Any]) -> str:
    """What to do where a processor like this one, but not this one, was measured."""
    from nas.devices.agent.machine import describe_processor

    device = facts["device"]
    here = describe_processor()
    if device.get("architecture") != platform.machine() or device.get("hardware") == here:
        return ""
    return (
        f" This machine is another one ({here}): measure it with nas profile --device my-device "
        f"--space {shlex.quote(str(facts['settings']['space']))} --plan {facts['plan']}"
    )
