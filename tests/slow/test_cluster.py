"""A search on an existing Ray cluster of two nodes (of this machine), one of which goes away."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from nas.search.study import read_trials
from tests.cli.test_interrupt import start, trials_in, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RAY = Path(sys.executable).with_name("ray")
TRIALS = 40
TOKEN = {**os.environ, "RAY_AUTH_MODE": "token"}
TINY = str(Path(__file__).parents[1] / "files" / "tiny.yaml")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Cluster:
    """Nodes with one CPU each, on the loopback."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="nasray")  # short: names of sockets are limited
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        self.nodes = []
        self.add("--head", "--port", port, "--include-dashboard=false", "--temp-dir", self.folder)

    def add(self, *options):
        """Start a node; it joins unless it is the head."""
        options = options or ("--address", self.address)
        command = [
            str(RAY), "start", *options, "--num-cpus", "1", "--block", "--disable-usage-stats",
        ]  # fmt: skip
        log = Path(self.folder, f"node{len(self.nodes)}.log").open("w")
        with log:
            node = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=TOKEN
            )
        self.nodes.append(node)
        return node

    def cpus(self):
        """How many the cluster says it has."""
        command = [str(RAY), "status", "--address", self.address]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=TOKEN)
        [*_, line] = [t for t in done.stdout.splitlines() if "CPU" in t] or [" 0/0 CPU"]
        return float(line.split()[0].split("/")[1])

    def wait_for(self, cpus):
        """Until it has so many."""
        deadline = time.monotonic() + 120
        while self.cpus() < cpus:
            assert time.monotonic() < deadline, f"no {cpus} nodes"
            time.sleep(1)

    def close(self):
        for node in reversed(self.nodes):
            self.remove(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self, node):
        """Kill it and all that belongs to it at once, as when the power fails."""
        try:
            os.killpg(node.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        node.wait()


@pytest.fixture
def cluster():
    subprocess.run([str(RAY), "get-auth-token", "--generate"], check=True, capture_output=True)
    found = Cluster()
    try:
        found.wait_for(1)
        found.add()
        found.wait_for(2)
        yield found
    finally:
        found.close()


def test_a_cluster_scores_as_this_process_does_and_may_lose_a_node(cluster, tmp_path, monkeypatch):
    options = [
        "search", "--device", "jetson-nano", "--budget", "2.7ms", "--space", TINY, "--trials",
        str(TRIALS), "--finalists", "2", "--supernet-steps", "20", "--finetune-steps", "40",
        "--threads", "1", "--json",
    ]  # fmt: skip
    run = tmp_path / "cluster"
    options += ["--out", str(run), "--ray-address", cluster.address]
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)  # a Ray of a test before leaves it
    refused = start(options, tmp_path)
    _, err = refused.communicate(timeout=120)
    assert refused.returncode == 2 and not run.exists()
    assert err.startswith("nas: this Ray cluster wants its token; got "), err
    assert "try: RAY_AUTH_MODE=token nas search" in err and err.count("\n") == 1
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    process = start(options, tmp_path)
    wait_until(lambda: trials_in(run) >= 12, process)
    cluster.remove(cluster.nodes[1])
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert json.loads(out)["models"]
    records = read_trials(run / "study.journal")
    assert len(records) == len({record.id for record in records}) == TRIALS
    again = read_trials(run / "study.journal", "short training")
    assert len(again) == 4
    alone = tmp_path / "alone"
    process = start([*options[:-4], "--out", str(alone)], tmp_path)
    process.communicate(timeout=300)
    scores = {r.id: r.accuracy for r in read_trials(alone / "study.journal")}
    same = [record for record in records if record.id in scores]
    assert len(same) >= 10
    assert all(scores[record.id] == record.accuracy for record in same)
