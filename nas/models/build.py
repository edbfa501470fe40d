"""From a network (a chain of blocks) to a torch module."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nas.space.architecture import Network, is_exit
from nas.space.layers import (
    Branches,
    Conv,
    GlobalPool,
    Layer,
    Leaf,
    Linear,
    MaxPool,
    Residual,
    SqueezeExcite,
    leaves,
)

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
}
GATES: dict[str, type[nn.Module]] = {"hardsigmoid": nn.Hardsigmoid, "sigmoid": nn.Sigmoid}


class WideDepthwise(torch.autograd.Function):
    """Depthwise convolution, kernel over 3, stride 1, with a faster gradient on processors.

    oneDNN 3.12 has fast code for the weights' gradient of depthwise convolutions only up to three
    columns, so the kernel is taken three columns at a time: 1.7 to 13 times faster, equal but for
    rounding (measured, docs/decisions/0004-supernet-recipe.md).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """`N x C x H x W` to the same shape; `weight` is `C x 1 x K x K`."""
        ctx.save_for_backward(x, weight)
        padding = weight.shape[-1] // 2
        return nn.functional.conv2d(x, weight, None, 1, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of the input and of the weight."""
        x, weight = ctx.saved_tensors
        kernel, width = weight.shape[-1], x.shape[-1]
        padding = kernel // 2
        of_x, _ = _conv_backward(gradient, x, weight, padding, (True, False))
        padded = nn.functional.pad(x, (padding,) * 4)
        columns = []
        for first in range(0, kernel, 3):
            last = min(first + 3, kernel)
            part = padded[..., first : last + width - 1]
            columns.append(
                _conv_backward(gradient, part, weight[..., first:last], 0, (False, True))[1]
            )
        return of_x, torch.cat(columns, dim=3)


def _conv_backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    padding: int,
    wanted: tuple[bool, bool],
) -> tuple[torch.Tensor, torch.Tensor]:
    found = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        [1, 1],
        [padding] * 2,
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [*wanted, False],
    )
    return found[0], found[1]


class ConvNormActivation(nn.Module):
    """Convolution, batch norm (or a bias), activation: `N x C x H x W` to `N x C' x H' x W'`."""

    def __init__(self, layer: Conv) -> None:
        super().__init__()
        padding = layer.kernel // 2
        self.conv = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            layer.stride,
            padding,
            groups=layer.groups,
            bias=not layer.norm,
        )
        self.norm = nn.BatchNorm2d(layer.out_channels) if layer.norm else nn.Identity()
        self.activation = ACTIVATIONS[layer.activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the three in turn."""
        conv = self.conv
        wide = conv.groups > 1 and conv.kernel_size[0] > 3 and conv.stride[0] == 1
        if wide and self.training and x.device.type == "cpu":
            x = WideDepthwise.apply(x, conv.weight)  # type: ignore[no-untyped-call]
        else:
            x = conv(x)
        return self.activation(self.norm(x))  # type: ignore[no-any-return]


class SqueezeExciteModule(nn.Module):
    """Scales channels by a gate computed from their means. Source: arXiv:1709.01507."""

    def __init__(self, layer: SqueezeExcite) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(layer.channels, layer.squeeze, 1)
        self.expand = nn.Conv2d(layer.squeeze, layer.channels, 1)
        self.activation = ACTIVATIONS[layer.activation]()
        self.gate = GATES[layer.gate]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`N x C x H x W` to the same shape."""
        inner = self.activation(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * self.gate(self.expand(inner))  # type: ignore[no-any-return]


class PoolModule(nn.Module):
    """Mean over height and width: `N x C x H x W` to `N x C`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average."""
        return x.mean((2, 3))


class LinearActivation(nn.Module):
    """Linear layer and activation: `N x C` to `N x C'`."""

    def __init__(self, layer: Linear) -> None:
        super().__init__()
        self.linear = nn.Linear(layer.in_features, layer.out_features)
        self.activation = ACTIVATIONS[layer.activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply both in turn."""
        return self.activation(self.linear(x))  # type: ignore[no-any-return]


class BlockModule(nn.Module):
    """The layers of one block. Weights keep their name wherever in the block their layer is."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.body = nn.ModuleDict({leaf.name: _leaf_module(leaf) for leaf in leaves(layers)})

    @property
    def last_before_sum(self) -> nn.Module | None:
        """The layer whose output is added to the block's input, or to its projection."""
        for layer in self.layers:
            if isinstance(layer, Residual):
                return self.body[layer.body[-1].name]
        return None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layers in turn."""
        return self._chain(self.layers, x)

    def _chain(self, layers: tuple[Layer, ...], x: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            x = self._layer(layer, x)
        return x

    def _layer(self, layer: Layer, x: torch.Tensor) -> torch.Tensor:
        match layer:
            case Residual():
                total = self._chain(layer.shortcut, x) + self._chain(layer.body, x)
                activate = _FUNCTIONS[layer.activation]
                return total if activate is None else activate(total)
            case Branches():
                number = len(layer.branches)
                starts = x.chunk(number, dim=1) if layer.split else [x] * number
                pairs = zip(layer.branches, starts, strict=True)
                joined = torch.cat([self._chain(branch, start) for branch, start in pairs], dim=1)
                return nn.functional.channel_shuffle(joined, number) if layer.shuffle else joined
            case _:
                return self.body[layer.name](x)  # type: ignore[no-any-return]


_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
    "none": None,
    "relu": nn.functional.relu,
    "relu6": nn.functional.relu6,
    "hardswish": nn.functional.hardswish,
    "silu": nn.functional.silu,
}


def _leaf_module(layer: Leaf) -> nn.Module:
    match layer:
        case Conv():
            return ConvNormActivation(layer)
        case SqueezeExcite():
            return SqueezeExciteModule(layer)
        case MaxPool():
            return nn.MaxPool2d(layer.kernel, layer.stride, layer.kernel // 2)
        case GlobalPool():
            return PoolModule()
        case Linear():
            return LinearActivation(layer)


class Model(nn.Module):
    """A network: RGB images `N x 3 x H x W`, normalised, to logits `N x classes`.

    Attributes:
        every: Whether calling it gives the logits of its exits, too.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.every = network, False
        self._exits = {module_name(p) for p, _ in network.blocks if is_exit(p)}
        modules = {module_name(p): BlockModule(b.layers) for p, b in network.blocks}
        self.blocks = nn.ModuleDict(modules)

    def layer(self, position: str, name: str) -> nn.Module:
        """One layer's module by the position of its block and its own name."""
        return self.blocks.get_submodule(f"{module_name(position)}.body.{name}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, `N x classes`; with `every` those of `every_logits`."""
        return self.every_logits(x) if self.every else self._logits(x)[-1]

    def every_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of every exit and then of the end, `E x N x classes`."""
        return torch.stack(self._logits(x, exits=True))

    def _logits(self, x: torch.Tensor, exits: bool = False) -> list[torch.Tensor]:
        found = []
        for name, block in self.blocks.items():
            if name not in self._exits:
                x = block(x)
            elif exits:
                found.append(block(x))
        return [*found, x]


def module_name(position: str) -> str:
    """What torch lets the module of a position be called."""
    return position.replace(".", "_")


def build_model(network: Network, seed: int | None = None) -> Model:
    """A torch module for a network, in channels-last layout.

    Args:
        network: What to build.
        seed: Initialise the weights reproducibly (He et al. 2015, arXiv:1502.01852, fan-out for
            convolutions) without touching torch's global generator. `None` leaves what torch draws.
    """
    with torch.random.fork_rng(devices=[]):
        model = Model(network)
        if seed is not None:
            initialise(model, torch.Generator().manual_seed(seed))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw weights from `generator`; biases start at zero, norms as identities.

    A residual block's last norm starts at zero, so that deep and shallow networks start alike
    (Goyal et al. 2017, arXiv:1706.02677, section 5.1). Linear layers keep the variance (LeCun).
    Both measured: docs/decisions/0004-supernet-recipe.md.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] ** 2 * module.out_channels / module.groups
            module.weight.normal_(0, math.sqrt(2 / fan_out), generator=generator)
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0, 1 / math.sqrt(module.in_features), generator=generator)
        elif isinstance(module, BlockModule):
            last = module.last_before_sum
            if isinstance(last, ConvNormActivation) and isinstance(last.norm, nn.BatchNorm2d):
                last.norm.weight.zero_()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
