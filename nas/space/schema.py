"""What a search space file may hold."""

from __future__ import annotations

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
OpName = Literal["inverted_residual", "depthwise_separable"]
Choice = int | float | str
Item = TypeVar("Item")


class Plan(Section):
    """A named way into a space: which input sizes, and the strides that go with them."""

    resolutions: Annotated[list[Annotated[int, Field(ge=8, le=1024)]], Field(min_length=1)]
    stem_stride: Literal[1, 2]
    strides: Annotated[list[Literal[1, 2]], Field(min_length=1)]

    @field_validator("resolutions")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        return _check_distinct(value)


class Stem(Section):
    """The first convolution."""

    channels: Positive
    kernel: Odd = 3
    activation: Activation
    scale: bool = True


class Variant(Section):
    """One named candidate for a block: replaces the stage's kernel and expand ratio."""

    op: Literal["skip"] | OpName | None = None
    kernel: Odd | None = None
    expand: Expand | None = None


class Defaults(Section):
    """The choices of the hand-made network that baselines are scaled from."""

    depth: Annotated[int, Field(ge=0)] | None = None
    kernel: Odd | None = None
    expand: Expand | None = None
    variant: str | None = None


class Stage(Section):
    """A run of blocks with the same number of channels; the first one carries the stride.

    A list is a choice; `kernel`, `expand` and `variants` are chosen for every block by itself. A
    depth of 0 leaves the stage out, its stride too.
    """

    op: OpName = "inverted_residual"
    channels: Positive
    depth: Depths = 1
    kernel: Kernels = 3
    expand: Expands = 1
    variants: Annotated[dict[str, Variant], Field(min_length=1)] | None = None
    se: Annotated[float, Field(ge=0, le=1)] = 0.0
    gate: Gate = "hardsigmoid"
    activation: Activation
    default: Defaults = Defaults()

    @field_validator("depth", "kernel", "expand")
    @classmethod
    def _distinct(cls, value: Choice | list[Choice]) -> Choice | list[Choice]:
        return _check_distinct(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _consistent(self) -> Stage:
        if self.op == "depthwise_separable" and (self.se or self.expand != 1):
            raise ValueError("a depthwise_separable stage has no expand ratio and no se")
        if max(self.options("depth")) == 0:
            raise ValueError("a stage has a depth above 0 to choose")
        if self.skips and len(self.options("depth")) > 1:
            raise ValueError("a stage with a skip variant has one depth: skips already vary it")
        if self.variants and (isinstance(self.kernel, list) or isinstance(self.expand, list)):
            raise ValueError("a stage with variants lists no kernels or expand ratios: they do")
        if len(self.skips) > 1:
            raise ValueError("a stage has at most one skip variant: two would be the same")
        for name in ("depth", "kernel", "expand", "variant"):
            wanted = getattr(self.default, name)
            allowed = self.options(name)
            if wanted is not None and wanted not in allowed:
                raise ValueError(f"default {name} must be one of the choices {list(allowed)}")
        return self

    @property
    def skips(self) -> tuple[str, ...]:
        """Names of the variants that leave a block out."""
        return tuple(name for name, v in (self.variants or {}).items() if v.op == "skip")

    def options(self, name: str) -> tuple[Choice, ...]:
        """The choices for `depth`, `kernel`, `expand` or `variant`, as a tuple."""
        if name == "variant":
            return tuple(self.variants or ())
        value = getattr(self, name)
        return tuple(value) if isinstance(value, list) else (value,)


class Head(Section):
    """The 1 x 1 convolution before pooling."""

    channels: Positive
    activation: Activation
    scale: bool = True


class Classifier(Section):
    """Global pooling, an optional hidden linear layer, and the classes."""

    hidden: Annotated[int, Field(ge=0, le=65536)] = 0
    activation: Activation = "none"
    scale: bool = True


class ReferenceLayer(Section):
    """One block of a published network; what is not given has the usual value."""

    op: Literal["stem", "conv", "depthwise_separable", "inverted_residual", "head", "classifier"]
    channels: Positive | None = None
    kernel: Odd | None = None
    stride: Literal[1, 2] | None = None
    hidden: Annotated[int, Field(ge=0)] | None = None
    se: Annotated[int, Field(ge=0)] | None = None
    activation: Activation = "none"
    repeat: Positive = 1


class Reference(Section):
    """A published network, layer by layer: built and measured, never sampled."""

    resolution: Positive
    classes: Positive
    layers: Annotated[list[ReferenceLayer], Field(min_length=2)]


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
    references: dict[str, Reference] = {}

    @field_validator("width")
    @classmethod
    def _distinct(cls, value: list[float]) -> list[float]:
        return _check_distinct(value)

    @model_validator(mode="after")
    def _stages_fit(self) -> SpaceFile:
        skips = any(stage.skips for stage in self.stages)
        if skips and any(0 in stage.options("depth") for stage in self.stages):
            raise ValueError("a space with skip variants has no depth 0: skips already do that")
        return self

    @model_validator(mode="after")
    def _plans_fit(self) -> SpaceFile:
        for name, plan in self.plans.items():
            if len(plan.strides) != len(self.stages):
                raise ValueError(
                    f"plan {name} needs one stride for each of the {len(self.stages)} stages"
                )
        if self.default_width is not None and self.default_width not in self.width:
            raise ValueError(f"default_width must be one of the choices {self.width}")
        return self


def _check_distinct(value: list[Item]) -> list[Item]:
    if len(set(value)) != len(value):
        raise ValueError("a choice is listed twice")
    return value
