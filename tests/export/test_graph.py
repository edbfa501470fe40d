"""The ONNX graphs: checked, static, as the runtime wants them, and computing what torch does."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.export.graph import GraphTarget, build_graph, random_weights
from nas.export.weights import folded_weights
from nas.models.build import build_model
from nas.space import Network, load_space, space_names
from nas.space.blocks import OPS, make_block
from nas.space.sample import baseline, sample

SPACES = {name: load_space(name) for name in sorted(space_names())}
NANO = GraphTarget(opset=13, ir_version=7, hardswish=False)
TARGETS = [GraphTarget(), NANO, GraphTarget(opset=13, hardswish=True), GraphTarget(opset=18)]

SPATIAL = {"activation": "relu6", "kernel": 5, "stride": 2}
PARAMS = {
    "stem": {**SPATIAL, "activation": "hardswish"},
    "conv": {**SPATIAL, "activation": "none"},
    "depthwise_separable": SPATIAL,
    "inverted_residual": {
        "activation": "hardswish", "kernel": 3, "stride": 1, "hidden": 24, "se": 8,
        "gate": "hardsigmoid", "residual": True,
    },
    "fused_inverted_residual": {
        "activation": "silu", "kernel": 3, "stride": 1, "hidden": 24, "residual": True,
    },
    "residual": {**SPATIAL, "hidden": 24},
    "shuffle_unit": {"activation": "relu", "kernel": 3, "stride": 1, "hidden": 8},
    "fire": {**SPATIAL, "hidden": 8},
    "head": {"activation": "relu"},
    "classifier": {"activation": "hardswish", "hidden": 12, "pooling": "mean"},
}  # fmt: skip


def block_of(op):
    return make_block(op, (9, 9), 16, 16, PARAMS[op])


def run(model, image):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {session.get_inputs()[0].name: image})
    return logits


def image_for(network, seed=0):
    size = network.resolution
    return np.random.default_rng(seed).standard_normal((1, 3, size, size), dtype=np.float32)


def operators(model):
    return {node.op_type for node in model.graph.node}


def drawn(name, seed):
    space = SPACES[name]
    return space.network(sample(space, "small", np.random.default_rng(seed)), 10).without_exits


def lively_model(network, seed):
    """Weights of a network that looks trained: every norm has statistics and scales of its own."""
    model = build_model(network, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.3, 2, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
            elif getattr(module, "bias", None) is not None:
                module.bias.normal_(0, 0.3, generator=generator)
    return model


@given(
    st.sampled_from(sorted(SPACES)), st.integers(0, 2**32 - 1), st.sampled_from([TARGETS[0], NANO])
)
@settings(max_examples=15)
def test_a_graph_computes_what_torch_computes(name, seed, target):
    network = drawn(name, seed)
    model = lively_model(network, seed)
    graph = build_graph(network.blocks, folded_weights(model), target)
    image = image_for(network, seed)
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    found = run(graph, image)
    assert found.shape == expected.shape == (1, 10)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


INNER = {"hidden": 24, "kernel": 3, "stride": 1}
EXCITED = {"se": 8, "gate": "sigmoid", "se_activation": "silu", "residual": True}
FAMILIES = {
    "silu": ("inverted_residual", 16, {**INNER, "activation": "silu", **EXCITED}),
    "fused": ("fused_inverted_residual", 16, {**INNER, "activation": "silu", "residual": True}),
    "fused, strided": (
        "fused_inverted_residual", 24,
        {**INNER, "activation": "silu", "residual": False, "stride": 2},
    ),
    "residual convolution": (
        "conv", 16, {"activation": "silu", "kernel": 3, "stride": 1, "residual": True},
    ),
    "residual": ("residual", 16, {**INNER, "activation": "relu"}),
    "residual, projected": ("residual", 24, {**INNER, "activation": "hardswish", "stride": 2}),
    "shuffle": ("shuffle_unit", 16, {**INNER, "activation": "relu"}),
    "shuffle, strided": ("shuffle_unit", 24, {**INNER, "activation": "relu", "stride": 2}),
    "shuffle, wider": ("shuffle_unit", 24, {**INNER, "activation": "silu"}),
    "fire": ("fire", 24, {**INNER, "activation": "relu", "kernel": 5}),
    "fire, pooled": ("fire", 24, {**INNER, "activation": "relu", "stride": 2, "norm": False}),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("target", [TARGETS[0], NANO], ids=["default", "nano"])
def test_every_family_computes_what_torch_computes(family, target):
    op, outputs, params = FAMILIES[family]
    stem = {"activation": "relu", "kernel": 3, "stride": 2, "pool": 2}
    first = make_block("stem", (30, 30), 3, 16, stem)
    block = make_block(op, first.output_size, 16, outputs, params)
    tail = {"activation": "relu", "hidden": 0, "pooling": "last"}
    last = make_block("classifier", block.output_size, outputs, 10, tail)
    network = Network(30, (("stem", first), ("stage1.block1", block), ("classifier", last)))
    model = lively_model(network, 1)
    graph = build_graph(network.blocks, folded_weights(model), target)
    onnx.checker.check_model(graph, full_check=True)
    image = image_for(network)
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    assert expected.std() > 0
    assert np.abs(run(graph, image) - expected).max() <= 1e-4 * np.abs(expected).max()


PLAIN = {
    "Add", "Clip", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "HardSigmoid",
    "MaxPool", "Mul", "Relu", "Reshape", "Sigmoid", "Split", "Transpose",
}  # fmt: skip


@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_boards_get_plain_operators(name, seed):
    model = build_graph(drawn(name, seed).blocks, random_weights(seed), NANO)
    assert operators(model) <= PLAIN


@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32 - 1), st.sampled_from(TARGETS))
@settings(max_examples=15)
def test_graphs_pass_the_full_check_with_the_wanted_versions(name, seed, target):
    network = drawn(name, seed)
    model = build_graph(network.blocks, random_weights(seed), target)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", target.opset)]
    assert model.ir_version == target.ir_version
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        assert sizes and all(sizes), value.name
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    assert "BatchNormalization" not in operators(model)


def default_network():
    space = SPACES["mobilenetv3"]
    return space.network(baseline(space, "small", 0.35), 10)


def test_the_operator_is_used_only_where_it_is_accepted():
    """HardSwish is an operator since opset 14; TensorRT 8.2 has none at all."""
    network, weights = default_network(), random_weights(0)
    native = operators(build_graph(network.blocks, weights, GraphTarget()))
    assert "HardSwish" in native
    for target in (NANO, GraphTarget(hardswish=False), GraphTarget(opset=13, hardswish=True)):
        split = operators(build_graph(network.blocks, weights, target))
        assert "HardSwish" not in split and {"HardSigmoid", "Mul"} <= split


def test_both_forms_of_hardswish_compute_the_same():
    network = default_network()
    image = image_for(network)
    native, split = (
        run(build_graph(network.blocks, random_weights(0), target), image)
        for target in (GraphTarget(), NANO)
    )
    np.testing.assert_allclose(native, split, rtol=1e-4, atol=1e-5 * np.abs(native).max())


def test_metadata_and_names():
    network = default_network()
    model = build_graph(network.blocks, random_weights(0), GraphTarget(), {"id": network.id})
    assert {entry.key: entry.value for entry in model.metadata_props} == {"id": network.id}
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert model.graph.node[0].name == "stem/conv"


def test_graphs_hold_params_without_norms():
    """A folded norm is a bias: 1 number for each channel instead of 2."""
    network = default_network()
    model = build_graph(network.blocks, random_weights(0), GraphTarget())
    held = sum(
        int(np.prod(tensor.dims)) for tensor in model.graph.initializer if len(tensor.dims) > 0
    )
    norms = sum(
        module.num_features
        for module in build_model(network).modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    )
    assert held == network.cost.params - norms


def test_every_op_has_a_case_here():
    assert set(PARAMS) == set(OPS)


@pytest.mark.parametrize("target", TARGETS[:2], ids=["default", "nano"])
@pytest.mark.parametrize("op", sorted(OPS))
def test_one_block_alone_is_a_model(op, target):
    block = block_of(op)
    model = build_graph([("block", block)], random_weights(0), target)
    onnx.checker.check_model(model, full_check=True)
    image = np.random.default_rng(0).standard_normal((1, 16, 9, 9), dtype=np.float32)
    expected = (1, 16) if op == "classifier" else (1, 16, *block.output_size)
    out = run(model, image)
    assert out.shape == expected
    assert np.isfinite(out).all() and out.std() > 0


def test_bench_weights_follow_their_seed():
    block = block_of("stem")
    one, two, other = (
        build_graph([("block", block)], random_weights(seed), GraphTarget()) for seed in (0, 0, 1)
    )
    assert one.SerializeToString() == two.SerializeToString() != other.SerializeToString()


def test_bench_weights_may_be_larger_than_their_pool():
    params = {"activation": "none", "hidden": 0, "pooling": "mean"}
    block = make_block("classifier", (1, 1), 2048, 1000, params)
    (layer,) = block.layers[1:]
    weight, bias = random_weights(0)("block", layer)
    assert (weight.shape, bias.shape) == ((1000, 2048), (1000,))
    assert weight.std() == pytest.approx(np.sqrt(2 / 2048), rel=0.01)


def test_activations_stay_in_a_normal_range():
    """Denormal or infinite numbers would be timed at another speed than real ones."""
    for name, space in SPACES.items():
        network = drawn(name, 3)
        image = image_for(network)
        logits = run(build_graph(network.blocks, random_weights(0), GraphTarget()), image)
        assert np.isfinite(logits).all(), space.name
        assert 1e-3 < np.abs(logits).max() < 1e6
