"""`nas profile`: from a device and a space to a latency table with a certificate.

All distinct blocks and the whole models are timed together, in several rounds of random order, so
that slow drift of the machine touches both alike. Of 170 whole models, forty calibrate the sum
of blocks, a hundred set the bound, thirty make the certificate (fewer where a space has fewer).
"""

from __future__ import annotations

import datetime
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.devices.agent.timing import Effort, Timing
from nas.devices.bundle import Item, Job, Result, read_result, write_bundle
from nas.devices.calibrate import (
    FEWEST_MODELS,
    MODELS,
    PRECISION,
    calibrate,
    rounded,
    shares,
)
from nas.devices.lines import Progress
from nas.devices.measure import NORMAL, quiet_latency, spread
from nas.devices.targets import target_of
from nas.devices.transports import Transport
from nas.errors import InputError, MeasurementError, OptionError, TableError
from nas.latency.predict import sum_of_energies
from nas.latency.table import (
    NAME_PATTERN,
    Calibration,
    DeviceFile,
    ExportSection,
    LatencyTable,
    Provenance,
    Row,
    SessionFacts,
    read_table,
    write_table,
)
from nas.space.architecture import Architecture, Network
from nas.space.blocks import Block, BlockKey
from nas.space.enumerate import distinct_blocks
from nas.space.sample import from_genome, sample, smallest, to_genome
from nas.space.space import DEFAULT_CLASSES, SearchSpace

CLASSES = (2, 10, 100, 1000)
METER, ENERGY_ERROR = "energy_meter", "energy_sum_mape"
Facts = dict[str, str | int | float | None]


@dataclass(frozen=True)
class ProfileSettings:
    """What to profile.

    Attributes:
        name: The device's name, which becomes the folder's.
        space: The search space whose blocks are measured.
        plan: Its input plan.
        resolutions: Input sizes in pixels.
        classes: Numbers of classes for which classifiers are measured.
        runtime: Name of the runtime.
        threads: Of one inference.
        seed: Of the order and of the drawn whole models.
        aliases: Short names of the device.
        effort: How long each item is timed.
    """

    name: str
    space: SearchSpace
    plan: str
    resolutions: tuple[int, ...]
    classes: tuple[int, ...] = CLASSES
    runtime: str = "onnxruntime"
    threads: int = 1
    seed: int = 0
    aliases: tuple[str, ...] = ()
    effort: Effort = NORMAL


@dataclass(frozen=True)
class Plan:
    """What a profile measures, and what it makes of it.

    Attributes:
        settings: With the resolutions that the table is already calibrated for.
        job: What the agent does.
        blocks: Those that are measured.
        models: Whole models: to fit on, for the bound, for the certificate.
        existing: The table that is extended.
    """

    settings: ProfileSettings
    job: Job
    blocks: list[Block]
    models: list[Network]
    existing: LatencyTable | None


