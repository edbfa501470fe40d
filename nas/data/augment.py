"""Pixels to normalised torch batches, and random changes of those that keep their meaning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from nas.data.dataset import Pixels


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        flip: Mirror half of them.
        shift: Largest shift each way, as a share of the resolution.
        degrees: Largest rotation and largest shear each way.
        stretch: Largest change of size, as a share.
    """

    flip: bool
    shift: float
    degrees: float
    stretch: float


PHOTOS = Augmentation(flip=True, shift=1 / 8, degrees=0, stretch=0)
HANDWRITING = Augmentation(flip=False, shift=1 / 16, degrees=12, stretch=0.12)
"""Slant and size vary from hand to hand; measured: docs/decisions/0004-supernet-recipe.md."""


def vary(batch: torch.Tensor, generator: torch.Generator, how: Augmentation) -> torch.Tensor:
    """A varied copy of N x C x R x R images; all randomness comes from `generator`."""
    shift = int(batch.shape[-1] * how.shift)
    batch = augment(batch, generator, flip=how.flip, shift=shift)
    if how.degrees or how.stretch:
        batch = _distort(batch, generator, how)
    return batch.contiguous(memory_format=torch.channels_last)


def _distort(batch: torch.Tensor, generator: torch.Generator, how: Augmentation) -> torch.Tensor:
    """Rotate, shear and resize every image about its centre; borders repeat the last pixel."""
    drawn = torch.rand(3, len(batch), generator=generator, device=generator.device) * 2 - 1
    turn, shear = drawn[:2] * math.radians(how.degrees)
    size = 1 + drawn[2] * how.stretch
    maps = torch.zeros(len(batch), 2, 3, device=generator.device)
    maps[:, 0, 0] = maps[:, 1, 1] = turn.cos() * size
    maps[:, 0, 1] = shear.tan() - turn.sin() * size
    maps[:, 1, 0] = turn.sin() * size
    grid = nn.functional.affine_grid(maps.to(batch.device), list(batch.shape), align_corners=False)
    return nn.functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)


def to_batch(
    images: Pixels,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Normalise a batch: `(pixel / 255 - mean) / std` per channel.

    Args:
        images: N x R x R x 3, RGB; not changed.
        mean: Per channel, for pixels in 0..1.
        std: Per channel, above zero.
        device: Where the batch goes; it travels as bytes.

    Returns:
        N x 3 x R x R float32 in the channels-last memory format.
    """
    # torch shares memory only with arrays that may be written, and memory-mapped ones may not.
    pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(device)
    return normalise(pixels, mean, std)


def normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """The same for uint8 pixels N x R x R x 3 that are a tensor already, where they are."""
    number, height, width, channels = pixels.shape
    # Whole rows at a time: loops over three channels alone take up to four times as long.
    row_mean, row_std = (torch.tensor(v, device=pixels.device).repeat(width) for v in (mean, std))
    batch = pixels.to(torch.float32).view(number, height, width * channels)
    batch.div_(255.0).sub_(row_mean).div_(row_std)
    return batch.view(number, height, width, channels).permute(0, 3, 1, 2)


def augment(
    batch: torch.Tensor, generator: torch.Generator, *, flip: bool, shift: int
) -> torch.Tensor:
    """Shift every image by up to `shift` pixels each way and mirror half of them.

    What a shift uncovers is filled by reflection, so no border of a foreign colour appears (as in
    K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498).

    Args:
        batch: N x C x R x R of any type, best channels-last; not changed.
        generator: The only source of randomness; best on the batch's device, where what it draws
            need not travel.
        flip: Mirror left to right with probability 1/2. Off where mirrored images mean something
            else, as digits do.
        shift: In pixels, 0 for none, below R; R / 8 is usual.

    Returns:
        A new batch in the channels-last memory format.

    Raises:
        ValueError: `shift` is negative or not below R.
    """
    number, _, height, width = batch.shape
    if not 0 <= shift < min(height, width):
        raise ValueError(f"a shift is at least 0 and below the resolution {height}, got {shift}")
    rows, columns = _offsets(number, shift, generator)
    where = generator.device
    mirrored = (torch.rand(number, generator=generator, device=where) < 0.5) & flip
    row_index = _reflected(torch.arange(height, device=where) + rows[:, None], height)
    column_index = _reflected(torch.arange(width, device=where) + columns[:, None], width)
    column_index = torch.where(mirrored[:, None], column_index.flip(1), column_index)
    return _gather(batch, row_index.to(batch.device), column_index.to(batch.device))


def _offsets(
    number: int, shift: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.randint(
        -shift, shift + 1, (2, number), generator=generator, device=generator.device
    )
    return drawn[0], drawn[1]


def _reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    return (size - 1) - ((size - 1) - index.abs()).abs()


def _gather(batch: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    channels_last = batch.permute(0, 2, 3, 1)
    image = torch.arange(len(batch), device=batch.device)[:, None, None]
    return channels_last[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
