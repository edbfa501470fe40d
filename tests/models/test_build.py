"""Torch modules against the costs that are computed without torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.models.build import build_model
from nas.space import load_space, space_names
from nas.space.sample import sample, smallest

SPACES = {name: load_space(name) for name in sorted(space_names())}
PLANS = [(name, plan) for name, space in SPACES.items() for plan in space.plans]
REFERENCES = [(name, r) for name, space in SPACES.items() for r in space.file.references]


def without_memory(network):
    """A module whose tensors have sizes only."""
    with torch.device("meta"):
        return build_model(network).eval()


def counted(network):
    """Params and MACs as torch sees them: of every convolution and linear layer that runs."""
    model = without_memory(network)
    macs = 0

    def count(module, inputs, output):
        nonlocal macs
        positions = output.shape[2] * output.shape[3] if isinstance(module, nn.Conv2d) else 1
        macs += module.weight.numel() * positions

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    size = network.resolution
    out = model.every_logits(torch.empty(1, 3, size, size, device="meta"))
    assert out.shape == (len(network.segments), 1, network.classes)
    return sum(p.numel() for p in model.parameters()), macs


@given(st.sampled_from(PLANS), st.integers(0, 2**32 - 1), st.integers(2, 1000))
@settings(max_examples=25)
def test_torch_counts_what_the_space_counts(where, seed, classes):
    space, plan = SPACES[where[0]], where[1]
    network = space.network(sample(space, plan, np.random.default_rng(seed)), classes)
    assert counted(network) == (network.cost.params, network.cost.macs)


@pytest.mark.parametrize(("space", "reference"), REFERENCES)
def test_references_are_built(space, reference):
    network = SPACES[space].reference(reference)
    assert counted(network) == (network.cost.params, network.cost.macs)


def shapes(model, image):
    found = {}
    for name, block in model.blocks.items():
        block.register_forward_hook(lambda m, i, o, name=name: found.update({name: o.shape}))
    model.every_logits(image)
    return found


@given(st.sampled_from(PLANS), st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_every_block_has_the_shape_that_its_key_says(where, seed):
    space, plan = SPACES[where[0]], where[1]
    network = space.network(sample(space, plan, np.random.default_rng(seed)))
    size = network.resolution
    found = shapes(without_memory(network), torch.empty(1, 3, size, size, device="meta"))
    for (_, block), shape in zip(network.blocks, found.values(), strict=True):
        assert shape[1] == block.out_channels
        assert tuple(shape[2:]) in (block.output_size, ())


@pytest.fixture(scope="module")
def network():
    space = SPACES["mobilenetv3"]
    return space.network(smallest(space, "small"), 10)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_a_seed_gives_the_same_weights(network):
    one, two, other = (state(build_model(network, seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("seed", [None, 3])
def test_torchs_own_generator_is_left_alone(network, seed):
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    build_model(network, seed)
    assert torch.equal(torch.rand(4), expected)


def test_signals_neither_vanish_nor_explode(network):
    model = build_model(network, seed=0).train()
    logits = model(torch.randn(16, 3, 24, 24, generator=torch.Generator().manual_seed(0)))
    assert torch.isfinite(logits).all()
    assert 1e-4 < logits.std() < 10


def test_models_are_in_channels_last_layout(network):
    model = build_model(network, seed=0)
    weight = next(m.weight for m in model.modules() if isinstance(m, nn.Conv2d))
    assert weight.is_contiguous(memory_format=torch.channels_last)
