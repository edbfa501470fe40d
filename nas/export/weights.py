"""The weights of a torch model as the ONNX graph wants them: batch norm folded in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nas.export.graph import Weights
from nas.models.build import ConvNormActivation, LinearActivation, Model, SqueezeExciteModule
from nas.space.layers import Layer


def folded_weights(model: Model) -> Weights:
    """Arrays of a model in evaluation mode; folding is done in float64."""

    def weights(place: str, layer: Layer) -> Sequence[np.ndarray]:
        module = model.layer(place, layer.name)
        match module:
            case ConvNormActivation():
                return _fold(module)
            case SqueezeExciteModule():
                return [
                    _array(tensor)
                    for conv in (module.reduce, module.expand)
                    for tensor in (conv.weight, conv.bias)
                    if tensor is not None
                ]
            case LinearActivation():
                return _array(module.linear.weight), _array(module.linear.bias)
            case _:
                return ()

    return weights


def _fold(module: ConvNormActivation) -> Sequence[np.ndarray]:
    norm, bias = module.norm, module.conv.bias
    if not isinstance(norm, torch.nn.BatchNorm2d):
        assert bias is not None
        return _array(module.conv.weight), _array(bias)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    scale = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    weight = module.conv.weight.double() * scale[:, None, None, None]
    return _array(weight), _array(norm.bias.double() - mean.double() * scale)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().contiguous().numpy()
