"""The end of a search on the terminal: the front, what was done, where the files are."""

from __future__ import annotations

import os
import platform
import shlex
from typing import TYPE_CHECKING, Any

from nas.search.folders import onnx_files
from nas.search.goals import bounded, holds_expected
from nas.search.measured import MeasuredModel, measured_models, say_measured, usual_ms
from nas.search.ranked import CHECK, ranking_lines, supernet_lines
from nas.units import format_bytes, format_count, format_latency_ms, plural

if TYPE_CHECKING:
    from nas.search.run_folder import RunFolder

DEVICE_WIDTH = 14
"""Characters of a device's name over its column."""


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
    files = [os.path.relpath(run.path / name) for name in onnx_files(best)]
    console.print("\nRun it on a photo (python classify.py photo.jpg):\n", style="bold")
    console.print(usage_snippet(*files), markup=False, soft_wrap=True)


def _table(front: dict[str, Any], facts: dict[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    budgets = facts["settings"]["device"]
    within = ", ".join(f"{device} (budget {budget})" for device, budget in budgets.items())
    if len(budgets) == 1:
        [within] = (f"{device}, budget {budget}" for device, budget in budgets.items())
    table = Table(
        title=f"{facts['space']} on {within}",
        title_justify="left",
        caption=_caption(front, facts),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0),
        show_edge=False,
    )
    for heading in _headings(front, facts):
        side: Any = "left" if heading in ("", "model") else "right"
        table.add_column(heading, justify=side, no_wrap=True)
    for model in front["models"]:
        table.add_row(*_row(model, front, facts))
    return table


def _headings(front: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Of the columns: 80 characters are few, so that other latencies take the place of the MACs."""
    devices = facts["devices"]
    what = "balanced test" if _balanced(facts) else "test accuracy"
    accuracy = f"{what}\n% (95 % interval)"
    if len(devices) > 1:
        latencies = [f"{_short(name)}\nms (bound)" for name in devices]
        return ["", "model", accuracy, "valida-\ntion %", *latencies, "size"]
    [(device, found)] = devices.items()
    if _measured(front, device, facts):
        return ["", "model", accuracy, "valida-\ntion %", "predicted\nms", "upper\nbound ms",
                "measured\nms", "size"]  # fmt: skip
    return ["", "model", accuracy, "validation\n%", f"{found['provenance']}\nlatency ms",
            "upper\nbound ms", "MACs", "size"]  # fmt: skip


def _short(device: str) -> str:
    """The end of a device's name that fits into a column."""
    name = device.rstrip("/").rpartition("/")[2]
    return name if len(name) <= DEVICE_WIDTH else f"…{name[1 - DEVICE_WIDTH :]}"


def _caption(front: dict[str, Any], facts: dict[str, Any]) -> str:
    caption = "* recommended"
    gone = any(_mark(model, front, facts) == "-" for model in front["models"])
    if gone:
        caption += "   - no longer on the front once trained"
    if facts["settings"]["per_device"]:
        places = ", ".join(f"{n} {found['device']}" for n, found in enumerate(front["fronts"], 1))
        caption = f"* recommended for the device of that number: {places}"
        if gone:
            caption += "\n- on no device's front"
    over = any(
        model.over_budget
        for device in facts["devices"]
        for model in _measured(front, device, facts)
    )
    if any("exits" in model for model in front["models"]):
        bounds = "of that" if holds_expected(facts["settings"]) else "of all segments"
        caption += f"\n~ on average, as images leave early; bounds are {bounds}"
    return f"{caption}\n! measured over the budget" if over else caption


def _measured(front: dict[str, Any], device: str, facts: dict[str, Any]) -> list[MeasuredModel]:
    return measured_models(front["models"], device, holds_expected(facts["settings"]))


def _mark(model: dict[str, Any], front: dict[str, Any], facts: dict[str, Any]) -> str:
    fronts = front["fronts"]
    numbers = [n for n, found in enumerate(fronts, 1) if found["recommended"] == model["id"]]
    if numbers and facts["settings"]["per_device"]:
        return "*" + ",".join(map(str, numbers))
    return "*" if numbers else "-" if model["dominated"] else ""


def _row(model: dict[str, Any], front: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    low, high = model["accuracy"]["interval"]
    latencies = [model["latency_ms"][device] for device in facts["devices"]]
    budgets = [device["budget_ms"] for device in facts["devices"].values()]
    bounds = [bounded(latency, holds_expected(facts["settings"]))["upper"] for latency in latencies]
    return [
        _mark(model, front, facts),
        model["id"],
        f"{100 * model['accuracy']['value']:.1f} ({100 * low:.1f}-{100 * high:.1f})",
        f"{100 * model['validation_accuracy']['value']:.1f}",
        *(map(_both_cell, latencies, bounds, budgets) if len(latencies) > 1
          else _latency_cells(latencies[0], bounds[0], model)),
        format_bytes(model["size_bytes"]),
    ]  # fmt: skip


def _both_cell(latency: dict[str, Any], bound_ms: float, budget_ms: float) -> str:
    """Predicted latency and bound; a measured one takes the place of the bound."""
    if bound_ms > budget_ms:
        return "over"
    measured = latency.get("measured")
    second = _milliseconds(bound_ms) if measured is None else _measured_cell(measured)
    return f"{_usual(latency)} ({second})"


def _latency_cells(latency: dict[str, Any], bound_ms: float, model: dict[str, Any]) -> list[str]:
    return [
        _usual(latency),
        _milliseconds(bound_ms),
        _measured_cell(latency["measured"])
        if "measured" in latency
        else format_count(model["macs"]),
    ]


def _usual(latency: dict[str, Any]) -> str:
    """On average, and marked so, where there are exits."""
    if "expected" not in latency:
        return _milliseconds(latency["predicted"])
    return f"~{_milliseconds(latency['expected']['predicted'])}"


def _milliseconds(latency_ms: float) -> str:
    return format_latency_ms(latency_ms).removesuffix(" ms")


def _measured_cell(measured: dict[str, Any]) -> str:
    mark = "!" if measured["over_budget"] else ""
    average = "~" if "expected_ms" in measured else ""
    return mark + average + _milliseconds(usual_ms(measured))


def _lines(run: RunFolder, front: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    searched, data = run.logged("search"), facts["data"]
    lines = [
        f"Searched {searched.get('trials', '?')} architectures on {data['train']} training images "
        f"of {data['name']} ({data['classes']} classes)."
        f"{_from_scratch(facts)}{_refused(searched)}{_short_training(run, facts)}",
        f"{_accuracies(facts)} are the exported files', on {data['test']} test and "
        f"{data['validation']} validation images.",
        *(line for found in front["fronts"] for line in _recommended(run, front, found, facts)),
        f"Report: {run.report}   Dashboard: nas dashboard {shlex.quote(str(run.path))}",
    ]
    verified, warnings = say_measured(front["models"], facts["settings"])
    lines[2:2] = [*verified, *warnings]
    ranking, given = run.read_ranking(), facts["settings"]["supernet"]
    if ranking is not None:
        lines[1:1] = ranking_lines(ranking, given)
    lines[1:1] = supernet_lines(run.logged(CHECK), given)
    for device, found in facts["devices"].items():
        lines += _device_lines(device, found, front, facts)
    return lines


def _balanced(facts: dict[str, Any]) -> bool:
    return bool(facts["settings"].get("metric") == "balanced")


def _accuracies(facts: dict[str, Any]) -> str:
    return "Balanced accuracies (means over the classes)" if _balanced(facts) else "Accuracies"


def _short_training(run: RunFolder, facts: dict[str, Any]) -> str:
    trained = run.logged("short training").get("trials")
    if not trained:
        return ""
    steps = facts["work"]["short_steps"]
    return (
        f" Finalists were chosen from the best {trained}, trained for {plural(steps, 'step')} each."
    )


def _from_scratch(facts: dict[str, Any]) -> str:
    work = facts["work"]
    if not work.get("trial_steps"):
        return ""
    return (
        f" Each was trained from scratch for {plural(work['trial_steps'], 'step')}, finalists for "
        f"{work['finetune_steps']}."
    )


def _refused(searched: dict[str, Any]) -> str:
    number = searched.get("refused", 0)
    if not number:
        return ""
    return f" Proposals beyond a limit, repaired before they cost anything: {number}."


def _recommended(
    run: RunFolder, front: dict[str, Any], found: dict[str, Any], facts: dict[str, Any]
) -> list[str]:
    """Which model it is and, where images leave it early, how many."""
    best = next(m for m in front["models"] if m["id"] == found["recommended"])
    settings = facts["settings"]
    simple = list(settings["objective"]) == ["latency"] and (
        len(settings["device"]) == 1 or settings["per_device"]
    )
    what = "fastest" if simple else "one that costs least of its limits"
    device = "" if found["device"] is None else f" for {found['device']}"
    line = (
        f"Recommended{device}: {best['id']}, the {what} within 0.5 points of the best validation "
        f"accuracy: {run.path / best['files']['onnx']}"
    )
    return [line, *_leaving(best)]


def _leaving(model: dict[str, Any]) -> list[str]:
    """Where images leave a model with exits, and what one takes that goes through all of it."""
    if "exits" not in model:
        return []
    *early, end = model["exits"]["shares"]
    shares = [f"{share:.1%} at exit {place}" for place, share in enumerate(early, 1)]
    shares = [*shares, f"{end:.1%} at its end"]
    whole = ", ".join(
        f"{format_latency_ms(found['predicted'])} (at most {format_latency_ms(found['upper'])}) "
        f"on {_short(device)}"
        for device, found in model["latency_ms"].items()
    )
    return [
        f"Validation images leave it: {', '.join(shares)}; an inference through all of it takes "
        f"{whole}."
    ]


def _device_lines(
    name: str, device: dict[str, Any], front: dict[str, Any], facts: dict[str, Any]
) -> list[str]:
    """What has to be known of a device's latencies."""
    lines = []
    hardware = device.get("hardware", "unknown hardware")
    if device["provenance"] == "measured":
        there = _elsewhere(device, facts)
        lines.append(f"Latencies are predicted from blocks measured on {hardware}.{there}")
    if device["provenance"] == "estimated":
        what, advice = "Latencies", ": measure on your board before you rely on it"
        if _measured(front, name, facts):
            what, advice = "Predicted latencies", ""
        lines.append(
            f"{what} of {hardware} are estimated from published measurements of whole networks"
            f"{advice}."
        )
    if device["precision"] != "fp32":
        on = f" on {name}" if len(facts["devices"]) > 1 else ""
        lines.append(
            f"Latencies{on} are for {device['precision']}; accuracies were measured in fp32 on a "
            "CPU."
        )
    return lines


def _elsewhere(device: dict[str, Any], facts: dict[str, Any]) -> str:
    """What to do where a processor like this one, but not this one, was measured."""
    from nas.devices.agent.machine import describe_processor

    here = describe_processor()
    if device.get("architecture") != platform.machine() or device.get("hardware") == here:
        return ""
    return (
        f" This machine is another one ({here}): measure it with nas profile --device my-device "
        f"--space {shlex.quote(str(facts['settings']['space']))} --plan {facts['plan']}"
    )
