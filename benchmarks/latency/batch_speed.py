"""How fast architectures are predicted: one by one, and as rows of codes.

    python benchmarks/latency/batch_speed.py --out results.json

Side by side in the same run, on one core: `Predictor.architecture` on an architecture,
`BatchPredictor.predict` on one row, and on a million rows; the answers are compared.
"""

import argparse
import datetime
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np

import nas
from nas.latency.batch import BatchPredictor

CASES = (
    ("x86", "mobilenetv3", "small"),
    ("jetson-nano", "mobilenetv3", "large"),
    ("jetson-nano", "mobilenetv2", "small"),
    ("jetson-nano", "nas-bench-macro", "small"),
)


def seconds(action, repeats: int) -> float:
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def case(device: str, name: str, plan: str, seed: int) -> dict:
    predictor = nas.Predictor(nas.load_table(device), nas.load_space(name), plan, 10)
    start = time.perf_counter()
    batch = BatchPredictor(predictor)
    built_s = time.perf_counter() - start
    rng = np.random.default_rng(seed)
    codes = batch.book.sample(1_000_000, rng)
    drawn = [batch.book.decode(row) for row in codes[:500]]
    found = batch.predict(codes)
    expected = np.array([predictor.architecture(a).predicted_ms for a in drawn])
    difference = float(np.abs(found.predicted_ms[:500] / expected - 1).max())
    rows = [codes[i : i + 1] for i in range(500)]
    one_s = seconds(lambda: [predictor.architecture(a) for a in drawn], 5) / 500
    row_s = seconds(lambda: [batch.predict(row) for row in rows], 5) / 500
    encode_s = seconds(lambda: [batch.book.encode([a]) for a in drawn], 5) / 500
    many_s = seconds(lambda: batch.predict(codes), 7)
    return {
        "device": device, "space": name, "plan": plan,
        "one_architecture_us": 1e6 * one_s,
        "one_row_us": 1e6 * row_s,
        "encode_and_one_row_us": 1e6 * (encode_s + row_s),
        "million_rows_per_second": 1e-6 * len(codes) / many_s,
        "tables_built_in_s": built_s,
        "largest_relative_difference": difference,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report = {
        "date": datetime.date.today().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "seed": options.seed,
        "cases": [case(*names, options.seed) for names in CASES],
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
