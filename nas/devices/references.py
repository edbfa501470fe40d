"""Models that show how fast a device is at the moment; what was timed beside a slow one is redone.

Two, because there are two kinds of disturbance. Another program on the core slows everything, and
the smallest network shows it at little cost. Others' work in a cache that all cores share slows
only what does not fit the core's own, which the smallest network does: whole models are timed
beside a large one of themselves (docs/decisions/0008).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nas.devices.bundle import LARGE, SMALL, Item
from nas.space.sample import from_genome, smallest, to_genome
from nas.space.space import DEFAULT_CLASSES, SearchSpace

LARGER_THAN = 0.9
"""The large reference is larger than this share of the models."""


def small_reference(space: SearchSpace, plan: str, resolutions: Iterable[int]) -> Item:
    """The smallest network: short enough to be timed beside every block."""
    genome = to_genome(space, smallest(space, plan))
    found = from_genome(space, plan, {**genome, "resolution": min(resolutions)})
    network = space.network(found, DEFAULT_CLASSES[plan])
    return Item(SMALL, network.without_exits.blocks)


def beside_large(
    models: Sequence[Item], sizes: Sequence[float], runtime: str
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """A large reference, and the models with it as theirs.

    Args:
        models: Whole models.
        sizes: What orders them.
        runtime: That times them. trtexec has no large reference: it starts for seconds, on a GPU
            that one program uses at a time.

    Returns:
        One reference or none, and the models.
    """
    if not models or runtime == "tensorrt":
        return (), tuple(models)
    order = sorted(range(len(models)), key=lambda index: sizes[index])
    chosen = models[order[int(LARGER_THAN * (len(models) - 1))]]
    return (replace(chosen, id=LARGE),), tuple(replace(item, reference=LARGE) for item in models)
