"""Blocks whose layers are not one chain: sums with a projection, units that join branches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nas.errors import SpaceError
from nas.export.reading.flow import Flow, Step
from nas.export.reading.layers import ACTIVATIONS
from nas.space.blocks import Block, Param, make_block
from nas.space.layers import Activation, Branches, Conv, Layer, MaxPool, Residual, chain_channels

Found = tuple[Block, list[Step]]


@dataclasses.dataclass(frozen=True)
class _Joined:
    """Two chains of convolutions that end in one step, in the order of its inputs."""

    arms: tuple[tuple[Step, ...], ...]
    step: Step

    @property
    def layers(self) -> tuple[tuple[Conv, ...], ...]:
        """The convolutions of each."""
        return tuple(tuple(s.layer for s in a if isinstance(s.layer, Conv)) for a in self.arms)

    @property
    def steps(self) -> list[Step]:
        """All of them, and the one that they end in."""
        return [*(step for arm in self.arms for step in arm), self.step]


def branched_block(flow: Flow, step: Step) -> Found | None:
    """The block with branches that starts at `step`, and its steps; `None` where there is none."""
    if step.op in ("Split", "Slice") and len(step.inputs) == 1:
        return _split_unit(flow, step)
    return fire_at(flow, step) or _residual(flow, step) or _unit(flow, step)


def fire_at(flow: Flow, step: Step) -> Found | None:
    """A fire module, with the max pooling before it where there is one."""
    before = [step] if isinstance(step.layer, MaxPool) else []
    squeeze = flow.only_user(step.output) if before else step
    if squeeze is None or not isinstance(squeeze.layer, Conv):
        return None
    joined = _joined(flow, squeeze.output)
    if joined is None or joined.step.op != "Concat" or list(map(len, joined.arms)) != [1, 1]:
        return None
    (_,), (wide,) = joined.layers
    chain = [s.layer for s in (*before, squeeze) if s.layer is not None]
    stride = step.layer.stride if isinstance(step.layer, MaxPool) else 1
    params = {"hidden": squeeze.layer.out_channels, "kernel": wide.kernel, "stride": stride}
    layers = [*chain, Branches("", joined.layers)]
    block = make("fire", flow.shape(step.inputs[0]), layers, _acts(squeeze.layer, params))
    return None if block is None else (block, [*before, squeeze, *joined.steps])


def _residual(flow: Flow, step: Step) -> Found | None:
    joined = _joined(flow, step.inputs[0]) if len(step.inputs) == 1 else None
    if joined is None or not joined.step.op.startswith("Add"):
        return None
    body, shortcut = sorted(joined.layers, key=len, reverse=True)
    if len(body) != 2 or len(shortcut) > 1:
        return None
    activation, after = _after_sum(flow, joined.step)
    params = {"hidden": body[0].out_channels, "kernel": body[0].kernel, "stride": body[0].stride}
    layers = [Residual("", body, shortcut, activation)]
    block = make("residual", flow.shape(step.inputs[0]), layers, _acts(body[0], params))
    return None if block is None else (block, [*joined.steps, *after])


def _unit(flow: Flow, step: Step) -> Found | None:
    """A ShuffleNetV2 unit that changes the shape: both branches read its input."""
    joined = _joined(flow, step.inputs[0]) if len(step.inputs) == 1 else None
    return None if joined is None else _shuffled(flow, step, joined, [])


def _split_unit(flow: Flow, step: Step) -> Found | None:
    """A ShuffleNetV2 unit that keeps the shape: half of the channels pass by."""
    steps = [step] if step.op == "Split" else flow.users(step.inputs[0])
    values = [value for part in steps for value in part.outputs]
    channels, *size = flow.shape(step.inputs[0])[1:] or (0,)
    halves = {flow.shape(value) for value in values} == {(1, channels // 2, *size)}
    if len(values) != 2 or not halves or {part.op for part in steps} != {step.op}:
        return None
    arms = [_arm(flow, flow.only_user(value)) for value in values]
    # Slices are written in either order: what passes by is the half that nothing works on.
    left, right = sorted(arms, key=lambda arm: len(arm[0]) if arm else 0)
    if left is None or right is None or left[1] is not right[1] or left[0]:
        return None
    return _shuffled(flow, step, _Joined((left[0], right[0]), left[1]), steps)


def _shuffled(flow: Flow, step: Step, joined: _Joined, before: list[Step]) -> Found | None:
    after = _shuffle(flow, joined.step)
    if after is None or len(joined.arms[1]) != 3:
        return None
    first, depthwise, _ = joined.layers[1]
    params: dict[str, Param] = {"hidden": first.out_channels, "kernel": depthwise.kernel}
    params["stride"] = depthwise.stride
    layers = [Branches("", joined.layers, bool(before), shuffle=True)]
    block = make("shuffle_unit", flow.shape(step.inputs[0]), layers, _acts(first, params))
    return None if block is None else (block, [*before, *joined.steps, *after])


def _shuffle(flow: Flow, join: Step) -> list[Step] | None:
    """The steps after a concatenation that interleave its two halves."""
    if join.op != "Concat":
        return None
    channels, *size = flow.shape(join.output)[1:] or (0,)
    steps: list[Step] = []
    value = join.output
    for op, shape in (
        ("Reshape", (1, 2, channels // 2, *size)),
        ("Transpose", (1, channels // 2, 2, *size)),
        ("Reshape", (1, channels, *size)),
    ):
        step = flow.only_user(value)
        if step is None or step.op != op or flow.shape(step.output) != shape:
            return None
        steps.append(step)
        value = step.output
    return steps


def _after_sum(flow: Flow, step: Step) -> tuple[Activation, list[Step]]:
    """The activation of a sum, and the steps that it has beside the sum's own."""
    inside = ACTIVATIONS.get(step.op.removeprefix("Add and "))
    after = flow.only_user(step.output)
    if inside is None and after is not None and after.op in ACTIVATIONS:
        return ACTIVATIONS[after.op], [after]
    return inside or "none", []


