"""`nas profile`: from a device and a space to a latency table with a certificate.

Blocks and whole models are timed together, in several rounds of random order, so that slow drift of
the machine touches both alike. Of 190 whole models, sixty calibrate the sum of blocks, a hundred
set the bound, thirty make the certificate (fewer where a space has fewer).
"""

from __future__ import annotations

import datetime
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nas.devices.bundle import Job, Result, read_result
from nas.devices.calibrate import calibrate, rounded
from nas.devices.energies import Facts, energies_of, energy_error
from nas.devices.lines import Progress
from nas.devices.measure import model_latencies
from nas.devices.parts import (
    UnlikeError,
    alone,
    gather,
    job_id_of,
    kept_path,
    kept_result,
    run_job,
    work_folder,
)
from nas.devices.plan import Plan, ProfileSettings, check_name, make_plan
from nas.devices.relative import calibrate_like, scaled_terms
from nas.devices.result_file import read_content
from nas.devices.rows import Rows, all_rows, sums_of
from nas.devices.targets import hardware_of, mode_of, threads_of
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
from nas.latency.table import LatencyTable, read_table, write_table
from nas.space.blocks import BlockKey


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
        RunFolderError: Another process profiles the same device, or `out` cannot be written.
    """
    check_name(settings.name)
    facts = transport.describe(settings.runtime)
    version = facts["runtime"]["version"]
    with alone(out / settings.name):
        plan = make_plan(settings, out, version)
        if plan.existing is not None:
            _check_same(plan, facts["machine"], facts["conditions"], version)
        work = work_folder(settings, out)
        try:
            part, result = gather(plan, lambda job: run_job(job, transport, work, progress))
            assert result is not None
            table = finish(part, result, out)
        except (UnlikeError, TableError):  # what was measured would be in the way for good
            shutil.rmtree(work)
            raise
        shutil.rmtree(work)
    return table


def carried(settings: ProfileSettings, path: Path, out: Path) -> LatencyTable:
    """The table that a result makes which was carried here, with those carried before.

    Args:
        settings: Of the whole profile.
        path: The result of the job that `so_far` names.
        out: Folder that holds tables.

    Raises:
        ResultError: It is not that result.
        TableError: The table that is extended is of another device or runtime.
        MeasurementError: More has to be measured to interpolate the rest; the result is kept.
        RunFolderError: Another process profiles the same device.
    """
    with alone(out / settings.name):
        return _carried(make_plan(settings, out, None), path, out)


def _carried(plan: Plan, path: Path, out: Path) -> LatencyTable:
    work, carried_id = work_folder(plan.settings, out), read_content(path)["job"]
    ids: list[str] = []

    def find(job: Job) -> Result | None:
        ids.append(job_id_of(job))
        if ids[-1] != carried_id:
            return kept_result(job, work)
        result = read_result(path, job, carried_id)
        _check_device(plan, result)
        return result

    part, result = gather(plan, find)
    if carried_id not in ids:
        raise ResultError(
            f"{path} is the result of another bundle",
            got=carried_id[:12],
            allowed=ids[-1][:12],
            do="run the bundle that the same command with --bundle writes now (options, parts that "
            "were imported and a table that is extended make another one)",
        )
    if result is None:
        with atomic_path(kept_path(work, carried_id)) as temporary:
            shutil.copyfile(path, temporary)
        raise _too_few(part)
    table = finish(part, result, out)
    shutil.rmtree(work, ignore_errors=True)
    return table


def finish(plan: Plan, result: Result, out: Path) -> LatencyTable:
    """The table that a result makes, written whole.

    Raises:
        TableError: The table that is extended is of another device or runtime.
    """
    settings = plan.settings
    _check_device(plan, result)
    rows, interpolation = all_rows(plan, result)
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


def _check_device(plan: Plan, result: Result) -> None:
    """Refuse to extend a table with another device's result.

    Raises:
        TableError: The table that would be extended is of another device, runtime or power mode.
    """
    if plan.existing is not None:
        _check_same(plan, result.machine, result.conditions["after"], result.version)


def _check_same(
    plan: Plan, machine: dict[str, Any], conditions: dict[str, Any], version: str
) -> None:
    """Refuse to mix measurements of two machines, or of one in two power modes.

    Raises:
        TableError: The table that would be extended is of another device, runtime or power mode.
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
    mode = mode_of(conditions)
    if device.mode != mode:
        raise TableError(
            f"{plan.existing.folder} was measured in another power mode",
            got=device.mode or "none told",
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
        mode=mode_of(result.conditions["after"]),
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
        f"rounds in random order, each the lower fifth of at least {effort.fewest_runs} runs; "
        "what does not agree, or only beside a slow reference, is timed again"
    )
    if like is None:
        return _extended(plan, timed)
    return (
        f"derived from the table of {like.table.name} ({like.table.device.hardware}) with "
        f"{len(plan.blocks)} blocks and {len(plan.models)} whole models measured: {timed}"
    )


def _extended(plan: Plan, timed: str) -> str:
    """How the rows were measured that stay, and how the others."""
    if plan.existing is None or all(r.source == "interpolated" for r in plan.kept.values()):
        return timed
    before = plan.existing.device.provenance.method
    return before if before.endswith(timed) else f"{before}; extended by: {timed}"


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
