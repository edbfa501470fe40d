"""Everything that a search reads and checks before it writes or trains anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.data import Dataset, Progress, decode, describe, scan
from nas.errors import ArchitectureError, OptionError, SpaceError
from nas.latency.predict import Predictor
from nas.latency.table import LatencyTable, load_table
from nas.search.candidates import Start, check_limits
from nas.search.costing import Costing
from nas.search.front import (
    WITHIN,
    metadata_bytes,
)
from nas.search.goals import Goals, make_goals
from nas.search.run_folder import RunFolder
from nas.search.settings import SearchSettings
from nas.search.supernets import (
    check_cache,
    checkpoint_subject,
    read_given,
)
from nas.search.watch import Watcher
from nas.space import SearchSpace, load_space
from nas.space.architecture import Architecture
from nas.threads import usable_cores

SMALL_IMAGES = 80
SLOW_S = 2.0


@dataclass(frozen=True)
class Inputs:
    """Everything that was read and checked before anything is written.

    Attributes:
        warm_start: Architectures within the limits that are scored early.
        about: The data in a few lines.
    """

    settings: SearchSettings
    space: SearchSpace
    plan: str
    tables: dict[str, LatencyTable]
    dataset: Dataset
    costing: Costing
    start: Start
    warm_start: tuple[Architecture, ...]
    threads: int
    about: tuple[str, ...] = ()


def gather_inputs(run: RunFolder, settings: SearchSettings, watcher: Watcher) -> Inputs:
    """Read and check all inputs; the first thing said is whether the budget binds."""
    begun = run.read_run() if run.run_file.exists() else {}
    space = _space(run, settings, watcher)
    if settings.budget_on == "expected" and not space.may_exit:
        raise OptionError(
            "--budget-on expected is for a space with early exits",
            got=f"--space {settings.space}",
            do="leave --budget-on out",
        )
    goals, tables = make_goals(settings), _tables(settings)
    path = None if settings.data is None else Path(settings.data)
    index = scan(path, settings.seed, progress=_if_slow(watcher.progress))
    plan = settings.plan or choose_plan(space, index.source_size)
    space.plan(plan)
    costing = _costing(goals, tables, space, plan, index.classes)
    start = check_limits(costing, settings.seed)
    for advice in start.advice:
        watcher.say(advice)
    warm_start = _warm_start(settings, costing, watcher)
    about = tuple(describe(index))
    for line in about:
        watcher.say(line)
    if settings.supernet is None and settings.evaluator == "supernet":
        check_cache()
    elif settings.supernet is not None:
        read_given(Path(settings.supernet), checkpoint_subject(space, plan, index))
    threads = settings.threads or begun.get("threads") or usable_cores()
    _warn_of_few_images(len(index.validation.labels), watcher)
    dataset = decode(index, space.plan(plan).resolutions, progress=watcher.progress)
    return Inputs(
        settings, space, plan, tables, dataset, costing, start, warm_start, threads, about
    )


def _warm_start(
    settings: SearchSettings, costing: Costing, watcher: Watcher
) -> tuple[Architecture, ...]:
    """The architectures that are scored early; those beyond the limits are named and left out.

    Raises:
        ArchitectureError: One is of another space or input plan.
    """
    given = [costing.space.from_json(value) for value in settings.warm_start]
    for architecture in given:
        if architecture.plan != costing.plan:
            raise ArchitectureError(
                f"architectures of --warm-start are of the run's input plan; {architecture.id} is "
                "of another",
                got=architecture.plan,
                allowed=costing.plan,
                do=f"--plan {architecture.plan}, or other architectures",
            )
    inside = {a.id: a for a in given if costing.strain(a) <= 1}
    beyond = {a.id for a in given} - inside.keys()
    if beyond:
        watcher.say(f"Beyond the limits, and left out of --warm-start: {', '.join(sorted(beyond))}")
    return tuple(inside.values())


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
        space = load_space(settings.space)
    except (OptionError, SpaceError):
        if Path(settings.space).exists() or not run.space.exists():
            raise
        watcher.say(f"{settings.space} is gone: the run goes on with its own copy, {run.space}")
        space = load_space(run.space)
    return space


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
