"""From a space file and choices to the chain of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas.errors import SpaceError
from nas.space.architecture import Network
from nas.space.blocks import Block, Param, make_block
from nas.space.schema import Choice, Plan, Reference, ReferenceLayer, SpaceFile, Stage

RGB = 3
INNER_DIVISOR = 8


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

    def add(self, position: str, op: str, out_channels: int, params: Mapping[str, Param]) -> None:
        """Append a block; the next one gets its output."""
        block = make_block(op, self.size, self.channels, out_channels, params)
        self.blocks.append((position, block))
        self.size, self.channels = block.output_size, out_channels


def resolve(
    space: SpaceFile, plan: Plan, resolution: int, choices: Mapping[str, Choice], classes: int
) -> Network:
    """The network that complete `choices` (see `SearchSpace.dimensions`) stand for."""
    width = float(choices.get("width", space.width[0]))
    chain = start_chain(space, plan, resolution, width)
    for number, stage in enumerate(space.stages, 1):
        for index in range(1, stage_depth(f"stage{number}", stage, choices) + 1):
            add_block(chain, space, plan, number, index, width, choices)
    finish_chain(chain, space, width, classes)
    return Network(resolution, tuple(chain.blocks))


def start_chain(space: SpaceFile, plan: Plan, resolution: int, width: float) -> Chain:
    """The stem."""
    chain, stem = Chain([], (resolution, resolution)), space.stem
    params: dict[str, Param] = {
        "kernel": stem.kernel,
        "stride": plan.stem_stride,
        "activation": stem.activation,
    }
    channels = scale_channels(stem.channels, width if stem.scale else 1.0, space)
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
    op, kernel, expand = _candidate(position, stage, choices)
    if op != "skip":
        params = _block_params(chain, op, stage, kernel, expand, stride, channels)
        chain.add(position, op, channels, params)
    elif stride != 1 or chain.channels != channels:
        params = {"kernel": 1, "stride": stride, "activation": "none"}
        chain.add(position, "conv", channels, params)


def finish_chain(chain: Chain, space: SpaceFile, width: float, classes: int) -> None:
    """The head and the classifier."""
    if space.head is not None:
        channels = scale_channels(space.head.channels, width if space.head.scale else 1.0, space)
        chain.add("head", "head", channels, {"activation": space.head.activation})
    tail = space.classifier
    scale = width if tail.scale else 1.0
    hidden = scale_channels(tail.hidden, scale, space) if tail.hidden else 0
    params: dict[str, Param] = {
        "pooling": "mean",
        "hidden": hidden,
        "activation": tail.activation,
    }
    chain.add("classifier", "classifier", classes, params)


def scale_channels(channels: int, width: float, space: SpaceFile) -> int:
    """Channels under a width multiplier, rounded as the space says.

    Raises:
        SpaceError: Nothing is left.
    """
    result = round_channels(channels * width, space.rounding)
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
    before = scale_channels(stem.channels, width if stem.scale else 1.0, space)
    if number > 1:
        before = scale_channels(space.stages[number - 2].channels, width, space)
    return before != scale_channels(space.stages[number - 1].channels, width, space)


def stage_depth(name: str, stage: Stage, choices: Mapping[str, Choice]) -> int:
    """How many blocks of a stage are active."""
    return int(choices.get(f"{name}.depth", stage.options("depth")[0]))


def _candidate(block: str, stage: Stage, choices: Mapping[str, Choice]) -> tuple[str, int, float]:
    """Op, kernel and expand ratio of one block."""
    op: str = stage.op
    kernel = choices.get(f"{block}.kernel", stage.options("kernel")[0])
    expand = choices.get(f"{block}.expand", stage.options("expand")[0])
    if stage.variants is not None:
        variant_name = str(choices.get(f"{block}.variant", stage.options("variant")[0]))
        variant = stage.variants[variant_name]
        op = variant.op or op
        kernel = variant.kernel or kernel
        expand = variant.expand or expand
    return op, int(kernel), float(expand)


def _block_params(
    chain: Chain, op: str, stage: Stage, kernel: int, expand: float, stride: int, out: int
) -> dict[str, Param]:
    params: dict[str, Param] = {"kernel": kernel, "stride": stride, "activation": stage.activation}
    if op == "depthwise_separable":
        return params
    # Without expansion the block works on its own input, whatever the rounding would say.
    hidden = chain.channels if expand == 1 else _inner_channels(chain.channels * expand)
    squeeze = _inner_channels(hidden * stage.se) if stage.se else 0
    residual = stride == 1 and chain.channels == out
    return {**params, "hidden": hidden, "se": squeeze, "gate": stage.gate, "residual": residual}


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
                raise SpaceError(f"reference {name}: a {layer.op} needs channels")
            position = f"layer{len(chain.blocks) + 1}"
            chain.add(position, layer.op, out, _reference_params(chain, layer, stride, out))
    return Network(reference.resolution, tuple(chain.blocks))


def _reference_params(
    chain: Chain, layer: ReferenceLayer, stride: int, out: int
) -> dict[str, Param]:
    if layer.op == "head":
        return {"activation": layer.activation}
    if layer.op == "classifier":
        return {"pooling": "mean", "hidden": layer.hidden or 0, "activation": layer.activation}
    params: dict[str, Param] = {
        "kernel": layer.kernel or 3,
        "stride": stride,
        "activation": layer.activation,
    }
    if layer.op == "inverted_residual":
        params["hidden"] = layer.hidden or chain.channels
        params |= {"se": layer.se or 0, "gate": "hardsigmoid"}
        params["residual"] = stride == 1 and chain.channels == out
    return params
