"""Classifiers between the measured numbers of classes, where the table itself shows it is safe."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from nas.space.blocks import BlockKey

MOST_ERROR = 0.25
"""Of a held-out classifier; where one is off by more, none is interpolated."""

Line = Sequence[tuple[int, float]]
"""Numbers of classes, ascending, and latencies in ms."""


@dataclass(frozen=True)
class ClassLines:
    """Latencies of classifiers over their number of classes.

    Linear between neighbours, as the work of the last layer is.

    Attributes:
        lines: By the key that the classifier would have with no classes.
        error: The largest relative error when a classifier that has neighbours on both sides is
            left out; `None` where there is none to leave out.
    """

    lines: Mapping[BlockKey, Line]
    error: float | None

    @classmethod
    def of(
        cls, latencies_ms: Mapping[BlockKey, float], held_out: Collection[BlockKey]
    ) -> ClassLines:
        """Of a table's rows, of which `held_out` are left out in turn."""
        groups: dict[BlockKey, list[tuple[int, float]]] = defaultdict(list)
        for key, latency_ms in latencies_ms.items():
            if key.block.op == "classifier":
                groups[_without_classes(key)].append((key.block.out_channels, latency_ms))
        lines = {key: sorted(line) for key, line in groups.items()}
        errors = []
        for key in held_out:
            line = lines.get(_without_classes(key), [])
            others = [point for point in line if point[0] != key.block.out_channels]
            between = _between(others, key.block.out_channels)
            if between is not None:
                errors.append(abs(between / latencies_ms[key] - 1))
        return cls(lines, max(errors, default=None))

    def latency_ms(self, key: BlockKey) -> tuple[float, float] | None:
        """Latency of a classifier and its own upper bound.

        `None` for other blocks, outside the measured range, and where it is not known to be safe.
        """
        if key.block.op != "classifier" or self.error is None or self.error > MOST_ERROR:
            return None
        found = _between(self.lines.get(_without_classes(key), []), key.block.out_channels)
        return None if found is None else (found, found * (1 + self.error))


def _without_classes(key: BlockKey) -> BlockKey:
    return replace(key, block=replace(key.block, out_channels=0))


def _between(line: Line, classes: int) -> float | None:
    above = bisect_left(line, (classes, 0.0))
    if above == 0 or above == len(line):
        return None
    (low, low_ms), (high, high_ms) = line[above - 1], line[above]
    return low_ms + (high_ms - low_ms) * (classes - low) / (high - low)