def _joined(flow: Flow, value: str) -> _Joined | None:
    """The two chains that read a value, where they end in one step and nothing else reads it."""
    users = flow.users(value)
    if len(users) != 2 or value in flow.results:
        return None
    first, second = (_arm(flow, user) for user in users)
    if first is None or second is None or first[1] is not second[1]:
        return None
    ends = {(arm[-1].output if arm else value): arm for arm, _ in (first, second)}
    join = first[1]
    if len(ends) != 2 or set(ends) != set(join.inputs) or len(join.inputs) != 2:
        return None
    return _Joined(tuple(ends[name] for name in join.inputs), join)


def _arm(flow: Flow, step: Step | None) -> tuple[tuple[Step, ...], Step] | None:
    """Convolutions from `step` on, each read by the next alone, and the step after them."""
    steps: list[Step] = []
    while step is not None and isinstance(step.layer, Conv):
        steps.append(step)
        step = flow.only_user(step.output)
    return None if step is None else (tuple(steps), step)


def _acts(layer: Conv, params: dict[str, int] | dict[str, Param]) -> dict[str, Param]:
    return {**params, "activation": layer.activation}


def make(
    op: str, shape: Sequence[int], layers: Sequence[Layer], params: dict[str, Param]
) -> Block | None:
    """The block on an input of `shape` (`1 x C x H x W`), if it is made of exactly these layers."""
    if len(shape) != 4:
        return None
    channels, height, width = shape[1:]
    try:
        out = chain_channels(tuple(layers), channels)
        block = make_block(op, (height, width), channels, out, params)
    except SpaceError:
        return None
    return block if list(map(nameless, block.layers)) == list(layers) else None


def nameless(layer: Layer) -> Layer:
    """As layers are read: a batch norm that is folded in cannot be told from a bias."""
    match layer:
        case Conv():
            return dataclasses.replace(layer, name="", norm=True)
        case Residual():
            body, shortcut = (tuple(map(nameless, c)) for c in (layer.body, layer.shortcut))
            return dataclasses.replace(layer, name="", body=body, shortcut=shortcut)
        case Branches():
            branches = tuple(tuple(map(nameless, branch)) for branch in layer.branches)
            return dataclasses.replace(layer, name="", branches=branches)
        case _:
            return dataclasses.replace(layer, name="")
