"""From a block's op and parameters to its layers, and which parameters each op has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from nas.errors import SpaceError
from nas.space.layers import (
    Activation,
    Branches,
    Conv,
    Gate,
    GlobalPool,
    Layer,
    Linear,
    MaxPool,
    Residual,
    SqueezeExcite,
)

Param = int | str | bool
Lowering = Callable[[int, int, dict[str, Any]], tuple[Layer, ...]]
"""Channels in, channels out and parameters to layers."""

POOL_KERNEL = 3
"""Of all max pooling here: ResNet, SqueezeNet 1.1 and ShuffleNetV2 have no other."""


def _activation(params: dict[str, Any]) -> Activation:
    return cast(Activation, params["activation"])


def _plain(in_channels: int, out_channels: int, params: dict[str, Any]) -> tuple[Layer, ...]:
    """A convolution, with a sum or followed by max pooling where it says so."""
    kernel, stride, norm = params["kernel"], params["stride"], params.get("norm", True)
    conv = Conv("conv", in_channels, out_channels, kernel, stride, 1, _activation(params), norm)
    pool, residual = params.get("pool", 1), params.get("residual", False)
    if residual:
        return (Residual("residual", (conv,)),)
    return (conv, MaxPool("pool", out_channels, POOL_KERNEL, pool)) if pool > 1 else (conv,)


def _depthwise_separable(
    in_channels: int, out_channels: int, params: dict[str, Any]
) -> tuple[Layer, ...]:
    kernel, stride, activation = params["kernel"], params["stride"], _activation(params)
    return (
        Conv("depthwise", in_channels, in_channels, kernel, stride, in_channels, activation),
        Conv("pointwise", in_channels, out_channels, 1, 1, 1, activation),
    )


def _inverted_residual(
    in_channels: int, out_channels: int, params: dict[str, Any]
) -> tuple[Layer, ...]:
    hidden, squeeze, activation = params["hidden"], params["se"], _activation(params)
    kernel, stride = params["kernel"], params["stride"]
    body: list[Layer] = []
    if hidden != in_channels:
        body.append(Conv("expand", in_channels, hidden, 1, 1, 1, activation))
    body.append(Conv("depthwise", hidden, hidden, kernel, stride, hidden, activation))
    if squeeze:
        gate, inner = cast(Gate, params["gate"]), params.get("se_activation", "relu")
        body.append(SqueezeExcite("se", hidden, squeeze, gate, inner))
    body.append(Conv("project", hidden, out_channels, 1, 1, 1, "none"))
    return (Residual("residual", tuple(body)),) if params["residual"] else tuple(body)


def _fused_inverted_residual(
    in_channels: int, out_channels: int, params: dict[str, Any]
) -> tuple[Layer, ...]:
    """Expansion and depthwise convolution in one dense convolution (arXiv:2104.00298)."""
    hidden, kernel, stride = params["hidden"], params["kernel"], params["stride"]
    body = (
        Conv("expand", in_channels, hidden, kernel, stride, 1, _activation(params)),
        Conv("project", hidden, out_channels, 1, 1, 1, "none"),
    )
    return (Residual("residual", body),) if params["residual"] else body


def _residual(in_channels: int, out_channels: int, params: dict[str, Any]) -> tuple[Layer, ...]:
    """Two convolutions and a sum (arXiv:1512.03385, section 4.1, projection where it is needed)."""
    hidden, kernel, stride = params["hidden"], params["kernel"], params["stride"]
    body = (
        Conv("first", in_channels, hidden, kernel, stride, 1, _activation(params)),
        Conv("second", hidden, out_channels, kernel, 1, 1, "none"),
    )
    projection = Conv("shortcut", in_channels, out_channels, 1, stride, 1, "none")
    same = stride == 1 and in_channels == out_channels
    return (Residual("residual", body, () if same else (projection,), _activation(params)),)


def _shuffle_unit(in_channels: int, out_channels: int, params: dict[str, Any]) -> tuple[Layer, ...]:
    """ShuffleNetV2's units (arXiv:1807.11164, figure 3 c and d)."""
    hidden, kernel, stride = params["hidden"], params["kernel"], params["stride"]
    half, activation = out_channels // 2, _activation(params)
    split = stride == 1 and in_channels == out_channels
    enters = half if split else in_channels
    left = (
        Conv("left_depthwise", in_channels, in_channels, kernel, stride, in_channels, "none"),
        Conv("left_pointwise", in_channels, half, 1, 1, 1, activation),
    )
    right = (
        Conv("first", enters, hidden, 1, 1, 1, activation),
        Conv("depthwise", hidden, hidden, kernel, stride, hidden, "none"),
        Conv("last", hidden, half, 1, 1, 1, activation),
    )
    return (Branches("join", (() if split else left, right), split, shuffle=True),)


