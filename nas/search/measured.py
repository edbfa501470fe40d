"""Measured latencies beside the predicted ones: what `front.json` holds, counted and said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.search.goals import bounded, holds_expected
from nas.units import format_latency_ms


@dataclass(frozen=True)
class MeasuredModel:
    """A model that was timed as a whole.

    Attributes:
        id: Of the architecture.
        latency_ms: While nothing disturbed, batch 1; as budgets hold it: of an inference through
            all segments, or what is expected on average.
        predicted_ms: The same by the table.
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


def measured_models(
    models: Iterable[Mapping[str, Any]], device: str, on_expected: bool
) -> list[MeasuredModel]:
    """Those models of `front.json` that were measured on a device, in its order.

    Args:
        models: Of `front.json`.
        device: As it was typed.
        on_expected: Whether budgets hold what is expected on average, where there are exits.
    """
    found = []
    for model in models:
        latency = model["latency_ms"][device]
        if "measured" in latency:
            measured = latency["measured"]
            over = bool(measured["over_budget"]), bool(measured["over_upper"])
            held = usual_ms(measured) if on_expected else measured["latency_ms"]
            numbers = held, bounded(latency, on_expected)["predicted"]
            found.append(MeasuredModel(model["id"], *numbers, *over))
    return found


def usual_ms(measured: Mapping[str, Any]) -> float:
    """What a measured model takes, on average where there are exits."""
    return float(measured.get("expected_ms", measured["latency_ms"]))


def say_measured(
    models: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """What the measurements say, in plain sentences.

    Args:
        models: Of `front.json`.
        settings: Of the run, with its devices and budgets as they were typed.

    Returns:
        What is always said, and warnings. Both are empty where nothing was measured.
    """
    on_expected = holds_expected(settings)
    said = [
        _say_device(models, device, budget, on_expected)
        for device, budget in settings["device"].items()
    ]
    return [line for lines, _ in said for line in lines], [w for _, more in said for w in more]


def _say_device(
    models: Sequence[Mapping[str, Any]], device: str, budget: str, on_expected: bool
) -> tuple[list[str], list[str]]:
    found = measured_models(models, device, on_expected)
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
