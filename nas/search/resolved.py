"""What is fixed when a run begins, and kept in its `run.yaml`: later on it is gone by that."""

from __future__ import annotations

import datetime
import hashlib
import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nas.accuracy.checkpoint import read_step
from nas.accuracy.device import training_device
from nas.data import manifest
from nas.errors import RunFolderError
from nas.files import write_json
from nas.models import Supernet
from nas.search.candidates import random_architectures
from nas.search.executors.execution import Execution
from nas.search.from_scratch import limited_training_work, time_training, training_work
from nas.search.inputs import input_digests
from nas.search.preparation import Inputs
from nas.search.run_folder import RunFolder
from nas.search.standing import worst_costs
from nas.search.supernets import (
    SupernetJob,
    longest_finished,
    steps_left,
    supernet_digest,
)
from nas.search.watch import Watcher
from nas.search.work import (
    Speeds,
    Work,
    default_work,
    estimate,
    limited_work,
    middle_baseline,
    supernet_settings,
    time_speeds,
)

LATE = 1.25
TIMED_NETWORKS = 5
"""Random architectures whose trainings are timed."""
ENOUGH = 0.8
"""Share of the steps that fit into a time limit from which a cached supernet is used."""
PACKAGES = ("nas", "torch", "onnx", "onnxruntime", "optuna", "numpy")


def fix_work(
    run: RunFolder,
    inputs: Inputs,
    supernet: Supernet | None,
    watcher: Watcher,
    execution: Execution,
) -> Work:
    """The work written into `run.yaml`, or now fixed and written there.

    Args:
        run: The run.
        inputs: Its inputs.
        supernet: Untrained; `None` where every architecture is trained from scratch.
        watcher: Hears how long it will take.
        execution: Where trials are kept.

    Raises:
        RunFolderError: The run was begun with other inputs or another storage.
    """
    dataset = inputs.dataset
    if run.run_file.exists():
        content = run.read_run()
        check_same(run, content, inputs)
        _check_storage(run, content["storage"], execution)
        _write_sources(run, inputs)
        return Work(**content["work"])
    settings = inputs.settings
    models = settings.finalists + len(inputs.space.file.width)
    limit_s = settings.time_limit_s
    if supernet is None:
        work, speeds = _training_work(inputs, limit_s, models)
        left = 0
    else:
        work, speeds = _supernet_work(inputs, supernet, limit_s, models, watcher)
        left = steps_left(supernet_job(inputs, supernet, work), settings.supernet)
    expected = estimate(work, speeds, dataset, settings.trials, models, left)
    watcher.say(f"This takes {expected}")
    if limit_s is not None and expected.total > LATE * limit_s:
        watcher.say(
            f"That is more than --time-limit {settings.time_limit}: fewer --trials"
            f"{', --trial-steps' if supernet is None else ', --promote'} and --finalists take less."
        )
    storage = _storage(inputs, work, execution)
    run.write_run({**_run_content(inputs, work), "storage": storage})
    _write_sources(run, inputs)
    return work


def _training_work(inputs: Inputs, limit_s: float | None, models: int) -> tuple[Work, Speeds]:
    settings, dataset = inputs.settings, inputs.dataset
    drawn = random_architectures(inputs.costing, inputs.start, TIMED_NETWORKS, settings.seed)
    middle = middle_baseline(inputs.space, inputs.plan)
    speeds = time_training(inputs.space, dataset, drawn or [middle], middle)
    if limit_s is None:
        return training_work(settings, dataset), speeds
    return limited_training_work(settings, dataset, speeds, limit_s, models), speeds


def _supernet_work(
    inputs: Inputs, supernet: Supernet, limit_s: float | None, models: int, watcher: Watcher
) -> tuple[Work, Speeds]:
    settings, dataset = inputs.settings, inputs.dataset
    speeds = time_speeds(supernet, dataset, settings)
    if limit_s is None:
        work = default_work(settings, dataset)
    else:
        work = limited_work(settings, dataset, speeds, limit_s, models)
    if settings.supernet is not None:
        step, _ = read_step(Path(settings.supernet))
        work = replace(work, supernet_steps=max(step, 1))
    elif limit_s is not None and settings.supernet_steps is None:
        work = _with_cached_supernet(supernet_job(inputs, supernet, work), work, watcher)
    return work, speeds


def _with_cached_supernet(job: SupernetJob, work: Work, watcher: Watcher) -> Work:
    """`work` with the steps of a finished supernet, where one was trained about as long.

    The steps that fit into a time limit differ a little with every timing: without this, no two
    runs with a limit would share a supernet.
    """
    found = longest_finished(job)
    if found is None:
        return work
    steps, path = found
    if steps < ENOUGH * work.supernet_steps:
        watcher.say(
            f"The cached supernet of {steps} steps is passed over: this limit allows "
            f"{work.supernet_steps}. --supernet {shlex.quote(str(path))} uses it."
        )
        return work
    return replace(work, supernet_steps=steps)