def _fire(in_channels: int, out_channels: int, params: dict[str, Any]) -> tuple[Layer, ...]:
    """SqueezeNet's fire module (arXiv:1602.07360, figure 2); a stride is max pooling before it."""
    hidden, kernel, stride = params["hidden"], params["kernel"], params["stride"]
    half, activation, norm = out_channels // 2, _activation(params), params.get("norm", True)
    pool = (MaxPool("pool", in_channels, POOL_KERNEL, stride),) if stride > 1 else ()
    expands = (
        (Conv("expand1", hidden, half, 1, 1, 1, activation, norm),),
        (Conv("expand", hidden, half, kernel, 1, 1, activation, norm),),
    )
    squeeze = Conv("squeeze", in_channels, hidden, 1, 1, 1, activation, norm)
    return (*pool, squeeze, Branches("join", expands))


def _head(in_channels: int, out_channels: int, params: dict[str, Any]) -> tuple[Layer, ...]:
    return (Conv("conv", in_channels, out_channels, 1, 1, 1, _activation(params)),)


def _classifier(in_channels: int, out_channels: int, params: dict[str, Any]) -> tuple[Layer, ...]:
    """`mean`: pooling, then linear layers; `last`: a convolution to the classes, then pooling.

    With `channels`, a 1 x 1 convolution to so many comes before the mean.
    """
    hidden, pooling, wide = params["hidden"], params["pooling"], params.get("channels", 0)
    if pooling not in ("mean", "last"):
        raise SpaceError("a classifier pools by the mean", got=pooling, allowed="mean, last")
    if pooling == "last":
        if hidden or wide:
            raise SpaceError(
                "a classifier that pools last has no hidden layer and no channels of its own",
                got=hidden or wide,
            )
        conv = Conv("classes", in_channels, out_channels, 1, 1, 1, _activation(params), norm=False)
        return (conv, GlobalPool("pool", out_channels))
    layers: list[Layer] = []
    if wide:
        layers.append(Conv("conv", in_channels, wide, 1, 1, 1, _activation(params)))
    layers.append(GlobalPool("pool", wide or in_channels))
    if hidden:
        layers.append(Linear("hidden", wide or in_channels, hidden, _activation(params)))
    features = hidden or wide or in_channels
    return (*layers, Linear("classes", features, out_channels, "none"))


OPS: dict[str, Lowering] = {
    "stem": _plain,
    "conv": _plain,
    "depthwise_separable": _depthwise_separable,
    "inverted_residual": _inverted_residual,
    "fused_inverted_residual": _fused_inverted_residual,
    "residual": _residual,
    "shuffle_unit": _shuffle_unit,
    "fire": _fire,
    "head": _head,
    "classifier": _classifier,
}
_INNER = ("activation", "hidden", "kernel", "stride")
OP_PARAMS: dict[str, tuple[str, ...]] = {
    "stem": ("activation", "kernel", "stride"),
    "conv": ("activation", "kernel", "stride"),
    "depthwise_separable": ("activation", "kernel", "stride"),
    "inverted_residual": ("activation", "gate", "hidden", "kernel", "residual", "se", "stride"),
    "fused_inverted_residual": ("activation", "hidden", "kernel", "residual", "stride"),
    "residual": _INNER,
    "shuffle_unit": _INNER,
    "fire": _INNER,
    "head": ("activation",),
    "classifier": ("activation", "hidden", "pooling"),
}
OPTIONAL_PARAMS: dict[str, dict[str, Param]] = {
    "stem": {"norm": True, "pool": 1},
    "conv": {"norm": True, "residual": False},
    "inverted_residual": {"se_activation": "relu"},
    "fire": {"norm": True},
    "classifier": {"channels": 0},
}
"""What an op may say beside those, and what holds where it does not: a key never has a default."""
HALVED = ("shuffle_unit", "fire")
"""Ops whose outputs are two halves."""
