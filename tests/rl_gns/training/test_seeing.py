"""How much of an action is decided by what is seen, against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rl_gns
from agents.distributions import Categorical, Gaussian, Joint
from rl_gns.cli import main
from rl_gns.training.config import TrainConfig
from rl_gns.training.evaluate import evaluate
from rl_gns.training.seeing import Seeing

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
