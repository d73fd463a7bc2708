"""A gradient taken in chunks is the one taken at once, and so is its noise; the chunk follows from the memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from agents import a2c, ppo
from rl_gns.errors import UserError
from rl_gns.noise import Moments
from rl_gns.training import memory
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer
from rl_gns.training.memory import chunk_that_fits, pass_bytes

CPU = torch.device("cpu")


def make(algo: str = "ppo", env: str = "moba:1v1", **settings: Any) -> Trainer:
    options = {"game_length": 10, "threads": 1} if env.startswith("moba") else {}
    values = {"num_envs": 8, "rollout": 6, "noise_budget": 1.0, "past_share": 0.25, "seed": 3, **settings}
    return Trainer(resolve(TrainConfig(env=env, algo=algo, device="cpu", env_options=options, **values)))  # type: ignore[arg-type]


def measured(trainer: Trainer, chunk: int) -> tuple[list[torch.Tensor], Moments]:
    """Gradient and moments at this trainer's rollout, in float64, so that rounding can't hide an error."""
    trainer._take_chunk(chunk)
    settings, policy = trainer.settings, trainer.policy
    batch = trainer.rollout.batch(settings.gamma, settings.gae_lambda)
    policy.zero_grad(set_to_none=True)
    if isinstance(settings, ppo.Settings):
        ppo.measure(policy, batch, settings, backward=trainer.backward)
    else:
        trainer.backward(
            lambda s: a2c.loss(policy, batch[:, s]).total(settings.value_coef, settings.entropy_coef)
        )
    assert trainer.backward.moments is not None
    return [p.grad.clone() for p in policy.parameters() if p.grad is not None], trainer.backward.moments


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
@pytest.mark.parametrize("chunk", [1, 6, 13, 40, 84])  # 14 learnt streams x 6; 2 groups of 42
def test_gradient_and_moments_do_not_depend_on_the_chunk(algo: str, chunk: int) -> None:
    trainer = make(algo, noise_groups=2)
    trainer.policy.double()
    trainer.env.reset()
    trainer._collect()
    whole, expected = measured(trainer, 10**6)
    found, moments = measured(trainer, chunk)
    for a, b in zip(found, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-9 * float(b.abs().max() + 1))
    assert moments.units == expected.units == 8
    assert moments.noise == pytest.approx(expected.noise, rel=1e-5)
    assert moments.signal == pytest.approx(expected.signal, rel=1e-5)


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
@pytest.mark.parametrize("budget", [0.0, 1.0])
def test_training_does_not_depend_on_the_chunk(algo: str, budget: float) -> None:
    """Minibatches are normalised whole: by the chunk, the advantages and so the weights would differ at once."""
    rows = []
    for chunk in (None, 5):
        trainer = make(
            algo, chunk=chunk, noise_budget=budget, **({"minibatches": 2} if algo == "ppo" else {})
        )
        assert trainer.chunk == (5 if chunk else 14 * 6)
        trainer.policy.double()
        for _ in range(2):
            trainer.update()
        rows.append((nn.utils.parameters_to_vector(trainer.policy.parameters()), trainer.take_row()[0]))
    (whole, row), (found, other) = rows
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-7)
    for name, value in row.items():
        assert other[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name


def test_normalising_by_the_chunk_would_be_seen() -> None:
    """The test above can fail: the same minibatch in two halves, each normalised alone, has another gradient."""
    trainer = make()
    trainer.env.reset()
    trainer._collect()
    settings = trainer.settings
    assert isinstance(settings, ppo.Settings)
    flat = trainer.rollout.batch(settings.gamma, settings.gae_lambda).flat()
    halves = flat.advantage.split(42)
    assert not torch.allclose(ppo.normalized(flat.advantage), torch.cat([ppo.normalized(h) for h in halves]))


def test_the_chunk_stays_what_it_was_when_a_run_goes_on() -> None:
    one = make()
    one._take_chunk(7)
    one.update()
    other = make()
    other.load_state_dict(one.state_dict())
    assert other.chunk == 7
    asked = Trainer(dataclasses.replace(other.config, chunk=9))
    asked.load_state_dict(one.state_dict())
    assert asked.chunk == 9


def test_a_run_that_goes_on_where_its_chunk_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so before it trains, not when the memory is gone."""
    one, other = make(), make()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 50 * other._each)
    with pytest.raises(UserError, match=r"gradient of 84 observations at once .* use chunk 50 or less$"):
        other.load_state_dict(one.state_dict())
    smaller = Trainer(dataclasses.replace(other.config, chunk=50))
    smaller.load_state_dict(one.state_dict())
    assert smaller.chunk == 50


def test_bytes_of_a_pass_by_hand() -> None:
    """Two layers 10 -> 20 -> 1 keep the input and the hidden row after its ReLU, and as much again is needed."""
    policy = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 1))
    assert pass_bytes(policy, torch.zeros(64, 10)) == 2 * 4 * (10 + 20)


def test_bytes_of_a_bfloat16_run_are_those_of_its_float32_passes() -> None:
    """It measures in float32, and a2c learns so."""
    one, other = (
        make("a2c", "atari:pong", num_envs=2, rollout=2, past_share=0.2, precision=p)
        for p in ("float32", "bf16")
    )
    assert one._each == other._each


@pytest.mark.parametrize(
    ("asked", "free", "found"),
    [
        (None, 10**9, 640),
        (None, 100 * 500, 250),
        (None, 100 * 100, 64),
        (128, 100 * 200, 128),
        (999, 10**9, 640),
    ],
)
def test_the_chunk_that_fits(asked: int | None, free: int, found: int) -> None:
    assert chunk_that_fits(asked, 640, 64, 100, CPU, free) == found


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    with pytest.raises(
        UserError, match=r"gradient of 512 observations at once .* use chunk 200 or less$"
    ) as e:
        chunk_that_fits(512, 640, 64, 100, CPU, 100 * 200)
    assert "\n" not in str(e.value)
    with pytest.raises(UserError, match="use chunk 50 or less, or a shorter rollout"):
        chunk_that_fits(None, 640, 64, 100, CPU, 100 * 50)
    with pytest.raises(UserError, match="chunk must be at least 1"):
        resolve(TrainConfig(chunk=0))