def profile(
    settings: ProfileSettings,
    transport: Transport,
    out: Path,
    progress: Progress = lambda *_: None,
) -> LatencyTable:
    """Measure a device and write its table to `out / settings.name`.

    Finished measurements are kept on the device until the table is written: the same call
    continues where a stopped one was. An existing table of the same device is extended.

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
    plan = make_plan(settings, out, facts["runtime"]["version"])
    if plan.existing is not None:
        _check_same(plan, facts["machine"], facts["runtime"]["version"])
    work = out / f".{settings.name}.partial"
    table = finish(plan, run_job(plan.job, transport, work, progress), out)
    shutil.rmtree(work)
    return table


def run_job(job: Job, transport: Transport, work: Path, progress: Progress) -> Result:
    """Have a job measured; bundle, timings and result stay in `work` for the caller to remove."""
    bundle, result = work / "bundle.zip", work / "results.json"
    job_id = write_bundle(bundle, job)
    transport.run(bundle, job_id, result, progress)
    return read_result(result, job, job_id)


def make_plan(settings: ProfileSettings, out: Path, version: str | None) -> Plan:
    """What has to be measured for a table in `out`; `version` is the runtime's, if known.

    Raises:
        OptionError: `settings.name` cannot be a device's name.
        TableError: The table that would be extended cannot be read.
        MeasurementError: The space has too few networks.
    """
    check_name(settings.name)
    folder = out / settings.name
    existing = read_table(folder) if folder.exists() else None
    settings = _with_calibrated_resolutions(settings, existing)
    # The whole models have the plan's default number of classes.
    classes = sorted({*settings.classes, DEFAULT_CLASSES[settings.plan]})
    needed = distinct_blocks(settings.space, settings.plan, settings.resolutions, classes)
    known = existing.rows if existing else {}
    # What an earlier profile measured is kept, unless there is nothing else to do: then all is new.
    blocks = [b for b in needed if BlockKey(b, PRECISION) not in known] or needed
    models = draw_models(settings)
    items = [Item(f"block {block}", (("block", block),)) for block in blocks]
    items += [Item(f"model {index}", network.blocks) for index, network in enumerate(models)]
    job = Job(
        settings.runtime,
        settings.threads,
        settings.effort,
        settings.seed,
        target_of(settings.runtime, version),
        reference_item(settings.space, settings.plan, settings.resolutions),
        tuple(items),
    )
    return Plan(settings, job, blocks, models, existing)


def finish(plan: Plan, result: Result, out: Path) -> LatencyTable:
    """The table that a result makes, written whole.

    Raises:
        TableError: The table that is extended is of another device or runtime.
    """
    settings, times = plan.settings, result.timings
    if plan.existing is not None:
        _check_same(plan, result.machine, result.version)
    known = dict(plan.existing.rows) if plan.existing else {}
    energies, facts = _energies(plan, result)
    rows = known | {
        BlockKey(b, PRECISION): _row(times[f"block {b}"], energies.get(f"block {b}"))
        for b in plan.blocks
    }
    totals = [sum(rows[key].latency_ms for key in model.keys()) for model in plan.models]
    counts = [len(model.blocks) for model in plan.models]
    models = [times[f"model {index}"] for index in range(len(plan.models))]
    calibration = calibrate(
        settings.space.name,
        settings.plan,
        settings.resolutions,
        np.array(totals),
        np.array(counts),
        np.array([[timing.latency_ms for timing in timings] for timings in models]),
    )
    facts = facts | _energy_error(plan, rows, energies)
    device = _device(plan, result, len(rows), calibration, facts)
    write_table(LatencyTable(device, rows, out / settings.name))
    return read_table(out / settings.name)


def job_id_of(job: Job) -> str:
    """The id that the bundle of a job has."""
    with tempfile.TemporaryDirectory() as folder:
        return write_bundle(Path(folder) / "bundle.zip", job)


def reference_item(space: SearchSpace, plan: str, resolutions: Iterable[int]) -> Item:
    """The smallest network: short enough to be timed again and again."""
    genome = to_genome(space, smallest(space, plan))
    found = from_genome(space, plan, {**genome, "resolution": min(resolutions)})
    return Item("reference", space.network(found, DEFAULT_CLASSES[plan]).blocks)


def draw_models(settings: ProfileSettings) -> list[Network]:
    """Distinct random architectures: first those to fit on, chosen to span the range of MACs."""
    rng = np.random.default_rng(settings.seed)
    drawn: dict[str, Architecture] = {}
    for _ in range(MODELS * 20):
        found = sample(settings.space, settings.plan, rng)
        if found.resolution in settings.resolutions:
            drawn.setdefault(found.id, found)
        if len(drawn) == MODELS:
            break
    total = len(drawn)
    if total < FEWEST_MODELS:
        raise MeasurementError(
            f"{settings.space.name} has too few networks for a calibration and a certificate",
            got=f"{total} distinct ones drawn",
            allowed=f"at least {FEWEST_MODELS}",
        )
    fit_models, _ = shares(total)
    classes = DEFAULT_CLASSES[settings.plan]
    networks = [settings.space.network(a, classes) for a in drawn.values()]
    networks.sort(key=lambda network: network.cost.macs)
    spanning = {round(i) for i in np.linspace(0, total - 1, fit_models)}
    fit = [networks[i] for i in sorted(spanning)]
    rest = [network for i, network in enumerate(networks) if i not in spanning]
    return fit + [rest[i] for i in rng.permutation(len(rest))]


def check_name(name: str) -> None:
    """Refuse a name that cannot be a device's folder's.

    Raises:
        OptionError: It cannot.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise OptionError(
            "a device's name is also its folder's",
            got=name,
            allowed="at most 100 lower-case letters, digits, dots, dashes and underscores",
            do="--device hardware-runtime[-threads], such as nuc-onnxruntime",
        )


