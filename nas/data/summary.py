"""What a data set is, in a few lines, for people who are about to spend hours on it."""

from __future__ import annotations

import numpy as np

from nas.data.dataset import DatasetIndex
from nas.data.indexing import name_broken
from nas.units import plural

UNEVEN = 3
"""Ratio of the largest class to the smallest from which plain accuracy says too little of the
smaller ones. Our choice."""


def describe(index: DatasetIndex) -> list[str]:
    """Two to five lines: images and splits, how even the classes are, forms, what was left out."""
    splits = ", ".join(f"{len(split.items):,} {split.name}" for split in index.splits())
    images = sum(len(split.items) for split in index.splits())
    lines = [
        f"Data {index.name}: {images:,} images of {len(index.classes)} classes ({splits}); "
        f"{_classes(index)}",
        _forms(index),
    ]
    if index.note:
        lines.append(index.note)
    if index.left_out:
        images = len(index.left_out)
        lines.append(
            f"Left out: {plural(images, 'broken image')} "
            f"({name_broken(index.left_out)}); data.json lists all."
        )
    return lines


def imbalance(index: DatasetIndex) -> float:
    """Training images of the largest class for each of the smallest."""
    counts = np.bincount(index.train.labels, minlength=len(index.classes))
    return float(counts.max() / counts.min())


def _classes(index: DatasetIndex) -> str:
    counts = np.bincount(index.train.labels, minlength=len(index.classes))
    low, high = int(counts.argmin()), int(counts.argmax())
    if counts[low] == counts[high]:
        return f"{counts[low]:,} training images in each."
    return (
        f"{counts[low]:,} ({index.classes[low]}) to {counts[high]:,} ({index.classes[high]}) "
        f"training images in each, a ratio of {imbalance(index):.3g}."
    )


def _forms(index: DatasetIndex) -> str:
    forms = index.forms
    counts = ", ".join(f"{number:,} {form}" for form, number in forms.counts.items())
    if forms.smallest == forms.largest:
        return f"Shorter sides: {forms.smallest} pixels; {counts}."
    return (
        f"Shorter sides: {forms.smallest} to {forms.largest} pixels, median {index.source_size}; "
        f"{counts}."
    )
