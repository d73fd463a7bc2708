"""Freed memory is taken again: counted in page faults, in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import torch
from rl_gns.training.allocation import keep_freed_memory
torch.set_num_threads(1)
told = keep_freed_memory() if sys.argv[1] == "kept" else True
def once():
    first = torch.ones(10_000_000)
    return float((first * 2).sum())
for _ in range(10):  # until blocks have found their places
    once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    once()
print(int(told), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_freed_blocks_are_not_faulted_in_again() -> None:
    found = {}
    for how in ("kept", "as it was"):
        done = subprocess.run(
            [sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True, timeout=120
        )
        told, faults = map(int, done.stdout.split())
        assert told
        found[how] = faults
    assert found["kept"] < found["as it was"] / 10
