"""What a profile measures: the blocks and the whole models that a table lacks.

The distinct blocks of a space are enumerated exactly. Of those that the table lacks, some that lie
far from each other are measured, and the others interpolated (`nas.devices.quality`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nas.devices.bundle import Item, Job
from nas.devices.calibrate import FEWEST_MODELS, shares
from nas.devices.quality import MEASURED_WHOLE, QUALITIES, Quality, effort_of
from nas.devices.references import beside_large, small_reference
from nas.devices.relative import Relative
from nas.devices.targets import Precision, precision_of, target_of, threads_of
from nas.errors import InputError, MeasurementError, OptionError
from nas.export.graph import GraphTarget
from nas.latency.device_file import NAME_PATTERN
from nas.latency.regression import spread_out
from nas.latency.table import LatencyTable, Row, read_table
from nas.space.architecture import Network
from nas.space.blocks import Block, BlockKey, Param, make_block
from nas.space.enumerate import distinct_blocks
from nas.space.sample import sample
from nas.space.space import DEFAULT_CLASSES, SearchSpace

CLASSES = (2, 10, 100, 1000)


@dataclass(frozen=True)
class ProfileSettings:
    """What to profile.

    Attributes:
        name: The device's name, which becomes the folder's.
        space: The search space whose blocks are measured.
        plan: Its input plan.
        resolutions: Input sizes in pixels.
        classes: Numbers of classes for which classifiers are measured.
        runtime: Name of the runtime.
        threads: Of one inference.
        seed: Of the order and of the drawn whole models.
        aliases: Short names of the device.
        quality: How much is measured.
        like: Another device, from whose table most of this one's is derived.
    """

    name: str
    space: SearchSpace
    plan: str
    resolutions: tuple[int, ...]
    classes: tuple[int, ...] = CLASSES
    runtime: str = "onnxruntime"
    threads: int = 1
    seed: int = 0
    aliases: tuple[str, ...] = ()
    quality: Quality = QUALITIES["normal"]
    like: Relative | None = None

    def __post_init__(self) -> None:
        if threads_of(self.runtime, self.threads) is None and self.threads != 1:
            raise OptionError(
                "threads are for runtimes on the processor",
                got=f"{self.threads} for {self.runtime}",
                do="leave --threads out",
            )

    @property
    def precision(self) -> Precision:
        """In which the runtime computes."""
        return precision_of(self.runtime)


@dataclass(frozen=True)
class Plan:
    """What a profile measures, and what it makes of it.

    Attributes:
        settings: With the resolutions that the calibration is for.
        job: What the agent does.
        needed: Every block that the table has to have in the end.
        blocks: Those that are measured.
        models: Whole models: to fit on, for the bound, for the certificate; none where the
            calibrations that there are stay.
        existing: The table that is extended.
        kept: Its rows that stay as they are.
    """

    settings: ProfileSettings
    job: Job
    needed: list[Block]
    blocks: list[Block]
    models: list[Network]
    existing: LatencyTable | None
    kept: Mapping[BlockKey, Row]

    @property
    def known(self) -> dict[BlockKey, Row]:
        """Kept rows that were measured."""
        return {key: row for key, row in self.kept.items() if row.source == "measured"}

    @property
    def rest(self) -> list[Block]:
        """Needed blocks that are interpolated between those that are measured."""
        there = _blocks(self.kept, self.settings.precision) | set(self.blocks)
        return [block for block in self.needed if block not in there]


def make_plan(settings: ProfileSettings, out: Path, version: str | None) -> Plan:
    """What has to be measured for a table in `out`; `version` is the runtime's, if known.

    What an earlier profile measured is kept, unless there is nothing else to do: then all of it is
    measured anew. Interpolated rows are kept for a space or resolution that is new to the table,
    and measured or interpolated again for one that it has: then that is calibrated anew, too.

    Raises:
        OptionError: `settings.name` cannot be a device's name.
        TableError: The table that would be extended cannot be read.
        MeasurementError: The space has too few networks.
    """
    check_name(settings.name)
    folder = out / settings.name
    existing = read_table(folder) if folder.exists() else None
    if settings.like is not None:
        return _plan_like(settings, settings.like, existing, version)
    rows = dict(existing.rows) if existing else {}
    measured = {key: row for key, row in rows.items() if row.source == "measured"}
    old = {r for r in settings.resolutions if _has(existing, settings, r)}
    blocks, needed = _missing(settings, rows, measured, old)
    mine = set(needed) & _blocks(rows, settings.precision)
    derived = mine - _blocks(measured, settings.precision)
    refined = old if derived & set(blocks) else set()
    resolutions = tuple(r for r in settings.resolutions if r not in old or r in refined)
    kept = rows
    if refined:
        kept = {k: r for k, r in rows.items() if k.block not in derived or r.source == "measured"}
    if not blocks and not resolutions:
        chosen, needed = _missing(settings, {}, {}, set())
        there = _blocks(measured, settings.precision)
        blocks = list(dict.fromkeys([*(block for block in needed if block in there), *chosen]))
        anew = {BlockKey(block, settings.precision) for block in needed}
        kept = {key: row for key, row in rows.items() if key not in anew}
        resolutions = settings.resolutions
    settings = replace(settings, resolutions=resolutions or settings.resolutions)
    models = draw_models(settings) if resolutions else []
    job = make_job(settings, blocks, models, _target(settings, existing, version))
    return Plan(settings, job, needed, blocks, models, existing, kept)


def _missing(
    settings: ProfileSettings,
    rows: Mapping[BlockKey, Row],
    measured: Mapping[BlockKey, Row],
    old: set[int],
) -> tuple[list[Block], list[Block]]:
    """Blocks to measure, and all that are needed; of each resolution the same share is measured."""
    there, known = (_blocks(found, settings.precision) for found in (rows, measured))
    chosen: dict[Block, None] = {}
    needed: dict[Block, None] = {}
    for resolution in settings.resolutions:
        of_resolution = needed_blocks(settings, resolution)
        have = (known if resolution in old else there) | set(chosen)
        chosen |= dict.fromkeys(choose(of_resolution, have, settings.quality.share))
        needed |= dict.fromkeys(of_resolution)
    return list(chosen), list(needed)


def needed_blocks(settings: ProfileSettings, resolution: int) -> list[Block]:
    """Every block that networks of a resolution can have."""
    # The whole models have the plan's default number of classes.
    classes = sorted({*settings.classes, DEFAULT_CLASSES[settings.plan]})
    return distinct_blocks(settings.space, settings.plan, (resolution,), classes)


def _blocks(rows: Iterable[BlockKey], precision: str) -> set[Block]:
    return {key.block for key in rows if key.precision == precision}


def _target(
    settings: ProfileSettings, existing: LatencyTable | None, version: str | None
) -> GraphTarget:
    """Models in the form of those that the table has; a new one's in that of the runtime."""
    if existing is None:
        return target_of(settings.runtime, version)
    export = existing.device.export
    return GraphTarget(export.opset, export.ir_version, export.hardswish)


