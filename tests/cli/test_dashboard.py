"""`nas dashboard` hands a run's storage to the Optuna dashboard."""

import contextlib
import signal
import socket
import threading

import optuna
import optuna_dashboard
import pytest


@pytest.fixture
def served(monkeypatch):
    """What would have been served, without a server."""
    calls = []
    monkeypatch.setattr(optuna_dashboard, "run_server", lambda *a, **k: calls.append((a, k)))
    return calls


def test_it_serves_the_runs_trials(nas, finished, served):
    before = (finished / "study.journal").read_bytes()
    answer = nas("dashboard", finished, "--port", "8123")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("http://127.0.0.1:8123/dashboard/studies/0 ")
    [((storage,), options)] = served
    assert options == {"host": "127.0.0.1", "port": 8123}
    summary, again = optuna.get_all_study_summaries(storage)
    assert (summary.n_trials, again.n_trials) == (8, 4)
    assert (summary.study_name, again.study_name) == ("search", "short training")
    assert summary.user_attrs["scored"] == "8 of 8" and summary.user_attrs["front size"] >= 1
    study = optuna.load_study(storage=storage, study_name=summary.study_name)
    assert study.metric_names == ["validation accuracy", "latency_ms jetson-nano"]
    assert (finished / "study.journal").read_bytes() == before


@pytest.mark.parametrize(
    ("host", "warned"), [("localhost", False), ("127.0.0.1", False), ("0.0.0.0", True)]
)
def test_it_warns_when_others_can_reach_it(nas, finished, served, host, warned):
    answer = nas("dashboard", finished, "--host", host)
    assert answer.code == 0
    assert answer.err == (
        f"nas: {host} is reachable from other machines, and the dashboard has no password\n"
        if warned
        else ""
    )


def test_it_stops_also_while_it_answers(nas, finished, monkeypatch):
    """Whatever an answer raises is the answer's: what `wsgiref` does with errors."""
    ended = threading.Event()

    def answering(*_, **__):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        ended.wait()

    monkeypatch.setattr(optuna_dashboard, "run_server", answering)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert nas("dashboard", finished).code == 0
    finally:
        ended.set()
        signal.signal(signal.SIGTERM, before)


def test_what_the_server_raises_is_told(nas, finished, monkeypatch):
    def failing(*_, **__):
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(optuna_dashboard, "run_server", failing)
    answer = nas("dashboard", finished)
    assert answer.code == 2
    assert answer.err.startswith("nas: the dashboard needs a free port: Address already in use; ")


def test_a_port_that_is_taken_is_one_line(nas, finished):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = nas("dashboard", finished, "--port", port)
    assert answer.code == 2 and answer.out == ""
    assert answer.err == (
        f"nas: the dashboard needs a free port: Address already in use; got 'port {port} on "
        f"127.0.0.1'; allowed: one that nobody listens at; try: --port {port + 1}\n"
    )


def test_a_host_that_is_none_is_one_line(nas, finished):
    answer = nas("dashboard", finished, "--host", "no.such.host.invalid")
    assert answer.code == 2
    assert answer.err.splitlines()[-1] == (
        "nas: --host is an address of this machine; got 'no.such.host.invalid'; "
        "allowed: 127.0.0.1, or 0.0.0.0 for all"
    )


def test_a_damaged_journal_is_one_line(nas, served, tmp_path):
    (tmp_path / "study.journal").write_text("garbage\n")
    (tmp_path / "run.yaml").write_text("schema: 1\n")
    answer = nas("dashboard", tmp_path)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(
        f"nas: {tmp_path}/study.journal cannot be read as a study: KeyError "
    )


def test_a_run_without_trials_has_nothing_to_show(refused, tmp_path):
    assert refused("dashboard", tmp_path).startswith(f"{tmp_path} is not the folder of a run; ")
    (tmp_path / "run.yaml").write_text("schema: 1\n")
    assert refused("dashboard", tmp_path) == (
        f"{tmp_path} has no trials to show yet; allowed: a run folder whose search has begun; "
        "try: nas search, and nas dashboard once the supernet is trained"
    )
