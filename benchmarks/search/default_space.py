"""Samplers side by side on the default space, whose accuracies were recorded from a supernet.

    python benchmarks/search/default_space.py --recorded results/supernet-accuracies.json \
        --device epyc-zen5-onnxruntime-1 --out results.json
    ... --percentile 30            # a hard budget that 30 % of random architectures meet
    ... --device A --device B      # two latencies at once

The recorded architectures are a tiny part of the space, so that samplers cannot be held to them
alone. As NAS-Bench-301 does (Siems et al. 2020, arXiv:2008.09777), a model is fitted to them:
gradient-boosted trees, which no sampler here uses, and a residual for each architecture, drawn once
with the spread that held-out architectures had; the results say how good it is. Latencies are those
of measured tables. A proposal over the budget is told as such and costs nothing.

Started again with the same `--out`, it goes on. Hypervolume fractions are of the best known front:
that of all samplers' networks together with a long evolution on the model itself.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import sys
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent))
from record_supernet import PLAN, digits, draw
from samplers import COMPARED, Run, known_runs, run_all, write_results

from nas import BatchPredictor, Predictor, load_space, load_table
from nas.pareto import hypervolume, non_dominated
from nas.search.samplers.space_domain import SpaceDomain
from nas.space.choices import ChoiceRows

AFTER = (25, 50, 100, 200)
LEVELS = (0.95, 0.98)
SAMPLES = 2000


class Recorded:
    """A problem as the samplers want it."""

    def __init__(self, recorded: dict, devices: list[str], percentile: float | None) -> None:
        self.space = load_space("mobilenetv3")
        self.rows = ChoiceRows(self.space, PLAN)
        self.latency = dict.fromkeys(devices)
        tables = [Predictor(load_table(name), self.space, PLAN, 10) for name in devices]
        self._predictors = [BatchPredictor(table) for table in tables]
        self._known: dict[str, list[float]] = {}
        self._codes: dict[bytes, str] = {}
        codes = list(recorded)
        self._fit(
            np.array([self._parse(code) for code in codes]), np.array(list(recorded.values()))
        )
        self.limits = None
        if percentile is not None:
            drawn = draw(np.array(self.rows.sizes), SAMPLES, np.random.default_rng(99))[::2]
            found = self._latencies(self.rows.canonical(drawn))
            self.limits = np.percentile(found, percentile, axis=0)

    @staticmethod
    def _parse(code: str) -> list[int]:
        return [-1 if digit == "-" else int(digit) for digit in code]

    def _latencies(self, rows: np.ndarray) -> np.ndarray:
        packed = self.rows.pack(rows)
        return np.stack([p.predict(packed).predicted_ms for p in self._predictors], axis=1)

    def _features(self, rows: np.ndarray) -> np.ndarray:
        plain = self.domain_features.describe(rows).features
        return np.concatenate([rows, plain], axis=1)

    @cached_property
    def domain_features(self) -> SpaceDomain:
        return self.domain()

    def _fit(self, rows: np.ndarray, accuracies: np.ndarray) -> None:
        self.limits = None
        x, y = self._features(rows), np.log(1 - accuracies)
        model = HistGradientBoostingRegressor(max_iter=600, learning_rate=0.05, random_state=0)
        folds = KFold(5, shuffle=True, random_state=0)
        held_out = cross_val_predict(model, x, y, cv=folds)
        self.spread = float(np.std(held_out - y))
        self.quality = {
            "architectures": len(y),
            "r2_of_log_error_held_out": round(1 - float(np.var(held_out - y) / np.var(y)), 4),
            "rank_correlation_held_out": round(float(spearmanr(held_out, y).statistic), 4),
            "residual_of_accuracy": round(float(np.std(np.exp(held_out) - np.exp(y))), 5),
        }
        self._model = model.fit(x, y)

    def code_of(self, row: np.ndarray) -> str:
        """Digits of the canonical row."""
        code = self._codes.get(row.tobytes())
        if code is None:
            canonical = self.rows.canonical(row[None])[0]
            code = self._codes[row.tobytes()] = digits(canonical)
        return code

    def values(self, code: str) -> list[float]:
        """Error and latencies."""
        if code not in self._known:
            rows = np.array([self._parse(code)])
            seed = int(hashlib.sha256(code.encode()).hexdigest()[:12], 16)
            residual = self.spread * np.random.default_rng(seed).normal()
            log_error = float(self._model.predict(self._features(rows))[0]) + residual
            self._known[code] = [min(np.exp(log_error), 1.0), *self._latencies(rows)[0].tolist()]
        return self._known[code]

    def excess(self, code: str) -> list[float]:
        """How far each latency is over its limit, as a share of it; below zero within."""
        if self.limits is None:
            return []
        return (np.array(self.values(code)[1:]) / self.limits - 1).tolist()

    def domain(self) -> SpaceDomain:
        """For our sampler."""

        def costs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = self._latencies(rows)
            inside = np.ones(len(rows), bool)
            if self.limits is not None:
                inside = (found <= self.limits).all(axis=1)
            return found, inside[:, None]

        return SpaceDomain(self.space, PLAN, 10, costs)


def points_of(problem: Recorded, codes: list[str]) -> np.ndarray:
    return np.array([problem.values(code) for code in codes])


def evolved_front(problem: Recorded, rounds: int, rng: np.random.Generator) -> list[str]:
    """Networks near the true front: many generations of mutations of the non-dominated ones."""
    sizes = np.array(problem.rows.sizes)
    drawn = draw(sizes, 2000, rng)
    known = {problem.code_of(row): row for row in drawn}
    for _ in range(rounds):
        codes = [code for code in known if max(problem.excess(code), default=0) <= 0]
        front = np.flatnonzero(non_dominated(points_of(problem, codes)))
        parents = np.array([known[codes[i]] for i in front])
        children = parents[rng.integers(len(parents), size=400)]
        changed = rng.random(children.shape) < 1.5 / len(sizes)
        children = np.where(changed, rng.integers(sizes, size=children.shape), children)
        known = {codes[i]: known[codes[i]] for i in front}
        known |= {problem.code_of(row): row for row in children}
    codes = [code for code in known if max(problem.excess(code), default=0) <= 0]
    return [codes[i] for i in np.flatnonzero(non_dominated(points_of(problem, codes)))]


def fractions(problem: Recorded, order: list[str], reference: np.ndarray, whole: float) -> list:
    points = points_of(problem, order)
    return [hypervolume(points[: n + 1], reference) / whole for n in range(len(points))]


def summary(problem: Recorded, runs: list[Run], reference: np.ndarray, whole: float) -> dict:
    """Median, lowest and highest over the seeds."""
    curves = [np.array(fractions(problem, r.order, reference, whole)) for r in runs]
    found = {
        f"fraction after {n}": [c[n - 1] for c in curves] for n in AFTER
        if all(len(c) >= n for c in curves)
    }  # fmt: skip
    for level in LEVELS:
        reached = [np.flatnonzero(c >= level) for c in curves]
        found[f"networks to {100 * level:g} %"] = [
            float(index[0] + 1) if len(index) else np.inf for index in reached
        ]
    return {
        name: [None if np.isinf(v) else round(float(v), 4)
               for v in (np.median(values), np.min(values), np.max(values))]
        for name, values in found.items()
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recorded", type=Path, required=True)
    parser.add_argument("--device", action="append", required=True)
    parser.add_argument("--percentile", type=float, help="of the latencies of random ones: budget")
    parser.add_argument("--sampler", default=COMPARED, help="as in nas_bench_macro.py")
    parser.add_argument("--seeds", default="0:20")
    parser.add_argument("--budget", type=int, default=100, help="distinct networks")
    parser.add_argument("--rounds", type=int, default=300, help="of the long evolution")
    parser.add_argument("--processes", type=int, default=1, help="that share the seeds")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    recorded = json.loads(options.recorded.read_text())["accuracies"]
    make = partial(Recorded, recorded, options.device, options.percentile)
    problem = make()
    print(json.dumps(problem.quality))
    known, asked = known_runs(options.out), (options.sampler, options.seeds, options.budget)
    for runs in run_all(make, *asked, options.processes, known):
        write_results(options.out, {}, runs)  # the rest follows
        print(f"\r{sum(map(len, runs.values()))} runs", end="", file=sys.stderr, flush=True)
    best = evolved_front(problem, options.rounds, np.random.default_rng(5))
    every = list({*best, *(code for rs in runs.values() for r in rs for code in r.order)})
    points = points_of(problem, every)
    first = [rs[0].order[:10] for rs in runs.values()]
    worst = points_of(problem, [code for order in first for code in order]).max(axis=0)
    reference = np.maximum(worst, points[non_dominated(points)].max(axis=0)) * 1.0001
    whole = hypervolume(points, reference)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "devices": options.device, "percentile": options.percentile,
        "limits_ms": None if problem.limits is None else problem.limits.tolist(),
        "model": problem.quality, "budget": options.budget,
        "evolved_front": hypervolume(points_of(problem, best), reference) / whole,
        "columns": "median, lowest, highest over the seeds",
        "summary": {n: summary(problem, rs, reference, whole) for n, rs in runs.items()},
    }  # fmt: skip
    for name, found in result["summary"].items():
        print(name, json.dumps(found))
    write_results(options.out, result, runs)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
