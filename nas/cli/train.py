"""`nas train`: one architecture trained by itself, to a checked ONNX file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.common import (
    add_network_ways,
    command_parser,
    number,
    positive,
    print_json,
    read_architectures,
    seed,
    whole,
)
from nas.errors import ArchitectureError, OptionError

if TYPE_CHECKING:
    from nas.search.training.folder import TrainFolder
    from nas.search.training.settings import TrainSettings

SETTINGS = (
    "reference", "width", "space", "plan", "resolution", "data", "seed", "threads", "supernet",
    "distil", "teacher", "epochs", "batch_size", "optimiser", "learning_rate", "weight_decay",
    "label_smoothing", "mixup", "cutmix", "random_augment", "ema_decay", "teacher_share",
    "metric",
)  # fmt: skip
Add = Callable[..., argparse.Action]


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "train",
        "train one architecture by itself, to a checked ONNX file",
        "nas sample --json > arch.json && nas train --arch arch.json --epochs 30\n"
        "  nas train --width 0.5 --space mobilenetv2 --data photos/ --mixup 0.2",
    )
    _add_network(parser)
    _add_recipe(parser.add_argument_group("how it is trained").add_argument)
    _add_teachers(parser.add_argument_group("what it starts from, who teaches").add_argument)
    _add_work(parser.add_argument_group("data and folder").add_argument)
    parser.set_defaults(run=run)


def _add_network(parser: argparse.ArgumentParser) -> None:
    """Ways to name the network."""
    group = parser.add_argument_group("the network")
    which = add_network_ways(group)
    which.add_argument(
        "--width",
        type=number(0, 1e6),
        metavar="NUMBER",
        help="the space's hand-made network at this width",
    )
    group.add_argument("--space", help="search space of --width (mobilenetv3), or file of --arch's")
    group.add_argument(
        "--plan", choices=["small", "large"], help="input plan of --width (from the images)"
    )
    group.add_argument(
        "--resolution", type=positive, metavar="PIXELS", help="of --width (the plan's largest)"
    )


def _add_recipe(add: Add) -> None:
    """All that changes what is learned."""
    add("--epochs", type=whole(1, 100_000), metavar="N", help="times every image is seen (30)")
    add("--batch-size", type=whole(2, 65_536), metavar="N", help="images for each step (64)")
    add("--optimiser", choices=["sgd", "adamw"], help="SGD with Nesterov momentum, or AdamW (sgd)")
    add(
        "--learning-rate",
        type=number(1e-9, 1e6),
        metavar="RATE",
        help="at its highest (for 128 images a step 0.1, of adamw 0.002; in proportion)",
    )
    add(
        "--weight-decay",
        type=number(0, 10),
        metavar="DECAY",
        help="of matrices (0.0005, of adamw 0.05)",
    )
    add(
        "--label-smoothing",
        type=number(0, 0.999999),
        metavar="SHARE",
        help="of a target for all classes (0.1)",
    )
    add("--mixup", type=number(0, 100), metavar="ALPHA", help="blend images: 0.2 is usual (0)")
    add("--cutmix", type=number(0, 100), metavar="ALPHA", help="paste boxes: 1 is usual (0)")
    add(
        "--augment",
        type=number(0, 1),
        metavar="STRENGTH",
        dest="random_augment",
        help="random changes of shape and colour, 0 to 1 (0: shifts, and flips of photos, only)",
    )
    add(
        "--ema",
        type=number(0, 0.999999),
        metavar="DECAY",
        dest="ema_decay",
        help="keep a running mean of the weights (0.999; 0: the last weights)",
    )
    add(
        "--metric",
        choices=["accuracy", "balanced"],
        help="balanced: train and score so that every class counts alike (accuracy)",
    )


def _add_teachers(add: Add) -> None:
    """Other networks."""
    add("--supernet", metavar="FILE", help="start from its weights (random ones)")
    add("--distil", action="store_true", help="the supernet's largest network teaches")
    add("--teacher", metavar="FILE.onnx", help="an ONNX model of the same classes teaches")
    add("--teacher-share", type=number(0, 1), metavar="SHARE", help="of the loss (0.5)")


def _add_work(add: Add) -> None:
    """Where from, where to."""
    add(
        "--data",
        metavar="PATH",
        help="images: folder, archive, .csv, .tsv, .npz or hf:NAME (default: digits)",
    )
    add("--seed", type=seed, metavar="N", help="of everything random (0)")
    add(
        "--threads",
        type=whole(1, 1024),
        metavar="N",
        help="for training and scoring (default: all cores it may use)",
    )
    add("--out", type=Path, metavar="DIR", help="folder (runs/train-<id>-<hash>)")
    add("--resume", action="store_true", help="continue an unfinished training")
    add("--json", action="store_true", help="print model.json")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from nas.cli.progress import TerminalWatcher
    from nas.search.training.folder import TrainFolder, check_state
    from nas.search.training.run import default_folder
    from nas.search.training.settings import train_settings

    settings = train_settings(_given(options))
    with TerminalWatcher() as watcher:
        folder = TrainFolder(options.out or default_folder(settings, watcher.progress))
    state = check_state(folder, settings, options.resume)
    if state == "absent" and options.resume:
        print(f"Nothing to resume in {folder.path}: this training begins there.", file=sys.stderr)
    if state == "finished":
        begun = folder.read()["started"]
        print(f"This training is finished (begun {begun}): {folder.path}", file=sys.stderr)
    else:
        _train(folder, settings, options.resume)
    if options.json:
        return print_json(folder.read_result())
    _print_result(folder)
    return 0


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Settings that were typed, with the architecture in place of its file.

    Raises:
        ArchitectureError: The file does not hold one architecture.
        OptionError: A space is given twice.
    """
    if options.reference is not None and options.space is not None:
        raise OptionError("--reference names its space", got="--space", do="leave --space out")
    given = {name: getattr(options, name) for name in SETTINGS}
    if options.arch is not None:
        found = read_architectures(options.arch, options.space)
        if len(found) != 1:
            raise ArchitectureError(
                "nas train takes one architecture",
                got=f"{len(found)} in the file",
                do="a file with one, such as a run's models/<id>.json",
            )
        architecture = found[0].architecture
        given["architecture"] = architecture.to_json()
        given["space"] = options.space or architecture.space
    return given


