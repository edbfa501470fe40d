"""The files of a run, measured over ssh and adb: a real sshd and adbd on this machine."""

from nas.devices.agent.machine import describe_processor
from nas.search.verify import find_verifier, verify_run

from ..devices.conftest import QUICK
from ..devices.transports.conftest import (  # noqa: F401
    adb,
    adb_board,
    adbd,
    far,
    ssh_board,
    sshd,
)
from .test_verify import latencies, run, searched, settings, table  # noqa: F401


def test_on_a_board_and_nothing_stays_behind(run, table, far):  # noqa: F811
    seen = []
    verify_run(run, find_verifier(table, far.transport), QUICK, lambda *n: seen.append(n))
    assert seen[-1] == (6, 6)
    for latency in latencies(run, table).values():
        measured = latency["measured"]
        assert measured["latency_ms"] > 0
        assert measured["machine"] == describe_processor()
    assert far.leftovers() == []
    assert not run.verification.exists()
