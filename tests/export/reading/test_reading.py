"""Models from files: the blocks that are in them, however an exporter writes them down."""

import dataclasses
import io

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from nas.export.graph import GraphTarget, build_graph, random_weights
from nas.export.reading import read_onnx
from nas.models.build import build_model
from nas.space import load_space, space_names
from nas.space.sample import baseline, sample

# torch's older exporter calls functions of torch's that are to be removed.
pytestmark = pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")

SPACES = {name: load_space(name) for name in sorted(space_names())}
NANO = GraphTarget(opset=13, ir_version=7, hardswish=False)


@pytest.fixture
def read(tmp_path):
    """Saves a model and reads it."""

    def run(model):
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return read_onnx(path)

    return run


def blocks_of(network):
    return tuple(block for _, block in network.blocks)


def drawn(name, plan, seed, classes=10):
    space = SPACES[name]
    drawn = sample(space, plan, np.random.default_rng(seed))
    return space.network(drawn, classes).without_exits


PLANS = sorted((name, plan) for name, space in SPACES.items() for plan in space.plans)


@given(st.sampled_from(PLANS), st.integers(0, 2**32 - 1), st.sampled_from([GraphTarget(), NANO]))
@settings(max_examples=40)
def test_every_exported_architecture_is_read_back(tmp_path_factory, where, seed, target):
    network = drawn(*where, seed)
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    model = build_graph(network.blocks, random_weights(seed), target)
    path.write_bytes(model.SerializeToString())
    found = read_onnx(path)
    assert found.blocks == blocks_of(network)
    assert (found.leftovers, found.chain, found.notes) == ((), True, ())
    assert found.size == (network.resolution, network.resolution)
    assert (found.classes, found.macs) == (10, network.cost.macs)


REFERENCES = [(name, ref) for name, space in SPACES.items() for ref in space.file.references]


@pytest.mark.parametrize(("name", "reference"), REFERENCES)
def test_references_are_read_back(read, name, reference):
    """But for a batch norm: folded in, it cannot be told from a bias."""
    network = SPACES[name].reference(reference, 10)
    found = read(build_graph(network.blocks, random_weights(0), GraphTarget()))
    expected = tuple(map(with_norm, blocks_of(network)))
    assert (found.blocks, found.leftovers, found.chain) == (expected, (), True)


def with_norm(block):
    params = tuple(pair for pair in block.params if pair[0] != "norm")
    return dataclasses.replace(block, params=params)


# Models exported by torch


def exported(module, size=32, opset=13, **options):
    """By torch's older exporter."""
    buffer = io.BytesIO()
    image = torch.zeros(1, 3, size, size)
    torch.onnx.export(module.eval(), (image,), buffer, opset_version=opset, dynamo=False, **options)
    return onnx.load_from_string(buffer.getvalue())


# torch cannot export its own channel shuffle: `Unit` below is how models for export write it.
@pytest.mark.parametrize("name", sorted({*SPACES} - {"shufflenetv2", "mixed"}))
@pytest.mark.parametrize("folded", [True, False])
def test_torch_models_of_every_space(read, name, folded):
    """As torch writes them by default, and with every batch norm left as it is."""
    network = drawn(name, "small", 5)
    options = {} if folded else {"training": torch.onnx.TrainingMode.PRESERVE}
    options |= {} if folded else {"do_constant_folding": False}
    model = exported(build_model(network, 0), network.resolution, **options)
    norms = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
    assert (norms == 0) == folded
    found = read(model)
    assert (found.blocks, found.leftovers, found.chain) == (blocks_of(network), (), True)


@pytest.mark.parametrize("opset", [9, 11, 14, 18])
def test_torch_models_in_other_versions(read, opset):
    """Limits and axes are attributes or inputs, HardSwish is one node or two."""
    network = drawn("mobilenetv3", "small", 1)
    found = read(exported(build_model(network, 0), network.resolution, opset))
    assert (found.blocks, found.leftovers) == (blocks_of(network), ())


def test_a_symbolic_batch_is_taken_as_one(read):
    network = drawn("mobilenetv2", "small", 2)
    names = {"input_names": ["image"], "dynamic_axes": {"image": {0: "many"}}}
    found = read(exported(build_model(network, 0), network.resolution, **names))
    assert found.blocks == blocks_of(network)
    assert found.notes == ("the batch of the input, 'many' in the file, was taken as 1",)


