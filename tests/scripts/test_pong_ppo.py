"""Where the mean of the last hundred games of Pong first passes a score; nothing is trained."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest


def test_means_of_a_hundred_games(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pong_ppo

    # A loss, 99 games of 0.5, 60 of 21, two of 0: the mean passes 0 with the 101st game, 18 and 19 never.
    scores = [-50.0, *[0.5] * 99, *[21.0] * 60, 0.0, 0.0]
    games = pd.DataFrame({"observations": [1000 * (i + 1) for i in range(len(scores))], "score": scores})
    rows = pd.DataFrame({"observations": [100, 2000], "score": [-1.0, 20.0]})
    run = SimpleNamespace(metrics=lambda: rows, episodes=lambda: games)
    asked: list[Any] = []

    def train(config: Any, out: Path, resume: bool) -> Any:
        asked.append((config.precision, config.threads, config.observations, out, resume))
        return run

    monkeypatch.setattr(pong_ppo.rl_gns, "train", train)
    monkeypatch.setattr(pong_ppo.noise, "figure", lambda run, path: None)
    monkeypatch.setattr(pong_ppo, "RESULTS", tmp_path)
    command = ["pong_ppo.py", "--out", str(tmp_path), "--observations", "2000", "--precision", "bf16"]
    monkeypatch.setattr(sys, "argv", [*command, "--threads", "1"])
    with pytest.raises(SystemExit) as ended:
        pong_ppo.main()
    assert ended.value.code == 1  # not above 15
    assert asked == [("bf16", 1, 2000.0, tmp_path, False)]
    assert capsys.readouterr().out.splitlines() == [
        "mean of 100 games above 0: at 101,000 observations",
        "mean of 100 games above 18: never",
        "mean of 100 games above 19: never",
        "mean of the last 100 games: 12.79",
    ]
    assert pd.read_csv(tmp_path / "pong_ppo.csv")["score"].tolist() == [-1, 20]