def _plan_like(
    settings: ProfileSettings,
    like: Relative,
    existing: LatencyTable | None,
    version: str | None,
) -> Plan:
    """A handful of blocks and models; nothing else is asked of this device."""
    if existing is not None:
        raise OptionError(
            "--like makes a new table",
            got=f"{settings.name}, which there is",
            do="another --device name, or nas profile without --like, which extends it",
        )
    like.calibrations(settings.space.name, settings.plan, settings.resolutions)
    listed = (needed_blocks(settings, resolution) for resolution in settings.resolutions)
    needed = list(dict.fromkeys(block for blocks in listed for block in blocks))
    for block in needed:
        like.row(block)
    blocks = [needed[index] for index in spread_out(needed, like.blocks)]
    drawn = draw_distinct(settings, 8 * like.models)
    drawn.sort(key=lambda network: network.cost.macs)
    places = np.linspace(0, len(drawn) - 1, min(like.models, len(drawn)))
    models = [drawn[round(place)] for place in places]
    job = make_job(settings, blocks, models, target_of(settings.runtime, version))
    return Plan(settings, job, needed, blocks, models, None, {})


def with_more_blocks(plan: Plan) -> Plan:
    """Twice as many of the needed blocks as are measured so far; the job has the further ones."""
    settings = plan.settings
    known = _blocks(plan.known, settings.precision) | set(plan.blocks)
    more: dict[Block, None] = {}
    for resolution in settings.resolutions:
        needed = needed_blocks(settings, resolution)
        share = 2 * sum(block in known for block in needed) / len(needed)
        more |= dict.fromkeys(choose(needed, known | set(more), min(1.0, share)))
    if not more:  # of what a relative's table has beyond these resolutions
        more = dict.fromkeys(plan.rest)
    job = make_job(settings, list(more), [], plan.job.target)
    return replace(plan, job=job, blocks=[*plan.blocks, *more])


def make_job(
    settings: ProfileSettings, blocks: list[Block], models: list[Network], target: GraphTarget
) -> Job:
    """Blocks and models as the agent gets them."""
    small = small_reference(settings.space, settings.plan, settings.resolutions)
    whole = [Item(f"model {index}", network.blocks) for index, network in enumerate(models)]
    sizes = [network.cost.macs for network in models]
    large, timed = beside_large(whole, sizes, settings.runtime)
    items = [Item(f"block {block}", between_layers(block)) for block in blocks]
    return Job(
        settings.name,
        settings.runtime,
        settings.threads,
        effort_of(settings.runtime, settings.quality.effort),
        settings.seed,
        target,
        (small, *large),
        (*items, *timed),
    )


