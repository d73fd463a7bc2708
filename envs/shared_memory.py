"""Named NumPy arrays in one anonymous piece of memory that child processes map by file descriptor.

The memory has no name in the file system, so nothing can be left behind, whichever process dies however.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping

import numpy as np

Layout = Mapping[str, tuple[tuple[int, ...], str]]
_ALIGN = 64


def _offsets(layout: Layout) -> tuple[dict[str, int], int]:
    offsets, end = {}, 0
    for name, (shape, dtype) in layout.items():
        offsets[name] = end
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        end += -(-size // _ALIGN) * _ALIGN
    return offsets, max(end, _ALIGN)


def size_of(layout: Layout) -> int:
    """Bytes that `layout` takes."""
    return _offsets(layout)[1]


def create(layout: Layout) -> int:
    """A zeroed file descriptor that holds `layout`. The caller closes it."""
    size = size_of(layout)
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("rl-gns", 0)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


def attach(fd: int, layout: Layout) -> dict[str, np.ndarray]:
    """Map `layout` from a descriptor made by `create`. The arrays keep the mapping alive."""
    offsets, size = _offsets(layout)
    memory = mmap.mmap(fd, size)
    return {
        name: np.frombuffer(memory, dtype, int(np.prod(shape, dtype=np.int64)), offsets[name]).reshape(shape)
        for name, (shape, dtype) in layout.items()
    }
