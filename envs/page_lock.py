"""Page-locked host memory: a GPU fetches from it directly, not through a buffer of the driver's."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch


class PageLock:
    """Locks the pages an array lies in until `release`; where the driver refuses, everything works as without."""

    def __init__(self, array: np.ndarray, runtime: Any = None) -> None:
        """runtime: CUDA's, as `torch.cuda.cudart()` gives it (None: that)."""
        self._runtime = torch.cuda.cudart() if runtime is None else runtime
        self._array = array  # its memory must outlive the lock
        code = self._runtime.cudaHostRegister(array.ctypes.data, array.nbytes, 0)
        self.locked = int(code) == 0
        if not self.locked:
            _forget_the_refusal()

    def release(self) -> None:
        """Unlock; safe to call twice."""
        if self.locked:
            self.locked = False
            self._runtime.cudaHostUnregister(self._array.ctypes.data)


def _forget_the_refusal() -> None:
    """CUDA keeps an error until it is asked for it: the next kernel torch starts would end with this one's."""
    with contextlib.suppress(RuntimeError, AssertionError):  # AssertionError: torch without CUDA, in tests
        torch.zeros(1, device="cuda")
