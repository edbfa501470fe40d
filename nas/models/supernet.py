"""One set of weights for all architectures of a space.

The supernet holds, for every position of the space and every family of blocks that may stand there,
weights of the largest such block. An architecture's weights are slices of them: leading channels,
the centre of a kernel (Cai et al. 2020, arXiv:1908.09791, without its kernel transforms). So the
supernet needs no modules of its own: a network's module is run with sliced weights, and gradients
flow back through the slices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import nn

from nas.models.build import Model, build_model, module_name
from nas.space import sample as sampling
from nas.space.architecture import Architecture, Network
from nas.space.blocks import Block
from nas.space.enumerate import covering
from nas.space.layers import Conv, Linear, SqueezeExcite, leaves
from nas.space.space import SearchSpace


class Supernet(nn.Module):
    """Shared weights of all architectures in one plan of a space.

    Args:
        space: The search space.
        plan: Its input plan.
        classes: Number of outputs.
        seed: Of the initial weights.
    """

    def __init__(self, space: SearchSpace, plan: str, classes: int, seed: int = 0) -> None:
        super().__init__()
        self.space, self.plan, self.classes = space, plan, classes
        self.weights = nn.ParameterDict()
        for network in covering_networks(space, plan, classes):
            self._cover(build_model(network, seed))

    @torch.no_grad()
    def _cover(self, model: Model) -> None:
        """Grow the shared weights so that `model`'s fit in."""
        keys = weight_keys(self.space, model.network)
        for name, parameter in model.named_parameters():
            key = keys(name)
            if key not in self.weights:
                self.weights[key] = nn.Parameter(parameter.detach().clone())
                continue
            old = self.weights[key].detach()
            shape = torch.Size(map(max, old.shape, parameter.shape))
            if shape != old.shape:
                # What neither of the two fills is used by no network.
                grown = parameter.new_zeros(shape)
                for part in (parameter, old):
                    _slice(grown, part.shape).copy_(part)
                self.weights[key] = nn.Parameter(grown)

    def forward(self, architecture: Architecture, x: torch.Tensor) -> torch.Tensor:
        """Logits of one architecture, batch norm using the batch's own statistics.

        Args:
            architecture: Which network to run.
            x: Normalised images, `N x 3 x R x R` at the architecture's resolution.

        Returns:
            Those of every exit and then of the end, `E x N x classes`.
        """
        model = _skeleton(self.space.network(architecture, self.classes))
        keys = weight_keys(self.space, model.network)
        weights = {
            name: _slice(self.weights[keys(name)], parameter.shape)
            for name, parameter in model.named_parameters()
        }
        return torch.func.functional_call(model, weights, (x,))  # type: ignore[no-any-return]

    @torch.no_grad()
    def subnet(self, architecture: Architecture) -> Model:
        """A module of its own with a copy of the architecture's weights.

        Its batch-norm statistics are not set: recalibrate before use.
        """
        model = build_model(self.space.network(architecture, self.classes))
        model = model.to(next(self.parameters()).device)
        keys = weight_keys(self.space, model.network)
        for name, parameter in model.named_parameters():
            parameter.copy_(_slice(self.weights[keys(name)], parameter.shape))
        return model


@lru_cache(maxsize=8)
def _skeleton(network: Network) -> Model:
    """A module without memory for weights, which are never used; the sandwich's ends recur."""
    with torch.device("meta"):
        model = Model(network)
    model.every = True
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return model


def covering_networks(space: SearchSpace, plan: str, classes: int) -> list[Network]:
    """Networks whose weights together hold those of every architecture.

    The largest one, the largest for every single skip and every stage left out, and what has a
    weight that none of those before has: another variant, a projection that one width needs.
    """
    largest = sampling.largest(space, plan, "params")
    found = {largest.id: largest}
    genome = sampling.to_genome(space, largest)
    for dimension in space.dimensions(plan):
        skips = dimension.name.endswith(".variant") and _skips(space, dimension.name)
        for choice in dimension.choices if skips or 0 in dimension.choices else ():
            other = sampling.from_genome(space, plan, {**genome, dimension.name: choice})
            found[other.id] = other
    networks = [space.network(architecture, classes) for architecture in found.values()]
    networks += reversed(list(covering(space, plan, space.plan(plan).resolutions[:1], classes)))
    held: dict[str, tuple[int, ...]] = {}
    return [network for network in networks if _grows(held, _sizes(space, network))]


def _skips(space: SearchSpace, name: str) -> bool:
    stage = space.file.stages[int(name.partition(".")[0].removeprefix("stage")) - 1]
    return bool(stage.skips)


def _grows(held: dict[str, tuple[int, ...]], sizes: dict[str, tuple[int, ...]]) -> bool:
    """Whether `sizes` do not fit into those that are held, which then hold them."""
    before = dict(held)
    for key, size in sizes.items():
        held[key] = tuple(map(max, size, held.get(key, size)))
    return held != before


def _sizes(space: SearchSpace, network: Network) -> dict[str, tuple[int, ...]]:
    """Sizes of the weights of each layer."""
    found: dict[str, tuple[int, ...]] = {}
    for position, block in network.blocks:
        place = _place(space, position, block)
        for layer in leaves(block.layers):
            match layer:
                case Conv():
                    inner = layer.in_channels // layer.groups
                    found[f"{place}/{layer.name}"] = layer.out_channels, inner, layer.kernel
                case Linear():
                    found[f"{place}/{layer.name}"] = layer.out_features, layer.in_features
                case SqueezeExcite():
                    found[f"{place}/{layer.name}"] = layer.channels, layer.squeeze
    return found


def weight_keys(space: SearchSpace, network: Network) -> Callable[[str], str]:
    """Where the weights of a network are kept, by their names in its module."""
    places = {
        module_name(position): _place(space, position, block) for position, block in network.blocks
    }

    def key(name: str) -> str:
        module, _, rest = name.removeprefix("blocks.").partition(".")
        return f"{places[module]}/{rest.replace('.', '/')}"  # ParameterDict refuses dots

    return key


def _place(space: SearchSpace, position: str, block: Block) -> str:
    """Blocks of another family than the stage's have weights of their own beside them.

    A plain convolution belongs to the stage: it is what a skipped first block leaves, or a fused
    block without expansion.
    """
    name, stage = module_name(position), position.partition(".")[0].removeprefix("stage")
    if not stage.isdecimal() or block.op in ("conv", space.file.stages[int(stage) - 1].op):
        return name
    return f"{name}/{block.op}"


def _slice(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Leading channels and the centre of the kernel."""
    if weight.shape == shape:
        return weight
    index = []
    for axis, (have, want) in enumerate(zip(weight.shape, shape, strict=True)):
        start = (have - want) // 2 if axis >= 2 else 0
        index.append(slice(start, start + want))
    return weight[tuple(index)]
