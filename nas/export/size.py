"""How large an exported file becomes, before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from nas.export.graph import GraphTarget, build_graph
from nas.space.architecture import Network, Placed, is_exit
from nas.space.blocks import Block
from nas.space.layers import Conv, Layer, Linear, SqueezeExcite
from nas.space.memory import block_weight_bytes

PLACE = "stage99.block99"
"""As long as the names of places become."""
HEADER_BYTES = 1024
"""The file without nodes, weights and metadata."""
NODE_BYTES, ARRAY_BYTES, BLOCK_BYTES = 8, 32, 64
"""Lengths that are written with the numbers: of a node, of an array, of the name of the tensor
that a block reads."""


def file_bytes(network: Network, metadata_bytes: int) -> int:
    """Upper bound of the size of a network's files together; some kilobytes above it.

    Args:
        network: Exported in fp32.
        metadata_bytes: Of the texts that go into each file.
    """
    placed = sum(placed_file_bytes(place, metadata_bytes) for place in network.blocks)
    return HEADER_BYTES + metadata_bytes + placed


def placed_file_bytes(placed: Placed, metadata_bytes: int) -> int:
    """What a block in its place adds: an exit, a file of its own."""
    position, block = placed
    another = HEADER_BYTES + metadata_bytes if is_exit(position) else 0
    return block_file_bytes(block) + another


def block_file_bytes(block: Block) -> int:
    """What a block adds to a file: its weights, and an upper bound of what describes it."""
    return block_weight_bytes(block) + _described(block.layers, block)


_KNOWN: dict[tuple[Layer, ...], int] = {}


def _described(layers: tuple[Layer, ...], block: Block) -> int:
    """Bytes of nodes and arrays without the weights; they depend on the layers alone."""
    if layers not in _KNOWN:
        graph = build_graph([(PLACE, block)], _no_weights, GraphTarget(hardswish=False)).graph
        nodes = sum(node.ByteSize() + NODE_BYTES for node in graph.node)
        arrays = sum(array.ByteSize() + ARRAY_BYTES for array in graph.initializer)
        _KNOWN[layers] = nodes + arrays + BLOCK_BYTES
    return _KNOWN[layers]


def _no_weights(place: str, layer: Layer) -> Sequence[np.ndarray]:
    match layer:
        case Conv():
            return _empty(layer.kernel), _EMPTY
        case Linear():
            return np.zeros((0, 0), np.float32), _EMPTY
        case SqueezeExcite():
            return _empty(1), _EMPTY, _empty(1), _EMPTY
    return ()


@lru_cache
def _empty(kernel: int) -> np.ndarray:
    return np.zeros((0, 0, kernel, kernel), np.float32)


_EMPTY = np.zeros(0, np.float32)
