"""From layers to blocks: the longest block that starts at a layer is taken.

A block is proposed from its layers and kept only if lowering it gives those very layers, so a wrong
guess leaves layers unmatched instead of matched wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import TensorProto

from nas.export.reading.branches import branched_block, fire_at, make
from nas.export.reading.flow import Flow, Step
from nas.latency.foreign import ForeignNetwork, Leftover, Placed
from nas.space.blocks import Block, Param, make_block
from nas.space.layers import Conv, GlobalPool, Layer, Linear, MaxPool, SqueezeExcite

LONGEST = 4
WITH_SUM = ("conv", "inverted_residual", "fused_inverted_residual")
"""Ops that say whether their input is added."""
Proposal = tuple[int, str, dict[str, Param]]
"""How many layers, the op, and its parameters."""


def match_blocks(flow: Flow, size: tuple[int, int], notes: tuple[str, ...]) -> ForeignNetwork:
    """Blocks where layers form one; every other step is left over."""
    placed: list[Placed] = []
    leftovers: list[Leftover] = []
    taken: set[str] = set()
    value, chain = flow.image, True
    for step in flow:
        if step.output in taken:
            continue
        found = _block_at(flow, step)
        if found is None:
            leftovers.append(_leftover(flow, step))
            continue
        block, steps = found
        taken |= {s.output for s in steps}
        placed.append(Placed(step.name, block))
        chain = chain and step.inputs == (value,)
        value = steps[-1].output
    chain = chain and flow.results == {value}
    return ForeignNetwork(size, tuple(placed), tuple(leftovers), chain, notes)


def _block_at(flow: Flow, step: Step) -> tuple[Block, list[Step]] | None:
    branched = branched_block(flow, step)
    if branched is not None:
        return branched
    chain = _chain(flow, step)
    layers = [s.layer for s in chain if s.layer is not None]
    first = step.inputs == (flow.image,)
    for length, op, params in _proposals(layers, first):
        steps = chain[:length]
        if op == "stem" and length == 2 and fire_at(flow, steps[1]) is not None:
            continue  # the pooling belongs to the fire module
        if params.get("pooling") == "last" and steps[-1].output not in flow.results:
            continue
        block = make(op, flow.shape(step.inputs[0]), layers[:length], params)
        if block is None:
            continue
        return _with_residual(flow, block, steps)
    return None


def _chain(flow: Flow, step: Step) -> list[Step]:
    """Layers from `step` on of which each is read by the next alone."""
    chain: list[Step] = []
    after: Step | None = step
    while after is not None and after.layer is not None and len(chain) < LONGEST:
        chain.append(after)
        after = flow.only_user(after.output)
    return chain


def _proposals(layers: Sequence[Layer], first: bool) -> Iterator[Proposal]:
    """What the first layers may be, the longest first."""
    for length in range(len(layers), 1, -1):
        part = layers[:length]
        if isinstance(part[0], GlobalPool):
            yield from _classifier(part)
        elif isinstance(part[0], Conv):
            yield from _inverted_residual(part)
            yield from _depthwise_separable(part)
            yield from _pooled(part, first)
            if not first:
                yield from _fused_inverted_residual(part)
    if layers and isinstance(layers[0], Conv):
        yield _single(layers[0], layers[1:], first)


def _classifier(layers: Sequence[Layer]) -> Iterator[Proposal]:
    linear = [layer for layer in layers[1:] if isinstance(layer, Linear)]
    if len(linear) == len(layers) - 1 in (1, 2):
        hidden = linear[0] if len(linear) == 2 else None
        params: dict[str, Param] = {
            "pooling": "mean",
            "hidden": hidden.out_features if hidden else 0,
            "activation": hidden.activation if hidden else "none",
        }
        yield len(layers), "classifier", params


def _inverted_residual(layers: Sequence[Layer]) -> Iterator[Proposal]:
    depthwise = next((x for x in layers[:2] if isinstance(x, Conv) and x.groups > 1), None)
    if depthwise is not None:
        squeeze = next((layer for layer in layers if isinstance(layer, SqueezeExcite)), None)
        params: dict[str, Param] = {
            **_spatial(depthwise),
            "hidden": depthwise.out_channels,
            "se": squeeze.squeeze if squeeze else 0,
            "gate": squeeze.gate if squeeze else "hardsigmoid",
            "se_activation": squeeze.activation if squeeze else "relu",
            "residual": False,
        }
        yield len(layers), "inverted_residual", params


def _depthwise_separable(layers: Sequence[Layer]) -> Iterator[Proposal]:
    depthwise = layers[0]
    if isinstance(depthwise, Conv) and len(layers) == 2:
        yield 2, "depthwise_separable", _spatial(depthwise)


def _fused_inverted_residual(layers: Sequence[Layer]) -> Iterator[Proposal]:
    dense = layers[0]
    if isinstance(dense, Conv) and len(layers) == 2 and dense.kernel > 1:
        params = {**_spatial(dense), "hidden": dense.out_channels, "residual": False}
        yield 2, "fused_inverted_residual", params


def _pooled(layers: Sequence[Layer], first: bool) -> Iterator[Proposal]:
    """A convolution and the pooling after it: a stem, or a classifier that pools last."""
    conv, pool = layers[:2]
    if not isinstance(conv, Conv) or len(layers) != 2:
        return
    if first and isinstance(pool, MaxPool):
        yield 2, "stem", {**_spatial(conv), "pool": pool.stride}
    if isinstance(pool, GlobalPool) and conv.kernel == 1:
        yield 2, "classifier", {"pooling": "last", "hidden": 0, "activation": conv.activation}


def _single(layer: Conv, after: Sequence[Layer], first: bool) -> Proposal:
    """A convolution by itself: what it is called depends on where it is."""
    before_pool = bool(after) and isinstance(after[0], GlobalPool)
    if before_pool and not first and layer.kernel == layer.stride == 1:
        return 1, "head", {"activation": layer.activation}
    return 1, "stem" if first else "conv", _spatial(layer)


def _spatial(layer: Conv) -> dict[str, Param]:
    return {"kernel": layer.kernel, "stride": layer.stride, "activation": layer.activation}


def _with_residual(flow: Flow, block: Block, steps: list[Step]) -> tuple[Block, list[Step]]:
    """The same block with the addition of its input, where that comes next."""
    total = flow.only_user(steps[-1].output)
    ends = {steps[0].inputs[0], steps[-1].output}
    if block.op not in WITH_SUM or total is None or total.op != "Add":
        return block, steps
    if set(total.inputs) != ends or len(total.inputs) != 2:
        return block, steps
    params = {**dict(block.params), "residual": True}
    size = block.height, block.width
    residual = make_block(block.op, size, block.in_channels, block.out_channels, params)
    return residual, [*steps, total]


def _leftover(flow: Flow, step: Step) -> Leftover:
    shape = flow.shape(step.output)
    return Leftover(step.name, step.op, shape, _why(step), step.macs, step.operations)


def _why(step: Step) -> str:
    if step.layer is not None:
        return "this layer forms no block with its neighbours"
    weight = step.constants.get(1)
    if step.op in ("Conv", "Gemm", "MatMul"):
        if weight is None:
            return "its weights are computed"
        if weight.type != TensorProto.FLOAT:
            return "its weights are not float32"
        return "its size, padding or dilation is that of no block"
    return "this operation is part of no block"
