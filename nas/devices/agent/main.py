"""`python3 bundle.zip`: measure what is in the bundle, and write the result beside it.

Speaks in lines of JSON on standard output: `{"progress": [done, total]}`, `{"error": text}`,
`{"result": path}`. Stopped anywhere, the same command goes on from there. Exit code 0 when the
result is written, 1 with an error, 2 when the bundle is damaged.
"""

import argparse
import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import time
import zipfile
from typing import Any, Callable, Dict, Iterator, List, Optional, TextIO

from .energy import find_meter, measure_energies
from .machine import describe_conditions, describe_machine
from .runtimes import RefusedError, open_runtime
from .session import DisturbedError, Measured, Session, to_line
from .timing import Effort, Run

SCHEMA = 3
SAY_EVERY_S = 0.5
PATIENCE_S = 10.0
DAMAGED = "is not what was packed"
"""How every `DamagedError` ends that another copy of the bundle would mend."""


class DamagedError(Exception):
    """The bundle is not what was packed."""


class BusyError(Exception):
    """Another process measures this bundle: the two would disturb each other."""


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python3 bundle.zip", description=__doc__.split("\n")[0])
    parser.add_argument("--bundle", default=sys.argv[0], help=argparse.SUPPRESS)
    parser.add_argument("--out", help="result to write (default: beside the bundle)")
    parser.add_argument("--describe", metavar="RUNTIME", help="only describe this machine")
    options = parser.parse_args(arguments)
    try:
        if options.describe:
            facts = {"machine": describe_machine(), "conditions": describe_conditions()}
            say({**facts, "runtime": runtime_facts(options.describe)})
            return 0
        out = options.out or os.path.splitext(options.bundle)[0] + ".results.json"
        say({"result": measure(options.bundle, out)})
        return 0
    except BrokenPipeError:  # whoever listened is gone: what was timed is kept
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DamagedError as error:
        say({"error": str(error)})
        return 2
    except (RefusedError, DisturbedError, BusyError) as error:
        say({"error": f"{error}"})
        return 1
    except OSError as error:
        where = f"{error.filename} cannot be used" if error.filename else "the measurement failed"
        say({"error": f"{where}: {error.strerror}; its folder needs space and rights"})
        return 1
    except KeyboardInterrupt:
        return 130


def say(message: Dict[str, Any]) -> None:
    """One line for whoever started this."""
    print(json.dumps(message), flush=True)


def runtime_facts(name: str) -> Dict[str, str]:
    """A runtime's name and version."""
    return {"name": name, "version": open_runtime(name).version()}


def measure(bundle: str, out: str) -> str:
    """Measure everything in a bundle and write the result.

    Returns:
        The path of the result.

    Raises:
        DamagedError: The job or a model is not the one that was packed.
        RefusedError: The runtime is missing or refuses a model.
        DisturbedError: The machine was never quiet.
        BusyError: Another process measures this bundle.
    """
    if os.path.isdir(out):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), out)
    with open(bundle, "rb") as file, claim(out + ".lock") as waited:
        if waited and os.path.exists(out):  # the one that was waited for has written it
            return out
        with unchanged(os.path.basename(bundle)):
            archive = zipfile.ZipFile(file)
            job = read_job(archive)
        runtime = open_runtime(job["runtime"])
        before = describe_conditions()
        load = loader(archive, job, runtime, out + ".work")
        effort = Effort(*job["effort"])
        session = Session(load, effort, job["seed"], out + ".part", job["id"])
        items = [item["id"] for item in job["items"]]
        meter, speaker = find_meter() if effort.energy else None, Speaker()
        later = len(items) if meter else 0
        found = session.measure(job["beside"], lambda done, total: speaker(done, total + later))
        timed, millijoules = len(found.entries), {}
        if meter is not None:
            millijoules = measure_energies(
                items, load, meter, out + ".energy.part", job["id"],
                lambda done: speaker(timed + done, timed + later),
            )  # fmt: skip
        energy = (
            {"meter": meter.name, "millijoules": millijoules} if meter and millijoules else None
        )
        facts = {"name": job["runtime"], "version": runtime.version()}
        conditions = {"before": before, "after": describe_conditions()}
        write_result(out, job, facts, found, conditions, energy)
        for journal in (out + ".part", out + ".energy.part"):
            if os.path.exists(journal):
                os.remove(journal)
        shutil.rmtree(out + ".work", ignore_errors=True)
    return out


