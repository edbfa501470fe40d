"""`nas validate`: does a table still hold? Its predictions against fresh whole models."""

from __future__ import annotations

import contextlib
import datetime
import math
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.devices.agent.timing import Effort
from nas.devices.bundle import Item, Job, Result
from nas.devices.calibrate import certify
from nas.devices.lines import Progress
from nas.devices.measure import model_latencies, settled_latency
from nas.devices.parts import alone, name_of, run_job
from nas.devices.quality import few_models_effort
from nas.devices.references import beside_large, small_reference
from nas.devices.targets import in_mode, measured_on
from nas.devices.transports import Transport
from nas.errors import OptionError
from nas.export.graph import GraphTarget
from nas.files import cache_folder, write_text
from nas.latency.device_file import Calibration, WholeModels
from nas.latency.metrics import BOUND_COVERAGE
from nas.latency.predict import Predictor
from nas.latency.table import LatencyTable, read_table, write_table
from nas.space import SearchSpace
from nas.space.architecture import Network
from nas.space.sample import sample
from nas.space.space import DEFAULT_CLASSES

VALIDATION = 1
"""Part of the seed: the same one drew other models when the table was made."""
IN_VAIN = 10
"""Draws in vain, for each network that is known, after which there are taken to be no more."""
SEED, SEEDS = "seed", range(2**31)
"""File that keeps the seed of a stopped validation, and what it may be."""
UNLIKELY = 0.01
"""A table is said not to hold when misses as many as these had less than this probability."""


@dataclass(frozen=True)
class Validation:
    """What a table is worth today.

    Attributes:
        calibration: Of the space and plan, with the new certificate.
        over: Models that took longer than their upper bound.
        outside: Models outside their interval, at either end.
        same_machine: Whether the table was measured on such a machine in this power mode.
        version: Of the runtime that was measured now.
        unsettled: Share of the models whose timings did not agree.
    """

    calibration: Calibration
    over: int
    outside: int
    same_machine: bool
    version: str
    unsettled: float

    @property
    def certificate(self) -> WholeModels:
        """Predictions against what was measured now."""
        return self.calibration.certificate

    @property
    def holds(self) -> bool:
        """Whether the misses can be chance, if the bounds were as good as they claim."""
        miss = 1 - BOUND_COVERAGE
        models = self.certificate.models
        return (
            chance_of_at_least(self.over, models, miss) >= UNLIKELY
            and chance_of_at_least(self.outside, models, 2 * miss) >= UNLIKELY
        )


def validate(
    table: LatencyTable,
    space: SearchSpace,
    calibration: Calibration,
    models: int,
    seed: int,
    transport: Transport,
    effort: Effort | None = None,
    progress: Progress = lambda *_: None,
) -> Validation:
    """Time fresh whole models on a device and compare them with one of a table's calibrations.

    Finished timings are kept on the device: the same call continues a stopped one.

    Raises:
        OptionError: The space has too few networks.
        MeasurementError: The runtime refuses a model, or the device is lost or never quiet.
        RunFolderError: Another process measures for the same table.
    """
    drawn = draw(space, calibration.plan, calibration.resolutions, models, seed)
    predictor = Predictor(table, space, calibration.plan, DEFAULT_CLASSES[calibration.plan])
    predicted = np.array([predictor.network(network).predicted_ms for network in drawn])
    job = _job(predictor, drawn, calibration.resolutions, seed, effort)
    work = _work_folder(table)
    with alone(table.folder):
        if (work / SEED).is_dir():  # damaged from outside
            shutil.rmtree(work)
        write_text(work / SEED, str(seed))
        found = run_job(job, transport, work, progress)
        shutil.rmtree(work)
    return _compare(table, calibration, predicted, job, found)


