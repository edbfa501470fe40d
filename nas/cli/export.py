"""`nas export`: one architecture as an ONNX file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.common import (
    add_network_options,
    add_network_ways,
    command_parser,
    print_json,
    read_architectures,
    read_reference,
    seed,
)
from nas.errors import ArchitectureError, OptionError

if TYPE_CHECKING:
    from nas.export.graph import GraphTarget
    from nas.models.build import Model
    from nas.space import Architecture, SearchSpace
    from nas.space.architecture import Network

RANDOM = {"nas.weights": "random: good for timing only"}


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "export",
        "write an architecture as a static batch-1 ONNX file",
        "nas sample --json > arch.json && nas export --arch arch.json --out model.onnx",
    )
    add_network_ways(parser)
    add_network_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--device", help="write what this device's runtime accepts (default: opset 17)"
    )
    parser.add_argument(
        "--supernet", type=Path, help="take the weights from a trained supernet (default: random)"
    )
    parser.add_argument("--data", type=Path, help="the supernet's images (default: digits)")
    parser.add_argument("--seed", type=seed, default=0, help="of everything random (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from nas.export.graph import GraphTarget
    from nas.export.onnx_file import files_of, write_onnx
    from nas.export.weights import folded_weights
    from nas.latency.table import load_table

    target = GraphTarget()
    if options.device is not None:
        export = load_table(options.device).device.export
        target = GraphTarget(export.opset, export.ir_version, export.hardswish)
    if options.out.is_dir():
        raise OptionError(
            "--out names a file", got=str(options.out), allowed="a file", do="--out model.onnx"
        )
    if options.data is not None and options.supernet is None:
        raise OptionError("--data goes with --supernet", got="no --supernet", do="add --supernet")
    model, metadata = _model(options)
    for file in files_of(options.out, len(model.network.segments)):
        _check_place(file)
    files = write_onnx(options.out, model.network, folded_weights(model), target, metadata)
    if options.supernet is None:
        _say_random(options.arch, len(files))
    _print_written(files, model.network, target, options)
    return 0


def _check_place(file: Path) -> None:
    """Refuse to write over what is not an export.

    Raises:
        OptionError: A folder, or a model that was trained, is there.
    """
    if file.is_dir():
        raise OptionError("a segment is written to a file", got=f"{file}, a folder")
    if file.exists() and _is_result(file):
        raise OptionError(
            "a model that was trained is not overwritten", got=str(file), do="another --out"
        )


def _say_random(arch: str | None, segments: int) -> None:
    """What random weights are good for, and where the trained ones are if there are any."""
    from nas.export.onnx_file import files_of

    beside = [] if arch is None else files_of(Path(arch).with_suffix(".onnx"), segments)
    trained = ", ".join(str(file) for file in beside if file.exists() and _is_result(file))
    where = f"; trained: {trained}" if trained else ""
    print(
        f"nas: the weights are random (no --supernet): good for timing only{where}",
        file=sys.stderr,
    )


def _print_written(
    files: list[Path], network: Network, target: GraphTarget, options: argparse.Namespace
) -> None:
    from nas.units import plural

    if not options.json:
        for file in files:
            print(f"{file}: {network.resolution} px, {plural(network.classes, 'class')}")
        return
    names = list(map(str, files))
    print_json(
        {
            **({"file": names[0]} if len(names) == 1 else {"files": names}),
            "resolution": network.resolution,
            "classes": network.classes,
            "opset": target.opset,
            "weights": "supernet" if options.supernet else "random",
        }
    )


def _is_result(file: Path) -> bool:
    """Whether a training or a search has left it."""
    folder = file.parent
    in_run = folder.name == "models" and (folder.parent / "run.yaml").exists()
    return in_run or (folder / "train.yaml").exists()


def _model(options: argparse.Namespace) -> tuple[Model, dict[str, str]]:
    from nas.models import build_model

    if options.reference is not None:
        if options.supernet is not None:
            raise OptionError("a reference is not part of a supernet", do="leave --supernet out")
        _, _, network = read_reference(options.reference, options.classes, options.space)
        metadata = {"nas.reference": options.reference, **RANDOM}
        return build_model(network, options.seed).eval(), metadata
    found = read_architectures(options.arch, options.space)
    if len(found) != 1:
        raise ArchitectureError(
            "nas export takes one architecture",
            got=f"{len(found)} in the file",
            do="a file with one, such as a run's models/<id>.json",
        )
    space, architecture, classes = found[0]
    if options.supernet is not None:
        if options.classes is not None:
            raise OptionError("a supernet knows its classes", do="leave --classes out")
        return _from_supernet(options, space, architecture)
    network = space.network(architecture, options.classes or classes)
    metadata = {"nas.architecture": json.dumps(architecture.to_json()), **RANDOM}
    return build_model(network, options.seed).eval(), metadata


def _from_supernet(
    options: argparse.Namespace, space: SearchSpace, architecture: Architecture
) -> tuple[Model, dict[str, str]]:
    """The supernet's slice, its batch norm recalibrated on the training images."""
    from nas.accuracy.scoring import recalibrate
    from nas.accuracy.supernet_training import SupernetSettings
    from nas.data import decode, scan
    from nas.models import Supernet
    from nas.search.front import onnx_metadata
    from nas.search.supernets import SupernetJob, load_given
    from nas.search.work import RECALIBRATION_IMAGES

    index = scan(options.data, options.seed)
    plan = architecture.plan
    dataset = decode(index, space.plan(plan).resolutions)
    supernet = Supernet(space, plan, len(dataset.classes), options.seed)
    job = SupernetJob(supernet, dataset, SupernetSettings(steps=1, seed=options.seed), 1)
    load_given(job, options.supernet)
    model = supernet.subnet(architecture)
    recalibrate(model, dataset, RECALIBRATION_IMAGES)
    return model, onnx_metadata(dataset, architecture, None)
