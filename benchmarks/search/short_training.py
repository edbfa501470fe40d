"""Whether a short training chooses better finalists than the supernet's scores do.

    nas search --device DEVICE --budget 2ms --data DATA --supernet-steps 5585 --out runs/supernet
    python benchmarks/search/short_training.py --supernet ~/.cache/nas/supernets/ID.safetensors \
        --data DATA --device DEVICE --budget 0.4ms --out results/short-training.json
    ... --workers 6 --gpus-per-trial 0.16      # trained by workers that share a GPU

Searches as `nas search` does, then trains the best architectures by themselves: all of them for as
many steps as finalists get, and for shares of that. With all of it known, each way to choose eight
finalists is held to the front that all of them have together after full training. Written after
each architecture: started again, it goes on.
"""

import argparse
import datetime
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nas import Predictor, load_space, load_table
from nas.accuracy.checkpoint import load_checkpoint
from nas.accuracy.device import training_device
from nas.accuracy.finetune import FINETUNING, Finetuner
from nas.accuracy.score import Fidelity
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.data import load_dataset
from nas.files import write_json
from nas.latency.metrics import spearman
from nas.models import Supernet
from nas.pareto import hypervolume
from nas.search.candidates import check_limits
from nas.search.choosing import choose_finalists, promote, trial_costs
from nas.search.costing import Costing
from nas.search.executors.choose import make_executor
from nas.search.executors.execution import Execution
from nas.search.executors.executor import Executor, InProcess
from nas.search.goals import make_goals
from nas.search.proposals import Hunt
from nas.search.samplers.repairing import quiet_optuna
from nas.search.settings import read_settings
from nas.search.standing import hypervolume_reference, worst_costs
from nas.search.store import Journal
from nas.search.study import TrialRecord
from nas.search.trials import run_trials
from nas.search.watch import Silent

PLAN = "small"
FINALISTS = 8
PROMOTED = (8, 12, 16, 24)
SHARES = (0.125, 0.25, 0.5)


def gpu_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def make_evaluator(options: argparse.Namespace) -> SupernetEvaluator:
    """With the supernet's weights and the data."""
    space = load_space("mobilenetv3")
    dataset = load_dataset(options.data, 0, resolutions=tuple(space.plan(PLAN).resolutions))
    supernet = Supernet(space, PLAN, len(dataset.classes), 0).to(training_device())
    checkpoint = load_checkpoint(options.supernet)
    trainer = SupernetTrainer(supernet, dataset, SupernetSettings(checkpoint.step, 32, 0))
    trainer.restore(checkpoint.weights, {}, checkpoint.step)
    recipe = replace(FINETUNING, recalibration_images=512)
    finetuner = Finetuner(supernet, dataset, recipe, options.seed)
    return SupernetEvaluator(supernet, dataset, 512, options.images, finetuner)


def searched(evaluator: SupernetEvaluator, options: argparse.Namespace) -> tuple[Hunt, list]:
    """A search's trials."""
    given = {"device": options.device, "budget": options.budget, "trials": options.trials,
             "seed": options.seed, "finalists": FINALISTS}  # fmt: skip
    settings = read_settings(None, given)
    space, classes = evaluator.supernet.space, len(evaluator.dataset.classes)
    predictors = {options.device: Predictor(load_table(options.device), space, PLAN, classes)}
    costing = Costing(predictors, make_goals(settings), 9000)
    hunt = Hunt(settings, costing, check_limits(costing, settings.seed))
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "study.journal")
        return hunt, run_trials(hunt, journal, Silent(), InProcess(evaluator))


