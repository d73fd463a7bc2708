"""The processes that play Atari games: who plays which, how they end, and what is said of one that died."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import envs
from envs.atari_crew import WorkerDied, deal
from envs.batched import EnvError


def test_one_process_needs_no_worker_and_three_share_each_half() -> None:
    with envs.make("atari:pong", 4, workers=1) as env:
        assert not env._crew.workers
    for num_envs, members in ((8, 2), (16, 3), (5, 4), (512, 2)):
        hands = deal(num_envs, members, 1 / members)
        assert sorted(i for hand in hands for i in hand) == list(range(num_envs))
        for rows in (range(num_envs), range(-(-num_envs // 2))):
            counts = [sum(i in rows for i in hand) for hand in hands]
            assert max(counts) - min(counts) <= 1
    assert [len(hand) for hand in deal(64, 2, 0.25)] == [16, 48]
    assert deal(3, 2, 0.0)[0] == ()


def test_who_plays_no_game_is_one_more_than_they_need() -> None:
    with envs.make("atari:pong", 2, workers=16, own_share=0.0) as env:
        assert len(env._crew.workers) == 2  # type: ignore[attr-defined]
    with envs.make("atari:pong", 2, workers=16) as env:
        assert len(env._crew.workers) == 1  # type: ignore[attr-defined]


def test_closed_games_say_so() -> None:
    env = envs.make("atari:pong", 2, workers=2)
    env.reset()
    workers = env._crew.workers
    env.close()
    env.close()
    assert all(worker.poll() == 0 for worker in workers)
    with pytest.raises(EnvError, match="closed"):
        env.step(torch.zeros(2, dtype=torch.int64))


def test_a_killed_worker_is_named_with_its_exit_code() -> None:
    with envs.make("atari:pong", 4, workers=2) as env:
        env.reset()
        os.kill(env._crew.workers[0].pid, signal.SIGKILL)
        env._crew.workers[0].wait()
        with pytest.raises(WorkerDied, match=r"environments 0, 2 ended \(exit code -9\)"):
            env.step(torch.zeros(4, dtype=torch.int64))


def test_signals_that_ask_to_end_are_the_parents_to_handle() -> None:
    """Its checkpoint needs the workers' games: they end when it hangs up, and a signal to its group spares them."""
    with envs.make("atari:pong", 4, workers=2) as env:
        env.reset()
        worker = env._crew.workers[0]
        assert os.getpgid(worker.pid) != os.getpgid(0)
        for asked_to_end in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            worker.send_signal(asked_to_end)
        env.step(torch.zeros(4, dtype=torch.int64))
        assert len(env.state_dict()["games"]) > 0
    assert worker.poll() == 0


def test_workers_end_at_once_where_the_program_has_forked() -> None:
    """The child holds its end of the socket."""
    env = envs.make("atari:pong", 2, workers=2)
    env.reset()
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    try:
        worker, start = env._crew.workers[0], time.monotonic()
        env.close()
        assert worker.poll() == 0
        assert time.monotonic() - start < 4  # 5 s later it would have been killed
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_workers_end_with_their_parent() -> None:
    program = (
        "import envs, time\n"
        "env = envs.make('atari:pong', 3, workers=3); env.reset()\n"
        "print(*[r.pid for r in env._crew.workers], flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
