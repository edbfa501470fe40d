"""How well scores without real training rank architectures: a supernet's, and those of none at all.

    nas sample --space nas-bench-macro -n 300 --seed 11 --json > architectures.json
    python benchmarks/accuracy/ranking.py --space nas-bench-macro --data DATA --minutes 60 \
        --seed 0 --architectures architectures.json --out scores.json \
        --accuracies nas-bench-macro_cifar10.json
    ... --recipe single      # one random network a step, to compare with

A supernet is trained for about so many minutes (its number of steps is fixed from the first few),
then every architecture is scored with its weights and without any. Written are all those scores and
`scores`, one for each architecture: the mean of the supernet's log-likelihood on validation images
and of NASWOT, both standardised. Started again with the same --out, it goes on.

With `--stages 4`, the first 50 architectures are also scored, on a quarter of the images, when a
quarter, a half and three quarters of the steps are done: how scores change while it is trained.

Scores without training depend on the seed alone: `--untrained FILE` takes them from the --out of
another recipe's run.

With `--accuracies` (of NAS-Bench-Macro: `{code: {"mean_acc": percent}}`), Kendall's rank
correlation of each score with them, and the 95 % interval of 2,000 bootstrap samples.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))
from nas_bench_macro import code_of_genome

from nas import load_space
from nas.accuracy.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nas.accuracy.device import training_device, use_threads
from nas.accuracy.ranks import kendall
from nas.accuracy.scoring import logits_of, recalibrate
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.accuracy.zero_cost import SCORES
from nas.data import Dataset, load_dataset
from nas.data.augment import to_batch
from nas.files import write_json
from nas.models import Supernet
from nas.search.work import PHOTOS_LEARNING_RATE
from nas.space import sample as sampling
from nas.space.architecture import Architecture

PLAN = "small"
RECIPES = {
    "default": {"progressive": True, "learning_rate": PHOTOS_LEARNING_RATE},
    "progressive": {"progressive": True},
    "whole-images": {},
    "single": {"sandwich": False, "random_networks": 1},
}
TIMED_STEPS = 20
TRAINING_SHARE = 0.97
"""Of the minutes: timings of a few steps are not exact."""
SAVE_EVERY_S = 60
AT_STAGES, AT_STAGES_SHARE = 50, 0.25
RECALIBRATION, VALIDATION, BATCH, BATCHES = 1024, 2000, 64, 2


def step_seconds(supernet: Supernet, dataset: Dataset, settings: SupernetSettings) -> float:
    """Mean of a short training's steps' gradients, which are not used; each the best of three."""
    trainer, times = SupernetTrainer(supernet, dataset, settings), []
    for number in range(3 * settings.steps):
        start = time.perf_counter()
        trainer.backward(number % settings.steps)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    supernet.zero_grad(set_to_none=True)
    return float(np.reshape(times, (3, -1)).min(axis=0).mean())


def train(
    supernet: Supernet,
    dataset: Dataset,
    listed: list[Architecture],
    options: argparse.Namespace,
    state: dict,
) -> None:
    """Train, or go on; the steps and the seconds so far are kept in `state`."""
    recipe = RECIPES[options.recipe]
    if "steps" not in state:
        timed = SupernetSettings(TIMED_STEPS, options.batch_size, seed=options.seed, **recipe)
        seconds = step_seconds(supernet, dataset, timed)
        state["steps"] = max(1, int(TRAINING_SHARE * 60 * options.minutes / seconds))
        state["training_s"] = 0.0
        write_json(options.out, state)
    settings = SupernetSettings(state["steps"], options.batch_size, seed=options.seed, **recipe)
    trainer = SupernetTrainer(supernet, dataset, settings)
    kept = options.out.with_suffix(".safetensors")
    if kept.exists():
        saved = load_checkpoint(kept)
        trainer.restore(saved.weights, saved.momentum, saved.step)
    stages = {settings.steps * stage // options.stages for stage in range(1, options.stages)}
    begun = last = time.monotonic()
    begun -= state["training_s"]

    def save() -> None:
        weights = dict(trainer.supernet.weights.items())
        subject = {"settings": settings.to_json()}
        save_checkpoint(kept, Checkpoint(weights, trainer.momentum(), trainer.step, subject))
        state["training_s"] = round(time.monotonic() - begun, 1)
        write_json(options.out, state)

    while trainer.step < settings.steps:
        trainer.train_step()
        if trainer.step in stages:
            paused = time.monotonic()
            scores = {
                a.id: supernet_scores(supernet, dataset, a, AT_STAGES_SHARE)
                for a in listed[:AT_STAGES]
            }
            state.setdefault("stages", {})[str(trainer.step)] = scores
            begun += time.monotonic() - paused
            save()
        if time.monotonic() - last > SAVE_EVERY_S:
            save()
            last = time.monotonic()
        print(f"\r{trainer.step} of {settings.steps} steps", end="", file=sys.stderr, flush=True)
    save()


def supernet_scores(
    supernet: Supernet, dataset: Dataset, architecture: Architecture, share: float = 1.0
) -> dict:
    """Accuracy and mean log-likelihood of the right class on validation images."""
    model = supernet.subnet(architecture)
    recalibrate(model, dataset, round(share * RECALIBRATION))
    images = round(share * VALIDATION)
    logits = logits_of(model, dataset, dataset.validation, images)[-1]
    labels = torch.from_numpy(dataset.validation.labels[:images].copy())
    return {
        "supernet accuracy": float((logits.argmax(dim=1) == labels).float().mean()),
        "supernet likelihood": -float(torch.nn.functional.cross_entropy(logits, labels)),
    }


def untrained_scores(
    supernet: Supernet, dataset: Dataset, architecture: Architecture, seed: int
) -> dict[str, float]:
    """Scores of one architecture that need no training; higher is better."""
    network = supernet.space.network(architecture, len(dataset.classes))
    pixels, labels = dataset.train.at(network.resolution), dataset.train.labels
    device = training_device()
    batches = [
        (
            to_batch(pixels[start : start + BATCH], dataset.mean, dataset.std, device),
            torch.from_numpy(labels[start : start + BATCH].copy()).to(device),
        )
        for start in range(0, BATCH * BATCHES, BATCH)
    ]
    return {name: score(network, batches, seed) for name, score in SCORES.items()}


def known_untrained(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Of each architecture in another run's file, its scores without training."""
    if options.untrained is None:
        return {}
    other = json.loads(options.untrained.read_text())
    for name in ("space", "seed"):
        if other["settings"][name] != vars(options)[name]:
            raise SystemExit(f"{options.untrained} is of another {name}")
    return {key: {name: part[name] for name in SCORES} for key, part in other["parts"].items()}


