"""Training state as safetensors: weights, momentum, step, and what they belong to. No pickle."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nas.errors import CheckpointError
from nas.files import atomic_path

FORMAT = "nas-supernet-1"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        weights: Shared weights by name.
        momentum: The optimiser's buffers by the same names; empty before the first step.
        step: How many steps were done.
        belongs_to: What made it: space, plan, data, settings.
    """

    weights: Mapping[str, torch.Tensor]
    momentum: Mapping[str, torch.Tensor]
    step: int
    belongs_to: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write whole or not at all.

    Raises:
        DiskFullError: No space is left.
    """
    tensors = {f"weight/{k}": v.detach().cpu().contiguous() for k, v in checkpoint.weights.items()}
    tensors |= {f"momentum/{k}": v.cpu().contiguous() for k, v in checkpoint.momentum.items()}
    metadata = {
        "format": FORMAT,
        "step": str(checkpoint.step),
        "belongs_to": json.dumps(checkpoint.belongs_to, sort_keys=True),
    }
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as cause:
            raise _as_os_error(cause) from cause


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: It cannot be read or is no checkpoint of a supernet.
    """
    parts: dict[str, dict[str, torch.Tensor]] = {"weight": {}, "momentum": {}}
    with _opened(path) as file:
        step, belongs_to = _head(file.metadata())
        for name in file.keys():
            kind, _, rest = name.partition("/")
            parts[kind][rest] = file.get_tensor(name)
    return Checkpoint(parts["weight"], parts["momentum"], step, belongs_to)


def read_step(path: Path) -> tuple[int, dict[str, Any]]:
    """How far a checkpoint is and what it belongs to, without its weights.

    Raises:
        CheckpointError: It cannot be read or is no checkpoint of a supernet.
    """
    with _opened(path) as file:
        return _head(file.metadata())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("format", "no format")
            if found != FORMAT:
                raise CheckpointError(
                    f"{path} is not a supernet of this version", got=found, allowed=FORMAT
                )
            yield file
    except (SafetensorError, OSError) as cause:
        raise CheckpointError(
            f"{path} cannot be read as a supernet: {cause}",
            do="leave --supernet out, or give another file",
        ) from cause


def _head(metadata: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    return int(metadata["step"]), json.loads(metadata["belongs_to"])


def check_belongs(path: Path, checkpoint: Checkpoint, expected: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another space, plan or data set.

    Raises:
        CheckpointError: Names the first difference.
    """
    for name, wanted in expected.items():
        found = checkpoint.belongs_to.get(name)
        if found != wanted:
            # The data's own name is in it: where that is the same, the split differs.
            same_data = name == "data_set" and str(found).split()[:-1] == str(wanted).split()[:-1]
            raise CheckpointError(
                f"the supernet {path} was trained for another {name.replace('_', ' ')}"
                + (" or another split of it" if same_data else ""),
                got=str(found),
                allowed=str(wanted),
                do=("the --seed it was trained with, or " if same_data else "")
                + "leave --supernet out, or give one that was trained for this",
            )


def _as_os_error(cause: SafetensorError) -> OSError:
    """A failed write is an error of safetensors' own; the number is in its text."""
    text = str(cause)
    number = text.rpartition("(os error ")[2].partition(")")[0]
    return OSError(int(number) if number.isdigit() else 5, text)
