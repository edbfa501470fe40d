"""Drawing, changing, encoding and counting architectures. The generator is passed in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from nas.space.architecture import Architecture
from nas.space.resolve import first_block_changes_shape
from nas.space.schema import VARIANT, Choice, Stage
from nas.space.space import SearchSpace

Genome = dict[str, Choice]
MUTATION_ATTEMPTS = 64


def from_genome(space: SearchSpace, plan: str, genome: Mapping[str, Choice]) -> Architecture:
    """The architecture of a full assignment (all dimensions, `resolution` among them)."""
    choices = {name: choice for name, choice in genome.items() if name != "resolution"}
    return space.architecture(plan, int(genome["resolution"]), choices)


def to_genome(space: SearchSpace, architecture: Architecture) -> Genome:
    """A full assignment of an architecture; choices without effect get their first option."""
    known = {"resolution": architecture.resolution, **dict(architecture.choices)}
    dimensions = space.dimensions(architecture.plan)
    return {d.name: known.get(d.name, d.choices[0]) for d in dimensions}


def sample(space: SearchSpace, plan: str, rng: np.random.Generator) -> Architecture:
    """One architecture, every dimension drawn uniformly."""
    dimensions = space.dimensions(plan)
    drawn = {d.name: d.choices[rng.integers(len(d.choices))] for d in dimensions}
    return from_genome(space, plan, drawn)


def mutate(
    space: SearchSpace, architecture: Architecture, rng: np.random.Generator
) -> Architecture:
    """Another architecture that differs in one choice (the same one if the space has no other)."""
    dimensions = [d for d in space.dimensions(architecture.plan) if len(d.choices) > 1]
    genome = to_genome(space, architecture)
    for _ in range(MUTATION_ATTEMPTS if dimensions else 0):
        dimension = dimensions[rng.integers(len(dimensions))]
        choice = dimension.choices[rng.integers(len(dimension.choices))]
        changed = from_genome(space, architecture.plan, {**genome, dimension.name: choice})
        if changed.id != architecture.id:
            return changed
    return architecture


def encode(space: SearchSpace, architecture: Architecture) -> np.ndarray:
    """Index of the choice in every dimension, shape `D`, int64; -1 where it has no effect."""
    known = {"resolution": architecture.resolution, **dict(architecture.choices)}
    return np.array(
        [
            d.choices.index(known[d.name]) if d.name in known else -1
            for d in space.dimensions(architecture.plan)
        ],
        dtype=np.int64,
    )


def smallest(space: SearchSpace, plan: str, cost: str = "macs") -> Architecture:
    """The architecture with the least MACs (or `params`): each choice at its cheapest."""
    return _extreme(space, plan, cost, min)


def largest(space: SearchSpace, plan: str, cost: str = "macs") -> Architecture:
    """The architecture with the most MACs (or `params`): each choice at its dearest."""
    return _extreme(space, plan, cost, max)


def _extreme(space: SearchSpace, plan: str, cost: str, pick: Callable[..., Choice]) -> Architecture:
    """Each number at its end, which is exact: costs grow with every number but a depth of 0.

    Variants have no order, and a stage that is left out takes its stride along: there all choices
    are compared, with the others at their ends.
    """
    genome: Genome = {}
    compared = []
    for d in space.dimensions(plan):
        if d.name.endswith(".variant") or 0 in d.choices:
            compared.append(d)
            genome[d.name] = d.choices[-1]
        else:
            genome[d.name] = pick(d.choices)

    def measure(name: str, choice: Choice) -> int:
        network = space.network(from_genome(space, plan, {**genome, name: choice}))
        return int(getattr(network.cost, cost))

    for d in compared * 2:
        genome[d.name] = pick(d.choices, key=lambda choice, n=d.name: measure(n, choice))
    return from_genome(space, plan, genome)


def baseline(
    space: SearchSpace, plan: str, width: float, resolution: int | None = None
) -> Architecture:
    """The space's hand-made network at one width multiplier, at the plan's largest resolution."""
    chosen: Genome = {"resolution": resolution or max(space.plan(plan).resolutions)}
    for d in space.choice_dimensions:
        if d.name == "width":
            chosen[d.name] = width
            continue
        stage_name, _, rest = d.name.partition(".")
        stage = space.file.stages[int(stage_name.removeprefix("stage")) - 1]
        default = getattr(stage.default, rest.rpartition(".")[2])
        chosen[d.name] = d.choices[0] if default is None else default
    return from_genome(space, plan, chosen)


def count_encodings(space: SearchSpace, plan: str) -> int:
    """Number of full assignments of the dimensions."""
    return math.prod(len(d.choices) for d in space.dimensions(plan))


def count(space: SearchSpace, plan: str) -> int:
    """Number of distinct networks: choices without effect are counted once.

    Where other choices happen to resolve alike (two widths that round to the same channels), both
    are counted.
    """
    per_width = (_count_at_width(space, plan, width) for width in space.file.width)
    return len(space.plan(plan).resolutions) * sum(per_width)


def _count_at_width(space: SearchSpace, plan: str, width: float) -> int:
    total = 1
    for number, stage in enumerate(space.file.stages, 1):
        fixed = first_block_changes_shape(space.file, space.plan(plan), number, width)
        total *= _count_stage(stage, fixed)
    return total


def _count_stage(stage: Stage, first_changes_shape: bool) -> int:
    per_block: int = math.prod(len(stage.options(name)) for name in stage.block_choices)
    depths = [int(depth) for depth in stage.options("depth")]
    if not stage.skips:
        present = _powers(per_block, [depth for depth in depths if depth])
        if stage.one_variant:
            present *= len(stage.options(VARIANT))
        return present * len(stage.options("exit")) + (0 in depths)
    # With skips, the blocks that do something form a sequence of any length up to the depth.
    real = per_block - len(stage.skips)
    free = depths[0] - 1 if first_changes_shape else depths[0]
    sequences = _powers(real, range(free + 1))
    return (real + 1) * sequences if first_changes_shape else sequences


def _powers(base: int, exponents: Iterable[int]) -> int:
    total = 0
    for exponent in exponents:
        total += math.prod([base] * exponent)
    return total
