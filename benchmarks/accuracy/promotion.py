"""What is lost by choosing architectures by a supernet's accuracy, or by its loss.

    nas sample --space nas-bench-macro -n 300 --seed 20261126 --json > architectures.json
    python benchmarks/accuracy/promotion.py --architectures architectures.json \
        --ranking benchmarks/accuracy/results/2026-11-27-ranking-single.json \
        --accuracies nas-bench-macro_cifar10.json --results results.json \
        --latencies benchmarks/search/results/nas-bench-macro-latencies-epyc-zen5.json

Of random subsets of the architectures that `ranking.py` scored, twelve are promoted as a search
promotes trials: front after front, of score and latency, each by its hypervolume. What they are
worth is the hypervolume of their published accuracies and latencies, as a share of that of all of
the subset's. `--ranking` may be given several times.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))
from nas_bench_macro import code_of_genome

from nas import load_space
from nas.files import write_json
from nas.pareto import hypervolume
from nas.search.choosing import layers
from nas.space import sample as sampling

SUBSET = 120
"""Architectures: about as many as a search scores."""
ABOVE = {"all": None, "above 88 %": 0.88}


def shares(
    scores: dict[str, np.ndarray], truth: np.ndarray, least: float | None, options
) -> dict[str, list[float]]:
    """Of the hypervolume, by score, for each subset.

    Args:
        scores: Of all architectures, maximised.
        truth: Error and latency, `N x 2`.
        least: Accuracy above which the hypervolume counts.
        options: Of the command line.
    """
    rng = np.random.default_rng(options.seed)
    found: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(options.subsets):
        subset = rng.permutation(len(truth))[:SUBSET]
        points = truth[subset]
        reference = points.max(axis=0)
        if least is not None:
            reference[0] = 1 - least
        whole = hypervolume(points, reference)
        for name, values in scores.items():
            chosen = layers(np.column_stack([-values[subset], points[:, 1]]), options.most)
            found[name].append(hypervolume(points[chosen], reference) / whole)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", type=Path, required=True)
    parser.add_argument("--ranking", type=Path, action="append", required=True)
    parser.add_argument("--accuracies", type=Path, required=True)
    parser.add_argument("--latencies", type=Path, required=True)
    parser.add_argument("--most", type=int, default=12)
    parser.add_argument("--subsets", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    space = load_space("nas-bench-macro")
    drawn = [space.from_json(a) for a in json.loads(options.architectures.read_text())]
    listed = list({architecture.id: architecture for architecture in drawn}.values())
    codes = [code_of_genome(space, sampling.to_genome(space, a)) for a in listed]
    accuracies = json.loads(options.accuracies.read_text())
    latencies = json.loads(options.latencies.read_text())
    truth = np.array([[1 - accuracies[c]["mean_acc"] / 100, latencies[c]] for c in codes])
    rows = []
    for path in options.ranking:
        ranked = json.loads(path.read_text())
        parts = [ranked["parts"][a.id] for a in listed]
        scores = {
            "accuracy": np.array([part["supernet accuracy"] for part in parts]),
            "loss": np.array([part["supernet likelihood"] for part in parts]),
            "loss and naswot": np.array([ranked["scores"][a.id] for a in listed]),
            "published accuracy": 1 - truth[:, 0],
        }
        for part, least in ABOVE.items():
            found = shares(scores, truth, least, options)
            for name, values in found.items():
                better = np.mean(np.array(values) > np.array(found["accuracy"]))
                row = {
                    "ranking": path.name, "part": part, "score": name,
                    "median_share": float(np.median(values)),
                    "better_than_accuracy": float(better),
                }  # fmt: skip
                rows.append(row)
                print(f"{path.stem} {part:10} {name:18} {row['median_share']:.2%}, better than "
                      f"accuracy in {better:.0%}")  # fmt: skip
    if options.results:
        write_json(options.results, {
            "date": datetime.date.today().isoformat(), "most": options.most,
            "subsets": options.subsets, "of": SUBSET, "seed": options.seed, "rows": rows,
        })  # fmt: skip


if __name__ == "__main__":
    main()
