"""`nas profile`: from a device and a space to a latency table with a certificate.

All distinct blocks and the whole models are timed together, in several rounds of random order, so
that slow drift of the machine touches both alike. Twelve whole models calibrate the sum of blocks,
a hundred others set the bound, thirty others make the certificate.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from nas.devices.calibrate import (
    BOUND_MODELS,
    CERTIFICATE_MODELS,
    FIT_MODELS,
    PRECISION,
    calibrate,
    rounded,
)
from nas.devices.machine import describe_conditions, describe_machine, describe_processor
from nas.devices.measure import Effort, Timing, quiet_latency, spread
from nas.devices.runtimes import Runtime
from nas.devices.session import Item, Journal, Measured, Progress, Session
from nas.errors import InputError, MeasurementError, OptionError, TableError
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
from nas.space.blocks import BlockKey
from nas.space.enumerate import distinct_blocks
from nas.space.sample import from_genome, sample, smallest, to_genome
from nas.space.space import DEFAULT_CLASSES, SearchSpace

CLASSES = (2, 10, 100, 1000)


@dataclass(frozen=True)
class ProfileSettings:
    """What to profile.

    Attributes:
        name: The device's name, which becomes the folder's.
        space: The search space whose blocks are measured.
        plan: Its input plan.
        resolutions: Input sizes in pixels.
        classes: Numbers of classes for which classifiers are measured.
        seed: Of the order and of the drawn whole models.
        aliases: Short names of the device.
        effort: How long each item is timed.
    """

    name: str
    space: SearchSpace
    plan: str
    resolutions: tuple[int, ...]
    classes: tuple[int, ...] = CLASSES
    seed: int = 0
    aliases: tuple[str, ...] = ()
    effort: Effort = field(default_factory=Effort)


def profile(
    settings: ProfileSettings, runtime: Runtime, out: Path, progress: Progress = lambda *_: None
) -> LatencyTable:
    """Measure this machine and write the table to `out / settings.name`.

    Finished measurements are kept beside the folder until the table is written: the same call
    continues where a stopped one was. An existing table of the same device is extended.

    Args:
        settings: What to profile.
        runtime: With what.
        out: Folder that holds tables.
        progress: Called with the number of finished and of all timings.

    Raises:
        OptionError: `settings.name` cannot be a device's name.
        TableError: `out / settings.name` holds a table of another device or runtime.
        MeasurementError: The runtime refuses a model.
    """
    _check_name(settings.name)
    folder = out / settings.name
    existing = _existing(folder, runtime)
    settings = _with_calibrated_resolutions(settings, existing)
    # The whole models have the plan's default number of classes.
    classes = sorted({*settings.classes, DEFAULT_CLASSES[settings.plan]})
    needed = distinct_blocks(settings.space, settings.plan, settings.resolutions, classes)
    known = dict(existing.rows) if existing else {}
    # What an earlier profile measured is kept, unless there is nothing else to do: then all is new.
    blocks = [b for b in needed if BlockKey(b, PRECISION) not in known] or needed
    models = draw_models(settings)
    items = [Item(f"block {block}", (("block", block),)) for block in blocks]
    items += [Item(f"model {index}", network.blocks) for index, network in enumerate(models)]
    journal = Journal(out / f".{settings.name}.partial.jsonl", _fingerprint(settings, runtime))
    reference = reference_item(settings.space, settings.plan, settings.resolutions)
    session = Session(runtime, settings.effort, settings.seed, reference, journal)
    found = session.measure(items, progress)
    times = found.timings
    rows = known | {BlockKey(b, PRECISION): _row(times[f"block {b}"]) for b in blocks}
    totals = [sum(rows[key].latency_ms for key in model.keys()) for model in models]
    counts = [len(model.blocks) for model in models]
    rounds = np.array([[t.latency_ms for t in times[f"model {i}"]] for i in range(len(models))])
    calibration = calibrate(
        settings.space.name,
        settings.plan,
        settings.resolutions,
        np.array(totals),
        np.array(counts),
        rounds,
    )
    old = existing.device if existing else None
    device = _device(settings, runtime, old, len(rows), calibration, found)
    table = LatencyTable(device, rows, folder)
    write_table(table)
    journal.remove()
    return read_table(folder)


def reference_item(space: SearchSpace, plan: str, resolutions: Iterable[int]) -> Item:
    """The smallest network: short enough to be timed again and again."""
    genome = to_genome(space, smallest(space, plan))
    found = from_genome(space, plan, {**genome, "resolution": min(resolutions)})
    return Item("reference", space.network(found, DEFAULT_CLASSES[plan]).blocks)


def draw_models(settings: ProfileSettings) -> list[Network]:
    """Distinct random architectures: first those to fit on, chosen to span the range of MACs."""
    rng = np.random.default_rng(settings.seed)
    total = FIT_MODELS + BOUND_MODELS + CERTIFICATE_MODELS
    drawn: dict[str, Architecture] = {}
    for _ in range(total * 20):
        found = sample(settings.space, settings.plan, rng)
        if found.resolution in settings.resolutions:
            drawn.setdefault(found.id, found)
        if len(drawn) == total:
            break
    else:
        raise MeasurementError(
            f"{settings.space.name} has too few networks for a calibration and a certificate",
            got=f"{len(drawn)} distinct ones drawn",
            allowed=f"at least {total}",
        )
    classes = DEFAULT_CLASSES[settings.plan]
    networks = [settings.space.network(a, classes) for a in drawn.values()]
    networks.sort(key=lambda network: network.cost.macs)
    spanning = {round(i) for i in np.linspace(0, total - 1, FIT_MODELS)}
    fit = [networks[i] for i in sorted(spanning)]
    rest = [network for i, network in enumerate(networks) if i not in spanning]
    return fit + [rest[i] for i in rng.permutation(len(rest))]


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise OptionError(
            "a device's name is also its folder's",
            got=name,
            allowed="lower-case letters, digits, dots, dashes and underscores",
            do="--device hardware-runtime, such as nuc-onnxruntime",
        )


def _row(timings: list[Timing]) -> Row:
    rounds = np.array([timing.latency_ms for timing in timings])
    p95_ms = float(quiet_latency(np.array([timing.p95_ms for timing in timings])))
    runs = sum(timing.runs for timing in timings)
    return Row(float(quiet_latency(rounds)), spread(rounds), p95_ms, runs)


def _existing(folder: Path, runtime: Runtime) -> LatencyTable | None:
    """The table that is extended, if there is one.

    Raises:
        TableError: The folder is there and is not a table of this machine and runtime.
    """
    if not folder.exists():
        return None
    table = read_table(folder)
    device = table.device
    found = (device.hardware, device.runtime, device.runtime_version, device.threads)
    mine = (describe_processor(), runtime.name, runtime.version, runtime.threads)
    if found != mine or table.provenance != "measured":
        raise TableError(
            f"{folder} holds a table of another device, runtime or number of threads",
            got="{}, {} {}, {} threads".format(*found),
            allowed="{}, {} {}, {} threads".format(*mine),
            do="another --device name or --out folder",
        )
    return table


def _with_calibrated_resolutions(
    settings: ProfileSettings, existing: LatencyTable | None
) -> ProfileSettings:
    """Resolutions that a plan was profiled for before stay in its calibration."""
    space, plan = settings.space.name, settings.plan
    old = existing.calibration(space, plan, PRECISION) if existing else None
    resolutions = {*settings.resolutions, *(old.resolutions if old else [])}
    return replace(settings, resolutions=tuple(sorted(resolutions)))


def _device(
    settings: ProfileSettings,
    runtime: Runtime,
    old: DeviceFile | None,
    rows: int,
    calibration: Calibration,
    found: Measured,
) -> DeviceFile:
    kept = [
        c for c in (old.calibrations if old else [])
        if (c.space, c.plan, c.precision) != (calibration.space, calibration.plan, PRECISION)
    ]  # fmt: skip
    effort = settings.effort
    return DeviceFile(
        schema=1,
        name=settings.name,
        aliases=sorted({*settings.aliases, *(old.aliases if old else [])}),
        hardware=describe_processor(),
        runtime=runtime.name,
        runtime_version=runtime.version,
        threads=runtime.threads,
        mode=None,
        precision=PRECISION,
        export=ExportSection(**asdict(runtime.target)),
        provenance=Provenance(
            kind="measured",
            date=datetime.date.today(),
            method=f"lower quartile of {effort.rounds} rounds in random order, each the median of "
            f"at least {effort.min_runs} runs",
            machine={**describe_machine(), **describe_conditions()},
        ),
        session=SessionFacts(
            reference_ms=rounded(found.reference_ms),
            repeated=found.repeated,
            disturbed=rounded(found.disturbed),
        ),
        rows=rows,
        calibrations=[*kept, calibration],
    )


def _fingerprint(settings: ProfileSettings, runtime: Runtime) -> str:
    """Settings and machine as one line: timings are only continued where all of it is equal."""
    content = {
        "space": settings.space.file.model_dump(mode="json"),
        "settings": [settings.plan, settings.resolutions, settings.classes, settings.seed],
        "effort": asdict(settings.effort),
        "runtime": [runtime.name, runtime.version, runtime.threads],
        "machine": describe_machine(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
