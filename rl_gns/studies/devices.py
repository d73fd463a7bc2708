"""Which device each run of this machine gets: several share a GPU, all GPUs are loaded alike. It starts nothing."""

from __future__ import annotations

from rl_gns.errors import UserError

JOBS_PER_GPU = 4


def gpu_count() -> int:
    """GPUs that torch can use here."""
    import torch

    return torch.cuda.device_count()


class Devices:
    """Hands out devices, at most `per_gpu` runs to a GPU, the least loaded first, and takes them back."""

    def __init__(self, asked: str, gpus: int, per_gpu: int = JOBS_PER_GPU) -> None:
        """asked: the study's device: cpu, auto, cuda (any GPU) or cuda:1 (that one); gpus: how many there are.

        Raises:
            UserError: a GPU is asked for that isn't there, per_gpu < 1.
        """
        if per_gpu < 1:
            raise UserError(f"jobs-per-gpu must be at least 1, got {per_gpu}")
        if asked == "auto":
            asked = "cuda" if gpus else "cpu"
        name, _, number = asked.partition(":")
        if name == "cuda" and (not gpus or (number.isdigit() and int(number) >= gpus)):
            raise UserError(f"the study's device {asked!r} can't be used here: there are {gpus} GPUs")
        self._per_gpu, self._asked = per_gpu, asked
        chosen = [asked] if number else [f"cuda:{i}" for i in range(gpus)]
        self._load: dict[str, set[str]] = {device: set() for device in chosen} if name == "cuda" else {}

    @property
    def slots(self) -> int | None:
        """Runs that the GPUs take at once; None on a CPU, whose processors are the limit."""
        return len(self._load) * self._per_gpu or None

    def take(self, run: str) -> str:
        """The device of a run about to start."""
        if not self._load:
            return self._asked
        device = min(self._load, key=lambda name: len(self._load[name]))
        self._load[device].add(run)
        return device

    def give_back(self, run: str) -> None:
        """Its run has ended."""
        for runs in self._load.values():
            runs.discard(run)
