"""What a search space file may hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from nas.documents import Section
from nas.space.layers import Activation, Gate


def _check_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("input should be a number")
    return value


def _check_odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("a kernel is an odd number")
    return value


def _form(value: Any) -> str:
    return "list" if isinstance(value, list) else "one"


Positive = Annotated[int, Field(gt=0, le=65536)]
Odd = Annotated[int, Field(gt=0, le=31), AfterValidator(_check_odd)]
Ratio = Annotated[int | float, Field(gt=0, le=64), BeforeValidator(_check_number)]
Expand = Annotated[int | float, Field(ge=1, le=64), BeforeValidator(_check_number)]
# One value, or a list of choices; mistakes are reported against the form that was meant.
Depths = Annotated[
    Annotated[Positive, Tag("one")]
    | Annotated[list[Annotated[int, Field(ge=0, le=1000)]], Field(min_length=1), Tag("list")],
    Discriminator(_form),
]
Kernels = Annotated[
    Annotated[Odd, Tag("one")] | Annotated[list[Odd], Field(min_length=1), Tag("list")],
    Discriminator(_form),
]
Expands = Annotated[
    Annotated[Expand, Tag("one")] | Annotated[list[Expand], Field(min_length=1), Tag("list")],
    Discriminator(_form),
]
Channels = Annotated[
    Annotated[Positive, Tag("one")] | Annotated[list[Positive], Field(min_length=1), Tag("list")],
    Discriminator(_form),
]
"""Of width 1, or of each of the space's widths in their order."""
Flag = Annotated[int, Field(ge=0, le=1)]
Exits = Annotated[
    Annotated[Flag, Tag("one")] | Annotated[list[Flag], Field(min_length=1), Tag("list")],
    Discriminator(_form),
]
"""Whether an exit stands behind a stage, or both as a choice."""
OpName = Literal[
    "inverted_residual",
    "depthwise_separable",
    "fused_inverted_residual",
    "residual",
    "shuffle_unit",
    "fire",
]
Choice = int | float | str
VARIANT = "variant"
"""The name of a choice among variants."""
Item = TypeVar("Item")


class Plan(Section):
    """A named way into a space: which input sizes, and the strides that go with them."""

    resolutions: Annotated[list[Annotated[int, Field(ge=8, le=1024)]], Field(min_length=1)]
    stem_stride: Literal[1, 2]
    stem_pool: Literal[1, 2] = 1
    strides: Annotated[list[Literal[1, 2]], Field(min_length=1)]

    @field_validator("resolutions")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        return _check_distinct(value)


class Stem(Section):
    """The first convolution."""

    channels: Channels
    kernel: Odd = 3
    activation: Activation
    scale: bool = True


class Variant(Section):
    """One named candidate for a block: replaces what it names of the stage, its family too."""

    op: Literal["skip"] | OpName | None = None
    kernel: Odd | None = None
    expand: Expand | None = None
    se: Annotated[float, Field(ge=0, le=1)] | None = None
    activation: Activation | None = None


class Defaults(Section):
    """The choices of the hand-made network that baselines are scaled from."""

    depth: Annotated[int, Field(ge=0)] | None = None
    kernel: Odd | None = None
    expand: Expand | None = None
    variant: str | None = None
    exit: Flag | None = None


