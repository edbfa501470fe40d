"""Images a second: `nas train` against a plain loop, its data alone, and a supernet's step.

    python benchmarks/accuracy/throughput.py --data DATA --out results.json
    ... --space mobilenetv2 --width 1 --batch-size 128 --threads 1

All of it on the same machine in turns, so that what disturbs one disturbs the others: each round
does some steps of every part, and medians are over the rounds.

- `trainer`: steps of `nas.accuracy.training.Trainer` with its default recipe (clipped gradients and
  averaged weights included).
- `plain`, `plain channels-last`: a loop as one writes it by hand: the same network, images that lie
  in memory as normalised float32 tensors, flips and shifts by indexing, cross-entropy, SGD.
- `data`: the trainer's batches alone.
- `supernet`: gradients of a supernet's step (largest, smallest, two random networks).
- `paths`: the same four networks by themselves, one after the other, on a batch that is there.
"""

import argparse
import datetime
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nas import load_space
from nas.accuracy.device import training_device, use_threads
from nas.accuracy.recipe import Recipe
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.accuracy.training import Trainer
from nas.data import Dataset, load_dataset
from nas.data.augment import to_batch
from nas.files import write_json
from nas.models import Supernet, build_model
from nas.space import sample as sampling
from nas.space.architecture import Network
from nas.space.space import SearchSpace

PLAN = "small"
ROUNDS, STEPS, SUPERNET_STEPS = 7, 10, 2
HELD_IN_MEMORY = 8192
"""Images of the plain loop."""


def plain_loop(
    network: Network, dataset: Dataset, batch_size: int, seed: int, channels_last: bool
) -> Callable[[], None]:
    """One step of a loop written by hand."""
    device, size = training_device(), network.resolution
    form = torch.channels_last if channels_last else torch.contiguous_format
    model = build_model(network, seed).to(device, memory_format=form).train()
    optimiser = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    images = to_batch(dataset.train.at(size)[:HELD_IN_MEMORY], dataset.mean, dataset.std, device)
    padded = nn.functional.pad(images, (size // 8,) * 4, mode="reflect")
    labels = torch.from_numpy(np.array(dataset.train.labels[:HELD_IN_MEMORY])).to(device)

    def step() -> None:
        chosen = torch.randint(len(labels), (batch_size,), device=device)
        top, left = np.random.randint(0, size // 4 + 1, size=2)
        batch = padded[chosen, :, top : top + size, left : left + size]
        mirrored = torch.rand(batch_size, device=device) < 0.5
        batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
        batch = batch.contiguous(memory_format=form)
        loss = nn.functional.cross_entropy(model(batch), labels[chosen], label_smoothing=0.1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def supernet_parts(
    space: SearchSpace, dataset: Dataset, batch_size: int, seed: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A supernet's gradients, and those of the networks that they are of."""
    device = training_device()
    supernet = Supernet(space, PLAN, len(dataset.classes), seed).to(device)
    # Only the first half of a training is without a teacher: that is what a long one is like after.
    settings = SupernetSettings(1, batch_size, teacher_start=0.0, seed=seed)
    trainer = SupernetTrainer(supernet, dataset, settings)
    steps = iter(range(1_000_000))
    drawn = [
        [trainer.largest, trainer.smallest, *(sampling.sample(space, PLAN, rng) for _ in range(2))]
        for rng in map(np.random.default_rng, range(SUPERNET_STEPS))
    ]
    alone = {a.id: build_model(space.network(a, len(dataset.classes)), seed).to(device).train()
             for each in drawn for a in each}  # fmt: skip
    batches = {
        size: to_batch(dataset.train.at(size)[:batch_size], dataset.mean, dataset.std, device)
        for size in dataset.train.images
    }
    labels = torch.from_numpy(np.array(dataset.train.labels[:batch_size])).to(device)
    number = iter(range(1_000_000))

    def paths() -> None:
        for architecture in drawn[next(number) % SUPERNET_STEPS]:
            logits = alone[architecture.id](batches[architecture.resolution])
            nn.functional.cross_entropy(logits, labels, label_smoothing=0.1).backward()

    # The same random networks as in `paths`, in the same order.
    trainer._drawn = lambda seed: drawn[next(steps) % SUPERNET_STEPS][2:]
    return lambda: trainer.backward(0), paths


def seconds(action: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder or archive; the digits if not given")
    parser.add_argument("--space", default="mobilenetv2")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    use_threads(options.threads)
    space = load_space(options.space)
    sizes = sorted(space.plan(PLAN).resolutions)
    dataset = load_dataset(options.data, options.seed, resolutions=sizes)
    network = space.network(
        sampling.baseline(space, PLAN, options.width, sizes[-1]), len(dataset.classes)
    )
    recipe, seed = Recipe(epochs=1000, batch_size=options.batch_size), options.seed
    model = build_model(network, seed).to(training_device()).train()
    trainer = Trainer(model, dataset, recipe, seed)
    at = iter(range(1_000_000))
    supernet, paths = supernet_parts(space, dataset, 32, seed)
    parts = {
        "trainer": (trainer.train_step, STEPS, options.batch_size),
        "plain": (plain_loop(network, dataset, options.batch_size, seed, False), STEPS,
                  options.batch_size),
        "plain channels-last": (plain_loop(network, dataset, options.batch_size, seed, True),
                                STEPS, options.batch_size),
        "data": (lambda: trainer.feed.batch(next(at)), STEPS, options.batch_size),
        "supernet": (supernet, SUPERNET_STEPS, 32),
        "paths": (paths, SUPERNET_STEPS, 32),
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(ROUNDS + 1):
        for name, (action, repeats, _) in parts.items():
            took = seconds(action, repeats)
            if number:  # the first round warms up
                times[name].append(took)
    rates = {name: float(batch / np.median(times[name])) for name, (_, _, batch) in parts.items()}
    best = max(rates["plain"], rates["plain channels-last"])
    shares = {
        "trainer / plain": rates["trainer"] / best,
        "data / trainer": rates["data"] / rates["trainer"],
        "supernet step / its paths": float(
            np.median(times["supernet"]) / np.median(times["paths"])
        ),
    }
    for name, value in {**rates, **shares}.items():
        print(f"{name:28} {value:10.2f}")
    write_json(options.out, {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {training_device()}",
        "settings": {n: str(v) for n, v in vars(options).items() if n != "out"},
        "params": network.cost.params, "macs": network.cost.macs,
        "images_per_second": rates, "ratios": shares, "seconds": times,
    })  # fmt: skip


if __name__ == "__main__":
    main()
