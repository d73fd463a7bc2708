"""A study file is refused in one line that names the key and what it must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl_gns.errors import UserError
from rl_gns.studies.plan import correlation_cell
from rl_gns.studies.spec import load
from rl_gns.studies.study import load_study

GOOD = """
env = "gym:CartPole-v1"
goals = [50, 100]
observations = 10_000
[grid]
num_envs = [4, 8]
rollout = [5]
seeds = [1]
"""


def refusal(tmp_path: Path, text: str) -> str:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path)) or str(path) in message
    return message


def test_good_file_and_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(GOOD)
    spec = load(path)
    assert (spec.goals, spec.num_envs, spec.learning_rates) == ((50.0, 100.0), (4, 8), None)
    config = spec.config(8, 5, 1e-3, 1)
    assert (config.stop_score, config.stop_halflife, config.observations) == (100.0, spec.halflife, 10_000)
    assert load_study(tmp_path).results == tmp_path / "results"


def test_equal_batches_at_every_rollout_length(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(GOOD.replace("num_envs = [4, 8]", "batch = [40, 160]").replace("[5]", "[5, 20]"))
    spec = load(path)
    assert spec.cells == [(2, 20), (8, 5), (8, 20), (32, 5)]
    assert {n * t for n, t in spec.cells} == {40, 160}
    assert (spec.num_envs, spec.rollout) == ((2, 8, 32), (5, 20))
    runs = load_study(tmp_path).plan({})
    assert {(run.num_envs, run.rollout) for run in runs} == set(spec.cells)
    assert correlation_cell(spec) == (2, 20)
    path.write_text(GOOD.replace("num_envs = [4, 8]", "batch = [20]").replace("[5]", "[5, 20]"))
    assert correlation_cell(load(path)) == (1, 20)


def test_seeds_are_taken_to_the_last_digit(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(GOOD.replace("seeds = [1]", "seeds = [9007199254740992, 9007199254740993]"))
    assert load(path).seeds == (9007199254740992, 9007199254740993)


def test_budget_in_updates_caps_small_batches(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(GOOD.replace("observations", "updates = 300\nobservations"))
    spec = load(path)
    assert [spec.config(n, 5, 1e-3, 1).observations for n in (4, 8)] == [6_000, 10_000]


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("goals", "gaols", "unknown key 'gaols'; did you mean 'goals'"),
        ("num_envs", "numenvs", "'grid.numenvs'; did you mean 'num_envs'"),
        ("num_envs = [4, 8]", "num_envs = []", "grid.num_envs must be a list of at least one number"),
        ("num_envs = [4, 8]", "num_envs = [4, 4]", "holds a value twice"),
        ("num_envs = [4, 8]", "num_envs = [4.5]", "whole numbers"),
        ("rollout = [5]", "rollout = []", "grid.rollout must be a list of at least one number"),
        ("seeds = [1]", "seeds = []", "grid.seeds must be a list of at least one number"),
        ("goals = [50, 100]", "goals = []", "goals must be a list of at least one number"),
        (
            "seeds = [1]",
            "seeds = [1]\nlearning_rate = []",
            "grid.learning_rate must be a list of at least one",
        ),
        ("seeds = [1]", "seeds = [1]\n[correlation]\nevry = 2", "'correlation.evry'; did you mean 'every'"),
        (
            "seeds = [1]",
            "seeds = [1]\n[correlation]\nenvs = 1",
            "envs must be a whole number of at least 2",
        ),
        (
            "seeds = [1]",
            "seeds = [1]\n[correlation]\nevery = 0.5",
            "correlation.every must be a whole number",
        ),
        (
            "[grid]\nnum_envs = [4, 8]",
            "[correlation]\n[grid]\nnum_envs = [1]",
            "needs at least two environments",
        ),
        ("rollout = [5]", "rollout = [0]", "grid.rollout must hold whole numbers of at least 1"),
        ("rollout = [5]", "", "grid.rollout must be a list of at least one number, got nothing"),
        ("seeds = [1]", "seeds = 1", "grid.seeds must be a list"),
        ("goals = [50, 100]", "goals = [100, 50]", "goals must ascend"),
        ("goals = [50, 100]", "goals = [50, 100]\ntitle = 3", "title must be one line of text, got 3"),
        ("goals = [50, 100]", 'goals = [50, 100]\ntitle = ""', "title must be one line of text, got ''"),
        ("seeds = [1]", "seeds = [1]\n[auto]\npoints = 2.7", "auto.points must be a whole number, got 2.7"),
        (
            "seeds = [1]",
            "seeds = [1]\nlearning_rate = [1e-3]\n[auto]\nkeep = 1.25",
            'goes with grid.learning_rate = "auto" only',
        ),
        ("goals = [50, 100]", "goals = [nan]", "goals must be a list of at least one number"),
        ("observations = 10_000", "observations = -1", "observations must be a positive number"),
        ("observations = 10_000", "observations = true", "observations must be a positive number"),
        ("observations = 10_000", "", "observations must be a positive number, got nothing"),
        ('env = "gym:CartPole-v1"', "", "env must name what to train on"),
        ("goals", 'algo = "dqn"\ngoals', "algo must be one of a2c, ppo"),
        ("seeds = [1]", 'seeds = [1]\nlearning_rate = "best"', 'must be "auto" or a list'),
        ("seeds = [1]", "seeds = [1]\nlearning_rate = [-1e-3]", "must hold positive numbers"),
        ("seeds = [1]", "seeds = [1]\n[auto]\nfactor = 1", "auto.factor must be above 1"),
        ("seeds = [1]", "seeds = [1]\n[auto]\npatience = 0.5", "auto.patience must be at least 1, got 0.5"),
        (
            "num_envs = [4, 8]",
            "batch = [30]\nnum_envs = [4]",
            "grid: give num_envs or batch, the other follows",
        ),
        ("num_envs = [4, 8]", "batch = [20, 31]", "grid.batch: 31 is no whole number of rollouts of 5"),
        ("seeds = [1]", "seeds = [1]\n[auto]\nkeep = 0.9", "auto.keep must be at least 1, got 0.9"),
        (
            "seeds = [1]",
            "seeds = [1]\n[auto]\nkeep = 2\nseeds_first = true",
            "seeds_first goes with auto.patience",
        ),
        (
            "seeds = [1]",
            "seeds = [1]\n[auto]\nseeds_first = 1",
            "auto.seeds_first must be true or false, got 1",
        ),
        (
            "seeds = [1]",
            'seeds = [1]\n[auto]\npatience = 2\n[train]\nschedule = "linear"',
            "auto.patience cuts budgets",
        ),
        ("seeds = [1]", "seeds = [1]\n[auto]\npoints = 9", "auto.points must be between 1 and auto.most=7"),
        ("seeds = [1]", "seeds = [1]\n[train]\ngama = 0.9", "'train.gama'; did you mean 'gamma'"),
        ("seeds = [1]", "seeds = [1]\n[train]\nseed = 3", "train.seed is the study's own"),
        (
            "seeds = [1]",
            "seeds = [1]\n[train]\ngamma = 2",
            "4 environments x 5: gamma must lie between 0 and 1",
        ),
        ("seeds = [1]", 'seeds = [1]\n[train]\ngamma = "0.9"', "train.gamma must be a number, got '0.9'"),
        ("seeds = [1]", "seeds = [1]\n[train]\nepochs = 2.5", "train.epochs must be a whole number, got 2.5"),
        (
            "seeds = [1]",
            "seeds = [1]\n[train]\nepochs = true",
            "train.epochs must be a whole number, got True",
        ),
        (
            "seeds = [1]",
            'seeds = [1]\n[train]\nrmsprop = "tf"',
            "train.rmsprop must be one of tensorflow, torch",
        ),
        (
            "seeds = [1]",
            'seeds = [1]\n[train]\ntensorboard = "no"',
            "train.tensorboard must be true or false",
        ),
        (
            "seeds = [1]",
            "seeds = [1]\n[train]\nprotocol = 1",
            "train.protocol must be one of baselines, machado",
        ),
        ("seeds = [1]", "seeds = [1]\n[[train]]\ngamma = 0.9", "train must be a table [train]"),
        ("seeds = [1]", "seeds = [1", "is no TOML"),
    ],
)
def test_refusals(tmp_path: Path, was: str, now: str, says: str) -> None:
    assert was in GOOD
    assert says in refusal(tmp_path, GOOD.replace(was, now))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no study file"):
        load_study(tmp_path / "none.toml")
