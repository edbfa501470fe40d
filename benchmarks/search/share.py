"""The search's own share of a run's wall time: everything in the loop that is no evaluation.

    python benchmarks/search/share.py --data DATA --supernet FILE --out results.json

A real run of `nas search` (64 trials of the default space, in this process, journal and all), with
a supernet that is trained already: training one would make the share smaller. Scoring an
architecture is an evaluation wherever it is done, so also before the first trial, where the
supernet is held against a linear model (`check_s`).
"""

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from unittest import mock

from nas.accuracy.score import SEARCH, Fidelity, Score
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.search.ranked import CHECK
from nas.search.run import run_search
from nas.search.settings import read_settings
from nas.search.watch import Silent
from nas.space.architecture import Architecture

evaluate = SupernetEvaluator.evaluate
evaluations: list[tuple[float, float]] = []
"""When each began, as the log has it, and its seconds."""


def timed(
    self: SupernetEvaluator, architecture: Architecture, fidelity: Fidelity = SEARCH
) -> Score:
    """An evaluation that is remembered how long it took."""
    begun, start = time.time(), time.perf_counter()
    found = evaluate(self, architecture, fidelity)
    evaluations.append((begun, time.perf_counter() - start))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--supernet")
    parser.add_argument("--device", default="jetson-nano")
    parser.add_argument("--budget", default="6ms")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    settings = read_settings(
        None,
        {
            "device": options.device, "budget": options.budget, "data": options.data,
            "supernet": options.supernet, "trials": options.trials, "finalists": 2,
            "finetune_steps": 20, "promote": 0,
        },
    )  # fmt: skip
    start = time.perf_counter()
    patched = mock.patch.object(SupernetEvaluator, "evaluate", timed)
    with tempfile.TemporaryDirectory() as folder, patched:
        run = run_search(settings, Path(folder) / "run", watcher=Silent())
        wall = time.perf_counter() - start
        log = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    at = {line["event"]: line["time"] for line in log}
    stage = at["search"] - at["supernet"]
    # Others, before, time how fast this machine is.
    evaluations_s = sum(took for begun, took in evaluations if begun >= at["supernet"])
    own = stage - evaluations_s
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "settings": settings.model_dump(mode="json", by_alias=True),
        "wall_s": round(wall, 2), "search_stage_s": round(stage, 2),
        "evaluations_s": round(evaluations_s, 2), "own_s": round(own, 2),
        "check_s": round(at[CHECK] - at["supernet"], 2),
        "share_of_the_run": round(own / wall, 4), "share_of_the_stage": round(own / stage, 4),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
