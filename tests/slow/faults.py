"""Break searches at random moments, again and again, and check that nothing is lost.

    python tests/slow/faults.py --times 20 --seed 0 --out faults.json

Real processes, real workers of Ray, a real PostgreSQL. For each of three faults, so many searches
of a tiny space:

- worker: kill -9 one of two workers, once or twice;
- driver: kill -9 the search and all that it started, once or twice, then --resume;
- database: stop PostgreSQL for one to six seconds, once or twice, under two searches that share it.

Each search has to end by itself with as many trials as were asked for, none twice, and with every
trial that was finished before the fault as it was then; of two, both, with the same trials.
Prints a line for each; exits 1 where one fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from nas.errors import RunFolderError
from nas.search.study import read_trials
from tests.search.postgres import Postgres

FILES = Path(__file__).resolve().parents[1] / "files"
PROGRAM = "import sys; from nas.cli.main import main; sys.exit(main())"
TRIALS = 40
LIMIT_S = 240
OPTIONS = [
    "search", "--device", "jetson-nano", "--budget", "2.7ms", "--space", FILES / "tiny.yaml",
    "--trials", TRIALS, "--finalists", 1, "--supernet-steps", 5, "--finetune-steps", 1,
    "--threads", 1,
]  # fmt: skip


def start(run: Path, *options: object) -> subprocess.Popen[str]:
    """A search in a process group of its own; what it says goes to a file beside the run."""
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        *map(str, OPTIONS),
        "--out",
        str(run),
        *map(str, options),
    ]
    with run.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, text=True, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def finished(run: Path) -> dict[str, float]:
    """Ids and accuracies of trials that are scored by now, as far as whole lines tell."""
    journal, copy = run / "study.journal", run.with_suffix(".copy")
    if not journal.exists():
        return {}
    content = journal.read_bytes()
    copy.write_bytes(content[: content.rfind(b"\n") + 1])
    with contextlib.suppress(RunFolderError):  # the study is being made
        return {record.id: record.accuracy for record in read_trials(copy)}
    return {}


def scored_in(run: Path) -> int:
    """How many trials a run's own file has."""
    journal = run / "study.journal"
    return journal.read_text().count('"values":[') if journal.exists() else 0


def scored_on(server: Postgres) -> int:
    """How many trials the database has."""
    with psycopg.connect(server.url) as connection, contextlib.suppress(psycopg.Error):
        row = connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone()
        return int(row[0]) if row else 0
    return 0


def told_to(server: Postgres) -> dict[str, float]:
    """Every value of every finished trial of the database."""
    query = (
        "SELECT trial_id, objective, value FROM trials JOIN trial_values USING (trial_id) WHERE "
        "state = 'COMPLETE'"
    )
    with psycopg.connect(server.url) as connection:
        return {f"trial {row[0]}, {row[1]}": row[2] for row in connection.execute(query)}


def wait_for(
    process: subprocess.Popen[str], count: Callable[[], int], wanted: int, chance: random.Random
) -> None:
    """Until so many trials are scored, and a moment more."""
    end = time.monotonic() + LIMIT_S
    while process.poll() is None and count() < wanted and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 0.3))


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill(processes: list[psutil.Process]) -> int:
    done = 0
    for found in processes:
        try:
            found.kill()
            done += 1
        except psutil.NoSuchProcess:
            pass
    return done


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for each in family(process):
        try:
            if "ray::Worker" in " ".join(each.cmdline()):
                found.append(each)
        except psutil.Error:
            pass
    return found


def moments(chance: random.Random) -> list[int]:
    """After how many trials something happens, once or twice."""
    return sorted(chance.sample(range(TRIALS - 4), chance.randint(1, 2)))


Result = tuple[int, int, str]
"""Faults that hit, finished trials that were compared, and `ok` or what is wrong."""


def break_worker(run: Path, chance: random.Random, _: Postgres) -> Result:
    process = start(run, "--workers", 2)
    hits, before = 0, {}
    for moment in moments(chance):
        wait_for(process, lambda: scored_in(run), max(1, moment), chance)
        before |= finished(run)
        found = workers(process)
        hits += kill([chance.choice(found)]) if found else 0
    process.wait(LIMIT_S)
    return hits, len(before), verdict(run, before)


def break_driver(run: Path, chance: random.Random, _: Postgres) -> Result:
    hits, before = 0, {}
    for number, moment in enumerate(moments(chance)):
        workers_or_not = chance.choice([[], ["--workers", 2]])
        process = start(run, *(["--resume"] if number else []), *workers_or_not)
        wait_for(process, lambda: scored_in(run), moment, chance)
        if process.poll() is None:
            others = family(process)
            process.kill()
            process.wait()
            kill(others)
            hits += 1
        before |= finished(run)
    start(run, "--resume").wait(LIMIT_S)
    return hits, len(before), verdict(run, before)


def break_database(run: Path, chance: random.Random, server: Postgres) -> Result:
    known, hits, before = scored_on(server), 0, {}
    shared = ["--storage", server.url, "--seed", chance.randint(0, 10**6)]
    other = run.with_name(f"{run.name}-other")
    process, second = start(run, *shared), start(other, *shared)
    for moment in moments(chance):
        wait_for(process, lambda: scored_on(server) - known, max(1, moment), chance)
        if process.poll() is None:
            before |= told_to(server)
            server.stop(chance.choice(["fast", "immediate"]))
            time.sleep(chance.uniform(1, 6))
            server.start()
            hits += 1
    process.wait(LIMIT_S)
    second.wait(LIMIT_S)
    after = told_to(server)
    lost = [name for name, value in before.items() if after.get(name) != value]
    found = verdict(run, {})
    if lost:
        found = f"lost or changed in the database: {', '.join(lost)}"
    elif found == "ok":
        found = verdict(other, finished(run))
    return hits, len(before), found


FAULTS = {"worker": break_worker, "driver": break_driver, "database": break_database}


def verdict(run: Path, before: dict[str, float]) -> str:
    """`ok`, or what is wrong."""
    if not (run / "front.json").exists():
        lines = run.with_suffix(".log").read_text().splitlines()
        return f"did not end: {lines[-1] if lines else ''}"
    records = read_trials(run / "study.journal")
    now = {record.id: record.accuracy for record in records}
    if len(records) != TRIALS or len(now) != TRIALS:
        return f"{len(records)} trials of {len(now)} architectures"
    lost = [name for name, accuracy in before.items() if now.get(name) != accuracy]
    return f"lost or changed: {', '.join(lost)}" if lost else "ok"


def runs(names: list[str], times: int, seed: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAS_CACHE_DIR"] = f"{folder}/cache"
        server = Postgres(Path(folder))
        try:
            for name in names:
                for number in range(times):
                    run = Path(folder) / f"{name}-{number}"
                    chance = random.Random(f"{seed} {name} {number}")
                    began = time.monotonic()
                    try:
                        hits, compared, found = FAULTS[name](run, chance, server)
                    except subprocess.TimeoutExpired:
                        hits, compared, found = 0, 0, "did not end in time"
                    yield {
                        "fault": name, "number": number, "hits": hits, "compared": compared,
                        "verdict": found, "seconds": round(time.monotonic() - began, 1),
                    }  # fmt: skip
        finally:
            server.stop("immediate")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = []
    for result in runs(options.faults.split(","), options.times, options.seed):
        found.append(result)
        print(json.dumps(result), flush=True)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n")
    return int(any(result["verdict"] != "ok" for result in found))


if __name__ == "__main__":
    sys.exit(main())
