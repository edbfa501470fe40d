"""`nas profile`: from a device and a space to a latency table with a certificate.

Blocks and whole models are timed together, in several rounds of random order, so that slow drift of
the machine touches both alike. Of 190 whole models, sixty calibrate the sum of blocks, a hundred
set the bound, thirty make the certificate (fewer where a space has fewer).
"""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.devices.agent.session import TOLERANCE
from nas.devices.agent.timing import Timing
from nas.devices.bundle import SMALL, Job, Result, read_result, write_bundle
from nas.devices.calibrate import calibrate, rounded
from nas.devices.energies import Facts, energies_of, energy_error
from nas.devices.lines import Progress
from nas.devices.measure import model_latencies, settled_latency, spread
from nas.devices.plan import Plan, ProfileSettings, check_name, make_plan, with_more_blocks
from nas.devices.relative import Relative, calibrate_like, scaled_terms, transfer
from nas.devices.result_file import read_content
from nas.devices.targets import hardware_of, threads_of
from nas.devices.transports import Transport
from nas.errors import MeasurementError, ResultError, TableError
from nas.files import atomic_path
from nas.latency.device_file import (
    Calibration,
    DeviceFile,
    ExportSection,
    Interpolation,
    Provenance,
    SessionFacts,
)
from nas.latency.predict import BlockSums
from nas.latency.regression import BlockRegression, fit_blocks
from nas.latency.table import LatencyTable, Row, read_table, write_table
from nas.space.architecture import Network
from nas.space.blocks import Block, BlockKey

Rows = dict[BlockKey, Row]


def profile(
    settings: ProfileSettings,
    transport: Transport,
    out: Path,
    progress: Progress = lambda *_: None,
) -> LatencyTable:
    """Measure a device and write its table to `out / settings.name`.

    Finished measurements are kept on the device until the table is written: the same call
    continues where a stopped one was. An existing table of the same device is extended. Where too
    few blocks were measured to interpolate the others, more are.

    Args:
        settings: What to profile.
        transport: The way to the device.
        out: Folder that holds tables.
        progress: Called with the number of finished and of all timings.

    Raises:
        OptionError: `settings.name` cannot be a device's name.
        TableError: `out / settings.name` holds a table of another device or runtime.
        MeasurementError: The runtime refuses a model, or the device is lost or never quiet.
    """
    check_name(settings.name)
    facts = transport.describe(settings.runtime)
    version = facts["runtime"]["version"]
    plan = make_plan(settings, out, version)
    if plan.existing is not None:
        _check_same(plan, facts["machine"], version)
    work = work_folder(settings, out)
    try:
        part, result = _gather(plan, lambda job: run_job(job, transport, work, progress))
    except UnlikeError:
        shutil.rmtree(work)
        raise
    assert result is not None
    table = finish(part, result, out)
    shutil.rmtree(work)
    return table


def carried(plan: Plan, path: Path, out: Path) -> LatencyTable:
    """The table that a result makes which was carried here, with those carried before.

    Args:
        plan: Of the whole profile.
        path: The result of the job that `so_far` names.
        out: Folder that holds tables.

    Raises:
        ResultError: It is not that result.
        TableError: The table that is extended is of another device or runtime.
        MeasurementError: More has to be measured to interpolate the rest; the result is kept.
    """
    work, carried_id = work_folder(plan.settings, out), read_content(path)["job"]
    ids: list[str] = []

    def find(job: Job) -> Result | None:
        ids.append(job_id_of(job))
        if ids[-1] != carried_id:
            return _kept_result(job, work)
        result = read_result(path, job, carried_id)
        _check_device(plan, result)
        return result

    part, result = _gather(plan, find)
    if carried_id not in ids:
        raise ResultError(
            f"{path} is the result of another bundle",
            got=carried_id[:12],
            allowed=ids[-1][:12],
            do="run the bundle that the same command with --bundle writes now (options, parts that "
            "were imported and a table that is extended make another one)",
        )
    if result is None:
        with atomic_path(_kept(work, carried_id)) as temporary:
            shutil.copyfile(path, temporary)
        raise _too_few(part)
    table = finish(part, result, out)
    shutil.rmtree(work, ignore_errors=True)
    return table


def work_folder(settings: ProfileSettings, out: Path) -> Path:
    """Where finished parts of a profile lie until its table is written."""
    return out / f".{settings.name}.partial"


def so_far(plan: Plan, work: Path) -> tuple[Plan, Result | None]:
    """The results that are kept, as one, if they suffice; else none, and what to measure next.

    Returns:
        A plan with all blocks that were measured, whose job is the last, or the next.
    """
    return _gather(plan, lambda job: _kept_result(job, work))


