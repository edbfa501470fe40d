"""From a space file and choices to the chain of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas.errors import SpaceError
from nas.space.architecture import EXIT, Network
from nas.space.blocks import Block, Param, make_block
from nas.space.layers import Activation
from nas.space.schema import (
    VARIANT,
    Choice,
    Plan,
    Reference,
    ReferenceLayer,
    SpaceFile,
    Stage,
    Variant,
)

RGB = 3
INNER_DIVISOR = 8
FIRE_SHARE = 8
"""Outputs of a fire module over its squeezed channels, in all of SqueezeNet (arXiv:1602.07360)."""


def round_channels(channels: float, divisor: int) -> int:
    """The nearest multiple of `divisor` that is not below 90 % of `channels`.

    Returns 0 where that rounds to nothing. Source: MobileNetV2, arXiv:1801.04381, and the rule
    of MobileNetV3, arXiv:1905.02244; a divisor of 1 is plain rounding, as in MobileNetV1.
    """
    rounded = int(channels + divisor / 2) // divisor * divisor
    return rounded + divisor if 0 < rounded < 0.9 * channels else rounded


@dataclass
class Chain:
    """Blocks so far, and what the next one gets as input."""

    blocks: list[tuple[str, Block]]
    size: tuple[int, int]
    channels: int = RGB

    def branch(
        self, position: str, op: str, out_channels: int, params: Mapping[str, Param]
    ) -> None:
        """Append a block whose output goes nowhere else; the next one gets the same input."""
        self.blocks.append((position, self._made(position, op, out_channels, params)))

    def add(self, position: str, op: str, out_channels: int, params: Mapping[str, Param]) -> None:
        """Append a block; the next one gets its output."""
        block = self._made(position, op, out_channels, params)
        self.blocks.append((position, block))
        self.size, self.channels = block.output_size, out_channels

    def _made(
        self, position: str, op: str, out_channels: int, params: Mapping[str, Param]
    ) -> Block:
        try:
            return make_block(op, self.size, self.channels, out_channels, params)
        except SpaceError as cause:
            raise SpaceError(f"{position}: {cause}") from cause


def resolve(
    space: SpaceFile, plan: Plan, resolution: int, choices: Mapping[str, Choice], classes: int
) -> Network:
    """The network that complete `choices` (see `SearchSpace.dimensions`) stand for."""
    width = float(choices.get("width", space.width[0]))
    chain = start_chain(space, plan, resolution, width)
    for number, stage in enumerate(space.stages, 1):
        for index in range(1, stage_depth(f"stage{number}", stage, choices) + 1):
            add_block(chain, space, plan, number, index, width, choices)
        if has_exit(number, stage, choices):
            add_exit(chain, space, number, width, classes)
    finish_chain(chain, space, width, classes)
    return Network(resolution, tuple(chain.blocks))


def start_chain(space: SpaceFile, plan: Plan, resolution: int, width: float) -> Chain:
    """The stem."""
    chain, stem = Chain([], (resolution, resolution)), space.stem
    params: dict[str, Param] = {
        "kernel": stem.kernel,
        "stride": plan.stem_stride,
        "activation": stem.activation,
        "pool": plan.stem_pool,
    }
    channels = scale_channels(stem.channels, width, space, stem.scale)
    chain.add("stem", "stem", channels, params)
    return chain


def add_block(
    chain: Chain,
    space: SpaceFile,
    plan: Plan,
    number: int,
    index: int,
    width: float,
    choices: Mapping[str, Choice],
) -> None:
    """Block `index` of stage `number`, both from 1; nothing where it is skipped without a trace."""
    stage, position = space.stages[number - 1], f"stage{number}.block{index}"
    channels = scale_channels(stage.channels, width, space)
    stride = plan.strides[number - 1] if index == 1 else 1
    made = _candidate(number, index, stage, choices)
    if made.op != "skip":
        op, params = _block_params(chain.channels, made, stage, stride, channels)
        chain.add(position, op, channels, params)
    elif stride != 1 or chain.channels != channels:
        params = {"kernel": 1, "stride": stride, "activation": "none"}
        chain.add(position, "conv", channels, params)


def has_exit(number: int, stage: Stage, choices: Mapping[str, Choice]) -> bool:
    """Whether inference may end behind stage `number`; a stage that is left out has no exit."""
    name = f"stage{number}"
    chosen = choices.get(f"{name}.{EXIT}", stage.options("exit")[0])
    return bool(chosen) and stage_depth(name, stage, choices) > 0


def add_exit(chain: Chain, space: SpaceFile, number: int, width: float, classes: int) -> None:
    """The exit behind stage `number`."""
    params: dict[str, Param] = {"pooling": "mean", "hidden": 0, "activation": "none"}
    head = space.exit_head
    if head is not None:
        params["channels"] = scale_channels(head.channels, width, space, head.scale)
        params["activation"] = head.activation
    chain.branch(f"stage{number}.{EXIT}", "classifier", classes, params)


def finish_chain(chain: Chain, space: SpaceFile, width: float, classes: int) -> None:
    """The head and the classifier."""
    if space.head is not None:
        channels = scale_channels(space.head.channels, width, space, space.head.scale)
        chain.add("head", "head", channels, {"activation": space.head.activation})
    tail = space.classifier
    hidden = scale_channels(tail.hidden, width, space, tail.scale) if tail.hidden else 0
    params: dict[str, Param] = {
        "pooling": "mean",
        "hidden": hidden,
        "activation": tail.activation,
    }
    chain.add("classifier", "classifier", classes, params)


def scale_channels(
    channels: int | list[int], width: float, space: SpaceFile, scale: bool = True
) -> int:
    """Channels under a width multiplier, rounded as the space says, or as they are listed.

    Raises:
        SpaceError: Nothing is left.
    """
    if isinstance(channels, list):
        return channels[space.width.index(width)]
    result = round_channels(channels * (width if scale else 1.0), space.rounding)
    if result == 0:
        raise SpaceError(
            f"search space {space.name}: width {width:g} leaves {channels} channels with none",
            allowed=f"widths that keep at least {space.rounding / 2:g} channels everywhere",
            do="a larger width or more channels",
        )
    return result


def first_block_changes_shape(space: SpaceFile, plan: Plan, number: int, width: float) -> bool:
    """Whether stage `number` (from 1) starts with another size or number of channels."""
    if plan.strides[number - 1] != 1:
        return True
    stem = space.stem
    before = scale_channels(stem.channels, width, space, stem.scale)
    if number > 1:
        before = scale_channels(space.stages[number - 2].channels, width, space)
    return before != scale_channels(space.stages[number - 1].channels, width, space)


def stage_depth(name: str, stage: Stage, choices: Mapping[str, Choice]) -> int:
    """How many blocks of a stage are active."""
    return int(choices.get(f"{name}.depth", stage.options("depth")[0]))


@dataclass(frozen=True)
class _Candidate:
    """What was chosen for one block."""

    op: str
    kernel: int
    expand: float
    se: float
    activation: Activation


def variant_name(number: int, index: int, stage: Stage) -> str:
    """What the choice of a block's variant is called."""
    whole = f"stage{number}.{VARIANT}"
    return whole if stage.one_variant else f"stage{number}.block{index}.{VARIANT}"


