"""Keeps freed memory in the process: the next pass over a batch takes the same blocks again.

glibc hands blocks of over 32 MiB back to the system as soon as they are freed, so that every page of a network's
activations is faulted in and cleared anew, pass after pass: a quarter of the time of an update on 1,280 pictures. Here
blocks of up to 128 MiB are kept. What lies between them is lost to other sizes, so peak memory may rise.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
# Larger blocks leave larger holes: up to 1 GiB, a run of PPO 64 x 128 took a third more memory at its peak.
_LARGEST, _OLD_LARGEST = 128 << 20, 32 << 20  # glibc before 2.35 takes no more than the latter


def keep_freed_memory() -> bool:
    """Tell malloc so, for the whole process. Whether it could be told."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return False
    taken = mallopt(_MMAP_THRESHOLD, _LARGEST) or mallopt(_MMAP_THRESHOLD, _OLD_LARGEST)
    return bool(taken and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