def _energies(plan: Plan, result: Result) -> tuple[dict[str, float], Facts]:
    """Energies for the table's rows, and what its provenance says of them: one meter for all."""
    machine = plan.existing.device.provenance.machine if plan.existing else {}
    old = {name: machine[name] for name in (METER, ENERGY_ERROR) if name in machine}
    if result.meter is None or old.get(METER, result.meter) != result.meter:
        return {}, old
    return result.energies, {METER: result.meter}


def _energy_error(plan: Plan, rows: Mapping[BlockKey, Row], energies: Mapping[str, float]) -> Facts:
    """How far sums of blocks are from whole models, mean of the relative differences."""
    differences = []
    for index, model in enumerate(plan.models):
        total = sum_of_energies(rows, model, PRECISION)
        if total is not None and f"model {index}" in energies:
            differences.append(abs(total / energies[f"model {index}"] - 1))
    return {ENERGY_ERROR: rounded(float(np.mean(differences)))} if differences else {}


def _row(timings: list[Timing], energy_mj: float | None) -> Row:
    rounds = np.array([timing.latency_ms for timing in timings])
    p95_ms = float(quiet_latency(np.array([timing.p95_ms for timing in timings])))
    runs = sum(timing.runs for timing in timings)
    return Row(float(quiet_latency(rounds)), spread(rounds), p95_ms, runs, energy_mj)


def _check_same(plan: Plan, machine: dict[str, Any], version: str) -> None:
    """Refuse to mix measurements of two machines.

    Raises:
        TableError: The table that would be extended is of another device or runtime.
    """
    assert plan.existing is not None
    device, settings = plan.existing.device, plan.settings
    found = (device.hardware, device.runtime, device.runtime_version, device.threads)
    mine = (machine["processor"], settings.runtime, version, settings.threads)
    if found != mine or plan.existing.provenance != "measured":
        raise TableError(
            f"{plan.existing.folder} holds a table of another device, runtime or number of threads",
            got="{}, {} {}, {} threads".format(*found),
            allowed="{}, {} {}, {} threads".format(*mine),
            do="another --device name or --out folder",
        )


def _with_calibrated_resolutions(
    settings: ProfileSettings, existing: LatencyTable | None
) -> ProfileSettings:
    """Resolutions that a plan was profiled for before stay in its calibration."""
    space, plan = settings.space.name, settings.plan
    old = existing.calibration(space, plan, PRECISION) if existing else None
    resolutions = {*settings.resolutions, *(old.resolutions if old else [])}
    return replace(settings, resolutions=tuple(sorted(resolutions)))


def _device(
    plan: Plan, result: Result, rows: int, calibration: Calibration, facts: Facts
) -> DeviceFile:
    settings = plan.settings
    old = plan.existing.device if plan.existing else None
    kept = [
        c for c in (old.calibrations if old else [])
        if (c.space, c.plan, c.precision) != (calibration.space, calibration.plan, PRECISION)
    ]  # fmt: skip
    effort = settings.effort
    return DeviceFile(
        schema=1,
        name=settings.name,
        aliases=sorted({*settings.aliases, *(old.aliases if old else [])}),
        hardware=result.machine["processor"],
        runtime=settings.runtime,
        runtime_version=result.version,
        threads=settings.threads,
        mode=result.conditions["after"].get("power_mode"),
        precision=PRECISION,
        export=ExportSection(**asdict(plan.job.target)),
        provenance=Provenance(
            kind="measured",
            date=datetime.date.today(),
            method=f"lower quartile of {effort.rounds} rounds in random order, each the median of "
            f"at least {effort.min_runs} runs; what a reference shows as disturbed is timed again",
            machine={**result.machine, **result.conditions["after"], **facts},
        ),
        session=SessionFacts(
            reference_ms=rounded(result.reference_ms),
            repeated=result.repeated,
            disturbed=rounded(result.disturbed),
        ),
        rows=rows,
        calibrations=[*kept, calibration],
    )


def check_resolutions(space: SearchSpace, plan: str, wanted: Iterable[int]) -> tuple[int, ...]:
    """`wanted`, or all of the plan's where it is empty.

    Raises:
        InputError: The plan lacks one of them.
    """
    known = space.plan(plan).resolutions
    chosen = tuple(wanted) or tuple(known)
    for resolution in chosen:
        if resolution not in known:
            raise InputError(
                f"plan {plan} of {space.name} has no such resolution",
                got=resolution,
                allowed=", ".join(map(str, known)),
            )
    return chosen