def _write_sources(run: RunFolder, inputs: Inputs) -> None:
    """The space, and which image is in which split, unless a stopped run wrote them."""
    path = run.path / "data.json"
    if not path.exists():
        write_json(path, manifest(inputs.dataset))
    if not run.space.exists():
        run.write_space(inputs.space.content)


def check_same(run: RunFolder, content: dict[str, Any], inputs: Inputs) -> None:
    """Refuse to go on with a run whose space, table or data changed.

    Raises:
        RunFolderError: One of them is not what the run was begun with.
    """
    for what, digest in input_digests(inputs.space, inputs.tables).items():
        begun = content.get("inputs", {}).get(what)
        if begun != digest:
            raise RunFolderError(
                f"the {what} changed since {run.path} was begun",
                got=digest,
                allowed=str(begun),
                do=f"restore the {what}, or --out OTHER_FOLDER",
            )
    begun, now = content["data"]["fingerprint"], inputs.dataset.fingerprint
    if begun != now:
        raise RunFolderError(
            f"the data changed since {run.path} was begun",
            got=now[:12],
            allowed=begun[:12],
            do="restore the data, or --out OTHER_FOLDER",
        )


def check_same_supernet(run: RunFolder, job: SupernetJob, given: str | None) -> str:
    """Refuse to go on with other weights than those that a run's trials were scored with.

    Returns:
        What tells these from others.

    Raises:
        RunFolderError: They are others: the file changed, or they would be trained anew elsewhere.
    """
    now = supernet_digest(job, given)
    begun = run.logged("supernet").get("digest", now)  # runs of before did not keep it
    if begun != now:
        device = run.read_run()["training_device"]
        again = f"train where {run.path} was begun ({device})" if given is None else "restore it"
        raise RunFolderError(
            f"the supernet is another one than that which {run.path} was begun with",
            got=now,
            allowed=begun,
            do=f"{again}, or --out OTHER_FOLDER",
        )
    return now


def _storage(inputs: Inputs, work: Work, execution: Execution) -> dict[str, str] | None:
    """The database and the name of the study there, which says what its trials depend on."""
    if execution.storage is None:
        return None
    digests = input_digests(inputs.space, inputs.tables)
    depends = [inputs.settings.digest, inputs.dataset.fingerprint, *digests.values()]
    depends += map(str, asdict(work).values())  # with a time limit they are each search's own
    name = hashlib.sha256(" ".join(depends).encode()).hexdigest()[:12]
    return {"url": execution.storage, "study": f"nas-{name}"}


def _check_storage(run: RunFolder, begun: Mapping[str, str] | None, execution: Execution) -> None:
    """A run goes on with the trials that it has.

    Raises:
        RunFolderError: They are in another place.
    """
    url = None if begun is None else begun["url"]
    if execution.storage not in (None, url):
        raise RunFolderError(
            f"{run.path} was begun with its trials in another place",
            got=str(execution.storage),
            allowed=url or "the run's own file",
            do="the same --storage, or --out OTHER_FOLDER",
        )


def _run_content(inputs: Inputs, work: Work) -> dict[str, Any]:
    settings, dataset = inputs.settings, inputs.dataset
    return {
        "schema": 1,
        "settings": settings.model_dump(mode="json", by_alias=True),
        "space": inputs.space.name,
        "plan": inputs.plan,
        "devices": {device: _device_content(inputs, device) for device in inputs.tables},
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "classes": len(dataset.classes),
            **{split.name: len(split.labels) for split in dataset.splits()},
        },
        "inputs": input_digests(inputs.space, inputs.tables),
        "worst_costs": worst_costs(inputs.costing),
        "work": asdict(work),
        "threads": inputs.threads,
        "training_device": training_device().type,
        "versions": {"python": platform.python_version(), **versions()},
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _device_content(inputs: Inputs, device: str) -> dict[str, Any]:
    table, found = inputs.tables[device], inputs.start.ranges[device]
    return {
        "name": table.name,
        "budget_ms": inputs.settings.budgets_ms[device],
        "latency_range_ms": [found.fastest_ms, found.slowest_ms],
        "provenance": table.provenance,
        "precision": table.device.precision,
        "hardware": table.device.hardware,
        "architecture": table.device.provenance.machine.get("architecture"),
        "folder": str(table.folder),
    }


def versions() -> dict[str, str]:
    """Of the packages that results depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def supernet_job(inputs: Inputs, supernet: Supernet, work: Work) -> SupernetJob:
    """The training that a run begins with."""
    settings = inputs.settings
    training = supernet_settings(settings, work.supernet_steps, work.supernet_batch)
    return SupernetJob(supernet, inputs.dataset, training, inputs.threads)
