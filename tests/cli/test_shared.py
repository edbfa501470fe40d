"""Two `nas search` processes with one study in a real PostgreSQL; one is killed."""

import json
import signal

import pytest

from nas.search.study import read_trials
from tests.search.postgres import Postgres, needs_postgres

from .test_interrupt import LIMIT_S, start, wait_until

pytestmark = needs_postgres


@pytest.fixture
def server(tmp_path_factory):
    found = Postgres(tmp_path_factory.mktemp("server"))
    yield found
    found.stop("immediate")


def log_of(run):
    path = run / "log.jsonl"
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_two_searches_end_with_the_same_trials_and_none_twice(server, tiny, tmp_path):
    options = [
        "search", "--device", "jetson-nano", "--budget", "2.7ms", "--space", tiny, "--trials", "24",
        "--finalists", "1", "--supernet-steps", "5", "--finetune-steps", "1", "--threads", "1",
        "--promote", "0", "--storage", server.url, "--json",
    ]  # fmt: skip
    runs = [tmp_path / "one", tmp_path / "two"]
    processes = [start([*options, "--out", str(run)], tmp_path) for run in runs]
    answers = [process.communicate(timeout=LIMIT_S) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    one, two = (read_trials(run / "study.journal") for run in runs)
    assert one == two
    assert len({record.id for record in one}) == len(one) == 24
    assert json.loads(answers[0][0]) == json.loads(answers[1][0])


@pytest.mark.slow
def test_a_killed_search_is_resumed(server, tiny, tmp_path, nas):
    run = tmp_path / "run"
    options = [
        "search", "--device", "jetson-nano", "--budget", "2.7ms", "--space", tiny, "--trials", "30",
        "--finalists", "1", "--supernet-steps", "5", "--finetune-steps", "1", "--threads", "1",
        "--out", str(run),
    ]  # fmt: skip
    process = start([*options, "--storage", server.url], tmp_path)
    wait_until(lambda: "supernet" in log_of(run), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    other = nas(*options, "--resume", "--storage", f"{server.url}2")
    assert other.code == 2 and "does not answer" in other.err
    answer = nas(*options, "--resume")
    assert answer.code == 0, answer.err
    assert len(read_trials(run / "study.journal")) == 30
