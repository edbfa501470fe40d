"""`nas search --verify`: the exported files themselves, timed as whole models on the device.

A finished run stays as it was until everything is measured. Finished timings are kept on the device
or in the run's folder: the same call goes on where a stopped one was.
"""

from __future__ import annotations

import datetime
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.accuracy.exits import expected_cost
from nas.devices.agent.runtimes import NAMES
from nas.devices.agent.timing import Effort, Timing
from nas.devices.bundle import Item, Job, Result
from nas.devices.calibrate import rounded
from nas.devices.lines import Progress
from nas.devices.measure import model_latencies, settled_latency, spread
from nas.devices.parts import run_job
from nas.devices.quality import few_models_effort
from nas.devices.references import beside_large, small_reference
from nas.devices.targets import in_mode, measured_on
from nas.devices.transports import Transport
from nas.devices.transports.local import Local
from nas.errors import OptionError, RunFolderError
from nas.export.graph import GraphTarget
from nas.files import disk_errors, write_json
from nas.latency.table import LatencyTable, load_table
from nas.search.folders import onnx_files
from nas.search.goals import bounded, holds_expected
from nas.search.measured import measured_models
from nas.search.run_folder import RunFolder, check_finished
from nas.space import load_space

SEED = 0
"""Of the order: the same at every call, so that a stopped one is picked up."""


@dataclass(frozen=True)
class Verifier:
    """A device that answered, and the table whose predictions it is compared with.

    Attributes:
        device: As it was typed.
        table: Its runtime and number of threads are those that are measured.
        transport: The way to the device.
        processor: What the device calls itself.
        version: Of the runtime there.
    """

    device: str
    table: LatencyTable
    transport: Transport
    hardware: str
    version: str

    @property
    def difference(self) -> str:
        """One line where the device is not what the table is of; else empty."""
        device = self.table.device
        hardware = in_mode(device.hardware, device.mode)
        if (self.hardware, self.version) == (hardware, device.runtime_version):
            return ""
        version = device.runtime_version or "of an unknown version"
        return (
            f"--verify measures on {self.hardware} with {device.runtime} {self.version}; the "
            f"{self.table.provenance} table is of {hardware} with {device.runtime} "
            f"{version}: every measurement is marked with the machine that it was made on"
        )


def find_verifier(name: str, transport: Transport) -> Verifier:
    """Ask a device whether it can measure for its table, before anything takes time.

    Args:
        name: Of the device, as it was typed for the search.
        transport: The way to it.

    Raises:
        OptionError: The table is estimated and no board is named, or its runtime cannot be
            measured.
        MeasurementError: The device cannot be reached, or has no such runtime.
    """
    table = load_table(name)
    device = table.device
    known = device.runtime in NAMES
    if table.provenance == "estimated" and isinstance(transport, Local):
        raise OptionError(
            "--verify measures on the device itself, and an estimated table is of a board, not of "
            "this machine",
            got=f"{table.name}, estimated, and neither --host nor --adb",
            allowed="a table that was measured here, or the board",
            do="--verify --host user@board" if known else _profile_first(),
        )
    if not known:
        raise OptionError(
            "--verify measures with the runtime of the table",
            got=device.runtime,
            allowed=", ".join(NAMES),
            do=_profile_first(),
        )
    told = transport.describe(device.runtime)
    found = measured_on(device.runtime, told["machine"], told["conditions"])
    return Verifier(name, table, transport, found, str(told["runtime"]["version"]))


def _profile_first() -> str:
    return (
        "nas profile --device my-board --host user@board, then nas search --device my-board "
        "--verify --host user@board"
    )


def verify_run(
    run: RunFolder,
    verifier: Verifier,
    effort: Effort | None = None,
    progress: Progress = lambda *_: None,
) -> None:
    """Time the models of a finished run and write what they took beside what was predicted.

    The report shows older measurements then: it is removed, for the caller to write it anew.

    Args:
        run: Of the verifier's device.
        verifier: From `find_verifier`.
        effort: How long each model is timed.
        progress: Called with the number of finished and of all timings.

    Raises:
        RunFolderError: The run is not finished, or a model's file is gone.
        MeasurementError: The runtime refuses a model, or the device is lost or never quiet.
        DiskFullError: No space is left; the run stays as it was.
    """
    check_finished(run)
    with run.locked():
        front = run.read_front()
        models = _within_budget(run, front["models"], verifier.device)
        effort = effort or few_models_effort(verifier.table.device.runtime)
        job = _job(run, models, verifier, effort)
        result = run_job(job, verifier.transport, run.verification, progress)
        _add(run, models, verifier, result)
        _write(run, front, verifier.device)


