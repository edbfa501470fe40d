"""What a run was begun with, told apart by hashes from what is there now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nas.errors import InputError
from nas.latency.table import LatencyTable, load_table
from nas.space import SearchSpace, load_space


def input_digests(space: SearchSpace, table: LatencyTable) -> dict[str, str]:
    """Hashes of the space and of the table: a run goes on only with what it was begun with."""
    text = json.dumps(space.file.model_dump(mode="json", by_alias=True), sort_keys=True)
    files = sorted(table.folder.glob("*.yaml")) + sorted(table.folder.glob("*.csv"))
    content = b"".join(file.read_bytes() for file in files)
    return {
        "search space": hashlib.sha256(text.encode()).hexdigest()[:16],
        "latency table": hashlib.sha256(content).hexdigest()[:16],
    }


def changed_inputs(run: Mapping[str, Any]) -> list[str]:
    """Which of space and table are not what a run was begun with, or are gone.

    Args:
        run: Content of its `run.yaml`.
    """
    settings, begun = run["settings"], run.get("inputs", {})
    try:
        now = input_digests(load_space(settings["space"]), load_table(settings["device"]))
    except InputError:
        return ["search space or latency table"]
    return [what for what, digest in now.items() if begun.get(what) != digest]