def _gather(plan: Plan, find: Callable[[Job], Result | None]) -> tuple[Plan, Result | None]:
    """Results of one job after the other, until they suffice or one is not found."""
    result: Result | None = None
    while True:
        found = find(plan.job)
        if found is None:
            return plan, None
        result = found if result is None else _together(result, found)
        if interpolation_is_safe(plan, result):
            return plan, result
        plan = with_more_blocks(plan)


def _kept_result(job: Job, work: Path) -> Result | None:
    if not any(work.glob(_kept(work, "*").name)):  # an id takes seconds
        return None
    job_id = job_id_of(job)
    path = _kept(work, job_id)
    return read_result(path, job, job_id) if path.exists() else None


def _kept(work: Path, job_id: str) -> Path:
    return work / f"{job_id[:16]}.results.json"


def run_job(job: Job, transport: Transport, work: Path, progress: Progress) -> Result:
    """Have a job measured, if that is not done already; `work` is for the caller to remove."""
    bundle = work / "bundle.zip"
    job_id = write_bundle(bundle, job)
    result = _kept(work, job_id)
    if not result.exists():
        transport.run(bundle, job_id, result, progress)
    return read_result(result, job, job_id)


def finish(plan: Plan, result: Result, out: Path) -> LatencyTable:
    """The table that a result makes, written whole.

    Raises:
        TableError: The table that is extended is of another device or runtime.
    """
    settings = plan.settings
    _check_device(plan, result)
    rows, interpolation = _all_rows(plan, result)
    calibration = _calibration(plan, result, rows) if plan.models else None
    energies, facts = energies_of(plan, result)
    facts |= energy_error(plan, rows, energies)
    device = _device(plan, result, rows, calibration, interpolation, facts)
    write_table(LatencyTable(device, rows, out / settings.name))
    return read_table(out / settings.name)


def _too_few(part: Plan) -> MeasurementError:
    blocks = len(part.job.items)
    return MeasurementError(
        "too few blocks were measured to interpolate the others; the result is kept",
        got="measured ones that come out wrong when they are left out",
        allowed=f"nine of ten within {part.settings.quality.error:.0%}",
        do=f"the same command with --bundle: {blocks} more blocks; their result is imported "
        "likewise",
    )


def interpolation_is_safe(plan: Plan, result: Result) -> bool:
    """Whether nine of ten measured blocks are predicted well enough from the others."""
    if not plan.rest or plan.settings.like is not None:
        return True
    errors = _left_out(plan, result)
    return bool(np.quantile(errors, 0.9) <= plan.settings.quality.error)


def job_id_of(job: Job) -> str:
    """The id that the bundle of a job has."""
    with tempfile.TemporaryDirectory() as folder:
        return write_bundle(Path(folder) / "bundle.zip", job)


class UnlikeError(MeasurementError):
    """Two parts of a profile do not belong together."""


def _together(first: Result, second: Result) -> Result:
    """Two sessions on one device as one: the later one's conditions, all timings and energies.

    Raises:
        UnlikeError: They are of two devices, or of one that was not as fast in the second.
    """
    if _measured_on(first) != _measured_on(second):
        raise UnlikeError(
            "two parts of a profile were measured on two machines or by two versions",
            got=_measured_on(second),
            allowed=_measured_on(first),
            do="the second part again on the machine of the first; or the first part anew",
        )
    ratio = second.references_ms[SMALL] / first.references_ms[SMALL]
    if max(ratio, 1 / ratio) > TOLERANCE:
        raise UnlikeError(
            "two parts of a profile were measured at different speeds",
            got=f"a reference that took {ratio:.2f} times as long in the second",
            allowed=f"{TOLERANCE - 1:.0%}",
            do="measure again when clock and temperature are steady",
        )
    return replace(
        second,
        repeated=first.repeated + second.repeated,
        unsettled=max(first.unsettled, second.unsettled),
        timings={**first.timings, **second.timings},
        energies={**first.energies, **second.energies},
    )


def _measured_on(result: Result) -> str:
    return f"{result.machine.get('processor', 'no processor told')}, runtime {result.version}"


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


def _all_rows(plan: Plan, result: Result) -> tuple[Rows, Interpolation | None]:
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


def _calibration(plan: Plan, result: Result, rows: Rows) -> Calibration:
    settings = plan.settings
    rounds = model_latencies(
        [result.timings[f"model {index}"] for index in range(len(plan.models))]
    )
    sums = sums_of(plan.models, rows, settings.precision)
    scope = settings.space.name, settings.plan, settings.resolutions
    if settings.like is None:
        return calibrate(*scope, sums, rounds, precision=settings.precision)
    others_calibrations = settings.like.calibrations(*scope)
    other = others_calibrations[-1]
    least = max(found.upper_factor for found in others_calibrations)
    others = [settings.like.row(block).latency_ms for block in plan.blocks]
    mine = [rows[BlockKey(block, settings.precision)].latency_ms for block in plan.blocks]
    ratio = float(np.median(np.array(mine) / np.array(others)))
    prior = scaled_terms(other.terms, ratio)
    return calibrate_like(*scope, settings.precision, prior, least, sums, rounds)


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


