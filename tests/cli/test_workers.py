"""`nas search --workers`: real workers of Ray, killed and stopped."""

import json
import signal
import time

import psutil
import pytest

from nas.search.study import read_trials

from .test_interrupt import LIMIT_S, interrupt, start, trials_in, wait_until

pytestmark = pytest.mark.xdist_group("ray")


def workers_of(process):
    family = psutil.Process(process.pid).children(recursive=True)
    return [p for p in family if p.is_running() and "ray::Worker" in " ".join(p.cmdline())]


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_a_stopped_search_goes_on(tiny, tmp_path):
    run = tmp_path / "run"
    options = [
        "search", "--device", "jetson-nano", "--budget", "2.7ms", "--space", tiny, "--trials", "40",
        "--finalists", "1", "--supernet-steps", "5", "--finetune-steps", "1", "--threads", "1",
        "--out", str(run), "--json",
    ]  # fmt: skip
    process = start([*options, "--workers", "2"], tmp_path)
    wait_until(lambda: trials_in(run) >= 2, process)
    workers_of(process)[0].send_signal(signal.SIGKILL)
    killed_at = trials_in(run)
    wait_until(lambda: trials_in(run) >= killed_at + 6, process)
    family = psutil.Process(process.pid).children(recursive=True)
    said = interrupt(process, signal.SIGTERM)  # which Ray would answer by itself
    assert "the same command with --resume goes on from there" in said
    gone_by = time.monotonic() + 30
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family):
        assert time.monotonic() < gone_by, "nothing is left running"
        time.sleep(0.2)
    before = read_trials(run / "study.journal")
    process = start([*options, "--resume"], tmp_path)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert json.loads(out) == json.loads((run / "front.json").read_text())
    records = read_trials(run / "study.journal")
    assert records[: len(before)] == before, "nothing finished is lost"
    assert len({record.id for record in records}) == len(records) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--gpus-per-trial", "1"],
            "--gpus-per-trial is for workers; got '1'; try: --workers N or --ray-address",
        ),
        (
            ["--trial-limit", "10m"],
            "--trial-limit is for workers; got '600 s'; try: --workers N or --ray-address",
        ),
        (
            ["--trial-limit", "10", "--workers", "2"],
            "--trial-limit needs a unit; got '10'; allowed: a positive number followed by h, m, "
            "min, s; try: 20m",
        ),
        (
            ["--ray-address", "127.0.0.1:1"],
            "no Ray cluster answers at this address; got '127.0.0.1:1'; allowed: the address of a "
            "cluster that runs, or auto for the one of this machine; try: ray start --head on one "
            "machine, then --ray-address ITS_IP:6379",
        ),
        (
            ["--workers", "0"],
            "argument --workers: a whole number from 1 to 4096 is needed, got '0'",
        ),
        (
            ["--gpus-per-trial", "none"],
            "argument --gpus-per-trial: a number above zero is needed, got 'none'",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(refused, quick, options, message):
    assert refused(*quick, *options).startswith(message)