@contextlib.contextmanager
def claim(path: str) -> Iterator[bool]:
    """Keep others from measuring for the same result meanwhile, by a lock on a file beside it.

    An agent whose connection was cut notices when it next speaks: that is waited for. Where it was
    cut without a word, the agent goes on for longer. The file stays where the measurement failed.

    Yields:
        Whether another one was waited for.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    waited, end = False, time.monotonic() + PATIENCE_S
    while True:
        file = open(path, "a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            file.close()
            if time.monotonic() >= end:
                raise BusyError(
                    "another process on this machine measures this bundle; try: the same command "
                    "when it has ended"
                ) from cause
            waited = True
            time.sleep(0.1)
            continue
        except OSError:  # a file system without locks
            pass
        if is_still(path, file):
            break
        file.close()  # whoever held it has finished and removed it
    with file:
        yield waited
        os.remove(path)


def is_still(path: str, file: TextIO) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def unchanged(name: str) -> Iterator[None]:
    """Reading changed bytes ends in any of a dozen errors; only the system's have a number."""
    try:
        yield
    except Exception as cause:
        if isinstance(cause, DamagedError) or getattr(cause, "errno", None) is not None:
            raise
        raise DamagedError(f"{name} {DAMAGED}") from cause


def read_job(archive: zipfile.ZipFile) -> Dict[str, Any]:
    """What is to be measured; its id is the hash of all of it."""
    job: Dict[str, Any] = json.loads(archive.read("job.json").decode("utf-8"))
    if job.get("schema") != SCHEMA:
        raise DamagedError("a bundle of another version: {}".format(job.get("schema")))
    if job.get("id") != digest({name: job[name] for name in job if name != "id"}):
        raise DamagedError(f"job.json {DAMAGED}")
    return job


def loader(
    archive: zipfile.ZipFile, job: Dict[str, Any], runtime: Any, work: str
) -> Callable[[str], Run]:
    """Makes models ready by their id, after comparing their bytes with their hash."""
    known = {item["id"]: item for item in job["references"] + job["items"]}
    references = {item["id"] for item in job["references"]}
    load_reference = getattr(runtime, "load_reference", runtime.load)

    def load(name: str) -> Run:
        item = known[name]
        with unchanged(item["file"]):
            if archive.getinfo(item["file"]).file_size != item["bytes"]:
                raise ValueError("another size")
            model = archive.read(item["file"])
            if hashlib.sha256(model).hexdigest() != item["sha256"]:
                raise ValueError("another hash")
        open_model = load_reference if name in references else runtime.load
        run: Run = open_model(model, job["threads"], work)
        return run

    return load


class Speaker:
    """Says how far it is, now and then."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Progress."""
        now = time.monotonic()
        if done == total or now - self.last > SAY_EVERY_S:
            self.last = now
            say({"progress": [done, total]})


def write_result(
    out: str,
    job: Dict[str, Any],
    runtime: Dict[str, str],
    found: Measured,
    conditions: Any,
    energy: Optional[Dict[str, Any]] = None,
) -> None:
    """The result with its own hash, whole or not at all."""
    result: Dict[str, Any] = {
        "schema": SCHEMA,
        "job": job["id"],
        "machine": describe_machine(),
        "conditions": conditions,
        "runtime": runtime,
        "threads": job["threads"],
        "references_ms": found.references_ms,
        "repeated": found.repeated,
        "unsettled": found.unsettled,
        "timings": [to_line(key, found.entries[key]) for key in sorted(found.entries)],
    }
    if energy is not None:
        result["energy"] = energy
    result["sha256"] = digest(result)
    with open(out + ".tmp", "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.replace(out + ".tmp", out)


def digest(content: Dict[str, Any]) -> str:
    """Hash of a JSON object, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
