"""Real Ray: workers that score, raise, die, hang, and do not start."""

import ipaddress
import os
import signal
import subprocess
import sys
import time

import pytest

from nas.accuracy.portable import pack_evaluator, unpack_evaluator
from nas.accuracy.recipe import Recipe
from nas.accuracy.score import Score
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.errors import NasError, OptionError
from nas.models import Supernet
from nas.search.executors.ray_workers import RayWorkers, WorkerOptions
from nas.space import sample as sampling

pytestmark = pytest.mark.xdist_group("ray")


class Odd:
    """Does what the resolution and the state say."""

    def __init__(self, state):
        self.state = state

    def evaluate(self, architecture, fidelity):
        what = self.state.get(architecture.id, "score")
        if what == "raise":
            raise ValueError("no\n such thing")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "die once" and not os.path.exists(self.state["mark"]):
            with open(self.state["mark"], "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "hang":
            time.sleep(600)
        return Score(1, 2)


def no_start(state):
    raise ImportError("this node lacks something")


@pytest.fixture
def workers():
    made = []

    def make(factory, state, **options):
        made.append(RayWorkers(factory, state, WorkerOptions(**{"workers": 2, **options})))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def architectures(space):
    return sampling.smallest(space, "small"), sampling.largest(space, "small")


def finish(executor, jobs):
    """Submit all, wait for all; outcomes by job."""
    left, found = list(jobs), {}
    deadline = time.monotonic() + 120
    while len(found) < len(jobs):
        assert time.monotonic() < deadline
        while left and executor.free():
            executor.submit(*left.pop(0))
        found |= {outcome.job: outcome for outcome in executor.wait()}
    return found


def supernet(space, dataset):
    return SupernetEvaluator(Supernet(space, "small", 10, seed=1), dataset, 64, 100)


def training(space, dataset):
    return TrainingEvaluator(space, dataset, Recipe(1), 5, 100, steps=2)


@pytest.mark.parametrize("make", [supernet, pytest.param(training, marks=pytest.mark.slow)])
def test_workers_score_as_this_process_does(workers, space, dataset, make, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # of a cluster that was not asked for
    evaluator = make(space, dataset)
    executor = workers(unpack_evaluator, pack_evaluator(evaluator, here=True))
    chosen = [sampling.baseline(space, "small", width) for width in space.file.width]
    found = finish(executor, list(enumerate(chosen * 2)))
    scores = [found[job].score for job in range(len(found))]
    assert scores == [evaluator.evaluate(a) for a in chosen] * 2


def test_what_raises_dies_or_hangs_has_a_reason_and_the_others_go_on(workers, space, architectures):
    small, large = architectures
    odd = [large, *(sampling.baseline(space, "small", width, 16) for width in (0.5, 1.0))]
    reasons = {
        "raise": "ValueError: no such thing",
        "die": "its worker was lost: ",
        "hang": "it took longer than the limit of 2 s",
    }
    state = {a.id: what for a, what in zip(odd, reasons, strict=True)}
    executor = workers(Odd, state, trial_limit_s=2.0)
    found = finish(executor, list(enumerate([small, *odd, small, small])))
    for job, reason in enumerate(reasons.values(), 1):
        assert found[job].score is None
        assert found[job].reason.startswith(reason), found[job].reason
    assert [found[job].score for job in (0, 4, 5)] == [Score(1, 2)] * 3


def test_a_lost_worker_is_replaced(workers, architectures, tmp_path):
    small, large = architectures
    executor = workers(Odd, {large.id: "die once", "mark": str(tmp_path / "mark")}, workers=1)
    first = finish(executor, [(0, large)])
    assert first[0].score is None
    assert finish(executor, [(0, large), (1, small)])[0].score == Score(1, 2)


def test_one_evaluation_waits_for_the_next_idle_worker(workers, architectures):
    executor = workers(Odd, {}, workers=1)
    assert executor.free() == 1  # before the worker has started
    executor.submit(0, architectures[0])
    assert executor.free() == 0
    while not executor.free():  # until the worker has started with it
        executor.wait()
    executor.submit(1, architectures[1])
    found = {}
    while len(found) < 2:
        found |= {outcome.job: outcome.score for outcome in executor.wait()}
    assert found == {0: Score(1, 2), 1: Score(1, 2)}
    assert executor.free() == 2


@pytest.mark.slow
def test_workers_that_never_start_end_the_search(workers):
    executor = workers(no_start, {})
    with pytest.raises(NasError, match=r"3 Ray workers in a row did not start: .*lacks something"):
        for _ in range(120):
            executor.wait()


def test_ray_listens_on_this_machine_alone_and_prints_nothing(tmp_path):
    program = f"""
import os, signal, time
import psutil
from nas.search.executors.ray_workers import RayWorkers, WorkerOptions

workers = RayWorkers(lambda state: state, None, WorkerOptions(workers=1))
while workers.free() < 2:
    workers.wait()
family = psutil.Process().children(recursive=True)
found = [c for p in [psutil.Process(), *family] for c in p.net_connections()]
with open({str(tmp_path / "ports")!r}, "w") as file:
    file.write(" ".join(sorted({{c.laddr.ip for c in found if c.status == "LISTEN"}})))
[os.kill(p.pid, signal.SIGKILL) for p in family if "ray::Worker" in " ".join(p.cmdline())]
time.sleep(3)
workers.close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    addresses = (tmp_path / "ports").read_text().split()
    assert addresses and all(
        ipaddress.ip_address(a.removeprefix("::ffff:")).is_loopback for a in addresses
    )


def test_a_cluster_that_does_not_answer_is_one_line():
    with pytest.raises(OptionError, match=r"no Ray cluster answers .*; got '127\.0\.0\.1:1'; "):
        RayWorkers(Odd, {}, WorkerOptions(address="127.0.0.1:1"))
