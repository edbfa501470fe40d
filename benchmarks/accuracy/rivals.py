"""Networks that were searched against MobileNets and ShuffleNets scaled by hand.

    python benchmarks/accuracy/rivals.py --data DATA --searched runs/x86-.../front.json \
        --epochs 30 --out runs/rivals --results results.json
    ... --only train --processes 8        # on a machine with a GPU
    ... --only latency                    # where the networks will run, with nothing beside it
    ... --trained results.json            # accuracies of an earlier run, the same recipe and seed

Everything is trained from scratch by `nas train` with one recipe and seed, in the `small` input
plan at 32 pixels (ours at the resolution that was searched), and scored on the test images from the
exported file. Latencies are of whole models with random weights (they do not matter), one thread
of onnxruntime, all in one run. Started again with the same --out, it goes on.

`--searched` is the front.json of a run or of several (`--slowest 4`: so many of them, since the
fastest are less accurate than any rival; `--models ID ...`: these alone), or lists of architectures
as `nas sample --json` prints; without it the rivals are trained and timed by themselves. Networks
of `--trained` are not trained again; their latencies are measured with the others'.
Written: accuracy and latency of each, both fronts' hypervolumes below the slowest rival and above
the least accurate one, for each rival how many times faster ours of at least its accuracy is, and
what each search took, if its run is there: seconds of all trials, and of its supernet.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna

sys.path.insert(0, str(Path(__file__).parents[1] / "latency"))
from timing import floor, time_files
from trainings import train

from nas import load_space
from nas.export.graph import GraphTarget, random_weights
from nas.export.onnx_file import write_onnx
from nas.files import write_json
from nas.pareto import hypervolume
from nas.search.journal import open_storage
from nas.space import sample as sampling

PLAN = "small"
CLASSES = 10
SMALL_V3 = str(Path(__file__).parent / "spaces" / "mobilenetv3-small.yaml")
RIVALS = [
    *[("MobileNetV2", "mobilenetv2", width) for width in (0.35, 0.5, 0.75, 1.0)],
    *[("MobileNetV3-Small", SMALL_V3, width) for width in (0.75, 1.0)],
    *[("ShuffleNetV2", "shufflenetv2", width) for width in (0.5, 1.0)],
]
ROUNDS = 12


@dataclass(frozen=True)
class Entry:
    """A network: an architecture, and the space it is of."""

    name: str
    space: str
    architecture: dict
    ours: bool

    def network(self):
        space = load_space(self.space)
        return space.network(space.from_json(self.architecture), CLASSES)


def rivals() -> list[Entry]:
    """The hand-made networks at their widths."""
    found = []
    for family, space, width in RIVALS:
        scaled = sampling.baseline(load_space(space), PLAN, width)
        found.append(Entry(f"{family} {width:g}", space, scaled.to_json(), ours=False))
    return found


def searched(paths: list[Path], slowest: int | None, ids: list[str] | None) -> list[Entry]:
    """The models of fronts, the slowest or those that are named; or lists of architectures."""
    found = {}
    for path in paths:
        content = json.loads(path.read_text())
        models = content["models"] if isinstance(content, dict) else content
        found |= {model["id"]: model for model in models}
    if ids is not None:
        found = {each: found[each] for each in ids}
    models = list(found.values())
    if slowest is not None:
        models = sorted(models, key=predicted_ms)[-slowest:]
    listed = [model.get("architecture", model) for model in models]
    return [Entry(f"ours {a['id']}", a["space"], a, ours=True) for a in listed]


def predicted_ms(model: dict) -> float:
    """Of a model of front.json, on its first device."""
    return next(iter(model["latency_ms"].values()))["predicted"]


DONE = [optuna.trial.TrialState.COMPLETE]


def cost_of_search(front: Path) -> dict[str, float]:
    """Seconds of a run's trials one after another, and of its supernet; nothing of another file.

    Of a supernet that was stopped and went on, the last stretch alone is counted. A file of results
    (`results/...-searched-mixed.json`) has it within.
    """
    content, run = json.loads(front.read_text()), front.parent
    if isinstance(content, dict) and "search" in content:
        return content["search"]
    if not (run / "study.journal").exists():
        return {}
    storage, found = open_storage(run / "study.journal"), {}
    for name in optuna.get_all_study_names(storage):
        trials = optuna.load_study(study_name=name, storage=storage).get_trials(states=DONE)
        spent = sum(trial.duration.total_seconds() for trial in trials)
        found |= {name: len(trials), f"{name}_s": round(spent, 1)}
    begun = 0.0
    for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()):
        if line["event"] == "start":
            begun = line["time"]
        elif line["event"] == "supernet" and "supernet_s" not in found:
            found["supernet_s"] = round(line["time"] - begun, 1)
    return found


def folder(entry: Entry, out: Path) -> Path:
    return out / entry.name.replace(" ", "-").lower()


KEPT = ("params", "macs", "resolution", "epochs", "seconds", "device")
"""Of a model.json, for the results."""


def known_rows(file: Path | None, entries: list[Entry], seed: int, epochs: int) -> dict[str, dict]:
    """Rows of an earlier run's results by name; each must be the same network, trained alike."""
    if file is None:
        return {}
    content = json.loads(file.read_text())
    rows = {row["name"]: {**row, "recipe": content["recipe"]} for row in content["rows"]}
    found = {entry.name: rows[entry.name] for entry in entries if entry.name in rows}
    for entry in entries:
        row = found.get(entry.name, {"architecture": entry.architecture, "epochs": epochs})
        if row["architecture"] != entry.architecture or row["epochs"] != epochs:
            sys.exit(f"{file}: {entry.name} is another network there, or trained for other epochs")
    if content["seed"] != seed:
        sys.exit(f"{file}: trained with seed {content['seed']}, not {seed}")
    return found


