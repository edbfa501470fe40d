"""Memory that training frees is used again."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
import sys

import pytest

from nas.accuracy.device import MALLOC_VARIABLES

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="other C libraries have no mallopt: nothing is set there that could be seen",
)

PROGRAM = """
import resource
import torch
from nas.accuracy.device import use_threads

use_threads(1)
assert torch.get_num_threads() == 1

def fill():
    tensors = [torch.ones(1 << 21) for _ in range(3)]  # 8 MiB each
    return sum(tensor[-1].item() for tensor in tensors)

for _ in range(3):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

PAGES = 4 * 3 * (1 << 23) // mmap.PAGESIZE
"""Of all that the loop allocates."""


def faults(**variables: str) -> int:
    """Page faults of the loop in a process of its own."""
    names = (*MALLOC_VARIABLES, "GLIBC_TUNABLES")
    given = {k: v for k, v in os.environ.items() if k not in names}
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**given, **variables},
        check=True,
        capture_output=True,
        text=True,
    )
    return int(output.stdout)


def test_large_tensors_take_no_new_pages_from_the_kernel():
    assert faults() < PAGES / 100


@pytest.mark.parametrize(
    "variables",
    [
        {"MALLOC_MMAP_THRESHOLD_": "1048576"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576"},
    ],
)
def test_what_the_user_has_set_for_malloc_stays(variables: dict[str, str]):
    assert faults(**variables) > PAGES / 2