def _job(
    predictor: Predictor,
    drawn: list[Network],
    resolutions: list[int],
    seed: int,
    effort: Effort | None,
) -> Job:
    """The models as the agent gets them, in the form of those that the table has."""
    space, device = predictor.space, predictor.table.device
    whole = [Item(f"model {network.id}", network.blocks) for network in drawn]
    small = small_reference(space, predictor.plan, resolutions)
    large, items = beside_large(whole, [network.cost.macs for network in drawn], device.runtime)
    return Job(
        device.name,
        device.runtime,
        device.threads or 1,
        effort or few_models_effort(device.runtime),
        seed,
        GraphTarget(device.export.opset, device.export.ir_version, device.export.hardswish),
        (small, *large),
        items,
    )


def _compare(
    table: LatencyTable, calibration: Calibration, predicted: np.ndarray, job: Job, found: Result
) -> Validation:
    """Predictions, ms, shape `N`, against what was measured of the job's `N` items."""
    rounds = model_latencies([found.timings[item.id] for item in job.items])
    certificate = certify(predicted, rounds, calibration.upper_factor)
    certificate = certificate.model_copy(update={"validated": datetime.date.today()})
    ratios = settled_latency(rounds) / predicted
    over = int((ratios > calibration.upper_factor).sum())
    return Validation(
        calibration.model_copy(update={"certificate": certificate}),
        over,
        over + int((ratios < calibration.lower_factor).sum()),
        measured_on(table.device.runtime, found.machine, found.conditions["after"])
        == in_mode(table.device.hardware, table.device.mode),
        found.version,
        found.unsettled,
    )


def fresh_seed(table: LatencyTable) -> int:
    """A seed for `validate`: that of one which was stopped, else a new one."""
    path = _work_folder(table) / SEED
    with contextlib.suppress(OSError, ValueError):
        kept = int(path.read_text(encoding="utf-8")) if path.is_file() else -1
        if kept in SEEDS:
            return kept
    return secrets.choice(SEEDS)


def _work_folder(table: LatencyTable) -> Path:
    return cache_folder() / "measurements" / name_of(table.folder)


def with_certificate(table: LatencyTable, validation: Validation) -> LatencyTable:
    """Write the new certificate into the table's folder, whatever else is in it by now.

    Raises:
        TableError: There is no table any more.
        RunFolderError: It cannot be written.
    """
    new = validation.calibration
    with alone(table.folder):
        found = read_table(table.folder)
        kept = [new if _scope(old) == _scope(new) else old for old in found.device.calibrations]
        device = found.device.model_copy(update={"calibrations": kept})
        written = LatencyTable(device, found.rows, found.folder)
        write_table(written)
    return written


def draw(
    space: SearchSpace, plan: str, resolutions: list[int], models: int, seed: int
) -> list[Network]:
    """Distinct random networks of the given resolutions, as chains.

    Raises:
        OptionError: The space has too few.
    """
    rng = np.random.default_rng([VALIDATION, seed])
    drawn: dict[str, Network] = {}
    in_vain = 0
    while in_vain < IN_VAIN * (len(drawn) + 200):
        found = sample(space, plan, rng)
        in_vain += 1
        if found.resolution in resolutions:
            network = space.network(found, DEFAULT_CLASSES[plan]).without_exits
            if network.id not in drawn:
                drawn[network.id], in_vain = network, 0
        if len(drawn) == models:
            return list(drawn.values())
    raise OptionError(
        f"{space.name} has too few networks", got=f"-n {models}", allowed=f"at most {len(drawn)}"
    )


def chance_of_at_least(misses: int, models: int, probability: float) -> float:
    """Of that many misses or more among `models` that each miss with `probability`."""
    fewer = sum(math.exp(_log_chance(k, models, probability)) for k in range(misses))
    return max(0.0, 1 - fewer)


def _scope(found: Calibration) -> tuple[object, ...]:
    return found.space, found.plan, found.precision, tuple(found.resolutions)


def _log_chance(misses: int, models: int, probability: float) -> float:
    """Logarithm of the binomial probability, which itself may be too small for a float."""
    ways = math.lgamma(models + 1) - math.lgamma(misses + 1) - math.lgamma(models - misses + 1)
    return ways + misses * math.log(probability) + (models - misses) * math.log1p(-probability)
