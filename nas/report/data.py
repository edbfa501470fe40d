"""Everything that a report says, read once from the run folder and the device's table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import InputError, RunFolderError
from nas.latency.predict import Predictor
from nas.latency.table import LatencyTable, load_table
from nas.pareto import non_dominated
from nas.report.history import hypervolume_shares
from nas.report.stacks import StackBlock, make_stack
from nas.report.values import (
    Accuracy,
    FinishedModel,
    Latency,
    Measured,
    ReportData,
    RunFacts,
    TableFacts,
    TrialPoint,
)
from nas.search.finalists import reference_point, trial_costs
from nas.search.measured import say_measured
from nas.search.run_folder import RunFolder, check_finished
from nas.search.study import TrialRecord, read_trials
from nas.space import SearchSpace, load_space
from nas.units import format_latency_ms

CHANGED = 1e-6
"""Relative difference of a latency that shows that its table is not the one of the search."""


def load_report(folder: Path) -> ReportData:
    """Read a finished run. A table or a space that is gone is a note, not an error.

    Raises:
        RunFolderError: There is no finished run, or one of its files cannot be read.
    """
    run = RunFolder(folder)
    check_finished(run)
    try:
        return _load(run)
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise RunFolderError(
            f"{folder} cannot be read as a run: {type(cause).__name__} {cause}",
            allowed="a folder as nas search left it",
        ) from cause


def _load(run: RunFolder) -> ReportData:
    content, front = run.read_run(), run.read_front()
    facts = _facts(run, content)
    drawing = _Drawing(facts, *_find_sources(run, content, facts))
    records = read_trials(run.journal)
    finalists = tuple(
        _model(entry, rank, drawing, recommended=entry["id"] == front["recommended"])
        for rank, entry in enumerate(_fastest_first(front["models"], facts.device), 1)
    )
    baselines = tuple(
        _model(entry, rank, drawing, finalists=finalists)
        for rank, entry in enumerate(_fastest_first(run.read_baselines(), facts.device), 1)
    )
    costs = trial_costs(records)
    verified, warnings = say_measured(front["models"], facts.device, facts.budget)
    return ReportData(
        facts=facts,
        trials=_trials(records, facts.device),
        refused=sum(record.refused for record in records),
        history=hypervolume_shares(costs, reference_point(costs)) if records else (),
        finalists=finalists,
        baselines=baselines,
        table=_table_facts(drawing.table, facts),
        notes=(
            *drawing.notes,
            *_changes(front["models"], drawing),
            *_missing(run, front["models"]),
        ),
        verified=tuple(verified),
        warnings=tuple(warnings),
    )


@dataclass(frozen=True)
class _Drawing:
    """What is needed to draw stacks, as far as it is still there."""

    facts: RunFacts
    space: SearchSpace | None
    table: LatencyTable | None
    notes: tuple[str, ...]


def _find_sources(
    run: RunFolder, content: Mapping[str, Any], facts: RunFacts
) -> tuple[SearchSpace | None, LatencyTable | None, tuple[str, ...]]:
    space, table = None, None
    notes = []
    try:
        space = load_space(run.space if run.space.exists() else content["settings"]["space"])
    except InputError as error:
        notes.append(f"The architectures are not drawn: {error}")
    try:
        table = load_table(facts.device)
    except InputError as error:
        notes.append(f"The latency table {facts.table} is not shown: {error}")
    return space, table, tuple(notes)


def _facts(run: RunFolder, content: Mapping[str, Any]) -> RunFacts:
    settings, device, data = content["settings"], content["device"], content["data"]
    fastest_ms, slowest_ms = content["latency_range_ms"]
    steps = content["work"]["supernet_steps"]
    return RunFacts(
        device=settings["device"],
        table=device["name"],
        provenance=device["provenance"],
        precision=device["precision"],
        budget=format_latency_ms(content["budget_ms"]),
        budget_ms=content["budget_ms"],
        space=content["space"],
        plan=content["plan"],
        data=data["name"],
        classes=_class_names(run, data["classes"]),
        train_images=data["train"],
        validation_images=data["validation"],
        test_images=data["test"],
        seed=settings["seed"],
        sampler=settings["sampler"],
        supernet=settings["supernet"] or f"{steps:,} training steps",
        finetune_steps=content["work"]["finetune_steps"],
        fastest_ms=fastest_ms,
        slowest_ms=slowest_ms,
        started=content["started"],
        versions=tuple(content["versions"].items()),
    )


def _class_names(run: RunFolder, number: int) -> tuple[str, ...]:
    """From `data.json`; numbers where that is gone."""
    try:
        content = json.loads((run.path / "data.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return tuple(str(index) for index in range(number))
    return tuple(str(name) for name in content["classes"])


def _fastest_first(entries: Sequence[dict[str, Any]], device: str) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: entry["latency_ms"][device]["predicted"])


def _trials(records: Sequence[TrialRecord], device: str) -> tuple[TrialPoint, ...]:
    on_front = non_dominated(trial_costs(records))
    return tuple(
        TrialPoint(
            record.number,
            record.id,
            record.accuracy,
            _latency(record.latency_ms[device]),
            record.origin,
            bool(front),
        )
        for record, front in zip(records, on_front, strict=True)
    )


def _model(
    entry: Mapping[str, Any],
    rank: int,
    drawing: _Drawing,
    *,
    recommended: bool = False,
    finalists: Sequence[FinishedModel] = (),
) -> FinishedModel:
    baseline = "width" in entry
    latency = _latency(entry["latency_ms"][drawing.facts.device])
    validation = _accuracy(entry["validation_accuracy"])
    return FinishedModel(
        id=entry["id"],
        rank=rank,
        resolution=entry["architecture"]["resolution"],
        width=float(entry["width"]) if baseline else None,
        validation=validation,
        test=_accuracy(entry["accuracy"]),
        latency=latency,
        params=entry["params"],
        macs=entry["macs"],
        size_bytes=entry["size_bytes"],
        peak_memory_bytes=entry["peak_memory_bytes"],
        file=None if baseline else entry["files"]["onnx"],
        dominated=entry.get("dominated", False),
        recommended=recommended,
        stack=_stack(entry["architecture"], drawing),
        gain=_gain(validation.value, latency.predicted_ms, finalists),
        measured=_measured(entry["latency_ms"][drawing.facts.device]),
    )


def _gain(accuracy: float, latency_ms: float, finalists: Sequence[FinishedModel]) -> float | None:
    no_slower = [m for m in finalists if m.latency.predicted_ms <= latency_ms * (1 + 1e-9)]
    return max((m.validation.value - accuracy for m in no_slower), default=None)


def _accuracy(value: Mapping[str, Any]) -> Accuracy:
    lower, upper = value["interval"]
    return Accuracy(value["value"], lower, upper, value["images"])


def _latency(value: Mapping[str, Any]) -> Latency:
    return Latency(value["predicted"], value["lower"], value["upper"], value["provenance"])


def _measured(value: Mapping[str, Any]) -> Measured | None:
    if "measured" not in value:
        return None
    found = value["measured"]
    return Measured(found["latency_ms"], found["spread_ms"], found["p95_ms"], found["over_budget"])


def _stack(architecture: dict[str, Any], drawing: _Drawing) -> tuple[StackBlock, ...]:
    if drawing.space is None:
        return ()
    try:
        found = drawing.space.from_json(architecture)
    except InputError:  # said once, by _changes
        return ()
    network = drawing.space.network(found, len(drawing.facts.classes))
    return make_stack(network, drawing.table)


def _changes(entries: Sequence[dict[str, Any]], drawing: _Drawing) -> list[str]:
    """Whether space and table still are what the search used, told by the first finalist."""
    space, table, facts = drawing.space, drawing.table, drawing.facts
    if space is None or not entries:
        return []
    try:
        architecture = space.from_json(entries[0]["architecture"])
    except InputError as error:
        return [f"The search space {facts.space} has changed since the search: {error}"]
    if table is None:
        return []
    changed = (
        f"The latency table {table.name} has changed since the search: the latencies here are "
        "those of the search, block shares and certificate are of the table as it is now."
    )
    try:
        now = Predictor(table, space, facts.plan, len(facts.classes)).architecture(architecture)
    except InputError:
        return [changed]
    before_ms = entries[0]["latency_ms"][facts.device]["predicted"]
    return [changed] if abs(now.predicted_ms - before_ms) > CHANGED * before_ms else []


def _missing(run: RunFolder, entries: Sequence[dict[str, Any]]) -> list[str]:
    """What of the run's files is gone."""
    files = [run.journal, *(run.path / str(entry["files"]["onnx"]) for entry in entries)]
    gone = ", ".join(file.name for file in files if not file.is_file())
    return [f"Gone from the run's folder, so not shown or not usable: {gone}"] if gone else []


def _table_facts(table: LatencyTable | None, facts: RunFacts) -> TableFacts | None:
    if table is None:
        return None
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
        calibrations=tuple(table.calibrations(facts.space, facts.plan, facts.precision)),
        families=device.certificate,
        roofline=device.roofline,
    )