def train_entry(entry: Entry, options: argparse.Namespace) -> None:
    """`nas train`, unless it is done."""
    threads = ("--threads", options.threads) if options.threads else ()
    model = train(
        folder(entry, options.out), entry.architecture, entry.space, options.data,
        "--epochs", options.epochs, "--seed", options.seed, *options.recipe.split(), *threads,
    )  # fmt: skip
    print(f"{entry.name}: {model['accuracy']['value']:.2%}", flush=True)


def latencies(entries: list[Entry], seed: int) -> dict:
    """Of all, twice: ms, and how far the two timings are apart."""
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place) / f"{number}.onnx" for number in range(len(entries))]
        for file, entry in zip(files, entries, strict=True):
            write_onnx(file, entry.network(), random_weights(0), GraphTarget())
        first, second = (time_files(files, "onnxruntime", 1, ROUNDS, seed + i) for i in (0, 1))
    names = [entry.name for entry in entries]
    mean = ((first + second) / 2).tolist()
    return {"noise_floor": floor(first, second), "latency_ms": dict(zip(names, mean, strict=True))}


def timed_names(file: Path) -> set[str]:
    """Of the networks whose latencies were measured in one run; none without it."""
    return set(json.loads(file.read_text())["latency_ms"]) if file.exists() else set()


def summary(rows: list[dict]) -> dict:
    """Hypervolumes of both fronts, and how much faster ours are at each rival's accuracy."""
    ours, theirs = ([r for r in rows if r["ours"] is mine] for mine in (True, False))
    points = {side: np.array([[r["latency_ms"], 1 - r["accuracy"]] for r in each])
              for side, each in (("ours", ours), ("theirs", theirs))}  # fmt: skip
    reference = points["theirs"].max(axis=0)
    volumes = {side: hypervolume(each, reference) for side, each in points.items()}
    faster = {}
    for rival in theirs:
        as_good = [r["latency_ms"] for r in ours if r["accuracy"] >= rival["accuracy"]]
        faster[rival["name"]] = rival["latency_ms"] / min(as_good) if as_good else 0.0
    return {
        "hypervolume_ratio": volumes["ours"] / volumes["theirs"],
        "times_faster": faster,
        "times_faster_median": float(np.median(list(faster.values()))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--searched", type=Path, nargs="+", default=[])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--slowest", type=int, help="so many of the fronts alone")
    which.add_argument("--models", nargs="+", metavar="ID", help="these of the fronts alone")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--recipe", default="", help="further options of nas train, in one string")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of each training")
    parser.add_argument("--processes", type=int, default=1, help="trainings side by side")
    parser.add_argument("--trained", type=Path, help="results of an earlier run")
    parser.add_argument("--only", choices=["train", "latency"], help="one part of the work")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    entries = rivals() + searched(options.searched, options.slowest, options.models)
    known = known_rows(options.trained, entries, options.seed, options.epochs)
    timed = options.out / "latencies.json"
    if options.only != "latency":
        options.out.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(options.processes) as pool:
            left = [entry for entry in entries if entry.name not in known]
            list(pool.map(lambda entry: train_entry(entry, options), left))
    if options.only != "train" and timed_names(timed) != {entry.name for entry in entries}:
        write_json(timed, latencies(entries, options.seed))
    if options.only is not None:
        return
    measured = json.loads(timed.read_text())
    rows, recipes = [], []
    for entry in entries:
        if entry.name in known:
            row = dict(known[entry.name])
            recipes.append(row.pop("recipe"))
        else:
            model = json.loads((folder(entry, options.out) / "model.json").read_text())
            recipes.append(model["recipe"])
            row = {
                "name": entry.name, "ours": entry.ours, "architecture": entry.architecture,
                "accuracy": model["accuracy"]["value"], "interval": model["accuracy"]["interval"],
                **{k: model[k] for k in KEPT},
            }  # fmt: skip
        rows.append({**row, "latency_ms": measured["latency_ms"][entry.name]})
    if any(recipe != recipes[0] for recipe in recipes):
        sys.exit("not all networks were trained by one recipe")
    found = summary(rows) if options.searched else {}
    if options.searched:
        found["search"] = [cost_of_search(front) for front in options.searched]
    print(json.dumps(found, indent=1))
    if options.results:
        write_json(options.results, {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "noise_floor": measured["noise_floor"], "seed": options.seed,
            "recipe": recipes[0], **found, "rows": rows,
        })  # fmt: skip


if __name__ == "__main__":
    main()
