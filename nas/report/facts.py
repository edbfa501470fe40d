"""What was searched, and with which tables: the part of a report that is no result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nas.errors import InputError
from nas.latency.table import LatencyTable, load_table
from nas.report.values import (
    DeviceFacts,
    RunFacts,
    TableFacts,
)
from nas.search.goals import (
    holds_expected,
    make_goals,
)
from nas.search.run_folder import RunFolder
from nas.search.settings import SearchSettings
from nas.units import format_latency_ms, plural


def read_facts(run: RunFolder, content: Mapping[str, Any]) -> tuple[RunFacts, list[str]]:
    """What was searched, and a note for each latency table that is gone."""
    settings, data = content["settings"], content["data"]
    notes: list[str] = []
    goals = make_goals(SearchSettings.model_validate(settings))
    facts = RunFacts(
        devices=tuple(
            _device(name, found, content, notes) for name, found in content["devices"].items()
        ),
        limits=tuple(
            (goal.words, goal.format(goal.limit))
            for goal in goals.every
            if goal.limit is not None and goal.kind != "latency"
        ),
        per_device=goals.per_device,
        space=content["space"],
        plan=content["plan"],
        data=data["name"],
        classes=_class_names(run, data["classes"]),
        train_images=data["train"],
        validation_images=data["validation"],
        test_images=data["test"],
        seed=settings["seed"],
        sampler=settings["sampler"],
        **_training(settings["supernet"], content["work"]),
        started=content["started"],
        versions=tuple(content["versions"].items()),
        balanced=settings.get("metric") == "balanced",
        on_expected=holds_expected(settings),
    )
    return facts, notes


def _training(given: str | None, work: Mapping[str, Any]) -> dict[str, str]:
    """What is said of the supernet and of how trials and finalists were trained."""
    steps = plural(work["finetune_steps"], "step")
    if work.get("trial_steps"):
        return {
            "supernet": "none: every architecture was trained from scratch",
            "scored": f"after {plural(work['trial_steps'], 'training step')}",
            "training": f"{steps} of training from scratch",
        }
    return {
        "supernet": given or f"{work['supernet_steps']:,} training steps",
        "scored": "with the supernet's weights",
        "training": f"{steps} of fine-tuning",
    }


def _device(
    name: str, found: Mapping[str, Any], content: Mapping[str, Any], notes: list[str]
) -> DeviceFacts:
    details = None
    try:
        details = _table_facts(load_table(name), found["precision"], content)
    except InputError as error:
        notes.append(f"The latency table {found['name']} is not shown: {error}")
    fastest_ms, slowest_ms = found["latency_range_ms"]
    return DeviceFacts(
        name=name,
        table=found["name"],
        provenance=found["provenance"],
        precision=found["precision"],
        budget=format_latency_ms(found["budget_ms"]),
        budget_ms=found["budget_ms"],
        fastest_ms=fastest_ms,
        slowest_ms=slowest_ms,
        details=details,
    )


def _class_names(run: RunFolder, number: int) -> tuple[str, ...]:
    """From `data.json`; numbers where that is gone."""
    try:
        content = json.loads((run.path / "data.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return tuple(str(index) for index in range(number))
    return tuple(str(name) for name in content["classes"])


def _table_facts(table: LatencyTable, precision: str, content: Mapping[str, Any]) -> TableFacts:
    device = table.device
    runtime = " ".join(part for part in (device.runtime, device.runtime_version) if part)
    if device.threads:
        runtime += f", {device.threads} thread{'s' if device.threads > 1 else ''}"
    return TableFacts(
        hardware=device.hardware,
        runtime=f"{runtime}, {device.mode}" if device.mode else runtime,
        date=device.provenance.date.isoformat(),
        method=device.provenance.method,
        sources=tuple(device.provenance.sources),
        calibrations=tuple(table.calibrations(content["space"], content["plan"], precision)),
        families=device.certificate,
        roofline=device.roofline,
    )
