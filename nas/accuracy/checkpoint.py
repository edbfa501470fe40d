"""Training state as safetensors: tensors, step, and what they belong to. No pickle."""

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
class Kind:
    """What is in a file: its format, and what messages call it and advise."""

    format: str
    name: str
    do: str


SUPERNET = Kind(FORMAT, "supernet", "leave --supernet out, or give another file")
TRAINING = Kind("nas-training-1", "training's checkpoint", "delete it to begin anew")


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


Parts = dict[str, dict[str, torch.Tensor]]
"""Tensors by kind (`weight`, `momentum`) and name."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write whole or not at all.

    Raises:
        DiskFullError: No space is left.
    """
    parts = {"weight": dict(checkpoint.weights), "momentum": dict(checkpoint.momentum)}
    save_parts(path, SUPERNET, parts, checkpoint.step, checkpoint.belongs_to)


def save_parts(
    path: Path, what: Kind, parts: Parts, step: int, belongs_to: Mapping[str, Any]
) -> None:
    """Write a file of the kind `what`, whole or not at all.

    Raises:
        DiskFullError: No space is left.
    """
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    metadata = {
        "format": what.format,
        "step": str(step),
        "belongs_to": json.dumps(belongs_to, sort_keys=True),
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
    parts, step, belongs_to = load_parts(path, SUPERNET)
    return Checkpoint(parts.get("weight", {}), parts.get("momentum", {}), step, belongs_to)


def load_parts(path: Path, what: Kind) -> tuple[Parts, int, dict[str, Any]]:
    """Tensors, step and owner of a file.

    Raises:
        CheckpointError: It cannot be read or is of another format.
    """
    parts: Parts = {}
    with _opened(path, what) as file:
        step, belongs_to = _head(file.metadata())
        for name in file.keys():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = file.get_tensor(name)
    return parts, step, belongs_to


def read_step(path: Path) -> tuple[int, dict[str, Any]]:
    """How far a checkpoint is and what it belongs to, without its weights.

    Raises:
        CheckpointError: It cannot be read or is no checkpoint of a supernet.
    """
    with _opened(path, SUPERNET) as file:
        return _head(file.metadata())


@contextlib.contextmanager
def _opened(path: Path, what: Kind) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("format", "no format")
            if found != what.format:
                raise CheckpointError(
                    f"{path} is not a {what.name} of this version", got=found, allowed=what.format
                )
            yield file
    except (SafetensorError, OSError) as cause:
        raise CheckpointError(
            f"{path} cannot be read as a {what.name}: {cause}", do=what.do
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
