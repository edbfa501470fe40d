"""What goes to the board and what comes back: one zip file, and one JSON file.

The bundle holds the agent, the models and the job; `python3 bundle.zip` runs it. Job, models and
result carry hashes: a result that does not belong to the bundle, or was changed, is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.devices import agent
from nas.devices.agent.main import SCHEMA, digest
from nas.devices.agent.session import MOST, Entry, by_item, is_settled, quiet_references
from nas.devices.agent.timing import Effort, Timing
from nas.devices.result_file import broken, is_text, read_content, read_entry, same_number
from nas.errors import ResultError
from nas.export.graph import GraphTarget, Weights, build_graph, random_weights
from nas.files import atomic_path
from nas.space.blocks import Block

PACKAGE = "nas_agent"
MAIN = f"import sys\n\nfrom {PACKAGE}.main import main\n\nsys.exit(main())\n"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every file in a bundle: the same job gives the same bytes."""
MOST_MJ = 1e9
SMALL, LARGE = "reference", "large reference"
"""Ids of references. The large one feels what a small one does not: others' use of a cache."""


@dataclass(frozen=True)
class Item:
    """One thing to time: a block, or a whole model.

    Attributes:
        id: Its name in the job and in the result.
        blocks: What it is made of, with random weights; nothing where there is a file.
        file: An ONNX file, which is packed as it is.
        reference: Id of the reference that is timed before and after it.
    """

    id: str
    blocks: tuple[tuple[str, Block], ...] = ()
    file: Path | None = None
    reference: str = SMALL


@dataclass(frozen=True)
class Job:
    """What is to be measured, and how.

    Attributes:
        device: Whose it is: results of two boards are not to be mixed up.
        runtime: Name of the runtime.
        threads: Of one inference.
        effort: How long each item is timed.
        seed: Of the order and of the weights.
        target: Which ONNX the runtime accepts.
        references: The models that show how fast the machine is.
        items: Everything that is timed.
    """

    device: str
    runtime: str
    threads: int
    effort: Effort
    seed: int
    target: GraphTarget
    references: tuple[Item, ...]
    items: tuple[Item, ...]

    @property
    def beside(self) -> dict[str, str]:
        """Per item, the id of its reference."""
        return {item.id: item.reference for item in self.items}


@dataclass(frozen=True)
class Result:
    """What a bundle's agent found.

    Attributes:
        machine: What the machine says of itself.
        conditions: What changed, before and after.
        version: Of the runtime.
        references_ms: Quiet latency of each reference.
        repeated: How many timings there are beyond the rounds.
        unsettled: Share of the items whose timings do not agree.
        timings: Per item, as many as there are rounds, the fastest first: those that agree.
        energies: Millijoules of one inference of an item, where a meter told it.
        meter: Which one.
    """

    machine: dict[str, Any]
    conditions: dict[str, Any]
    version: str
    references_ms: dict[str, float]
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
    with atomic_path(path) as temporary, _new_archive(temporary) as archive:
        _add_agent(archive)
        listed = []
        for number, item in enumerate((*job.references, *job.items)):
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
            "device": job.device,
            "runtime": job.runtime,
            "threads": job.threads,
            "effort": list(job.effort),
            "seed": job.seed,
            "references": listed[: len(job.references)],
            "items": listed[len(job.references) :],
            "beside": job.beside,
        }
        content["id"] = digest(content)
        _add(archive, "job.json", json.dumps(content).encode())
    return str(content["id"])


def _model(item: Item, weights: Weights, target: GraphTarget) -> bytes:
    """An item as ONNX: the bytes of its file, else a graph of its blocks."""
    if item.file is not None:
        return item.file.read_bytes()
    return bytes(build_graph(item.blocks, weights, target).SerializeToString())


