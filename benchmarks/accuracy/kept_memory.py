"""Steps of `nas train` with the memory that glibc gives back to the kernel, and with it kept.

    python benchmarks/accuracy/kept_memory.py --batch-size 512 --steps 6 --rounds 3 --results FILE
    ... --space mobilenetv2 --width 0.5 --seed 0

Each way is a process of its own, in turns, one thread each, on noise instead of images:

- `as it comes`: glibc's defaults.
- `huge pages`: the same with torch's `THP_MEM_ALLOC_ENABLE=1`.
- `kept`: after `nas.accuracy.device.use_threads`: what `nas` does.
- `kept, in place`: ReLU and ReLU6 overwrite their input as well.

Written: medians over the rounds of CPU seconds a step, of those in the kernel, of page faults a
step, and of the process's peak memory; and whether all ways end with the same weights.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nas import load_space
from nas.accuracy.device import use_threads
from nas.files import write_json
from nas.models import build_model
from nas.space import sample as sampling

PLAN = "small"
CLASSES = 10
WARM_UP = 2
WAYS: dict[str, dict[str, str]] = {
    "as it comes": {},
    "huge pages": {"THP_MEM_ALLOC_ENABLE": "1"},
    "kept": {},
    "kept, in place": {},
}
"""What each adds to the environment."""


def measure(way: str, options: argparse.Namespace) -> dict:
    """Steps in this process."""
    if way.startswith("kept"):
        use_threads(1)
    else:
        torch.set_num_threads(1)
    space = load_space(options.space)
    scaled = sampling.baseline(space, PLAN, options.width)
    network = space.network(scaled, CLASSES)
    model = build_model(network, options.seed).to(memory_format=torch.channels_last).train()
    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = way.endswith("in place")
    rng = torch.Generator().manual_seed(options.seed)
    shape = (options.batch_size, 3, network.resolution, network.resolution)
    images = torch.randn(shape, generator=rng).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (options.batch_size,), generator=rng)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for step in range(WARM_UP + options.steps):
        if step == WARM_UP:
            before = resource.getrusage(resource.RUSAGE_SELF)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    kernel_s = after.ru_stime - before.ru_stime
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return {
        "step_s": (after.ru_utime - before.ru_utime + kernel_s) / options.steps,
        "kernel_s": kernel_s / options.steps,
        "page_faults": (after.ru_minflt - before.ru_minflt) / options.steps,
        "peak_mb": after.ru_maxrss / 1024,
        "weights": hashlib.sha256(weights).hexdigest(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="mobilenetv2")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--way", choices=WAYS, help="this one alone, in this process")
    options = parser.parse_args()
    if options.way is not None:
        print(json.dumps(measure(options.way, options)))
        return
    found: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, variables in WAYS.items():
            words = [sys.executable, *sys.argv, "--way", way]
            done = subprocess.run(
                words, env=os.environ | variables, check=True, capture_output=True, text=True
            )
            found[way].append(json.loads(done.stdout))
    weights = {each["weights"] for rounds in found.values() for each in rounds}
    names = ("step_s", "kernel_s", "page_faults", "peak_mb")
    medians = {
        way: {name: float(np.median([each[name] for each in rounds])) for name in names}
        for way, rounds in found.items()
    }
    for way, numbers in medians.items():
        print(f"{way:<16}", *(f"{name} {numbers[name]:.4g}" for name in names), sep="  ")
    print(f"{len(weights)} different weights")
    if options.results:
        write_json(options.results, {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "seed": options.seed,
            "libc": " ".join(platform.libc_ver()), "torch": torch.__version__,
            "space": options.space, "width": options.width, "batch_size": options.batch_size,
            "steps": options.steps, "rounds": options.rounds,
            "same_weights": len(weights) == 1, "ways": medians,
        })  # fmt: skip


if __name__ == "__main__":
    main()
