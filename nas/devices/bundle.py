"""What goes to the board and what comes back: one zip file, and one JSON file.

The bundle holds the agent, the models and the job; `python3 bundle.zip` runs it. Job, models and
result carry hashes: a result that does not belong to the bundle, or was changed, is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.devices import agent
from nas.devices.agent.main import SCHEMA, digest
from nas.devices.agent.session import MOST, Entry, quiet_timings
from nas.devices.agent.timing import Effort, Timing
from nas.errors import ResultError
from nas.export.graph import GraphTarget, Weights, build_graph, random_weights
from nas.files import atomic_path
from nas.space.blocks import Block

PACKAGE = "nas_agent"
MAIN = f"import sys\n\nfrom {PACKAGE}.main import main\n\nsys.exit(main())\n"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every file in a bundle: the same job gives the same bytes."""
LARGEST_RESULT = 200_000_000
LONGEST_MS = 1e7
MOST_MJ = 1e9


@dataclass(frozen=True)
class Item:
    """One thing to time: a block by itself or a whole model.

    Attributes:
        id: Its name in the job and in the result.
        blocks: What it is made of, with random weights; nothing where there is a file.
        file: An ONNX file, which is packed as it is.
    """

    id: str
    blocks: tuple[tuple[str, Block], ...] = ()
    file: Path | None = None


@dataclass(frozen=True)
class Job:
    """What is to be measured, and how.

    Attributes:
        runtime: Name of the runtime.
        threads: Of one inference.
        effort: How long each item is timed.
        seed: Of the order and of the weights.
        target: Which ONNX the runtime accepts.
        reference: The model that shows how fast the machine is.
        items: Everything that is timed.
    """

    runtime: str
    threads: int
    effort: Effort
    seed: int
    target: GraphTarget
    reference: Item
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Result:
    """What a bundle's agent found.

    Attributes:
        machine: What the machine says of itself.
        conditions: What changed, before and after.
        version: Of the runtime.
        reference_ms: Quiet latency of the reference.
        repeated: How many timings there are beyond the rounds.
        unsettled: Share of the items whose timings do not agree.
        timings: Per item, as many as there are rounds, the fastest first: those that agree.
        energies: Millijoules of one inference of an item, where a meter told it.
        meter: Which one.
    """

    machine: dict[str, Any]
    conditions: dict[str, Any]
    version: str
    reference_ms: float
    repeated: int
    unsettled: float
    timings: dict[str, list[Timing]]
    energies: dict[str, float] = field(default_factory=dict)
    meter: str | None = None


def write_bundle(path: Path, job: Job) -> str:
    """Write the bundle, whole or not at all.

    Returns:
        The job's id: the hash of everything in it.
    """
    weights = random_weights(job.seed)
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        _add_agent(archive)
        listed = []
        for number, item in enumerate((job.reference, *job.items)):
            model = _model(item, weights, job.target)
            _add(archive, f"models/{number}.onnx", model)
            listed.append(
                {
                    "id": item.id,
                    "file": f"models/{number}.onnx",
                    "bytes": len(model),
                    "sha256": hashlib.sha256(model).hexdigest(),
                }
            )
        content = {
            "schema": SCHEMA,
            "runtime": job.runtime,
            "threads": job.threads,
            "effort": list(job.effort),
            "seed": job.seed,
            "reference": listed[0],
            "items": listed[1:],
        }
        content["id"] = digest(content)
        _add(archive, "job.json", json.dumps(content).encode())
    return str(content["id"])


def _model(item: Item, weights: Weights, target: GraphTarget) -> bytes:
    """An item as ONNX: the bytes of its file, else a graph of its blocks."""
    if item.file is not None:
        return item.file.read_bytes()
    return bytes(build_graph(item.blocks, weights, target).SerializeToString())


def write_agent(path: Path) -> None:
    """A bundle with nothing to measure: it can still describe the machine."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _add_agent(archive)


def _add_agent(archive: zipfile.ZipFile) -> None:
    _add(archive, "__main__.py", MAIN.encode())
    root = Path(agent.__path__[0])
    for file in sorted(root.rglob("*.py")):
        _add(archive, f"{PACKAGE}/{file.relative_to(root).as_posix()}", file.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content, compresslevel=1)


def read_result(path: Path, job: Job, job_id: str) -> Result:
    """Read and check a result.

    Raises:
        ResultError: It is not one, was changed, is of another bundle, or misses something.
    """
    content = _parse(path)
    if content["job"] != job_id:
        raise ResultError(
            f"{path} is the result of another bundle",
            got=content["job"][:12],
            allowed=job_id[:12],
            do="run the bundle that belongs to this profile",
        )
    return Result(
        content["machine"],
        content["conditions"],
        content["runtime"]["version"],
        content["reference_ms"],
        content["repeated"],
        content["unsettled"],
        _agreeing(_entries(path, content["timings"], job), content["reference_ms"], job),
        *_energies(path, content.get("energy"), {item.id for item in job.items}),
    )


def _entries(path: Path, lines: list[Any], job: Job) -> dict[tuple[int, str], Entry]:
    """All timings, of nothing but the job's items, each of them often enough."""
    found: dict[tuple[int, str], Entry] = {}
    counts = {item.id: 0 for item in job.items}
    for line in lines:
        key, entry = _entry(path, line)
        if key[1] not in counts or key in found or not 0 <= key[0] < MOST:
            raise _broken(path, f"it has a timing that was not asked for: {key[1][:80]}, {key[0]}")
        found[key] = entry
        counts[key[1]] += 1
    short = [item for item, count in counts.items() if count < job.effort.rounds]
    if short:
        raise _broken(path, f"timings of {short[0]} are missing")
    return found


