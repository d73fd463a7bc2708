"""Scores of one button, from the real emulator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import pandas as pd
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(name="script")
def _script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import one_action

    yield one_action
    sys.modules.pop("one_action")


def test_a_button_scores_the_same_alone_and_beside_other_games(script: Any) -> None:
    fire = script.meanings("breakout").index("FIRE")
    two = script.play("breakout", fire, 2, 3_000, seed=3)
    assert len(two) == 2
    assert script.play("breakout", fire, 1, 3_000, seed=3) == two[:1]
    assert script.play("breakout", fire, 2, 5, seed=3) == []


def test_random_play_hangs_on_the_seed_and_presses_more_than_one(script: Any) -> None:
    first, again, other = (script.play("breakout", None, 3, 3_000, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_actions_are_called_as_gymnasium_calls_them(script: Any) -> None:
    gymnasium.register_envs(ale_py)
    with gymnasium.make("ALE/Breakout-v5") as env:
        assert script.meanings("breakout") == env.unwrapped.get_action_meanings()  # type: ignore[attr-defined]


def test_a_row_by_hand(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {None: [1.0, 2.0, 6.0, 3.0], 0: [], 1: [5.0]}
    asked: list[tuple[Any, ...]] = []

    def play(*game: Any) -> list[float]:
        asked.append(game)
        return scores[game[1]]

    monkeypatch.setattr(script, "play", play)
    monkeypatch.setattr(script, "meanings", lambda name: ["NOOP", "FIRE"])
    rows = script.table("breakout", games=5, most=30, seed=7)
    assert asked == [("breakout", action, 5, 30, 7) for action in scores]
    assert rows["action"].tolist() == ["random", "NOOP", "FIRE"]
    assert rows["games"].tolist() == [4, 0, 1]
    assert rows["unfinished"].tolist() == [1, 5, 4]
    assert rows["mean"].fillna(-1).tolist() == [3.0, -1.0, 5.0]
    # The squares of the deviations sum to 14: sqrt(14 / 3 / 4). One game says nothing of the spread.
    assert rows["standard_error"].fillna(-1).tolist() == [pytest.approx((14 / 12) ** 0.5), -1.0, -1.0]


def test_rows_and_bad_input(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.csv"
    script.main(["breakout", "--games", "2", "--max-decisions", "20", "--to", str(path)])
    rows = pd.read_csv(path)
    assert rows["action"].tolist() == ["random", "NOOP", "FIRE", "RIGHT", "LEFT"]
    assert (rows["games"] + rows["unfinished"] == 2).all()
    assert rows["mean"].isna().equals(rows["games"] == 0)
    for words, line in (
        (["brekout"], "did you mean"),
        (["breakout", "--games", "0"], "games must be at least 1"),
    ):
        with pytest.raises(SystemExit):
            script.main(words)
        assert line in capsys.readouterr().err
