"""A table's predictions against whole models, timed by code that the profiler does not have.

    python benchmarks/latency/whole_models.py --device x86 --plan small --seed 1 --out results.json

Draws architectures with a fresh seed, exports each with `nas export`, times every file twice, one
timing after the other, and compares `nas predict` with the first. The mean difference between the
two is the noise floor: a run whose floor is over 3 % is void. Rivals in the same run: the plain sum
of the table's blocks; lines fitted to MACs, and to MACs, params and bytes of activations, on these
very models (which favours them); and a random forest for each kind of block, trained on the blocks
that were measured for the table, whose predictions are summed (as nn-Meter does, Zhang et al. 2021,
doi:10.1145/3458864.3467882).
"""

import argparse
import contextlib
import datetime
import io
import json
import platform
import random
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestRegressor

sys.path.insert(0, str(Path(__file__).parent))
from timing import floor, time_files

from nas import load_space, load_table
from nas.cli.main import main as nas
from nas.latency.metrics import agreement
from nas.space.architecture import Network
from nas.space.blocks import Block, BlockKey


def command(*words: str) -> str:
    """What a `nas` command prints on standard output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = nas(list(words))
    if code:
        sys.exit(f"nas {' '.join(words)} failed with {code}")
    return out.getvalue()


def draw(options: argparse.Namespace) -> list[dict]:
    """Random architectures of the wanted resolutions."""
    listed = command(
        "sample", "--space", options.space, "--plan", options.plan, "-n", str(40 * options.n),
        "--seed", str(options.seed), "--json",
    )  # fmt: skip
    wanted = set(options.resolution)
    found = [a for a in json.loads(listed) if not wanted or a["resolution"] in wanted]
    return found[: options.n]


def predict(device: str, architectures: list[dict], folder: Path) -> list[dict]:
    (folder / "all.json").write_text(json.dumps(architectures))
    command_line = ("predict", "--device", device, "--arch", str(folder / "all.json"), "--json")
    return json.loads(command(*command_line))


def export(architectures: list[dict], folder: Path) -> list[Path]:
    files = []
    for index, architecture in enumerate(architectures):
        source, file = folder / f"{index}.json", folder / f"{index}.onnx"
        source.write_text(json.dumps(architecture))
        command("export", "--arch", str(source), "--out", str(file))
        files.append(file)
    return files


def compare(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    found = agreement(predicted, measured)
    return {
        "mape": found.mape, "within_5": found.within_5, "within_10": found.within_10,
        "rank_correlation": found.rank_correlation,
    }  # fmt: skip


def fitted(features: list[np.ndarray], measured: np.ndarray) -> np.ndarray:
    """Least squares on relative errors, evaluated on the models it was fitted to."""
    matrix = np.stack([np.ones_like(measured), *features], axis=1)
    solution, *_ = np.linalg.lstsq(matrix / measured[:, None], np.ones_like(measured), rcond=None)
    return matrix @ solution


def sizes(block: Block) -> list[float]:
    """What a forest sees of a block."""
    params = dict(block.params)
    return [
        block.height, block.in_channels, block.out_channels, int(params.get("hidden", 0) or 0),
        int(params.get("kernel", 1)), block.stride, int(params.get("se", 0)),
        bool(params.get("residual")), params.get("activation") == "hardswish", block.cost.macs,
        block.cost.params,
    ]  # fmt: skip


def forest_sums(device: str, networks: list[Network]) -> np.ndarray:
    """Sums of blocks as forests predict them that were trained on the table's measured ones."""
    table = load_table(device)
    known = defaultdict(list)
    for key, row in table.rows.items():
        if row.source == "measured":
            known[key.block.op].append((sizes(key.block), row.latency_ms))
    forests = {}
    for op, pairs in known.items():
        forest = RandomForestRegressor(n_estimators=100, random_state=0)
        forests[op] = forest.fit([x for x, _ in pairs], [y for _, y in pairs])
    blocks = {block for network in networks for _, block in network.blocks}
    guess = {b: float(forests[b.op].predict([sizes(b)])[0]) for b in blocks}
    return np.array([sum(guess[block] for _, block in n.blocks) for n in networks])


def rivals(
    options: argparse.Namespace, networks: list[Network], measured: np.ndarray
) -> dict[str, dict]:
    table = load_table(options.device)
    rows = table.rows
    sums = np.array([sum(rows[BlockKey(b)].latency_ms for _, b in n.blocks) for n in networks])
    macs = np.array([n.cost.macs for n in networks], float)
    params = np.array([n.cost.params for n in networks], float)
    values = np.array([sum(b.border_values for _, b in n.blocks) for n in networks], float)
    return {
        "sum of isolated blocks": compare(sums, measured),
        "fit on MACs": compare(fitted([macs], measured), measured),
        "fit on MACs, params, bytes": compare(
            fitted([macs, params, 4 * values], measured), measured
        ),
        "random forest per block, summed": compare(forest_sums(options.device, networks), measured),
    }


def run(options: argparse.Namespace, folder: Path) -> dict:
    architectures = draw(options)
    answers = predict(options.device, architectures, folder)
    files = export(architectures, folder)
    device = load_table(options.device).device
    how = device.runtime, device.threads or 1, options.rounds
    measured, again = (time_files(files, *how, seed) for seed in (1, 2))
    predicted = np.array([answer["predicted_ms"] for answer in answers])
    upper = np.array([answer["upper_ms"] for answer in answers])
    space = load_space(architectures[0]["space"])
    networks = [space.network(space.from_json(a)) for a in architectures]
    table, second = compare(predicted, measured), compare(again, measured)
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{device.hardware}; this one is {platform.machine()}",
        "runtime": f"{device.runtime} {device.runtime_version}, {device.threads} threads",
        "device": device.name,
        "space": options.space,
        "plan": options.plan,
        "resolutions": sorted({a["resolution"] for a in architectures}),
        "seed": options.seed,
        "models": len(files),
        "noise_floor": floor(measured, again),
        "void": floor(measured, again) > 0.03,
        "table": table,
        "rank_correlation_below_that_of_two_timings": second["rank_correlation"]
        - table["rank_correlation"],
        "under_upper_bound": float((measured <= upper).mean()),
        "upper_over_predicted": float(np.median(upper / predicted)),
        "rivals": {"second timing": second, **rivals(options, networks, measured)},
        "points": np.stack([predicted, measured, again], axis=1).round(5).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True)
    parser.add_argument("--space", default="mobilenetv3")
    parser.add_argument("--plan", default="small")
    parser.add_argument("--resolution", type=int, action="append", default=[])
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--rounds", type=int, default=40, help="of each of the two timings")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(options, Path(folder))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in report.items() if k != "points"}, indent=2))


if __name__ == "__main__":
    main()
