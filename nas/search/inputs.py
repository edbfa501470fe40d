"""What a run was begun with, told apart by hashes from what is there now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sized
from typing import Any

from nas.errors import InputError
from nas.latency.table import LatencyTable, load_table
from nas.space import SearchSpace, load_space


def input_digests(space: SearchSpace, tables: Mapping[str, LatencyTable]) -> dict[str, str]:
    """Hashes of the space and of each device's table: what a run goes on with unchanged."""
    digests = {_table_of(device, tables): table_digest(table) for device, table in tables.items()}
    return {"search space": space_digest(space), **digests}


def _table_of(device: str, devices: Sized) -> str:
    return "latency table" if len(devices) == 1 else f"latency table of {device}"


def space_digest(space: SearchSpace) -> str:
    """Of what the file says, not of how it is written."""
    text = json.dumps(space.content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def table_digest(table: LatencyTable) -> str:
    """Of the table's files."""
    files = sorted(table.folder.glob("*.yaml")) + sorted(table.folder.glob("*.csv"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def changed_inputs(run: Mapping[str, Any]) -> list[str]:
    """What to say of a space or table that is not what a run was begun with: "the ... changed".

    Args:
        run: Content of its `run.yaml`.
    """
    settings, begun = run["settings"], run.get("inputs", {})
    found = {"search space": _now(space_digest, load_space, settings["space"])}
    for device in settings["device"]:
        what = _table_of(device, settings["device"])
        found[what] = _now(table_digest, load_table, device)
    return [
        f"the {what} {'changed' if now else 'is gone or broken'}"
        for what, now in found.items()
        if begun.get(what) != now
    ]


def _now(digest: Callable[[Any], str], load: Callable[[str], Any], name: str) -> str | None:
    try:
        return digest(load(name))
    except InputError:
        return None
