"""Architectures as stacks of blocks: what each block is, and what it costs of the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas.errors import TableError
from nas.latency.predict import look_up
from nas.latency.table import LatencyTable
from nas.space.architecture import Network
from nas.space.blocks import Block, BlockKey
from nas.space.resolve import FIRE_SHARE


@dataclass(frozen=True)
class StackBlock:
    """One block of a stack.

    Attributes:
        place: Where it is in the space, such as `stage2.block1`.
        op: Kind of block.
        label: What was chosen, such as `k5 e6 SE`; empty where there is nothing to choose.
        out_channels: Channels of its output (classes, for a classifier).
        stride: How much smaller its output is.
        size: Height of its input, pixels.
        macs_share: Its part of the network's MACs, 0 to 1.
        latency_share: Its part of the sum of all blocks' latencies; `None` where the table does
            not tell.
    """

    place: str
    op: str
    label: str
    out_channels: int
    stride: int
    size: int
    macs_share: float
    latency_share: float | None


USUAL: dict[str, Callable[[Block], float]] = {
    "inverted_residual": lambda block: block.in_channels,
    "fused_inverted_residual": lambda block: block.in_channels,
    "residual": lambda block: block.out_channels,
    "shuffle_unit": lambda block: block.out_channels / 2,
    "fire": lambda block: block.out_channels / FIRE_SHARE,
}
"""Channels inside a block at an expand ratio of 1."""


def make_stack(network: Network, table: LatencyTable | None) -> tuple[StackBlock, ...]:
    """The blocks of a network from the stem to the classifier.

    Args:
        network: What to draw.
        table: Tells each block's share of the latency, if it is there and knows all blocks.
    """
    latencies = None if table is None else _block_latencies_ms(network, table)
    total_ms = sum(latencies or ())
    total_macs = max(network.cost.macs, 1)
    return tuple(
        StackBlock(
            place,
            block.op,
            block_label(block),
            block.out_channels,
            block.stride,
            block.height,
            block.cost.macs / total_macs,
            latencies[index] / total_ms if latencies else None,
        )
        for index, (place, block) in enumerate(network.blocks)
    )


def block_label(block: Block) -> str:
    """What a block is made of: kernel `k`, expand ratio `e`, squeeze-and-excitation `SE`.

    Of a classifier: the features of its hidden layer, if it has one.
    """
    params = dict(block.params)
    parts = [f"k{params['kernel']}"] if "kernel" in params else []
    if block.op in USUAL:
        parts.append(f"e{int(params['hidden']) / USUAL[block.op](block):.2g}")
    if params.get("se"):
        parts.append("SE")
    if block.op == "classifier" and params["hidden"]:
        parts.append(str(params["hidden"]))
    return " ".join(parts)


def _block_latencies_ms(network: Network, table: LatencyTable) -> list[float] | None:
    keys = network.keys(table.device.precision)
    try:
        found = [_block_latency_ms(key, table) for key in keys]
    except TableError:
        return None
    known = [latency_ms for latency_ms in found if latency_ms is not None]
    return known if len(known) == len(found) else None


def _block_latency_ms(key: BlockKey, table: LatencyTable) -> float | None:
    found = look_up(table, key)
    return None if found is None else found[0]
