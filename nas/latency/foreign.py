"""Models that were not built here: what was understood of them, and what a table says."""

from __future__ import annotations

from dataclasses import dataclass

from nas.latency.roofline import Operation
from nas.space.blocks import Block


@dataclass(frozen=True)
class Placed:
    """A block, and the name of the node that it starts with."""

    name: str
    block: Block

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of its output, batch 1."""
        size = () if self.block.op == "classifier" else self.block.output_size
        return (1, self.block.out_channels, *size)


@dataclass(frozen=True)
class Leftover:
    """Nodes that form no block.

    Attributes:
        name: Of the first node.
        op: The operator.
        shape: Of the output; empty where it is not known.
        why: Why it is no block.
        macs: Multiply-adds; `None` where they are not known.
        operations: What a roofline can estimate it as; empty where it cannot.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    why: str
    macs: int | None
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True)
class ForeignNetwork:
    """What was understood of a model.

    Attributes:
        size: Height and width of its input, pixels.
        placed: Its blocks, in the order of the file.
        leftovers: All else that it computes.
        chain: Whether each block reads what the one before it wrote, and only the last one's
            output leaves the model.
        notes: What was assumed in reading it.
    """

    size: tuple[int, int]
    placed: tuple[Placed, ...]
    leftovers: tuple[Leftover, ...] = ()
    chain: bool = True
    notes: tuple[str, ...] = ()

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in the order of the file."""
        return tuple(placed.block for placed in self.placed)

    @property
    def classes(self) -> int:
        """Number of outputs, where a classifier says it; otherwise 1."""
        return next((b.out_channels for b in reversed(self.blocks) if b.op == "classifier"), 1)

    @property
    def macs(self) -> int:
        """Multiply-adds, as far as they are known."""
        blocks = sum(block.cost.macs for block in self.blocks)
        return blocks + sum(leftover.macs or 0 for leftover in self.leftovers)


@dataclass(frozen=True)
class Unmatched:
    """A part of a model that the table does not answer as a block.

    Attributes:
        name: Of its first node.
        what: The block, or the operator.
        shape: Of its output; empty where it is not known.
        why: Why the table does not answer.
        macs: Multiply-adds; `None` where they are not known.
        counted_ms: Its share of the prediction, where a roofline estimates it by layers.
        do: The command that adds it to the table, where there is one.
    """

    name: str
    what: str
    shape: tuple[int, ...]
    why: str
    macs: int | None
    counted_ms: float | None = None
    do: str | None = None


@dataclass(frozen=True)
class ForeignLatency:
    """One number and what it is.

    Attributes:
        predicted_ms: The expected latency, batch 1; of the counted parts, if they are not all.
        lower_ms: Lower end of the interval, where a certificate covers the model.
        upper_ms: One-sided 98 % upper bound, where a certificate covers the model.
        basis: What it rests on, in words.
        calibrated: Whether it stands for a whole model, not for a sum of isolated blocks.
    """

    predicted_ms: float
    lower_ms: float | None
    upper_ms: float | None
    basis: str
    calibrated: bool


@dataclass(frozen=True)
class ForeignPrediction:
    """What a table says of a foreign model.

    Attributes:
        latency: Of the model, or of what is counted of it.
        provenance: `measured` or `estimated`.
        interpolated: Whether a classifier was interpolated between numbers of classes.
        complete: Whether all that the model computes is counted; otherwise the latency is of what
            is.
        architecture: Id of the architecture that the model is, where a known space has it.
        macs: Multiply-adds of the model, as far as they are known.
        covered_macs: Those of the counted parts.
        unmatched: What the table does not answer as a block.
    """

    latency: ForeignLatency
    provenance: str
    interpolated: bool
    complete: bool
    architecture: str | None
    macs: int
    covered_macs: int
    unmatched: tuple[Unmatched, ...]
