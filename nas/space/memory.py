"""Peak memory of a network's activations, from the tensors that are alive together."""

from __future__ import annotations

from nas.space.architecture import Network
from nas.space.layers import Conv, GlobalPool, Layer, Linear, Residual, SqueezeExcite, output_size


def peak_activation_bytes(network: Network, bytes_per_value: int = 4) -> int:
    """Largest sum of tensors alive at once when layers run in turn, batch 1, no buffer reused.

    A layer holds its input and its output; a residual holds its start until the sum. Activations
    and batch norm run in place.
    """
    peak = 0
    for _, block in network.blocks:
        values = block.in_channels * block.height * block.width
        peak = max(peak, _peak(block.layers, values, block.height, block.width, 0))
    return peak * bytes_per_value


def _peak(layers: tuple[Layer, ...], values: int, height: int, width: int, held: int) -> int:
    peak = 0
    for layer in layers:
        if isinstance(layer, Residual):
            peak = max(peak, _peak(layer.body, values, height, width, values))
            continue
        # The input of a residual is also the input of the first layer: count it once.
        start = 0 if layer is layers[0] and held else held
        height, width = output_size(layer, height, width)
        out = _out_values(layer, height, width)
        peak = max(peak, start + values + out)
        values = out
    return peak


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
