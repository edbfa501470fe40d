"""How good a table is that is derived from another device's, by how much was measured for it.

    python benchmarks/latency/relatives.py --like x86 --runtime openvino --seed 1 --out results.json

Measures blocks and whole models once, as `nas profile --like` does, and derives a table from the
first 10, 20, .. of them. Each predicts a hundred other models, drawn with a fresh seed and timed
twice by code that the profiler does not have (a noise floor over 3 % is void). Rivals in the same
run: a table from the same measurements and nothing else, and the other device's predictions times
the mean ratio of the same whole models.
"""

import argparse
import datetime
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from timing import floor, time_files
from whole_models import compare, export

from nas import Predictor, load_space, load_table, sample
from nas.devices.calibrate import fit_calibration
from nas.devices.measure import model_latencies, settled_latency
from nas.devices.parts import run_job
from nas.devices.plan import ProfileSettings, make_plan
from nas.devices.relative import Relative, calibrate_like, scaled_terms, transfer
from nas.devices.rows import Rows, measured_rows, sums_of
from nas.devices.transports.local import Local
from nas.latency.predict import BlockSums, calibrated_ms
from nas.latency.regression import fit_blocks
from nas.latency.table import Row
from nas.space.blocks import BlockKey

NUMBERS = [(10, 4), (20, 8), (40, 16), (80, 32), (160, 64)]


def part(values: list, number: int) -> list:
    """So many, evenly spread."""
    return [values[round(i)] for i in np.linspace(0, len(values) - 1, number)]


def derived(args, rows: Rows, models: list, rounds: np.ndarray, networks: list) -> dict:
    """Predictions for `networks` from a table like the other device's, and its bound."""
    relative, scope, needed = args
    found = transfer(relative, rows, needed, "fp32")
    other = relative.calibrations(*scope)[-1]
    mine = np.array([row.latency_ms for row in rows.values()])
    theirs = np.array([relative.row(key.block).latency_ms for key in rows])
    prior = scaled_terms(other.terms, float(np.median(mine / theirs)))
    sums = sums_of(models, found.rows)
    calibration = calibrate_like(*scope, "fp32", prior, other.upper_factor, sums, rounds)
    predicted = calibrated_ms(calibration.terms, sums_of(networks, found.rows))
    return {"predicted": predicted, "upper_factor": calibration.upper_factor}


def from_nothing(rows: Rows, models: list, rounds: np.ndarray, networks: list, needed: list):
    """The same measurements without the other device."""
    regression = fit_blocks(
        [k.block for k in rows], np.array([r.latency_ms for r in rows.values()])
    )
    guess = zip(needed, regression.predict(needed), strict=True)
    table = {BlockKey(b): Row(float(ms), 0.0, None, 0, "interpolated") for b, ms in guess} | rows
    sums, measured = sums_of(models, table), settled_latency(rounds)
    if len(models) >= 16:
        return calibrated_ms(fit_calibration(sums, measured), sums_of(networks, table))
    factor = float(np.mean(measured / sums.latency_ms))  # eight models are too few for six terms
    return factor * BlockSums(*sums_of(networks, table)).latency_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--like", required=True)
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--space", default="mobilenetv3")
    parser.add_argument("--plan", default="small")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    space, table = load_space(options.space), load_table(options.like)
    classes = {"small": 10, "large": 1000}[options.plan]
    resolutions = tuple(space.plan(options.plan).resolutions)
    relative = Relative(table, *NUMBERS[-1])
    settings = ProfileSettings(
        "new", space, options.plan, resolutions, (classes,), options.runtime, options.threads,
        options.seed, like=relative,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        version = Local().describe(options.runtime)["runtime"]["version"]
        plan = make_plan(settings, Path(folder), version)
        start = time.perf_counter()
        result = run_job(plan.job, Local(), Path(folder), lambda *_: None)
        seconds = time.perf_counter() - start
        rng = np.random.default_rng(options.seed + 1)
        drawn = [sample(space, options.plan, rng) for _ in range(options.n)]
        files = export([a.to_json() for a in drawn], Path(folder))
        how = options.runtime, options.threads, options.rounds
        measured, again = (time_files(files, *how, seed) for seed in (1, 2))
    networks = [space.network(a, classes) for a in drawn]
    rows = measured_rows(plan, result)
    rounds = model_latencies([result.timings[f"model {i}"] for i in range(len(plan.models))])
    predictor = Predictor(table, space, options.plan, classes)
    theirs = np.array([predictor.network(network).predicted_ms for network in networks])
    lines = []
    for blocks, models in NUMBERS:
        places = part(list(range(len(plan.models))), models)
        chosen = [plan.models[i] for i in places]
        known = dict(list(rows.items())[:blocks])
        scope = options.space, options.plan, resolutions
        mine = derived((relative, scope, plan.needed), known, chosen, rounds[places], networks)
        own = [predictor.network(network).predicted_ms for network in chosen]
        ratio = float(np.mean(settled_latency(rounds[places]) / np.array(own)))
        predicted = mine["predicted"]
        lines.append(
            {
                "blocks": blocks,
                "models": models,
                "like": compare(predicted, measured),
                "upper_over_predicted": mine["upper_factor"],
                "under_upper_bound": float((measured <= predicted * mine["upper_factor"]).mean()),
                "from nothing": compare(
                    from_nothing(known, chosen, rounds[places], networks, plan.needed), measured
                ),
                "other device times a ratio": compare(theirs * ratio, measured),
            }
        )
    report = {
        "date": datetime.date.today().isoformat(),
        "like": table.name,
        "runtime": f"{options.runtime} {version}, {options.threads} threads",
        "plan": options.plan,
        "seed": options.seed,
        "noise_floor": floor(measured, again),
        "void": floor(measured, again) > 0.03,
        "seconds_for_all_measurements": seconds,
        "lines": lines,
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
