"""Latencies of blocks from those of others: regression of logarithms on sizes.

A Gaussian process (Rasmussen and Williams 2006, chapters 2 and 5.4.2) whose kernel is the sum of a
linear one, which follows how work grows with sizes, and a Matern one (smoothness 3/2), which
follows what a runtime makes of particular sizes. With a `base`, latencies of the same blocks on
another device, it is the ratio to them that is regressed. Scales are chosen, and the error is
stated, by leaving every measured block out in turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.space.blocks import Block, Param
from nas.spread import farthest_first

SCALES = (2.0, 4.0, 8.0)
"""Length scales, in units of the natural logarithm of a size."""
ALIKE = (0.8, 0.95)
"""What one difference in kind (stride, activation, a residual, ..) leaves of a correlation."""
NOISES = (0.01, 0.03)
"""Standard deviations of measurements, as a share."""
AMPLITUDES = (0.05, 0.2)
"""Standard deviations of what does not follow sizes linearly, as a share."""
PRIOR_DEVIATION = 1.0
"""Of coefficients: a latency may grow with the square of a size, or not at all."""
BASE_DEVIATION = 0.2
"""The same where another device's latencies are known: their ratio hardly depends on sizes."""

Kind = tuple[object, ...]


@dataclass(frozen=True)
class Settings:
    """Of the kernel."""

    scale: float
    alike: float
    noise: float
    amplitude: float
    deviation: float


@dataclass(frozen=True)
class BlockRegression:
    """Fitted to measured blocks by `fit_blocks`.

    Attributes:
        errors: Relative error of every measured block when it was left out, shape `N`.
    """

    blocks: Sequence[Block]
    settings: Settings
    weights: np.ndarray
    errors: np.ndarray

    def predict(self, blocks: Sequence[Block], base_ms: np.ndarray | None = None) -> np.ndarray:
        """Latencies in ms, shape `N`; `base_ms` where it was fitted with one."""
        if not blocks:
            return np.zeros(0)
        base = np.zeros(len(blocks)) if base_ms is None else np.log(base_ms)
        kernel = _kernel(self.settings, _features(blocks), _features(self.blocks))
        return np.asarray(np.exp(base + kernel @ self.weights))


def fit_blocks(
    blocks: Sequence[Block], latency_ms: np.ndarray, base_ms: np.ndarray | None = None
) -> BlockRegression:
    """Fit to measured blocks, at least two.

    Args:
        blocks: What was measured, distinct.
        latency_ms: Their latencies, shape `N`.
        base_ms: Latencies of the same blocks on another device.
    """
    target = np.log(latency_ms) - (0.0 if base_ms is None else np.log(base_ms))
    deviation = PRIOR_DEVIATION if base_ms is None else BASE_DEVIATION
    features = _features(blocks)
    best: BlockRegression | None = None
    for scale, alike, amplitude in itertools.product(SCALES, ALIKE, AMPLITUDES):
        clean = _kernel(Settings(scale, alike, 0.0, amplitude, deviation), features, features)
        for noise in NOISES:
            settings = Settings(scale, alike, noise, amplitude, deviation)
            inverse = np.linalg.inv(clean + noise**2 * np.eye(len(target)))
            weights = inverse @ target
            errors = np.abs(np.expm1(weights / np.diag(inverse)))
            found = BlockRegression(blocks, settings, weights, errors)
            if best is None or _score(found) < _score(best):
                best = found
    assert best is not None
    return best


def spread_out(blocks: Sequence[Block], number: int, first: Sequence[int] = ()) -> list[int]:
    """Indices of blocks that lie far from each other: the farthest from all before comes next.

    Args:
        blocks: To choose from, shape `N`.
        number: How many to choose.
        first: Indices of those that are chosen already.
    """
    if not blocks:
        return []
    sizes, kinds = _features(blocks)
    return farthest_first(lambda i: _distance(sizes, kinds, i), len(blocks), number, first)


OTHER_KIND = 2.0
"""Distance of blocks that differ in kind, beside that of sizes (natural logarithms)."""


def _distance(sizes: np.ndarray, kinds: np.ndarray, index: int) -> np.ndarray:
    apart = np.sqrt(((sizes - sizes[index]) ** 2).sum(axis=1))
    return np.asarray(apart + OTHER_KIND * (kinds != kinds[index]).any(axis=1))


def _score(found: BlockRegression) -> float:
    """A few hopeless blocks do not decide."""
    return float(np.minimum(found.errors, 0.3).mean())


def _features(blocks: Sequence[Block]) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of sizes, shape `N x 8`, and kinds, shape `N x 8`."""
    sizes, kinds = [], []
    for block in blocks:
        params = dict(block.params)
        hidden = int(params.get("hidden", block.in_channels) or 1)
        squeeze = int(params.get("se", 0))
        sizes.append(
            (block.in_channels, hidden, block.out_channels, block.height * block.width,
             int(params.get("kernel", 1)), 1 + squeeze, block.cost.macs, block.border_values)
        )  # fmt: skip
        kinds.append(
            (block.op, block.stride, params.get("activation"), _sum(block),
             squeeze > 0, hidden == block.in_channels, params.get("gate"), params.get("pool"))
        )  # fmt: skip
    return np.log(np.array(sizes, float)), np.array(kinds, dtype=object)


def _sum(block: Block) -> Param | None:
    """Whether the input goes round the block as it is; some ops say so, of some it follows."""
    if block.op in ("residual", "shuffle_unit"):
        return block.stride == 1 and block.in_channels == block.out_channels
    return dict(block.params).get("residual")


def _kernel(
    settings: Settings,
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Covariances, shape `N x M`."""
    (sizes, kinds), (other_sizes, other_kinds) = first, second
    differences = (kinds[:, None, :] != other_kinds[None]).sum(axis=2)
    linear = LEVEL**2 + settings.deviation**2 * (
        (sizes - CENTRE) @ (other_sizes - CENTRE).T + KIND_SHARE * (differences == 0)
    )
    apart = np.sqrt(_squared(sizes, other_sizes)) * np.sqrt(3) / settings.scale
    matern = (1 + apart) * np.exp(-apart) * settings.alike**differences
    return np.asarray(linear + settings.amplitude**2 * matern)


LEVEL = 5.0
"""Standard deviation of the logarithm of a latency in ms."""
CENTRE = 4.0
"""Where sizes lie, roughly: linear terms and level are then independent of each other."""
KIND_SHARE = 1.0
"""Variance of what a kind costs, as a share of that of a coefficient."""


def _squared(sizes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared distances without MACs and borders, which follow from the sizes."""
    a, b = sizes[:, :6], others[:, :6]
    found = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(found, 0.0))
