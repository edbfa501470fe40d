"""A network with early exits beside the same one without, timed image by image.

    python benchmarks/accuracy/early_exits.py --data DATA --epochs 30 --out runs/exits \
        --results results.json

Both are trained from scratch by `nas train` with one recipe and seed: the hand-made network of a
space with exits, all of them present, and its chain alone. Thresholds are those that the training
chose on validation images. Timed is the reference loop of the guide on test images that are
prepared before, one thread of onnxruntime, both networks in turn in several rounds: with exits as
they are, and with thresholds that nothing reaches, which is the worst case. Started again with the
same --out, what is trained is not trained again.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parent))
from trainings import train

from nas import load_space
from nas.accuracy.exits import NEVER
from nas.data import decode, scan
from nas.export.onnx_file import preprocess
from nas.files import write_json
from nas.search.folders import onnx_files
from nas.space import sample as sampling
from nas.space.space import SearchSpace


def networks(space: SearchSpace, width: float) -> dict[str, dict]:
    """The hand-made network with all of its exits, and with none."""
    genome = sampling.to_genome(space, sampling.baseline(space, "small", width))
    exits = [name for name in genome if name.endswith(".exit")]
    return {
        name: sampling.from_genome(space, "small", {**genome, **dict.fromkeys(exits, on)}).to_json()
        for name, on in (("exits", 1), ("single", 0))
    }


class Loop:
    """A model's files, run as the guide's program does."""

    def __init__(self, folder: Path, model: dict) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.sessions = [
            onnxruntime.InferenceSession(folder / name, options, ["CPUExecutionProvider"])
            for name in onnx_files(model)
        ]
        self.inputs = [session.get_inputs()[0].name for session in self.sessions]
        self.thresholds = [*model.get("exits", {}).get("thresholds", ()), 0.0]

    def run(self, image: np.ndarray, thresholds: list[float]) -> tuple[int, int]:
        """Class of an image `1 x 3 x R x R`, and the segment after which it left, from 0."""
        value = image
        for place, (session, name) in enumerate(zip(self.sessions, self.inputs, strict=True)):
            logits, *features = session.run(None, {name: value})
            chances = np.exp(logits[0] - logits.max())
            chances /= chances.sum()
            if chances.max() >= thresholds[place]:
                return int(chances.argmax()), place
            value = features[0]
        raise AssertionError("the last threshold is 0")


def time_loops(loops: dict[str, Loop], images: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Milliseconds an image of each way, round by round, in turn."""
    ways = {name: (loop, loop.thresholds) for name, loop in loops.items()}
    never = [NEVER] * (len(loops["exits"].thresholds) - 1)
    ways["exits, worst case"] = loops["exits"], [*never, 0.0]
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first is not counted
        for name, (loop, thresholds) in ways.items():
            begun = time.perf_counter()
            for image in images:
                loop.run(image[None], thresholds)
            if number:
                found[name].append(1000 * (time.perf_counter() - begun) / len(images))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--space", default="mobilenetv3-exits")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--recipe", default="", help="further options of nas train, in one string")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=2000, help="test images that are timed")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    space = load_space(options.space)
    models = {
        name: train(
            options.out / name, architecture, options.space, options.data, "--epochs",
            options.epochs, "--seed", options.seed, *options.recipe.split(),
        )
        for name, architecture in networks(space, options.width).items()
    }  # fmt: skip
    resolution = models["exits"]["resolution"]
    dataset = decode(scan(options.data, options.seed), [resolution])
    pixels = dataset.test.at(resolution)[: options.images]
    images = preprocess(pixels, dataset.mean, dataset.std)
    loops = {name: Loop(options.out / name, model) for name, model in models.items()}
    leaving = [loops["exits"].run(image[None], loops["exits"].thresholds)[1] for image in images]
    shares = np.bincount(leaving, minlength=len(loops["exits"].sessions)) / len(images)
    times = time_loops(loops, images, options.rounds)
    medians = {name: float(np.median(each)) for name, each in times.items()}
    kept = ("accuracy", "validation_accuracy", "macs", "params", "epochs", "seconds")
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread timed",
        "seed": options.seed,
        "images": len(images),
        "ms_an_image": {name: [float(np.min(t)), medians[name], float(np.max(t))]
                        for name, t in times.items()},
        "columns": "lowest, median, highest of the rounds",
        "faster": 1 - medians["exits"] / medians["single"],
        "test_shares": shares.tolist(),
        "exits": models["exits"]["exits"],
        "recipe": models["exits"]["recipe"],
        "models": {name: {k: model[k] for k in kept} for name, model in models.items()},
    }  # fmt: skip
    print(json.dumps({k: result[k] for k in ("ms_an_image", "faster", "test_shares")}, indent=1))
    for name, model in models.items():
        print(f"{name}: {model['accuracy']['value']:.2%} on {model['accuracy']['images']} images")
    if options.results:
        write_json(options.results, result)


if __name__ == "__main__":
    main()
