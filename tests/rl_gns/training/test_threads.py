"""Idle threads are put to sleep and come back."""

import os
import threading

import pytest
import torch

from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.threads import emulator_options, openmp_library, sleeper


@pytest.mark.skipif(openmp_library() is None, reason="torch does not use GNU OpenMP here")
def test_threads_end_and_start_again() -> None:
    threads = torch.get_num_threads()
    x = torch.randn(2000, 2000)
    try:
        torch.set_num_threads(2)
        expected = (x + 1).sum()
        before = len(os.listdir("/proc/self/task"))
        sleeper()()
        for _ in range(100):
            if len(os.listdir("/proc/self/task")) < before:
                break
            threading.Event().wait(0.02)
        assert len(os.listdir("/proc/self/task")) < before
        assert torch.equal((x + 1).sum(), expected)
        assert len(os.listdir("/proc/self/task")) == before
    finally:
        torch.set_num_threads(threads)


def test_without_the_library_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl_gns.training.threads.openmp_library", lambda: None)
    sleeper()()


def test_emulators_get_the_processors_that_this_process_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    def options(device: str, env: str = "atari:pong", **settings: object) -> dict[str, object]:
        return emulator_options(resolve(TrainConfig(env=env, **settings)), torch.device(device))  # type: ignore[arg-type]

    everyone = len(os.sched_getaffinity(0))
    assert options("cpu") == options("cuda") == {"workers": everyone}
    assert options("cpu", overlap="act", threads=3) == {"workers": 3, "own_share": 0.0}
    # A GPU does this process's work: it only waits, and its processor emulates too.
    assert options("cuda", overlap="learn", threads=3) == {"workers": 4, "own_share": 0.0}
    assert options("cuda", env="gym:CartPole-v1") == {}
    # Processes that torchrun started here share the processors, unless each was given its own number.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(9))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert options("cpu") == {"workers": 9}  # not torchrun's: a batch system's
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    assert options("cpu") == {"workers": 4}
    assert options("cpu", threads=3) == {"workers": 3}
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "20")
    assert options("cpu") == {"workers": 1}