def trained(
    executor: Executor, evaluator: SupernetEvaluator, jobs: list[tuple[TrialRecord, int]]
) -> Iterator[tuple[TrialRecord, int, float]]:
    """Trials after so many steps of training, as they end, with their accuracies."""
    space, left, done = evaluator.supernet.space, list(range(len(jobs))), 0
    while done < len(jobs):
        while left and executor.free():
            job = left.pop(0)
            record, level = jobs[job]
            architecture = space.from_json(record.architecture)
            executor.submit(job, architecture, Fidelity("training", level))
        for outcome in executor.wait():
            if outcome.score is None:
                raise SystemExit(outcome.reason)
            done += 1
            yield (*jobs[outcome.job], outcome.score.value)


def with_accuracies(records: list[TrialRecord], known: dict[str, float]) -> list[TrialRecord]:
    return [replace(record, accuracy=known[record.id]) for record in records]


def summary(hunt: Hunt, records: list[TrialRecord], known: dict, options) -> list[dict]:
    """Each way to choose: what it costs, and what is lost by it."""
    goals = hunt.costing.goals
    best = promote(records, max(PROMOTED), goals)
    full = known[str(options.steps)]
    reference = hypervolume_reference(
        goals.fronts[0], worst_costs(hunt.costing), hunt.costing.classes
    )
    trained = with_accuracies(best, full)

    def volume(chosen: list[TrialRecord]) -> float:
        names = {record.id for record in chosen}
        inside = [record for record in trained if record.id in names]
        return hypervolume(trial_costs(inside, goals.fronts[0]), reference)

    whole = volume(trained)
    found = []
    for number in PROMOTED:
        some = promote(records, number, goals)
        for share in SHARES if number > FINALISTS else (0.0,):
            steps = round(share * options.steps)
            judged = with_accuracies(some, known[str(steps)]) if steps else records
            chosen = choose_finalists(judged, FINALISTS, goals)
            if not steps:  # the way without: of all trials, some of which may not be promoted
                chosen = [record for record in chosen if record.id in full]
            names = [record.id for record in some]
            first = {record.id: record.accuracy for record in records}
            judges = known[str(steps)] if steps else first
            found.append({
                "promoted": number if steps else 0, "short_steps": steps,
                "extra_steps": number * steps if steps else 0,
                "finalists": len(chosen),
                "hypervolume_of_all_trained": round(volume(chosen) / whole, 5),
                "rank_correlation_with_full_training": round(spearman(
                    np.array([judges[n] for n in names]), np.array([full[n] for n in names])
                ), 3),
            })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernet", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--budget", required=True)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--images", type=int, default=2000, help="that are scored")
    parser.add_argument("--steps", type=int, default=1400, help="of full training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, help="processes of Ray that share the training")
    parser.add_argument("--gpus-per-trial", type=float, default=0.0, help="of each of them")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet_optuna()
    evaluator = make_evaluator(options)
    hunt, records = searched(evaluator, options)
    best = promote(records, max(PROMOTED), hunt.costing.goals)
    finalists = choose_finalists(records, FINALISTS, hunt.costing.goals)
    asked = list({record.id: record for record in [*best, *finalists]}.values())
    levels = [round(share * options.steps) for share in SHARES] + [options.steps]
    content = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {gpu_name()}",
        "settings": {name: str(value) for name, value in vars(options).items() if name not in
                     ("out", "data", "supernet")},
        "accuracies": {str(level): {} for level in levels},
    }  # fmt: skip
    if options.out.exists():
        content = json.loads(options.out.read_text())
    known = content["accuracies"]
    jobs = [
        (record, level) for level in levels[::-1] for record in asked
        if record.id not in known[str(level)]
    ]  # fmt: skip
    execution = Execution(workers=options.workers, gpus_per_trial=options.gpus_per_trial)
    executor = make_executor(evaluator, execution)
    try:
        for number, (record, level, value) in enumerate(trained(executor, evaluator, jobs)):
            known[str(level)][record.id] = value
            write_json(options.out, content)
            print(f"\r{number + 1} of {len(jobs)}", end="", flush=True)
    finally:
        executor.close()
    content["summary"] = summary(hunt, records, known, options)
    write_json(options.out, content)
    print()
    for row in content["summary"]:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
