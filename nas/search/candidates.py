"""Architectures that meet a latency budget: the ends of the range, and repair of the others."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from nas.errors import BudgetError
from nas.latency.predict import Predictor
from nas.space import sample as sampling
from nas.space.architecture import Architecture
from nas.units import format_latency_ms

REPAIR_STEPS = 400
SAMPLES_FOR_SUGGESTION = 200


@dataclass(frozen=True)
class Range:
    """The fastest and the slowest architecture of a space on a device, by upper bound."""

    fastest: Architecture
    fastest_ms: float
    slowest: Architecture
    slowest_ms: float


def latency_range(predictor: Predictor) -> Range:
    """Coordinate search from the smallest and the largest architecture.

    Exact where a block's latency does not depend on the others' choices, which is how tables
    predict, up to the interplay of width and depth that the repeated passes cover.
    """
    ends = []
    for start, sign in ((sampling.smallest, 1.0), (sampling.largest, -1.0)):
        best = start(predictor.space, predictor.plan)
        ends.append(_descend(predictor, best, sign))
    (fastest, fastest_ms), (slowest, slowest_ms) = ends
    return Range(fastest, fastest_ms, slowest, slowest_ms)


def _descend(predictor: Predictor, start: Architecture, sign: float) -> tuple[Architecture, float]:
    space, plan = predictor.space, predictor.plan
    genome = sampling.to_genome(space, start)
    best, best_ms = start, predictor.architecture(start).upper_ms
    improved = True
    while improved:
        improved = False
        for dimension in space.dimensions(plan):
            for choice in dimension.choices:
                changed = {**genome, dimension.name: choice}
                found = sampling.from_genome(space, plan, changed)
                upper_ms = predictor.architecture(found).upper_ms
                if sign * upper_ms < sign * best_ms - 1e-12:
                    genome, best, best_ms, improved = changed, found, upper_ms, True
    return best, best_ms


def check_budget(predictor: Predictor, budget_ms: float, seed: int) -> tuple[Range, str | None]:
    """The range of latencies, and what to say where the budget binds nothing.

    Raises:
        BudgetError: Nothing in the space meets the budget.
    """
    found = latency_range(predictor)
    device, provenance = predictor.table.name, predictor.table.provenance
    if found.fastest_ms > budget_ms:
        raise BudgetError(
            f"no architecture of {predictor.space.name} ({predictor.plan} plan) meets the budget "
            f"on {device}",
            got=f"{format_latency_ms(budget_ms)}",
            allowed=f"at least {format_latency_ms(found.fastest_ms)}, the upper bound of the "
            f"fastest architecture {found.fastest.id} ({provenance})",
            do=f"--budget {_round_up(found.fastest_ms)}ms, or another --space",
        )
    if found.slowest_ms > budget_ms:
        return found, None
    rng = np.random.default_rng(seed)
    samples = [
        predictor.architecture(sampling.sample(predictor.space, predictor.plan, rng)).upper_ms
        for _ in range(SAMPLES_FOR_SUGGESTION)
    ]
    return found, (
        f"The budget of {format_latency_ms(budget_ms)} binds nothing: even the slowest "
        f"architecture, {found.slowest.id}, has an upper bound of "
        f"{format_latency_ms(found.slowest_ms)} ({provenance}). A budget that halves the space: "
        f"--budget {_round_up(float(np.median(samples)))}ms"
    )


def repair(
    predictor: Predictor,
    budget_ms: float,
    start: Architecture,
    fastest: Architecture,
    taken: Container[str],
    rng: np.random.Generator,
) -> Architecture | None:
    """The architecture itself, or a mutation of it that meets the budget and is not taken.

    Steps towards the budget are kept only where they lower the bound; once under it, any step
    that stays under it is. Half-way it starts again from the fastest architecture.

    Returns:
        `None` where no architecture was found.
    """
    current, bound = start, predictor.architecture(start)
    for step in range(REPAIR_STEPS):
        if bound.upper_ms <= budget_ms and current.id not in taken:
            return current
        if step == REPAIR_STEPS // 2:
            current, bound = fastest, predictor.architecture(fastest)
        changed = sampling.mutate(predictor.space, current, rng)
        changed_bound = predictor.architecture(changed)
        if changed_bound.upper_ms <= max(budget_ms, bound.upper_ms):
            current, bound = changed, changed_bound
    return None


def _round_up(latency_ms: float) -> str:
    """Two or three digits that are not below the value."""
    digits = max(0, 2 - int(np.floor(np.log10(latency_ms))))
    return f"{np.ceil(latency_ms * 10**digits) / 10**digits:g}"
