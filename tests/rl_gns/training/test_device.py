"""Devices: which can't be used, and a run that changes from one to another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rl_gns.errors import UserError
from rl_gns.training import checkpoint
from rl_gns.training.config import TrainConfig
from rl_gns.training.device import pick_device
from rl_gns.training.run import train
from rl_gns.training.sources import of_another_kind, put_back

OF_A_GPU = torch.zeros(16, dtype=torch.uint8)
"""As large as the state of CUDA's generator: a seed and an offset."""


@pytest.mark.parametrize("name", ["meta", "gpu", "cuda:99", "cpu:x"])
def test_what_can_not_be_used(name: str) -> None:
    with pytest.raises(UserError, match=f"device '{name}' can't be used here: ") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)


def test_a_generator_goes_on_or_begins_anew() -> None:
    one, other = torch.Generator().manual_seed(1), torch.Generator()
    put_back(other, one.get_state(), 5, 100)
    assert torch.equal(torch.rand(9, generator=one), torch.rand(9, generator=other))
    assert of_another_kind(one, OF_A_GPU)
    drawn = []
    for anew in ((5, 100), (5, 100), (5, 101), (6, 100), (5, 100, 1)):
        put_back(other, OF_A_GPU, *anew)
        drawn.append(float(torch.rand(1, generator=other)))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("env", ["gym:CartPole-v1", "moba:1v1"])
def test_a_run_of_a_gpu_goes_on_without_one(
    env: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights, worlds and meters go on; what it draws begins anew, which is said."""
    options = {"env_options": {"game_length": 10, "threads": 1}} if env.startswith("moba") else {}
    config = TrainConfig(
        env=env, algo="ppo", num_envs=20, rollout=4, observations=400, device="cpu", **options
    )  # type: ignore[arg-type]
    run = train(config, tmp_path / "run", quiet=True)
    (path,) = (tmp_path / "run" / "checkpoints").glob("*.ckpt")
    state = checkpoint.read(path)
    state["generator"] = state["order"] = OF_A_GPU
    if state["selfplay"]:
        state["selfplay"]["generators"][1] = OF_A_GPU
    before = state["counts"][0]
    checkpoint.save(path.parent, before, state)
    run = train(
        TrainConfig(**{**vars(config), "observations": 800}),
        tmp_path / "run",
        resume=True,
        given=["observations", "device"],
    )
    assert "another kind of device: random numbers begin anew on cpu" in " ".join(
        capsys.readouterr().err.split()
    )
    assert run.metrics()["observations"].max() >= 800 > before
