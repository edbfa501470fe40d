"""Random changes of shape and colour, a different one for every image (arXiv:1909.13719).

RandAugment on tensors: all images of a batch at once, with kind and strength of each image drawn on
the batch's device. Nothing mirrors or inverts an image, or rotates it by more than 30 degrees at a
time, so handwriting keeps its meaning.
"""

from __future__ import annotations

import math

import torch
from torch import nn

SHAPES = ("rotate", "shear x", "shear y", "shift x", "shift y")
COLOURS = ("brightness", "contrast", "colour", "posterise", "cutout")
KINDS = ("nothing", *SHAPES, *COLOURS)
ROUNDS = 2
"""Changes of each image, one after the other (the paper's N)."""
DEGREES, SHEAR, SHIFT, FACTOR = 30.0, 0.3, 0.3, 0.9
"""Largest changes: those of the paper's code, but for shifts (its 10 of 32 pixels)."""
LEAST_BITS = 4
HOLE = 0.5
"""Largest side of what is cut out, as a share of the image's (arXiv:1708.04552: 16 of 32)."""
GREY = (0.299, 0.587, 0.114)


def random_augment(
    batch: torch.Tensor, generator: torch.Generator, strength: float
) -> torch.Tensor:
    """Changed images; what a change of shape uncovers repeats the border.

    Args:
        batch: N x 3 x H x W, pixels in 0..1; not changed.
        generator: On the batch's device; the only source of randomness.
        strength: Of all changes, 0 to 1; 0 changes nothing.

    Returns:
        N x 3 x H x W in 0..1, channels-last.

    Raises:
        ValueError: The strength is out of its range.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"a strength is from 0 to 1, got {strength}")
    for _ in range(ROUNDS if strength else 0):
        kinds = torch.randint(
            len(KINDS), (len(batch),), generator=generator, device=generator.device
        )
        drawn = torch.rand(3, len(batch), generator=generator, device=generator.device)
        # The strength itself is drawn too, in both directions, so that weak changes occur as well.
        signed = (2 * drawn[0] - 1) * strength
        batch = _reshape(batch, kinds, signed)
        batch = _recolour(batch, kinds, signed)
        batch = _cut_out(batch, kinds, signed.abs(), drawn[1:])
    return batch.contiguous(memory_format=torch.channels_last)


def _is(kinds: torch.Tensor, name: str) -> torch.Tensor:
    return kinds == KINDS.index(name)


def _reshape(batch: torch.Tensor, kinds: torch.Tensor, signed: torch.Tensor) -> torch.Tensor:
    """Rotate, shear or shift about the centre; other images stay as they are, bit for bit."""
    angle = signed * math.radians(DEGREES) * _is(kinds, "rotate")
    maps = torch.zeros(len(batch), 2, 3, device=batch.device)
    maps[:, 0, 0] = maps[:, 1, 1] = angle.cos()
    maps[:, 0, 1] = signed * SHEAR * _is(kinds, "shear x") - angle.sin()
    maps[:, 1, 0] = signed * SHEAR * _is(kinds, "shear y") + angle.sin()
    # The image is 2 wide in the map's coordinates.
    maps[:, 0, 2] = 2 * SHIFT * signed * _is(kinds, "shift x")
    maps[:, 1, 2] = 2 * SHIFT * signed * _is(kinds, "shift y")
    grid = nn.functional.affine_grid(maps, list(batch.shape), align_corners=False)
    moved = nn.functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)
    changed = (kinds >= KINDS.index(SHAPES[0])) & (kinds <= KINDS.index(SHAPES[-1]))
    return torch.where(_wide(changed), moved, batch)


def _recolour(batch: torch.Tensor, kinds: torch.Tensor, signed: torch.Tensor) -> torch.Tensor:
    """Blend away from black, from the mean grey or from the grey image; or drop low bits."""
    factor = _wide(1 + FACTOR * signed)
    weights = torch.tensor(GREY, device=batch.device)[None, :, None, None]
    grey = (batch * weights).sum(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    out = torch.where(_wide(_is(kinds, "brightness")), batch * factor, batch)
    out = torch.where(_wide(_is(kinds, "contrast")), mean + (batch - mean) * factor, out)
    out = torch.where(_wide(_is(kinds, "colour")), grey + (batch - grey) * factor, out)
    levels = 2.0 ** (8 - ((8 - LEAST_BITS) * signed.abs()).round())
    posterised = (batch * 255 / 256 * _wide(levels)).floor() / (_wide(levels) - 1)
    out = torch.where(_wide(_is(kinds, "posterise")), posterised, out)
    return out.clamp(0, 1)


def _cut_out(
    batch: torch.Tensor, kinds: torch.Tensor, sizes: torch.Tensor, centres: torch.Tensor
) -> torch.Tensor:
    """Grey out a square around a centre, `2 x N` in 0..1, that may lie partly outside."""
    height, width = batch.shape[-2:]
    half = sizes * HOLE / 2 * _is(kinds, "cutout")
    inside = [
        ((torch.arange(size, device=batch.device) + 0.5) / size - centre[:, None]).abs()
        < half[:, None]
        for size, centre in ((height, centres[0]), (width, centres[1]))
    ]
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return batch.masked_fill(hole, 0.5)


def _wide(values: torch.Tensor) -> torch.Tensor:
    """`N` to `N x 1 x 1 x 1`."""
    return values[:, None, None, None]
