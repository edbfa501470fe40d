"""Where training runs, and how: processor or CUDA, the latter with mixed precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from nas.data import Dataset
from nas.data.augment import HANDWRITING, PHOTOS, to_batch, vary


def training_device() -> torch.device:
    """CUDA where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bfloat16 where it pays (CUDA); measured on processors, it does not."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Only algorithms whose result does not depend on the order of threads."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def training_batch(
    dataset: Dataset,
    indices: npt.NDArray[np.int64],
    resolution: int,
    seed: int,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augmented, normalised images `N x 3 x R x R` and their labels `N`.

    Everything random comes from `seed`: a step can be repeated without any saved state.
    """
    images = dataset.train.at(resolution)[indices]
    batch = to_batch(images, dataset.mean, dataset.std, device)
    generator = torch.Generator().manual_seed(seed)
    batch = vary(batch, generator, PHOTOS if dataset.flip else HANDWRITING)
    labels = torch.from_numpy(dataset.train.labels[indices]).to(device)
    return batch, labels


def resize(batch: torch.Tensor, resolution: int) -> torch.Tensor:
    """A batch at another resolution, by the filter that images are loaded with."""
    if batch.shape[-1] == resolution:
        return batch
    size = (resolution, resolution)
    small = torch.nn.functional.interpolate(
        batch, size, mode="bilinear", antialias=True, align_corners=False
    )
    return small.contiguous(memory_format=torch.channels_last)
