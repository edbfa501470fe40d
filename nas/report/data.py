"""Everything that a report says, read once from the run folder and the device's table."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.accuracy.score import SHORT_TRAINING
from nas.errors import InputError, RunFolderError
from nas.latency.metrics import spearman
from nas.latency.predict import Predictor
from nas.latency.table import LatencyTable, load_table
from nas.pareto import non_dominated
from nas.report.facts import read_facts
from nas.report.stacks import StackBlock, make_stack
from nas.report.values import (
    Accuracy,
    Axis,
    FinishedModel,
    FrontFacts,
    Latency,
    Measured,
    Ranking,
    ReportData,
    RunFacts,
    ShortTraining,
    TrialPoint,
)
from nas.search.choosing import trial_costs
from nas.search.folders import onnx_files
from nas.search.goals import (
    WORDINGS,
    Costs,
    Goal,
    Goals,
    bounded,
    make_goals,
)
from nas.search.measured import say_measured
from nas.search.ranked import CHECK, ranking_lines, supernet_lines
from nas.search.run_folder import RunFolder, check_finished
from nas.search.settings import SearchSettings
from nas.search.standing import front_shares, hypervolume_reference
from nas.search.study import TrialRecord, read_trials
from nas.space import SearchSpace, load_space

SCALES = {
    "latency": (1.0, "ms"), "energy": (1.0, "mJ"), "memory": (1e3, "KB"), "size": (1e6, "MB"),
    "macs": (1e6, "millions"),
}  # fmt: skip
"""What the numbers on an axis are divided by, and their unit then."""
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
    settings = SearchSettings.model_validate(content["settings"])
    goals = make_goals(settings)
    facts, notes = read_facts(run, content)
    drawing = _Drawing(facts, goals, *_find_sources(run, content, notes))
    records = read_trials(run.journal)
    fronts = _fronts(front, goals, records, content)
    finalists = tuple(
        _model(entry, rank, drawing, fronts, front["fronts"])
        for rank, entry in enumerate(_least_first(front["models"], goals), 1)
    )
    baselines = tuple(
        _model(entry, rank, drawing, fronts, finalists=finalists)
        for rank, entry in enumerate(_least_first(run.read_baselines(), goals), 1)
    )
    budgets = {device.name: device.budget for device in facts.devices}
    verified, warnings = say_measured(front["models"], {**content["settings"], "device": budgets})
    return ReportData(
        facts=facts,
        trials=_trials(records, goals, facts.on_expected),
        refused=sum(record.refused for record in records),
        axes=tuple(_axis(goal, goals, fronts) for goal in goals.minimised),
        fronts=fronts,
        finalists=finalists,
        baselines=baselines,
        notes=(
            *drawing.notes,
            *_changes(front["models"], drawing),
            *_missing(run, front["models"]),
        ),
        verified=tuple(verified),
        warnings=(*warnings, *supernet_lines(run.logged(CHECK), settings.supernet)),
        short_training=_short_training(run, content, records),
        ranking=_ranking(run, settings),
    )


def _ranking(run: RunFolder, settings: SearchSettings) -> Ranking | None:
    content = run.read_ranking()
    if content is None:
        return None
    points = [
        (model["id"], model["supernet"]["value"], model["trained"]["value"])
        for model in content["models"]
    ]
    return Ranking(tuple(ranking_lines(content, settings.supernet)), tuple(points))


def _short_training(
    run: RunFolder, content: Mapping[str, Any], records: Sequence[TrialRecord]
) -> ShortTraining | None:
    """How the best architectures of the search were scored again, if they were."""
    again = read_trials(run.journal, SHORT_TRAINING)
    if not again:
        return None
    before = {record.id: record.accuracy for record in records}
    pairs = np.array([[before[record.id], record.accuracy] for record in again])
    correlation = spearman(pairs[:, 0], pairs[:, 1])
    return ShortTraining(len(again), content["work"]["short_steps"], correlation)


@dataclass(frozen=True)
class _Drawing:
    """What is needed to draw stacks, as far as it is still there."""

    facts: RunFacts
    goals: Goals
    space: SearchSpace | None
    tables: dict[str, LatencyTable]
    notes: tuple[str, ...]


def _find_sources(
    run: RunFolder, content: Mapping[str, Any], notes: list[str]
) -> tuple[SearchSpace | None, dict[str, LatencyTable], tuple[str, ...]]:
    space = None
    found = []
    try:
        space = load_space(run.space if run.space.exists() else content["settings"]["space"])
    except InputError as error:
        found.append(f"The architectures are not drawn: {error}")
    tables = {}
    for device in content["settings"]["device"]:
        with contextlib.suppress(InputError):
            tables[device] = load_table(device)
    return space, tables, (*found, *notes)


def _axis(goal: Goal, goals: Goals, fronts: Sequence[FrontFacts]) -> Axis:
    scale, unit = SCALES[goal.kind]
    device = None if goal.device is None else goals.devices.index(goal.device)
    own = [number for number, front in enumerate(fronts) if front.device in (None, device)]
    return Axis(
        kind=goal.kind,
        words=WORDINGS[goal.kind].words,
        device=device,
        front=own[0] if own else 0,
        scale=scale,
        unit=unit,
        limit=None if goal.limit is None else goal.limit / scale,
        limit_text="" if goal.limit is None else goal.format(goal.limit),
    )


def _fronts(
    front: Mapping[str, Any],
    goals: Goals,
    records: Sequence[TrialRecord],
    content: Mapping[str, Any],
) -> tuple[FrontFacts, ...]:
    """Fronts that have a model."""
    found = []
    recommended = {entry["device"]: entry["recommended"] for entry in front["fronts"]}
    for goal_front, axes in zip(goals.fronts, goals.columns(), strict=True):
        if goal_front.device not in recommended:
            continue
        costs = trial_costs(records, goal_front)
        device = goal_front.device
        reference = hypervolume_reference(
            goal_front, content["worst_costs"], content["data"]["classes"]
        )
        found.append(
            FrontFacts(
                device=None if device is None else goals.devices.index(device),
                recommended=recommended[device],
                axes=tuple(axes),
                history=front_shares(costs, reference),
            )
        )
    return tuple(found)


def _least_first(entries: Sequence[dict[str, Any]], goals: Goals) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: goals.values(entry)[0])


def _trials(
    records: Sequence[TrialRecord], goals: Goals, on_expected: bool
) -> tuple[TrialPoint, ...]:
    on_front = np.zeros(len(records), bool)
    for front in goals.fronts:
        on_front |= non_dominated(trial_costs(records, front))
    return tuple(
        TrialPoint(
            record.number,
            record.id,
            record.accuracy,
            tuple(_latency(record.latency_ms[device], on_expected) for device in goals.devices),
            _scaled(record.costs, goals),
            record.origin,
            bool(front),
        )
        for record, front in zip(records, on_front, strict=True)
    )


def _scaled(costs: Costs, goals: Goals) -> tuple[float, ...]:
    """On each axis, in units of the figures."""
    return tuple(goal.value(costs) / SCALES[goal.kind][0] for goal in goals.minimised)


def _model(
    entry: Mapping[str, Any],
    rank: int,
    drawing: _Drawing,
    fronts: Sequence[FrontFacts],
    memberships: Sequence[Mapping[str, Any]] = (),
    finalists: Sequence[FinishedModel] = (),
) -> FinishedModel:
    baseline, goals = "width" in entry, drawing.goals
    validation = _accuracy(entry["validation_accuracy"])
    costs = _scaled(entry, goals)
    latencies = [entry["latency_ms"][device] for device in goals.devices]
    return FinishedModel(
        id=entry["id"],
        rank=rank,
        resolution=entry["architecture"]["resolution"],
        width=float(entry["width"]) if baseline else None,
        validation=validation,
        test=_accuracy(entry["accuracy"]),
        latencies=tuple(_latency(found, drawing.facts.on_expected) for found in latencies),
        costs=costs,
        params=entry["params"],
        macs=entry["macs"],
        size_bytes=entry["size_bytes"],
        peak_memory_bytes=entry["peak_memory_bytes"],
        files=() if baseline else tuple(onnx_files(entry)),
        fronts=tuple(n for n, front in enumerate(memberships) if entry["id"] in front["models"]),
        recommended=not baseline and entry["id"] in [front.recommended for front in fronts],
        stack=_stack(entry["architecture"], drawing),
        gain=_gain(validation.value, costs, finalists),
        measured=tuple(_measured(found) for found in latencies),
        leaving=tuple(entry.get("exits", {}).get("shares", ())),
    )


def _gain(
    accuracy: float, costs: Sequence[float], finalists: Sequence[FinishedModel]
) -> float | None:
    no_dearer = [
        model
        for model in finalists
        if all(m <= c * (1 + 1e-9) for m, c in zip(model.costs, costs, strict=True))
    ]
    return max((m.validation.value - accuracy for m in no_dearer), default=None)


def _accuracy(value: Mapping[str, Any]) -> Accuracy:
    lower, upper = value["interval"]
    return Accuracy(value["value"], lower, upper, value["images"])


def _latency(value: Mapping[str, Any], on_expected: bool) -> Latency:
    interval = value["predicted"], value["lower"], value["upper"]
    held_ms = bounded(value, on_expected)["upper"]
    expected_ms = value.get("expected", {}).get("predicted")
    return Latency(*interval, value["provenance"], held_ms, expected_ms)


def _measured(value: Mapping[str, Any]) -> Measured | None:
    if "measured" not in value:
        return None
    found = value["measured"]
    return Measured(
        found["latency_ms"],
        found["spread_ms"],
        found["p95_ms"],
        found["over_budget"],
        found.get("expected_ms"),
    )


def _stack(architecture: dict[str, Any], drawing: _Drawing) -> tuple[StackBlock, ...]:
    if drawing.space is None:
        return ()
    try:
        found = drawing.space.from_json(architecture)
    except InputError:  # said once, by _changes
        return ()
    network = drawing.space.network(found, len(drawing.facts.classes))
    return make_stack(network, drawing.tables.get(drawing.goals.devices[0]))


def _changes(entries: Sequence[dict[str, Any]], drawing: _Drawing) -> list[str]:
    """Whether space and tables still are what the search used, told by the first finalist."""
    space, facts = drawing.space, drawing.facts
    if space is None or not entries:
        return []
    try:
        architecture = space.from_json(entries[0]["architecture"])
    except InputError as error:
        return [f"The search space {facts.space} has changed since the search: {error}"]
    notes = []
    for device, table in drawing.tables.items():
        before_ms = entries[0]["latency_ms"][device]["predicted"]
        predictor = Predictor(table, space, facts.plan, len(facts.classes))
        try:
            now_ms = predictor.architecture(architecture).predicted_ms
        except InputError:
            now_ms = math.nan
        if not abs(now_ms - before_ms) <= CHANGED * before_ms:
            notes.append(
                f"The latency table {table.name} has changed since the search: the latencies here "
                "are those of the search, block shares and certificate are of the table as it is "
                "now."
            )
    return notes


def _missing(run: RunFolder, entries: Sequence[dict[str, Any]]) -> list[str]:
    """What of the run's files is gone."""
    files = [run.journal, *(run.path / name for entry in entries for name in onnx_files(entry))]
    gone = ", ".join(file.name for file in files if not file.is_file())
    return [f"Gone from the run's folder, so not shown or not usable: {gone}"] if gone else []