def _check_device(plan: Plan, result: Result) -> None:
    """Refuse to extend a table with another device's result.

    Raises:
        TableError: The table that would be extended is of another device, runtime or power mode.
    """
    if plan.existing is not None:
        _check_same(plan, result.machine, result.version)
        _check_mode(plan.existing, _mode(result.conditions["after"]))


def _check_same(plan: Plan, machine: dict[str, Any], version: str) -> None:
    """Refuse to mix measurements of two machines.

    Raises:
        TableError: The table that would be extended is of another device or runtime.
    """
    assert plan.existing is not None
    device, settings = plan.existing.device, plan.settings
    found = (device.hardware, device.runtime, device.runtime_version, device.threads)
    threads = threads_of(settings.runtime, settings.threads)
    mine = (hardware_of(settings.runtime, machine), settings.runtime, version, threads)
    if found != mine or plan.existing.provenance != "measured":
        raise TableError(
            f"{plan.existing.folder} holds a table of another device, runtime or number of threads",
            got=_told(*found),
            allowed=_told(*mine),
            do="another --device name or --out folder",
        )


def _check_mode(existing: LatencyTable, mode: str | None) -> None:
    if existing.device.mode != mode:
        raise TableError(
            f"{existing.folder} was measured in another power mode",
            got=existing.device.mode or "none told",
            allowed=mode or "none told",
            do="the mode of the table, or another --device name",
        )


def _told(hardware: str, runtime: str, version: str | None, threads: int | None) -> str:
    return f"{hardware}, {runtime} {version}" + (f", {threads} threads" if threads else "")


def _device(
    plan: Plan,
    result: Result,
    rows: Rows,
    calibration: Calibration | None,
    interpolation: Interpolation | None,
    facts: Facts,
) -> DeviceFile:
    settings = plan.settings
    old = plan.existing.device if plan.existing else None
    return DeviceFile(
        schema=1,
        name=settings.name,
        aliases=sorted({*settings.aliases, *(old.aliases if old else [])}),
        hardware=hardware_of(settings.runtime, result.machine),
        runtime=settings.runtime,
        runtime_version=result.version,
        threads=threads_of(settings.runtime, settings.threads),
        mode=_mode(result.conditions["after"]),
        precision=settings.precision,
        export=ExportSection(**asdict(plan.job.target)),
        provenance=Provenance(
            kind="measured",
            date=datetime.date.today(),
            method=_method(plan),
            machine={**result.machine, **result.conditions["after"], **facts},
        ),
        session=SessionFacts(
            references_ms={name: rounded(ms) for name, ms in result.references_ms.items()},
            repeated=result.repeated,
            unsettled=rounded(result.unsettled),
        ),
        rows=len(rows),
        interpolation=interpolation,
        calibrations=_calibrations(old.calibrations if old else [], calibration),
    )


def _method(plan: Plan) -> str:
    effort, like = plan.job.effort, plan.settings.like
    timed = (
        f"median of {effort.rounds} timings that agree within {effort.agreement - 1:.0%}, from "
        f"rounds in random order, each the lower fifth of at least {effort.min_runs} runs; what "
        "does not agree, or was timed beside a slow reference, is timed again"
    )
    if like is None and plan.existing and _has_transferred(plan.kept):
        return f"{plan.existing.device.provenance.method}; extended by: {timed}"
    if like is None:
        return timed
    return (
        f"derived from the table of {like.table.name} ({like.table.device.hardware}) with "
        f"{len(plan.blocks)} blocks and {len(plan.models)} whole models measured: {timed}"
    )


def _has_transferred(rows: Mapping[BlockKey, Row]) -> bool:
    return any(row.source == "transferred" for row in rows.values())


def _mode(conditions: dict[str, Any]) -> str | None:
    """The power mode, and on a Jetson whether its clocks are fixed."""
    mode, clocks = conditions.get("power_mode"), conditions.get("jetson_clocks")
    return f"{mode}, jetson_clocks {clocks}" if mode and clocks else mode


def _calibrations(old: list[Calibration], new: Calibration | None) -> list[Calibration]:
    """With a new one, which takes its resolutions from the old ones of the same space and plan."""
    if new is None:
        return old
    kept = []
    for found in old:
        same = (found.space, found.plan, found.precision) == (new.space, new.plan, new.precision)
        left = [r for r in found.resolutions if not (same and r in new.resolutions)]
        kept += [found.model_copy(update={"resolutions": left})] if left else []
    return [*kept, new]
