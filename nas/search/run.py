"""One run from settings to a finished folder, begun afresh or continued."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import shlex
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nas.accuracy.device import training_device
from nas.accuracy.finetune import FinetuneSettings
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.supernet_training import SupernetSettings
from nas.data import Dataset, Progress, decode, manifest, scan
from nas.errors import OptionError, RunFolderError, SpaceError
from nas.export.graph import GraphTarget
from nas.files import write_json
from nas.latency.predict import Predictor
from nas.latency.table import LatencyTable, load_table
from nas.models import Supernet
from nas.search.candidates import Start, check_limits
from nas.search.costing import Costing
from nas.search.executors.choose import check_executor, make_executor
from nas.search.executors.execution import Execution
from nas.search.executors.executor import Executor
from nas.search.finalists import Workshop, choose_finalists, make_models
from nas.search.front import (
    WITHIN,
    add_test_accuracy,
    mark_fronts,
    metadata_bytes,
    model_entry,
    publish_model,
)
from nas.search.goals import Goals, make_goals
from nas.search.inputs import input_digests
from nas.search.run_folder import RunFolder, check_state
from nas.search.samplers.repairing import quiet_optuna
from nas.search.settings import SearchSettings
from nas.search.store import Journal
from nas.search.study import TrialRecord
from nas.search.supernets import (
    SupernetJob,
    check_cache,
    checkpoint_subject,
    load_given,
    longest_finished,
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
SLOW_S = 2.0
LATE = 1.25
ENOUGH = 0.8
"""Share of the steps that fit into a time limit from which a cached supernet is used."""
PACKAGES = ("nas", "torch", "onnx", "onnxruntime", "optuna", "numpy")


def run_search(
    settings: SearchSettings,
    folder: Path | None = None,
    *,
    resume: bool = False,
    watcher: Watcher | None = None,
    execution: Execution | None = None,
) -> RunFolder:
    """Search, and leave a finished run folder. A finished one is returned as it is.

    Args:
        settings: What to search.
        folder: Where; `runs/<device>-<budget>-<hash of the settings>` if not given.
        resume: Continue an unfinished run of the same settings.
        watcher: Hears about the progress.
        execution: Where trials are scored; here, one at a time, if not given.

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
    execution = execution or Execution()
    check_executor(execution)
    with run.locked():
        # Another process may have begun or finished it meanwhile.
        if check_state(run, settings, resume) == "finished":
            return run
        _work(run, _gather(run, settings, watcher), watcher, execution)
    return run


@dataclass(frozen=True)
class Inputs:
    """Everything that was read and checked before anything is written."""

    settings: SearchSettings
    space: SearchSpace
    plan: str
    tables: dict[str, LatencyTable]
    dataset: Dataset
    costing: Costing
    start: Start
    threads: int


def _gather(run: RunFolder, settings: SearchSettings, watcher: Watcher) -> Inputs:
    """Read and check all inputs; the first thing said is whether the budget binds."""
    begun = run.read_run() if run.run_file.exists() else {}
    space = _space(run, settings, watcher)
    goals, tables = make_goals(settings), _tables(settings)
    path = None if settings.data is None else Path(settings.data)
    index = scan(path, settings.seed, progress=_if_slow(watcher.progress))
    plan = settings.plan or choose_plan(space, index.source_size)
    space.plan(plan)
    costing = _costing(goals, tables, space, plan, index.classes)
    start = check_limits(costing, settings.seed)
    for advice in start.advice:
        watcher.say(advice)
    if settings.supernet is None:
        check_cache()
    else:
        read_given(Path(settings.supernet), checkpoint_subject(space, plan, index))
    threads = settings.threads or begun.get("threads") or os.cpu_count() or 1
    _warn_of_few_images(len(index.validation.labels), watcher)
    dataset = decode(index, space.plan(plan).resolutions, progress=watcher.progress)
    return Inputs(settings, space, plan, tables, dataset, costing, start, threads)


def _tables(settings: SearchSettings) -> dict[str, LatencyTable]:
    """The table of each device.

    Raises:
        OptionError: Two devices are the same table.
    """
    tables: dict[str, LatencyTable] = {}
    for device in settings.devices:
        tables[device] = load_table(device)
        for other, table in tables.items():
            if other != device and table.folder == tables[device].folder:
                raise OptionError(
                    "a device is given once",
                    got=f"{other} and {device}, which are the same latency table",
                    do="leave one of them out",
                )
    return tables


