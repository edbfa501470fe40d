"""Memory of blocks and networks: activations that are alive together, and weights.

Both are exact for the ONNX graph as `nas.export.graph` writes it for any runtime (hard-swish as
HardSigmoid and Mul), nodes in their order. A tensor is alive from the node that writes it to the
last one that reads it. Element-wise nodes of one input (Relu, Clip, HardSigmoid) write over it
where nobody reads it afterwards; every other node, sums and products too, writes a tensor of its
own, as onnxruntime's do. `tests/export/test_memory.py` holds this against the graph and against
what onnxruntime allocates.
"""

from __future__ import annotations

from nas.space.architecture import Network
from nas.space.blocks import Block
from nas.space.layers import (
    Conv,
    GlobalPool,
    Layer,
    Linear,
    Residual,
    SqueezeExcite,
    layer_cost,
    output_size,
)


def peak_activation_bytes(network: Network, bytes_per_value: int = 4) -> int:
    """Largest sum of tensors alive at once, batch 1: that of the largest block.

    Between two blocks only one tensor is alive, so that blocks do not add up.
    """
    return max(block_peak_bytes(block, bytes_per_value) for _, block in network.blocks)


def block_peak_bytes(block: Block, bytes_per_value: int = 4) -> int:
    """Largest sum of tensors alive at once in a block, its input and output counted, batch 1."""
    values = block.in_channels * block.height * block.width
    return _peak(block.layers, values, block.height, block.width, 0) * bytes_per_value


def weight_bytes(network: Network, bytes_per_value: int = 4) -> int:
    """Weights and biases of a network, as `block_weight_bytes` counts them."""
    return sum(block_weight_bytes(block, bytes_per_value) for _, block in network.blocks)


def block_weight_bytes(block: Block, bytes_per_value: int = 4) -> int:
    """Weights and biases with batch norm folded in, all in the same precision."""
    return _weights(block.layers) * bytes_per_value


def _peak(layers: tuple[Layer, ...], values: int, height: int, width: int, held: int) -> int:
    """Values alive at the worst moment; `held` is the start of a residual, needed for its sum."""
    peak = 0
    for index, layer in enumerate(layers):
        if isinstance(layer, Residual):
            # The sum reads the body's output and its start: three tensors of one size.
            peak = max(peak, _peak(layer.body, values, height, width, values), 3 * values)
            continue
        height, width = output_size(layer, height, width)
        written = _out_values(layer, height, width)
        # The start of a residual is also the input of its first layer: count it once.
        others = 0 if index == 0 else held
        peak = max(peak, others + values + _beside(layer, values, written))
        if isinstance(layer, Conv | Linear) and layer.activation == "hardswish":
            peak = max(peak, held + 3 * written)  # what HardSigmoid read, wrote, and the product
        values = written
    return peak


def _beside(layer: Layer, values: int, written: int) -> int:
    """Values that a layer's nodes write while its input is alive."""
    if isinstance(layer, SqueezeExcite):
        return layer.channels + max(layer.squeeze, values)
    return written


def _out_values(layer: Layer, height: int, width: int) -> int:
    match layer:
        case Conv():
            return layer.out_channels * height * width
        case SqueezeExcite():
            return layer.channels * height * width
        case GlobalPool():
            return layer.channels
        case Linear():
            return layer.out_features
        case Residual():
            raise TypeError("residuals are not nested")


def _weights(layers: tuple[Layer, ...]) -> int:
    total = 0
    for layer in layers:
        if isinstance(layer, Residual):
            total += _weights(layer.body)
            continue
        total += layer_cost(layer, 1, 1).params
        if isinstance(layer, Conv):
            total -= layer.out_channels  # batch norm's scale goes into the weights
    return total
