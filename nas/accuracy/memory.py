"""Making do with the memory of a device: fewer images at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from nas.errors import MemoryFullError

T = TypeVar("T")
LEAST = 2
"""Batch norm needs more than one value for each channel, which one image may not have."""


@dataclass
class Split:
    """In how many parts a step's images go through the network; more where memory ran out.

    Attributes:
        device: Whose memory it is.
        images: Of a step.
        say: Hears what a user should know.
        parts: How many.
    """

    device: torch.device
    images: int
    say: Callable[[str], None] = lambda text: None
    parts: int = 1

    def shares(
        self, images: torch.Tensor, labels: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
        """The parts, and the share of the step's images in each."""
        pieces = zip(images.tensor_split(self.parts), labels.tensor_split(self.parts), strict=True)
        for some, their_labels in pieces:
            yield some, their_labels, len(some) / len(images)

    def run(self, action: Callable[[], T]) -> T:
        """Do something in as few parts as fit, from its beginning each time.

        Raises:
            MemoryFullError: Not even a few images fit.
        """
        done: list[T] = []
        while not self._fits(lambda: done.append(action())):
            self._halve()
        return done[0]

    def _fits(self, action: Callable[[], None]) -> bool:
        """Whether memory was enough; what the action held is given back when this ends."""
        try:
            action()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _halve(self) -> None:
        size = -(-self.images // self.parts)
        if 2 * self.parts * LEAST > self.images:
            raise memory_full(self.device, size)
        self.parts *= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = -(-self.images // self.parts)
        self.say(
            f"Out of memory with {size} images at a time: going on with {half}, still "
            f"{self.images} for each step."
        )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device had no memory left: only CUDA's error has a class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        text in str(error) for text in ("MPS backend out of memory", "can't allocate memory")
    )


@contextlib.contextmanager
def memory_errors(device: torch.device) -> Iterator[None]:
    """Turn a lack of memory that fewer images at a time do not help into one line.

    Raises:
        MemoryFullError: The device has too little memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise memory_full(device) from error


def memory_full(device: torch.device, size: int | None = None) -> MemoryFullError:
    """The error that says so.

    Args:
        device: Whose memory it is.
        size: With how many images at a time.
    """
    return MemoryFullError(
        f"training does not fit into the memory of the device ({device.type})",
        got=None if size is None else f"{size} images at a time",
        do="a smaller architecture or resolution, or end what else uses the device",
    )
