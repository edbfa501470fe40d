"""Every distinct block of a space, without walking through its architectures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from nas.space.architecture import EXIT, Network
from nas.space.blocks import Block
from nas.space.sample import Genome, from_genome
from nas.space.schema import VARIANT, Choice
from nas.space.space import Dimension, SearchSpace


def distinct_blocks(
    space: SearchSpace, plan: str, resolutions: Iterable[int], classes: Sequence[int]
) -> list[Block]:
    """All blocks that networks of these resolutions can have, in a stable order.

    A block depends on resolution, width, its stage, whether it is the stage's first, which stages
    are left out, and its own choices, not on those of other blocks. So it is enough to give all
    blocks the same choices, at full depth, for every combination of a block's choices. (With a
    first block that is skipped without a trace, the others take its place: its neighbours are of
    the same size.)
    """
    found: dict[Block, None] = {}
    for network in covering(space, plan, resolutions, classes[0]):
        found.update(dict.fromkeys(block for _, block in network.blocks))
    for block in [block for block in found if block.op == "classifier"]:
        for count in classes:
            size = (block.op, block.height, block.width, block.in_channels)
            found[Block(*size, count, block.params)] = None
    return list(found)


def covering(
    space: SearchSpace, plan: str, resolutions: Iterable[int], classes: int
) -> Iterator[Network]:
    """Networks that hold every block in every place that it may have.

    All blocks are alike, all stages full or left out.
    """
    dimensions = space.choice_dimensions
    per_block = [d for d in dimensions if ".block" in d.name or d.name.endswith(f".{VARIANT}")]
    options: dict[str, Sequence[Choice]] = {}
    for name in sorted({_kind(d) for d in per_block}):
        longest = max(len(d.choices) for d in per_block if _kind(d) == name)
        options[name] = range(longest)
    for d in dimensions:
        if d.name == "width":
            options[d.name] = d.choices
        elif d.name.endswith(f".{EXIT}"):
            options[d.name] = [1]
        elif d.name.endswith(".depth"):
            options[d.name] = [max(d.choices)] + [0] * (0 in d.choices)
    for resolution in resolutions:
        for picked in itertools.product(*options.values()):
            chosen = dict(zip(options, picked, strict=True))
            genome: Genome = {"resolution": resolution}
            genome |= {d.name: chosen[d.name] for d in dimensions if d.name in chosen}
            for d in per_block:
                genome[d.name] = d.choices[int(chosen[_kind(d)]) % len(d.choices)]
            yield space.network(from_genome(space, plan, genome), classes)


def _kind(dimension: Dimension) -> str:
    """`kernel`, `expand` or `variant`."""
    return dimension.name.rpartition(".")[2]
