"""How many threads are used."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores"
)
def test_cores_that_a_process_may_not_use_do_not_count():
    code = (
        "import os; from nas.threads import usable_cores; "
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"1\n"
