"""Evaluations by Ray's actors: on this machine, or on a cluster that is there already."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nas.accuracy.score import SEARCH, Evaluator, Fidelity, Score
from nas.errors import NasError, OptionError
from nas.search.executors.executor import MOST, Outcome, describe
from nas.space.architecture import Architecture

STARTS = 3
"""How often in a row a worker may fail to start before the search gives up."""
AHEAD = 1
"""Evaluations that wait for the next idle worker."""
WAIT_S = 1.0
"""How long to wait for news at a time: Ctrl-C and time limits are seen between."""
CONNECT_S = 10.0
"""How long a cluster may take to answer."""


@dataclass(frozen=True)
class WorkerOptions:
    """What a user asks for.

    Attributes:
        workers: How many; `None` for as many as the cluster has room for.
        address: Of an existing cluster, `auto` for the one of this machine; `None` to start one.
        gpus_per_trial: Of each worker; below 1, several share one.
        threads: Of each worker.
        trial_limit_s: Longest time of an evaluation.
    """

    workers: int | None = None
    address: str | None = None
    gpus_per_trial: float = 0.0
    threads: int = 1
    trial_limit_s: float | None = None


class Worker:
    """An actor: makes its evaluator once, of what all workers of a node share."""

    def __init__(
        self, make: Callable[[Any], Evaluator], state: Any, threads: int, gpus: float
    ) -> None:
        if not gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        from nas.accuracy.device import use_threads

        use_threads(threads)
        self._evaluator = make(state)

    def ready(self) -> int:
        """Its process, once it can work."""
        return os.getpid()

    def evaluate(self, architecture: Architecture, fidelity: Fidelity) -> tuple[Any, ...]:
        """The numbers that its score is made of."""
        score = self._evaluator.evaluate(architecture, fidelity)
        return score.correct, score.images, score.per_class, score.shares, score.loss


@dataclass
class _Running:
    """An evaluation under way."""

    job: int
    actor: Any
    began: float = field(default_factory=time.monotonic)


class RayWorkers:
    """Evaluations by actors that are made anew when they are lost.

    Args:
        make: Makes the evaluator of a worker.
        state: What it is made of; goes to every node once.
        options: How many workers, where, with what.

    Raises:
        OptionError: The cluster does not answer, or has no room for a worker.
    """

    def __init__(
        self, make: Callable[[Any], Evaluator], state: Any, options: WorkerOptions
    ) -> None:
        self._options = options
        self._ray, self._started_here = _connect(options)
        self._make, self._state = self._ray.put(make), self._ray.put(state)
        self._actor = self._ray.remote(Worker).options(
            num_cpus=0 if options.gpus_per_trial else options.threads if options.address else 1,
            num_gpus=options.gpus_per_trial,
            max_restarts=0,
        )
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, _Running] = {}
        self._idle: list[Any] = []
        self._ahead: list[tuple[int, Architecture, Fidelity]] = []
        self._failed_starts = 0
        for _ in range(_number(self._ray, options)):
            self._start()

    def _start(self) -> None:
        actor = self._actor.remote(
            self._make, self._state, self._options.threads, self._options.gpus_per_trial
        )
        self._starting[actor.ready.remote()] = actor

    def free(self) -> int:
        """Workers that have nothing to do, and one more, so that none waits for a proposal."""
        return len(self._idle) + AHEAD - len(self._ahead)

    def submit(self, job: int, architecture: Architecture, fidelity: Fidelity = SEARCH) -> None:
        """Give it to an idle worker, or to the next that is."""
        self._ahead.append((job, architecture, fidelity))
        self._hand_out()

    def _hand_out(self) -> None:
        while self._ahead and self._idle:
            job, architecture, fidelity = self._ahead.pop(0)
            actor = self._idle.pop()
            self._running[actor.evaluate.remote(architecture, fidelity)] = _Running(job, actor)

    def wait(self) -> list[Outcome]:
        """Ended evaluations; also returns when a worker has started, or nothing happened."""
        refs = [*self._starting, *self._running]
        ended, _ = self._ray.wait(refs, num_returns=1, timeout=WAIT_S)
        if ended:
            ended, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        outcomes = []
        for ref in ended:
            if ref in self._starting:
                self._started(ref)
            else:
                outcomes.append(self._ended(ref))
        self._hand_out()
        return outcomes + self._over_time()

    def _started(self, ref: Any) -> None:
        actor = self._starting.pop(ref)
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayError as cause:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise NasError(
                    f"{STARTS} Ray workers in a row did not start: {_cause(cause)}",
                    do="nas of the same version on every node of the cluster",
                ) from cause
            self._start()
            return
        self._failed_starts = 0
        self._idle.append(actor)

    def _ended(self, ref: Any) -> Outcome:
        running = self._running.pop(ref)
        try:
            numbers = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as cause:
            self._idle.append(running.actor)
            return Outcome(running.job, None, _cause(cause))
        except self._ray.exceptions.RayError as cause:
            self._start()
            return Outcome(running.job, None, f"its worker was lost: {_cause(cause)}")
        self._idle.append(running.actor)
        return Outcome(running.job, Score(*numbers))

    def _over_time(self) -> list[Outcome]:
        """Evaluations beyond the limit, whose workers are killed and replaced."""
        limit_s = self._options.trial_limit_s
        if limit_s is None:
            return []
        late = [r for r, job in self._running.items() if time.monotonic() - job.began > limit_s]
        outcomes = []
        for ref in late:
            running = self._running.pop(ref)
            self._ray.kill(running.actor)
            self._start()
            outcomes.append(
                Outcome(running.job, None, f"it took longer than the limit of {limit_s:g} s")
            )
        return outcomes

    def close(self) -> None:
        """Stop the workers, and Ray if it was started here."""
        actors = [*self._idle, *self._starting.values(), *(r.actor for r in self._running.values())]
        for held in (self._idle, self._starting, self._running, self._ahead):
            held.clear()
        for actor in actors:
            self._ray.kill(actor)
        if self._started_here:
            self._ray.shutdown()
            self._started_here = False


def check_cluster(options: WorkerOptions) -> None:
    """Refuse a cluster that cannot work, before anything else takes time.

    Raises:
        OptionError: It does not answer, or has no room for a worker.
    """
    ray, started = _connect(options)
    try:
        _number(ray, options)
    finally:
        if started:
            ray.shutdown()


def _connect(options: WorkerOptions) -> tuple[Any, bool]:
    """Ray, and whether it was started or joined here."""
    ray = load_ray(local=options.address is None)
    if ray.is_initialized():
        return ray, False
    with _own_signals():
        return _begin(ray, options)


def _begin(ray: Any, options: WorkerOptions) -> tuple[Any, bool]:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if options.address is None:
        # By that name a new one is begun whatever runs here, and whatever RAY_ADDRESS says.
        ray.init("local", num_cpus=options.workers, include_dashboard=False, **quiet)
        return ray, True
    try:
        _check_answers(options.address)
        with _nothing_on_stderr():
            ray.init(address=options.address, **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as cause:
        if "InvalidAuthToken" in str(cause) + str(cause.__cause__):
            raise _wrong_token(options.address) from cause
        raise OptionError(
            "no Ray cluster answers at this address",
            got=options.address,
            allowed="the address of a cluster that runs, or auto for the one of this machine",
            do="ray start --head on one machine, then --ray-address ITS_IP:6379",
        ) from cause
    return ray, True


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray answers SIGTERM by itself from its start on; here that is a clean stop."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """Ray's own connection writes a line a second there while it fails, in 20 s; one is enough."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _wrong_token(address: str) -> OptionError:
    return OptionError(
        "this Ray cluster wants its token",
        got=f"{address}, and RAY_AUTH_MODE={os.environ.get('RAY_AUTH_MODE', '')}",
        allowed="the token of ray get-auth-token on the cluster, in ~/.ray/auth_token here",
        do="RAY_AUTH_MODE=token nas search ... (on a machine of the cluster: --ray-address auto)",
    )


