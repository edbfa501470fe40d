"""One run from settings to a finished folder, begun afresh or continued."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nas.accuracy.device import training_device
from nas.accuracy.finetune import FinetuneSettings
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.supernet_training import SupernetSettings
from nas.data import Dataset, decode, manifest, scan
from nas.errors import RunFolderError
from nas.export.graph import GraphTarget
from nas.files import write_json
from nas.latency.predict import Predictor
from nas.latency.table import LatencyTable, load_table
from nas.models import Supernet
from nas.search.candidates import Range, check_budget
from nas.search.finalists import Workshop, choose_finalists, make_models
from nas.search.front import (
    add_test_accuracy,
    mark_dominated,
    model_entry,
    publish_model,
    recommend,
)
from nas.search.run_folder import RunFolder, check_state
from nas.search.sampler import quiet_optuna
from nas.search.settings import SearchSettings
from nas.search.study import TrialRecord
from nas.search.supernets import (
    SupernetJob,
    check_cache,
    checkpoint_subject,
    load_given,
    read_given,
    steps_left,
    train_or_load,
)
from nas.search.trials import Hunt, baselines, run_trials
from nas.search.watch import Silent, Watcher
from nas.search.work import Work, default_work, estimate, limited_work, time_speeds
from nas.space import SearchSpace, load_space
from nas.space.architecture import Architecture

SMALL_IMAGES = 80
PACKAGES = ("nas", "torch", "onnx", "onnxruntime", "optuna", "numpy")


def run_search(
    settings: SearchSettings,
    folder: Path | None = None,
    *,
    resume: bool = False,
    watcher: Watcher | None = None,
) -> RunFolder:
    """Search, and leave a finished run folder. A finished one is returned as it is.

    Args:
        settings: What to search.
        folder: Where; `runs/<device>-<budget>-<hash of the settings>` if not given.
        resume: Continue an unfinished run of the same settings.
        watcher: Hears about the progress.

    Raises:
        RunFolderError: The folder holds something else, another run, or an unfinished one and
            `resume` was not given.
        InputError: Device, space, data or budget do not fit.
        DiskFullError: No space is left; what is finished stays.
    """
    run = RunFolder(folder or settings.default_folder())
    watcher = watcher or Silent()
    if check_state(run, settings, resume) == "finished":
        return run
    quiet_optuna()
    with run.locked():
        # Another process may have begun or finished it meanwhile.
        if check_state(run, settings, resume) == "finished":
            return run
        _work(run, _gather(run, settings, watcher), watcher)
    return run


@dataclass(frozen=True)
class Inputs:
    """Everything that was read and checked before anything is written."""

    settings: SearchSettings
    space: SearchSpace
    plan: str
    table: LatencyTable
    dataset: Dataset
    predictor: Predictor
    range: Range
    threads: int


def _gather(run: RunFolder, settings: SearchSettings, watcher: Watcher) -> Inputs:
    """Read and check all inputs; the first thing said is whether the budget binds."""
    begun = run.read_run() if run.run_file.exists() else {}
    space = load_space(settings.space)
    table = load_table(settings.device)
    path = None if settings.data is None else Path(settings.data)
    index = scan(path, settings.seed, progress=watcher.progress)
    plan = settings.plan or choose_plan(space, index.source_size)
    space.plan(plan)
    predictor = Predictor(table, space, plan, len(index.classes))
    found, advice = check_budget(predictor, settings.budget_ms, settings.seed)
    if advice:
        watcher.say(advice)
    if settings.supernet is None:
        check_cache()
    else:
        read_given(Path(settings.supernet), checkpoint_subject(space, plan, index))
    threads = settings.threads or begun.get("threads") or os.cpu_count() or 1
    dataset = decode(index, space.plan(plan).resolutions, progress=watcher.progress)
    return Inputs(settings, space, plan, table, dataset, predictor, found, threads)


def choose_plan(space: SearchSpace, source_size: int) -> str:
    """`small` for images of up to 80 pixels, else `large`, as far as the space has it."""
    wanted = "small" if source_size <= SMALL_IMAGES else "large"
    return wanted if wanted in space.plans else space.plans[0]


def _work(run: RunFolder, inputs: Inputs, watcher: Watcher) -> None:
    """All that takes time."""
    settings = inputs.settings
    torch.set_num_threads(inputs.threads)
    dataset = inputs.dataset
    supernet = Supernet(inputs.space, inputs.plan, len(dataset.classes), settings.seed)
    supernet = supernet.to(training_device())
    work = _fix_work(run, inputs, dataset, supernet, watcher)
    run.log("start", **asdict(work))
    job = _supernet_job(inputs, supernet, dataset, work)
    if settings.supernet is not None:
        load_given(job, Path(settings.supernet))
    else:
        train_or_load(job, watcher)
    run.log("supernet")
    evaluator = SupernetEvaluator(
        supernet, dataset, work.recalibration_images, work.validation_images
    )
    hunt = Hunt(settings, inputs.predictor, inputs.range, evaluator)
    records = run_trials(hunt, run.journal, watcher)
    run.log("search", trials=len(records), refused=sum(record.refused for record in records))
    _finish(run, inputs, hunt, _workshop(run, inputs, supernet, dataset, work), records, watcher)
    run.log("finished")


def _supernet_job(inputs: Inputs, supernet: Supernet, dataset: Dataset, work: Work) -> SupernetJob:
    training = SupernetSettings(
        steps=work.supernet_steps, batch_size=work.batch_size, seed=inputs.settings.seed
    )
    return SupernetJob(supernet, dataset, training, inputs.threads)


def _fix_work(
    run: RunFolder, inputs: Inputs, dataset: Dataset, supernet: Supernet, watcher: Watcher
) -> Work:
    """The work written into `run.yaml`, or now fixed and written there."""
    if run.run_file.exists():
        content = run.read_run()
        _check_unchanged(run, content, inputs)
        if content["data"]["fingerprint"] != dataset.fingerprint:
            raise RunFolderError(
                f"the data changed since {run.path} was begun",
                got=dataset.fingerprint[:12],
                allowed=content["data"]["fingerprint"][:12],
                do="restore the data, or --out OTHER_FOLDER",
            )
        _write_manifest(run, dataset)
        return Work(**content["work"])
    settings = inputs.settings
    speeds = time_speeds(supernet, dataset, settings.seed)
    models = settings.finalists + len(inputs.space.file.width)
    limit_s = settings.time_limit_s
    work = (
        default_work(settings, dataset)
        if limit_s is None
        else limited_work(settings, dataset, speeds, limit_s, models)
    )
    job = _supernet_job(inputs, supernet, dataset, work)
    left = steps_left(job, settings.supernet)
    watcher.say(f"This takes {estimate(work, speeds, dataset, settings.trials, models, left)}")
    run.write_run(_run_content(inputs, dataset, work))
    _write_manifest(run, dataset)
    return work


def _write_manifest(run: RunFolder, dataset: Dataset) -> None:
    """Which image is in which split, unless it is already known."""
    path = run.path / "data.json"
    if not path.exists():
        write_json(path, manifest(dataset))


def _input_digests(inputs: Inputs) -> dict[str, str]:
    """Hashes of the space and of the table: a run goes on only with what it was begun with."""
    space = json.dumps(inputs.space.file.model_dump(mode="json", by_alias=True), sort_keys=True)
    files = sorted(inputs.table.folder.glob("*.yaml")) + sorted(inputs.table.folder.glob("*.csv"))
    table = b"".join(file.read_bytes() for file in files)
    return {
        "search space": hashlib.sha256(space.encode()).hexdigest()[:16],
        "latency table": hashlib.sha256(table).hexdigest()[:16],
    }


def _check_unchanged(run: RunFolder, content: dict[str, Any], inputs: Inputs) -> None:
    """Refuse to continue a run whose space or table was edited.

    Raises:
        RunFolderError: One of them is not what the run was begun with.
    """
    for what, digest in _input_digests(inputs).items():
        begun = content.get("inputs", {}).get(what)
        if begun != digest:
            raise RunFolderError(
                f"the {what} changed since {run.path} was begun",
                got=digest,
                allowed=str(begun),
                do=f"restore the {what}, or --out OTHER_FOLDER",
            )


def _run_content(inputs: Inputs, dataset: Dataset, work: Work) -> dict[str, Any]:
    settings, table = inputs.settings, inputs.table
    return {
        "schema": 1,
        "settings": settings.model_dump(mode="json", by_alias=True),
        "space": inputs.space.name,
        "plan": inputs.plan,
        "budget_ms": settings.budget_ms,
        "device": {
            "name": table.name,
            "provenance": table.provenance,
            "precision": table.device.precision,
            "folder": str(table.folder),
        },
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "classes": len(dataset.classes),
            **{split.name: len(split.labels) for split in dataset.splits()},
        },
        "inputs": _input_digests(inputs),
        "work": asdict(work),
        "latency_range_ms": [inputs.range.fastest_ms, inputs.range.slowest_ms],
        "threads": inputs.threads,
        "training_device": training_device().type,
        "versions": {"python": platform.python_version(), **_versions()},
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def _workshop(
    run: RunFolder, inputs: Inputs, supernet: Supernet, dataset: Dataset, work: Work
) -> Workshop:
    finetuning = FinetuneSettings(
        steps=work.finetune_steps,
        batch_size=work.batch_size,
        recalibration_images=work.recalibration_images,
    )
    export = inputs.table.device.export
    target = GraphTarget(export.opset, export.ir_version, export.hardswish)
    seed, threads = inputs.settings.seed, inputs.threads
    return Workshop(supernet, dataset, finetuning, target, run.work, seed, threads)


def _finish(
    run: RunFolder,
    inputs: Inputs,
    hunt: Hunt,
    workshop: Workshop,
    records: list[TrialRecord],
    watcher: Watcher,
) -> None:
    """Finalists and baselines are made alike; validation decides, then the test is looked at."""
    space, device = inputs.space, inputs.settings.device
    chosen = choose_finalists(records, inputs.settings.finalists)
    finalists = [space.from_json(record.architecture) for record in chosen]
    scaled = baselines(hunt)
    everything: dict[str, Architecture] = {a.id: a for a in finalists}
    everything |= {a.id: a for _, a in scaled}
    make_models(workshop, list(everything.values()), watcher)
    entries = [model_entry(workshop, inputs.predictor, device, a) for a in finalists]
    mark_dominated(entries, device)
    recommended = recommend(entries, device)
    for entry, architecture in zip(entries, finalists, strict=True):
        add_test_accuracy(workshop, entry, architecture)
        publish_model(run, workshop, entry, architecture)
    compared = []
    for width, architecture in scaled:
        entry = model_entry(workshop, inputs.predictor, device, architecture)
        add_test_accuracy(workshop, entry, architecture)
        compared.append({"width": width, **entry})
    run.write_baselines(compared)
    write_json(run.front, {"schema": 1, "recommended": recommended, "models": entries})
    shutil.rmtree(workshop.folder, ignore_errors=True)