def _candidate(number: int, index: int, stage: Stage, choices: Mapping[str, Choice]) -> _Candidate:
    block = f"stage{number}.block{index}"
    kernel = choices.get(f"{block}.kernel", stage.options("kernel")[0])
    expand = choices.get(f"{block}.expand", stage.options("expand")[0])
    variant = Variant()
    if stage.variants is not None:
        name = variant_name(number, index, stage)
        variant = stage.variants[str(choices.get(name, stage.options(VARIANT)[0]))]
    return _Candidate(
        variant.op or stage.op,
        int(variant.kernel or kernel),
        float(variant.expand or expand),
        stage.se if variant.se is None else variant.se,
        variant.activation or stage.activation,
    )


def _block_params(
    channels: int, made: _Candidate, stage: Stage, stride: int, out: int
) -> tuple[str, dict[str, Param]]:
    """Op and parameters of a block with `channels` inputs and `out` outputs."""
    params: dict[str, Param] = {
        "kernel": made.kernel,
        "stride": stride,
        "activation": made.activation,
    }
    hidden, residual = _hidden(channels, made, out), stride == 1 and channels == out
    match made.op:
        case "depthwise_separable":
            return made.op, params
        case "residual" | "shuffle_unit" | "fire":
            return made.op, {**params, "hidden": hidden}
        case "fused_inverted_residual":
            return _fused(channels, hidden, {**params, "residual": residual})
    squeeze = _squeeze(channels, hidden, made.se, stage.se_of)
    params |= {"hidden": hidden, "residual": residual, "se": squeeze}
    # What no layer has makes no other key.
    gate, inner = (stage.gate, stage.se_activation) if squeeze else ("hardsigmoid", "relu")
    return made.op, {**params, "gate": gate, "se_activation": inner}


