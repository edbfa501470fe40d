"""A search space: its dimensions, the architectures in it, how many there are."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.errors import ArchitectureError, OptionError, SpaceError
from nas.space.architecture import EXIT, Architecture, Network
from nas.space.resolve import first_block_changes_shape, resolve, resolve_reference, stage_depth
from nas.space.schema import VARIANT, Choice, Plan, SpaceFile

DEFAULT_CLASSES = {"small": 10, "large": 1000}
_ARCHITECTURE_KEYS = {"schema", "space", "plan", "resolution", "choices", "id"}


@dataclass(frozen=True)
class Dimension:
    """One thing to choose: a name and what may be chosen, in the order of the file."""

    name: str
    choices: tuple[Choice, ...]


def block_of(name: str) -> tuple[int, int] | None:
    """Stage and block without which a dimension has no effect, both from 1; `None`: it has always.

    An exit, and a variant of all blocks, need their stage's first block.
    """
    stage, _, rest = name.partition(".")
    if rest in (EXIT, VARIANT):
        return int(stage.removeprefix("stage")), 1
    if not rest.startswith("block"):
        return None
    block = rest.partition(".")[0].removeprefix("block")
    return int(stage.removeprefix("stage")), int(block)


@dataclass(frozen=True)
class SearchSpace:
    """A search space as read from its file. Make one with `load_space`.

    Attributes:
        file: What it says.
        path: The file, where the space was named by its path: its name alone would not find it.
    """

    file: SpaceFile
    path: Path | None = field(default=None, compare=False)

    @property
    def option(self) -> str:
        """How commands name it: `--space NAME`, or the path of its file."""
        return f"--space {shlex.quote(str(self.path or self.name))}"

    @property
    def name(self) -> str:
        """The name by which commands know it."""
        return self.file.name

    @cached_property
    def content(self) -> dict[str, Any]:
        """The file's content as JSON values, for hashes and copies.

        Made once, when the space is read: a Ctrl-C during it would get lost in the serialiser. Of
        spaces without exits, or variants of whole stages, it is what it was before there were any.
        """
        content = self.file.model_dump(mode="json", by_alias=True)
        for stage in content["stages"]:
            if not stage["one_variant"]:
                del stage["one_variant"]
        if not self.may_exit:
            del content["exit_head"]
            for stage in content["stages"]:
                del stage["exit"], stage["default"]["exit"]
        return content

    @property
    def may_exit(self) -> bool:
        """Whether some of its networks have exits."""
        return any(stage.may_exit for stage in self.file.stages)

    @cached_property
    def plans(self) -> tuple[str, ...]:
        """The input plans of this space."""
        return tuple(self.file.plans)

    def plan(self, name: str) -> Plan:
        """An input plan by name.

        Raises:
            OptionError: The space has no such plan.
        """
        if name not in self.file.plans:
            raise OptionError(
                f"search space {self.name} has no such input plan",
                got=name,
                allowed=", ".join(self.plans),
            )
        return self.file.plans[name]

    @cached_property
    def choice_dimensions(self) -> tuple[Dimension, ...]:
        """Every choice but the resolution, in the order of the network."""
        found = [Dimension("width", tuple(self.file.width))]
        for number, stage in enumerate(self.file.stages, 1):
            depths = stage.options("depth")
            found.append(Dimension(f"stage{number}.depth", depths))
            if stage.one_variant:
                found.append(Dimension(f"stage{number}.{VARIANT}", stage.options(VARIANT)))
            for block, name in itertools.product(
                range(1, int(max(depths)) + 1), stage.block_choices
            ):
                found.append(Dimension(f"stage{number}.block{block}.{name}", stage.options(name)))
            found.append(Dimension(f"stage{number}.{EXIT}", stage.options("exit")))
        return tuple(dimension for dimension in found if len(dimension.choices) > 1)

    def dimensions(self, plan: str) -> tuple[Dimension, ...]:
        """All that is chosen in one plan, `resolution` first."""
        resolutions = Dimension("resolution", tuple(self.plan(plan).resolutions))
        return (resolutions, *self.choice_dimensions)

    def architecture(
        self, plan: str, resolution: int, choices: Mapping[str, Choice]
    ) -> Architecture:
        """The canonical architecture for choices; choices without effect may be left out.

        Raises:
            ArchitectureError: Unknown or missing choices, or a resolution outside the plan.
        """
        if resolution not in self.plan(plan).resolutions:
            raise ArchitectureError(
                f"plan {plan} of {self.name} has no such resolution",
                got=resolution,
                allowed=", ".join(map(str, self.plan(plan).resolutions)),
            )
        canonical = self._canonical(plan, self._checked(choices))
        network = resolve(self.file, self.plan(plan), resolution, dict(canonical), 1)
        return Architecture(self.name, plan, resolution, canonical, network.id)

    def network(self, architecture: Architecture, classes: int | None = None) -> Network:
        """The chain of blocks of an architecture; `classes` defaults by plan (10 or 1,000)."""
        classes = classes or DEFAULT_CLASSES[architecture.plan]
        plan, choices = self.plan(architecture.plan), dict(architecture.choices)
        return resolve(self.file, plan, architecture.resolution, choices, classes)

    def reference(self, name: str, classes: int | None = None) -> Network:
        """A published network of the space's `references`.

        Raises:
            OptionError: There is no such reference.
        """
        if name not in self.file.references:
            raise OptionError(
                f"search space {self.name} has no such reference",
                got=name,
                allowed=", ".join(self.file.references) or "none",
                do=None
                if self.file.references
                else f"nas sample {self.option} -n 1 --json > arch.json, for --arch arch.json",
            )
        return resolve_reference(name, self.file.references[name], classes)

    def from_json(self, value: Any) -> Architecture:
        """Read an architecture object as `nas sample --json` prints it.

        Raises:
            ArchitectureError: It is not one, belongs to another space, or its id is wrong.
        """
        if not isinstance(value, dict) or not {"space", "plan", "resolution"} <= set(value):
            raise ArchitectureError(
                "an architecture is one object of `nas sample --json`", allowed=_keys_text()
            )
        unknown = sorted(set(value) - _ARCHITECTURE_KEYS)
        if unknown:
            raise ArchitectureError(
                "an architecture has an unknown key", got=unknown[0], allowed=_keys_text()
            )
        if value["space"] != self.name:
            raise ArchitectureError(
                "an architecture belongs to one space", got=str(value["space"]), allowed=self.name
            )
        choices, resolution = value.get("choices", {}), value["resolution"]
        if not isinstance(choices, dict) or type(resolution) is not int:
            raise ArchitectureError("choices is an object and resolution a whole number")
        if value.get("schema", 1) != 1:
            raise ArchitectureError("schema version", got=str(value["schema"]), allowed="1")
        found = self.architecture(str(value["plan"]), resolution, choices)
        if value.get("id", found.id) != found.id:
            raise ArchitectureError(
                "the id is the hash of the resolved network",
                got=str(value["id"]),
                allowed=found.id,
                do="leave the id out, or sample again with the space file as it is now",
            )
        return found

    def _checked(self, choices: Mapping[str, Choice]) -> dict[str, Choice]:
        known = {dimension.name: dimension.choices for dimension in self.choice_dimensions}
        for name, choice in choices.items():
            if name not in known:
                raise ArchitectureError(
                    f"{self.name} has no such choice", got=name, allowed=", ".join(known)
                )
            if isinstance(choice, bool) or choice not in known[name]:
                raise ArchitectureError(
                    f"{name} of {self.name} is one of its choices",
                    got=choice,
                    allowed=", ".join(map(str, known[name])),
                )
        return dict(choices)

    def _canonical(
        self, plan: str, choices: Mapping[str, Choice]
    ) -> tuple[tuple[str, Choice], ...]:
        """Active choices in the order of the network; skipped blocks last in their stage."""
        choices = self._skips_last(plan, choices)
        canonical: list[tuple[str, Choice]] = []
        for dimension in self.choice_dimensions:
            if not self._active(dimension.name, choices):
                continue
            if dimension.name not in choices:
                raise ArchitectureError(
                    f"an architecture of {self.name} needs every active choice",
                    got=f"none for {dimension.name}",
                    allowed=", ".join(map(str, dimension.choices)),
                )
            listed = dimension.choices.index(choices[dimension.name])
            canonical.append((dimension.name, dimension.choices[listed]))
        return tuple(canonical)

    def _active(self, name: str, choices: Mapping[str, Choice]) -> bool:
        place = block_of(name)
        if place is None:
            return True
        number, block = place
        stage = self.file.stages[number - 1]
        return block <= stage_depth(f"stage{number}", stage, choices)

    def _skips_last(self, plan: str, choices: Mapping[str, Choice]) -> dict[str, Choice]:
        """Move blocks that do nothing behind those that do: the network stays the same.

        A first block that changes the shape keeps its place: skipping it leaves a convolution.
        """
        moved = dict(choices)
        width = float(choices.get("width", self.file.width[0]))
        for number, stage in enumerate(self.file.stages, 1):
            skips = stage.skips
            if not skips:
                continue
            fixed = first_block_changes_shape(self.file, self.plan(plan), number, width)
            depth = stage_depth(f"stage{number}", stage, moved)
            names = [f"stage{number}.block{block}.variant" for block in range(1 + fixed, depth + 1)]
            kept = [moved[name] for name in names if name in moved and moved[name] not in skips]
            missing = sum(name not in moved for name in names)
            if not missing:
                moved.update(zip(names, kept + [skips[0]] * (len(names) - len(kept)), strict=True))
        return moved

    def check(self) -> None:
        """Resolve networks of every width and variant and all references, to find mistakes early.

        Raises:
            SpaceError: A width that rounds to zero channels or to some that a variant cannot have,
                or a reference that does not fit.
        """
        variants = [d for d in self.choice_dimensions if d.name.endswith(".variant")]
        longest = max((len(d.choices) for d in variants), default=1)
        for plan, width in itertools.product(self.file.plans.values(), self.file.width):
            for index in range(longest):
                choices = {d.name: d.choices[index % len(d.choices)] for d in variants}
                choices |= {d.name: max(d.choices) for d in self.choice_dimensions
                            if d.name.endswith((".depth", f".{EXIT}"))}  # fmt: skip
                resolve(self.file, plan, plan.resolutions[0], {**choices, "width": width}, 10)
        for name in self.file.references:
            try:
                _ = self.reference(name).cost
            except SpaceError as cause:
                raise SpaceError(f"reference {name}: {cause}") from cause


def _keys_text() -> str:
    return "{schema, space, plan, resolution, choices, id}"
