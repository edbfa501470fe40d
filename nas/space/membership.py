"""Whether a chain of blocks is a network of a search space, and which."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nas.errors import SpaceError
from nas.space.architecture import EXIT, Architecture
from nas.space.blocks import Block
from nas.space.resolve import Chain, add_block, finish_chain, start_chain
from nas.space.schema import VARIANT, Choice, Plan
from nas.space.space import SearchSpace

Choices = dict[str, Choice]


def find_architecture(
    space: SearchSpace, plan: str, blocks: Sequence[Block]
) -> Architecture | None:
    """The architecture whose network computes exactly `blocks`; `None` where there is none.

    What blocks are called does not matter, only what they compute.
    """
    resolution = blocks[0].height
    if blocks[0].width != resolution or resolution not in space.plan(plan).resolutions:
        return None
    for width in space.file.width:
        choices = _Walk(space, space.plan(plan), float(width), blocks).choices(resolution)
        if choices is not None:
            known = {dimension.name for dimension in space.choice_dimensions}
            named = {name: choice for name, choice in choices.items() if name in known}
            return space.architecture(plan, resolution, named)
    return None


@dataclass
class _Walk:
    """Tries the choices of one block after the other, as long as they give the wanted blocks."""

    space: SearchSpace
    plan: Plan
    width: float
    wanted: Sequence[Block]
    _failed: set[tuple[Choice, ...]] = field(default_factory=set)

    def choices(self, resolution: int) -> Choices | None:
        try:
            chain = start_chain(self.space.file, self.plan, resolution, self.width)
        except SpaceError:  # this width leaves nothing
            return None
        return self._stage(1, chain, {"width": self.width}) if self._fits(chain, 0) else None

    def _stage(self, number: int, chain: Chain, choices: Choices) -> Choices | None:
        if number > len(self.space.file.stages):
            return choices if self._ends(chain) else None
        stage = self.space.file.stages[number - 1]
        for depth in stage.options("depth"):
            if depth and 0 not in stage.options("exit"):
                continue  # what is given is a chain
            deeper = {**choices, f"stage{number}.depth": depth, f"stage{number}.{EXIT}": 0}
            for variant in stage.options(VARIANT) if stage.one_variant else ("",):
                alike = {f"stage{number}.{VARIANT}": variant} if variant else {}
                found = self._block(number, 1, chain, {**deeper, **alike})
                if found is not None:
                    return found
        return None

    def _block(self, number: int, index: int, chain: Chain, choices: Choices) -> Choices | None:
        depth = int(choices[f"stage{number}.depth"])
        if index > depth:
            return self._stage(number + 1, chain, choices)
        variant = choices.get(f"stage{number}.{VARIANT}", "")
        place = number, index, depth, len(chain.blocks), variant
        if place in self._failed:
            return None
        for picked in self._options(number, index):
            longer = Chain(list(chain.blocks), chain.size, chain.channels)
            chosen = {**choices, **picked}
            add_block(longer, self.space.file, self.plan, number, index, self.width, chosen)
            found = None
            if self._fits(longer, len(chain.blocks)):
                found = self._block(number, index + 1, longer, chosen)
            if found is not None:
                return found
        self._failed.add(place)
        return None

    def _options(self, number: int, index: int) -> list[Mapping[str, Choice]]:
        stage = self.space.file.stages[number - 1]
        keys = [f"stage{number}.block{index}.{name}" for name in stage.block_choices]
        options = [stage.options(name) for name in stage.block_choices]
        return [dict(zip(keys, picked, strict=True)) for picked in itertools.product(*options)]

    def _ends(self, chain: Chain) -> bool:
        whole = Chain(list(chain.blocks), chain.size, chain.channels)
        finish_chain(whole, self.space.file, self.width, self.wanted[-1].out_channels)
        same_length = len(whole.blocks) == len(self.wanted)
        return same_length and self._fits(whole, len(chain.blocks))

    def _fits(self, chain: Chain, start: int) -> bool:
        """Whether the blocks from `start` on are the wanted ones."""
        added = [block for _, block in chain.blocks[start:]]
        wanted = self.wanted[start : start + len(added)]
        return [b.computation for b in added] == [b.computation for b in wanted]