class Stage(Section):
    """A run of blocks with the same number of channels; the first one carries the stride.

    A list is a choice; `kernel`, `expand` and `variants` are chosen for every block by itself, or
    with `one_variant` one variant for all blocks. A depth of 0 leaves the stage out, its stride
    too.

    `expand` is how many channels a block has inside: of the input's (`inverted_residual`,
    `fused_inverted_residual`), or of what the paper's block has there (`residual`: the output's;
    `shuffle_unit`: half the output's; `fire`: an eighth of the output's). `se` is a share of those
    (`se_of: hidden`) or of the input's channels (`input`, as EfficientNet has it).

    `exit` puts a classifier of its own behind the stage, where inference may end (see `exits`).
    """

    op: OpName = "inverted_residual"
    channels: Channels
    depth: Depths = 1
    kernel: Kernels = 3
    expand: Expands = 1
    variants: Annotated[dict[str, Variant], Field(min_length=1)] | None = None
    one_variant: bool = False
    se: Annotated[float, Field(ge=0, le=1)] = 0.0
    se_of: Literal["hidden", "input"] = "hidden"
    se_activation: Activation = "relu"
    gate: Gate = "hardsigmoid"
    activation: Activation
    exit: Exits = 0
    default: Defaults = Defaults()

    @field_validator("depth", "kernel", "expand", "exit")
    @classmethod
    def _distinct(cls, value: Choice | list[Choice]) -> Choice | list[Choice]:
        return _check_distinct(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _consistent(self) -> Stage:
        self._check_op()
        if max(self.options("depth")) == 0:
            raise ValueError("a stage has a depth above 0 to choose; got 0 alone")
        if self.skips and len(self.options("depth")) > 1:
            raise ValueError("a stage with a skip variant has one depth: skips already vary it")
        if self.variants and (isinstance(self.kernel, list) or isinstance(self.expand, list)):
            raise ValueError("a stage with variants lists no kernels or expand ratios: they do")
        if self.one_variant and (self.variants is None or self.skips):
            raise ValueError("one_variant is for a stage with variants, none of which is skip")
        if self.skips and self.may_exit:
            raise ValueError("a stage with a skip variant has no exit: it may be empty")
        if len(self.skips) > 1:
            raise ValueError("a stage has at most one skip variant: two would be the same")
        for name in ("depth", "kernel", "expand", "variant", "exit"):
            wanted = getattr(self.default, name)
            allowed = self.options(name)
            if wanted is not None and wanted not in allowed:
                raise ValueError(
                    f"default {name} must be one of the choices {list(allowed)}; got {wanted!r}"
                )
        return self

    def _check_op(self) -> None:
        """What an op does not have is not given; a stage's is for the variants that have it."""
        ops = {variant.op or self.op for variant in (self.variants or {"": Variant()}).values()}
        ops -= {"skip"}
        if ops == {"depthwise_separable"} and (self.se or self.expand != 1):
            raise ValueError("a depthwise_separable stage has no expand ratio and no se")
        if self.se and "inverted_residual" not in ops:
            raise ValueError(f"a {self.op} stage has no se: inverted_residual has")
        for name, variant in (self.variants or {}).items():
            op = variant.op or self.op
            if variant.se and op != "inverted_residual":
                raise ValueError(f"variant {name}: a {op} has no se: inverted_residual has")
            if variant.expand not in (None, 1) and op in ("depthwise_separable", "skip"):
                raise ValueError(f"variant {name}: a {op} has no expand ratio")

    @property
    def skips(self) -> tuple[str, ...]:
        """Names of the variants that leave a block out."""
        return tuple(name for name, v in (self.variants or {}).items() if v.op == "skip")

    @property
    def block_choices(self) -> tuple[str, ...]:
        """What is chosen for every block by itself."""
        if self.variants is None:
            return "kernel", "expand"
        return () if self.one_variant else (VARIANT,)

    @property
    def may_exit(self) -> bool:
        """Whether some network has an exit behind the stage."""
        return 1 in self.options("exit")

    def options(self, name: str) -> tuple[Choice, ...]:
        """The choices for `depth`, `kernel`, `expand`, `variant` or `exit`, as a tuple."""
        if name == "variant":
            return tuple(self.variants or ())
        value = getattr(self, name)
        return tuple(value) if isinstance(value, list) else (value,)


class Head(Section):
    """The 1 x 1 convolution before pooling."""

    channels: Channels
    activation: Activation
    scale: bool = True


class Classifier(Section):
    """Global pooling, an optional hidden linear layer, and the classes."""

    hidden: Annotated[int, Field(ge=0, le=65536)] = 0
    activation: Activation = "none"
    scale: bool = True


class ExitHead(Section):
    """What an exit has before its pooling: a 1 x 1 convolution."""

    channels: Channels
    activation: Activation
    scale: bool = True


class ReferenceLayer(Section):
    """One block of a published network; what is not given has the usual value."""

    op: Literal["stem", "conv", "head", "classifier"] | OpName
    channels: Positive | None = None
    kernel: Odd | None = None
    stride: Literal[1, 2] | None = None
    pool: Literal[1, 2] | None = None
    norm: bool = True
    hidden: Annotated[int, Field(ge=0)] | None = None
    se: Annotated[int, Field(ge=0)] | None = None
    se_activation: Activation = "relu"
    gate: Gate = "hardsigmoid"
    pooling: Literal["mean", "last"] = "mean"
    activation: Activation = "none"
    repeat: Positive = 1


class Reference(Section):
    """A published network, layer by layer: built and measured, never sampled."""

    resolution: Positive
    classes: Positive
    layers: Annotated[list[ReferenceLayer], Field(min_length=2)]

    @field_validator("layers")
    @classmethod
    def _ends(cls, value: list[ReferenceLayer]) -> list[ReferenceLayer]:
        if [layer.op == "classifier" for layer in value] != [False] * (len(value) - 1) + [True]:
            raise ValueError("the last layer, and no other, is the classifier")
        return value


class SpaceFile(Section):
    """A whole search space file."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    description: str
    source: str = ""
    rounding: Positive = 8
    width: Annotated[list[Ratio], Field(min_length=1)] = [1.0]
    default_width: Ratio | None = None
    plans: Annotated[dict[Literal["small", "large"], Plan], Field(min_length=1)]
    stem: Stem
    stages: Annotated[list[Stage], Field(min_length=1)]
    head: Head | None = None
    classifier: Classifier = Classifier()
    exit_head: ExitHead | None = None
    references: dict[str, Reference] = {}

    @field_validator("width")
    @classmethod
    def _distinct(cls, value: list[float]) -> list[float]:
        return _check_distinct(value)

    @model_validator(mode="after")
    def _stages_fit(self) -> SpaceFile:
        for name, part in self._parts():
            if isinstance(part.channels, list) and len(part.channels) != len(self.width):
                raise ValueError(
                    f"the channels of {name} are one number, or one for each of the "
                    f"{len(self.width)} widths"
                )
        skips = any(stage.skips for stage in self.stages)
        if skips and any(0 in stage.options("depth") for stage in self.stages):
            raise ValueError("a space with skip variants has no depth 0: skips already do that")
        return self

    @model_validator(mode="after")
    def _plans_fit(self) -> SpaceFile:
        for name, plan in self.plans.items():
            if len(plan.strides) != len(self.stages):
                raise ValueError(
                    f"plan {name} needs one stride for each of the {len(self.stages)} stages; "
                    f"got {len(plan.strides)}"
                )
        if self.default_width is not None and self.default_width not in self.width:
            raise ValueError(
                f"default_width must be one of the choices {self.width}; got {self.default_width}"
            )
        return self

    @model_validator(mode="after")
    def _exits_fit(self) -> SpaceFile:
        if self.stages[-1].may_exit:
            raise ValueError("the last stage has no exit: the classifier follows it")
        if self.exit_head is not None and not any(stage.may_exit for stage in self.stages):
            raise ValueError("an exit_head is for stages with an exit, of which there are none")
        return self

    def _parts(self) -> Iterator[tuple[str, Stem | Stage | Head | ExitHead]]:
        """All that has channels, and what it is called."""
        yield "the stem", self.stem
        for number, stage in enumerate(self.stages, 1):
            yield f"stage {number}", stage
        if self.head is not None:
            yield "the head", self.head
        if self.exit_head is not None:
            yield "the exit_head", self.exit_head


def _check_distinct(value: list[Item]) -> list[Item]:
    if len(set(value)) != len(value):
        raise ValueError("a choice is listed twice")
    return value
