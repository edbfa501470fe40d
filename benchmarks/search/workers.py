"""How busy Ray's workers are kept, and how much faster they score than one process.

    python benchmarks/search/workers.py --data DATA --out results.json

1. The whole loop of a search (our sampler, a journal file) with an evaluation that sleeps two
   seconds, on 16 workers: 320 trials. Efficiency is the time that 304 of them would take if no
   worker ever waited, over the time from the first result to the last.
2. The same 64 architectures scored with a supernet's weights (untrained: only the time counts) by
   one process with one thread, one with all cores, one worker and two workers of one thread each;
   in turn, two rounds, medians.
"""

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from nas import Predictor, load_space, load_table
from nas.accuracy.portable import pack_evaluator, unpack_evaluator
from nas.accuracy.score import Score
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.data import load_dataset
from nas.models import Supernet
from nas.search.candidates import check_limits
from nas.search.costing import Costing
from nas.search.executors.executor import Executor, InProcess
from nas.search.executors.ray_workers import AHEAD, RayWorkers, WorkerOptions
from nas.search.goals import make_goals
from nas.search.proposals import Hunt
from nas.search.samplers.repairing import quiet_optuna
from nas.search.settings import read_settings
from nas.search.store import Journal
from nas.search.trials import run_trials
from nas.space import sample as sampling

SLEEP_S, SLEEPERS, SLEEPS = 2.0, 16, 320
ARCHITECTURES, ROUNDS = 64, 2


class Sleeper:
    """An evaluation of two seconds that needs no processor."""

    def __init__(self, state: None) -> None:
        pass

    def evaluate(self, architecture, fidelity):
        time.sleep(SLEEP_S)
        return Score(int(architecture.id, 16) % 1000, 1000)


class Stopwatch:
    """Remembers when results came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.done = 0

    def say(self, text: str) -> None:
        print(text)

    def progress(self, stage: str, done: int, total: int, note: str = "") -> None:
        if done > self.done:
            self.times += [time.perf_counter()] * (done - self.done)
            self.done = done
            print(f"\r{done}/{total}", end="", flush=True)


def sleep_efficiency() -> dict:
    """Of the loop with sleeping workers."""
    settings = read_settings(
        None, {"device": "jetson-nano", "budget": "4ms", "trials": SLEEPS, "seed": 0}
    )
    space = load_space("mobilenetv3")
    predictor = Predictor(load_table("jetson-nano"), space, "small", 10)
    costing = Costing({"jetson-nano": predictor}, make_goals(settings), 9000)
    hunt = Hunt(settings, costing, check_limits(costing, 0))
    watch = Stopwatch()
    workers = RayWorkers(Sleeper, None, WorkerOptions(workers=SLEEPERS))
    with tempfile.TemporaryDirectory() as folder:
        run_trials(hunt, Journal(Path(folder) / "study.journal"), watch, workers)
    workers.close()
    print()
    took = watch.times[-1] - watch.times[0]
    ideal = SLEEP_S * (SLEEPS - SLEEPERS) / SLEEPERS
    return {
        "workers": SLEEPERS, "trials": SLEEPS, "sleep_s": SLEEP_S,
        "first_to_last_s": round(took, 2), "efficiency": round(ideal / took, 4),
    }  # fmt: skip


def seconds_for(executor: Executor, architectures: list) -> float:
    """To score all."""
    start, left, done = time.perf_counter(), list(enumerate(architectures)), 0
    while done < len(architectures):
        while left and executor.free():
            executor.submit(*left.pop())
        done += len(executor.wait())
    return time.perf_counter() - start


def real_evaluations(data: Path | None, images: int) -> dict:
    """Seconds for each way to score the same architectures."""
    space = load_space("mobilenetv3")
    dataset = load_dataset(data, 0, resolutions=tuple(space.plan("small").resolutions))
    supernet = Supernet(space, "small", len(dataset.classes), 0)
    evaluator = SupernetEvaluator(supernet, dataset, 512, images)
    rng = np.random.default_rng(0)
    chosen = [sampling.sample(space, "small", rng) for _ in range(ARCHITECTURES)]
    cores = os.cpu_count() or 1
    seconds: dict[str, list[float]] = {}

    def here(threads: int) -> None:
        torch.set_num_threads(threads)
        name = f"one process, {threads} threads"
        seconds.setdefault(name, []).append(seconds_for(InProcess(evaluator), chosen))

    def there(workers: int) -> None:
        options = WorkerOptions(workers=workers, threads=1)
        executor = RayWorkers(unpack_evaluator, pack_evaluator(evaluator, here=True), options)
        while executor.free() < workers + AHEAD:
            executor.wait()
        seconds_for(executor, chosen[:workers])  # warm
        name = f"{workers} workers of 1 thread"
        seconds.setdefault(name, []).append(seconds_for(executor, chosen))
        executor.close()

    for _ in range(ROUNDS):
        for step in (lambda: here(1), lambda: there(1), lambda: there(2), lambda: here(cores)):
            step()
        print(json.dumps({name: np.round(s, 2).tolist() for name, s in seconds.items()}))
    medians = {name: round(float(np.median(s)), 3) for name, s in seconds.items()}
    return {
        "data": dataset.name, "images": images, "architectures": ARCHITECTURES, "seconds": medians,
        "all_rounds": {name: np.round(s, 3).tolist() for name, s in seconds.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="images (default: embedded digits)")
    parser.add_argument("--images", type=int, default=1000, help="scored for each architecture")
    parser.add_argument("--only", choices=["sleep", "real"], help="one of the two")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    quiet_optuna()
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    if options.only != "sleep":
        result["real"] = real_evaluations(options.data, options.images)
        print(json.dumps(result["real"]["seconds"]))
    if options.only != "real":
        result["sleep"] = sleep_efficiency()
        print(json.dumps(result["sleep"]))
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
