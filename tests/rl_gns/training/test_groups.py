"""Every number of environments is measured that can be; where none is, the run says so and why."""

from pathlib import Path
from types import SimpleNamespace as NS

import pandas as pd
import pytest

from rl_gns.cli import _summary, _why_unknown, main
from rl_gns.training.config import TrainConfig, resolve

QUICK = ["--observations", "300", "--log-every", "100", "--no-tensorboard", "--quiet"]


@pytest.mark.parametrize(
    ("algo", "num_envs", "groups"),
    [
        *[("a2c", 16, 4), ("a2c", 6, 3), ("a2c", 5, 5), ("a2c", 13, 13), ("a2c", 25, 5), ("a2c", 2, 2)],
        *[("ppo", 8, 8), ("ppo", 22, 2), ("ppo", 11, 11), ("ppo", 121, 11), ("ppo", 1, 1), ("a2c", 1, 1)],
    ],
)
def test_groups_that_compare(algo, num_envs, groups):
    config = resolve(TrainConfig(env="gym:CartPole-v1", algo=algo, num_envs=num_envs))
    assert config.groups == groups
    assert (config.noise_cadence > 0) == (groups > 1)


def test_five_environments_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "five")
    main(["train", "gym:CartPole-v1", "--num-envs", "5", *QUICK, "--confidence", "0.995", "--out", out])
    assert "not measured" not in capsys.readouterr().out
    main(["noise", out])
    said = capsys.readouterr().out
    assert "99.5" in said
    assert "figure: " in said


def test_too_few_updates_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["train", "gym:CartPole-v1", *QUICK, "--observations", "240", "--out", str(tmp_path / "few")]
    main(few)
    assert (
        "noise scale: unknown yet; a reading takes at least eight measured updates" in capsys.readouterr().out
    )


def test_a_run_ends_with_its_last_row_and_the_interval_as_it_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = {
        **{"update": [1, 2], "observations": [80.0, 160.0], "score": [1.0, 2.5]},
        **{"noise_scale": [9.0, 1234.0], "noise_scale_low": [8.0, 900.0], "noise_scale_high": [7.0, 5678.0]},
    }
    config = resolve(TrainConfig(env="gym:CartPole-v1", confidence=0.9))
    for frame, says in (
        (pd.DataFrame(rows), "noise scale: 1,234 observations (90% interval 900 to 5,678)"),
        (
            pd.DataFrame(rows).assign(noise_scale=float("nan")),
            "noise scale: unknown, at least 900 observations",
        ),
    ):
        _summary(NS(path=Path("runs/x"), config=config, metrics=lambda frame=frame: frame))
        assert capsys.readouterr().out.splitlines() == [
            "run: runs/x",
            "score: 2.50 (mean of the last 100 games, 160 observations)",
            says,
            "curve: rl-gns noise runs/x",
        ]


@pytest.mark.parametrize(
    ("updates", "cadence", "words"),
    [
        (
            190,
            38,
            "unknown yet; a reading takes at least eight measured updates, and one in 38 of 190 was: raise",
        ),
        (7, 1, "unknown yet; a reading takes at least eight measured updates"),
        (16, 2, "unknown, and no bound of it either"),
    ],
)
def test_why_nothing_is_known(updates: int, cadence: int, words: str) -> None:
    assert _why_unknown(updates, cadence).startswith(words)
    assert ("raise" in _why_unknown(updates, cadence)) == (cadence == 38)


def test_one_environment_says_that_it_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "one")
    main(["train", "gym:CartPole-v1", "--num-envs", "1", *QUICK, "--out", out])
    said = capsys.readouterr().out
    assert (
        "noise scale: not measured: one environment has no other to be compared with; raise num_envs" in said
    )
    assert "rl-gns noise" not in said
    with pytest.raises(SystemExit):
        main(["noise", out])
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith(
            "has no noise measurement: one environment has no other to be compared with; raise num_envs"
        )
    )


def test_a_run_that_was_not_to_be_measured_still_shows_its_correlation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "silent")
    silent = ["--num-envs", "4", "--noise-budget", "0", *QUICK, "--out"]
    main(["train", "gym:CartPole-v1", *silent, out, "--correlation-every", "2"])
    main(["noise", out])
    assert "predicted at other rollout lengths" in capsys.readouterr().out
    main(["train", "gym:CartPole-v1", *silent, f"{out}-2"])
    with pytest.raises(SystemExit):
        main(["noise", f"{out}-2"])
    assert "it was trained with noise_budget 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows", "-1"], "rl-gns: rows must be at least 1, got -1"),
        (["--rows", "0"], "rl-gns: rows must be at least 1, got 0"),
        (["--figure", "nowhere/a.png"], "rl-gns: the figure's folder nowhere is not there: make it first"),
        (["--figure", "a.jpg"], "rl-gns: the figure must end in .png, .svg or .pdf, got a.jpg"),
    ],
)
def test_bad_input_of_noise(arguments, words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    main(["train", "gym:CartPole-v1", "--num-envs", "4", *QUICK, "--out", out])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["noise", out, *arguments])
    assert capsys.readouterr().err.strip() == words