def combined(parts: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean of the supernet's likelihood and of NASWOT, each by its mean and deviation."""
    table = np.array([[p["supernet likelihood"], p["naswot"]] for p in parts.values()])
    deviation = np.maximum(table.std(axis=0), 1e-12)
    mean = ((table - table.mean(axis=0)) / deviation).mean(axis=1)
    return dict(zip(parts, mean.tolist(), strict=True))


def at_stages(
    state: dict, listed: list[Architecture], truth: list[float], seed: int
) -> dict[str, dict]:
    """Tau of the first architectures' scores at each stage: with the truth, with the stage before.

    Args:
        state: Its `stages` by their steps, and its `parts`, which are the last stage.
        listed: All architectures.
        truth: Their accuracies.
        seed: Of the bootstrap samples.
    """
    stages = {**state.get("stages", {}), str(state["steps"]): state["parts"]}
    names, found = [a.id for a in listed[:AT_STAGES]], {}
    for score in ("supernet accuracy", "supernet likelihood"):
        before = None
        for step, scores in stages.items():
            values = [scores[name][score] for name in names]
            told = found.setdefault(step, {})[score] = {
                "mean": float(np.mean(values)), "deviation": float(np.std(values)),
                "truth": asdict(kendall(values, truth[: len(names)], seed)),
            }  # fmt: skip
            if before is not None:
                told["before"] = asdict(kendall(values, before, seed))
            before = values
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="nas-bench-macro")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--architectures", type=Path, required=True)
    parser.add_argument("--recipe", choices=list(RECIPES), default="progressive")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--stages", type=int, default=1, help="at whose ends some are scored")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--accuracies", type=Path, help="of NAS-Bench-Macro")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--untrained", type=Path, help="another run's --out")
    options = parser.parse_args()
    untrained = known_untrained(options)
    use_threads(options.threads)
    space = load_space(options.space)
    listed = [space.from_json(a) for a in json.loads(options.architectures.read_text())]
    sizes = sorted({size for size in space.plan(PLAN).resolutions})
    dataset = load_dataset(options.data, options.seed, resolutions=sizes)
    supernet = Supernet(space, PLAN, len(dataset.classes), options.seed).to(training_device())
    chosen = {n: v for n, v in vars(options).items() if not isinstance(v, Path)}
    state = json.loads(options.out.read_text()) if options.out.exists() else {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {training_device()}",
        "settings": chosen,
    }  # fmt: skip
    if state["settings"] != chosen:
        sys.exit(f"{options.out} was begun with {state['settings']}, not {chosen}")
    train(supernet, dataset, listed, options, state)
    parts = state.setdefault("parts", {})
    begun = time.monotonic()
    for number, architecture in enumerate(listed, 1):
        if architecture.id not in parts:
            parts[architecture.id] = {
                **supernet_scores(supernet, dataset, architecture),
                **(untrained.get(architecture.id)
                   or untrained_scores(supernet, dataset, architecture, options.seed)),
            }  # fmt: skip
            write_json(options.out, state)
        print(f"\r{number} of {len(listed)} scored", end="", file=sys.stderr, flush=True)
    state["scoring_s"] = round(state.get("scoring_s", 0) + time.monotonic() - begun, 1)
    state["scores"] = combined(parts)
    if options.accuracies:
        known = json.loads(options.accuracies.read_text())
        truth = [
            known[code_of_genome(space, sampling.to_genome(space, a))]["mean_acc"] for a in listed
        ]
        names = [a.id for a in listed]
        table = {key: [parts[name][key] for name in names] for key in parts[names[0]]}
        table["supernet likelihood and naswot"] = [state["scores"][name] for name in names]
        found = {name: kendall(values, truth, options.seed) for name, values in table.items()}
        state["kendall_tau"] = {name: asdict(tau) for name, tau in found.items()}
        state["kendall_tau_at_stages"] = at_stages(state, listed, truth, options.seed)
        for name, tau in found.items():
            print(f"{name:32} {tau.tau:.3f} ({tau.lower:.3f} to {tau.upper:.3f})")
    write_json(options.out, state)


if __name__ == "__main__":
    main()