def _number(ray: Any, options: WorkerOptions) -> int:
    """As many workers as were asked for, or as the cluster has room for."""
    has, gpus = ray.cluster_resources(), options.gpus_per_trial
    room = has.get("GPU", 0) / gpus if gpus else has.get("CPU", 0) / options.threads
    if options.address is None and not gpus:
        room = options.workers or room
    if room < 1:
        raise OptionError(
            "Ray has no room for a worker",
            got=f"{has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs",
            allowed=f"{gpus:g} GPUs for each" if gpus else f"{options.threads} CPUs for each",
            do="a smaller --gpus-per-trial" if gpus else "fewer --threads",
        )
    return min(int(room), options.workers or int(room))


def load_ray(*, local: bool) -> Any:
    """Ray, imported now: it takes its own settings from the environment while it is.

    Args:
        local: It is to be started on this machine alone, and listens only there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What workers print would break the progress bar and --json; reasons are told anyway.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    if local:  # by Ray's name for it a means against firewall questions on other systems
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    return ray


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        OSError: Nobody listens at `HOST:PORT`.
    """
    host, sign, port = address.removeprefix("ray://").rpartition(":")
    if sign and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()


def _cause(error: Exception) -> str:
    """What happened in the worker, in one line: Ray's texts are tracebacks and advice."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return describe(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    traceback = any(line.startswith("File ") or "creation task" in line for line in lines)
    return f"{type(error).__name__}: {lines[-1 if traceback else 0] if lines else ''}"[:MOST]
