"""What architectures cost: one at a time for trials, rows of them for the sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from nas.export.size import HEADER_BYTES, file_bytes, placed_file_bytes
from nas.latency.batch import BatchPredictor
from nas.latency.predict import Prediction, Predictor, sum_of_energies
from nas.search.goals import Costs, Front, Goal, Goals
from nas.search.samplers.domain import Mask
from nas.space.architecture import Architecture, Network, Placed, stage_of
from nas.space.blocks import BlockKey
from nas.space.choices import ChoiceRows, Rows
from nas.space.codes import Codes
from nas.space.gather import Values, gather, make_steps
from nas.space.memory import peak_activation_bytes, placed_peak_bytes
from nas.space.space import SearchSpace


@dataclass(frozen=True)
class Costing:
    """Costs of the architectures of a space in one plan.

    Attributes:
        predictors: Of the latency, by device as it was typed; all of one space, plan and classes.
        goals: What is minimised and limited.
        metadata_bytes: Of the texts that go into an exported file.
        staying: Share of the images that reach the exit of a stage, by its number, and do not leave
            there, as far as that is known; until it is, all of them stay.
    """

    predictors: Mapping[str, Predictor]
    goals: Goals
    metadata_bytes: int
    staying: Mapping[int, float] = field(default_factory=dict)

    @property
    def first(self) -> Predictor:
        """Of the first device."""
        return next(iter(self.predictors.values()))

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.first.space

    @property
    def plan(self) -> str:
        """Its input plan."""
        return self.first.plan

    @property
    def classes(self) -> int:
        """Outputs of the classifier."""
        return self.first.classes

    def costs(self, architecture: Architecture) -> dict[str, Any]:
        """Everything that is known of an architecture without training it."""
        found = self.looked_up(architecture)
        return {field: found[field] for field in FIELDS}

    def looked_up(self, architecture: Architecture) -> Costs:
        """The same, each cost worked out when it is read."""
        return _Costs(self, self.space.network(architecture, self.classes))

    def strain(self, architecture: Architecture) -> float:
        """How near the limits are: above 1 where one is broken."""
        return self.goals.strain(self.looked_up(architecture))

    def batch(self) -> BatchCosting:
        """The same for rows of choices."""
        return BatchCosting(self)


class _Costs(dict[str, Any]):
    """Costs of a network, each worked out when it is read for the first time."""

    def __init__(self, costing: Costing, network: Network) -> None:
        self._costing, self._network = costing, network

    def __missing__(self, field: str) -> Any:
        self[field] = FIELDS[field](self._costing, self._network)
        return self[field]


def _latencies(costing: Costing, network: Network) -> dict[str, Any]:
    """With exits, the expected latencies are what is known before the network is scored."""
    shares = expected_shares(network, costing.staying)
    return {
        device: latency_json(predictor.until_exits(network), shares)
        for device, predictor in costing.predictors.items()
    }


def expected_shares(network: Network, staying: Mapping[int, float]) -> list[float]:
    """Share of the images that leave at each exit and at the end, of a network not yet scored."""
    left, shares = 1.0, []
    for segment in network.segments[:-1]:
        stays = left * staying.get(stage_of(segment.exit[0]), 1.0)
        shares.append(left - stays)
        left = stays
    return [*shares, left]


def _energies(costing: Costing, network: Network) -> dict[str, float]:
    """Of the devices that know them."""
    blocks = [block for _, block in network.blocks]
    found = {
        device: sum_of_energies(predictor.table.rows, blocks, predictor.table.device.precision)
        for device, predictor in costing.predictors.items()
    }
    return {device: value for device, value in found.items() if value is not None}


FIELDS: dict[str, Callable[[Costing, Network], Any]] = {
    "latency_ms": _latencies,
    "energy_mj": _energies,
    "params": lambda _, network: network.cost.params,
    "macs": lambda _, network: network.cost.macs,
    "size_bytes": lambda costing, network: file_bytes(network, costing.metadata_bytes),
    "peak_memory_bytes": lambda _, network: peak_activation_bytes(network),
}
"""How each cost of a model is worked out."""


def latency_json(until: Sequence[Prediction], shares: Sequence[float]) -> dict[str, Any]:
    """For trials and `front.json`: of an inference through all of a network.

    With exits, what is expected on average stands beside it.

    Args:
        until: Of an inference that leaves at each exit and at the end.
        shares: Of the images that leave there.
    """
    whole = until[-1]
    found: dict[str, Any] = {
        "predicted": whole.predicted_ms,
        "lower": whole.lower_ms,
        "upper": whole.upper_ms,
        "provenance": whole.provenance,
    }
    if len(until) == 1:
        return found
    each = [{"predicted": p.predicted_ms, "lower": p.lower_ms, "upper": p.upper_ms} for p in until]
    return with_shares({**found, "until_exits": each}, shares)


def with_shares(latency: Mapping[str, Any], shares: Sequence[float]) -> dict[str, Any]:
    """The same for other shares of images; nothing changes for a network without exits."""
    if "until_exits" not in latency:
        return dict(latency)
    expected = {
        name: float(np.dot([each[name] for each in latency["until_exits"]], shares))
        for name in ("predicted", "lower", "upper")
    }
    return {**latency, "expected": expected}


class BatchCosting:
    """Objectives and limits of rows of choices, as a sampler's domain wants them."""

    def __init__(self, costing: Costing) -> None:
        self._costing = costing
        self._rows = ChoiceRows(costing.space, costing.plan)
        self._gathered = {goal: self._gatherer(goal) for goal in costing.goals.every}

    def __call__(self, canonical: Rows) -> tuple[Values, Mask]:
        """Objectives after the error, `N x C`, and which rows each front may have, `N x F`."""
        codes = self._rows.pack(canonical)
        goals = self._costing.goals
        found = {goal: gathered(codes) for goal, gathered in self._gathered.items()}
        values = [found[goal][0] for goal in goals.minimised]
        within = [_within(front, found, len(codes)) for front in goals.fronts]
        return np.stack(values, axis=1), np.stack(within, axis=1)

    def _gatherer(self, goal: Goal) -> Callable[[Codes], tuple[Values, Values]]:
        """A function from codes to values and to what is held against the limit."""
        costing = self._costing
        if goal.kind == "latency":
            assert goal.device is not None
            predictor = costing.predictors[goal.device]
            worst = BatchPredictor(predictor)
            expected = BatchPredictor(predictor, costing.staying) if costing.staying else worst
            held = expected if goal.on_expected else worst

            def latency(codes: Codes) -> tuple[Values, Values]:
                found = expected.predict(codes)
                bound = found if held is expected else held.predict(codes)
                return found.predicted_ms, bound.upper_ms

            return latency
        measure, combine = self._measure(goal)
        steps = make_steps(self._rows.book, costing.classes, measure, combine)
        constant = HEADER_BYTES + costing.metadata_bytes if goal.kind == "size" else 0

        def other(codes: Codes) -> tuple[Values, Values]:
            found = gather(steps, codes, combine)[:, 0] + constant
            return found, found

        return other

    def _measure(
        self, goal: Goal
    ) -> tuple[Callable[[Sequence[Placed], int], list[float]], np.ufunc]:
        """What blocks add to a cost, and how they are put together."""
        if goal.kind == "memory":

            def peak(blocks: Sequence[Placed], _: int) -> list[float]:
                return [float(max(map(placed_peak_bytes, blocks), default=0))]

            return peak, np.maximum
        block_cost = self._block_cost(goal)

        def total(blocks: Sequence[Placed], _: int) -> list[float]:
            return [float(sum(map(block_cost, blocks)))]

        return total, np.add

    def _block_cost(self, goal: Goal) -> Callable[[Placed], float]:
        if goal.kind == "size":
            return partial(placed_file_bytes, metadata_bytes=self._costing.metadata_bytes)
        if goal.kind == "macs":
            return lambda placed: placed[1].cost.macs
        assert goal.kind == "energy" and goal.device is not None
        table = self._costing.predictors[goal.device].table

        def energy(placed: Placed) -> float:
            row = table.rows.get(BlockKey(placed[1], table.device.precision))
            return np.nan if row is None or row.energy_mj is None else row.energy_mj

        return energy


def _within(front: Front, found: Mapping[Goal, tuple[Values, Values]], rows: int) -> Mask:
    inside = np.ones(rows, bool)
    for goal in front.goals:
        if goal.limit is not None:
            inside &= found[goal][1] <= goal.limit
    return inside
