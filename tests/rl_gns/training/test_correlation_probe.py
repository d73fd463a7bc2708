"""The correlation probe inside a run: exact on the chain, resumable, and harmless to training."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch

import rl_gns
from rl_gns.cli import main
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.correlation import predictions
from rl_gns.training.loop import Trainer


def test_predictions_equal_the_chains_exact_ones(still_trainer, truth) -> None:
    trainer = still_trainer("chain", 16, 6, 16)
    trainer.correlation.every, trainer.correlation.envs = 1, 16
    for _ in range(250):
        trainer.update()
    found = predictions(trainer.state_dict()["correlation"]).set_index("rollout")
    for rollout in (1, 2, 4, 6):
        exact = truth(trainer, rollout)
        assert found.loc[rollout, "design_effect"] == pytest.approx(float(exact.design_effect), rel=0.1)
        assert found.loc[rollout, "noise_scale"] == pytest.approx(exact.b_simple, rel=0.1)
        assert not found.loc[rollout, "extrapolated"]
    assert found.loc[16, "extrapolated"]
    trainer.close()


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_training_is_the_same_bits_with_it(algo) -> None:
    final = []
    for every in (0, 2):
        config = TrainConfig(
            env="gym:CartPole-v1",
            algo=algo,
            num_envs=4,
            rollout=8,
            correlation_every=every,
            correlation_envs=3,
        )
        trainer = Trainer(resolve(config))
        for _ in range(6):
            trainer.update()
        final.append([p.detach().clone() for p in trainer.policy.parameters()])
        trainer.close()
    assert all(torch.equal(a, b) for a, b in zip(*final, strict=True))


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_the_mean_of_the_steps_is_the_rollouts_gradient(algo) -> None:
    """PPO's with the advantages that it learns from, normalised over the rollout."""
    config = TrainConfig(
        env="gym:CartPole-v1",
        algo=algo,
        num_envs=4,
        rollout=5,
        minibatches=1,
        correlation_every=1,
        noise_groups=4,
        noise_budget=1.0,
    )
    trainer = Trainer(resolve(config))
    trainer.update()
    gram = trainer.correlation.gram
    assert trainer.backward.moments is not None
    assert float(gram.covariance.mean()) == pytest.approx(trainer.backward.moments.noise, rel=1e-4)
    assert float(gram.products.mean()) == pytest.approx(trainer.backward.moments.signal, rel=1e-3)
    trainer.close()


def test_it_is_saved_resumed_and_printed(tmp_path: Path, capsys) -> None:
    config = TrainConfig(
        env="gym:CartPole-v1",
        num_envs=4,
        observations=800,
        log_every=100,
        correlation_every=4,
        tensorboard=False,
    )
    whole = rl_gns.train(config, tmp_path / "whole", quiet=True)
    rl_gns.train(dataclasses.replace(config, observations=400), tmp_path / "parts", quiet=True)
    parts = rl_gns.train(config, tmp_path / "parts", resume=True, quiet=True)
    pd.testing.assert_frame_equal(whole.correlation(), parts.correlation())
    main(["noise", str(whole.path)])
    said = capsys.readouterr().out
    assert "predicted at other rollout lengths" in said
    lags, time = whole.autocorrelation()
    assert list(lags.index) == [0, 1, 2, 3, 4]
    assert lags[0] == 1
    assert f"{lags[1]:.2g}, {lags[2]:.2g}" in said
    assert f"integrated correlation time {time:.3g} steps" in said


def test_one_environment_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", "gym:CartPole-v1", "--num-envs", "1", "--correlation-every", "5"])
    assert "at least 2" in capsys.readouterr().err


def test_an_environment_of_several_streams_counts_all_of_them() -> None:
    """The predicted noise scale at the length that was measured is the meter's own."""
    config = TrainConfig(
        env="moba:3v3",
        algo="ppo",
        num_envs=4,
        rollout=8,
        noise_groups=4,
        past_share=0.0,
        noise_budget=1.0,
        correlation_every=1,
        threads=1,
        env_options={"threads": 1},
    )
    trainer = Trainer(resolve(config))
    try:
        trainer.update()
        moments, found = trainer.backward.moments, predictions(trainer.correlation.state_dict())
        assert moments is not None
        here = found.set_index("rollout").loc[8]
        assert here["signal"] == pytest.approx(moments.signal, rel=1e-3)
        ratio = moments.noise / moments.signal
        assert here["noise_scale"] == pytest.approx(trainer.unit_observations * ratio, rel=1e-3)
        assert here["num_envs"] == pytest.approx(ratio, rel=1e-3)
    finally:
        trainer.close()
