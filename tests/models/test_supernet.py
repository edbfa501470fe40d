"""One set of weights: every architecture's fit in, and only the slices in use are trained."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.models.supernet import Supernet, weight_keys
from nas.space import load_space, space_names
from nas.space.sample import largest, sample, smallest

NAMES = sorted(space_names())


@cache
def supernet(name, plan="small"):
    shared = Supernet(load_space(name), plan, classes=10, seed=1)
    with torch.no_grad():  # a norm that starts at zero would hide what is before it
        for weight_name, weight in shared.weights.items():
            if weight_name.endswith("norm/weight"):
                weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(2))
    return shared


def images(architecture, number=4, seed=0):
    size = architecture.resolution
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(seed))


def parameters(shared, architecture):
    """Where the supernet keeps each parameter of an architecture, and a copy of it."""
    model = shared.subnet(architecture)
    key = weight_keys(shared.space, model.network)
    return {name: (key(name), parameter) for name, parameter in model.named_parameters()}


def used_slice(weight, shape):
    """Leading channels and the centre of the kernel, written out for each axis."""
    out, inner = shape[0], slice(0, shape[1]) if len(shape) > 1 else None
    if len(shape) < 3:
        return weight[:out] if inner is None else weight[:out, inner]
    edge = (weight.shape[2] - shape[2]) // 2
    middle = slice(edge, edge + shape[2])
    return weight[:out, inner, middle, middle]


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_of_every_architecture_fit_in(name):
    shared = supernet(name)
    space, generator = shared.space, np.random.default_rng(0)
    for _ in range(6):
        found = parameters(shared, sample(space, "small", generator))
        for parameter_name, (key, parameter) in found.items():
            expected = used_slice(shared.weights[key], parameter.shape)
            assert torch.equal(parameter, expected), parameter_name


@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_a_subnet_computes_what_the_supernet_computes(name, seed):
    shared = supernet(name)
    architecture = sample(shared.space, "small", np.random.default_rng(seed))
    x = images(architecture, seed=seed)
    with torch.no_grad():
        expected = shared(architecture, x)
        found = shared.subnet(architecture).train().every_logits(x)
    assert expected.shape == (len(shared.space.network(architecture, 10).segments), 4, 10)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_gradients_flow_into_the_slices_in_use_and_nowhere_else(name, seed):
    shared = supernet(name)
    shared.zero_grad(set_to_none=True)
    architecture = sample(shared.space, "small", np.random.default_rng(seed))
    logits = shared(architecture, images(architecture, seed=seed))
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    (logits * direction).sum().backward()
    shapes = {key: p.shape for key, p in parameters(shared, architecture).values()}
    for name, weight in shared.weights.items():
        if name not in shapes:
            assert weight.grad is None
            continue
        outside = weight.grad.clone()
        inside = used_slice(outside, shapes[name])
        assert name.endswith("bias") or inside.abs().max() > 0, name
        inside.zero_()
        assert not outside.any(), name


def test_a_smaller_kernel_is_the_centre_of_the_larger():
    shared = supernet("mobilenetv3")
    space = shared.space
    choices = dict(largest(space, "small").choices)
    where = "stage4.block1.kernel"
    kernels = {
        kernel: shared.subnet(space.architecture("small", 32, {**choices, where: kernel}))
        .get_submodule("blocks.stage4_block1.body.depthwise.conv")
        .weight
        for kernel in (3, 5, 7)
    }
    assert kernels[7].shape[2:] == (7, 7)
    assert torch.equal(kernels[7][:, :, 1:6, 1:6], kernels[5])
    assert torch.equal(kernels[7][:, :, 2:5, 2:5], kernels[3])


@pytest.mark.parametrize("name", NAMES)
def test_architectures_share_their_weights(name):
    """A step on the largest network moves the smallest one too."""
    shared = Supernet(load_space(name), "small", classes=10, seed=1)
    space = shared.space
    low, high = smallest(space, "small"), largest(space, "small")
    before = shared.subnet(low)
    with torch.no_grad():
        for key, parameter in parameters(shared, high).values():
            used_slice(shared.weights[key], parameter.shape).add_(1.0)
    after = dict(shared.subnet(low).named_parameters())
    moved = [name for name, p in before.named_parameters() if not torch.equal(p, after[name])]
    assert {"blocks.stem.body.conv.conv.weight", "blocks.classifier.body.classes.linear.bias"} <= {
        *moved
    }


def macro(*variants):
    space = supernet("nas-bench-macro").space
    names = [d.name for d in space.choice_dimensions]
    return space.architecture("small", 32, dict(zip(names, variants, strict=True)))


def test_a_skip_in_the_middle_uses_the_weights_of_the_earlier_position():
    """`k3, skip, k5` is the network `k3, k5, skip`, so it must be trained as that one."""
    rest = ["k3e3"] * 5
    moved = macro(*rest, "k3e3", "skip", "k5e6")
    assert moved == macro(*rest, "k3e3", "k5e6", "skip")
    model = supernet("nas-bench-macro").subnet(moved)
    assert "stage3_block2" in model.blocks and "stage3_block3" not in model.blocks


def test_a_skipped_first_block_has_weights_of_its_own():
    """It is a 1 x 1 convolution that changes the shape, beside the candidates for its place."""
    shared = supernet("nas-bench-macro")
    found = {name.split("/")[2] for name in shared.weights if name.startswith("stage2_block1/")}
    assert found == {"conv", "expand", "depthwise", "project"}
    later = {name.split("/")[2] for name in shared.weights if name.startswith("stage2_block2/")}
    assert later == {"expand", "depthwise", "project"}


def test_families_have_weights_of_their_own(tmp_path):
    """They are called alike here and there, and are something else: even at one width alone."""
    path = tmp_path / "families.yaml"
    path.write_text(
        "schema: 1\nname: families\ndescription: d\nwidth: [0.5, 1.0]\n"
        "plans: {small: {resolutions: [16], stem_stride: 1, strides: [1]}}\n"
        "stem: {channels: 16, activation: relu, scale: false}\n"
        "stages:\n- channels: 16\n  depth: 2\n  activation: relu\n  variants:\n"
        "    inverted: {expand: 2}\n    separable: {op: depthwise_separable}\n"
        "    fused: {op: fused_inverted_residual, expand: 2}\n    residual: {op: residual}\n"
        "    shuffle: {op: shuffle_unit}\n    fire: {op: fire}\n"
    )
    space = load_space(path)
    shared = Supernet(space, "small", classes=3)
    kept = {name.rpartition("/body/")[0] for name in shared.weights}
    ops = "depthwise_separable fused_inverted_residual residual shuffle_unit fire".split()
    assert kept == {"stem", "classifier"} | {
        f"stage1_block{block}{op}" for block in (1, 2) for op in ["", *(f"/{op}" for op in ops)]
    }
    depthwise = {
        name: w.shape[0] for name, w in shared.weights.items() if "/depthwise/conv" in name
    }
    assert depthwise["stage1_block1/body/depthwise/conv/weight"] == 32
    assert depthwise["stage1_block1/depthwise_separable/body/depthwise/conv/weight"] == 16
    # At half the width the first block has another number of channels, so that it needs these.
    assert "stage1_block1/residual/body/shortcut/conv/weight" in shared.weights
    assert "stage1_block1/shuffle_unit/body/left_depthwise/conv/weight" in shared.weights
    for seed in range(9):
        architecture = sample(space, "small", np.random.default_rng(seed))
        assert shared(architecture, images(architecture)).shape == (1, 4, 3)


def test_a_seed_gives_the_same_supernet():
    space = load_space("mobilenetv1")
    one, two, other = (Supernet(space, "small", 10, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_supernet_is_as_large_as_its_largest_network():
    """Only batch norms and candidates that exclude one another could add to it."""
    space = load_space("mobilenetv2")
    params = sum(weight.numel() for weight in supernet("mobilenetv2").parameters())
    assert params == space.network(largest(space, "small", "params"), 10).cost.params


def test_variants_that_do_not_contain_one_another(tmp_path):
    """One has the larger kernel, the other the larger expand ratio."""
    path = tmp_path / "crossed.yaml"
    path.write_text(
        "schema: 1\nname: crossed\ndescription: d\n"
        "plans: {small: {resolutions: [16], stem_stride: 1, strides: [1]}}\n"
        "stem: {channels: 16, activation: relu}\n"
        "stages:\n- channels: 16\n  depth: 2\n  activation: relu\n"
        "  variants: {a: {kernel: 5, expand: 3}, b: {kernel: 3, expand: 6}, skip: {op: skip}}\n"
    )
    space = load_space(path)
    shared = Supernet(space, "small", classes=3)
    for seed in range(9):
        architecture = sample(space, "small", np.random.default_rng(seed))
        assert shared(architecture, images(architecture)).shape == (1, 4, 3)
