"""Another process burns the core for a part of a profile: is it noticed, and is the table as good?

    python benchmarks/latency/disturbance.py --seed 1 --out results.json

Profiles the default space's small plan on one processor of this machine, while for a third of the
time a busy process is held on the same one. Compares the table with a hundred whole models that are
timed twice by code that the profiler does not have, and with the same profile undisturbed.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from timing import floor, time_files
from whole_models import compare, export

from nas import Predictor, load_space, sample
from nas.devices.plan import ProfileSettings
from nas.devices.profile import profile
from nas.devices.transports.local import Local


def burn(processor: int) -> None:
    """Use all of a processor."""
    os.sched_setaffinity(0, {processor})
    while True:
        sum(range(10_000))


class Burner:
    """A busy process between two shares of the progress; `seconds` says how long it ran."""

    def __init__(self, processor: int, begin: float, end: float) -> None:
        self.processor, self.begin, self.end = processor, begin, end
        self.process: multiprocessing.Process | None = None
        self.seconds, self.done = 0.0, False
        self.lock = threading.Lock()

    def __call__(self, done: int, total: int) -> None:
        with self.lock:
            share = done / total
            if self.process is None and not self.done and self.begin <= share < self.end:
                self.process = multiprocessing.Process(
                    target=burn, args=(self.processor,), daemon=True
                )
                self.process.start()
                self.started = time.perf_counter()
            if self.process is not None and share >= self.end:
                self.stop()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.seconds += time.perf_counter() - self.started
            self.process, self.done = None, True


def measure(settings: ProfileSettings, burner: Burner | None, folder: Path) -> tuple:
    start = time.perf_counter()
    table = profile(settings, Local(), folder, burner or (lambda *_: None))
    if burner is not None:
        burner.stop()
    return table, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    processor = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processor})  # the agent inherits it: the burner cannot be evaded
    space = load_space("mobilenetv3")
    settings = ProfileSettings("burnt", space, "small", (options.resolution,), (10,))
    rng = np.random.default_rng(options.seed)
    drawn = []
    while len(drawn) < options.n:
        found = sample(space, "small", rng)
        drawn += [found] if found.resolution == options.resolution else []
    answers = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = export([a.to_json() for a in drawn], folder)
        for label, burner in (("quiet", None), ("disturbed", Burner(processor, 0.1, 0.45))):
            table, seconds = measure(settings, burner, folder / label)
            session = table.device.session
            predictor = Predictor(table, space, "small", 10)
            answers[label] = {
                "predicted": np.array([predictor.architecture(a).predicted_ms for a in drawn]),
                "facts": {
                    "seconds": seconds,
                    "burnt_seconds": burner.seconds if burner else 0.0,
                    "timings_done_again": session.repeated,
                    "unsettled": session.unsettled,
                },
            }
        measured, again = (
            time_files(files, "onnxruntime", 1, options.rounds, seed) for seed in (1, 2)
        )
    second = compare(again, measured)
    report = {
        "date": datetime.date.today().isoformat(),
        "seed": options.seed,
        "noise_floor": floor(measured, again),
        "void": floor(measured, again) > 0.03,
        "second timing": second,
    }
    for label, answer in answers.items():
        found = compare(answer["predicted"], measured)
        gap = second["rank_correlation"] - found["rank_correlation"]
        below = {"rank_correlation_below_that_of_two_timings": gap}
        report[label] = {**answer["facts"], **found, **below}
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
