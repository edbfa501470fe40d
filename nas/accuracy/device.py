"""Where training runs, and how: processor, CUDA (with mixed precision) or Apple's MPS."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.deterministic

from nas.data import Dataset
from nas.data.augment import HANDWRITING, PHOTOS, to_batch, vary

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt` (malloc.h)."""

MALLOC_VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
"""What glibc reads from the environment for the same purpose (mallopt(3))."""


def use_threads(threads: int) -> None:
    """Let torch work with so many threads in this process, and keep the memory that it frees."""
    torch.set_num_threads(threads)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc use memory again where it would return it to the kernel and ask for it anew.

    Each large tensor's pages are otherwise zeroed by the kernel whenever it is allocated, which is
    half of the time and more of training with large batches (docs/decisions/0022-kept-memory.md).
    Values that the user has set stay; other C libraries are left alone.
    """
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or tuned or any(name in os.environ for name in MALLOC_VARIABLES):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # never


def training_device() -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the processor."""
    if torch.cuda.is_available():
        _repeat_products()
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bfloat16 on GPUs of CUDA that have it; measured on processors, it does not pay.

    Older GPUs can emulate it, but convolve far slower then than in float32.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _repeat_products() -> None:
    """Let CUDA's matrix products be repeatable; else they warn. It is read at the first of them."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Only algorithms whose result does not depend on the order of threads."""
    _repeat_products()
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its type is made when it is loaded
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It only shows who reads memory that nobody wrote, and takes a seventh of a training step.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        memory.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(before, warn_only=warned)


@contextlib.contextmanager
def repeatable_or_fast(device: torch.device) -> Iterator[None]:
    """For long training: repeatable bit for bit on a processor, the fastest algorithms on CUDA.

    Who asked for `deterministic` ones gets these there as well.
    """
    if device.type != "cuda" or torch.are_deterministic_algorithms_enabled():
        with deterministic():
            yield
        return
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


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
