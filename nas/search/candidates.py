"""Architectures that meet the limits: the ends of the range, and repair of the others."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np

from nas.errors import BudgetError, OptionError
from nas.latency.predict import Predictor
from nas.search.costing import Costing
from nas.search.goals import Front, Goal
from nas.space import sample as sampling
from nas.space.architecture import Architecture
from nas.space.space import SearchSpace
from nas.units import format_latency_ms

REPAIR_STEPS = 400
SAMPLES_FOR_SUGGESTION = 200
DRAWN = 7
"""Tells the generator of random architectures from others of the same seed."""
Measure = Callable[[Architecture], float]


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

    def upper_ms(architecture: Architecture) -> float:
        return predictor.architecture(architecture).upper_ms

    space, plan = predictor.space, predictor.plan
    fastest, fastest_ms = _descend(space, sampling.smallest(space, plan), upper_ms)
    slowest, negative = _descend(space, sampling.largest(space, plan), lambda a: -upper_ms(a))
    return Range(fastest, fastest_ms, slowest, -negative)


def _descend(
    space: SearchSpace, start: Architecture, measure: Measure
) -> tuple[Architecture, float]:
    """The architecture of the lowest measure that changes of single choices lead to."""
    genome = sampling.to_genome(space, start)
    best, lowest = start, measure(start)
    improved = True
    while improved:
        improved = False
        for dimension in space.dimensions(start.plan):
            for choice in dimension.choices:
                changed = {**genome, dimension.name: choice}
                found = sampling.from_genome(space, start.plan, changed)
                value = measure(found)
                if value < lowest - 1e-12:
                    genome, best, lowest, improved = changed, found, value, True
    return best, lowest


@dataclass(frozen=True)
class Start:
    """Where a search begins.

    Attributes:
        insides: For each front an architecture that meets all limits through all of its segments:
            the fastest, where there is one device.
        ranges: Of each device.
        advice: What to say where a budget binds nothing.
    """

    insides: tuple[Architecture, ...]
    ranges: dict[str, Range]
    advice: list[str]

    @property
    def inside(self) -> Architecture:
        """That of the first front."""
        return self.insides[0]


def check_limits(costing: Costing, seed: int) -> Start:
    """Find out whether the limits can be met, each by itself and all together.

    Raises:
        BudgetError: They cannot.
        OptionError: A cost is not known on a device.
    """
    ranges, advice = {}, []
    for goal in costing.goals.every:
        if goal.kind == "latency" and goal.device and goal.limit:
            predictor, several = costing.predictors[goal.device], len(costing.predictors) > 1
            option = f"--device {goal.device}=" if several else "--budget "
            found = check_budget(predictor, goal.limit, seed, option, goal.on_expected)
            ranges[goal.device], said = found
            advice += [said] if said else []
        else:
            _check_goal(costing, goal)
    ends = [found.fastest for found in ranges.values()]
    insides = tuple(_find_inside(costing, front, ends) for front in costing.goals.fronts)
    return Start(insides, ranges, advice)


def _find_inside(costing: Costing, front: Front, ends: Sequence[Architecture]) -> Architecture:
    """The architecture that is furthest within the limits of a front.

    Raises:
        BudgetError: None meets them all.
    """

    def strain(architecture: Architecture) -> float:
        return front.strain(costing.looked_up(architecture))

    found = [_descend(costing.space, end, strain) for end in ends]
    nearest, lowest = min(found, key=lambda pair: pair[1])
    if lowest > 1:
        raise _not_together(costing, front, nearest)
    return nearest


def _check_goal(costing: Costing, goal: Goal) -> None:
    """A limit that nothing meets by itself, or a cost that the table does not know."""
    space, plan = costing.space, costing.plan
    start = sampling.smallest(space, plan)
    least, lowest = _descend(space, start, lambda a: goal.bound(costing.looked_up(a)))
    if not np.isfinite(lowest):
        raise OptionError(
            f"the latency table of {goal.device} does not know the energy of every block",
            got=f"{goal.kind} as an objective or limit",
            allowed="a table that was profiled with the board's meter (energy_mj in its rows)",
            do=f"leave {goal.kind} out",
        )
    if goal.limit is not None and lowest > goal.limit:
        least_of_all, limit = _apart(goal.format, lowest, goal.limit)
        raise BudgetError(
            f"no architecture of {space.name} ({plan} plan) meets the limit on {goal.words}",
            got=limit,
            allowed=f"at least {least_of_all}, the upper bound of {least.id}",
            do=f"--max-{goal.kind} {_round_up(lowest, goal)}, or another --space",
        )


def _round_up(lowest: float, goal: Goal) -> str:
    """A limit that the least architecture meets, as it is typed."""
    unit = {"energy": "mJ", "macs": ""}.get(goal.kind, "B")
    return f"{_digits_up(lowest)}{unit}"


def _not_together(costing: Costing, front: Front, nearest: Architecture) -> BudgetError:
    costs = costing.looked_up(nearest)
    limited = [(goal, goal.limit) for goal in front.goals if goal.limit is not None]
    broken = []
    for goal, limit in limited:
        if goal.strain(costs) > 1:
            reached, allowed = _apart(goal.format, goal.bound(costs), limit)
            broken.append(f"{goal.words} {reached} (limit {allowed})")
    return BudgetError(
        f"no architecture of {costing.space.name} ({costing.plan} plan) was found that meets all "
        "limits at once",
        got=", ".join(f"{goal.words} {goal.format(limit)}" for goal, limit in limited),
        allowed=f"the nearest is {nearest.id}: {', '.join(broken)}",
        do="a higher limit there, or another --space",
    )


def check_budget(
    predictor: Predictor,
    budget_ms: float,
    seed: int,
    option: str = "--budget ",
    on_expected: bool = False,
) -> tuple[Range, str | None]:
    """The range of latencies, and what to say where the budget binds nothing.

    Args:
        predictor: Of the device.
        budget_ms: Its budget.
        seed: Of the samples that a better budget is found by.
        option: With which a budget is typed.
        on_expected: Whether it holds what is expected on average.

    Raises:
        BudgetError: Nothing in the space meets the budget.
    """
    found = latency_range(predictor)
    device, provenance = predictor.table.name, predictor.table.provenance
    if found.fastest_ms > budget_ms:
        fastest, budget = _apart(format_latency_ms, found.fastest_ms, budget_ms)
        through_all = (
            " through all of its segments, as one has to also with --budget-on expected"
            if on_expected and predictor.space.may_exit
            else ""
        )
        raise BudgetError(
            f"no architecture of {predictor.space.name} ({predictor.plan} plan) meets the budget "
            f"on {device}{through_all}",
            got=budget,
            allowed=f"at least {fastest}, the upper bound of the "
            f"fastest architecture {found.fastest.id} ({provenance})",
            do=f"{option}{_digits_up(found.fastest_ms)}ms, or another --space",
        )
    if found.slowest_ms > budget_ms:
        return found, None
    rng = np.random.default_rng(seed)
    samples = [
        predictor.architecture(sampling.sample(predictor.space, predictor.plan, rng)).upper_ms
        for _ in range(SAMPLES_FOR_SUGGESTION)
    ]
    on = "" if option == "--budget " else f" on {device}"
    return found, (
        f"The budget of {format_latency_ms(budget_ms)}{on} binds nothing: even the slowest "
        f"architecture, {found.slowest.id}, has an upper bound of "
        f"{format_latency_ms(found.slowest_ms)} ({provenance}). A budget that halves the space: "
        f"{option}{_digits_up(float(np.median(samples)))}ms"
    )


def repair(
    space: SearchSpace,
    strain: Measure,
    start: Architecture,
    inside: Architecture,
    taken: Container[str],
    rng: np.random.Generator,
) -> Architecture | None:
    """The architecture itself, or a mutation of it that meets the limits and is not taken.

    Steps towards the limits are kept only where they lower the strain; once within them, any step
    that stays there is. Half-way it starts again from one that is within them.

    Args:
        space: The search space.
        strain: How near the limits are: above 1 where one is broken.
        start: What was proposed.
        inside: An architecture within the limits.
        taken: Ids that are not to be returned.
        rng: Generator.

    Returns:
        `None` where no architecture was found.
    """
    current, strained = start, strain(start)
    for step in range(REPAIR_STEPS):
        if strained <= 1 and current.id not in taken:
            return current
        if step == REPAIR_STEPS // 2:
            current, strained = inside, strain(inside)
        changed = sampling.mutate(space, current, rng)
        value = strain(changed)
        if value <= max(1.0, strained):
            current, strained = changed, value
    return None


def _apart(write: Callable[[float], str], *values: float) -> list[str]:
    """Values with their unit; with all their digits where they would look the same."""
    told = [write(value) for value in values]
    if len(set(told)) == len(set(values)):
        return told
    return [f"{text} ({value:.9g})" for text, value in zip(told, values, strict=True)]


def _digits_up(value: float) -> str:
    """Two or three digits that are not below the value."""
    digits = max(0, 2 - int(np.floor(np.log10(value))))
    return f"{np.ceil(value * 10**digits) / 10**digits:.12g}"


def random_architectures(
    costing: Costing, start: Start, number: int, seed: int
) -> list[Architecture]:
    """Distinct ones within the limits; fewer where no more are found, more begin with the same."""
    rng = np.random.default_rng([seed, DRAWN])
    found: dict[str, Architecture] = {}
    while len(found) < number:
        drawn = sampling.sample(costing.space, costing.plan, rng)
        another = repair(costing.space, costing.strain, drawn, start.inside, found, rng)
        if another is None:
            break
        found[another.id] = another
    return list(found.values())
