"""From what was measured to the rows of a table: measured, interpolated or transferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nas.devices.agent.timing import Timing
from nas.devices.bundle import Result
from nas.devices.calibrate import rounded
from nas.devices.energies import energies_of
from nas.devices.measure import settled_latency, spread
from nas.devices.plan import Plan
from nas.devices.relative import Relative, transfer
from nas.latency.device_file import Interpolation
from nas.latency.predict import BlockSums
from nas.latency.regression import BlockRegression, fit_blocks
from nas.latency.table import Row
from nas.space.architecture import Network
from nas.space.blocks import Block, BlockKey

Rows = dict[BlockKey, Row]


def interpolation_is_safe(plan: Plan, result: Result) -> bool:
    """Whether nine of ten measured blocks are predicted well enough from the others."""
    if not plan.rest or plan.settings.like is not None:
        return True
    errors = _left_out(plan, result)
    return bool(np.quantile(errors, 0.9) <= plan.settings.quality.error)


def measured_rows(plan: Plan, result: Result) -> Rows:
    """Of what was measured, earlier and now."""
    precision = plan.settings.precision
    energies, _ = energies_of(plan, result)
    found = {}
    for block in plan.blocks:
        item = f"block {block}"
        found[BlockKey(block, precision)] = _row(result.timings[item], energies.get(item))
    return plan.known | found


def _regression(plan: Plan, result: Result) -> BlockRegression:
    """Fitted to the measured blocks of those ops of which some are to be interpolated."""
    ops = {block.op for block in plan.rest}
    rows = {k: r for k, r in measured_rows(plan, result).items() if k.block.op in ops}
    return fit_blocks([k.block for k in rows], np.array([r.latency_ms for r in rows.values()]))


def _left_out(plan: Plan, result: Result) -> np.ndarray:
    """Errors of measured blocks that were left out: of those that are needed, not of others."""
    regression, needed = _regression(plan, result), set(plan.needed)
    mine = np.array([block in needed for block in regression.blocks])
    return np.asarray(regression.errors[mine])


def all_rows(plan: Plan, result: Result) -> tuple[Rows, Interpolation | None]:
    """Kept, measured and derived rows."""
    if plan.settings.like is not None:
        return _transferred_rows(plan, plan.settings.like, result)
    rows = dict(plan.kept) | measured_rows(plan, result)
    old = plan.existing.device.interpolation if plan.existing else None
    stays = old and any(row.source != "measured" for row in plan.kept.values())
    errors = np.array([old.median_error, old.p90_error]) if old and stays else np.zeros(2)
    if plan.rest:
        derived = _interpolated(plan.rest, _regression(plan, result), plan.settings.precision)
        rows |= _with_energies(derived, measured_rows(plan, result))
        errors = np.maximum(errors, np.quantile(_left_out(plan, result), [0.5, 0.9]))
    count = sum(row.source != "measured" for row in rows.values())
    if not count:
        return rows, None
    median, p90 = (rounded(error) for error in errors)
    return rows, Interpolation(blocks=count, median_error=median, p90_error=p90)


def _transferred_rows(
    plan: Plan, like: Relative, result: Result
) -> tuple[Rows, Interpolation | None]:
    found = transfer(like, measured_rows(plan, result), plan.needed, plan.settings.precision)
    median, p90 = (rounded(q) for q in np.quantile(found.regression.errors, [0.5, 0.9]))
    count = len(found.rows) - len(plan.blocks)
    if not count:
        return found.rows, None
    return found.rows, Interpolation(blocks=count, median_error=median, p90_error=p90)


def _interpolated(blocks: Sequence[Block], regression: BlockRegression, precision: str) -> Rows:
    error = float(np.median(regression.errors))
    found = zip(blocks, regression.predict(blocks), strict=True)
    return {
        BlockKey(block, precision): Row(float(ms), error * float(ms), None, 0, "interpolated")
        for block, ms in found
    }


def _with_energies(derived: Rows, measured: Rows) -> Rows:
    """Interpolated energies too, where every measured block of those ops has one."""
    ops = {key.block.op for key in derived}
    known = {k.block: r.energy_mj for k, r in measured.items() if k.block.op in ops}
    energies = [energy_mj for energy_mj in known.values() if energy_mj is not None]
    if len(energies) < len(known):
        return derived
    regression = fit_blocks(list(known), np.array(energies))
    found = zip(derived.items(), regression.predict([k.block for k in derived]), strict=True)
    return {key: replace(row, energy_mj=float(energy)) for (key, row), energy in found}


def sums_of(
    models: Sequence[Network], rows: Mapping[BlockKey, Row], precision: str = "fp32"
) -> BlockSums:
    """What a calibration needs of whole models."""
    found = []
    for model in models:
        latencies = [rows[key].latency_ms for key in model.keys(precision)]
        found.append(BlockSums.of(latencies, [block for _, block in model.blocks]))
    return BlockSums(*(np.array(values) for values in zip(*found, strict=True)))


def _row(timings: list[Timing], energy_mj: float | None) -> Row:
    rounds = np.array([timing.latency_ms for timing in timings])
    p95_ms = float(np.median([timing.p95_ms for timing in timings]))
    runs = sum(timing.runs for timing in timings)
    return Row(float(settled_latency(rounds)), spread(rounds), p95_ms, runs, energy_mj=energy_mj)
