"""A result as a file: JSON that comes from somewhere else, so nothing in it is believed."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

from nas.devices.agent.main import SCHEMA, digest
from nas.devices.agent.session import Entry
from nas.devices.agent.timing import LEAST_S, Timing
from nas.errors import ResultError

LARGEST_RESULT = 200_000_000
SHORTEST_MS, LONGEST_MS = 1e3 * LEAST_S * (1 - 1e-9), 1e7
MOST_RUNS = 10**9
MOST_FACTS, LARGEST_FACT = 100, 1e18
LONGEST_NAME, LONGEST_TEXT = 100, 500


def read_content(path: Path) -> dict[str, Any]:
    """A result's parts, each of the right form; whether they fit a job is not known yet.

    Raises:
        ResultError: It cannot be read, is no result, or was changed.
    """
    content = _parse(path)
    if set(content["conditions"]) != {"before", "after"}:
        raise broken(path, "its conditions are not those before and after")
    for facts in (content["machine"], *content["conditions"].values()):
        if not _are_facts(facts):
            raise broken(path, "the machine is not described by short texts and numbers")
        for name in ("power_mode", "jetson_clocks"):
            if not isinstance(facts.get(name, ""), str):
                raise broken(path, f"its {name} is not a text")
    if not is_text(content["runtime"].get("version"), LONGEST_NAME):
        raise broken(path, "the runtime has no version")
    return content


def check_file(path: Path) -> None:
    """Refuse what cannot be a result's file, without opening it.

    Raises:
        ResultError: There is none, it is a folder or a device, or too large.
    """
    try:
        found = path.stat()
    except OSError as cause:
        raise broken(path, str(cause.strerror)) from cause
    if not stat.S_ISREG(found.st_mode):
        raise broken(path, "it is not a regular file")
    if found.st_size > LARGEST_RESULT:
        raise broken(path, f"it is larger than {LARGEST_RESULT} bytes")


def _parse(path: Path) -> dict[str, Any]:
    check_file(path)
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(LARGEST_RESULT).decode("utf-8"))
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise broken(path, "it is not a result of this version")
        for name, kind in _KINDS.items():
            if type(content.get(name)) is not kind:
                raise broken(path, f"{name} is missing or of a wrong type")
        unsigned = {name: value for name, value in content.items() if name != "sha256"}
        if content.get("sha256") != digest(unsigned):
            raise broken(path, "its hash does not fit: it was changed or cut off")
    except OSError as cause:
        raise broken(path, str(cause.strerror)) from cause
    except (ValueError, RecursionError) as cause:
        raise broken(path, f"it is not JSON: {cause}") from cause
    return content


_KINDS = {
    "job": str, "machine": dict, "conditions": dict, "runtime": dict, "threads": int,
    "references_ms": dict, "repeated": int, "unsettled": float, "timings": list,
}  # fmt: skip


def is_text(value: Any, longest: int = LONGEST_TEXT) -> bool:
    """Whether it is a text that can be shown."""
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def _are_facts(facts: Any) -> bool:
    if not isinstance(facts, dict) or len(facts) > MOST_FACTS:
        return False
    return all(is_text(name, LONGEST_NAME) and _is_fact(value) for name, value in facts.items())


def _is_fact(value: Any) -> bool:
    if type(value) in (int, float):
        return bool(abs(value) <= LARGEST_FACT)
    return is_text(value)


def read_entry(path: Path, line: Any) -> tuple[tuple[int, str], Entry]:
    """Round and item of a timing, and the timing.

    Raises:
        ResultError: It has another form, or no machine takes so long.
    """
    kinds = [int, str, float, float, float, int, float]
    if not isinstance(line, list) or [type(value) for value in line] != kinds:
        raise broken(path, "a timing has another form")
    number, item, latency_ms, median_ms, p95_ms, runs, reference_ms = line
    times = latency_ms, median_ms, p95_ms, reference_ms
    if not all(SHORTEST_MS <= value < LONGEST_MS for value in times):
        raise broken(path, f"a latency is above zero and finite, that of {item[:80]!r} is not")
    if not 0 < runs <= MOST_RUNS:
        raise broken(path, f"the number of runs of {item[:80]!r} is out of range")
    return (number, item), Entry(Timing(latency_ms, median_ms, p95_ms, runs), reference_ms)


def same_number(told: Any, found: float) -> bool:
    """Whether a board's arithmetic and ours agree; NaN agrees with nothing."""
    return type(told) is float and math.isclose(told, found, rel_tol=1e-6, abs_tol=1e-9)


def broken(path: Path, reason: str) -> ResultError:
    """The error for a result that cannot be used."""
    return ResultError(
        f"{path} cannot be used as a result: {reason}",
        allowed="the file that the bundle wrote, unchanged",
        do="run the bundle again and import what it writes then",
    )
