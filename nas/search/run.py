"""One run from settings to a finished folder, begun afresh or continued."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nas.accuracy.device import training_device, use_threads
from nas.accuracy.finetune import FINETUNING, Finetuner
from nas.accuracy.memory import memory_errors
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.export.graph import GraphTarget
from nas.files import write_json
from nas.latency.table import LatencyTable
from nas.models import Supernet
from nas.search.candidates import Start
from nas.search.choosing import finalists_of, promote
from nas.search.executors.choose import check_executor, make_executor
from nas.search.executors.execution import Execution
from nas.search.executors.executor import Executor
from nas.search.exits import find_staying
from nas.search.finalists import ModelTrainer, Workshop, make_models
from nas.search.from_scratch import training_evaluator
from nas.search.front import (
    add_test_accuracy,
    mark_fronts,
    model_entry,
    publish_model,
)
from nas.search.goals import Goals
from nas.search.preparation import Inputs, gather_inputs
from nas.search.proposals import Hunt, Promoted, baselines
from nas.search.resolved import check_same_supernet, fix_work, supernet_job
from nas.search.run_folder import RunFolder, check_state
from nas.search.samplers.repairing import quiet_optuna
from nas.search.settings import SearchSettings
from nas.search.store import Journal, Store
from nas.search.study import TrialRecord
from nas.search.supernet_check import check_supernet
from nas.search.supernets import have_supernet
from nas.search.trials import Rung, run_trials
from nas.search.watch import Silent, TrialWatcher, Watcher
from nas.search.work import Work
from nas.search.zero_cost import zero_cost_scores
from nas.space.architecture import Architecture


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
        MemoryFullError: The device has too little memory.
        DiskFullError: No space is left; what is finished stays.
    """
    run = RunFolder(folder or settings.default_folder())
    watcher = watcher or Silent()
    if check_state(run, settings, resume) == "finished":
        return run
    quiet_optuna()
    execution = execution or Execution()
    check_executor(execution, needs_storage=not run.journal.exists())
    with run.locked():
        # Another process may have begun or finished it meanwhile.
        if check_state(run, settings, resume) == "finished":
            return run
        inputs = gather_inputs(run, settings, watcher)
        with memory_errors(training_device()):
            _work(run, inputs, watcher, execution)
    return run


def _work(run: RunFolder, inputs: Inputs, watcher: Watcher, execution: Execution) -> None:
    """All that takes time."""
    settings = inputs.settings
    use_threads(inputs.threads)
    trials = TrialWatcher(watcher)
    work, evaluator, trainer = _prepare(run, inputs, trials, execution)
    staying = find_staying(run, inputs.costing, evaluator, watcher)
    costing = replace(inputs.costing, staying=staying)
    zero_cost = zero_cost_scores(run, inputs, watcher)
    hunt = Hunt(settings, costing, inputs.start, inputs.warm_start, zero_cost)
    with contextlib.closing(make_executor(evaluator, execution)) as executor:
        scored = _score(run, hunt, work, executor, trials)
    chosen = finalists_of(*scored, settings.finalists, inputs.costing.goals)
    target = _target(inputs.tables.values())
    workshop = Workshop(
        trainer,
        work.finetune_steps,
        target,
        run.work,
        inputs.threads,
        settings.metric,
        costing.first.until_exits,
    )
    _finish(run, inputs, hunt, workshop, chosen, watcher)
    run.log("finished")


