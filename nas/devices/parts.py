"""The jobs of a profile: one, and more where too little was measured to interpolate the rest.

Results are kept in a folder until the table is written, so that a stopped profile goes on, and one
that is carried by hand can have several parts.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from nas.devices.agent.session import TOLERANCE
from nas.devices.bundle import Job, Result, read_result, write_bundle
from nas.devices.lines import Progress
from nas.devices.plan import Plan, ProfileSettings, with_more_blocks
from nas.devices.rows import interpolation_is_safe
from nas.devices.targets import in_mode, mode_of
from nas.devices.transports import Transport
from nas.errors import MeasurementError, ResultError, RunFolderError
from nas.files import cache_folder, disk_errors


def work_folder(settings: ProfileSettings, out: Path) -> Path:
    """Where finished parts of a profile lie until its table is written."""
    return out / f".{settings.name}.partial"


@contextlib.contextmanager
def alone(table: Path) -> Iterator[None]:
    """Be the only process that measures for a table; the lock is a file in the cache folder.

    Args:
        table: Folder of the table, which need not exist.

    Raises:
        RunFolderError: Another one does, or the lock cannot be made.
    """
    path = cache_folder() / "locks" / f"{name_of(table)}.lock"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout as cause:  # an OSError too, but not the disk's
            raise RunFolderError(
                f"another process measures the same device, for {table}",
                do="the same command when it has ended",
            ) from cause
    try:
        yield
    finally:
        lock.release()


def name_of(table: Path) -> str:
    """A name for files that belong to the table in a folder, wherever that is."""
    return hashlib.sha256(str(table.resolve()).encode()).hexdigest()[:16]


def so_far(plan: Plan, work: Path) -> tuple[Plan, Result | None]:
    """The results that are kept, as one, if they suffice; else none, and what to measure next.

    Returns:
        A plan with all blocks that were measured, whose job is the last, or the next.
    """
    return gather(plan, lambda job: kept_result(job, work))


def gather(plan: Plan, find: Callable[[Job], Result | None]) -> tuple[Plan, Result | None]:
    """Results of one job after the other, until they suffice or one is not found."""
    result: Result | None = None
    while True:
        found = find(plan.job)
        if found is None:
            return plan, None
        result = found if result is None else _together(result, found)
        if interpolation_is_safe(plan, result):
            return plan, result
        plan = with_more_blocks(plan)


def kept_result(job: Job, work: Path) -> Result | None:
    """A job's result, if it is kept."""
    if not any(work.glob(kept_path(work, "*").name)):  # an id takes seconds
        return None
    job_id = job_id_of(job)
    path = kept_path(work, job_id)
    return _read_kept(path, job, job_id) if path.exists() else None


def kept_path(work: Path, job_id: str) -> Path:
    """Where the result of a job is kept."""
    return work / f"{job_id[:16]}.results.json"


def run_job(job: Job, transport: Transport, work: Path, progress: Progress) -> Result:
    """Have a job measured, if that is not done already; `work` is for the caller to remove."""
    bundle = work / "bundle.zip"
    for cut_off in work.glob(f".{bundle.name}.*"):  # of a process that was killed while it wrote
        cut_off.unlink()
    job_id = write_bundle(bundle, job)
    result = kept_path(work, job_id)
    if not result.exists():
        transport.run(bundle, job_id, result, progress)
    return _read_kept(result, job, job_id)


def _read_kept(path: Path, job: Job, job_id: str) -> Result:
    """A result of ours; a damaged one would be in the way for good.

    Raises:
        ResultError: It is damaged; it was removed.
    """
    try:
        return read_result(path, job, job_id)
    except ResultError as cause:
        with disk_errors(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        reason = str(cause).partition(";")[0]
        raise ResultError(
            f"a result that was kept of this profile was damaged and is removed: {reason}",
            do="the same command, which measures it again; where it was carried here: --bundle, or "
            "--import of the carried file again",
        ) from cause


def job_id_of(job: Job) -> str:
    """The id that the bundle of a job has."""
    with tempfile.TemporaryDirectory() as folder:
        return write_bundle(Path(folder) / "bundle.zip", job)


class UnlikeError(MeasurementError):
    """Two parts of a profile do not belong together."""


def _together(first: Result, second: Result) -> Result:
    """Two sessions on one device as one: the later one's conditions, all timings and energies.

    Raises:
        UnlikeError: They are of two devices, or of one that was not as fast in the second.
    """
    if _measured_on(first) != _measured_on(second):
        raise UnlikeError(
            "two parts of a profile were measured on two machines or by two versions",
            got=_measured_on(second),
            allowed=_measured_on(first),
            do="the second part again on the machine of the first; or the first part anew",
        )
    for name in first.references_ms.keys() & second.references_ms.keys():
        ratio = second.references_ms[name] / first.references_ms[name]
        if max(ratio, 1 / ratio) > TOLERANCE:
            raise UnlikeError(
                "two parts of a profile were measured at different speeds",
                got=f"a reference that took {ratio:.2f} times as long in the second",
                allowed=f"{TOLERANCE - 1:.0%}",
                do="measure again when clock and temperature are steady",
            )
    return replace(
        second,
        repeated=first.repeated + second.repeated,
        unsettled=max(first.unsettled, second.unsettled),
        timings={**first.timings, **second.timings},
        energies=({} if first.meter != second.meter else first.energies) | second.energies,
    )


def _measured_on(result: Result) -> str:
    processor = result.machine.get("processor", "no processor told")
    told = in_mode(processor, mode_of(result.conditions["after"]))
    return f"{told}, runtime {result.version}"
