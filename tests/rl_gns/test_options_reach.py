"""What is typed reaches what it is for: options of the commands, seen from where they arrive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as NS
from typing import Any

import pytest

from rl_gns.cli import main
from rl_gns.report import study as page
from rl_gns.studies import driver, fitting
from rl_gns.training import evaluate, ladder, saved
from rl_gns.training.seeing import Seeing

STUDY = """
env = "gym:CartPole-v1"
goals = [100]
observations = 1_000_000
halflife = 100
[grid]
num_envs = [2]
rollout = [5]
learning_rate = [1e-3]
seeds = [1]
"""


class Arrived(Exception):
    """Carries what a function was called with."""


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    """arrived(module, name, *words): the arguments that function `name` gets from the command `words`."""

    def run(module: Any, name: str, *words: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def stop(*args: Any, **named: Any) -> None:
            raise Arrived(args, named)

        monkeypatch.setattr(module, name, stop)
        with pytest.raises(Arrived) as found:
            main(list(words))
        args, named = found.value.args
        return args, named

    return run


def test_options_of_a_study(tmp_path: Path, arrived: Callable[..., Any]) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    file, out = str(tmp_path), ["--out", str(tmp_path / "else")]
    words = [
        "--jobs",
        "3",
        "--threads",
        "2",
        "--jobs-per-gpu",
        "7",
        "--cluster",
        "auto",
        "--retry-failed",
        "--quiet",
    ]
    (study, *rest), named = arrived(driver, "drive", "study", "run", file, *out, *words)
    assert (study.results, rest) == (tmp_path / "else", [3, "auto"])
    assert named == {"threads": 2, "jobs_per_gpu": 7, "retry_failed": True, "quiet": True}
    (study, seed), _ = arrived(fitting, "fit_study", "study", "fit", file, *out, "--seed", "5")
    assert (study.results, seed) == (tmp_path / "else", 5)
    (study, where, seed), _ = arrived(
        page, "report", "study", "report", file, "--page", "p.html", "--seed", "5"
    )
    assert (study.results, where, seed) == (tmp_path / "results", Path("p.html"), 5)


def test_options_of_an_evaluation(monkeypatch: pytest.MonkeyPatch, arrived: Callable[..., Any]) -> None:
    words = ["--episodes", "3", "--seed", "9", "--deterministic", "--video", "v.mp4"]
    run = NS(config=NS(env="gym:CartPole-v1"), checkpoint=lambda file: file)
    monkeypatch.setattr(saved, "load_run", lambda path: run)
    more = ["--checkpoint", "c.ckpt", "--device", "cuda", "--max-decisions", "50"]
    args, named = arrived(evaluate, "evaluate", "eval", "r", *words, *more)
    assert args == (run, 3)
    assert isinstance(named.pop("seeing"), Seeing)
    assert named == {
        **{"seed": 9, "deterministic": True, "video": Path("v.mp4"), "device": "cuda"},
        **{"checkpoint": Path("c.ckpt"), "max_decisions": 50},
    }
    run.config.env = "moba:1v1"
    monkeypatch.setattr(ladder, "load_policy", lambda config, state, device: (state, device))
    args, named = arrived(
        ladder,
        "climb",
        "eval",
        "r",
        *words,
        "--checkpoint",
        "c.ckpt",
        "--device",
        "cuda",
        "--against",
        "bully",
    )
    assert args == ((Path("c.ckpt"), "cuda"), run.config, 3)
    assert named == {"seed": 9, "deterministic": True, "opponents": ("bully",), "video": Path("v.mp4")}
