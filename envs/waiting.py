"""Waiting for the next byte of a socket without going to sleep, where it is about to come.

Waking a sleeping process up takes tens of microseconds, on virtual machines more: a tenth of a step of a few games.
"""

from __future__ import annotations

import os
import select
import time

PATIENCE = 1e-3
"""Seconds of looking before sleeping, where others want the processor meanwhile."""
LONG_PATIENCE = 1e-2
"""Where a GPU does their work: each emulator then has a processor of its own. Its gain has not been measured apart."""


class Waiter:
    """Reads one byte at a time. It looks for a while first if the last wait was short, and lets others run between."""

    def __init__(self, descriptor: int, patience: float = PATIENCE) -> None:
        self._descriptor, self._patience = descriptor, patience
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._short = False

    def read(self) -> bytes:
        """The next byte; empty if the other end is closed."""
        start = time.perf_counter()
        while self._short and not self._poll.poll(0):
            self._short = time.perf_counter() - start < self._patience
            os.sched_yield()
        byte = os.read(self._descriptor, 1)
        self._short = time.perf_counter() - start < self._patience
        return byte
