"""Accuracies of random architectures of the default space, with the weights of a trained supernet.

    nas search --device DEVICE --budget 2ms --data DATA --supernet-steps 5585 --out runs/supernet
    python benchmarks/search/record_supernet.py --supernet ~/.cache/nas/supernets/ID.safetensors \
        --data DATA --number 4000 --out results/supernet-accuracies.json

Every second architecture is uniform over the choices; the others lean towards small or large
choices by a random amount, so that the ends of the range of latencies are covered as well. Each is
scored as `nas search` scores a trial. Written every 50 architectures: started again, it goes on.
An architecture is written as the digits of its canonical choices, `-` where one has no effect.
"""

import argparse
import datetime
import json
import os
import platform
from pathlib import Path

import numpy as np
import torch

from nas import load_space
from nas.accuracy.checkpoint import load_checkpoint
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.data import load_dataset
from nas.files import write_json
from nas.models import Supernet
from nas.space.choices import ChoiceRows

PLAN = "small"
WRITE_EVERY = 50


def digits(row: np.ndarray) -> str:
    """A canonical row as text."""
    return "".join("-" if choice < 0 else str(choice) for choice in row)


def draw(sizes: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Rows, every second one uniform."""
    lean = np.where(np.arange(number) % 2, rng.uniform(-2, 2, size=number), 0.0)
    shares = rng.random((number, len(sizes))) ** np.exp(lean)[:, None]
    return np.minimum((shares * sizes).astype(np.int64), sizes - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernet", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--space", default="mobilenetv3")
    parser.add_argument("--number", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recalibration", type=int, default=512, help="training images")
    parser.add_argument("--validation", type=int, default=1000, help="images that are scored")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    space = load_space(options.space)
    rows = ChoiceRows(space, PLAN)
    dataset = load_dataset(options.data, 0, resolutions=tuple(space.plan(PLAN).resolutions))
    supernet = Supernet(space, PLAN, len(dataset.classes), 0)
    checkpoint = load_checkpoint(options.supernet)
    trainer = SupernetTrainer(supernet, dataset, SupernetSettings(checkpoint.step, 32, 0))
    trainer.restore(checkpoint.weights, {}, checkpoint.step)
    evaluator = SupernetEvaluator(supernet, dataset, options.recalibration, options.validation)
    content = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "supernet": {"steps": checkpoint.step, **checkpoint.belongs_to},
        "images": {"recalibration": options.recalibration, "validation": options.validation},
        "seed": options.seed,
        "accuracies": {},
    }
    if options.out.exists():
        content = json.loads(options.out.read_text())
    known = content["accuracies"]
    rng = np.random.default_rng(options.seed)
    drawn = draw(np.array(rows.sizes), 2 * options.number, rng)
    for row in rows.canonical(drawn):
        if len(known) == options.number:
            break
        code = digits(row)
        if code not in known:
            known[code] = round(evaluator.evaluate(rows.architecture(row)).value, 4)
            print(f"\r{len(known)} of {options.number}", end="", flush=True)
            if len(known) % WRITE_EVERY == 0 or len(known) == options.number:
                write_json(options.out, content)
    print()


if __name__ == "__main__":
    main()