@contextlib.contextmanager
def _new_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file that is only finished if nothing went wrong.

    Interrupted in the middle of an entry, `ZipFile` refuses to be closed and hides the Ctrl-C.
    """
    with path.open("wb") as file:
        archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        try:
            yield archive
            archive.close()
        finally:
            archive.fp = None


def is_bundle(path: Path) -> bool:
    """Whether a file is a bundle that was written here."""
    try:
        if not path.is_file():
            return False
        with zipfile.ZipFile(path) as archive:
            return {"__main__.py", "job.json", f"{PACKAGE}/main.py"} <= set(archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def write_agent(path: Path) -> None:
    """A bundle with nothing to measure: it can still describe the machine."""
    with atomic_path(path) as temporary, _new_archive(temporary) as archive:
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
    content = read_content(path)
    if content["job"] != job_id:
        raise ResultError(
            f"{path} is the result of another bundle",
            got=content["job"][:12],
            allowed=job_id[:12],
            do="run the bundle that belongs to this profile",
        )
    if (content["runtime"].get("name"), content["threads"]) != (job.runtime, job.threads):
        raise broken(path, "it is of another runtime or number of threads than its bundle")
    entries = _entries(path, content["timings"], job)
    steadiness = _steadiness(path, content, entries, job)
    return Result(
        content["machine"],
        content["conditions"],
        content["runtime"]["version"],
        *steadiness,
        _fastest(entries, job),
        *_energies(path, content.get("energy"), {item.id for item in job.items}),
    )


def _entries(path: Path, lines: list[Any], job: Job) -> dict[tuple[int, str], Entry]:
    """All timings, of nothing but the job's items, each of them often enough."""
    found: dict[tuple[int, str], Entry] = {}
    counts = {item.id: 0 for item in job.items}
    for line in lines:
        key, entry = read_entry(path, line)
        if key[1] not in counts or key in found or not 0 <= key[0] < MOST:
            which = f"{key[1][:80]!r}, {str(key[0])[:20]}"
            raise broken(path, f"it has a timing that was not asked for: {which}")
        found[key] = entry
        counts[key[1]] += 1
    short = [item for item, count in counts.items() if count < job.effort.rounds]
    if short:
        raise broken(path, f"timings of {short[0]} are missing")
    return found


def _steadiness(
    path: Path, content: dict[str, Any], entries: dict[tuple[int, str], Entry], job: Job
) -> tuple[dict[str, float], int, float]:
    """Quiet references, further timings and unsettled share: as the timings say, not the file."""
    quiet_ms = quiet_references(entries, job.beside)
    told_ms = content["references_ms"]
    repeated = len(entries) - job.effort.rounds * len(job.items)
    unsettled = [
        item
        for item, of_item in by_item(entries).items()
        if not is_settled(of_item, quiet_ms[job.beside[item]], job.effort)
    ]
    share = len(unsettled) / max(1, len(job.items))
    fits = {
        "references_ms": set(told_ms) == set(quiet_ms)
        and all(same_number(told_ms[name], quiet_ms[name]) for name in quiet_ms),
        "repeated": content["repeated"] == repeated,
        "unsettled": same_number(content["unsettled"], share),
    }
    for name in fits:
        if not fits[name]:
            raise broken(path, f"{name} is not what its timings say")
    if share > job.effort.most_unsettled:
        most = f"{job.effort.most_unsettled:.0%}"
        raise broken(path, f"{share:.0%} of the items never took equally long, over {most}")
    return quiet_ms, repeated, share


def _fastest(entries: dict[tuple[int, str], Entry], job: Job) -> dict[str, list[Timing]]:
    """Per item the fastest timings."""
    found = by_item(entries)
    return {item: [e.timing for e in found[item][: job.effort.rounds]] for item in found}


def _energies(
    path: Path, energy: Any, known: Container[str]
) -> tuple[dict[str, float], str | None]:
    """Millijoules per item and the meter's name; none at all where the board told none."""
    if energy is None:
        return {}, None
    if not isinstance(energy, dict) or set(energy) != {"meter", "millijoules"}:
        raise broken(path, "its energies have another form")
    meter, found = energy["meter"], energy["millijoules"]
    if not is_text(meter) or not isinstance(found, dict):
        raise broken(path, "its energies have another form")
    for item, millijoules in found.items():
        if item not in known:
            raise broken(path, f"it has an energy that was not asked for: {item[:80]!r}")
        if type(millijoules) is not float or not 0 < millijoules < MOST_MJ:
            raise broken(path, f"an energy is above zero and finite, that of {item[:80]!r} is not")
    return found, meter
