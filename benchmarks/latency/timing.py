"""Timing of ONNX files for the benchmarks: nothing of it comes from the profiler."""

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

LOWEST = 0.25
"""Share of the rounds that counts: another program's work only ever makes one slower."""
STRETCHES = 8
"""While a model is loaded."""


def open_file(path: Path, runtime: str, threads: int) -> Callable[[], object]:
    """A model ready to run; each call of the result is one inference."""
    rng = np.random.default_rng(0)
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
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
    """Median latency in ms of the fastest stretch, of five runs and `least_s` or more each.

    Others' work in a cache that is shared comes and goes within milliseconds.
    """
    for _ in range(5):
        run()
    return min(time_stretch(run, least_s) for _ in range(STRETCHES))


def time_stretch(run: Callable[[], object], least_s: float) -> float:
    times: list[float] = []
    while len(times) < 5 or sum(times) < least_s:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def time_files(
    files: list[Path], runtime: str, threads: int, rounds: int, seed: int, least_s: float = 0.005
) -> np.ndarray:
    """Latencies in ms, shape `N`: of rounds in random order, the mean of the lowest ones."""
    order, found = random.Random(seed), np.zeros((rounds, len(files)))
    for number, times in enumerate(found):
        for i in order.sample(range(len(files)), len(files)):
            times[i] = time_once(open_file(files[i], runtime, threads), least_s)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    counting = max(1, round(LOWEST * rounds))
    return np.sort(found, axis=0)[:counting].mean(axis=0)


def floor(first: np.ndarray, second: np.ndarray) -> float:
    """The noise floor: mean difference between two timings of the same models."""
    return float((np.abs(first - second) / first).mean())
