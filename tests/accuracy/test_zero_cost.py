"""Scores without training: what is known of them exactly, and that they see what they should."""

import math

import pytest
import torch

from nas import load_space
from nas.accuracy.zero_cost import SCORES, naswot, synflow, zico
from nas.models.build import build_model
from nas.space import sample as sampling


def batch(seed, number=8, size=24):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(number, 3, size, size, generator=generator)
    return images, torch.arange(number) % 10


@pytest.fixture(scope="module")
def networks():
    """A chain without residuals, narrow and wide."""
    space = load_space("mobilenetv1")
    scaled = [sampling.baseline(space, "small", width, 24) for width in (0.25, 0.5)]
    return [space.network(architecture) for architecture in scaled]


@pytest.mark.parametrize("name", SCORES)
def test_the_wider_network_scores_higher_and_the_same_every_time(networks, name):
    batches = [batch(0), batch(1)]
    narrow, wide = (SCORES[name](network, batches, 0) for network in networks)
    assert math.isfinite(narrow) and narrow < wide
    assert SCORES[name](networks[0], batches, 0) == narrow


def test_flow_is_conserved_from_layer_to_layer(networks):
    """Tanaka et al. 2020, theorem 1: in a chain each layer's weights carry the whole flow."""
    model = build_model(networks[0], 3).double().eval()
    layers = [module for module in model.modules() if hasattr(module, "weight")]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
        flow = float(model(torch.ones(1, 3, 24, 24, dtype=torch.float64)).sum())
    layers = [module for module in layers if module.weight.ndim > 1]
    # Norms divide by the root of 1 + eps, in all layers alike.
    assert synflow(networks[0], [batch(0)], 3) == pytest.approx(math.log(len(layers) * flow))


def test_images_that_are_alike_tell_nothing(networks):
    images, labels = batch(0)
    alike = images[:1].expand(8, -1, -1, -1).contiguous()
    assert naswot(networks[0], [(alike, labels)], 0) == -math.inf


def test_gradients_that_do_not_differ_are_left_out(networks):
    assert zico(networks[0], [batch(0), batch(0)], 0) == 0.0