def _costing(
    goals: Goals,
    tables: dict[str, LatencyTable],
    space: SearchSpace,
    plan: str,
    classes: Sequence[str],
) -> Costing:
    predictors = {d: Predictor(table, space, plan, len(classes)) for d, table in tables.items()}
    return Costing(predictors, goals, metadata_bytes(classes))


def _space(run: RunFolder, settings: SearchSettings, watcher: Watcher) -> SearchSpace:
    """The space; where its file is gone, the copy of the run that is continued."""
    try:
        return load_space(settings.space)
    except (OptionError, SpaceError):
        if Path(settings.space).exists() or not run.space.exists():
            raise
    watcher.say(f"{settings.space} is gone: the run goes on with its own copy, {run.space}")
    return load_space(run.space)


def _if_slow(progress: Progress) -> Progress:
    """Nothing in the first seconds, so that what is said after a short stage comes first."""
    start = time.monotonic()

    def later(stage: str, done: int, total: int) -> None:
        if time.monotonic() - start > SLOW_S:
            progress(stage, done, total)

    return later


def _warn_of_few_images(validation: int, watcher: Watcher) -> None:
    """Say when single images decide which model is recommended."""
    if validation * WITHIN < 1:
        watcher.say(
            f"Only {validation} validation images: one of them is {1 / validation:.1%} of "
            f"accuracy, and models are chosen by differences of {WITHIN:.1%}. "
            f"{round(1 / WITHIN)} or more make the choice sound."
        )


def choose_plan(space: SearchSpace, source_size: int) -> str:
    """`small` for images of up to 80 pixels, else `large`, as far as the space has it."""
    wanted = "small" if source_size <= SMALL_IMAGES else "large"
    return wanted if wanted in space.plans else space.plans[0]


def _work(run: RunFolder, inputs: Inputs, watcher: Watcher, execution: Execution) -> None:
    """All that takes time."""
    settings = inputs.settings
    torch.set_num_threads(inputs.threads)
    dataset = inputs.dataset
    supernet = Supernet(inputs.space, inputs.plan, len(dataset.classes), settings.seed)
    supernet = supernet.to(training_device())
    work = _fix_work(run, inputs, dataset, supernet, watcher, execution)
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
    hunt = Hunt(settings, inputs.costing, inputs.start)
    records = _search(run, hunt, evaluator, execution, watcher)
    run.log("search", trials=len(records), refused=sum(record.refused for record in records))
    _finish(run, inputs, hunt, _workshop(run, inputs, supernet, dataset, work), records, watcher)
    run.log("finished")


def _search(
    run: RunFolder,
    hunt: Hunt,
    evaluator: SupernetEvaluator,
    execution: Execution,
    watcher: Watcher,
) -> list[TrialRecord]:
    """Score architectures here, or by workers."""
    executor = make_executor(evaluator, execution)
    try:
        found = run.read_run()["storage"]
        if found is None:
            return run_trials(hunt, Journal(run.journal), watcher, executor)
        return _search_shared(run, hunt, found, executor, watcher)
    finally:
        executor.close()


def _search_shared(
    run: RunFolder,
    hunt: Hunt,
    storage: Mapping[str, str],
    executor: Executor,
    watcher: Watcher,
) -> list[TrialRecord]:
    """In a database; the run keeps a copy of the trials."""
    from nas.search.database import Database

    database = Database(storage["url"], storage["study"], watcher)
    try:
        records = run_trials(hunt, database, watcher, executor)
        database.copy_to(run.journal)
    finally:
        database.close()
    return records


def _storage(inputs: Inputs, dataset: Dataset, execution: Execution) -> dict[str, str] | None:
    """The database and the name of the study there, which says what its trials depend on."""
    if execution.storage is None:
        return None
    depends = [inputs.settings.digest, dataset.fingerprint, *_digests(inputs).values()]
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


def _digests(inputs: Inputs) -> dict[str, str]:
    return input_digests(inputs.space, inputs.tables)


def _supernet_job(inputs: Inputs, supernet: Supernet, dataset: Dataset, work: Work) -> SupernetJob:
    training = SupernetSettings(
        steps=work.supernet_steps, batch_size=work.batch_size, seed=inputs.settings.seed
    )
    return SupernetJob(supernet, dataset, training, inputs.threads)


