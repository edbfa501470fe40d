"""`nas predict`: latency of architectures on a device, from its table."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.common import (
    add_network_options,
    add_network_ways,
    command_parser,
    print_json,
    read_architectures,
    read_reference,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nas.latency.predict import Prediction, Predictor
    from nas.latency.table import LatencyTable
    from nas.space.architecture import Network, Placed


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "predict",
        "predict the latency of architectures on a device",
        "nas predict --device jetson-nano --reference mobilenetv3/mobilenet_v3_large\n"
        "  nas predict --device x86 --onnx model.onnx",
    )
    parser.add_argument("--device", required=True, help="name, alias or folder of a latency table")
    which = add_network_ways(parser)
    which.add_argument(
        "--onnx",
        type=Path,
        metavar="FILE",
        help="any model, as far as its blocks are known; the rest is listed",
    )
    add_network_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from nas.latency.table import load_table
    from nas.units import format_latency_ms

    table = load_table(options.device)
    if options.onnx is not None:
        from nas.cli.predict_onnx import predict_onnx

        return predict_onnx(options, table)
    answers: list[dict[str, Any]] = [
        {
            "id": name,
            "device": table.name,
            "classes": network.classes,
            "predicted_ms": p.predicted_ms,
            "lower_ms": p.lower_ms,
            "upper_ms": p.upper_ms,
            "provenance": p.provenance,
            "interpolated": p.interpolated,
            **describe_cost(network.blocks, table),
            **_until_exits(before),
        }
        for name, network, (*before, p) in _predictions(options, table)
    ]
    if options.json:
        return print_json(answers)
    for answer in answers:
        note = ", in part interpolated" if answer["interpolated"] else ""
        print(
            f"{answer['id']}  {format_latency_ms(answer['predicted_ms'])}  "
            f"[{format_latency_ms(answer['lower_ms'])}, {format_latency_ms(answer['upper_ms'])}]  "
            f"{answer['provenance']} table of {answer['device']}{note}"
        )
        for number, found in enumerate(answer.get("until_exits", ()), 1):
            print(
                f"{'':{len(answer['id'])}}  {format_latency_ms(found['predicted_ms'])}  "
                f"[{format_latency_ms(found['lower_ms'])}, {format_latency_ms(found['upper_ms'])}]"
                f"  until exit {number}"
            )
    return 0


def _until_exits(before: Sequence[Prediction]) -> dict[str, Any]:
    """Of inferences that leave early, where there are exits."""
    if not before:
        return {}
    names = ("predicted_ms", "lower_ms", "upper_ms")
    return {"until_exits": [{name: getattr(p, name) for name in names} for p in before]}


def describe_cost(placed: Sequence[Placed], table: LatencyTable) -> dict[str, Any]:
    """Memory, weights and energy of a network's blocks, beside its latency."""
    from nas.latency.predict import sum_of_energies
    from nas.latency.roofline import BYTES
    from nas.space.memory import block_weight_bytes, placed_peak_bytes

    blocks = [block for _, block in placed]
    precision = table.device.precision
    width = BYTES[precision]
    return {
        "peak_memory_bytes": max(placed_peak_bytes(place, width) for place in placed),
        "weight_bytes": sum(block_weight_bytes(block, width) for block in blocks),
        "energy_sum_of_blocks_mj": sum_of_energies(table.rows, blocks, precision),
    }


def _predictions(
    options: argparse.Namespace, table: Any
) -> list[tuple[str, Network, list[Prediction]]]:
    """Of each network those that leave at an exit, and the whole one."""
    from nas.latency.predict import Predictor
    from nas.space.space import DEFAULT_CLASSES

    if options.reference is not None:
        space, name, network = read_reference(options.reference, options.classes, options.space)
        # References are written for large images; no plan has their exact strides.
        plan = "large" if "large" in space.plans else space.plans[0]
        predictor = Predictor(table, space, plan, network.classes)
        _check_reference(predictor, network, options)
        return [(name, network, predictor.until_exits(network))]
    predictors: dict[tuple[str, str, int], Predictor] = {}
    answers = []
    for space, architecture, known in read_architectures(options.arch, options.space):
        classes = options.classes or known or DEFAULT_CLASSES[architecture.plan]
        key = space.name, architecture.plan, classes
        predictor = predictors.setdefault(key, Predictor(table, space, architecture.plan, classes))
        network = space.network(architecture, classes)
        answers.append((architecture.id, network, predictor.until_exits(network)))
    return answers


def _check_reference(predictor: Predictor, network: Network, options: argparse.Namespace) -> None:
    """Refuse a network with blocks that no profile of its space would add.

    Raises:
        TableError: It has such blocks; other missing ones are the predictor's to refuse.
    """
    from nas.errors import TableError
    from nas.latency.predict import look_up
    from nas.space.enumerate import distinct_blocks

    table, space, plan = predictor.table, predictor.space, predictor.plan
    keys = network.keys(table.device.precision)
    missing = [key.block for key in keys if look_up(table, key) is None]
    if not missing:
        return
    resolutions = [r for r in space.plan(plan).resolutions if r == network.resolution]
    blocks = distinct_blocks(space, plan, resolutions, (network.classes,))
    added = {block.computation for block in blocks}
    never = [block for block in missing if block.computation not in added]
    if never:
        more = f" and {len(never) - 1} more" if len(never) > 1 else ""
        export = ["nas", "export", "--reference", options.reference, "--out", "model.onnx"]
        export += ["--classes", str(options.classes)] if options.classes else []
        predict = ["nas", "predict", "--onnx", "model.onnx", "--device", options.device]
        raise TableError(
            f"{options.reference} has blocks that no network of {space.name} {plan} has",
            got=f"{never[0]}{more}",
            allowed="blocks that nas profile measures for the space",
            do=f"{shlex.join(export)} && {shlex.join(predict)}, which answers as far as its blocks "
            "are known",
        )
