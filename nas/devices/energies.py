"""Energies of blocks in a table: one meter for all of them, or none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nas.devices.bundle import Result
from nas.devices.calibrate import rounded
from nas.devices.plan import Plan
from nas.latency.predict import sum_of_energies
from nas.latency.table import Row
from nas.space.blocks import BlockKey

METER, ENERGY_ERROR = "energy_meter", "energy_sum_mape"
Facts = dict[str, str | int | float | None]


def energies_of(plan: Plan, result: Result) -> tuple[dict[str, float], Facts]:
    """Millijoules of measured items, and what the table's provenance says of them.

    None where rows that stay have those of another meter.
    """
    stay = any(row.energy_mj is not None for row in plan.kept.values())
    machine = plan.existing.device.provenance.machine if plan.existing and stay else {}
    old = {name: machine[name] for name in (METER, ENERGY_ERROR) if name in machine}
    if result.meter is None or old.get(METER, result.meter) != result.meter:
        return {}, old
    return result.energies, {**old, METER: result.meter}


def energy_error(plan: Plan, rows: Mapping[BlockKey, Row], energies: Mapping[str, float]) -> Facts:
    """How far sums of blocks are from whole models, mean of the relative differences."""
    differences = []
    for index, model in enumerate(plan.models):
        total = sum_of_energies(rows, [b for _, b in model.blocks], plan.settings.precision)
        if total is not None and f"model {index}" in energies:
            differences.append(abs(total / energies[f"model {index}"] - 1))
    return {ENERGY_ERROR: rounded(float(np.mean(differences)))} if differences else {}