def _fix_work(
    run: RunFolder,
    inputs: Inputs,
    dataset: Dataset,
    supernet: Supernet,
    watcher: Watcher,
    execution: Execution,
) -> Work:
    """The work written into `run.yaml`, or now fixed and written there."""
    if run.run_file.exists():
        content = run.read_run()
        _check_unchanged(run, content, inputs)
        _check_storage(run, content["storage"], execution)
        if content["data"]["fingerprint"] != dataset.fingerprint:
            raise RunFolderError(
                f"the data changed since {run.path} was begun",
                got=dataset.fingerprint[:12],
                allowed=content["data"]["fingerprint"][:12],
                do="restore the data, or --out OTHER_FOLDER",
            )
        _write_sources(run, inputs, dataset)
        return Work(**content["work"])
    settings = inputs.settings
    speeds = time_speeds(supernet, dataset, settings.seed)
    models = settings.finalists + len(inputs.space.file.width)
    limit_s = settings.time_limit_s
    if limit_s is None:
        work = default_work(settings, dataset)
    else:
        work = limited_work(settings, dataset, speeds, limit_s, models)
        if settings.supernet_steps is None:
            job = _supernet_job(inputs, supernet, dataset, work)
            work = _with_cached_supernet(job, work, watcher)
    job = _supernet_job(inputs, supernet, dataset, work)
    left = steps_left(job, settings.supernet)
    expected = estimate(work, speeds, dataset, settings.trials, models, left)
    watcher.say(f"This takes {expected}")
    if limit_s is not None and expected.total > LATE * limit_s:
        watcher.say(
            f"That is more than --time-limit {settings.time_limit}: fewer --trials and --finalists "
            "take less."
        )
    storage = _storage(inputs, dataset, execution)
    run.write_run({**_run_content(inputs, dataset, work), "storage": storage})
    _write_sources(run, inputs, dataset)
    return work


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


def _write_sources(run: RunFolder, inputs: Inputs, dataset: Dataset) -> None:
    """The space, and which image is in which split, unless a stopped run wrote them."""
    path = run.path / "data.json"
    if not path.exists():
        write_json(path, manifest(dataset))
    if not run.space.exists():
        run.write_space(inputs.space.content)


def _check_unchanged(run: RunFolder, content: dict[str, Any], inputs: Inputs) -> None:
    """Refuse to continue a run whose space or table was edited.

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


def _run_content(inputs: Inputs, dataset: Dataset, work: Work) -> dict[str, Any]:
    settings = inputs.settings
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
        "work": asdict(work),
        "threads": inputs.threads,
        "training_device": training_device().type,
        "versions": {"python": platform.python_version(), **_versions()},
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
    target = _target(inputs.tables.values())
    seed, threads = inputs.settings.seed, inputs.threads
    return Workshop(supernet, dataset, finetuning, target, run.work, seed, threads)


def _target(tables: Iterable[LatencyTable]) -> GraphTarget:
    """What the runtimes of all devices accept."""
    exports = [table.device.export for table in tables]
    return GraphTarget(
        min(export.opset for export in exports),
        min(export.ir_version for export in exports),
        all(export.hardswish for export in exports),
    )


def _finish(
    run: RunFolder,
    inputs: Inputs,
    hunt: Hunt,
    workshop: Workshop,
    records: list[TrialRecord],
    watcher: Watcher,
) -> None:
    """Finalists and baselines are made alike; validation decides, then the test is looked at."""
    space, goals = inputs.space, inputs.costing.goals
    chosen = choose_finalists(records, inputs.settings.finalists, goals)
    finalists = [space.from_json(record.architecture) for record in chosen]
    scaled = baselines(hunt)
    everything: dict[str, Architecture] = {a.id: a for a in finalists}
    everything |= {a.id: a for _, a in scaled}
    make_models(workshop, list(everything.values()), watcher)
    entries = [model_entry(workshop, inputs.costing, a) for a in finalists]
    fronts = mark_fronts(entries, goals)
    for entry, architecture in zip(entries, finalists, strict=True):
        add_test_accuracy(workshop, entry, architecture)
        publish_model(run, workshop, entry, architecture)
    compared = []
    for width, architecture in scaled:
        entry = model_entry(workshop, inputs.costing, architecture)
        add_test_accuracy(workshop, entry, architecture)
        compared.append({"width": width, **entry})
    run.write_baselines(compared)
    run.report.unlink(missing_ok=True)  # of a result that was deleted to be made anew
    recommended = fronts[0]["recommended"]
    write_json(
        run.front,
        {"schema": 1, "recommended": recommended, "fronts": fronts, "models": entries},
    )
    shutil.rmtree(workshop.folder, ignore_errors=True)
