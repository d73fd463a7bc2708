"""How much memory worlds take, said before any is taken."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from envs.batched import EnvError
from envs.moba import state as st
from envs.moba.options import Options

OBSERVATIONS_ALIVE = 3
"""Observations held at once: the last, the next, and those of ended games."""


def bytes_per_world(options: Options) -> dict[str, int]:
    """Bytes of one world: "state", what defines it; "observation" of all its heroes; "total" at a step's peak."""
    sizes = {
        key: int(np.prod(shape)) * np.dtype(dtype).itemsize
        for key, (shape, dtype) in st.shapes(options).items()
    }
    both = 2 * options.heroes
    observation = both * options.layout.size * 2
    step = both * (3 * 8 + 8 + 3 * 4 + 2)  # actions, rewards in whole numbers, three float32, two flags
    state = sum(sizes.values())
    return {
        "state": state,
        "observation": observation,
        "total": state + OBSERVATIONS_ALIVE * observation + step,
    }


def available() -> int:
    """Bytes this process may still take: of the machine's memory, or of its control group's if that is less.

    Of several processes that torchrun started here each may take its part.
    """
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in lines:
            free = int(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text().strip(), (group / "memory.current").read_text()
        if limit != "max":
            free = min(free, int(limit) - int(used))
    except OSError:
        pass
    return free // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be taken on `device`, those among them that torch keeps for its next tensors."""
    if device.type != "cuda":
        return available()
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def refuse_if_too_big(spec: str, num_envs: int, size: dict[str, int], free: int) -> None:
    """Raises EnvError, with the number that fits, if `num_envs` worlds do not fit into `free` bytes."""
    if num_envs * size["total"] > free:
        raise EnvError(
            f"{num_envs} worlds of {spec} take {num_envs * size['total'] / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free; {free // size['total']} worlds fit"
        )