@pytest.mark.filterwarnings("ignore")  # torch's own, of its exporter
@pytest.mark.parametrize("dynamic", [pytest.param(False, marks=pytest.mark.slow), True])
def test_torch_models_of_the_newer_exporter(tmp_path, dynamic):
    """Its weights lie beside the file, and are not read: they may be gone."""
    space = SPACES["mobilenetv3"]
    network = space.network(baseline(space, "small", 0.35), 10)
    image = torch.zeros(1 + dynamic, 3, network.resolution, network.resolution)
    shapes = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamic else {}
    path = tmp_path / "model.onnx"
    module = build_model(network, 0).eval()
    torch.onnx.export(module, (image,), path, dynamo=True, verbose=False, **shapes)
    (tmp_path / "model.onnx.data").unlink()
    found = read_onnx(path)
    assert (found.blocks, found.leftovers, found.chain) == (blocks_of(network), (), True)
    assert len(found.notes) == dynamic


class Inverted(nn.Module):
    """The inverted residual of arXiv:1801.04381, section 3.3."""

    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        layers = [] if expansion == 1 else convolution(inputs, hidden, 1)
        layers += convolution(hidden, hidden, 3, stride, hidden)
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


def convolution(inputs, outputs, kernel, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU6()]


class MobileNetV2(nn.Module):
    """Table 2 of arXiv:1801.04381: expansion, channels, repeats, stride."""

    ROWS = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
        (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip

    def __init__(self):
        super().__init__()
        layers, channels = convolution(3, 32, 3, 2), 32
        for expansion, outputs, repeats, stride in self.ROWS:
            for index in range(repeats):
                layers.append(Inverted(channels, outputs, 1 if index else stride, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers, *convolution(channels, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(torch.flatten(x, 1))


def test_mobilenet_v2_as_the_paper_has_it(read):
    reference = SPACES["mobilenetv2"].reference("mobilenet_v2")
    found = read(exported(MobileNetV2(), 224))
    assert (found.blocks, found.leftovers, found.chain) == (blocks_of(reference), (), True)


class Unit(nn.Module):
    """ShuffleNetV2's units (arXiv:1807.11164, figure 3)."""

    def __init__(self, inputs, outputs, stride, halves=None):
        super().__init__()
        half, self.split, self.halves = outputs // 2, stride == 1, halves
        enters = half if self.split else inputs
        self.left = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs), nn.Conv2d(inputs, half, 1), nn.ReLU(),
        )  # fmt: skip
        self.right = nn.Sequential(
            nn.Conv2d(enters, half, 1), nn.ReLU(),
            nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False), nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x):
        left, right = self.halves(x) if self.split else (self.left(x), x)
        joined = torch.cat((left, self.right(right)), dim=1)
        n, channels, height, width = joined.shape
        joined = joined.view(n, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        return joined.view(n, channels, height, width)


HALVES = {
    "Split": lambda x: x.split([24, 24], dim=1),
    "Slice": lambda x: (x[:, :24], x[:, 24:]),
}


@pytest.mark.parametrize("halves", HALVES)
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_shuffle_units_as_torch_writes_them(read, opset, halves):
    units = Unit(24, 48, 2), Unit(48, 48, 1, HALVES[halves]), Unit(48, 96, 2)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *units,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip
    file = exported(model, 64, opset)
    assert halves in [node.op_type for node in file.graph.node]
    found = read(file)
    assert [str(block) for block in found.blocks[:3]] == [
        'stem 64x64x3->24 {"activation":"relu","kernel":3,"pool":2,"stride":2}',
        'shuffle_unit 16x16x24->48 {"activation":"relu","hidden":24,"kernel":3,"stride":2}',
        'shuffle_unit 8x8x48->48 {"activation":"relu","hidden":24,"kernel":3,"stride":1}',
    ]
    assert (len(found.blocks), found.leftovers, found.chain) == (5, (), True)


# The forms that one layer takes


HARDSWISH = {
    "operator": "y = HardSwish(a)",
    "two operators": "h = HardSigmoid<alpha: float = 0.16666667, beta: float = 0.5>(a)\n"
    "y = Mul(h, a)",
    "divided first": "s = Add(a, three) c = Clip(s, zero, six) d = Div(c, six) y = Mul(a, d)",
    "divided last": "s = Add(three, a) c = Clip(s, zero, six) d = Mul(a, c) y = Div(d, six)",
    "multiplied by a sixth": "s = Add(a, three) c = Clip(s, zero, six) d = Mul(a, c)\n"
    "y = Mul(sixth, d)",
}
OTHERS = {
    "silu": "s = Sigmoid(a) y = Mul(a, s)",
    "relu": "y = Relu(a)",
    "relu6": "y = Clip(a, zero, six)",
    "none": "y = Identity(a)",
}
NUMBERS = {"zero": 0, "three": 3, "six": 6, "sixth": 1 / 6}


def parsed(body, shape="1,4,8,8", sizes="1,3,8,8", opset=17, **weights):
    """A model from `onnx.parser`'s language; weights are drawn, numbers are constants."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]>\n'
    text += f"g (float[{sizes}] x) => (float[{shape}] y) {{\n{body}\n}}"
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    arrays = {name: np.float32(value) for name, value in NUMBERS.items()}
    arrays |= {n: rng.standard_normal(dims, dtype=np.float32) for n, dims in weights.items()}
    used = {name for node in model.graph.node for name in node.input}
    initialisers = [numpy_helper.from_array(a, n) for n, a in arrays.items() if n in used]
    model.graph.initializer.extend(initialisers)
    return model


CONV = "a = Conv<pads: ints = [1, 1, 1, 1]>(x, w)\n"


@pytest.mark.parametrize("form", [*HARDSWISH, *OTHERS])
def test_the_forms_of_activations(read, form):
    found = read(parsed(CONV + {**HARDSWISH, **OTHERS}[form], w=(4, 3, 3, 3)))
    activation = "hardswish" if form in HARDSWISH else form
    [block] = found.blocks
    assert (str(block), found.leftovers) == (
        f'stem 8x8x3->4 {{"activation":"{activation}","kernel":3,"stride":1}}', (),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("s = Sigmoid(a) y = Add(a, s)", ["Sigmoid", "Add"]),
        ("y = Clip(a, zero, three)", ["Clip"]),
        ("y = HardSigmoid(a)", ["HardSigmoid"]),
        ("s = Add(a, six) c = Clip(s, zero, six) d = Mul(a, c) y = Div(d, six)",
         ["Add", "relu6", "Mul", "Div"]),
        ("y = Elu(a)", ["Elu"]),
    ],
)  # fmt: skip
def test_other_activations_are_left_over(read, body, left):
    """A block with another activation is another block, so the layer stays by itself."""
    found = read(parsed(CONV + body, w=(4, 3, 3, 3)))
    assert [leftover.op for leftover in found.leftovers] == left
    assert [dict(block.params)["activation"] for block in found.blocks] == ["none"]
    assert not found.chain


POOLS = {
    "GlobalAveragePool": "p = GlobalAveragePool(a) f = Flatten(p)",
    "ReduceMean, attribute": "f = ReduceMean<axes: ints = [2, 3], keepdims: int = 0>(a)",
    "ReduceMean, kept": "p = ReduceMean<axes: ints = [-1, -2]>(a) f = Flatten(p)",
    "AveragePool": "p = AveragePool<kernel_shape: ints = [8, 8]>(a) f = Flatten(p)",
    "Reshape": "p = GlobalAveragePool(a)\n"
    "k = Constant<value = int64[2] {1, -1}>() f = Reshape(p, k)",
    "Squeeze": "p = GlobalAveragePool(a)\nk = Constant<value_ints: ints = [2, 3]>()\n"
    "f = Squeeze(p, k)",
    "sizes worked out": "p = GlobalAveragePool(a) s = Shape(p)\n"
    "k = Constant<value = int64 {0}>() n = Gather(s, k)\n"
    "z = Constant<value = int64[1] {0}>() u = Unsqueeze(n, z)\n"
    "m = Constant<value = int64[1] {-1}>() c = Concat<axis: int = 0>(u, m) f = Reshape(p, c)",
}  # fmt: skip
LINEARS = {
    "Gemm": ("y = Gemm<transB: int = 1>(f, v, b)", (5, 4)),
    "Gemm, not transposed": ("y = Gemm(f, v, b)", (4, 5)),
    "MatMul": ("m = MatMul(f, v) y = Add(b, m)", (4, 5)),
    "MatMul without bias": ("y = MatMul(f, v)", (4, 5)),
}  # fmt: skip


def classifier(pool, linear):
    body, dims = LINEARS[linear]
    text = (
        f"{CONV}{POOLS[pool]}\n{body.replace('m = MatMul', 'mm = MatMul').replace('b, m', 'b, mm')}"
    )
    return parsed(text, "1,5", w=(4, 3, 3, 3), v=dims, b=(5,))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("linear", LINEARS)
def test_the_forms_of_classifiers(read, pool, linear):
    found = read(classifier(pool, linear))
    assert [block.op for block in found.blocks] == ["stem", "classifier"]
    assert str(found.blocks[1]) == (
        'classifier 8x8x4->5 {"activation":"none","hidden":0,"pooling":"mean"}'
    )
    assert (found.leftovers, found.chain) == ((), True)


EXCITE = """
d = Conv<group: int = 4, pads: ints = [1, 1, 1, 1]>(x, w) e = Relu(d)
p = GlobalAveragePool(e) {squeeze} q = Relu(r) {excite}
h = {gate}(g) {last}
j = Mul(h2, e)
y = Conv(j, o)
"""
BY_CONV = {"squeeze": "r = Conv(p, s1)", "excite": "g = Conv(q, s2)", "last": "h2 = Identity(h)"}
BY_GEMM = {
    "squeeze": "f = Flatten(p) r = Gemm(f, s1)", "excite": "g = Gemm(q, s2)",
    "last": "k = Constant<value = int64[4] {1, 4, 1, 1}>() h2 = Reshape(h, k)",
}  # fmt: skip
GATE = "HardSigmoid<alpha: float = 0.16666667>"


def excited(gate=GATE, form=BY_CONV):
    dims = (2, 4, 1, 1) if form is BY_CONV else (4, 2)
    other = (4, 2, 1, 1) if form is BY_CONV else (2, 4)
    weights = {"w": (4, 1, 3, 3), "s1": dims, "s2": other, "o": (6, 4, 1, 1)}
    text = EXCITE.format(gate=gate, **form)
    return parsed(text, "1,6,8,8", "1,4,8,8", **weights)


@pytest.mark.parametrize("form", [BY_CONV, BY_GEMM], ids=["Conv", "Gemm"])
@pytest.mark.parametrize(("gate", "name"), [(GATE, "hardsigmoid"), ("Sigmoid", "sigmoid")])
def test_squeeze_and_excite(read, form, gate, name):
    [block] = read(excited(gate, form)).blocks
    assert str(block) == (
        f'inverted_residual 8x8x4->6 {{"activation":"relu","gate":"{name}","hidden":4,'
        '"kernel":3,"residual":false,"se":2,"stride":1}'
    )


def test_squeeze_and_excite_with_another_activation_inside(read):
    model = excited("Sigmoid")
    text = EXCITE.replace("q = Relu(r)", "t = Sigmoid(r) q = Mul(r, t)")
    text = text.format(gate="Sigmoid", **BY_CONV)
    model = parsed(
        text, "1,6,8,8", "1,4,8,8", w=(4, 1, 3, 3), s1=(2, 4, 1, 1), s2=(4, 2, 1, 1), o=(6, 4, 1, 1)
    )
    [block] = read(model).blocks
    assert dict(block.params)["se_activation"] == "silu"


def test_another_gate_is_no_block(read):
    found = read(excited("HardSigmoid"))
    assert [left.op for left in found.leftovers] == [
        "Conv", "squeeze-and-excite, HardSigmoid gate",
    ]  # fmt: skip
    assert [left.macs for left in found.leftovers] == [8 * 8 * 4 * 9, 2 * 4 * 2]
    assert [block.op for block in found.blocks] == ["conv"]


def test_padding_at_one_side_only_is_the_same_work(read):
    """As TensorFlow pads: 0 before, 1 after."""
    [block] = read(
        parsed(
            "y = Conv<pads: ints = [0, 0, 1, 1], strides: ints = [2, 2]>(x, w)",
            "1,4,4,4", w=(4, 3, 3, 3),
        )
    ).blocks  # fmt: skip
    assert (block.stride, block.output_size) == (2, (4, 4))


@pytest.mark.parametrize(
    ("node", "shape", "weight", "macs"),
    [
        ("Conv(x, w)", "1,4,6,6", (4, 3, 3, 3), 36 * 4 * 27),
        ("Conv<pads: ints = [0, 1, 0, 1]>(x, w)", "1,4,8,8", (4, 3, 1, 3), 64 * 4 * 9),
        ("Conv<pads: ints = [2, 2, 2, 2], dilations: ints = [2, 2]>(x, w)", "1,4,8,8",
         (4, 3, 3, 3), 64 * 4 * 27),
        ("Conv<group: int = 3, pads: ints = [1, 1, 1, 1]>(x, w)", "1,6,8,8", (6, 1, 3, 3),
         64 * 6 * 9),
        ("ConvTranspose(x, w)", "1,4,10,10", (3, 4, 3, 3), None),
        ("MaxPool<kernel_shape: ints = [2, 2], strides: ints = [2, 2]>(x)", "1,3,4,4", (1,), 0),
        ("MatMul(x, w)", "1,3,8,5", (8, 5), 3 * 8 * 5 * 8),
    ],
)  # fmt: skip
def test_what_is_no_block_is_left_over_with_its_macs(read, node, shape, weight, macs):
    found = read(parsed(f"y = {node}", shape, w=weight))
    [left] = found.leftovers
    assert (left.op, left.macs) == (node.split("(")[0].split("<")[0], macs)
    assert left.shape == tuple(map(int, shape.split(",")))
    assert (found.blocks, found.macs) == ((), macs or 0)


def test_quantised_weights_are_no_float32_block(read):
    body = "s = Constant<value = float {0.1}>() d = DequantizeLinear(w8, s)\n"
    model = parsed(body + "y = Conv<pads: ints = [1, 1, 1, 1]>(x, d)")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 3, 3, 3), np.int8), "w8"))
    [left] = read(model).leftovers
    assert (left.op, left.why) == ("Conv", "its weights are not float32")


def test_nodes_of_other_domains_are_left_over(read):
    model = parsed(CONV + "b = Relu(a) y = Relu(b)", w=(4, 3, 3, 3))
    model.graph.node[1].domain, model.graph.node[1].op_type = "com.example", "Magic"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    found = read(model)
    assert [(left.op, left.macs) for left in found.leftovers][0] == ("com.example.Magic", None)


def test_two_outputs_are_no_chain(read):
    model = parsed(CONV + "y = Relu(a)", w=(4, 3, 3, 3))
    model.graph.output.append(onnx.helper.make_tensor_value_info("a", 1, [1, 4, 8, 8]))
    found = read(model)
    assert not found.chain
    assert [left.op for left in found.leftovers] == ["Relu"]


# Blocks that are no chain


class Basic(nn.Module):
    """The basic block of arXiv:1512.03385, figure 2."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        return nn.functional.relu(self.body(x) + self.short(x))


def resnet():
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1), Basic(8, 8, 1), Basic(8, 16, 2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def test_a_resnet(read):
    found = read(exported(resnet(), 32))
    assert [block.op for block in found.blocks] == ["stem", *["residual"] * 2, "classifier"]
    assert (found.leftovers, found.chain) == ((), True)


class Bottleneck(nn.Module):
    """The other block of arXiv:1512.03385, figure 5, which no space has."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 8, 1)
        )

    def forward(self, x):
        return nn.functional.relu(x + self.body(x))


def test_another_residual_block_in_parts(read):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), Bottleneck(), nn.AdaptiveAvgPool2d(1))
    found = read(exported(model, 16))
    assert [block.op for block in found.blocks][:2] == ["stem", "conv"]
    assert "Add and Relu" in [left.op for left in found.leftovers]
    assert not found.chain


def test_a_sum_of_what_others_need_is_no_block(read):
    body = (
        "r = Relu(a) b = Conv<pads: ints = [1, 1, 1, 1]>(r, v) s = Relu(b)\n"
        "c = Conv<pads: ints = [1, 1, 1, 1]>(s, v) d = Add(c, r) y = Add(d, s)"
    )
    found = read(parsed(CONV + body, w=(4, 3, 3, 3), v=(4, 4, 3, 3)))
    assert [left.op for left in found.leftovers] == ["Add", "Add"]
    assert "residual" not in [block.op for block in found.blocks]
