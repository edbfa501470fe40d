"""Which executor a run gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.accuracy.portable import pack_evaluator, unpack_evaluator
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.search.executors.execution import Execution
from nas.search.executors.executor import Executor, InProcess
from nas.threads import usable_cores

if TYPE_CHECKING:
    from nas.search.executors.ray_workers import WorkerOptions


def make_executor(
    evaluator: SupernetEvaluator | TrainingEvaluator, execution: Execution
) -> Executor:
    """Workers where they were asked for; Ray is loaded only then."""
    if not execution.uses_ray:
        return InProcess(evaluator)
    from nas.search.executors.ray_workers import RayWorkers

    state = pack_evaluator(evaluator, here=execution.ray_address is None)
    return RayWorkers(unpack_evaluator, state, _options(execution))


def check_executor(execution: Execution, *, needs_storage: bool) -> None:
    """Refuse workers and databases that there cannot be, before anything takes time.

    Args:
        execution: As it was asked for.
        needs_storage: Whether the run has no copy of all trials yet.

    Raises:
        OptionError: A cluster or database does not answer, or a cluster has no room for a worker.
    """
    execution.check()
    if execution.storage is not None and needs_storage:
        from nas.search.database import make_tables

        make_tables(execution.storage)
    if execution.ray_address is not None or (execution.uses_ray and execution.gpus_per_trial):
        from nas.search.executors.ray_workers import check_cluster

        check_cluster(_options(execution))


def _options(execution: Execution) -> WorkerOptions:
    """Threads of workers on this machine share its cores; on a cluster each has one."""
    from nas.search.executors.ray_workers import WorkerOptions

    here = execution.workers if execution.ray_address is None else None
    shared = max(1, usable_cores() // here) if here else 1
    return WorkerOptions(
        workers=execution.workers,
        address=execution.ray_address,
        gpus_per_trial=execution.gpus_per_trial,
        threads=execution.threads or shared,
        trial_limit_s=execution.trial_limit_s,
    )
