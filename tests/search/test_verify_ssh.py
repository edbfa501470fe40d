"""The files of a run, measured over ssh: a real sshd on loopback."""

from nas.devices.agent.machine import describe_processor
from nas.search.verify import find_verifier, verify_run

from ..devices.conftest import QUICK
from ..devices.transports.test_ssh import board, leftovers, pytestmark, server  # noqa: F401
from .test_verify import latencies, run, searched, settings, table  # noqa: F401


def test_over_ssh_and_nothing_stays_behind(run, table, board, server):  # noqa: F811
    seen = []
    verify_run(run, find_verifier(table, board), QUICK, lambda *n: seen.append(n))
    assert seen[-1] == (6, 6)
    for latency in latencies(run, table).values():
        measured = latency["measured"]
        assert measured["latency_ms"] > 0
        assert measured["machine"] == describe_processor()
    assert leftovers(server) == []
    assert not run.verification.exists()
