"""A table's predictions against whole models, timed by code that the profiler does not have.

    python benchmarks/latency/whole_models.py --device x86 --seed 1 --out results.json

Draws architectures with a fresh seed, exports each with `nas export`, times every file twice with
onnxruntime alone, and compares `nas predict` with the first timing. The mean difference between
the two timings is the noise floor: a run whose floor is over 3 % is void. Rivals in the same run: a
line fitted to MACs, and one fitted to MACs, params and number of blocks, both on these very models
(which favours them).
"""

import argparse
import contextlib
import datetime
import io
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from nas.cli.main import main as nas


def command(*words: str) -> str:
    """What a `nas` command prints on standard output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = nas(list(words))
    if code:
        sys.exit(f"nas {' '.join(words)} failed with {code}")
    return out.getvalue()


def time_file(path: Path, threads: int, runs: int) -> float:
    """Median latency in milliseconds of a fresh session on a model file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    feed = {session.get_inputs()[0].name: np.random.rand(*shape).astype(np.float32)}
    for _ in range(20):
        session.run(None, feed)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def time_files(files: list[Path], options: argparse.Namespace) -> np.ndarray:
    """Lower quartile of several rounds in random order: disturbances only ever slow a round."""
    rounds = np.zeros((options.rounds, len(files)))
    for times in rounds:
        for i in random.sample(range(len(files)), len(files)):
            times[i] = time_file(files[i], options.threads, options.runs)
    return np.quantile(rounds, 0.25, axis=0)


def ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


def compare(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    errors = np.abs(predicted - measured) / measured
    return {
        "mape": float(errors.mean()),
        "within_5": float((errors <= 0.05).mean()),
        "within_10": float((errors <= 0.10).mean()),
        "rank_correlation": float(np.corrcoef(ranks(predicted), ranks(measured))[0, 1]),
    }


def fitted(features: list[np.ndarray], measured: np.ndarray) -> np.ndarray:
    """Least squares on relative errors, evaluated on the models it was fitted to."""
    matrix = np.stack([np.ones_like(measured), *features], axis=1)
    solution, *_ = np.linalg.lstsq(matrix / measured[:, None], np.ones_like(measured), rcond=None)
    return matrix @ solution


def costs(architectures: list[dict]) -> list[np.ndarray]:
    """MACs, params and number of blocks."""
    from nas import load_space

    space = load_space(architectures[0]["space"])
    networks = [space.network(space.from_json(a)) for a in architectures]
    return [
        np.array([n.cost.macs for n in networks], float),
        np.array([n.cost.params for n in networks], float),
        np.array([len(n.blocks) for n in networks], float),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True)
    parser.add_argument("--space", default="mobilenetv3")
    parser.add_argument("--plan", default="small")
    parser.add_argument("-n", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(options, Path(folder))
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def run(options: argparse.Namespace, folder: Path) -> dict:
    listed = command(
        "sample", "--space", options.space, "--plan", options.plan, "-n", str(options.n),
        "--seed", str(options.seed), "--json",
    )  # fmt: skip
    architectures = json.loads(listed)
    (folder / "all.json").write_text(listed)
    answers = json.loads(
        command("predict", "--device", options.device, "--arch", str(folder / "all.json"), "--json")
    )
    files = []
    for index, architecture in enumerate(architectures):
        source, file = folder / f"{index}.json", folder / f"{index}.onnx"
        source.write_text(json.dumps(architecture))
        command("export", "--arch", str(source), "--out", str(file))
        files.append(file)
    measured, again = (time_files(files, options) for _ in range(2))
    predicted = np.array([answer["predicted_ms"] for answer in answers])
    upper = np.array([answer["upper_ms"] for answer in answers])
    macs, params, blocks = costs(architectures)
    floor = float((np.abs(measured - again) / measured).mean())
    return {
        "date": datetime.date.today().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "onnxruntime": onnxruntime.__version__,
        "device": options.device,
        "seed": options.seed,
        "models": len(files),
        "noise_floor": floor,
        "void": floor > 0.03,
        "table": compare(predicted, measured),
        "under_upper_bound": float((measured <= upper).mean()),
        "upper_over_predicted": float(np.median(upper / predicted)),
        "rivals": {
            "second timing": compare(again, measured),
            "line on MACs": compare(fitted([macs], measured), measured),
            "line on MACs, params, blocks": compare(
                fitted([macs, params, blocks], measured), measured
            ),
        },
    }


if __name__ == "__main__":
    main()