def _train(folder: TrainFolder, settings: TrainSettings, resume: bool) -> None:
    from nas.cli.progress import TerminalWatcher
    from nas.search.training.run import run_training

    try:
        with TerminalWatcher() as watcher:
            run_training(settings, folder.path, resume=resume, watcher=watcher)
    except KeyboardInterrupt:
        if folder.train_file.exists():
            print(
                f"\nStopped. What is trained is in {folder.path}; the same command with --resume "
                "goes on from there.",
                file=sys.stderr,
            )
        raise


def _print_result(folder: TrainFolder) -> None:
    from nas.search.folders import onnx_files
    from nas.units import format_bytes, format_count, format_duration_s, plural

    result = folder.read_result()
    what = ", balanced accuracy" if result["accuracy"]["metric"] == "balanced" else ""
    for title, name in (("validation", "validation_accuracy"), ("test", "accuracy")):
        score = result[name]
        low, high = score["interval"]
        print(
            f"{title:<10} {score['value']:.1%}  ({low:.1%} to {high:.1%}, {score['images']} images"
            f"{what})"
        )
    print(
        f"{format_count(result['params'])} parameters, {format_count(result['macs'])} MACs, "
        f"{format_bytes(result['size_bytes'])}; "
        f"{plural(result['epochs'], 'epoch')} in "
        f"{format_duration_s(result['seconds'])} ({result['device']})"
    )
    _print_exits(result)
    for name in onnx_files(result):
        print(folder.path / name)


def _print_exits(result: dict[str, Any]) -> None:
    """Where images leave a network that has exits."""
    from nas.units import format_count

    exits = result.get("exits")
    if exits is None:
        return
    thresholds = [*exits["thresholds"], None]
    rows = zip(thresholds, exits["shares"], exits["validation_accuracies"], strict=True)
    for place, (threshold, share, alone) in enumerate(rows, 1):
        name = "end" if threshold is None else f"exit {place}"
        used = threshold is not None and threshold <= 1
        when = f", from a probability of {threshold:g} on" if used else ""
        print(
            f"{name:<10} {share:.1%} of the validation images leave here{when}; alone it has "
            f"{alone:.1%}"
        )
    print(f"expected   {format_count(exits['expected_macs'])} MACs")