def _prepare(
    run: RunFolder, inputs: Inputs, watcher: TrialWatcher, execution: Execution
) -> tuple[Work, SupernetEvaluator | TrainingEvaluator, ModelTrainer]:
    """How much is done, what scores architectures, and what trains the finalists."""
    settings, dataset, space = inputs.settings, inputs.dataset, inputs.space
    if settings.evaluator == "training":
        work = fix_work(run, inputs, None, watcher, execution)
        _log_start(run, inputs, work)
        training = training_evaluator(space, dataset, settings, work, watcher)
        return work, training, training
    supernet = Supernet(space, inputs.plan, len(dataset.classes), settings.seed)
    supernet = supernet.to(training_device())
    work = fix_work(run, inputs, supernet, watcher, execution)
    _log_start(run, inputs, work)
    job = supernet_job(inputs, supernet, work)
    digest = check_same_supernet(run, job, settings.supernet)
    steps = have_supernet(job, settings.supernet, watcher)
    run.log("supernet", digest=digest)
    recipe = replace(FINETUNING, batch_size=work.batch_size, metric=settings.metric)
    finetuner = Finetuner(supernet, dataset, recipe, settings.seed)
    evaluator = SupernetEvaluator(
        supernet,
        dataset,
        work.recalibration_images,
        work.validation_images,
        finetuner if work.promoted else None,
        settings.metric,
    )
    check_supernet(run, inputs, evaluator, steps, watcher)
    return work, evaluator, finetuner


def _log_start(run: RunFolder, inputs: Inputs, work: Work) -> None:
    run.log("start", **asdict(work))
    run.log("data", about=inputs.about)


def _score(
    run: RunFolder, hunt: Hunt, work: Work, executor: Executor, watcher: Watcher
) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """Score architectures, and the best of them again after a short training.

    Returns:
        The trials of the search and those of the short training.
    """
    with _store(run, watcher) as store:
        records = run_trials(hunt, store, watcher, executor)
        refused = sum(record.refused for record in records)
        run.log("search", trials=len(records), refused=refused)
        if not work.promoted or len(records) <= hunt.settings.finalists:
            return records, []
        best = promote(records, work.promoted, hunt.costing.goals)
        rung = Rung(Promoted(hunt, best), len(best), work.short_training)
        again = run_trials(hunt, store, watcher, executor, rung)
        run.log("short training", trials=len(again))
        return records, again


@contextlib.contextmanager
def _store(run: RunFolder, watcher: Watcher) -> Iterator[Store]:
    """The run's own file, or a database, of whose trials the run keeps a copy."""
    storage = run.read_run()["storage"]
    if storage is None or run.journal.exists():
        yield Journal(run.journal)
        return
    from nas.search.database import Database

    database = Database(storage["url"], storage["study"], watcher)
    try:
        yield database
        database.copy_to(run.journal)
    finally:
        database.close()


def _target(tables: Iterable[LatencyTable]) -> GraphTarget:
    """What the runtimes of all devices accept."""
    exports = [table.device.export for table in tables]
    return GraphTarget(
        min(export.opset for export in exports),
        min(export.ir_version for export in exports),
        all(export.hardswish for export in exports),
    )


def _more_finalists(
    fronts: Sequence[Mapping[str, Any]], goals: Goals, start: Start, watcher: Watcher
) -> list[Architecture]:
    """For fronts without a model, architectures that are within the limits whatever they learn.

    Where a budget holds what is expected on average, a finalist's images may leave later than was
    thought before it was trained.
    """
    own = {front["device"] for front in fronts}
    pairs = zip(goals.fronts, start.insides, strict=True)
    more = {a.id: a for front, a in pairs if front.device not in own}
    if more:
        watcher.say(
            "No finalist is within the budget as its images leave: trained as well is "
            f"{', '.join(more)}, which is within it through all segments."
        )
    return list(more.values())


def _finish(
    run: RunFolder,
    inputs: Inputs,
    hunt: Hunt,
    workshop: Workshop,
    chosen: list[TrialRecord],
    watcher: Watcher,
) -> None:
    """Finalists and baselines are made alike; validation decides, then the test is looked at."""
    space, goals = inputs.space, inputs.costing.goals
    finalists = [space.from_json(record.architecture) for record in chosen]
    scaled = baselines(hunt)
    everything: dict[str, Architecture] = {a.id: a for a in finalists}
    everything |= {a.id: a for _, a in scaled}
    make_models(workshop, list(everything.values()), watcher)
    entries = [model_entry(workshop, inputs.costing, a) for a in finalists]
    fronts = mark_fronts(entries, goals)
    more = _more_finalists(fronts, goals, hunt.start, watcher)
    if more:
        make_models(workshop, more, watcher)
        entries += [model_entry(workshop, inputs.costing, a) for a in more]
        finalists += more
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
