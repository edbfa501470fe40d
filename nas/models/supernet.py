"""One set of weights for all architectures of a space.

The supernet holds, for every position of the space, weights of the largest block that may stand
there. An architecture's weights are slices of them: leading channels, the centre of a kernel
(Cai et al. 2020, arXiv:1908.09791, without its kernel transforms). So the supernet needs no
modules of its own: a network's module is run with sliced weights, and gradients flow back
through the slices.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from nas.models.build import Model, build_model
from nas.space import sample as sampling
from nas.space.architecture import Architecture, Network
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
        for name, parameter in model.named_parameters():
            key = _key(name)
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
        """
        model = _skeleton(self.space.network(architecture, self.classes))
        weights = {
            name: _slice(self.weights[_key(name)], parameter.shape)
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
        for name, parameter in model.named_parameters():
            parameter.copy_(_slice(self.weights[_key(name)], parameter.shape))
        return model


@lru_cache(maxsize=8)
def _skeleton(network: Network) -> Model:
    """A module without memory for weights, which are never used; the sandwich's ends recur."""
    with torch.device("meta"):
        model = Model(network)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return model


def covering_networks(space: SearchSpace, plan: str, classes: int) -> list[Network]:
    """Networks whose weights together hold those of every architecture.

    The largest one, and the largest for every single variant and every stage left out: enough where
    a larger number means larger weights.
    """
    largest = sampling.largest(space, plan, "params")
    genome = sampling.to_genome(space, largest)
    found = {largest.id: largest}
    for dimension in space.dimensions(plan):
        unordered = dimension.name.endswith(".variant") or 0 in dimension.choices
        for choice in dimension.choices if unordered else ():
            other = sampling.from_genome(space, plan, {**genome, dimension.name: choice})
            found[other.id] = other
    return [space.network(architecture, classes) for architecture in found.values()]


def _key(name: str) -> str:
    """ParameterDict refuses dots."""
    return name.removeprefix("blocks.").replace(".", "/")


def _slice(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Leading channels and the centre of the kernel."""
    if weight.shape == shape:
        return weight
    index = []
    for axis, (have, want) in enumerate(zip(weight.shape, shape, strict=True)):
        start = (have - want) // 2 if axis >= 2 else 0
        index.append(slice(start, start + want))
    return weight[tuple(index)]