def between_layers(block: Block) -> tuple[tuple[str, Block], ...]:
    """A block as it is measured: between a convolution and a mean.

    The first makes its input from a single channel, the second takes its output. By itself it would
    pay for bringing both into the runtime's own layout, which a network pays only at its own input,
    and which can take several times as long for one size as for a neighbouring one
    (docs/decisions/0009). What the two layers take instead is proportional to the values that enter
    and leave the block, which the calibration takes out.
    """
    chain = [("block", block)]
    if block.op != "stem":
        size = block.height, block.width
        plain: dict[str, Param] = {"kernel": 1, "stride": 1, "activation": "none"}
        chain.insert(0, ("before", make_block("conv", size, 1, block.in_channels, plain)))
    if block.op != "classifier":
        mean: dict[str, Param] = {"pooling": "mean", "hidden": 0, "activation": "none"}
        after = make_block("classifier", block.output_size, block.out_channels, 1, mean)
        chain.append(("after", after))
    return tuple(chain)


def choose(needed: list[Block], known: set[Block], share: float) -> list[Block]:
    """Blocks to measure beside those that are known, so that a share of those needed is."""
    counts = Counter(block.op for block in needed)
    whole = {op for op, count in counts.items() if count <= MEASURED_WHOLE} | {"classifier"}
    few = [block for block in needed if block.op in whole and block not in known]
    many = [block for block in needed if block.op not in whole]
    first = [index for index, block in enumerate(many) if block in known]
    number = max(0, round(share * len(many)) - len(first))
    return few + [many[index] for index in spread_out(many, number, first)]


def draw_models(settings: ProfileSettings) -> list[Network]:
    """Distinct random architectures: first those to fit on, chosen to span the range of MACs."""
    networks = draw_distinct(settings, settings.quality.models)
    total = len(networks)
    if total < FEWEST_MODELS:
        raise MeasurementError(
            f"{settings.space.name} has too few networks for a calibration and a certificate",
            got=f"{total} distinct ones drawn",
            allowed=f"at least {FEWEST_MODELS}",
        )
    fit_models, _ = shares(total)
    networks.sort(key=lambda network: network.cost.macs)
    spanning = {round(i) for i in np.linspace(0, total - 1, fit_models)}
    fit = [networks[i] for i in sorted(spanning)]
    rest = [network for i, network in enumerate(networks) if i not in spanning]
    order = np.random.default_rng(settings.seed).permutation(len(rest))
    return fit + [rest[i] for i in order]


def draw_distinct(settings: ProfileSettings, wanted: int) -> list[Network]:
    """Distinct random networks, as chains; fewer than wanted where the space has no more."""
    rng, classes = np.random.default_rng(settings.seed), DEFAULT_CLASSES[settings.plan]
    drawn: dict[str, Network] = {}
    for _ in range(wanted * 20):
        found = sample(settings.space, settings.plan, rng)
        if found.resolution in settings.resolutions:
            network = settings.space.network(found, classes).without_exits
            drawn.setdefault(network.id, network)
        if len(drawn) == wanted:
            break
    return list(drawn.values())


def check_name(name: str) -> None:
    """Refuse a name that cannot be a device's folder's.

    Raises:
        OptionError: It cannot.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise OptionError(
            "a device's name is also its folder's",
            got=name,
            allowed="at most 100 lower-case letters, digits, dots, dashes and underscores",
            do="--device hardware-runtime[-threads], such as nuc-onnxruntime",
        )


def check_resolutions(space: SearchSpace, plan: str, wanted: Iterable[int]) -> tuple[int, ...]:
    """`wanted`, or all of the plan's where it is empty.

    Raises:
        InputError: The plan lacks one of them.
    """
    known = space.plan(plan).resolutions
    chosen = tuple(wanted) or tuple(known)
    for resolution in chosen:
        if resolution not in known:
            raise InputError(
                f"plan {plan} of {space.name} has no such resolution",
                got=resolution,
                allowed=", ".join(map(str, known)),
            )
    return chosen


def _has(existing: LatencyTable | None, settings: ProfileSettings, resolution: int) -> bool:
    """Whether the table is calibrated for a resolution, and for the space as it is now."""
    if existing is None:
        return False
    space, plan, precision = settings.space.name, settings.plan, settings.precision
    if existing.calibration(space, plan, precision, resolution) is None:
        return False
    there = _blocks(existing.rows, precision)
    needed = needed_blocks(settings, resolution)
    return all(block in there for block in needed if block.op != "classifier")
