"""A space of each family, the whole way: profiled, searched, exported, measured.

    python benchmarks/latency/families.py --out runs/families --results results.json
    ... --space shufflenetv2 --quality quick

For each space this machine is profiled into one table, then networks are searched (on the digits,
with a supernet of a few steps: what is checked are latencies and files, not accuracies) within a
budget that about half of the space meets, and the exported files are measured by `--verify`. The
search compares every file with torch on all images. Started again with the same --out, it goes on.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

from nas import Predictor, load_space, load_table
from nas.files import write_json
from nas.space import sample as sampling

PROGRAM = "import sys; from nas.cli.main import main; sys.exit(main())"
SPACES = ("mobilenetv1", "mobilenetv2", "mobilenetv3", "shufflenetv2", "squeezenet",
          "efficientnetv2", "mixed")  # fmt: skip
PLAN, CLASSES = "small", 10
TABLE = "this-machine"
DRAWN = 200


def run(*words: object) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, *map(str, words)], check=True)


def budget_ms(space: str, table: Path) -> float:
    """The bound that half of random networks meet."""
    found = load_space(space)
    predictor = Predictor(load_table(str(table)), found, PLAN, CLASSES)
    rng = np.random.default_rng(0)
    drawn = (sampling.sample(found, PLAN, rng) for _ in range(DRAWN))
    return float(np.median([predictor.architecture(a).upper_ms for a in drawn]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", action="append", choices=SPACES, help="all if not given")
    parser.add_argument("--quality", default="normal", choices=["quick", "normal", "full"])
    parser.add_argument("--models", type=int, default=6, help="finalists of each space")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    tables = options.out / "tables"
    table = tables / TABLE
    rows = []
    for space in options.space or SPACES:
        profiled = options.out / f"{space}.profiled"
        if not profiled.exists():
            run("profile", "--device", TABLE, "--space", space, "--plan", PLAN, "--quality",
                options.quality, "--out", tables)  # fmt: skip
            profiled.touch()
        place = options.out / space
        within = f"{budget_ms(space, table):.4g}ms"
        run("search", "--device", table, "--budget", within, "--space", space, "--trials", 24,
            "--finalists", options.models, "--promote", 0, "--supernet-steps", 40,
            "--finetune-steps", 20, "--verify", "--resume", "--out", place)  # fmt: skip
        for model in json.loads((place / "front.json").read_text())["models"]:
            [latency], parity = model["latency_ms"].values(), model["parity"].values()
            rows.append({
                "space": space, "id": model["id"], "macs": model["macs"], "budget": within,
                "predicted_ms": latency["predicted"], "upper_ms": latency["upper"],
                "measured_ms": latency["measured"]["latency_ms"],
                "over_upper": latency["measured"]["over_upper"],
                "disagreements": sum(p["disagreements"] for p in parity),
                "largest_difference": max(p["largest_difference"] for p in parity),
            })  # fmt: skip
    for space in dict.fromkeys(row["space"] for row in rows):
        own = [row for row in rows if row["space"] == space]
        over = sum(row["over_upper"] for row in own)
        ratios = [row["measured_ms"] / row["predicted_ms"] for row in own]
        print(f"{space:16} {len(own)} models, {over} over the bound, measured / predicted "
              f"{min(ratios):.3f} to {max(ratios):.3f}")  # fmt: skip
    if options.results:
        write_json(options.results, {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "quality": options.quality, "models": rows,
        })  # fmt: skip


if __name__ == "__main__":
    main()
