"""`nas predict --onnx`: latency of a model that was not built here."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

from nas.cli.common import print_json
from nas.errors import InputError, OptionError

if TYPE_CHECKING:
    from nas.latency.foreign import ForeignNetwork, ForeignPrediction, Unmatched
    from nas.latency.table import LatencyTable
    from nas.space import SearchSpace


def predict_onnx(options: argparse.Namespace, table: LatencyTable) -> int:
    """Read the file, ask the table, print; the exit code is 0 as soon as any part is known."""
    from nas.export.reading import read_onnx
    from nas.latency.predict_foreign import predict_foreign

    if options.classes is not None:
        raise OptionError("the file says how many classes it has", do="leave --classes out")
    network = read_onnx(options.onnx)
    found = predict_foreign(table, network, _spaces(options.space))
    if options.json:
        return print_json([_answer(options, table, network, found)])
    _print(options, table, network, found)
    return 0


def _spaces(file: str | None) -> list[SearchSpace]:
    """The spaces known by name, and the one that was given."""
    from nas.space import load_space, space_names

    given = [load_space(file)] if file is not None else []
    found = {space.name: space for space in given}
    for name in space_names():
        with contextlib.suppress(InputError):  # a broken file of another space
            found.setdefault(name, load_space(name))
    return list(found.values())


def _answer(
    options: argparse.Namespace,
    table: LatencyTable,
    network: ForeignNetwork,
    found: ForeignPrediction,
) -> dict[str, Any]:
    latency = found.latency
    return {
        "id": str(options.onnx),
        "device": table.name,
        "predicted_ms": latency.predicted_ms,
        "lower_ms": latency.lower_ms,
        "upper_ms": latency.upper_ms,
        "provenance": found.provenance,
        "interpolated": found.interpolated,
        **_cost(table, network),
        "basis": latency.basis,
        "calibrated": latency.calibrated,
        "complete": found.complete,
        "architecture": found.architecture,
        "blocks": len(network.placed),
        "macs": found.macs,
        "covered_macs": found.covered_macs,
        "unmatched": [
            {
                "node": part.name,
                "what": part.what,
                "output_shape": list(part.shape) or None,
                "why": part.why,
                "macs": part.macs,
                "counted_ms": part.counted_ms,
                "do": part.do,
            }
            for part in found.unmatched
        ],
        "notes": list(network.notes),
    }


def _cost(table: LatencyTable, network: ForeignNetwork) -> dict[str, Any]:
    """Known where the model is a chain of blocks and nothing else."""
    from nas.cli.predict import describe_cost

    if network.placed and network.chain and not network.leftovers:
        return describe_cost([("", block) for block in network.blocks], table)
    return dict.fromkeys(("peak_memory_bytes", "weight_bytes", "energy_sum_of_blocks_mj"))


def _print(
    options: argparse.Namespace,
    table: LatencyTable,
    network: ForeignNetwork,
    found: ForeignPrediction,
) -> None:
    from nas.units import format_latency_ms

    latency = found.latency
    value = format_latency_ms(latency.predicted_ms)
    if not found.complete:
        value += " and what is not covered"
    if latency.lower_ms is not None and latency.upper_ms is not None:
        low, high = format_latency_ms(latency.lower_ms), format_latency_ms(latency.upper_ms)
        value += f"  [{low}, {high}]"
    note = ", in part interpolated" if found.interpolated else ""
    where = f"{found.provenance} table of {table.name}{note}"
    print(f"{options.onnx}  {value}  {where}: {latency.basis}")
    for text in network.notes:
        print(f"  note: {text}")
    if not found.complete:
        print(f"  covers {_share(found)} of the MACs; not covered:")
    _print_parts([part for part in found.unmatched if part.counted_ms is None])
    estimated = [part for part in found.unmatched if part.counted_ms is not None]
    if estimated:
        print("  in no block, estimated by layers:")
    _print_parts(estimated)
    for command in dict.fromkeys(part.do for part in found.unmatched if part.do):
        print(f"  try: {command}")


def _print_parts(parts: list[Unmatched]) -> None:
    for part in parts:
        size = "x".join(map(str, part.shape)) or "of unknown size"
        macs = "MACs not known" if part.macs is None else f"{part.macs / 1e6:.1f} M MACs"
        print(f"    {part.name}  {part.what}  {size}  {macs}  {part.why}")


def _share(found: ForeignPrediction) -> str:
    """Rounded down: what is not whole is never called 100 %."""
    share = found.covered_macs * 100 // found.macs if found.macs else 0
    unknown = any(part.macs is None for part in found.unmatched)
    return f"{share} %" + (", as far as they are known," if unknown else "")
