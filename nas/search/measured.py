"""Measured latencies beside the predicted ones: what `front.json` holds, counted and said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.units import format_latency_ms


@dataclass(frozen=True)
class MeasuredModel:
    """A model that was timed as a whole.

    Attributes:
        id: Of the architecture.
        latency_ms: While nothing disturbed, batch 1.
        predicted_ms: By the table.
        over_budget: It took longer than the budget of the run.
        over_upper: It took longer than the upper bound of its prediction.
    """

    id: str
    latency_ms: float
    predicted_ms: float
    over_budget: bool
    over_upper: bool

    @property
    def deviation(self) -> float:
        """From the prediction, as a share of it; above zero where the model was slower."""
        return self.latency_ms / self.predicted_ms - 1


def measured_models(models: Iterable[Mapping[str, Any]], device: str) -> list[MeasuredModel]:
    """Those models of `front.json` that were measured on a device, in its order."""
    found = []
    for model in models:
        latency = model["latency_ms"][device]
        if "measured" in latency:
            measured = latency["measured"]
            over = bool(measured["over_budget"]), bool(measured["over_upper"])
            numbers = measured["latency_ms"], latency["predicted"]
            found.append(MeasuredModel(model["id"], *numbers, *over))
    return found


def say_measured(
    models: Sequence[Mapping[str, Any]], budgets: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """What the measurements say, in plain sentences.

    Args:
        models: Of `front.json`.
        budgets: With their units, by device as it was typed.

    Returns:
        What is always said, and warnings. Both are empty where nothing was measured.
    """
    said = [_say_device(models, device, budget) for device, budget in budgets.items()]
    return [line for lines, _ in said for line in lines], [w for _, more in said for w in more]


def _say_device(
    models: Sequence[Mapping[str, Any]], device: str, budget: str
) -> tuple[list[str], list[str]]:
    found = measured_models(models, device)
    if not found:
        return [], []
    [facts, *_] = [m["latency_ms"][device] for m in models if "measured" in m["latency_ms"][device]]
    lines = [f"{_place(facts['measured'])}: {_result(found, budget)}"]
    return lines, [*_over_budget(found, budget), *_elsewhere(facts["measured"])]


def _place(measured: Mapping[str, Any]) -> str:
    threads = measured["threads"]
    return (
        f"Measured as whole models on {measured['machine']} with {measured['runtime']} "
        f"{measured['runtime_version']}, {threads} thread{'s' if threads > 1 else ''}, on "
        f"{measured['date']}"
    )


def _result(found: Sequence[MeasuredModel], budget: str) -> str:
    holding = sum(not model.over_budget for model in found)
    furthest = max(found, key=lambda model: abs(model.deviation))
    over = [model.id for model in found if model.over_upper]
    which = f" ({', '.join(over)})" if over else ""
    return (
        f"{holding} of {len(found)} hold the budget of {budget}; largest deviation from the "
        f"prediction {100 * furthest.deviation:+.1f} % ({furthest.id}); over their upper bound: "
        f"{len(over)}{which}."
    )


def _over_budget(found: Sequence[MeasuredModel], budget: str) -> list[str]:
    over = [f"{m.id} ({format_latency_ms(m.latency_ms)})" for m in found if m.over_budget]
    return [f"OVER THE BUDGET of {budget} when measured: {', '.join(over)}"] if over else []


def _elsewhere(measured: Mapping[str, Any]) -> list[str]:
    """Measurements of something else are not compared in silence."""
    other = [
        what
        for what, same in (
            ("processor or power mode", measured["same_machine"]),
            ("version of the runtime", measured["same_runtime"]),
        )
        if not same
    ]
    if not other:
        return []
    return [
        f"The measurements are of another {' and another '.join(other)} than the table: they say "
        "how fast the models are there, not how good the table is."
    ]
