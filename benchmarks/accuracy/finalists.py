"""Finalists from the supernet's weights against the same networks trained from scratch.

    nas search --device DEVICE --budget BUDGET --data DATA --out RUN ...
    python benchmarks/accuracy/finalists.py --run RUN --supernet SUPERNET.safetensors --data DATA \
        --epochs 5 --out runs/finalists --results results.json

Three models of the run's front (fastest, middle, slowest) are trained by `nas train` twice: from
the supernet's weights, taught by its largest network, for some epochs; and from random weights for
three times as many, with the same recipe. Accuracies are the exported files' on the test images.
Started again with the same --out, it goes on.
"""

import argparse
import datetime
import json
import os
import platform
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
        default="--learning-rate 0.025 --distil",
        help="those of the training from the supernet's weights alone",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()  # fmt: skip
    common = ("--seed", options.seed, *options.recipe.split())
    space, rows = str(options.run / "space.yaml"), []
    for model in chosen(options.run):
        architecture = model["architecture"]
        ways = {
            "fine-tuned": (options.epochs, "--supernet", options.supernet,
                           *options.tuning.split()),
            "from scratch": (LONGER * options.epochs,),
        }  # fmt: skip
        row = {"id": model["id"], "macs": model["macs"]}
        for way, (epochs, *words) in ways.items():
            place = options.out / f"{model['id']}-{way.replace(' ', '-')}"
            found = train(
                place, architecture, space, options.data, "--epochs", epochs, *common, *words
            )
            row[way] = {k: found[k] for k in ("accuracy", "epochs", "seconds", "recipe", "device")}
        row["points"] = 100 * (
            row["fine-tuned"]["accuracy"]["value"] - row["from scratch"]["accuracy"]["value"]
        )
        rows.append(row)
        print(f"{model['id']}: {row['points']:+.2f} points", flush=True)
    if options.results:
        write_json(options.results, {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "seed": options.seed, "models": rows,
        })  # fmt: skip


if __name__ == "__main__":
    main()