def _fused(channels: int, hidden: int, params: dict[str, Param]) -> tuple[str, dict[str, Param]]:
    """Without expansion it is a plain convolution, and has that one's key."""
    if hidden == channels:
        return "conv", params
    return "fused_inverted_residual", {**params, "hidden": hidden}


def _hidden(channels: int, made: _Candidate, out: int) -> int:
    """Channels inside a block; as the papers have them for an expand ratio of 1."""
    usual = {"residual": out, "shuffle_unit": out // 2}.get(made.op, channels)
    if made.op == "fire":
        return _inner_channels(out / FIRE_SHARE * made.expand)
    # Without expansion the block works on its own input, whatever the rounding would say.
    return usual if made.expand == 1 else _inner_channels(usual * made.expand)


def _squeeze(channels: int, hidden: int, share: float, share_of: str) -> int:
    """EfficientNet counts a share of the block's input and rounds it down (arXiv:1905.11946)."""
    if not share:
        return 0
    return max(1, int(channels * share)) if share_of == "input" else _inner_channels(hidden * share)


def _inner_channels(channels: float) -> int:
    """Channels inside a block: rounded as the papers do, with the divisor as the least."""
    return max(INNER_DIVISOR, round_channels(channels, INNER_DIVISOR))


def resolve_reference(name: str, reference: Reference, classes: int | None) -> Network:
    """A published network as a chain of blocks, at its own resolution.

    Raises:
        SpaceError: A layer lacks something that its op needs.
    """
    chain = Chain([], (reference.resolution, reference.resolution))
    for layer in reference.layers:
        for repeated in range(layer.repeat):
            stride = (layer.stride or 1) if repeated == 0 else 1
            out = layer.channels
            if layer.op == "classifier":
                out = classes or reference.classes
            if out is None:
                raise SpaceError(f"a {layer.op} needs channels")
            position = f"layer{len(chain.blocks) + 1}"
            op, params = _reference_block(chain, layer, stride, out)
            chain.add(position, op, out, params)
    return Network(reference.resolution, tuple(chain.blocks))


def _reference_block(
    chain: Chain, layer: ReferenceLayer, stride: int, out: int
) -> tuple[str, dict[str, Param]]:
    """Op and parameters of one block of a published network."""
    op, hidden = layer.op, layer.hidden or 0
    params: dict[str, Param] = {"activation": layer.activation}
    if op == "head":
        return op, params
    if op == "classifier":
        return op, {**params, "pooling": layer.pooling, "hidden": hidden}
    params |= {"kernel": layer.kernel or 3, "stride": stride}
    residual = stride == 1 and chain.channels == out
    match op:
        case "stem":
            return op, {**params, "pool": layer.pool or 1, "norm": layer.norm}
        case "conv":
            return op, {**params, "norm": layer.norm}
        case "fused_inverted_residual":
            params["residual"] = residual
            return _fused(chain.channels, hidden or chain.channels, params)
        case "inverted_residual":
            params |= {"hidden": hidden or chain.channels, "se": layer.se or 0}
            params |= {"gate": layer.gate, "se_activation": layer.se_activation}
            return op, {**params, "residual": residual}
        case "fire":
            return op, {**params, "hidden": hidden or out // FIRE_SHARE, "norm": layer.norm}
        case "residual" | "shuffle_unit":
            return op, {**params, "hidden": hidden or (out if op == "residual" else out // 2)}
    return op, params
