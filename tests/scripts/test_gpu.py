"""The GPU check, run on the CPU for a moment, so that it works at first try where there is a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


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
