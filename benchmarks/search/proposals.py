"""Seconds that a proposal takes in the default space, after many finished trials.

    python benchmarks/search/proposals.py --out results.json

Samplers side by side, on studies in memory and in a journal file as `nas search` keeps them. A
proposal is all of `study.ask`: reading what is new, the sampler, and writing every parameter.
Accuracies are made up (a smooth function of the choices, with noise): only the time counts here.
One thread. The first proposal, which reads all trials, is apart from the others.
"""

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.trial import create_trial
from threadpoolctl import threadpool_limits

from nas import Predictor, load_space, load_table
from nas.latency.batch import BatchPredictor
from nas.search.journal import open_storage
from nas.search.samplers.front import FrontSampler
from nas.search.samplers.space_domain import SpaceDomain
from nas.search.study import ask
from nas.space.choices import ChoiceRows

SAMPLERS = {
    "front": lambda domain: FrontSampler(domain, seed=0, log_error=True),
    "optuna-tpe": lambda domain: optuna.samplers.TPESampler(multivariate=True, group=True, seed=0),
    "optuna-nsga2": lambda domain: optuna.samplers.NSGAIISampler(population_size=20, seed=0),
    "random": lambda domain: optuna.samplers.RandomSampler(seed=0),
}
FIRST_OF = 10_000
"""Trials after which only ours is timed: the others do not get there in time."""


def make_domain(device: str, budget_ms: float) -> SpaceDomain:
    """As `nas search` makes it."""
    space = load_space("mobilenetv3")
    predictor = BatchPredictor(Predictor(load_table(device), space, "small", 10))
    rows = ChoiceRows(space, "small")

    def costs(canonical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = predictor.predict(rows.pack(canonical))
        return found.predicted_ms[:, None], (found.upper_ms <= budget_ms)[:, None]

    return SpaceDomain(space, "small", 10, costs)


def time_proposals(name: str, domain: SpaceDomain, trials: int, asked: int, journal: bool) -> dict:
    """The first, median and largest of some proposals in a row, seconds."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=len(domain.sizes))

    def values(row: np.ndarray) -> tuple[float, float]:
        share = weights @ (row / np.maximum(np.array(domain.sizes) - 1, 1)) / 8
        cost = domain.describe(row[None]).costs
        return float(1 - 0.1 * np.exp(-share) - 0.02 * rng.random()), float(cost[0, 0])

    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder) / "study.journal") if journal else None
        study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=SAMPLERS[name](domain), storage=storage
        )
        rows = rng.integers(domain.sizes, size=(trials, len(domain.sizes)))
        study.add_trials(
            create_trial(
                params=domain.parameters(row),
                distributions=domain.distributions,
                values=values(row),
            )
            for row in rows
        )
        seconds = []
        for _ in range(asked):
            start = time.perf_counter()
            trial = ask(study, domain.distributions)
            seconds.append(time.perf_counter() - start)
            study.tell(trial, values(domain.row(trial.params)))
    first, *others = seconds
    return {
        "sampler": name, "trials": trials, "storage": "journal" if journal else "memory",
        "first": round(first, 4), "median": round(float(np.median(others)), 4),
        "largest": round(max(others), 4),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="jetson-nano")
    parser.add_argument("--budget", type=float, default=4.0, help="ms")
    parser.add_argument("--trials", default="100,1000,10000", help="finished ones, comma-separated")
    parser.add_argument("--asked", type=int, default=25)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    domain = make_domain(options.device, options.budget)
    found = []
    for trials in map(int, options.trials.split(",")):
        for name in SAMPLERS if trials < FIRST_OF else ["front"]:
            for journal in (False, True):
                found.append(time_proposals(name, domain, trials, options.asked, journal))
                print(json.dumps(found[-1]), flush=True)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "unit": "seconds",
        "proposals": found,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        main()
