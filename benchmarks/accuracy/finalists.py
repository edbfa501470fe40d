"""Finalists from the supernet's weights against the same networks trained from scratch.

    nas search --device DEVICE --budget BUDGET --data DATA --out RUN ...
    python benchmarks/accuracy/finalists.py --run RUN --supernet SUPERNET.safetensors --data DATA \
        --epochs 5 --out runs/finalists --results results.json

Three models of the run's front (fastest, middle, slowest) are trained by `nas train` twice: from
the supernet's weights for some epochs, and from random weights for three times as many, with the
same recipe but for the learning rate. Accuracies are the exported files' on the test images.
Started again with the same --out, it goes on.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainings import train

from nas.files import write_json

LONGER = 3
MODELS = 3


def chosen(run: Path) -> list[dict]:
    """Models of the front, evenly spread over its latencies."""
    models = [m for m in json.loads((run / "front.json").read_text())["models"]]
    front = [m for m in models if not m["dominated"]] or models
    front.sort(key=lambda m: next(iter(m["latency_ms"].values()))["predicted"])
    places = {round(i * (len(front) - 1) / (MODELS - 1)) for i in range(MODELS)}
    return [front[place] for place in sorted(places)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--supernet", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5, help="from the supernet's weights")
    parser.add_argument("--recipe", default="", help="further options of nas train, in one string")
    parser.add_argument(
        "--tuning",
        default="--learning-rate 0.1",
        help="those of the training from the supernet's weights alone",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of each training")
    parser.add_argument("--processes", type=int, default=1, help="trainings side by side")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()  # fmt: skip
    threads = ("--threads", options.threads) if options.threads else ()
    common = ("--seed", options.seed, *options.recipe.split(), *threads)
    ways = {
        "fine-tuned": (options.epochs, "--supernet", options.supernet, *options.tuning.split()),
        "from scratch": (LONGER * options.epochs,),
    }
    models, space = chosen(options.run), str(options.run / "space.yaml")

    def trained(job: tuple[dict, str]) -> dict:
        model, way = job
        place = options.out / f"{model['id']}-{way.replace(' ', '-')}"
        epochs, *words = ways[way]
        found = train(
            place, model["architecture"], space, options.data, "--epochs", epochs, *common, *words
        )
        print(f"{place.name}: {found['accuracy']['value']:.2%}", flush=True)
        return {k: found[k] for k in ("accuracy", "epochs", "seconds", "recipe", "device")}

    with ThreadPoolExecutor(options.processes) as pool:
        results = iter(list(pool.map(trained, itertools.product(models, ways))))
    rows = []
    for model in models:
        row = {"id": model["id"], "macs": model["macs"], **{way: next(results) for way in ways}}
        tuned, scratch = (row[way]["accuracy"]["value"] for way in ways)
        rows.append({**row, "points": 100 * (tuned - scratch)})
        print(f"{model['id']}: {rows[-1]['points']:+.2f} points", flush=True)
    if options.results:
        write_json(options.results, {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "seed": options.seed, "models": rows,
        })  # fmt: skip


if __name__ == "__main__":
    main()