def _within_budget(
    run: RunFolder, models: Sequence[dict[str, Any]], device: str
) -> list[dict[str, Any]]:
    """Models for the device: all, but for a run with models for each device by itself."""
    content = run.read_run()
    budget_ms = content["devices"][device]["budget_ms"]
    expected = holds_expected(content["settings"])
    return [m for m in models if bounded(m["latency_ms"][device], expected)["upper"] <= budget_ms]


def _job(
    run: RunFolder, models: Sequence[dict[str, Any]], verifier: Verifier, effort: Effort
) -> Job:
    """The run's files, with references that belong to its space."""
    facts, device = run.read_run(), verifier.table.device
    space = load_space(run.space)
    small = small_reference(space, facts["plan"], space.plan(facts["plan"]).resolutions)
    items, sizes = [], []
    for model in models:
        for item in _items(run, model):  # a segment is a file of its own
            items.append(item)
            sizes.append(model["latency_ms"][verifier.device]["predicted"])
    large, timed = beside_large(items, sizes, device.runtime)
    target = GraphTarget(device.export.opset, device.export.ir_version, device.export.hardswish)
    references = small, *large
    return Job(
        device.name, device.runtime, device.threads or 1, effort, SEED, target, references, timed
    )


def _items(run: RunFolder, model: dict[str, Any]) -> list[Item]:
    """The model's file, or the files of its segments."""
    names = onnx_files(model)
    for name in names:
        file = run.path / name
        if not file.is_file():
            raise RunFolderError(
                f"{file} is gone, so it cannot be measured",
                do=f"delete {shlex.quote(str(run.front))}, then the same command with --resume "
                "makes it anew",
            )
    pairs = zip(_names(model), names, strict=True)
    return [Item(item, file=run.path / name) for item, name in pairs]


def _names(model: dict[str, Any]) -> list[str]:
    """As the model's timings are called."""
    number = len(onnx_files(model))
    if number == 1:
        return [f"model {model['id']}"]
    return [f"model {model['id']} segment {place}" for place in range(1, number + 1)]


def _add(
    run: RunFolder, models: Sequence[dict[str, Any]], verifier: Verifier, result: Result
) -> None:
    """`measured` into the models' entries."""
    content = run.read_run()
    budget_ms = content["devices"][verifier.device]["budget_ms"]
    on_expected = holds_expected(content["settings"])
    where = _where(verifier.table, result)
    for model in models:
        latency = model["latency_ms"][verifier.device]
        segments = [_latency(result.timings[name]) for name in _names(model)]
        found = {name: rounded(sum(each[name] for each in segments)) for name in segments[0]}
        held = found["latency_ms"]
        if "exits" in model:
            until = np.cumsum([each["latency_ms"] for each in segments])
            found["expected_ms"] = rounded(expected_cost(until.tolist(), model["exits"]["shares"]))
            if on_expected:
                held = found["expected_ms"]
        latency["measured"] = {
            **found,
            "over_budget": held > budget_ms,
            "over_upper": held > bounded(latency, on_expected)["upper"],
            **where,
        }


def _latency(timings: Sequence[Timing]) -> dict[str, float]:
    """As a row of a table: of timings that agree, with their median absolute deviation."""
    rounds = model_latencies([timings])[0]
    return {
        "latency_ms": rounded(float(settled_latency(rounds))),
        "spread_ms": rounded(spread(rounds)),
        "p95_ms": rounded(float(settled_latency(np.array([timing.p95_ms for timing in timings])))),
    }


def _where(table: LatencyTable, result: Result) -> dict[str, Any]:
    """On what it was measured, and whether that is what the table is of."""
    device = table.device
    found = measured_on(device.runtime, result.machine, result.conditions["after"])
    return {
        "machine": found,
        "same_machine": found == in_mode(device.hardware, device.mode),
        "runtime": device.runtime,
        "runtime_version": result.version,
        "same_runtime": result.version == device.runtime_version,
        "threads": device.threads or 1,
        "date": datetime.date.today().isoformat(),
    }


def _write(run: RunFolder, front: dict[str, Any], device: str) -> None:
    """Whatever is stopped here leaves whole files, and the next call writes them all."""
    with disk_errors(run.report):
        run.report.unlink(missing_ok=True)
    for model in front["models"]:
        write_json(run.path / model["files"]["json"], model)
    write_json(run.front, front)
    found = measured_models(front["models"], device, on_expected=False)
    run.log(
        "verified", device=device, models=len(found), over_budget=sum(m.over_budget for m in found)
    )
    shutil.rmtree(run.verification, ignore_errors=True)