def _agreeing(
    entries: dict[tuple[int, str], Entry], reference_ms: float, job: Job
) -> dict[str, list[Timing]]:
    """Per item the fastest timings of quiet times; of all times where there are too few."""
    quiet = quiet_timings(entries, reference_ms)
    everything = quiet_timings(entries, math.inf)
    rounds = job.effort.rounds
    chosen = {}
    for item in everything:
        timings = quiet.get(item, [])
        chosen[item] = (timings if len(timings) >= rounds else everything[item])[:rounds]
    return chosen


def _parse(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_RESULT:
            raise _broken(path, f"it is larger than {LARGEST_RESULT} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise _broken(path, str(cause.strerror)) from cause
    except (ValueError, RecursionError) as cause:
        raise _broken(path, f"it is not JSON: {cause}") from cause
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise _broken(path, "it is not a result of this version")
    for name, kind in _KINDS.items():
        if type(content.get(name)) is not kind:
            raise _broken(path, f"{name} is missing or of a wrong type")
    unsigned = {name: value for name, value in content.items() if name != "sha256"}
    if content.get("sha256") != digest(unsigned):
        raise _broken(path, "its hash does not fit: it was changed or cut off")
    if not isinstance(content["runtime"].get("version"), str):
        raise _broken(path, "the runtime has no version")
    if not 0 < content["reference_ms"] < LONGEST_MS or not 0 <= content["unsettled"] <= 1:
        raise _broken(path, "a number is out of range")
    for facts in (content["machine"], *content["conditions"].values()):
        if not isinstance(facts, dict) or not all(_is_fact(value) for value in facts.values()):
            raise _broken(path, "the machine is not described by texts and numbers")
    return content


_KINDS = {
    "job": str, "machine": dict, "conditions": dict, "runtime": dict, "threads": int,
    "reference_ms": float, "repeated": int, "unsettled": float, "timings": list,
}  # fmt: skip


def _is_fact(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 500 and value.isprintable()
    return isinstance(value, int | float) and math.isfinite(value)


def _entry(path: Path, line: Any) -> tuple[tuple[int, str], Entry]:
    kinds = [int, str, float, float, float, int, float]
    if not isinstance(line, list) or [type(value) for value in line] != kinds:
        raise _broken(path, f"a timing has another form: {str(line)[:80]}")
    number, item, latency_ms, median_ms, p95_ms, runs, reference_ms = line
    times = latency_ms, median_ms, p95_ms, reference_ms
    if not all(0 < value < LONGEST_MS for value in times) or runs <= 0:
        raise _broken(path, f"a latency is above zero and finite, that of {item[:80]} is not")
    return (number, item), Entry(Timing(latency_ms, median_ms, p95_ms, runs), reference_ms)


def _energies(
    path: Path, energy: Any, known: Container[str]
) -> tuple[dict[str, float], str | None]:
    """Millijoules per item and the meter's name; none at all where the board told none."""
    if energy is None:
        return {}, None
    if not isinstance(energy, dict) or set(energy) != {"meter", "millijoules"}:
        raise _broken(path, "its energies have another form")
    meter, found = energy["meter"], energy["millijoules"]
    if not isinstance(meter, str) or not _is_fact(meter) or not isinstance(found, dict):
        raise _broken(path, "its energies have another form")
    for item, millijoules in found.items():
        if item not in known:
            raise _broken(path, f"it has an energy that was not asked for: {item[:80]!r}")
        if type(millijoules) is not float or not 0 < millijoules < MOST_MJ:
            raise _broken(path, f"an energy is above zero and finite, that of {item[:80]} is not")
    return found, meter


def _broken(path: Path, reason: str) -> ResultError:
    return ResultError(
        f"{path} cannot be used as a result: {reason}",
        allowed="the file that the bundle wrote, unchanged",
        do="run the bundle again: it goes on where it was",
    )
