"""The promise: how many models whose upper bound is just under a budget are over it when measured.

    python benchmarks/latency/promise.py --device x86 --plan small --seed 1 --out results.json

Predicts a large random pool, and for each of three budgets (the quartiles of the pool's bounds)
takes the hundred models with the bound nearest under it. They are timed twice, by code that the
profiler does not have: a run with a noise floor over 3 % is void. Beside it, what a budget held
against the prediction itself, or against the prediction plus 10 %, would have done.
"""

import argparse
import datetime
import json
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from timing import floor, time_files
from whole_models import export

from nas import BatchPredictor, Predictor, load_space, load_table, sample
from nas.space.space import DEFAULT_CLASSES


def pool(options: argparse.Namespace) -> tuple[list, np.ndarray, np.ndarray]:
    """Distinct architectures, predicted latencies and upper bounds in ms."""
    space, table = load_space(options.space), load_table(options.device)
    rng = np.random.default_rng(options.seed)
    drawn = {}
    while len(drawn) < options.pool:
        found = sample(space, options.plan, rng)
        if not options.resolution or found.resolution in options.resolution:
            drawn.setdefault(found.id, found)
    predictor = Predictor(table, space, options.plan, DEFAULT_CLASSES[options.plan])
    batch = BatchPredictor(predictor)
    answers = batch.predict(batch.book.encode(drawn.values()))
    return list(drawn.values()), answers.predicted_ms, answers.upper_ms


def nearest(values: np.ndarray, budget: float, number: int) -> np.ndarray:
    """Indices of the models with the highest values under a budget."""
    under = np.flatnonzero(values <= budget)
    return under[np.argsort(values[under])[-number:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True)
    parser.add_argument("--space", default="mobilenetv3")
    parser.add_argument("--plan", default="small")
    parser.add_argument("--resolution", type=int, action="append", default=[])
    parser.add_argument("-n", type=int, default=100, help="models for each budget")
    parser.add_argument("--pool", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    architectures, predicted, upper = pool(options)
    budgets = [float(b) for b in np.quantile(upper, [0.25, 0.5, 0.75])]
    picked = [nearest(upper, budget, options.n) for budget in budgets]
    chosen = sorted({int(i) for indices in picked for i in indices})
    place = {index: position for position, index in enumerate(chosen)}
    device = load_table(options.device).device
    how = device.runtime, device.threads or 1, options.rounds
    with tempfile.TemporaryDirectory() as folder:
        files = export([architectures[i].to_json() for i in chosen], Path(folder))
        measured, again = (time_files(files, *how, seed) for seed in (1, 2))
    lines = []
    for budget, indices in zip(budgets, picked, strict=True):
        at = [place[int(i)] for i in indices]
        over = int((measured[at] > budget).sum())
        lines.append({"budget_ms": budget, "models": len(at), "over": over})
    ratios = measured / predicted[chosen]
    report = {
        "date": datetime.date.today().isoformat(),
        "device": device.name,
        "space": options.space,
        "plan": options.plan,
        "seed": options.seed,
        "noise_floor": floor(measured, again),
        "void": floor(measured, again) > 0.03,
        "budgets": lines,
        "models": sum(line["models"] for line in lines),
        "over": sum(line["over"] for line in lines),
        "upper_over_predicted": float(np.median(upper / predicted)),
        "rivals": {
            "bound = prediction": float((ratios > 1).mean()),
            "bound = prediction + 10 %": float((ratios > 1.1).mean()),
            "bound that exactly 2 % exceed": float(np.quantile(ratios, 0.98)),
        },
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
