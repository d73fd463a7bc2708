"""How much of an action is decided by what is seen, against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rl_gns
from agents.distributions import Categorical, Gaussian, Joint
from agents.frames import Frames
from agents.ranks import Ranks
from rl_gns.cli import main
from rl_gns.training import seeing as seeing_module
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.evaluate import evaluate
from rl_gns.training.loop import Trainer
from rl_gns.training.seeing import Seeing, in_rollout

ALL = torch.ones(2, dtype=torch.bool)


def added(*rows: list[float]) -> Seeing:
    seeing = Seeing()
    seeing.add(
        Categorical(torch.tensor(rows).clamp_min(1e-30).log()), torch.ones(len(rows), dtype=torch.bool)
    )
    return seeing


def test_by_hand() -> None:
    certain = added([1.0, 0.0], [0.0, 1.0])
    assert certain.information == pytest.approx(math.log(2))
    assert certain.entropy == pytest.approx(math.log(2))
    assert str(certain) == "the actions' entropy is 0.693 nats, of which what is seen takes 0.6931"
    blind = added([0.25, 0.75], [0.25, 0.75])
    assert blind.information == pytest.approx(0, abs=1e-7)
    assert str(blind).endswith("takes 0.0000: it plays blind")
    part = added([0.5, 0.5], [0.0, 1.0])
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) - math.log(2) / 2
    assert part.information == pytest.approx(expected)


@given(
    st.lists(st.lists(st.floats(-4, 4), min_size=3, max_size=3), min_size=1, max_size=8), st.integers(0, 8)
)
def test_it_is_the_mean_divergence_from_the_mean_policy_however_it_is_cut(
    rows: list[list[float]], cut: int
) -> None:
    logits = torch.tensor(rows, dtype=torch.float64)
    p = logits.softmax(-1)
    divergence = (p * (p.log() - p.mean(0).log())).sum(-1).mean()
    seeing = Seeing()
    for some in (logits[:cut], logits[cut:]):
        seeing.add(Categorical(some), torch.ones(len(some), dtype=torch.bool))
    assert seeing.information == pytest.approx(float(divergence), abs=1e-9)
    assert seeing.decisions == len(rows)


def test_only_games_still_played_count() -> None:
    seeing = Seeing()
    logits = torch.tensor([[0.0, 5.0], [5.0, 0.0], [0.0, 5.0]])
    seeing.add(Categorical(logits), torch.tensor([True, False, True]))
    assert seeing.decisions == 2
    assert seeing.information == pytest.approx(0, abs=1e-7)


def test_parts_add_up_and_reals_say_nothing() -> None:
    seen, unseen = Categorical(torch.tensor([[9.0, 0.0], [0.0, 9.0]])), Categorical(torch.zeros(2, 3))
    joint, alone = Seeing(), Seeing()
    joint.add(Joint([seen, unseen]), ALL)
    alone.add(seen, ALL)
    assert joint.information == pytest.approx(alone.information, abs=1e-6)
    assert joint.entropy == pytest.approx(alone.entropy + math.log(3), abs=1e-6)
    reals = Seeing()
    reals.add(Gaussian(torch.zeros(2, 1), torch.zeros(1)), ALL)
    assert math.isnan(reals.information)
    assert str(reals) == ""


@pytest.mark.parametrize("network", ["blind", "mlp"])
def test_eval_says_whether_a_run_plays_blind(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig(
        env="gym:CartPole-v1",
        network=network,
        num_envs=4,
        observations=4_000,
        learning_rate=2e-2,
        tensorboard=False,
    )
    run = rl_gns.train(config, tmp_path / "run", quiet=True)
    seeing = Seeing()
    games = evaluate(run, 3, seeing=seeing)
    assert seeing.decisions == sum(game.length for game in games)
    main(["eval", str(tmp_path / "run"), "--episodes", "3"])
    assert f"\n{seeing}\n" in capsys.readouterr().out
    assert (seeing.information > 2e-3) == (network == "mlp")
    assert str(seeing).endswith("it plays blind") == (network == "blind")


def trainer(**settings: Any) -> Trainer:
    """After two updates of 4 CartPoles."""
    config = {"env": "gym:CartPole-v1", "num_envs": 4, "rollout": 5, "learning_rate": 2e-2, "device": "cpu"}
    made = Trainer(resolve(TrainConfig(**{**config, **settings})))
    for _ in range(2):
        made.update()
    with torch.no_grad():  # whose decisions start out nearly alike whatever they see
        for name, weight in made.policy.named_parameters():
            weight.mul_(50 if name == "action.linear.weight" else 1)
    return made


def alone(made: Trainer) -> float:
    """The same observation by observation, as the mean divergence from the mean policy."""
    obs, rollout = made.rollout.obs, made.rollout
    if isinstance(obs, Frames):
        obs = obs.stacks(rollout.terminated | rollout.truncated).tensor()
    assert isinstance(obs, torch.Tensor)
    rows = [made.policy(one[None])[0].tables[0][0].detach().double() for one in obs.flatten(0, 1)]
    p = torch.stack(rows).exp()
    return float((p * (p.log() - p.mean(0).log())).sum(-1).mean())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"algo": "ppo", "minibatches": 2},
        {"network": "blind"},
        {"env": "atari:pong", "start_spread": 200, "num_envs": 2, "learning_rate": 1e-3},
        {
            "overlap": "learn",
            "env": "atari:pong",
            "start_spread": 200,
            "learning_rate": 1e-4,
            "num_envs": 2,
            "algo": "ppo",
            "rollout": 8,
            "minibatches": 2,
        },
    ],
    ids=str,
)
def test_a_row_says_what_the_last_rollout_tells_of_actions(settings: dict[str, Any]) -> None:
    made = trainer(**settings)
    found, expected = made.take_row()[0]["information"], alone(made)
    made.close()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert (expected > 1e-5) == (settings.get("network") != "blind")


def test_nothing_is_said_before_an_update_and_of_actions_that_are_numbers() -> None:
    fresh = Trainer(resolve(TrainConfig(env="gym:CartPole-v1", num_envs=2, device="cpu")))
    assert math.isnan(fresh.take_row()[0]["information"])
    numbers = trainer(env="gym:Pendulum-v1")
    assert math.isnan(numbers.take_row()[0]["information"])


def test_of_a_large_rollout_every_few_streams_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(num_envs=7)
    assert made._learnt is not None
    every_third = made._learnt[:, ::3]
    expected = in_rollout(made.policy, every_third).information
    assert expected != in_rollout(made.policy, made._learnt).information
    monkeypatch.setattr(seeing_module, "MOST", 15)  # of 35 observations: two streams or three
    assert in_rollout(made.policy, made._learnt).information == pytest.approx(expected)


def test_looking_changes_no_training() -> None:
    seen, unseen = trainer(), trainer()
    seen.take_row()
    for made in (seen, unseen):
        made.update()
    for a, b in zip(seen.policy.parameters(), unseen.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_table_of_a_run_has_it(tmp_path: Path) -> None:
    config = TrainConfig(
        env="gym:CartPole-v1", num_envs=4, observations=400, log_every=100, tensorboard=False
    )
    metrics = rl_gns.train(config, tmp_path / "run", quiet=True).metrics()
    assert (metrics["information"] > 0).all()
    assert (metrics["information"] < metrics["entropy"].iloc[0]).all()


def test_a_network_whose_units_died_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--num-envs 2 --rollout 5 --start-spread 100 --observations 300 --log-every 20 --threads 1 --device cpu"
    for name, more, told in (
        ("dead", "--rmsprop torch --learning-rate 0.05", 1),
        ("learning", "--learning-rate 1e-4", 0),
        ("control", "--network blind --learning-rate 1e-4", 0),
    ):
        out = str(tmp_path / name)
        main(["train", "atari:pong", *words.split(), *more.split(), "--out", out])
        assert capsys.readouterr().err.count("the network makes the same of whatever it is shown") == told, (
            more
        )


def test_a_dead_layer_makes_the_same_of_everything_and_a_world_of_one_sight_does_too() -> None:
    made = trainer(env="atari:pong", start_spread=200, num_envs=2, learning_rate=1e-4)
    assert made._learnt is not None
    assert not in_rollout(made.policy, made._learnt).same
    alike = made._learnt[:1, :1]
    assert not in_rollout(made.policy, alike).same, "one observation can't be told from itself"
    with torch.no_grad():
        for name, weight in made.policy.named_parameters():
            if name.startswith("torso.") and name.endswith("bias"):
                weight.fill_(-1e3)
    assert in_rollout(made.policy, made._learnt).same
    assert made.take_row()[0]["information"] == pytest.approx(0, abs=1e-6)
    assert made.look.same
    made.close()


def test_values_alone_can_tell_observations_apart() -> None:
    made = trainer(env="gym:Pendulum-v1")
    assert made._learnt is not None
    assert not in_rollout(made.policy, made._learnt).same
    with torch.no_grad():
        for name, weight in made.policy.named_parameters():
            weight.mul_(0 if "value" in name else 1)
    assert in_rollout(made.policy, made._learnt).same, "all that is known of actions that are numbers"


class Other(Ranks):
    """Another rank that saw as much as this one, `off` away."""

    def __init__(self, off: float) -> None:
        super().__init__()
        self.off = off

    def gather(self, value: Any) -> list[Any]:
        low, high, _ = value
        return [value, (low + self.off, high + self.off, True)]


def test_ranks_that_see_different_things_and_say_the_same_are_blind_together() -> None:
    obs, table = torch.zeros(2, 3), torch.full((2, 2), 0.5).log()
    for off, same in ((0.0, True), (1e-3, False)):
        assert seeing_module._same(Categorical(table), torch.ones(2, 1), obs, Other(off)) == same
