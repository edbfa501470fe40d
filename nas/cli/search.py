"""`nas search`: the whole way, from images and a board to exported models."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli import ranking, verify
from nas.cli.common import (
    add_board_options,
    command_parser,
    positive,
    print_json,
    read_architectures,
    seed,
    whole,
)

if TYPE_CHECKING:
    from nas.search.executors.execution import Execution
    from nas.search.run_folder import RunFolder
    from nas.search.settings import SearchSettings

SETTINGS = (
    "device", "budget", "budget_on", "per_device", "objective", "max_size", "max_memory",
    "max_energy", "max_macs", "space", "plan", "data", "seed", "trials", "finalists", "sampler",
    "time_limit", "evaluator", "supernet", "supernet_steps", "supernet_batch",
    "trial_steps", "finetune_steps", "promote", "short_steps", "threads", "metric",
)  # fmt: skip


Add = Callable[..., argparse.Action]


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "search",
        "find the Pareto front of models within a latency budget, and export them",
        "nas search --device jetson-nano --budget 20ms --data photos/ --time-limit 2h\n"
        "  nas search --device jetson-nano=20ms --device raspberry-pi-4=60ms",
    )
    _add_limits(parser.add_argument_group("devices, limits, objectives").add_argument)
    _add_data(parser.add_argument_group("data and space").add_argument)
    _add_work(parser.add_argument_group("how much, and how").add_argument)
    _add_trainings(parser.add_argument_group("how long is trained").add_argument)
    _add_places(parser.add_argument_group("where trials are scored and kept").add_argument)
    _add_run(parser.add_argument_group("the run").add_argument)
    measuring = parser.add_argument_group("measuring what was found")
    measuring.add_argument(
        "--verify",
        nargs="?",
        const="",
        metavar="DEVICE",
        help="after the search, measure the exported models on the device (which, if there are "
        "several)",
    )
    add_board_options(measuring)
    ranking.add_options(parser.add_argument_group("checking the supernet's ranks").add_argument)
    parser.set_defaults(run=run)


def _add_limits(add: Add) -> None:
    """Devices, and what models must hold or are compared by."""
    add(
        "--device",
        action="append",
        metavar="NAME[=BUDGET]",
        help="name, alias or folder of a latency table (nas devices), here or in --config; repeat "
        "it, with budgets, for models that hold on all",
    )
    add(
        "--budget",
        metavar="LATENCY",
        help="latency with a unit: 20ms; held against the upper bound",
    )
    add(
        "--per-device",
        action="store_true",
        default=None,
        help="a front for each device, in place of models that hold on all",
    )
    add(
        "--budget-on",
        choices=["worst", "expected"],
        help="of networks with early exits: hold budgets for an inference through all of it, or "
        "for what is expected on average (worst)",
    )
    add("--max-size", metavar="BYTES", help="of an exported file, with a unit: 4MB")
    add("--max-memory", metavar="BYTES", help="of the activations alive at once: 512KiB")
    add("--max-energy", metavar="ENERGY", help="of an inference, where the table knows it: 5mJ")
    add("--max-macs", metavar="NUMBER", help="multiply-adds: 50M")
    add(
        "--objective",
        action="append",
        choices=["latency", "energy", "memory", "size", "macs"],
        help="what is minimised beside the error; repeat it for several (latency)",
    )


def _add_data(add: Add) -> None:
    """What is learned, and the space."""
    add(
        "--data",
        metavar="PATH",
        help="images: a folder, an archive, .csv, .tsv, .npz or hf:NAME (default: embedded digits)",
    )
    add(
        "--metric",
        choices=["accuracy", "balanced"],
        help="balanced: train and score so that every class counts alike (accuracy)",
    )
    add("--space", metavar="NAME", help="search space (mobilenetv3)")
    add("--plan", choices=["small", "large"], help="input plan (default: from the images)")


def _add_work(add: Add) -> None:
    """How much is done, and how."""
    count = partial(add, metavar="N")
    count("--trials", type=whole(1, 1_000_000), help="distinct architectures to score (64)")
    count("--finalists", type=whole(1, 1000), help="models to train and export, at most (8)")
    add(
        "--time-limit",
        metavar="DURATION",
        help="such as 20m; fixes the numbers of steps that are not given",
    )
    count("--seed", type=seed, help="of everything random (0)")
    add(
        "--sampler",
        choices=["front", "nsga2", "tpe", "gp", "random"],
        help="what proposes architectures (front)",
    )
    add(
        "--warm-start",
        metavar="FILE",
        help="architectures to score first: an earlier run's front.json, or nas sample --json",
    )
    add(
        "--evaluator",
        choices=["supernet", "training"],
        help="score with a supernet's weights, or after training each architecture from scratch "
        "(supernet)",
    )
    count(
        "--threads",
        type=whole(1, 1024),
        help="for training and scoring (default: all cores it may use)",
    )


def _add_trainings(add: Add) -> None:
    """How long what is trained."""
    count, steps = partial(add, metavar="N"), partial(add, metavar="N", type=positive)
    add("--supernet", metavar="FILE", help="use a trained supernet instead of training one")
    steps("--supernet-steps", help="training steps of the supernet (30 epochs; digits: 300)")
    count(
        "--supernet-batch",
        type=whole(2, 65_536),
        help="images for each of them (32; on a CUDA GPU 256)",
    )
    steps(
        "--trial-steps",
        help="training steps of each architecture from scratch (a quarter of a finalist's)",
    )
    count(
        "--promote",
        type=whole(0, 10_000),
        help="architectures to score again after a longer training, for finalists to be chosen "
        "from (2 x finalists; from scratch none); 0: choose by the trials' scores",
    )
    steps(
        "--short-steps",
        help="training steps of each of these (a quarter of a finalist's; from scratch a half)",
    )
    steps(
        "--finetune-steps",
        help="training steps of each finalist and baseline (3 epochs, digits: 50; from scratch "
        "30 epochs, 300)",
    )


def _add_places(add: Add) -> None:
    """Where trials are scored and kept."""
    add(
        "--workers",
        type=whole(1, 4096),
        metavar="N",
        help="score architectures by so many processes of Ray",
    )
    add("--ray-address", metavar="ADDRESS", help="use an existing Ray cluster: HOST:6379, or auto")
    add("--gpus-per-trial", type=share, metavar="N", help="of each worker: 1, 0.25 (none)")
    add("--trial-limit", metavar="DURATION", help="longest evaluation by a worker: 10m (no limit)")
    add(
        "--storage",
        metavar="URL",
        help="keep the trials in a database that several searches may join: "
        "postgresql://USER@HOST/DATABASE (a file of the run)",
    )


def _add_run(add: Add) -> None:
    """The run's folder and settings."""
    add(
        "--config",
        metavar="FILE",
        help="settings as YAML, or quick or own-images; options override them",
    )
    add("--out", type=Path, metavar="DIR", help="run folder (runs/<device>-<budget>-<hash>)")
    add("--resume", action="store_true", help="continue an unfinished run")
    add("--json", action="store_true", help="print front.json")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from nas.search.run_folder import RunFolder, check_state
    from nas.search.settings import read_settings

    given = {name: getattr(options, name) for name in SETTINGS}
    if options.warm_start is not None:
        known = read_architectures(options.warm_start, options.space)
        given["warm_start"] = [each.architecture.to_json() for each in known]
    settings = read_settings(options.config, given)
    folder = RunFolder(options.out or settings.default_folder())
    state = check_state(folder, settings, options.resume)
    execution = _execution(options)
    ranking.check_options(options, settings)
    verifier = verify.ask_device(options, list(settings.devices))
    if state == "absent" and options.resume:
        print(f"Nothing to resume in {folder.path}: this run begins there.", file=sys.stderr)
    if state == "finished":
        _say_finished(folder, settings)
        shutil.rmtree(folder.work, ignore_errors=True)  # left by a kill in the last moment
    else:
        _search(folder, settings, options.resume, execution)
    _write_report(folder)
    if options.check_ranking:
        ranking.check(folder, options)
        _write_report(folder)
    if verifier is not None:
        verify.measure(folder, verifier)
        _write_report(folder)
    if options.json:
        print_json(folder.read_front())
    else:
        from nas.cli.summary import print_summary

        print_summary(folder)
    return 0


