"""How many evaluations a sampler needs to find the front of NAS-Bench-Macro.

    python benchmarks/search/nas_bench_macro.py --accuracies nas-bench-macro_cifar10.json \
        --latencies results/nas-bench-macro-latencies.json --seeds 1000:1020 --out results.json

All 6,561 architectures of that space were trained (Su et al. 2021, arXiv:2103.11922), so that the
true front and its hypervolume are known by enumeration, and an evaluation is a look-up. Samplers
are compared at equal numbers of distinct networks (3,969): a network that was evaluated before is
told again, and counts nothing. `--accuracies` has `{code: {"mean_acc": percent}}` or
`{code: accuracy}`, `--latencies` `{code: ms}`; a code has a digit for each block (0: left out,
1: kernel 3, expand 3; 2: kernel 5, expand 6).

Written for each sampler and seed: the codes in the order of their evaluation, and the seconds that
each proposal took; started again with the same `--out`, it goes on. Hypervolumes are over latency
and error, below the largest latency and above the lowest accuracy of the space, or above 88 % for
the harder one.

With `--latencies` for each of several devices, the front is over all their latencies. With
`--percentile` only networks count that meet a budget on each device, which so many per cent of all
do; a proposal over one is not evaluated, only counted.
"""

import argparse
import datetime
import json
import os
import platform
import sys
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent))
from problem import Problem
from samplers import COMPARED, Run, known_runs, run_all, write_results

from nas import load_space
from nas.pareto import hypervolume
from nas.space import SearchSpace

VARIANTS = ("skip", "k3e3", "k5e6")
AFTER = (50, 100, 200, 400)
HARD = 0.88


def code_of_genome(space: SearchSpace, genome: dict) -> str:
    """A digit for each block."""
    names = [d.name for d in space.dimensions("small") if d.name.endswith(".variant")]
    return "".join(str(VARIANTS.index(genome[name])) for name in names)


def read_problem(
    accuracies: Path,
    latencies: list[Path],
    percentile: float | None = None,
    naswot: Path | None = None,
) -> Problem:
    """The benchmark as a problem, keyed by codes; devices are called as their files."""
    listed = json.loads(accuracies.read_text())
    accuracy = {
        code: value["mean_acc"] / 100 if isinstance(value, dict) else value
        for code, value in listed.items()
    }
    latency = {path.stem: json.loads(path.read_text()) for path in latencies}
    space = load_space("nas-bench-macro")
    problem = Problem(
        space, "small", lambda genome: code_of_genome(space, genome), accuracy, latency
    )
    if percentile is not None:
        costs = np.array([problem.costs(code) for code in problem.codes()])
        limits = np.percentile(costs, percentile, axis=0).tolist()
        problem.limits = dict(zip(latency, limits, strict=True))
    if naswot is not None:
        scores = json.loads(naswot.read_text())["parts"]
        known = {a.id: a for a in map(problem.rows.architecture, problem.every_row)}
        problem.zero_cost = [(known[name], parts["naswot"]) for name, parts in scores.items()]
    return problem


class Volumes:
    """Hypervolume fractions of the first evaluations; networks over a limit do not count."""

    def __init__(self, problem: Problem) -> None:
        codes = [code for code in problem.codes() if problem.within(code)]
        points = self.points(problem, codes)
        worst = points.max(axis=0)
        self.references = {"all": worst, "over 88 %": np.append(worst[:-1], 1 - HARD)}
        self.whole = {k: hypervolume(points, r) for k, r in self.references.items()}

    @staticmethod
    def points(problem: Problem, codes: list[str]) -> np.ndarray:
        """Latencies and error, `N x (devices + 1)`."""
        return np.array([[*problem.costs(code), 1 - problem.accuracy[code]] for code in codes])

    def fractions(self, problem: Problem, order: list[str], key: str) -> np.ndarray:
        """After each evaluation."""
        points = self.points(problem, order)
        reference, whole = self.references[key], self.whole[key]
        return np.array(
            [hypervolume(points[: n + 1], reference) / whole for n in range(len(points))]
        )


def first(fractions: np.ndarray, level: float) -> float:
    """Evaluations until a fraction is reached; infinity where it was not (`null` in results)."""
    reached = np.flatnonzero(fractions >= level)
    return float(reached[0] + 1) if len(reached) else float("inf")


def summary(problem: Problem, volumes: Volumes, runs: list[Run]) -> dict:
    """Median and range over the seeds."""
    whole = [volumes.fractions(problem, r.order, "all") for r in runs]
    hard = [volumes.fractions(problem, r.order, "over 88 %") for r in runs]
    rows = {f"fraction after {n}": [f[n - 1] for f in whole if len(f) >= n] for n in AFTER}
    rows |= {
        "evaluations to 99 %": [first(f, 0.99) for f in whole],
        "evaluations to 99.9 %": [first(f, 0.999) for f in whole],
        "evaluations to 99 % over 88 %": [first(f, 0.99) for f in hard],
        "proposals over a limit": [r.over for r in runs],
        "ms a proposal, mean": [1000 * float(np.mean(r.seconds)) for r in runs],
    }
    found = {
        name: [round(float(f(values)), 5) for f in (np.median, np.min, np.max)]
        for name, values in rows.items()
        if values
    }
    return {name: [v if np.isfinite(v) else None for v in row] for name, row in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accuracies", type=Path, required=True)
    parser.add_argument(
        "--latencies", type=Path, action="append", required=True, help="again for another device"
    )
    parser.add_argument("--percentile", type=float, help="of each device's latencies: budgets")
    parser.add_argument(
        "--sampler",
        default=COMPARED,
        help="comma-separated names; NAME:N ends a slow one after N networks",
    )
    parser.add_argument(
        "--naswot", type=Path, help="--out of accuracy/ranking.py, which front-naswot needs"
    )
    parser.add_argument("--seeds", default="1000:1020", help="A:B, B not included")
    parser.add_argument("--budget", type=int, default=400, help="distinct networks")
    parser.add_argument("--processes", type=int, default=1, help="that share the seeds")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if "front-naswot" in options.sampler and options.naswot is None:
        parser.error("front-naswot needs --naswot")
    given = (options.accuracies, options.latencies, options.percentile, options.naswot)
    make = partial(read_problem, *given)
    problem = make()
    volumes = Volumes(problem)
    known, asked = known_runs(options.out), (options.sampler, options.seeds, options.budget)
    for runs in run_all(make, *asked, options.processes, known):
        write_results(options.out, {}, runs)  # the rest follows
        print(f"\r{sum(map(len, runs.values()))} runs", end="", file=sys.stderr, flush=True)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "budget": options.budget,
        "limits_ms": problem.limits,
        "columns": "median, lowest, highest over the seeds",
        "summary": {name: summary(problem, volumes, each) for name, each in runs.items()},
    }
    for name, found in result["summary"].items():
        print(f"{name}: {json.dumps(found, indent=1)}")
    write_results(options.out, result, runs)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
