"""The GPU check, run on the CPU for a moment, so that it works at first try where there is a GPU."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.mark.slow
def test_every_check_runs_and_can_fail() -> None:
    import gpu_checks

    results = {name: check() for name, check in gpu_checks.checks("cpu", tiny=True).items()}
    assert len(results) == 14
    assert all(row["ok"] for row in results.values()), results
    # The CPU against itself with one weight moved: the comparison must notice.
    moved = gpu_checks.policy_on

    def other(device: str) -> torch.nn.Module:
        policy = moved(device)
        calls.append(device)
        if len(calls) > 2:
            with torch.no_grad():
                next(policy.parameters()).mul_(1.01)
        return policy

    calls: list[str] = []
    gpu_checks.policy_on = other
    try:
        assert not gpu_checks.learning("cpu", "a2c", 2, 4)["ok"]
    finally:
        gpu_checks.policy_on = moved


class Trains:
    """A trainer on a machine that slows down: an update takes 1, 2, 4 … s, of which a quarter emulates."""

    def __init__(self, clock: Any, updates: int = 0) -> None:
        self.clock, self.updates, self.observations = clock, updates, 0
        self.config, self.device = SimpleNamespace(batch=120), torch.device("cpu")
        self.seconds = {"emulate": 0.0, "learn": 0.0}
        self.tally = SimpleNamespace(recent=[], score=0.0)

    def update(self) -> None:
        self.clock.now += 2.0**self.updates
        self.seconds["emulate"] += 2.0**self.updates / 4
        self.updates, self.observations = self.updates + 1, self.observations + self.config.batch

    def take_row(self) -> None:
        self.tally.recent.append(1)
        self.tally.score = min(19.0, self.tally.score + 1.0)

    def close(self) -> None:
        pass


def test_a_share_is_of_the_neighbour_in_time(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    emulated = iter([60.0, 10.0, 75.0])
    alone: Any = SimpleNamespace(rate=lambda seconds: next(emulated))
    monkeypatch.setattr(gpu, "time", clock)
    monkeypatch.setattr(gpu, "resolve", lambda config: config)
    monkeypatch.setattr(gpu, "Trainer", lambda config: Trains(clock))
    found = gpu.training(gpu.TrainConfig(env="atari:pong", device="cpu"), alone, seconds=16.0)
    # Two updates warm up; then 4, 8 and 16 s for 120 observations each, beside 60, 10 and 75.
    assert (found["sps"], found["low"], found["high"]) == (15.0, 7.5, 30.0)
    assert (found["share"], found["share_low"], found["share_high"]) == (0.5, 0.1, 1.5)
    assert (found["emulation"], found["phases"]) == (60.0, {"emulate": 0.25, "learn": 0.0})
    said = gpu.said_of_row(found)
    assert said == "     15 SPS (8-30), 50% (10%-150%) of 60; emulate 25%, learn 0%"


def test_emulation_alone_plays_on_from_one_action_to_the_next(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu

    played: list[int] = []

    def step(row: torch.Tensor) -> None:
        played.append(int(row[0]))
        clock.now += 0.5

    alone = gpu.Emulation.__new__(gpu.Emulation)
    alone.env = SimpleNamespace(step=step, num_envs=3, device=torch.device("cpu"))  # type: ignore[assignment]
    alone._actions = torch.arange(6)[:, None].expand(6, 3)
    monkeypatch.setattr(gpu, "time", clock)
    assert alone.rate(3.0) == 3 / 0.5
    assert played == [0, 1, 2, 3, 4, 5, 0, 1]


def test_pong_is_won_by_the_mean_of_a_hundred_games(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    def trainer(config: Any) -> Trains:
        made = Trains(clock)
        made.update = lambda: setattr(clock, "now", clock.now + 1.0)  # type: ignore[method-assign]
        return made

    monkeypatch.setattr(gpu, "time", clock)
    monkeypatch.setattr(gpu, "Trainer", trainer)
    found = gpu.pong("cpu", goal=19.0, seconds=500.0, tiny=False)
    assert (found["reached"], found["seconds"]) == (True, 100.0)
    late = gpu.pong("cpu", goal=19.0, seconds=50.0, tiny=False)
    assert (late["reached"], late["seconds"], late["score"]) == (False, 50.0, 19.0)
    assert gpu.said_of(late) == "pong got to 19.0, not to 19, in 50 s and 0 observations"


def test_distance_is_the_largest_of_all_by_the_largest() -> None:
    from gpu_checks import distance

    assert distance(torch.tensor([1.0, -4.0, 2.0]), torch.tensor([1.0, -5.0, 2.0])) == 0.2


@pytest.mark.slow
def test_the_whole_command_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCH / "gpu.py"), "--device", "cpu", "--tiny", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert all(row["ok"] for row in found["checks"].values())
    assert len(found["speed"]) == 8
    assert all(row["sps"] > 0 and row["share"] > 0 for row in found["speed"])
    assert found["pong"]["observations"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_it_says_so_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gpu

    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    gpu.main()
    assert (
        capsys.readouterr().out == "no GPU here (torch.cuda.is_available() is False): nothing was measured\n"
    )
