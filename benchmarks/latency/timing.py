"""Timing of ONNX files for the benchmarks: nothing of it comes from the profiler."""

import random
import statistics
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np

LOWEST = 0.25
"""Share of the rounds that counts: another program's work only ever makes one slower."""


QUIET = 1.05
"""Up to so many times its latency in quiet times, the guard is not slow."""
PATIENCE_S = 0.3
"""For one timing."""


def open_file(
    path: Path, runtime: str, threads: int, *, resting: bool = False
) -> Callable[[], object]:
    """A model ready to run; each call of the result is one inference.

    With `resting`, its threads sleep between calls: onnxruntime's otherwise wait busily, and slow
    the next model that has several.
    """
    rng = np.random.default_rng(0)
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.force_spinning_stop", str(int(resting)))
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        shape = session.get_inputs()[0].shape
        feed = {session.get_inputs()[0].name: rng.random(shape, dtype=np.float32)}
        return lambda: session.run(None, feed)
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
        "CACHE_DIR": str(path.parent / "compiled"),
    }  # fmt: skip
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    request = compiled.create_infer_request()
    shape = tuple(compiled.input(0).shape)
    request.set_input_tensor(openvino.Tensor(rng.random(shape, dtype=np.float32)))
    return lambda: request.infer()


def time_once(run: Callable[[], object], least_s: float) -> float:
    """Median latency in ms of runs that take together `least_s`, five at least, after as many."""
    for _ in range(5):
        run()
    times: list[float] = []
    while len(times) < 5 or sum(times) < least_s:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def time_files(
    files: list[Path], runtime: str, threads: int, rounds: int, seed: int, least_s: float = 0.005
) -> np.ndarray:
    """Latencies in ms, shape `N`: of rounds in random order, the mean of the lowest ones.

    Where a cache is shared, others' work slows what does not fit the core's own, for minutes: the
    slowest of the files is timed before and after every other, and what was timed while that one
    was slow is timed again, for a while.
    """

    def time_file(index: int) -> float:
        return time_once(open_file(files[index], runtime, threads), least_s)

    order, found = random.Random(seed), np.zeros((rounds, len(files)))
    slowest = int(np.argmax([time_file(i) for i in range(len(files))]))
    guard = Guard(open_file(files[slowest], runtime, threads, resting=True))
    for number, times in enumerate(found):
        for i in order.sample(range(len(files)), len(files)):
            times[i] = guard.quietly(lambda i=i: time_file(i))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    counting = max(1, round(LOWEST * rounds))
    return np.sort(found, axis=0)[:counting].mean(axis=0)


class Guard:
    """A model that shows whether the machine is as fast as in quiet times."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.run = run
        self.seen = [self.look() for _ in range(20)]

    def look(self) -> float:
        """Its latency now, the lowest of three."""
        return min(timeit.repeat(self.run, number=1, repeat=3))

    def quietly(self, measure: Callable[[], float]) -> float:
        """What is measured between two looks at a quiet machine, or last of all."""
        start, before = time.perf_counter(), self.look()
        while True:
            found, after = measure(), self.look()
            self.seen.append(after)
            if max(before, after) <= QUIET * np.quantile(self.seen, 0.1):
                return found
            if time.perf_counter() - start > PATIENCE_S:
                return found
            before = after


def floor(first: np.ndarray, second: np.ndarray) -> float:
    """The noise floor: mean difference between two timings of the same models."""
    return float((np.abs(first - second) / first).mean())
