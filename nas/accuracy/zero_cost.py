"""Scores of untrained networks: what a few batches tell, in a second instead of a training.

Higher is better in all of them. They rank networks of one space; the numbers themselves mean
nothing, and no two spaces compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from nas.models.build import ConvNormActivation, Model, build_model
from nas.space.architecture import Network

Batch = tuple[torch.Tensor, torch.Tensor]
"""Normalised images `N x 3 x R x R` and their labels `N`."""


def params(network: Network, batches: Sequence[Batch], seed: int) -> float:
    """Logarithm of the number of parameters."""
    return math.log(network.cost.params)


def macs(network: Network, batches: Sequence[Batch], seed: int) -> float:
    """Logarithm of the multiply-adds."""
    return math.log(network.cost.macs)


@torch.no_grad()
def naswot(network: Network, batches: Sequence[Batch], seed: int) -> float:
    """How differently images switch the activations on: log determinant of a kernel of Hamming.

    Two images are the more alike, the more activations they agree on (Mellor et al. 2021,
    arXiv:2006.04647). A batch of equal images has minus infinity.
    """
    images, _ = batches[0]
    model = _fresh(network, seed, images.device).train()
    number = len(images)
    kernel = torch.zeros(number, number, dtype=torch.float64)  # which Apple's MPS has not

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        on = (inputs[0] > 0).flatten(1).float()
        off = 1 - on
        kernel.add_((on @ on.T + off @ off.T).cpu())

    with _before_activations(model, count):
        model(images)
    sign, value = torch.linalg.slogdet(kernel)
    return float(value) if float(sign) > 0 else -math.inf


def synflow(network: Network, batches: Sequence[Batch], seed: int) -> float:
    """Logarithm of the flow through all weights made positive, of an image of ones.

    No data are looked at, and norms pass their input on (Tanaka et al. 2020, arXiv:2006.05467; as a
    score of architectures: Abdelfattah et al. 2021, arXiv:2101.08134).
    """
    model = _fresh(network, seed, batches[0][0].device).double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1.0)  # statistics are 0 and 1: an identity
        for parameter in model.parameters():
            parameter.abs_()
    size, device = network.resolution, batches[0][0].device
    flow = model(torch.ones(1, 3, size, size, dtype=torch.float64, device=device)).sum()
    flow.backward()
    weights = [p for p in model.parameters() if p.ndim > 1]
    total = sum(float((weight.detach() * _gradient(weight)).sum()) for weight in weights)
    return math.log(total) if total > 0 else -math.inf


def zico(network: Network, batches: Sequence[Batch], seed: int) -> float:
    """How steady gradients are from batch to batch, over all layers (arXiv:2301.11300).

    Needs two batches or more; weights whose gradients do not differ are left out.
    """
    model = _fresh(network, seed, batches[0][0].device).train()
    gradients: list[list[torch.Tensor]] = []
    for images, labels in batches:
        model.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        gradients.append([_gradient(p).flatten() for p in model.parameters() if p.ndim > 1])
    total = 0.0
    for layer in zip(*gradients, strict=True):
        stacked = torch.stack(layer)
        mean, spread = stacked.abs().mean(0), stacked.std(0)
        inside = spread > 0
        share = float((mean[inside] / spread[inside]).sum())
        total += math.log(share) if share > 0 else 0.0
    return total


SCORES: dict[str, Callable[[Network, Sequence[Batch], int], float]] = {
    "params": params,
    "macs": macs,
    "naswot": naswot,
    "synflow": synflow,
    "zico": zico,
}
"""Score of a network, given some batches and the seed of its weights."""


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _fresh(network: Network, seed: int, device: torch.device) -> Model:
    """Untrained, without exits; norms at the end of residuals are identities, not zeros."""
    model = build_model(network.without_exits, seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1.0)
    return model.to(device)


@contextmanager
def _before_activations(
    model: Model, look: Callable[[nn.Module, tuple[torch.Tensor, ...]], None]
) -> Iterator[None]:
    """Call `look` with what enters each activation after a convolution."""
    hooks = [
        module.activation.register_forward_pre_hook(look)
        for module in model.modules()
        if isinstance(module, ConvNormActivation) and not isinstance(module.activation, nn.Identity)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