def _write_report(folder: RunFolder) -> None:
    if not folder.report.exists():
        from nas.report.page import write_report

        write_report(folder.path)


def _say_finished(folder: RunFolder, settings: SearchSettings) -> None:
    """Nothing is done again: say since when, and what is not as it was then."""
    from nas.search.folders import onnx_files
    from nas.search.inputs import changed_inputs

    content = folder.read_run()
    unseen = "" if settings.data is None else "; the data are not read again"
    print(
        f"This run is finished (begun {content['started']}{unseen}): {folder.path}",
        file=sys.stderr,
    )
    for file in (folder.path / n for m in folder.read_front()["models"] for n in onnx_files(m)):
        if not file.is_file():
            print(
                f"nas: {file} is gone; try: delete {folder.front}, then the same command with "
                "--resume makes it anew",
                file=sys.stderr,
            )
    for what in changed_inputs(content):
        print(
            f"nas: {what} since then, these are the results of before; "
            "try: --out OTHER_FOLDER for a new run",
            file=sys.stderr,
        )


def _execution(options: argparse.Namespace) -> Execution:
    """Where trials are scored.

    Raises:
        OptionError: Something about workers without workers.
        UnitError: A limit without a unit.
    """
    from nas.search.executors.execution import Execution
    from nas.units import parse_duration_s

    limit = options.trial_limit
    execution = Execution(
        workers=options.workers,
        ray_address=options.ray_address,
        gpus_per_trial=options.gpus_per_trial or 0.0,
        threads=options.threads,
        storage=options.storage,
        trial_limit_s=None if limit is None else parse_duration_s(limit, "--trial-limit"),
    )
    execution.check()
    return execution


def share(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"a number above zero is needed, got {text!r}")
    return value


def _search(
    folder: RunFolder, settings: SearchSettings, resume: bool, execution: Execution
) -> None:
    from nas.cli.progress import TerminalWatcher
    from nas.search.run import run_search

    try:
        with TerminalWatcher() as watcher:
            run_search(settings, folder.path, resume=resume, watcher=watcher, execution=execution)
    except KeyboardInterrupt:
        if folder.run_file.exists():
            print(
                f"\nStopped. What is finished is in {folder.path}; the same command with --resume "
                "goes on from there.",
                file=sys.stderr,
            )
        raise
