"""Noise parts: the settings and units of their meters, weights of terms and passes, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from agents import ppo
from rl_gns.errors import UserError
from rl_gns.noise.line_search import improvement_table
from rl_gns.training import parts as parts_module
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

Made = Callable[..., Trainer]


@pytest.fixture
def trainer_of() -> Iterator[Made]:
    made: list[Trainer] = []

    def make(**changes: Any) -> Trainer:
        settings = {"env": "gym:CartPole-v1", "num_envs": 4, "rollout": 8, "noise_budget": 1.0, "threads": 1}
        made.append(Trainer(resolve(TrainConfig(**(settings | {"noise_parts_every": 1} | changes)))))
        return made[-1]

    yield make
    for trainer in made:
        trainer.close()


def test_every_meter_has_the_runs_confidence_its_half_life_and_counts_its_cadence(trainer_of: Made) -> None:
    names = "policy,value,total,layers,optimizer,normalized,fisher,line-search"
    trainer = trainer_of(
        noise_parts=names, confidence=0.8, num_envs=8, noise_groups=4, noise_parts_every=3000
    )
    trainer.update()
    config = trainer.config
    assert config.halflife != config.parts_halflife
    for name, meter in trainer.parts.meters.items():
        state, always = meter.state_dict(), name == "normalized"  # from the main measurement, at every update
        assert state["confidence"] == 0.8
        assert state["halflife"] == (config.halflife if always else config.parts_halflife)
        assert state["now"] == (64 if always else 3000 * 64)
    assert list(trainer.parts.meters["line-search"].batches) == [16, 32]  # groups of two environments x 8


def test_a_part_of_a_world_with_several_streams_has_their_observations_in_a_unit(trainer_of: Made) -> None:
    settings = {"algo": "ppo", "num_envs": 10, "rollout": 16, "env_options": {"threads": 1}}
    trainer = trainer_of(env="moba:1v1", noise_parts="policy,normalized", **settings)
    assert trainer.unit_observations > 16
    for meter in trainer.parts.meters.values():
        assert meter.state_dict()["unit_observations"] == trainer.unit_observations


def test_the_entropys_gradient_is_weighted_as_it_is_in_the_loss(trainer_of: Made) -> None:
    noises = []
    for weight in (0.01, 0.02):
        trainer = trainer_of(noise_parts="entropy", entropy_coef=weight)
        trainer.update()
        noises.append(dict(trainer.parts.rows())["entropy"]["noise"])
    assert noises[1] / noises[0] == pytest.approx(4, rel=1e-4)


def test_a_loss_taken_in_unequal_passes_is_the_mean_over_all(
    trainer_of: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "ROWS_AT_ONCE", 24)
    trainer = trainer_of(noise_parts="line-search", num_envs=8, noise_groups=4)
    seen: list[float] = []

    def spy(gradients: Any, loss_at: Any, sizes: Any, scale: float) -> Any:
        seen.append(loss_at(None))
        return improvement_table(gradients, loss_at, sizes, scale)

    monkeypatch.setattr(parts_module, "improvement_table", spy)
    trainer.env.reset()
    trainer._collect()
    settings = trainer.settings
    batch = trainer.rollout.batch(settings.gamma, settings.gae_lambda)
    trainer.parts.measure(batch)
    with torch.no_grad():
        terms = ppo.loss(trainer.policy, batch[:, 4:8], math.inf)
        wanted = terms.total(settings.value_coef, settings.entropy_coef).mean().item()
    assert seen[0] == pytest.approx(wanted, rel=1e-5)


def test_rows_have_the_readings_limits_the_right_way_round(trainer_of: Made) -> None:
    trainer = trainer_of(noise_parts="policy")
    for _ in range(12):
        trainer.update()
    row, reading = dict(trainer.parts.rows())["policy"], trainer.parts.meters["policy"].read()
    assert (row["noise_scale_low"], row["noise_scale_high"]) == (reading.low, reading.high)
    assert reading.low < reading.high


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_parts": "polcy,value"}, "unknown part 'polcy' in noise_parts; did you mean 'policy'"),
        ({"noise_parts": "zzz"}, "unknown part 'zzz' in noise_parts; there are policy"),
        ({"noise_parts": "epochs"}, "'epochs' is for ppo"),
        (
            {"noise_parts": "hessian", "num_envs": 3},
            "'hessian' needs at least 4 groups of environments, got 3",
        ),
        ({"noise_parts": "normalized", "num_envs": 1}, "at least two groups of environments"),
        (
            {"noise_parts": "normalized", "noise_budget": 0.0, "noise_parts_every": 5},
            "'normalized' is of the main measurement, which noise_budget 0 switches off",
        ),
        ({"noise_parts": "policy", "num_envs": 1}, "at least two groups of environments"),
        ({"noise_parts": "policy", "noise_parts_every": 0}, "noise_parts_every must be at least 1"),
        ({"noise_parts": "policy", "noise_budget": 0.0}, "set noise_parts_every"),
    ],
)
def test_bad_input_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve(TrainConfig(**changes))
    assert "\n" not in str(caught.value)
