"""Every distinct block of a space, without walking through its architectures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nas.space.architecture import Network
from nas.space.blocks import Block
from nas.space.sample import Genome, from_genome
from nas.space.space import SearchSpace


def distinct_blocks(
    space: SearchSpace, plan: str, resolutions: Iterable[int], classes: Sequence[int]
) -> list[Block]:
    """All blocks that networks of these resolutions can have, in a stable order.

    A block depends on resolution, width, its stage, whether it is the stage's first, and its own
    choices, not on those of other blocks. So it is enough to give all blocks the same choices,
    at full depth, for every combination of a block's choices. (With a first block that is
    skipped without a trace, the others take its place: its neighbours are of the same size.)
    """
    found: dict[Block, None] = {}
    for network in _covering(space, plan, resolutions, classes[0]):
        found.update(dict.fromkeys(block for _, block in network.blocks))
    for block in [block for block in found if block.op == "classifier"]:
        for count in classes:
            size = (block.op, block.height, block.width, block.in_channels)
            found[Block(*size, count, block.params)] = None
    return list(found)


def _covering(
    space: SearchSpace, plan: str, resolutions: Iterable[int], classes: int
) -> Iterator[Network]:
    dimensions = space.choice_dimensions
    per_block = [d for d in dimensions if ".block" in d.name]
    names = sorted({d.name.rpartition(".")[2] for d in per_block})
    longest = {n: max(len(d.choices) for d in per_block if d.name.endswith(n)) for n in names}
    full = {d.name: max(d.choices) for d in dimensions if d.name.endswith(".depth")}
    for resolution in resolutions:
        for width in space.file.width:
            for picked in _combinations(longest):
                genome: Genome = {"resolution": resolution, "width": width, **full}
                for d in per_block:
                    index = picked[d.name.rpartition(".")[2]]
                    genome[d.name] = d.choices[index % len(d.choices)]
                if len(space.file.width) == 1:
                    del genome["width"]
                yield space.network(from_genome(space, plan, genome), classes)


def _combinations(longest: dict[str, int]) -> Iterator[dict[str, int]]:
    if not longest:
        yield {}
        return
    (name, count), *rest = longest.items()
    for index in range(count):
        for others in _combinations(dict(rest)):
            yield {name: index, **others}
